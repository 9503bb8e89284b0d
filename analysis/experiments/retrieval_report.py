"""Tables, sentences and figures of `analysis.experiments.retrieval`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from analysis.benchmarks.study import Row
from analysis.experiments import published
from analysis.experiments.experiment import mean_and_spread, write
from analysis.experiments.image_files import Modalities

NESTED, UNNESTED, CCA = "nested (joint)", "un-nested (low-rank)", "linear CCA of pixels"
AVERAGE, INTERPOLATED, FIRST = SCORES = ("mAP", "mAP, interpolated", "P@100")
AS_TRAINED = {NESTED: "leading", UNNESTED: "random"}
"""Which dimensions of what was trained are kept."""
LINES = {
    (NESTED, "leading"): {"color": "black", "marker": "o", "linestyle": "-"},
    (UNNESTED, "random"): {"color": "tab:red", "marker": "s", "linestyle": "--"},
    (UNNESTED, "by Rayleigh–Ritz"): {"color": "tab:orange", "marker": "^", "linestyle": ":"},
    (CCA, None): {"color": "tab:blue", "marker": "v", "linestyle": "-."},
}


def chance(n: int, n_relevant: float) -> dict[str, float | None]:
    """Expected scores of a random ranking of n with so many relevant ones.

    A rank r is relevant with probability R/n; then so are (r − 1)(R − 1)/(n − 1) of those before it, on average.
    """
    harmonic = float((1 / np.arange(1, n + 1)).sum())
    average = (harmonic + (n - harmonic) * (n_relevant - 1) / (n - 1)) / n
    return {AVERAGE: average, INTERPOLATED: None, FIRST: n_relevant / n}


def write_report(
    name: str, options: Any, rows: Sequence[Row], setting: Mapping[str, Any], examples: Modalities
) -> None:
    """Write the experiment; one table and figure for every split."""
    tables: dict[str, list[Row]] = {}
    texts, figures = [_what(setting, rows[0])], {}
    for split in dict.fromkeys(row["split"] for row in rows):
        own = _with_best_ridge([row for row in rows if row["split"] == split])
        which = "" if split == "drawn" else f"split {split}: "
        texts.append(which + _outcome(own))
        tables[f"{which}scores"] = _scores(own)
        tables[f"{which}mAP against dimensions kept"] = _against(own)
        figures["" if split == "drawn" else str(split)] = _figure(own)
    if rows[0]["data"] == "glyphs":
        figures["data"] = _examples(examples)
    tables["Published: Sketchy Extended, features of a VGG16 trained on it"] = [
        {"split": split, "method": method, FIRST: scores[0], INTERPOLATED: scores[1]}
        for split, methods in published.RETRIEVAL.items()
        for method, scores in methods.items()
    ]
    write(name, options, rows, tables, "\n\n".join(texts), figures)


def _what(setting: Mapping[str, Any], row: Row) -> str:
    glyphs = row["data"] == "glyphs"
    data = "characters of matplotlib's fonts, 16×16 pixels" if glyphs else "Sketchy Extended, made grey"
    sizes = f"hidden layers of {', '.join(map(str, setting['hidden']))} units and {setting['n_dimensions']} outputs"
    training = f"{setting['n_steps']} steps of {setting['batch_size']} pairs, Adam at {setting['learning_rate']:g}"
    return (
        f"Sketches retrieve photographs of classes that were not trained on ({data}). Two networks with {sizes}, "
        f"{training}; the gallery is ranked by ⟨f(x), g(y)⟩ of the functions as trained, without the constant. With C "
        "classes to train on the kernel has rank at most C − 1 besides the constant, so that there are more dimensions "
        "than it can use, as in the published experiment. Un-nested dimensions are in no order: taken are random ones, "
        "the mean of three choices; or they are ordered afterwards by Rayleigh–Ritz on pairs of the training classes. "
        "The ridge of linear CCA, and the number of its dimensions in the first table, are those that do best on the "
        "classes not trained on, which favours it. ± is the standard deviation over seeds; a seed is a new choice of "
        "classes, new images and new networks."
    )


def _with_best_ridge(rows: list[Row]) -> list[Row]:
    ridges = dict.fromkeys(row["kept"] for row in rows if row["embedding"] == CCA)
    best = max(ridges, key=lambda ridge: max(_mean(rows, CCA, ridge, k) for k in _dimensions(rows)), default=None)
    mine = [{**row, "kept": None, "ridge": best} for row in rows if row["embedding"] == CCA and row["kept"] == best]
    return [row for row in rows if row["embedding"] != CCA] + mine


def _values(rows: Sequence[Row], method: str, kept: str | None, dimensions: int, score: str = AVERAGE) -> list[float]:
    return [r[score] for r in rows if (r["embedding"], r["kept"], r["dimensions"]) == (method, kept, dimensions)]


def _mean(rows: Sequence[Row], method: str, kept: str | None, dimensions: int) -> float:
    return float(np.mean(_values(rows, method, kept, dimensions)))


def _dimensions(rows: Sequence[Row]) -> list[int]:
    return sorted({row["dimensions"] for row in rows})


def shares_kept(rows: Sequence[Row], method: str, kept: str, score: str) -> list[float]:
    """Score with a quarter of the dimensions as a share of that with all, as trained, for every seed."""
    most = _dimensions(rows)[-1]
    quarter = _values(rows, method, kept, most // 4, score)
    everything = _values(rows, method, AS_TRAINED[method], most, score)
    return [part / whole for part, whole in zip(quarter, everything, strict=True)]


def _outcome(rows: Sequence[Row]) -> str:
    parts = []
    for method, kept in ((NESTED, "leading"), (UNNESTED, "random"), (UNNESTED, "by Rayleigh–Ritz")):
        mine = " and of P@100 ".join(mean_and_spread(shares_kept(rows, method, kept, s), 3) for s in (AVERAGE, FIRST))
        parts.append(f"{method}, {kept}: of mAP {mine}")
    most = _dimensions(rows)[-1]
    nested, unnested = (_values(rows, *which, most) for which in AS_TRAINED.items())
    differences = np.subtract(nested, unnested)
    tie = len(differences) < 2 or abs(differences.mean()) < differences.std(ddof=1)
    verdict = "a tie" if tie else f"nested {'better' if differences.mean() > 0 else 'worse'}"
    return (
        f"With a quarter of the {most} dimensions is kept, as a share of what all have as trained, by "
        f"{'; by '.join(parts)}. With all dimensions nested and "
        f"un-nested differ in mAP by {mean_and_spread(differences.tolist())}: {verdict}. The gallery holds "
        f"{rows[0]['gallery']} images of {rows[0]['unseen classes']} classes."
    )


def _scores(rows: Sequence[Row]) -> list[Row]:
    most, first = _dimensions(rows)[-1], rows[0]
    best = max(_dimensions(rows), key=lambda k: _mean(rows, CCA, None, k))
    shown = [
        (CCA, None, best), (UNNESTED, "random", most), (NESTED, "leading", most),
        (UNNESTED, "random", most // 4), (UNNESTED, "by Rayleigh–Ritz", most // 4), (NESTED, "leading", most // 4),
    ]  # fmt: skip
    table = [{"embedding": "chance", "dimensions": None, **chance(first["gallery"], first["relevant"])}]
    for method, kept, k in shown:
        how = f", {kept}" if k < most and kept else ""
        scores = {score: mean_and_spread(_values(rows, method, kept, k, score), 3) for score in SCORES}
        table.append({"embedding": method + how, "dimensions": k, **scores})
    return table


def _against(rows: Sequence[Row]) -> list[Row]:
    return [
        {
            "dimensions": k,
            **{
                f"{method}{', ' + kept if kept else ''}": mean_and_spread(_values(rows, method, kept, k), 3)
                for method, kept in LINES
            },
        }
        for k in _dimensions(rows)
    ]


def _figure(rows: Sequence[Row]) -> Figure:
    figure = Figure((9.5, 4.2), layout="constrained")
    level = chance(rows[0]["gallery"], rows[0]["relevant"])
    dimensions = _dimensions(rows)
    axes = figure.subplots(1, 2)
    for ax, score in zip(axes, (AVERAGE, FIRST), strict=True):
        for (method, kept), style in LINES.items():
            values = np.array([_values(rows, method, kept, k, score) for k in dimensions])
            spread = values.std(axis=1, ddof=1) if values.shape[1] > 1 else None
            label = method + (f", {kept}" if kept else "")
            ax.errorbar(dimensions, values.mean(axis=1), spread, label=label, markersize=4, capsize=2, **style)
        ax.axhline(level[score], color="grey", linewidth=1)
        ax.annotate("chance", (dimensions[-1], level[score]), (0, 3), textcoords="offset points", ha="right")
        ax.set(xscale="log", xlabel="dimensions kept", ylabel=score, ylim=(0, None))
        ax.set_xticks(dimensions, [str(k) for k in dimensions])
        ax.minorticks_off()
    figure.legend(*axes[0].get_legend_handles_labels(), fontsize=8, loc="outside lower center", ncols=4)
    return figure


def _examples(data: Modalities) -> Figure:
    """Both images of every fifth class in both modalities."""
    figure = Figure((9.5, 2.3), layout="constrained")
    rows = [
        np.hstack([side[i][n].view(16, 16).numpy() for i in range(0, len(data.classes), 5)])
        for side in (data.sketches, data.photos)
        for n in range(2)
    ]
    for ax, part, name in zip(figure.subplots(2, 1), (rows[:2], rows[2:]), ("sketches", "photographs"), strict=True):
        ax.imshow(np.vstack(part), cmap="gray_r")
        ax.set(xticks=[], yticks=[])
        ax.set_ylabel(name, fontsize=8)
    return figure
