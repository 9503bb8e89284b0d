"""The main job on trajectory files with a known answer: distance from the oracle, and exact values in the intervals."""

import numpy as np
import pytest
from problems import EXACT_TIMESCALES, REPOSITORY_DATA, SHARED, needs_shared

from spectraldyn import fit_trajectories
from spectraldyn.systems import SYSTEMS, oracle_timescales

KNOWN = SHARED / "known"
POSITIONS = {"features": "positions", "lag": "1ps", "timestep": "0.2ps"}


@pytest.mark.parametrize(
    ("system", "folder", "name", "options"),
    [
        ("double-well-2d", REPOSITORY_DATA / "double_well", "double_well", POSITIONS),
        pytest.param("double-well-2d", KNOWN, "double_well_2d", POSITIONS, marks=needs_shared),
        pytest.param("prinz", KNOWN, "prinz", POSITIONS | {"lag": "0.05ps", "timestep": "0.01ps"}, marks=needs_shared),
        pytest.param("double-well", KNOWN, "dimer", POSITIONS | {"features": "heavy-distances"}, marks=needs_shared),
    ],
    ids=["shipped double well", "double well", "prinz", "dimer"],
)
def test_timescales_meet_the_oracle_and_the_exact_values(system, folder, name, options):
    results = fit_trajectories(
        sorted(folder.glob(f"{name}_*.dcd")),
        top=folder / f"{name}.pdb",
        n_modes=3,
        max_steps=100,
        random_state=0,
        **options,
    )
    states = [np.asarray(part, dtype=float) for part in results.data]
    if name == "dimer":  # the double well drives the distance 0.6 nm + 0.2 x
        states = [(part - 0.6) / 0.2 for part in states]
    exact = np.array(EXACT_TIMESCALES[system])
    oracle = results.data.time.row_time * oracle_timescales(SYSTEMS[system], states, results.model.lagtime, len(exact))
    learned = results.timescales[: len(exact)]
    np.testing.assert_allclose([scale.value for scale in learned], oracle, rtol=0.02)
    value, low, high = (np.log([getattr(scale, part) for scale in learned]) for part in ("value", "low", "high"))
    # Of four data sets, seven timescales in all: a few of a thousand such z-scores are larger.
    assert np.abs((value - np.log(exact)) / ((high - low) / 3.92)).max() < 3
    assert all(scale.unresolved is None for scale in learned)
    # Beyond the distance, nothing of the dimer is slower than the lag time.
    assert all(scale.unresolved for scale in results.timescales[len(exact) :])


@needs_shared
@pytest.mark.parametrize(
    ("name", "files", "top", "timestep", "ranges"),
    [
        ("alanine_dipeptide_99sb", "*.dcd", "ala2.pdb", "1ps", {0: (205, 275), 1: (6.0, 7.4)}),
        ("alanine_dipeptide_300K", "*.xtc", "top.pdb", None, {1: (22.4, 25.2)}),
        ("alanine_dipeptide_400K", "*.xtc", "top.pdb", None, {0: (275, 340), 1: (9.4, 10.9)}),
    ],
)
def test_alanine_dipeptide_lies_in_the_reference_ranges(name, files, top, timestep, ranges):
    folder = SHARED / "molecules" / name
    results = fit_trajectories(
        sorted(folder.glob(files)),
        top=folder / top,
        lag="5ps",
        timestep=timestep,
        n_modes=3,
        max_steps=100,
        random_state=0,
    )
    for process, (low, high) in ranges.items():
        assert low < results.timescales[process].value < high
        assert results.timescales[process].unresolved is None
    if name.endswith("300K"):
        rare = results.timescales[0]
        assert rare.unresolved == "only 3 transitions seen"
        assert rare.high > 4 * rare.value
    # The sets separate the basins: φ > 0 and, for φ < 0, the two sides of ψ.
    place = {(column.kind, column.site, column.part): number for number, column in enumerate(results.data.columns)}
    phi, psi = (
        np.arctan2(*(results.data.column(place[kind, "ALA2", part]) for part in ("sin", "cos")))
        for kind in ("phi", "psi")
    )
    basin = np.where((phi > 0) & (phi < 2), 2, np.where((psi > -1.4) & (psi < 1.0), 1, 0))
    core = (np.abs(psi + 0.5) < 0.6) | (np.abs(np.abs(psi) - 2.6) < 0.5) | (basin == 2)
    for which in np.unique(basin):
        mine = core & (basin == which)
        states = results.sets.assignment[mine]
        own = [s for s in np.unique(states) if (basin[core & (results.sets.assignment == s)] == which).mean() > 0.9]
        assert np.isin(states, own).mean() > 0.95
