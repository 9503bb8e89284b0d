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
    learned, reference = (np.array([float(v) for v in row[part].split()]) for part in ("learned", "reference"))
    if objective in FALLS_SHORT:
        # Not converged, for a reason that the table states; but no function can beat the variational principle.
        found = np.isfinite(learned)
        if operator.startswith("generator") or operator == "Schrödinger":
            assert (learned > 0.97 * reference)[found].all()
        else:
            assert (learned < 1.03 * reference)[found].all()
        return
    # The low-rank family is unbiased in a minibatch and held to more than its rivals.
    tight = objective in ("joint", "sequential", "block", "low-rank")
    allowed = 1 if (system, objective) in BOTH_FORMS else 4 if tight else 8
    assert row["largest error (%)"] < allowed
    assert row["subspace distance"] < (0.03 if tight else 0.05)
    if row["order"] is not None and (system, operator) not in SWAPPED:
        assert row["order"] > 0.9


BOTH_FORMS = {(name, "sequential") for name in ("double-well", "double-well-variable-diffusion", "ten dimensions")}
"""Learned in the energy space and in the strong form; each within 1 % of the reference, so within 2 % of each other."""
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
