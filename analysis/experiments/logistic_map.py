"""The noisy logistic map: singular values, VAMP-E, and prediction forward and backward, by objective.

    python -m analysis.experiments.logistic_map             # three seeds: about ten minutes on one core
    python -m analysis.experiments.logistic_map --quick     # one seed, two minutes
    python -m analysis.experiments.logistic_map --published # trajectory, networks and steps as published

x ← 4x (1 − x) + ξ mod 1 has no detailed balance: its transfer operator is far from normal, so that it is judged by its
singular values, known exactly, and by conditional expectations, which follow from the transition density. Learned is
from one trajectory alone. Writes logistic_map.json, .md and .png.
"""

import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn

from analysis.benchmarks.study import Row, numbers
from analysis.experiments.conditional_expectations import Law, predictor
from analysis.experiments.experiment import (
    PUBLISHED,
    QUICK,
    STANDARD,
    arguments,
    collect,
    device,
    mean_and_spread,
    write,
)
from analysis.experiments.published import LOGISTIC_MAP
from spectraldyn import InputWarning, learn_spectrum
from spectraldyn.data.samples import PairSamples, Rows, in_batches
from spectraldyn.networks import Sides
from spectraldyn.networks.factors import FourierFeatures
from spectraldyn.networks.mlp import NETWORKS
from spectraldyn.operators import transfer
from spectraldyn.spectra.rayleigh_ritz import Averages, eigenmodes, rayleigh_ritz
from spectraldyn.spectra.scores import pair_averages, vamp_scores
from spectraldyn.systems import DISCRETE

SYSTEM: Any = DISCRETE["noisy-logistic-map"]
LAW = Law.of(SYSTEM)
N_SCORED = 8
"""Singular values that are shown, the constant's 1 left out."""
N_STEPS = 5
"""Of the map, over which is predicted: after more of them nothing is left to predict."""
OBSERVABLES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "cos 2πx": lambda x: np.cos(2 * np.pi * x),
    "x": lambda x: x,
}
EXACT, UNTRAINED = "exact functions", "untrained"
METHODS = {
    "joint": "NeuralSVD, joint", "sequential": "NeuralSVD, sequential", "vamp-1": "VAMPnet-1", "vamp-2": "VAMPnet-2",
    "dpnet": "DPNet", "dpnet-relaxed": "DPNet-relaxed", UNTRAINED: "untrained networks",
}  # fmt: skip
OURS = {"frames": 200_000, "functions": 12, "frequencies": 4, "hidden": (64, 64), "batch": 1024, "rate": 5e-3}
SETTINGS: dict[str, Row] = {
    STANDARD: {**OURS, "steps": 4000},
    QUICK: {**OURS, "steps": 1500},
    PUBLISHED: {**OURS, **LOGISTIC_MAP},
}
CHANGES: dict[str, Row] = {
    "a tenth of the pairs": {"frames": 20_000},
    "x itself as input": {"frequencies": 0},
    "6 functions": {"functions": 6},
    "all three": {"frames": 20_000, "frequencies": 0, "functions": 6},
}
"""What made singular values low before: one thing at a time, with joint nesting."""


Functions = Callable[[np.ndarray], np.ndarray]
"""(n,) states → (n, 1 + 2 L) functions h = (1, f, g)."""


def prediction_errors(functions: Functions, states: np.ndarray, averages: Averages) -> Row:
    """Root mean square error after every number of steps, in standard deviations of the observable."""
    h, at_points = functions(states), functions(LAW.points)
    errors: Row = {}
    for name, observable in OBSERVABLES.items():
        observed = h.T @ observable(states) / len(states)
        values = observable(LAW.points)
        for way, matrix in (("forward", LAW.forward), ("backward", LAW.backward)):
            exact, found = values, []
            for coefficients in predictor(averages, observed, N_STEPS, way == "backward"):
                exact = matrix @ exact
                found.append(LAW.size(at_points @ coefficients - exact) / LAW.spread(values))
            errors[f"{name}, {way}"] = found
    return errors


def left_to_predict(name: str, way: str) -> list[float]:
    """Spread of the exact conditional expectation, in standard deviations of the observable."""
    values = exact = OBSERVABLES[name](LAW.points)
    found = []
    for _ in range(N_STEPS):
        exact = getattr(LAW, way) @ exact
        found.append(LAW.spread(exact) / LAW.spread(values))
    return found


