"""What the docs show of results: README.md's picture, output and tables, and all of docs/benchmarks.md.

    python -m analysis.readme               # everything
    python -m analysis.readme benchmarks    # docs/benchmarks.md alone

The picture and the output come from the shipped alanine dipeptide data, the tables from analysis/results.
"""

import json
import re
import statistics
import sys
from pathlib import Path

from matplotlib.figure import Figure

import spectraldyn as sd

ROOT = Path(__file__).parents[1]


def demonstration() -> str:
    """Draw the picture; return what `spectraldyn fit` prints on the same data."""
    data = ROOT / "data" / "alanine_dipeptide"
    results = sd.fit_trajectories(sorted(data.glob("*.xtc")), top=data / "top.pdb", lag="5ps", random_state=0)
    figure = Figure(figsize=(11, 3.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    sd.plots.plot_timescales(results, left)
    sd.plots.plot_states(results, right)
    figure.savefig(ROOT / "docs" / "demo.png", dpi=110)
    return "\n".join("    " + line for line in [*str(results).splitlines(), "report: ala/report.html"])


def exact_timescales() -> str:
    """Medians over seeds of the study `known`."""
    rows = json.loads((ROOT / "analysis" / "results" / "known.json").read_text())
    lines = [
        "| system | process | exact (ps) | oracle (ps) | learned (ps) | 95 % interval | exact value inside |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for system, process in dict.fromkeys((row["system"], row["process"]) for row in rows):
        mine = [row for row in rows if (row["system"], row["process"]) == (system, process)]
        learned, low, high = (statistics.median(row[k] for row in mine) for k in ("learned (ps)", "low", "high"))
        inside = sum(row["exact inside"] for row in mine)
        lines.append(
            f"| `{system}` | {process} | {mine[0]['exact (ps)']:.4g} | {mine[0]['oracle (ps)']:.4g} | {learned:.4g} | "
            f"{low:.3g} – {high:.3g} | {inside} of {len(mine)} seeds |"
        )
    return "\n".join(lines)


def rates() -> str:
    """Largest errors over seeds of the study `analysis.generator`."""
    rows = json.loads((ROOT / "analysis" / "results" / "generator.json").read_text())
    lines = [
        "| states | off the oracle, rates 1–4 | off the oracle, rates 5–7 | exact rate inside the interval | seconds |",
        "| --- | --- | --- | --- | --- |",
    ]
    for states in dict.fromkeys(row["states"] for row in rows):
        mine = [row for row in rows if row["states"] == states]
        first, last = (
            max(abs(row["from oracle (%)"]) for row in mine if (row["process"] <= 4) == slow) for slow in (True, False)
        )
        inside = sum(row["exact inside"] for row in mine)
        seconds = statistics.median(row["seconds"] for row in mine)
        lines.append(f"| {states} | {first:.2g} % | {last:.2g} % | {inside} of {len(mine)} | {seconds:.0f} |")
    return "\n".join(lines)


STUDIES = {
    "accuracy": "Accuracy, against the truth and against the oracle",
    "coverage": "How often intervals hold the exact value",
    "time_to_accuracy": "Time to an accuracy, failures, and the best score, in 30 dimensions",
    "batch_size": "Small and large batches at equal samples seen",
    "dimension": "From 2 to 100 dimensions",
    "modes": "From 2 to 64 modes",
    "data_size": "Amount of data",
    "nonreversible": "Dynamics that are not reversible",
    "chapman_kolmogorov": "The Chapman–Kolmogorov test, on models that are right and on wrong ones",
    "verdicts": "What the verdict says of bad data, and of good",
    "lag_scan": "A plot over many lag times from one fit",
    "learning_rate": "Learning rate",
    "throughput": "Throughput of the training loop",
    "molecules_compared": "Alanine dipeptide",
    "side_by_side": "Side by side with deeptime and PyEMMA: lines, figures, seconds",
    "kinetics": "Sets and kinetics beside a Markov state model of the torsions",
    "real": "Real molecules",
    "hidden": "A slow process hidden among noise",
    "gpu": "On a GPU",
}


def benchmarks() -> str:
    """docs/benchmarks.md: the tables of `analysis.benchmarks`, those that have been measured."""
    parts = [
        "# Benchmarks",
        "NeuralSVD beside deeptime's estimators. Every table is written by the command below it, with every single "
        "measurement in the JSON file of the same name in `analysis/results/`, and this page by "
        "`python -m analysis.readme benchmarks`. The *oracle* is Rayleigh–Ritz with the true eigenfunctions on the "
        "same data, the best that a method can do there; scores are held out. Seconds of a fit of NeuralSVD hold the "
        "training of all its networks.",
    ]
    for name, heading in STUDIES.items():
        path = ROOT / "analysis" / "results" / f"{name}.md"
        if path.exists():
            parts += [f"## {heading}", re.sub(r"^#", "##", path.read_text().strip(), flags=re.MULTILINE)]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    (ROOT / "docs" / "benchmarks.md").write_text(benchmarks())
    if sys.argv[1:] == ["benchmarks"]:
        return
    readme = ROOT / "README.md"
    text = readme.read_text()
    contents = {"demonstration": demonstration(), "exact timescales": exact_timescales(), "rates": rates()}
    for name, content in contents.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        text = pattern.sub(lambda match, content=content: f"{match[1]}\n{content}\n\n{match[2]}", text)
    readme.write_text(text)


if __name__ == "__main__":
    main()
