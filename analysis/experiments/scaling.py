"""Error and time against grids as they grow: networks and LOBPCG in two, three and four dimensions.

    python -m analysis.experiments.scaling --quick       # about fifteen minutes on one core
    python -m analysis.experiments.scaling               # three seeds, longer trainings: about an hour on one core
    python -m analysis.experiments.scaling --published   # 500,000 steps, for a GPU's machine

Writes scaling.json, scaling.md and scaling.png into analysis/results/experiments/SETTING. In two dimensions the
hydrogen atom of the published comparison, nine states in the box [−50, 50]²; in three and four model atoms, whose
potential is a sum so that the error of every grid is known, also of those that no memory holds (`model_atoms`,
`finite_differences`).
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from analysis.experiments import finite_differences, model_atoms
from analysis.experiments.bound_states import LARGEST as LARGEST_RITZ
from analysis.experiments.bound_states import RITZ
from analysis.experiments.experiment import PUBLISHED, QUICK, STANDARD, arguments, collect, write
from analysis.experiments.hydrogen import SYSTEM, TRAINING
from analysis.experiments.hydrogen import states as hydrogen_states
from analysis.experiments.published import HYDROGEN_GRID

Row = dict[str, Any]
GRID, OURS, MEMORY = "grid", "NeuralSVD", "memory of the grid"
MODES = {2: 9, 3: 7, 4: 9}
"""Ground state and the first excitations: of hydrogen three shells, of the model atoms two for each electron."""
HALF_WIDTH = {2: 50.0, 3: 24.0, 4: 20.0}
"""Of the grids' boxes: as published, wide enough for the grids of three dimensions, and the least that alone costs less
than `WANTED`."""
GRIDS = {
    QUICK: {2: (50, 100, 200, 400, 800), 3: (32, 64, 96), 4: (16, 24)},
    STANDARD: {2: (50, 100, 200, 400, 800, 1600), 3: (32, 64, 96, 128), 4: (16, 24, 32, 40)},
    PUBLISHED: {2: (50, 100, 200, 400, 800, 1600), 3: (32, 64, 96, 128), 4: (16, 24, 32, 40)},
}
STEPS = {
    QUICK: {2: (1000, 6000), 3: (500, 3000), 4: (1000, 12000)},
    STANDARD: {2: (1000, 3000, 6000, 12000), 3: (500, 2000, 8000), 4: (1000, 4000, 12000)},
    PUBLISHED: {2: (500_000,), 3: (500_000,), 4: (500_000,)},
}
HYDROGEN_BATCH = 220
HIDDEN = {QUICK: (32, 32), STANDARD: (32, 32), PUBLISHED: (128, 128, 128)}
"""Of the model atoms."""
SMALL = {3: 32, 4: 14}
"""Points per axis of the grids whose memory is measured."""
ORANGE, BLUE = "#D55E00", "#0072B2"
LIMIT = 24e9
"""Bytes that a grid may take."""
LEAN = 9
"""Blocks that the algorithm itself needs: X, R, P, their images, and as many again while they are rotated."""
WANTED = 0.5
MEAN, LARGEST = "mean error (%)", "largest error (%)"
BEST, UNCERTAIN = f"{MEAN} in its best box", "standard error (%)"
TOTAL = "of the total energy (%)"


def cases(setting: str, seeds: Sequence[int]) -> list[Row]:
    """Grids once, trainings with every seed."""
    return [
        *({"dimension": d, "method": MEMORY, "n": n} for d, n in SMALL.items()),
        *({"dimension": d, "method": GRID, "n": n} for d, grids in GRIDS[setting].items() for n in grids),
        *(
            {"dimension": d, "method": OURS, "steps": steps, "seed": seed, "setting": setting}
            for d, several in STEPS[setting].items()
            for steps in several
            for seed in seeds
        ),
    ]


def measure(case: Row, checkpoint: Path) -> list[Row]:
    """One run."""
    d = case["dimension"]
    if case["method"] == MEMORY:
        return [
            {"blocks": finite_differences.blocks(model_atoms.attraction_of_all, d, HALF_WIDTH[d], case["n"], MODES[d])}
        ]
    if case["method"] == GRID:
        return [solved(d, case["n"])]
    clock = Clock(checkpoint.with_suffix(".seconds"))
    if d == 2:
        task = hydrogen_states(MODES[2])
        training = {"n_steps": case["steps"], "batch_size": HYDROGEN_BATCH, **TRAINING["ours"]}
        spectrum = task.learn("sequential", training, case["seed"], checkpoint, clock.keep)
        seconds, result = clock.stop(), task.judge(spectrum, "sequential")
        return [{MEAN: 100 * result[RITZ], LARGEST: 100 * result[LARGEST_RITZ], "seconds": seconds}]
    functions = model_atoms.learn(
        d, MODES[d], case["steps"], case["seed"], HIDDEN[case["setting"]], checkpoint, clock.keep
    )
    found = model_atoms.read_off(functions, d, MODES[d])
    uncertain = float(100 * np.mean(found.standard_errors / binding(d)))
    return [{**errors(d, found.energies), UNCERTAIN: uncertain, "seconds": clock.stop()}]


class Clock:
    """Seconds of a training, those before an interruption included."""

    def __init__(self, path: Path):
        self.path = path
        self.before = float(path.read_text()) if path.exists() else 0.0
        self.start = time.perf_counter()

    def read(self) -> float:
        return self.before + time.perf_counter() - self.start

    def keep(self, *_: object) -> None:
        """As the training is about to be kept."""
        self.path.write_text(str(self.read()))

    def stop(self) -> float:
        """All seconds; nothing is left behind."""
        self.path.unlink(missing_ok=True)
        return self.read()


def exact(dimension: int) -> tuple[np.ndarray, float]:
    """Energies (k,), and the bottom of the continuous spectrum, from which they are counted."""
    if dimension == 2:
        return SYSTEM.energies(MODES[2]), 0.0
    return model_atoms.atoms(dimension).energies(MODES[dimension]), model_atoms.threshold(dimension)


def binding(dimension: int) -> np.ndarray:
    """Exact energies below the continuous spectrum, (k,)."""
    energies, bottom = exact(dimension)
    return bottom - energies


def errors(dimension: int, energies: np.ndarray) -> Row:
    """Relative errors of energies counted from the continuous spectrum, in per cent."""
    error = 100 * np.abs(energies - exact(dimension)[0]) / binding(dimension)
    from_zero = 100 * np.abs(energies / exact(dimension)[0] - 1)
    return {MEAN: float(error.mean()), LARGEST: float(error.max()), TOTAL: float(from_zero.mean())}


def solved(dimension: int, n: int) -> Row:
    """A grid that is held in memory."""
    potential = SYSTEM.potential if dimension == 2 else model_atoms.attraction_of_all
    run = finite_differences.solve(potential, dimension, HALF_WIDTH[dimension], n, MODES[dimension])
    row = {**errors(dimension, run.energies), "seconds": run.seconds, "iterations": run.iterations}
    if dimension > 2:
        row["largest difference from sums"] = float(np.abs(run.energies - discrete(dimension, n)).max())
    return {**row, "residual": run.residual}


def discrete(dimension: int, n: int, half_width: float | None = None) -> np.ndarray:
    """Energies of a grid of any size, by sums."""
    width = half_width or HALF_WIDTH[dimension]
    return finite_differences.separable_energies(model_atoms.attraction, dimension, width, n, MODES[dimension])


def grid_error(dimension: int, n: int, half_width: float | None = None) -> float:
    return float(errors(dimension, discrete(dimension, n, half_width))[MEAN])


def best_box(dimension: int, n: int) -> tuple[float, float]:
    """The smallest error that these points reach in any box, and its half-width: chosen knowing the answer."""
    return min((grid_error(dimension, n, half), half) for half in np.arange(8.0, 30.5, 0.5).tolist())


def fine_enough(dimension: int) -> int:
    """Fewest points per axis, an even number, whose error is below `WANTED`."""
    return next(n for n in range(8, 2000, 2) if grid_error(dimension, n) < WANTED)


def finest(dimension: int, blocks: float) -> int:
    return finite_differences.largest_grid(LIMIT, blocks, dimension, MODES[dimension])


def memory(rows: Sequence[Row]) -> list[Row]:
    """The finest grids that fit, by scipy's blocks and by a leaner program's, and the grid that would be wanted."""
    lines = []
    for row in rows:
        if row["method"] != MEMORY:
            continue
        d = row["dimension"]
        for what, n_blocks, n in (
            ("finest that fits", row["blocks"], finest(d, row["blocks"])),
            (f"finest that fits with {LEAN} blocks", LEAN, finest(d, LEAN)),
            (f"error below {WANTED} %", row["blocks"], fine_enough(d)),
        ):
            error, half_width = best_box(d, n)
            lines.append(
                {
                    "dimension": d, "grid": what, "points per axis": n, "blocks": round(n_blocks, 1),
                    "GB": 8e-9 * n_blocks * MODES[d] * n**d, MEAN: grid_error(d, n),
                    TOTAL: errors(d, discrete(d, n))[TOTAL], BEST: error, "half-width of that box": half_width,
                }
            )  # fmt: skip
    return lines


def averaged(rows: Sequence[Row], dimension: int) -> list[Row]:
    """NeuralSVD, one line for every number of steps: means over seeds, and the largest over seeds."""
    own = [row for row in rows if (row["dimension"], row["method"]) == (dimension, OURS)]
    return [
        {
            "steps": steps,
            "seconds": float(np.mean([row["seconds"] for row in own if row["steps"] == steps])),
            MEAN: float(np.mean([row[MEAN] for row in own if row["steps"] == steps])),
            "worst": float(max(row[MEAN] for row in own if row["steps"] == steps)),
            "total": float(np.mean([row.get(TOTAL, row[MEAN]) for row in own if row["steps"] == steps])),
            "uncertain": max(row.get(UNCERTAIN, 0.0) for row in own if row["steps"] == steps),
        }
        for steps in dict.fromkeys(row["steps"] for row in own)
    ]


def grids(rows: Sequence[Row], dimension: int) -> list[Row]:
    return [row for row in rows if (row["dimension"], row["method"]) == (dimension, GRID)]


def seconds_of(rows: Sequence[Row], dimension: int, n: int) -> float:
    """Time of a grid that was not solved: a power of the number of points, through the two largest that were."""
    a, b = grids(rows, dimension)[-2:]
    power = np.log(b["seconds"] / a["seconds"]) / np.log(b["n"] / a["n"])
    return float(b["seconds"] * (n / b["n"]) ** power)


def crossover(rows: Sequence[Row], dimension: int) -> str:
    """From when on networks are ahead of every grid that was done in the time."""
    ours = averaged(rows, dimension)
    ahead = [
        all(grid[MEAN] > own["worst"] for grid in grids(rows, dimension) if grid["seconds"] <= own["seconds"])
        for own in ours
    ]
    last = max((i for i, is_ahead in enumerate(ahead) if not is_ahead), default=-1) + 1
    if last == len(ours):
        return "grids are ahead at all times that were tried"
    best = min((g for g in grids(rows, dimension) if g["seconds"] <= ours[last]["seconds"]), key=lambda g: g[MEAN])
    before = "" if last == 0 else f"; with {ours[last - 1]['steps']} steps they are behind"
    return (
        f"networks are ahead from {ours[last]['steps']} steps, {ours[last]['seconds']:.0f} s, on: "
        f"{ours[last][MEAN]:.2g} % against {best[MEAN]:.2g} % of the best grid done by then, {best['n']} points per "
        f"axis{before}"
    )


def finest_grid(rows: Sequence[Row], lines: Sequence[Row], dimension: int) -> str:
    """The finest grid that fits beside the best of the networks."""
    fits, lean, wanted = lines
    best = min(averaged(rows, dimension), key=lambda line: line[MEAN])
    return (
        f"The finest grid that LOBPCG holds in {LIMIT / 1e9:g} GB has {fits['points per axis']} points per axis and "
        f"an error of {fits[MEAN]:.2g} % ({lean['points per axis']} points and {lean[MEAN]:.2g} % with {LEAN} blocks "
        f"in place of scipy's {fits['blocks']:g}; {fits[BEST]:.2g} % and {lean[BEST]:.2g} % if the box is chosen with "
        f"the answer in hand); an error below {WANTED} % takes {wanted['points per axis']} points per axis, "
        f"{wanted['GB']:.3g} GB. NeuralSVD: {best[MEAN]:.2g} % after {best['steps']} steps, {best['seconds']:.0f} s "
        f"(worst seed {best['worst']:.2g} %, standard error of the read-off {best['uncertain']:.1g} %). Counted from "
        f"the potential at infinity the finest grid is off by {fits[TOTAL]:.2g} %, NeuralSVD by {best['total']:.2g} %."
    )


def summary(rows: Sequence[Row], lines: Sequence[Row]) -> str:
    """What was measured and what came out."""
    published = "; ".join(
        f"{row[MEAN]:.2f} % with {row['n']}² points (published {HYDROGEN_GRID[row['n']]} %)"
        for row in grids(rows, 2)
        if row["n"] in HYDROGEN_GRID
    )
    parts = [f"The grid of the published comparison: {published}. In 2 dimensions {crossover(rows, 2)}."]
    parts += [
        f"In {d} dimensions {crossover(rows, d)}. "
        + finest_grid(rows, [line for line in lines if line["dimension"] == d], d)
        for d in SMALL
    ]
    difference = max(row["largest difference from sums"] for d in SMALL for row in grids(rows, d))
    parts.append(
        f"Grids that were solved differ from the sums by {difference:.1g} at most, so that the errors of grids that "
        "were not are those of the sums."
    )
    return "\n\n".join([*parts, ABOUT])


ABOUT = (
    "Mean relative error of the lowest energies, counted from the bottom of the continuous spectrum (for hydrogen 0; "
    "for d model atoms that of d − 1 in their ground state): the eigenvalues of the operator learned, whose shift "
    "lies there. `of the total energy` counts from the potential at infinity, which flatters both. Grids: "
    "second-order central differences, as published; scipy's LOBPCG from random functions, preconditioned by fast "
    "sine transforms (published without). Seconds: one thread each; NeuralSVD's include reading off. Model atoms: H = "
    "−Δ − Σ 1/√(x² + 1), in the box [−24, 24]³ or [−20, 20]⁴ for the grids, the latter about the smallest that alone "
    "costs less than 0.5 %, and in no box for the networks, which see all coordinates at once under an envelope that "
    "decays. The potential is a sum so that the answer is known; who knows that a problem is one solves it axis by "
    "axis, or in a product basis, in no time. Energies of NeuralSVD: in two dimensions from a quadrature rule, else "
    "by Rayleigh–Ritz on quasi-random points, with the standard error from independent sets. How the comparison was "
    "set up: this potential, the number of states, the box and the zero of the energies were settled after the errors "
    "of grids had been computed for sixteen potentials of one electron; smoother ones, fewer states or energies "
    "counted from the potential at infinity favour grids, sharper ones networks. Envelope, learning rate and width of "
    "the networks were chosen on seed 0 with the answer known."
)


def panel(ax: Axes, rows: Sequence[Row], lines: Sequence[Row], dimension: int) -> None:
    """Error against seconds in one number of dimensions; of grids that are hollow the time is extrapolated."""
    done = grids(rows, dimension)
    look = {"color": ORANGE, "marker": "s", "markersize": 5}
    ax.plot([g["seconds"] for g in done], [g[MEAN] for g in done], label="grid, LOBPCG", zorder=3, **look)
    labelled = [(g["n"], g["seconds"], g[MEAN]) for g in done]
    limits = [line["points per axis"] for line in lines if line["dimension"] == dimension]
    if limits:
        more = [
            done[-1]["n"],
            *(n for n in (40, 48, 64, 160, 200, 250) if done[-1]["n"] < n < 0.9 * limits[0]),
            limits[0],
        ]
        beyond = [(n, seconds_of(rows, dimension, n), grid_error(dimension, n)) for n in more]
        ax.plot(*zip(*(point[1:] for point in beyond), strict=True), "--", markerfacecolor="white", **look,
                label="time extrapolated")  # fmt: skip
        for line in (ax.axvline(beyond[-1][1]), ax.axhline(beyond[-1][2])):
            line.set(color="0.5", linestyle=":", linewidth=1.2)
        ax.plot([], [], ":", color="0.5", label=f"{LIMIT / 1e9:g} GB are full")
        labelled += beyond[1:]
    for n, seconds, error in labelled:
        ax.annotate(str(n), (seconds, error), (4, 4), textcoords="offset points", fontsize=7)
    ours = averaged(rows, dimension)
    own = [row for row in rows if (row["dimension"], row["method"]) == (dimension, OURS)]
    ax.plot([o["seconds"] for o in ours], [o[MEAN] for o in ours], "o-", color=BLUE, label="NeuralSVD")
    ax.plot([o["seconds"] for o in own], [o[MEAN] for o in own], ".", color=BLUE, markersize=4)
    ax.set(xscale="log", yscale="log", xlabel="seconds on one core", title=f"{dimension} dimensions")
    ax.margins(x=0.12)
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    for line in (ax.xaxis, ax.yaxis):
        line.set_major_formatter("{x:g}")
        line.set_minor_formatter("")
    ax.legend(fontsize="x-small")


def figure(rows: Sequence[Row], lines: Sequence[Row]) -> Figure:
    result = Figure(figsize=(11, 3.8), layout="constrained")
    axes = result.subplots(1, len(MODES))
    for ax, dimension in zip(axes, MODES, strict=True):
        panel(ax, rows, lines, dimension)
    axes[0].set_ylabel("mean relative error of the energies (%)")
    return result


def main() -> None:
    options = arguments(__doc__, {STANDARD: 3, QUICK: 1, PUBLISHED: 1})
    rows = collect("scaling", options, cases(options.setting, options.seeds), measure)
    lines = memory(rows)
    first = ("dimension", "method", "n", "steps", "seed")
    columns = dict.fromkeys((*first, *(name for row in rows for name in row if name not in ("setting", "blocks"))))
    shown = {**{name: name for name in columns}, "n": "points per axis"}
    runs = [{shown[name]: row.get(name) for name in columns} for row in rows if row["method"] != MEMORY]
    tables = {"Memory of grids": lines, "Every run": runs}
    write("scaling", options, rows, tables, summary(rows, lines), {"": figure(rows, lines)})


if __name__ == "__main__":
    main()