def judged(functions: Functions, states: np.ndarray) -> Row:
    """Singular values from the pairs of a trajectory (T,) and in the exact law, scores, and predictions."""
    h = functions(states)
    averages = pair_averages(h[:-1], h[1:], tied=False)
    exact = LAW.averages(functions(LAW.points))
    from_pairs = rayleigh_ritz(averages, tied=False, both_ends=True)
    spectrum = rayleigh_ritz(exact, tied=False, both_ends=True)
    eigenvalues = eigenmodes(averages, from_pairs, tied=False).values
    known = np.append(SYSTEM.eigenvalues(SYSTEM.power + 1), 0)
    return {
        "Ritz": spectrum.values.tolist(), "from pairs": from_pairs.values.tolist(),
        # As trained: nested low-rank approximation has them in order, and no other objective sets them.
        "norms": spectrum.norms.tolist(),
        "VAMP-E": vamp_scores(from_pairs, exact)["vampe"],
        "eigenvalues": float(np.abs(eigenvalues[:, None] - known).min(axis=1).max()),
        "prediction": prediction_errors(functions, states, averages),
    }  # fmt: skip


def network(case: Row) -> nn.Module:
    """On the circle that the map lives on: cos 2πkx and sin 2πkx, unless x itself is asked for."""
    n = case["frequencies"]
    inputs = FourierFeatures(2 * torch.pi * torch.arange(1.0, n + 1)[None]) if n else nn.Identity()
    kind = NETWORKS["separate" if case["method"] == "sequential" else "common-trunk"]
    return nn.Sequential(inputs, kind(2 * n or 1, case["functions"], tuple(case["hidden"])))


