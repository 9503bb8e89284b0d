"""Tables, text and figure of the experiment with four wells, from its rows."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from analysis.benchmarks.study import Row
from analysis.experiments.experiment import mean_and_spread
from analysis.experiments.published import FOUR_WELLS

DIGITS = 0.005
"""An error below which a value is right to the two digits that were printed."""
ORACLE = "oracle"


def chosen(rows: Sequence[Row], **where: object) -> list[Row]:
    """Rows with these values that did not fail."""
    return [r for r in rows if all(r.get(k) == v for k, v in where.items()) and not r.get("failed")]


def methods(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row["method"] for row in rows))


def largest_error(row: Row, kind: str, exact: np.ndarray) -> float:
    """Of the eigenvalues that are published; kind: "eigenvalues" or "last layer"."""
    n = len(FOUR_WELLS) - 1
    return float(np.abs(np.array(row[kind][:n]) - exact[:n]).max())


def from_potential(rows: Sequence[Row], exact: np.ndarray) -> list[Row]:
    """Eigenvalues as learned, means over seeds; the largest error is the mean over seeds of that of each."""
    names = [f"λ{k}" for k in range(1, len(FOUR_WELLS))]
    beyond = f"λ{len(FOUR_WELLS)}"
    table = [_line("exact", names, exact, "", ""), _line("published", names, FOUR_WELLS[1:], "", "")]
    table[0][beyond] = f"{exact[len(names)]:.3f}"
    table[1][beyond] = "–"
    for method in methods(chosen(rows, part="potential")):
        own = chosen(rows, part="potential", method=method)
        for kind, shown in (("eigenvalues", "the modes"), ("last layer", "their last hidden layer")):
            if kind in own[0]:
                mean = np.mean([row[kind] for row in own], axis=0)
                off = mean_and_spread([largest_error(row, kind, exact) for row in own])
                seconds = mean_and_spread([row["seconds"] for row in own])
                line = _line(f"{method}: Ritz values of {shown}", names, mean, off, seconds)
                line[beyond] = f"{mean[len(names)]:.3f}" if len(mean) > len(names) else "–"
                table.append(line)
    return [{k: line[k] for k in ("", *names, beyond, "largest error", "seconds")} for line in table]


def _line(name: str, names: Sequence[str], values: Sequence[float] | np.ndarray, off: str, seconds: str) -> Row:
    numbers = {k: f"{v:.3f}" if name != "published" else f"{v:.2f}" for k, v in zip(names, values, strict=False)}
    return {"": name, **numbers, "largest error": off, "seconds": seconds}


def norms(rows: Sequence[Row], exact: np.ndarray) -> list[Row]:
    """Eigenvalues as the norms of the trained functions state them, and the eigenfunctions' distances 1 − cos²."""
    table = []
    for method in methods(chosen(rows, part="potential")):
        own = chosen(rows, part="potential", method=method)
        apart = np.mean([row["trace"][-1]["distances"] for row in own], axis=0)
        stated = np.mean([row["norms"] for row in own], axis=0)
        for shown, values in (("eigenvalues from norms", stated), ("eigenfunctions, 1 − cos²", apart)):
            table.append({"": method, "read off": shown} | {f"λ{k + 1}": f"{v:.4g}" for k, v in enumerate(values)})
    return table


def from_samples(rows: Sequence[Row], exact: np.ndarray, lag: int) -> list[Row]:
    """Eigenvalues of the first seed with 95 % intervals, and over all seeds how far they are and how many hold."""
    n = len(FOUR_WELLS) - 1
    sampled = chosen(rows, part="samples", lag=lag)
    if not sampled:
        return []
    table: list[Row] = [{"": "exact"} | {f"λ{k + 1}": f"{v:.2f}" for k, v in enumerate(exact[:n])}]
    table[0] |= {"intervals that hold the exact value": "", "from the oracle (%)": "", "VAMP-E": "", "seconds": ""}
    for method in methods(sampled):
        own = chosen(sampled, method=method)
        inside, resolved = coverage(own, exact)
        line: Row = {"": method} | {f"λ{k + 1}": _with_interval(own[0], k) for k in range(n)}
        line["intervals that hold the exact value"] = f"{inside} of {resolved}"
        line["from the oracle (%)"] = "" if method == ORACLE else mean_and_spread(off_oracle(sampled, method))
        line["VAMP-E"] = mean_and_spread([row["VAMP-E"] for row in own], 4)
        line["seconds"] = mean_and_spread([r["seconds"] for r in own]) if method != ORACLE else ""
        table.append(line)
    return table


