"""Every row of the table of systems, operators and objectives, held to its tolerance.

`python -m analysis.grid` writes the same rows as a table.
"""

import numpy as np
import pytest

from analysis.grid import FALLS_SHORT, PROBLEMS, cases, learn
from spectraldyn.objectives import OBJECTIVES
from spectraldyn.systems import SYSTEMS

CASES = list(cases())


@pytest.mark.parametrize(("system", "operator", "objective"), CASES, ids=[" | ".join(case) for case in CASES])
def test_learned_spectrum_meets_the_reference(system, operator, objective):
    row = learn(system, operator, objective)
    if objective in FALLS_SHORT:
        # Not converged for a reason that the table states; the leading value still comes out.
        assert float(row["learned"].split()[0]) == pytest.approx(float(row["reference"].split()[0]), rel=0.5)
        return
    # The low-rank family is unbiased in a minibatch and held to more than its rivals.
    tight = objective in ("joint", "sequential", "block", "low-rank")
    assert row["largest error (%)"] < (4 if tight else 8)
    assert row["subspace distance"] < (0.03 if tight else 0.05)
    if row["order"] is not None and (system, operator) not in SWAPPED:
        assert row["order"] > 0.9


SWAPPED = {
    ("ten dimensions", "generator, energy space"),
    ("ten dimensions", "generator, strong form"),
}
"""Two modes of nearly equal value came out in the other order; Rayleigh–Ritz puts them right."""


def test_every_system_operator_and_objective_is_in_the_table():
    assert {objective for *_, objective in CASES} == set(OBJECTIVES) - {
        "vamp-e", "symmetric-low-rank-product", "triangularised-orthogonalisation-free",
    }  # fmt: skip
    assert set(SYSTEMS) - {"mixed-double-wells"} <= {system for system, _ in PROBLEMS}
    assert len({operator for _, operator in PROBLEMS}) == 7


def test_the_strong_and_the_energy_space_form_agree_after_training():
    """Within 2 % on systems with constant and position-dependent diffusion and in ten dimensions."""
    for system in ("double-well", "double-well-variable-diffusion", "ten dimensions"):
        rates = [
            np.array([float(v) for v in learn(system, f"generator, {form}", "sequential")["learned"].split()])
            for form in ("energy space", "strong form")
        ]
        np.testing.assert_allclose(rates[0], rates[1], rtol=0.02)