def trained(case: Row, states: np.ndarray, checkpoint: Path | None) -> Sides:
    """Networks of one objective from one trajectory (T,)."""
    rows = torch.arange(len(states) - 1, device=device())
    samples = PairSamples(Rows(torch.tensor(states[:, None], dtype=torch.float32, device=device())), 1, rows, rows[:0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)  # that the kink of DPNet-relaxed is in the way is a result here
        spectrum = learn_spectrum(
            transfer, samples, network(case), in_batches(samples, rows, len(rows)), right_network=network(case),
            objective=case["method"], n_steps=case["steps"], batch_size=case["batch"], learning_rate=case["rate"],
            average_share=0.1, seed=case["seed"], checkpoint=checkpoint,
        )  # fmt: skip
    return spectrum.sides.cpu()


def learned(case: Row, states: np.ndarray, checkpoint: Path | None) -> Functions:
    """Functions of one objective from one trajectory (T,); or of networks that were not trained."""
    torch.manual_seed(case["seed"])
    if case["method"] == UNTRAINED:
        sides = Sides(network(case), network(case)).double()
    else:
        sides = trained(case, states, checkpoint)

    @torch.no_grad()
    def functions(x: np.ndarray) -> np.ndarray:
        column = torch.as_tensor(x, dtype=torch.float64)[:, None]
        return np.hstack([np.ones((len(x), 1)), sides.left(column).numpy(), sides.right(column).numpy()])

    return functions


def exact_functions(n: int) -> Functions:
    """The leading singular functions: what no method can better by more than chance."""

    def functions(x: np.ndarray) -> np.ndarray:
        left, right = SYSTEM.singular_functions(x, n + 1)
        return np.hstack((np.ones((len(x), 1)), left[:, 1:], right[:, 1:]))

    return functions


def measure(case: Row, checkpoint: Path) -> list[Row]:
    """One method on one trajectory, which is the same for all methods."""
    states = SYSTEM.simulate(case["frames"], case["seed"])[:, 0]
    started = time.perf_counter()
    known = case["method"] == EXACT
    functions = exact_functions(case["functions"]) if known else learned(case, states, checkpoint)
    seconds = time.perf_counter() - started
    return [{**judged(functions, states), "seconds": seconds}]


def cases(setting: str, seeds: Sequence[int]) -> list[Row]:
    chosen = SETTINGS[setting]
    result = []
    for seed in seeds:
        result += [{"method": name, "change": "", "seed": seed, **chosen} for name in (EXACT, *METHODS)]
        if setting != PUBLISHED:
            result += [{"method": "joint", "change": k, "seed": seed, **chosen, **v} for k, v in CHANGES.items()]
    return result


def errors(row: Row, kind: str, n: int = N_SCORED) -> np.ndarray:
    """Relative errors (n,) of singular values in per cent; one that is missing is off by all of itself."""
    values = np.array([*row[kind], *[0.0] * n][:n])
    return 100 * (values / SYSTEM.singular_values(n + 1)[1:] - 1)


def singular_values(rows: Sequence[Row], groups: dict[str, list[Row]]) -> list[Row]:
    """Mean relative error of every singular value (%), largest of the first six, and scores."""
    table = [{"": "exact", **dict(zip(_names(), map(_short, SYSTEM.singular_values(N_SCORED + 1)[1:]), strict=True))}]
    table[0] |= {"largest of six (%)": "", "VAMP-E": f"{best_score(len(rows[0]['Ritz'])):.4f}", "seconds": ""}
    for name, own in groups.items():
        off = np.mean([errors(row, "Ritz") for row in own], axis=0)
        table.append(
            {
                "": name, **{k: f"{e:+.2f} %" for k, e in zip(_names(), off, strict=True)},
                "largest of six (%)": mean_and_spread([float(np.abs(errors(r, "Ritz", 6)).max()) for r in own]),
                "VAMP-E": mean_and_spread([r["VAMP-E"] for r in own], 5),
                "seconds": "" if name == EXACT else mean_and_spread([r["seconds"] for r in own]),
            }
        )  # fmt: skip
    return table


def _names() -> list[str]:
    return [f"σ{k}" for k in range(1, N_SCORED + 1)]


def _short(value: float) -> str:
    return f"{value:.4f}"


def best_score(n: int) -> float:
    """VAMP-E of the exact operator of rank 1 + n."""
    return float((SYSTEM.singular_values(n + 1) ** 2).sum())


def norms(groups: dict[str, list[Row]]) -> list[Row]:
    """Singular values as the norms of the trained functions state them, beside those from the pairs; errors (%)."""
    table = []
    for name, own in groups.items():
        for kind, shown in (("norms", "norms as trained"), ("from pairs", "Ritz values from the pairs")):
            off = np.mean([errors(row, kind) for row in own], axis=0)
            table.append(
                {"": name, "read off": shown, **dict(zip(_names(), (f"{e:+.1f} %" for e in off), strict=True))}
            )
    return table


def predictions(groups: dict[str, list[Row]]) -> list[Row]:
    """Errors after 1, 2, ... steps, and what there is to predict."""
    table = []
    for name in OBSERVABLES:
        for way in ("forward", "backward"):
            left = left_to_predict(name, way)
            table.append(
                {"observable": name, "direction": way, "method": "spread of the exact expectation"} | _after(left)
            )
            for method, own in groups.items():
                found = np.mean([row["prediction"][f"{name}, {way}"] for row in own], axis=0)
                table.append({"observable": name, "direction": way, "method": method} | _after(found))
    return table


def _after(values: Sequence[float]) -> Row:
    return {f"{n + 1} step{'s' * (n > 0)}": f"{value:.2g}" for n, value in enumerate(values)}


def grouped(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows of every method in its usual setting."""
    names = {EXACT: EXACT, **METHODS}
    return {shown: [r for r in rows if r["method"] == name and not r["change"]] for name, shown in names.items()}


def tied(best: Sequence[float], other: Sequence[float]) -> bool:
    """Whether scores on the same trajectories differ by no more than the spread of the difference."""
    difference = np.subtract(best, other)
    return bool(abs(difference.mean()) <= difference.std(ddof=1)) if len(difference) > 1 else True


def text(rows: Sequence[Row]) -> str:
    groups = grouped(rows)
    one = rows[0]
    largest = {k: float(np.mean([np.abs(errors(r, "Ritz", 6)).max() for r in v])) for k, v in groups.items()}
    scores = {name: [row["VAMP-E"] for row in own] for name, own in groups.items()}
    learners = [name for name in groups if name not in (EXACT, METHODS[UNTRAINED])]
    best = max(learners, key=lambda name: float(np.mean(scores[name])))
    ties = [name for name in learners if name != best and tied(scores[best], scores[name])]
    reached = "; ".join(f"{name} {np.mean(values):.4f}" for name, values in scores.items())
    forward = {k: float(np.mean([r["prediction"]["cos 2πx, forward"][1] for r in groups[k]])) for k in groups}
    parts = [
        f"Learned from one trajectory of {one['frames']} steps, {one['functions']} functions on each side in "
        f"{one['steps']} steps of {one['batch']} pairs. Seeds: {len({r['seed'] for r in rows})}, each with its own "
        "trajectory. Ritz values are those of the exact transition density on the learned functions. VAMP-E is that of "
        "singular functions and values from the trajectory in the exact law, as endless held-out data would give it.",
        f"Largest error of the first six singular values below the constant's 1: "
        f"{'; '.join(f'{k} {v:.2g} %' for k, v in largest.items())}.",
        f"VAMP-E, of at most {best_score(SYSTEM.power):.4f}: {reached}. "
        + (
            "One seed decides nothing between close ones."
            if len(scores[best]) < 2
            else f"The best: {best}" + (f", with which tie {', '.join(ties)}." if ties else ".")
        ),
        "Error of E[cos 2πx] after two steps, in standard deviations: "
        f"{'; '.join(f'{k} {v:.2g}' for k, v in forward.items())}.",
    ]
    changed = {c: [r for r in rows if r["change"] == c] for c in CHANGES}
    found = [
        f"{c}: {np.mean([errors(r, 'Ritz', 6)[-1] for r in own]):+.1f} %, VAMP-E {np.mean(numbers(own, 'VAMP-E')):.3f}"
        for c, own in changed.items()
        if own
    ]
    if found:
        parts.append(f"Error of the sixth with joint nesting where one thing is changed: {'; '.join(found)}.")
    return "\n\n".join(parts)


def figure(rows: Sequence[Row]) -> Figure:
    """Errors of singular values; errors of prediction, forward and backward."""
    groups = grouped(rows)
    result = Figure(figsize=(13, 4.2), layout="constrained")
    values, *ways = result.subplots(1, 3)
    styles = [("k", ":", ""), ("k", "-", "o"), ("0.35", "-", "s"), ("C0", "--", "^"), ("C0", "-.", "v"),
              ("C1", "--", "D"), ("C1", "-.", "x"), ("0.7", ":", "+")]  # fmt: skip
    for (name, own), (colour, line, marker) in zip(groups.items(), styles, strict=True):
        look = {"color": colour, "linestyle": line, "marker": marker, "markersize": 5, "label": name}
        off = np.mean([np.abs(errors(row, "Ritz")) for row in own], axis=0)
        if name != EXACT:
            values.semilogy(range(1, N_SCORED + 1), off, **look)
        for axes, way in zip(ways, ("forward", "backward"), strict=True):
            found = np.mean([row["prediction"][f"cos 2πx, {way}"] for row in own], axis=0)
            axes.semilogy(range(1, N_STEPS + 1), found, **look)
    values.axhline(2, color="0.7", linewidth=1)
    values.set(
        xlabel="number of the singular value, the constant not counted",
        ylabel="relative error (%)",
        title="Singular values",
    )
    for axes, way, sign in zip(ways, ("forward", "backward"), "+−", strict=True):
        steps = range(1, N_STEPS + 1)
        axes.fill_between(steps, left_to_predict("cos 2πx", way), 1e-5, color="0.92", label="what is left to predict")
        axes.set(xlabel="steps n", ylabel="error (standard deviations)", ylim=(1e-3, 2), xticks=steps)
        axes.set_title(f"E[cos 2πx(t {sign} n) | x(t)]")
    ways[1].legend(fontsize=7, loc="upper right")
    return result


def main() -> None:
    options = arguments(__doc__, {STANDARD: 3, QUICK: 1, PUBLISHED: 5})
    rows = collect("logistic_map", options, cases(options.setting, options.seeds), measure)
    groups = grouped(rows)
    changed = {c: [r for r in rows if r["change"] == c] for c in CHANGES}
    changed = {"NeuralSVD, joint": groups["NeuralSVD, joint"], **{k: v for k, v in changed.items() if v}}
    tables = {
        "Singular values: relative error of the Ritz values": singular_values(rows, groups),
        "Norms and Ritz values": norms({k: groups[k] for k in ("NeuralSVD, joint", "NeuralSVD, sequential")}),
        "Error of prediction, in standard deviations of the observable": predictions(groups),
        "What made singular values low": singular_values(rows, changed),
        "Distance of the learned eigenvalues from the exact ones (directed Hausdorff, as published)": [
            {name: mean_and_spread([row["eigenvalues"] for row in own]) for name, own in groups.items()}
        ],
    }
    write("logistic_map", options, rows, tables, text(rows), {"": figure(rows)})


if __name__ == "__main__":
    main()
