"""Underdamped Langevin dynamics against exact answers: a spring at three frictions, a double well over three decades.

    python -m analysis.underdamped spring         # analysis/results/underdamped_spring.json and .md
    python -m analysis.underdamped double-well    # the same of the double well, and docs/underdamped.png; minutes each
    python -m analysis.underdamped double-well 0.2    # one friction anew, the others as they are

States lie as evenly as the points of a Sobol sequence do: what is told is then how far the functions are from the
true ones, and not what as many random states would leave to chance. Those of the double well are at twice the
temperature and weighted, so that the top of the barrier is seen. Settings are the same for all frictions.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import norm, qmc

from analysis.benchmarks.record import RESULTS, ROOT, write
from spectraldyn import KineticSVD
from spectraldyn.plots import COLOURS
from spectraldyn.spectra.kinetic import Eigenvalue
from spectraldyn.systems import double_well, underdamped_double_well, underdamped_spring

FRICTIONS = {"spring": (0.5, 2.5, 10.0), "double-well": (0.2, 0.6, 2.0, 6.0, 20.0, 60.0, 200.0, 600.0)}
BARRIER = 4.0
HOT = 2.0
"""Temperature of the states of the double well, in units of that of the dynamics."""


def spring(friction: float) -> list[dict[str, Any]]:
    """The four eigenvalues nearest to the shift, from 131,072 states."""
    system, started = underdamped_spring(friction), time.perf_counter()
    options: dict[str, Any] = {"hidden": (32, 128), "max_steps": 450, "random_state": 0, "shift": 1.0}
    learner = KineticSVD(4, force=lambda x: -x, friction=friction, n_functions=8, **options)
    model = learner.fit(spread(17, norm.ppf)).fetch_model()
    return rows("spring", friction, model.eigenvalues, system.eigenvalues(60), model.shift, started)


def well(friction: float) -> list[dict[str, Any]]:
    """The slowest eigenvalue, from 65,536 states."""
    system, started = underdamped_double_well(friction, BARRIER), time.perf_counter()
    grid = np.linspace(-3, 3, 100_001)
    law = np.cumsum(np.exp(-BARRIER * (grid**2 - 1) ** 2 / HOT))
    states = spread(16, lambda share: np.interp(share, law / law[-1], grid))
    weight = np.exp(-(1 - 1 / HOT) * BARRIER * (states[:, 0] ** 2 - 1) ** 2)
    options: dict[str, Any] = {"hidden": (64, 64, 192), "max_steps": 3000, "random_state": 0, "shift": 3.0}
    learner = KineticSVD(1, force=lambda x: -4 * BARRIER * x * (x**2 - 1), friction=friction, n_functions=8, **options)
    model = learner.fit(states, sample_weight=weight).fetch_model()
    exact = system.eigenvalues(1, (80, 200))
    return rows("double-well", friction, model.eigenvalues, exact, model.shift, started)


def spread(log2_n: int, quantile: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Positions of these quantiles, and velocities at temperature 1, even in their joint law; (2 ** log2_n, 2).

    In order of a scrambled Sobol sequence, of which any stretch is even, too.
    """
    shares = qmc.Sobol(2, rng=0).random_base2(log2_n)
    return np.stack((quantile(shares[:, 0]), norm.ppf(shares[:, 1])), axis=1)


def rows(
    name: str, friction: float, found: list[Eigenvalue], exact: np.ndarray, shift: float, started: float
) -> list[dict[str, Any]]:
    """Each eigenvalue beside the exact one that is nearest."""
    result = []
    for one in found:
        known = complex(exact[np.argmin(np.abs(exact - one.value))])
        result.append({
            "system": name, "friction": friction, "shift": shift, "exact": text(known), "learned": text(one.value),
            "error (%)": 100 * abs(one.value - known) / abs(known), "residual": one.residual,
            "sampling": one.sampling, "learning": one.learning, "in doubt": one.unresolved is not None,
            "exact rate inside": bool(abs(one.rate + known.real) <= np.hypot(one.sampling or 0.0, one.learning)),
            "exact rate": -known.real, "rate": one.rate, "seconds": time.perf_counter() - started,
        })  # fmt: skip
        print(result[-1], flush=True)
    return result


def text(value: complex) -> str:
    """Real ones without an imaginary part."""
    return f"{value.real:.5g}" if abs(value.imag) < 1e-9 else f"{value.real:.4f} ± {abs(value.imag):.4f}i"


def picture(found: list[dict[str, Any]]) -> Figure:
    """The slowest rate over friction, learned and exact, with both limits."""
    figure = Figure(figsize=(5.6, 3.9), layout="constrained")
    ax = figure.subplots()
    frictions = np.geomspace(0.1, 900, 17)
    exact = [-underdamped_double_well(g, BARRIER).eigenvalues(1)[0].real for g in frictions]
    overdamped = double_well(BARRIER).rates(1)[0]
    ax.loglog(frictions, exact, color="0.4", label="exact")
    ax.loglog(frictions, overdamped / frictions, ":", color=COLOURS[0], label="overdamped limit")
    ax.loglog(frictions, exact[0] * frictions / frictions[0], "--", color=COLOURS[2], label="∝ friction")
    x, y, error = np.array([
        (row["friction"], row["rate"], np.hypot(row["sampling"] or 0.0, row["learning"])) for row in found
    ]).T  # fmt: skip
    ax.errorbar(x, y, error, fmt="o", color=COLOURS[5], capsize=2, label="learned")
    ax.set(xlabel="friction γ (1/ps)", ylabel="rate (1/ps)", ylim=(1e-4, 6e-2), title="Kramers’ turnover")
    ax.legend(fontsize="small")
    return figure


def main() -> None:
    name, *given = sys.argv[1:]
    stored = RESULTS / f"underdamped_{name.replace('-', '_')}.json"
    for friction in map(float, given or FRICTIONS[name]):
        found = STUDIES[name](friction)
        others = json.loads(stored.read_text())["rows"] if stored.exists() else []
        found = sorted(found + [row for row in others if row["friction"] != friction], key=lambda row: row["friction"])
        worst = max([row["error (%)"] for row in found if not row["in doubt"]], default=float("nan"))
        about = f"Largest error of an eigenvalue that is not in doubt: {worst:.2g} %."
        hidden = {"system", "exact rate", "rate"}
        shown = [{key: value for key, value in row.items() if key not in hidden} for row in found]
        write(stored.stem, found, {"": shown}, about)
    if name == "double-well" and len(found) == len(FRICTIONS[name]):
        picture(found).savefig(ROOT / "docs" / "underdamped.png", dpi=130)


STUDIES = {"spring": spring, "double-well": well}


if __name__ == "__main__":
    main()
