"""The chignolin experiment: its split, its score against the formula written out, its files, and what it refuses."""

import json
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations

import numpy as np
import pytest
import torch

from analysis.experiments import chignolin, chignolin_report, experiment, hairpin
from spectraldyn import InputError

N_RUNS, N_FRAMES = 6, 60


@pytest.fixture(scope="module")
def runs():
    return hairpin.simulated(N_FRAMES, N_RUNS)


@pytest.fixture
def folder(runs, tmp_path):
    return hairpin.write(tmp_path / "stand-in", lambda: runs)


def distance_of_laws(first, second):
    """Between numbers that all count alike, where one sample is a multiple of the other: sorted, one by one."""
    repeated = np.sort(np.repeat(second, len(first) // len(second)))
    return np.abs(np.sort(first) - repeated).mean()


def test_the_split_with_the_most_similar_laws_is_taken():
    levels = np.random.default_rng(3).normal(size=(10, 2))
    walks = [np.repeat(level[None], 7, axis=0) for level in levels]
    kept, held_out, mismatches = chignolin.matched(walks, seed=0)
    assert sorted(kept + held_out) == list(range(10))
    assert len(held_out) == 2

    def expected(pair):
        others = np.delete(levels, pair, axis=0)
        return np.mean([distance_of_laws(others[:, k], levels[list(pair), k]) for k in range(2)])

    every = {pair: expected(pair) for pair in combinations(range(10), 2)}
    assert mismatches.min() == pytest.approx(every[tuple(held_out)])
    assert mismatches.min() == pytest.approx(min(every.values()))
    assert mismatches.min() < np.median(list(every.values()))


def test_the_parts_share_no_trajectory(folder):
    data = chignolin.load(folder)
    split = chignolin.split_of(data)
    parts = split.train, split.validation, split.test
    assert sorted(split.train + split.validation + split.test) == list(range(N_RUNS))
    assert list(map(len, parts)) == [4, 1, 1]
    assert split.mismatch < split.usual
    of_row = data.file_of_row
    starts = [chignolin.starts_in(data, part) for part in parts]
    for part, rows in zip(parts, starts, strict=True):
        assert set(of_row[rows]) == set(of_row[rows + chignolin.LAG]) == set(part)
        assert len(rows) == len(part) * (N_FRAMES - chignolin.LAG)


def test_the_score_is_the_formula(folder, tmp_path):
    """VAMP-E of linear functions, written out on the files' own distances."""
    data = chignolin.load(folder)
    split = chignolin.split_of(data)
    (row,) = chignolin.measure(folder, split, {"objective": "linear", "modes": 3}, tmp_path / "none")

    def moments(numbers):
        walks = [np.asarray(data[n], dtype=float) for n in numbers]
        x, y = (np.concatenate([walk[part] for walk in walks]) for part in (np.s_[:-1], np.s_[1:]))
        x, y = (np.hstack((np.ones((len(part), 1)), part)) for part in (x, y))
        return x.T @ x / len(x), x.T @ y / len(x), y.T @ y / len(x)

    c00, c01, c11 = moments(split.train + split.validation)
    left, right = (np.linalg.inv(np.linalg.cholesky(c)).T for c in (c00, c11))
    u, s, vt = np.linalg.svd(left.T @ c01 @ right)
    assert s[0] == pytest.approx(1)
    U, V, S = left @ u[:, :4], right @ vt.T[:, :4], np.diag(s[:4])
    assert row["VAMP-E of training"] == pytest.approx((s[:4] ** 2).sum())
    c00, c01, c11 = moments(split.test)
    expected = np.trace(2 * S @ U.T @ c01 @ V - S @ U.T @ c00 @ U @ S @ V.T @ c11 @ V)
    assert row["VAMP-E"] == pytest.approx(expected, rel=1e-6)
    assert row["VAMP-E"] < row["VAMP-E of training"]


def test_from_trajectories_to_table_and_figure(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(chignolin, "MODES", (2, 3))
    for module in (chignolin, chignolin_report):
        monkeypatch.setattr(module, "OBJECTIVES", ("sequential", "low-rank", "vamp-2", "dpnet-relaxed"))
    monkeypatch.setitem(chignolin.SETTINGS, "quick", chignolin.Setting({2: (4,), 3: (4,)}, 1e-2, 20))
    monkeypatch.setattr(experiment, "_processes", ThreadPoolExecutor)
    out = tmp_path / "out"
    assert chignolin.main([str(folder), "--quick", "--seeds", "2", "--folder", str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["chignolin.json", "chignolin.md", "chignolin.png"]
    rows = json.loads((out / "chignolin.json").read_text())["rows"]
    assert len(rows) == 2 * (1 + 4 * 2)
    assert all(row["failed"] is None and 1 < row["VAMP-E of training"] <= 1 + row["modes"] for row in rows)
    page = (out / "chignolin.md").read_text().replace("\u00a0", " ")
    mine = [row["VAMP-E"] for row in rows if (row["objective"], row["modes"]) == ("low-rank", 2)]
    assert f"| low-rank | {experiment.mean_and_spread(mine, 4)} |" in page
    assert "12.29 ± 0.07" in page
    assert "No training diverged." in page


def row_of(objective, score, failed=None):
    return {"objective": objective, "modes": 16, "VAMP-E": score, "failed": failed}


def test_a_difference_within_its_spread_is_a_tie():
    ours = [row_of("joint", 9.0), row_of("joint", 9.2), row_of("low-rank", 8.0), row_of("low-rank", 8.1)]
    assert "joint 9.1 ± 0.1" in chignolin_report.verdict([*ours, row_of("vamp-2", 9.1), row_of("vamp-2", 9.3)], 16)
    assert "a tie" in chignolin_report.verdict([*ours, row_of("vamp-2", 9.1), row_of("vamp-2", 9.3)], 16)
    assert "other objective is ahead" in chignolin_report.verdict(
        [*ours, row_of("vamp-2", 9.6), row_of("vamp-2", 9.6)], 16
    )
    assert "decides nothing" in chignolin_report.verdict([row_of("joint", 9.0), row_of("vamp-1", 3.0)], 16)
    assert "came to an end" in chignolin_report.verdict([*ours, row_of("vamp-2", None, "diverged")], 16)
    (line,) = chignolin_report.by_objective([row_of("vamp-2", None, "diverged")], "VAMP-E")
    assert line == {"objective": "vamp-2", "16 modes": "diverged"}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "protein.gro").unlink(), "holds 0 GRO files"),
        (lambda folder: [(folder / f"C{n}.xtc").unlink() for n in range(3)], "holds 3 XTC files: at least 4"),
        (lambda folder: [path.unlink() for path in folder.iterdir()] and folder.rmdir(), "is no folder"),
    ],
)
def test_a_folder_that_cannot_be_used(folder, spoil, message, capsys):
    spoil(folder)
    assert chignolin.main([str(folder)]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert len(said.splitlines()) == 1


def test_atoms_that_differ_from_the_topology(folder, runs):
    runs[0].atom_slice(range(9)).save_xtc(str(folder / "C3.xtc"))
    with pytest.raises(InputError, match=r"C3\.xtc.*9 atoms"):
        chignolin.load(folder)


def test_the_energy_of_the_hairpin():
    """Springs, cores and wells, pair by pair."""
    x = hairpin.starts() + 0.02 * np.random.default_rng(0).normal(size=(2, 30))
    for chain, found in zip(x, hairpin.energy(torch.tensor(x)), strict=True):
        beads, expected = chain.reshape(10, 3), 0.0
        for i, j in combinations(range(10), 2):
            r = np.linalg.norm(beads[i] - beads[j])
            expected += {1: 300 * (r - 0.38) ** 2, 2: 30 * (r - 0.6) ** 2}.get(j - i, 0.0)
            expected += 300 * max(0.45 - r, 0) ** 2 * (j - i > 1)
            if j - i > 2 and i + j in (8, 9, 10):
                expected -= 1.7 * np.exp(-((r - (0.5 if i + j == 9 else 0.6)) ** 2) / 0.02)
        assert float(found) == pytest.approx(expected)


def test_longer_runs_are_cut_into_pieces(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(hairpin, "N_TRAJECTORIES", 5)
    long = [runs[0], runs[1][:40]]
    for number, run in enumerate(long):
        run.save_xtc(str(tmp_path / f"r{number}.xtc"))
    runs[0][0].save_pdb(str(tmp_path / "top.pdb"))
    pieces = list(hairpin.cut(tmp_path))
    assert [len(piece) for piece in pieces] == [20] * 5
    for piece, (number, start) in zip(pieces, [(0, 0), (0, 20), (0, 40), (1, 0), (1, 20)], strict=True):
        np.testing.assert_allclose(piece.xyz, long[number].xyz[start : start + 20], atol=6e-4)
    (tmp_path / "top.pdb").unlink()
    with pytest.raises(InputError, match="0 PDB or GRO files"):
        list(hairpin.cut(tmp_path))
