"""What README.md shows of results: its picture, the output of the demonstration, the tables of timescales and rates.

    python -m analysis.readme

The picture and the output come from the shipped alanine dipeptide data, the tables from analysis/results.
"""

import json
import re
import statistics
from pathlib import Path

from matplotlib.figure import Figure

from spectraldyn import fit_trajectories, plots

ROOT = Path(__file__).parents[1]


def demonstration() -> str:
    """Draw the picture; return what `spectraldyn fit` prints on the same data."""
    data = ROOT / "data" / "alanine_dipeptide"
    results = fit_trajectories(sorted(data.glob("*.xtc")), top=data / "top.pdb", lag="5ps", random_state=0)
    figure = Figure(figsize=(11, 3.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    plots.plot_timescales(results, left)
    plots.plot_states(results, right)
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


def main() -> None:
    readme = ROOT / "README.md"
    text = readme.read_text()
    contents = {"demonstration": demonstration(), "exact timescales": exact_timescales(), "rates": rates()}
    for name, content in contents.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        text = pattern.sub(lambda match, content=content: f"{match[1]}\n{content}\n\n{match[2]}", text)
    readme.write_text(text)


if __name__ == "__main__":
    main()