def _with_interval(row: Row, k: int) -> str:
    value, low, high = (row[name][k] if k < len(row[name]) else None for name in ("eigenvalues", "low", "high"))
    if value is None:
        return "not found"
    interval = "" if low is None or high is None else f" ({low:.3g} – {high:.3g})"
    return f"{value:.4g}{interval}" + ("*" if row["unresolved"][k] else "")


def coverage(rows: Sequence[Row], exact: np.ndarray) -> tuple[int, int]:
    """How many intervals of resolved processes hold the exact value, and how many there are."""
    held = [
        row["low"][k] <= exact[k] <= row["high"][k]
        for row in rows
        for k in range(len(row["eigenvalues"]))
        if row["unresolved"][k] is None and row["low"][k] is not None and row["high"][k] is not None
    ]
    return sum(held), len(held)


def off_oracle(rows: Sequence[Row], method: str) -> list[float]:
    """By seed: mean relative distance (%) from those eigenvalues of the oracle that are resolved; 100 where missing."""
    found = []
    for row in chosen(rows, method=method):
        (best,) = chosen(rows, method=ORACLE, seed=row["seed"], lag=row["lag"])
        own = [*row["eigenvalues"], *[None] * len(best["eigenvalues"])]
        pairs = zip(best["eigenvalues"], best["unresolved"], own, strict=False)
        off = [100 * abs(value / known - 1) if value else 100.0 for known, reason, value in pairs if reason is None]
        found.append(float(np.mean(off)))
    return found


def resolved(rows: Sequence[Row], lag: int) -> int:
    """How many processes of the oracle are resolved at this lag time, in every seed."""
    counts = [sum(reason is None for reason in r["unresolved"]) for r in chosen(rows, method=ORACLE, lag=lag)]
    return min(counts, default=0)


def lags(rows: Sequence[Row]) -> list[int]:
    return sorted({row["lag"] for row in rows if row["part"] == "samples"})


def tables(rows: Sequence[Row], exact: np.ndarray, spacing: float) -> dict[str, list[Row]]:
    return {
        "From the known potential": from_potential(rows, exact),
        "Norms and eigenfunctions": norms(rows, exact),
        **{f"From samples alone, lag {lag * spacing:g}": from_samples(rows, exact, lag) for lag in lags(rows)},
    }


def text(rows: Sequence[Row], exact: np.ndarray, spacing: float) -> str:
    parts = []
    for method in methods(chosen(rows, part="potential")):
        own = chosen(rows, part="potential", method=method)
        sentence = (
            f"{method}, {own[0]['steps']} steps in {np.mean([r['seconds'] for r in own]):.0f} s: largest error of the "
            f"seven nonzero eigenvalues {_judged(own, 'eigenvalues', exact)}"
        )
        if "last layer" in own[0]:
            sentence += f"; in the span of the last hidden layer {_judged(own, 'last layer', exact)}"
        parts.append(sentence + ".")
    sampled = [row for row in rows if row["part"] == "samples"]
    if sampled:
        parts.append(_about_samples(sampled, exact, spacing))
    return "\n\n".join(parts)


def _about_samples(sampled: Sequence[Row], exact: np.ndarray, spacing: float) -> str:
    short = lags(sampled)[0]
    at_short = chosen(sampled, lag=short)
    learners = [name for name in methods(at_short) if name != ORACLE]
    off = {name: float(np.mean(off_oracle(at_short, name))) for name in learners}
    n = len(FOUR_WELLS) - 1
    seen = "; ".join(
        f"{resolved(sampled, lag)} of {n} processes at lag {lag * spacing:g}, which is longer than the timescales of "
        f"the other {n - resolved(sampled, lag)}"
        if resolved(sampled, lag) < n
        else f"all {n} processes at lag {lag * spacing:g}"
        for lag in lags(sampled)
    )
    failed = sorted({row["method"] for row in sampled if row.get("failed")})
    inside, total = coverage(chosen(at_short, method="NeuralSVD"), exact)
    return (
        f"From {sampled[0]['frames']} frames {spacing:g} apart, without the potential. Seeds: "
        f"{len({row['seed'] for row in sampled})}, each with its own trajectories. The oracle, Rayleigh–Ritz with the "
        f"exact eigenfunctions on the same pairs, resolves {seen} (marked *). Mean distance from the oracle over the "
        f"eigenvalues at lag {short * spacing:g}: {'; '.join(f'{k} {v:.2g} %' for k, v in off.items())}. Of the "
        f"95 % intervals of NeuralSVD for resolved processes there, {inside} of {total} hold the exact value; these"
        " hold errors of sampling, not those of learning and of the integrator's step."
        + (f" Failed: {', '.join(failed)}." if failed else "")
    )


