"""What results.json holds of kinetics, validation and verdict is what the results hold."""

import json

import numpy as np
import pytest
from problems import exchanging_frames

import spectraldyn

KELVIN = 350.0


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Three states in equal shares, 2 ps from frame to frame; results and their JSON."""
    folder = tmp_path_factory.mktemp("chain")
    np.save(folder / "chain.npy", exchanging_frames(8000))
    options = {"n_modes": 2, "n_states": 3, "n_networks": 1, "hidden": (8,), "max_steps": 100, "random_state": 0}
    results = spectraldyn.fit_trajectories(folder / "chain.npy", lag=2, timestep="2ps", temperature=KELVIN, **options)
    out = spectraldyn.write_results(results, folder / "out")
    return results, json.loads((out / "results.json").read_text())


def numbers(entries: list[dict], *keys: str) -> np.ndarray:
    return np.array([[entry[key] for key in keys] for entry in entries], dtype=float)


def test_populations_and_free_energies(written):
    """A free energy of 1 kT is 8.314462618 J/(mol K) times the temperature."""
    results, stored = written
    np.testing.assert_array_equal(numbers(stored["states"], "population", "low", "high").T, results.populations)
    energies = stored["free_energies"]
    in_kt = numbers([entry["kT"] for entry in energies], "value", "low", "high")
    np.testing.assert_array_equal(in_kt.T, results.free_energies)
    assert np.abs(in_kt[1:]).min() > 0
    molar = numbers([entry["kJ/mol"] for entry in energies], "value", "low", "high")
    np.testing.assert_allclose(molar, in_kt * 8.314462618e-3 * KELVIN, rtol=1e-9)


def test_passage_times_fluxes_and_committors(written):
    """Sets are counted from 1; frames are those that represent the sets."""
    results, stored = written
    kinetics = results.kinetics
    for key, part in zip(("mfpt", "mfpt_low", "mfpt_high"), kinetics.mfpt, strict=True):
        np.testing.assert_array_equal(stored[key], part)
    assert (np.array(stored["mfpt"]) < np.array(stored["mfpt_high"]))[~np.eye(3, dtype=bool)].all()
    assert [entry["sets"] for entry in stored["fluxes"]] == [[1, 2], [1, 3], [2, 3]]
    fluxes = [[part[a - 1, b - 1] for part in kinetics.fluxes] for a, b in ([1, 2], [1, 3], [2, 3])]
    np.testing.assert_array_equal(numbers(stored["fluxes"], "value", "low", "high"), fluxes)
    assert {entry["unit"] for entry in stored["fluxes"]} == {"1/ps"}
    rows = np.concatenate(results.representatives)
    assert [(entry["from"], entry["to"]) for entry in stored["committors"]] == [(1, 2), (1, 3), (2, 3)]
    for entry in stored["committors"]:
        pair, frames = (entry["from"] - 1, entry["to"] - 1), entry["frames"]
        assert [frame["frame"] for frame in frames] == rows.tolist()
        np.testing.assert_array_equal([frame["value"] for frame in frames], results.committor(*pair)[rows])
        learned = [frame["learned"] for frame in frames]
        np.testing.assert_allclose(learned, results.neural_committor(*pair)[rows])
        ends = results.sets.assignment[rows]
        assert max(np.array(learned)[ends == pair[0]]) < 0.2  # where they come from
        assert min(np.array(learned)[ends == pair[1]]) > 0.8


def test_chapman_kolmogorov_and_verdict(written):
    results, stored = written
    test = results.chapman_kolmogorov
    assert [entry["lag"]["time"] for entry in stored["chapman_kolmogorov"]] == (2.0 * test.lagtimes).tolist()
    for i, entry in enumerate(stored["chapman_kolmogorov"]):
        predicted = numbers(entry["sets"], "predicted", "predicted_low", "predicted_high")
        estimated = numbers(entry["sets"], "estimated", "low", "high")
        np.testing.assert_array_equal(predicted.T, [part[i] for part in test.predicted])
        np.testing.assert_array_equal(estimated.T, [part[i] for part in test.estimated])
    assert not np.array_equal(test.predicted.value, test.estimated.value)
    assert [(one["level"], one["message"], one["advice"], one["process"]) for one in stored["verdict"]] == [
        (one.level, one.message, one.advice, one.process) for one in results.verdict
    ]
    assert [one["process"] for one in stored["verdict"] if one["level"] == "good"][-2:] == [1, 2]
