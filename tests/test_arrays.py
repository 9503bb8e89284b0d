"""Ready-made features in .npy and .npz files."""

import numpy as np
import pytest

from spectraldyn.errors import InputError
from spectraldyn.features.load import load_features


def test_arrays_one_trajectory_each(tmp_path):
    table = np.random.default_rng(1).normal(size=(40, 2))
    np.save(tmp_path / "a.npy", table)
    np.savez(tmp_path / "b.npz", first=table[:10].astype(np.float32), second=table[10:].astype(">f4"))
    found = load_features([tmp_path / "a.npy", tmp_path / "b.npz"], stride=3, skip="1ns", timestep="0.5ns")
    assert found.column_names == ["feature 0", "feature 1"]
    assert [len(rows) for rows in found] == [13, 3, 10]
    np.testing.assert_array_equal(found[0], table[2::3].astype(np.float32))
    np.testing.assert_array_equal(found[2], table[12::3].astype(np.float32))
    assert [(info.path.name, info.array, info.n_frames) for info in found.files] == [
        ("a.npy", None, 40),
        ("b.npz", "first", 10),
        ("b.npz", "second", 30),
    ]
    assert (found.time.timestep_ps, found.topology) == (500.0, None)
    again = load_features(tmp_path / "a.npy", found.topology, columns=found.column_names, **found.options)
    np.testing.assert_array_equal(again[0], found[0])


def test_one_dimensional_arrays_are_one_column(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(5))
    found = load_features(tmp_path / "a.npy")
    np.testing.assert_array_equal(found[0], np.arange(5, dtype=np.float32)[:, None])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.array([[1.0], [2.0], [np.nan]]), r"a\.npy holds NaN .* in row 2 "),
        (np.array([[1.0], [1e39]]), "in row 1 "),
        (np.ones((2, 3, 4)), r"shape \(2, 3, 4\)"),
        (np.ones((0, 3)), r"shape \(0, 3\)"),
        (np.array(1.0), r"shape \(\)"),
        (np.ones((3, 2), dtype=complex), "complex128, not real"),
        (np.array([["x"]]), "not real"),
        (np.array([{}], dtype=object), "cannot be read"),
        (np.ones((4, 2)), "every feature column is constant"),
    ],
)
def test_arrays_that_are_no_features(tmp_path, content, message):
    np.save(tmp_path / "a.npy", content, allow_pickle=True)
    with pytest.raises(InputError, match=message):
        load_features(tmp_path / "a.npy")


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
@pytest.mark.parametrize("content", [b"1.0 2.0\n", b"PK\x03\x04 cut", b"\x93NUMPY\x01\x00"])
def test_files_that_are_no_arrays(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match="cannot be read"):
        load_features(tmp_path / name)


def test_what_does_not_go_with_arrays(tmp_path):
    dcd, top = tmp_path / "walk.dcd", tmp_path / "top.pdb"
    np.save(tmp_path / "a.npy", np.arange(6.0).reshape(3, 2))
    np.save(tmp_path / "b.npy", np.arange(6.0))
    np.savez(tmp_path / "none.npz")
    with pytest.raises(InputError, match=r"a\.npy holds ready-made features and .*walk\.dcd does not"):
        load_features([dcd, tmp_path / "a.npy"], top)
    with pytest.raises(InputError, match=r"b\.npy has 1 columns and .*a\.npy has 2"):
        load_features([tmp_path / "a.npy", tmp_path / "b.npy"])
    for options in ({"features": "torsions"}, {"atoms": "all"}, {"top": top}):
        with pytest.raises(InputError, match=f"`{next(iter(options))}` means nothing"):
            load_features(tmp_path / "a.npy", **options)
    with pytest.raises(InputError, match="there is no such file"):
        load_features(tmp_path / "absent.npy")
    with pytest.raises(InputError, match="holds no array"):
        load_features(tmp_path / "none.npz")
    assert any("more than once" in text for text in load_features([tmp_path / "a.npy"] * 2).warnings)