def _judged(rows: Sequence[Row], kind: str, exact: np.ndarray) -> str:
    off = [largest_error(row, kind, exact) for row in rows]
    return f"{_range(off)}, {'right' if max(off) < DIGITS else 'not right'} to the digits printed"


def _range(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return f"{high:.2g}" if len(values) == 1 else f"{low:.2g} to {high:.2g}"


STYLES = (("k", "-", "o"), ("0.45", "--", "s"), ("C0", "-.", "^"))


def figure(rows: Sequence[Row], exact: np.ndarray, points: np.ndarray, functions: np.ndarray) -> Figure:
    """Errors by training steps; eigenfunctions, learned on exact; eigenvalues from samples on exact ones."""
    result = Figure(figsize=(12, 8), layout="constrained")
    (values, apart), (shapes, sampled) = result.subplots(2, 2)
    known = chosen(rows, part="potential")
    for method, (colour, line, marker) in zip(methods(known), STYLES, strict=False):
        traces = [row["trace"] for row in chosen(known, method=method)]
        steps = [entry["step"] for entry in traces[0]]
        look = {"color": colour, "linestyle": line, "marker": marker, "markersize": 4, "label": method}
        for axes, kind in ((values, "errors"), (apart, "distances")):
            axes.loglog(steps, np.mean([[max(entry[kind]) for entry in trace] for trace in traces], axis=0), **look)
    for axes in (values, apart):
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
        axes.xaxis.set_major_formatter(lambda step, _: f"{step:,.0f}")
        axes.xaxis.set_minor_formatter(NullFormatter())
    values.axhline(DIGITS, color="0.7", linewidth=1)
    values.annotate("the digits printed", (0.02, DIGITS), (0, 3), xycoords=("axes fraction", "data"),
                    textcoords="offset points", fontsize=8)  # fmt: skip
    values.set(
        xlabel="training step", ylabel="largest error of seven eigenvalues", title="Known potential: eigenvalues"
    )
    apart.set(xlabel="training step", ylabel="largest 1 − cos² of seven", title="Known potential: eigenfunctions")
    values.legend(fontsize=8)
    _draw_functions(shapes, known[-1], points, functions)
    _draw_samples(sampled, rows, exact)
    return result


def _draw_functions(axes: Axes, row: Row, points: np.ndarray, functions: np.ndarray) -> None:
    learned = np.array(row["functions at"])
    for k, (own, true) in enumerate(zip(learned, functions.T, strict=True)):
        height = 0.9 / np.abs(true).max()
        scale = height * np.sign(own @ true) * np.sqrt(true @ true / (own @ own))
        axes.plot(points, height * true - 2 * k, color="0.7", linewidth=4, label="exact" if k == 0 else None)
        axes.plot(points, scale * own - 2 * k, color="k", linewidth=1, label="learned" if k == 0 else None)
    axes.set(xlabel="x", yticks=[-2 * k for k in range(len(learned))], title=f"Eigenfunctions: {row['method']}")
    axes.set_yticklabels([str(k + 1) for k in range(len(learned))])
    axes.set(ylabel="number of the eigenfunction", ylim=(-2 * len(learned), 2.2))
    axes.legend(fontsize=8, loc="upper right")


def _draw_samples(axes: Axes, rows: Sequence[Row], exact: np.ndarray) -> None:
    """First seed, shortest lag: ratio to the exact eigenvalue with its interval."""
    every = chosen(rows, part="samples")
    if not every:
        return
    own = [row for row in every if row["lag"] == lags(every)[0] and row["seed"] == every[0]["seed"]]
    for number, row in enumerate(own):
        marker, shade = "osv^D<>PX*"[number], ("k", "0.45", "C0", "C1")[number % 4]
        for k, value in enumerate(row["eigenvalues"]):
            if value is None:
                continue
            where = k + 1 + 0.09 * (number - (len(own) - 1) / 2)
            if row["low"][k] is not None and row["high"][k] is not None:
                axes.plot([where] * 2, [row["low"][k] / exact[k], row["high"][k] / exact[k]], color=shade, linewidth=1)
            axes.plot(
                where, value / exact[k], marker, color=shade, markersize=4, label=row["method"] if k == 0 else None
            )
    axes.axhline(1, color="0.7", linewidth=1, zorder=0)
    axes.set(xlabel="number of the eigenvalue", ylabel="from samples / exact", ylim=(0.6, 1.9), yscale="log")
    axes.set(
        yticks=(0.6, 0.8, 1, 1.2, 1.5), yticklabels=("0.6", "0.8", "1", "1.2", "1.5"), title="Samples alone, first seed"
    )
    axes.minorticks_off()
    axes.legend(fontsize=7, ncols=2, loc="upper right")
