"""Files in, feature trajectories out: which frames, which columns, and nothing read twice."""

import errno
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import mdtraj
import numpy as np
import pytest
import torch

from spectraldyn import io
from spectraldyn.data import Column, Dataset, InputFile, Source, dataset, rows_of
from spectraldyn.errors import InputError
from spectraldyn.features import cache_folder, featurize, load_features, store
from spectraldyn.units import TimeAxis

SHARED = Path(__file__).parents[1].parent / "shared" / "data"
damaged = pytest.mark.skipif(not (SHARED / "damaged").is_dir(), reason="the sample files are not beside the project")


def test_reading_files_and_making_features_needs_no_torch():
    """Its import takes seconds, which `spectraldyn info` and `spectraldyn features` should not pay."""
    code = "import spectraldyn.features, spectraldyn.io, spectraldyn.cli, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def particle(n_atoms=1):
    topology = mdtraj.Topology()
    chain = topology.add_chain()
    for _ in range(n_atoms):
        topology.add_atom("C", mdtraj.element.carbon, topology.add_residue("PRT", chain))
    return topology


def write(path, xyz, times=None):
    """A trajectory file of unbonded particles; xyz (frames, atoms, 3) nm."""
    xyz = np.asarray(xyz, dtype=np.float32)
    mdtraj.Trajectory(xyz, particle(xyz.shape[1]), times).save(str(path))
    return path


@pytest.fixture
def walk():
    """(300, 2, 3): two particles, planar, every frame different."""
    xyz = np.random.default_rng(0).normal(size=(300, 2, 3)).cumsum(axis=0) / 10
    xyz[:, :, 2] = 0
    return xyz.astype(np.float32)


@pytest.fixture
def top(tmp_path, walk):
    return write(tmp_path / "top.pdb", walk[:1])


@pytest.fixture
def dcd(tmp_path, walk):
    return write(tmp_path / "walk.dcd", walk)


@pytest.fixture
def no_reading(monkeypatch):
    """Call to forbid reading frames from here on."""

    def forbid():
        def scan(*args):
            raise AssertionError("frames were read again")

        monkeypatch.setattr(io, "scan", scan)

    return forbid


def test_rows_sources_and_columns(dcd, top, walk):
    found = load_features(dcd, top)
    assert isinstance(found, Dataset)
    assert found.columns == tuple(Column(axis, atom, unit="nm") for atom in ("C1", "C2") for axis in "xy")
    assert found.column_names == ["x C1", "y C1", "x C2", "y C2"]
    np.testing.assert_allclose(found[0], walk[:, :, :2].reshape(300, 4), rtol=1e-6)
    assert found[0].dtype == np.float32
    assert found.sources == (Source(0, 0),)
    assert found.files == (InputFile(dcd, 300),)
    assert found.time == TimeAxis(None, 1)
    assert found.width == 6
    assert found.topology.n_frames == 1
    assert "2 constant columns left out: z C1, z C2" in found.warnings


def test_pieces_have_the_rows_of_the_whole_file(tmp_path, dcd, top, walk):
    pieces = [write(tmp_path / f"{i}.dcd", part) for i, part in enumerate(np.split(walk, [70, 100]))]
    whole = load_features(dcd, top, "heavy-distances")
    parts = load_features(pieces, top, "heavy-distances")
    assert [len(part) for part in parts] == [70, 30, 200]
    assert [source.file_index for source in parts.sources] == [0, 1, 2]
    assert [info.n_frames for info in parts.files] == [70, 30, 200]
    np.testing.assert_array_equal(np.concatenate(parts), whole[0])
    np.testing.assert_allclose(whole[0][:, 0], np.linalg.norm(walk[:, 0].astype(float) - walk[:, 1], axis=1), rtol=1e-6)


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize(
    ("skip", "timestep", "first"), [(None, None, 0), (7, None, 7), ("1.4ps", "0.2ps", 7), ("1.4ps", 0.2, 7)]
)
@pytest.mark.parametrize("stride", [1, 2, 9])
def test_stride_and_skip_keep_these_frames(dcd, top, walk, stride, skip, timestep, first, cache):
    found = load_features(dcd, top, stride=stride, skip=skip, timestep=timestep, cache=cache)
    np.testing.assert_array_equal(found.frame_of_row, np.arange(first, 300, stride))
    np.testing.assert_allclose(found[0], walk[first::stride, :, :2].reshape(-1, 4), rtol=1e-6)
    assert found.time == TimeAxis(None if timestep is None else 0.2, stride)
    assert found.files[0].n_frames == 300


@pytest.mark.parametrize("size", [1, 7, 64])
def test_stride_across_chunks(monkeypatch, dcd, top, walk, size):
    scan = io.scan

    def scan_in_pieces(path, topology, visit):
        def visit_pieces(chunk, first):
            for start in range(0, len(chunk), size):
                visit(chunk[start : start + size], first + start)

        return scan(path, topology, visit_pieces)

    monkeypatch.setattr(io, "scan", scan_in_pieces)
    monkeypatch.setattr(featurize, "_BLOCK_VALUES", 12)  # two rows at a time
    found = load_features(dcd, top, stride=5, skip=16)
    np.testing.assert_array_equal(found.frame_of_row, np.arange(16, 300, 5))
    np.testing.assert_allclose(found[0], walk[16::5, :, :2].reshape(-1, 4), rtol=1e-6)


def test_skip_in_time_uses_the_times_in_the_file(tmp_path, top, walk):
    xtc = write(tmp_path / "walk.xtc", walk, times=0.5 * np.arange(300))
    for stride in (1, 3):
        found = load_features(xtc, top, skip="10ps", stride=stride)
        assert found.time.timestep_ps == pytest.approx(0.5)
        np.testing.assert_array_equal(found.frame_of_row, np.arange(20, 300, stride))
        np.testing.assert_allclose(found[0], walk[20::stride, :, :2].reshape(-1, 4), atol=6e-4)


def test_stretches_end_where_time_jumps(tmp_path, top, walk):
    times = np.arange(300.0)
    times[100:] += 50
    times[201:] += 50
    xtc = write(tmp_path / "gaps.xtc", walk, times)
    found = load_features(xtc, top, stride=4, skip=2)
    frames = np.arange(2, 300, 4)
    expected = [frames[frames < 100], frames[(frames >= 100) & (frames < 201)], frames[frames >= 201]]
    assert len(found) == 3
    np.testing.assert_array_equal(found.frame_of_row, np.concatenate(expected))
    for rows, source, wanted in zip(found, found.sources, expected, strict=True):
        assert source == Source(0, wanted[0])
        np.testing.assert_allclose(rows, walk[wanted, :, :2].reshape(-1, 4), atol=6e-4)
    # a skip beyond the first break leaves no empty stretch
    assert load_features(xtc, top, skip=150).sources == (Source(0, 150), Source(0, 201))


@pytest.mark.parametrize("stride", [1, 2])
def test_a_file_shorter_than_the_skip(dcd, top, stride, feature_store):
    with pytest.raises(InputError, match=r"walk\.dcd has 300 frames and `skip` leaves out the first 300"):
        load_features(dcd, top, skip=300, stride=stride)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stride": 0}, "`stride` is 0,"),
        ({"stride": 1.5}, "`stride` is 1.5,"),
        ({"skip": "soon"}, "`skip` is 'soon', which is not a time"),
        ({"skip": "1ps"}, "`skip` .* frame spacing is unknown: give `timestep`"),
        ({"skip": -3}, "`skip` is '-3', which is not a time"),
        ({"timestep": "5"}, "`timestep` is '5', which has no unit"),
        ({"timestep": 0.0}, "greater than 0"),
        ({"timestep": float("nan")}, "greater than 0"),
        ({"columns": ["x C9"]}, "`columns` names 'x C9', but these features have x C1, y C1"),
        ({"columns": []}, "`columns` is empty"),
        ({"columns": 7}, "7 columns are needed, but these features have 6"),
        ({"columns": 0}, "0 columns are needed, but these features have 6"),
        ({"files": []}, "`files` is empty"),
    ],
)
def test_options_that_cannot_be_right(dcd, top, options, message):
    with pytest.raises(InputError, match=message):
        load_features(**{"files": dcd, "top": top} | options)


def test_columns_asked_for_come_in_that_order_and_constant_or_not(dcd, top, walk):
    found = load_features(dcd, top, columns=["z C2", "x C1"])
    assert found.column_names == ["z C2", "x C1"]
    np.testing.assert_allclose(found[0], np.stack([walk[:, 1, 2], walk[:, 0, 0]], axis=1), rtol=1e-6)
    assert found[0].flags.c_contiguous
    assert not any("constant" in text for text in found.warnings)


def test_options_compute_the_same_columns_from_new_files(tmp_path, dcd, top, walk):
    first = load_features(dcd, top, timestep=0.2, skip=10, stride=2)
    flat = walk.copy()
    flat[:, 0] = flat[0, 0]  # constant here, not there
    new = write(tmp_path / "new.dcd", flat)
    options = json.loads(json.dumps(first.options))
    again = load_features(new, first.topology, columns=first.column_names, **options)
    assert again.columns == first.columns
    np.testing.assert_allclose(again[0], flat[10::2, :, :2].reshape(-1, 4), rtol=1e-6)
    assert again.options == first.options


def test_all_columns_constant(tmp_path, top, walk):
    walk[:, 0] = [0.5, 0.25, 0]
    still = write(tmp_path / "still.dcd", walk)
    with pytest.raises(InputError, match=r"every feature column is constant over all frames \(x C1, y C1, z C1\)"):
        load_features(still, top, "positions", "index 0")


def test_rounding_is_no_variation_and_a_small_motion_is(tmp_path):
    rng = np.random.default_rng(0)
    one, far = np.float32(1), np.float32(1000)
    rows = np.stack(
        [
            np.where(rng.random(50) < 0.5, one, np.nextafter(one, 2)),
            np.where(rng.random(50) < 0.5, far, np.nextafter(far, 2000)),
            1 + 1e-5 * rng.random(50),
        ],
        axis=1,
    )
    np.save(tmp_path / "a.npy", rows.astype(np.float32))
    assert load_features(tmp_path / "a.npy").column_names == ["feature 2"]


def test_very_many_columns(tmp_path):
    rows = np.random.default_rng(0).normal(size=(3, 40_000)).astype(np.float32)
    rows[:, 1::2] = 1
    np.save(tmp_path / "wide.npy", rows)
    found = load_features(tmp_path / "wide.npy")
    np.testing.assert_array_equal(found[0], rows[:, ::2])
    assert found.columns[-1] == Column("feature", "39998")
    assert found.warnings[0].startswith("20000 constant columns left out: feature 1, feature 3,")
    assert found.warnings[0].endswith("feature 19 and 19,990 more")


def test_columns_are_chosen_over_all_files_and_chunks(monkeypatch, tmp_path):
    monkeypatch.setattr(dataset, "CHUNK_VALUES", 1)  # 1,024 rows at once
    rows = np.zeros((5000, 3), dtype=np.float32)
    rows[-1, 0] = rows[2000, 2] = 1
    np.savez(tmp_path / "a.npz", a=rows[:3000], b=rows[3000:])
    assert load_features(tmp_path / "a.npz").column_names == ["feature 0", "feature 2"]


def test_a_topology_without_coordinates_aligns_on_the_first_frame(monkeypatch, tmp_path):
    xyz = np.random.default_rng(3).normal(size=(20, 4, 3)).astype(np.float32)
    path = write(tmp_path / "four.dcd", xyz)
    bare = mdtraj.Trajectory(np.zeros((0, 4, 3), dtype=np.float32), particle(4))
    found = load_features(path, bare, "aligned-positions")
    np.testing.assert_allclose(found[0][0], xyz[0].ravel(), atol=1e-6)
    assert any("first frame of" in text for text in found.warnings)


# ----- the store


def entries(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_a_second_run_reads_no_frames(dcd, top, no_reading, feature_store):
    first = load_features(dcd, top, "heavy-distances")
    assert [Path(name).suffix for name in entries(feature_store)] == [".json", ".npy"]
    no_reading()
    again = load_features(dcd, top, "heavy-distances")
    np.testing.assert_array_equal(again[0], first[0])
    assert (again.columns, again.warnings, again.files) == (first.columns, first.warnings, first.files)
    # other frames of the same features are there too
    assert len(load_features(dcd, top, "heavy-distances", skip=100)[0]) == 200
    with pytest.raises(AssertionError, match="read again"):
        load_features(dcd, top, "positions")


def test_what_the_scan_found_is_kept(tmp_path, top, walk, no_reading):
    times = np.arange(300.0)
    times[100:] += 50
    xtc = write(tmp_path / "gap.xtc", walk, times)
    first = load_features(xtc, top)
    no_reading()
    again = load_features(xtc, top)
    assert (again.time.timestep_ps, again.warnings) == (1.0, first.warnings)
    assert [len(rows) for rows in again] == [100, 200]
    # the file elsewhere: its sentences name it where it is
    (tmp_path / "moved").mkdir()
    moved = xtc.rename(tmp_path / "moved" / "gap.xtc")
    assert any(str(moved) in text for text in load_features(moved, top).warnings)


@pytest.mark.parametrize("change", ["size", "time", "first", "middle", "last"])
def test_changed_content_is_computed_anew(tmp_path, top, walk, no_reading, change):
    path = write(tmp_path / "long.dcd", np.tile(walk, (20, 1, 1)))
    content, times = bytearray(path.read_bytes()), os.stat(path)
    assert len(content) > 3 * 2**16
    load_features(path, top)
    no_reading()
    load_features(path, top)
    if change in ("first", "middle", "last"):
        content[{"first": 0, "middle": len(content) // 2, "last": -1}[change]] ^= 1
    path.write_bytes(content + b"x" * (change == "size"))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns + (change == "time")))
    with pytest.raises(AssertionError, match="read again"):
        load_features(path, top)


def mapping(rows):
    """The file on disk that an array is a view of."""
    while not isinstance(rows, np.memmap):
        rows = rows.base
    return rows


@pytest.mark.parametrize("options", [{}, {"skip": 20}, {"stride": 3}, {"skip": 150, "columns": 2}])
def test_rows_on_disk_stay_there(monkeypatch, tmp_path, top, walk, options):
    monkeypatch.setattr(dataset, "JOINED_BYTES", 0)
    walk[:, 1] = walk[0, 1]  # the last columns are constant
    times = np.arange(300.0) + 50 * (np.arange(300) >= 100) + 50 * (np.arange(300) >= 200)
    paths = [write(tmp_path / name, walk, times) for name in ("a.xtc", "b.xtc")]
    found = load_features(paths, top, **options)
    assert (len(found), len(found.parts)) == (4 if "columns" in options else 6, 2)
    for rows, source in zip(found, found.sources, strict=True):
        assert np.shares_memory(rows, mapping(found[0 if source.file_index == 0 else -1]))
    tensors = rows_of(found, torch.device("cpu"))
    for part, tensor in zip(found.parts, tensors.parts, strict=True):
        assert np.shares_memory(part, found[0]) or np.shares_memory(part, found[-1])
        assert tensor.data_ptr() == part.__array_interface__["data"][0]


def test_torch_wraps_rows_on_disk_and_writing_changes_no_entry(dcd, top):
    found = load_features(dcd, top, "heavy-distances")
    first = found[0].copy()
    torch.from_numpy(found.parts[0]).zero_()
    assert not found[0].any()
    np.testing.assert_array_equal(load_features(dcd, top, "heavy-distances")[0], first)


def test_entries_larger_than_main_memory(monkeypatch, dcd, top):
    first = load_features(dcd, top, "heavy-distances")
    load = np.load

    def refuse_private(path, mmap_mode, **options):
        if mmap_mode == "c":
            raise OSError(errno.ENOMEM, "Cannot allocate memory")
        return load(path, mmap_mode, **options)

    monkeypatch.setattr(np, "load", refuse_private)
    again = load_features(dcd, top, "heavy-distances")
    assert again.warnings == first.warnings
    assert not again[0].flags.writeable
    np.testing.assert_array_equal(again[0], first[0])


def test_the_same_frames_with_other_surroundings_are_computed_anew(tmp_path):
    xyz = np.random.default_rng(3).normal(size=(20, 4, 3)).astype(np.float32)
    path = write(tmp_path / "four.dcd", xyz)
    tops = [mdtraj.Trajectory(xyz[frame], particle(4)) for frame in (0, 7)]
    for frame, top in zip((0, 7), tops, strict=True):
        rows = load_features(path, top, "aligned-positions")[0]
        np.testing.assert_allclose(rows[frame], xyz[frame].ravel(), atol=1e-6)
    load_features(path, tops[0])
    tops[0].topology.atom(0).name = "Q"
    renamed = load_features(path, tops[0])
    assert renamed.column_names[0] == "x Q1"
    assert not any("damaged" in text for text in renamed.warnings)
    # a name of another format is another file: reading it finds the fault
    shutil.copy(path, tmp_path / "four.xtc")
    with pytest.raises(InputError, match=r"four\.xtc"):
        load_features(tmp_path / "four.xtc", tops[0])


def test_entries_of_older_code_are_not_used(monkeypatch, dcd, top, no_reading):
    load_features(dcd, top)
    no_reading()
    monkeypatch.setattr(store, "VERSION", store.VERSION + 1)
    with pytest.raises(AssertionError, match="read again"):
        load_features(dcd, top)


@pytest.mark.parametrize("harm", ["truncate", "flip", "json", "other json", "list for a number", "no rows", "header"])
def test_a_damaged_entry_is_computed_again(dcd, top, feature_store, harm):
    first = [np.array(rows) for rows in load_features(dcd, top)]
    rows, record = next(feature_store.glob("*.npy")), next(feature_store.glob("*.json"))
    content = bytearray(rows.read_bytes())
    if harm == "truncate":
        rows.write_bytes(content[:-100])
    elif harm == "flip":
        content[500] ^= 1
        rows.write_bytes(content)
    elif harm == "header":  # NumPy takes it for one that Python 2 has written, and finds it open
        rows.write_bytes(content.replace(b"6), }", b"6L,  "))
    elif harm == "no rows":
        rows.unlink()
    elif harm == "list for a number":
        record.write_text(record.read_text().replace('"n_frames": 300', '"n_frames": [300]'))
    else:
        record.write_text("[1, 2" if harm == "json" else '{"shape": [300, 6], "crc32": 0}')
    again = load_features(dcd, top)
    np.testing.assert_array_equal(again[0], first[0])
    assert any("damaged" in text for text in again.warnings) == (harm != "no rows")
    assert not any("damaged" in text for text in load_features(dcd, top).warnings)


def test_a_store_that_cannot_be_written(monkeypatch, tmp_path, dcd, top, walk):
    (tmp_path / "occupied").write_text("a file where the folder should be")
    monkeypatch.setenv("SPECTRALDYN_CACHE", str(tmp_path / "occupied"))
    found = load_features(dcd, top)
    assert len(found[0]) == 300
    assert any("cannot be written" in text for text in found.warnings)


@pytest.mark.parametrize("allowed", [50_000, 72_100])  # of 72,128 bytes
def test_a_full_disk(monkeypatch, tmp_path, top, walk, feature_store, allowed):
    path = write(tmp_path / "long.dcd", np.tile(walk, (10, 1, 1)))
    monkeypatch.setattr(featurize, "_BLOCK_VALUES", 600)
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (allowed, limits[1]))
    try:
        found = load_features(path, top)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert len(found[0]) == 3000
    assert any("cannot be written (File too large)" in text for text in found.warnings)
    assert entries(feature_store) == []


def test_nothing_on_disk_without_the_cache(dcd, top, feature_store):
    load_features(dcd, top, cache=False)
    assert not feature_store.exists()


def test_a_failed_computation_leaves_no_entry(tmp_path, top, walk, feature_store):
    broken = walk.copy()
    broken[250] = np.nan
    with pytest.raises(InputError, match=r"broken\.dcd"):
        load_features(write(tmp_path / "broken.dcd", broken), top)
    assert entries(feature_store) == []


def test_two_runs_at_once(dcd, top, feature_store):
    results: list[Dataset] = []
    runs = [threading.Thread(target=lambda: results.append(load_features(dcd, top))) for _ in range(2)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    np.testing.assert_array_equal(results[0][0], results[1][0])
    assert len(entries(feature_store)) == 2


def test_the_store_is_in_the_users_cache_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("SPECTRALDYN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "spectraldyn"


def test_a_feature_that_is_no_number_names_file_and_frame(monkeypatch, dcd, top):
    compute = featurize.FeatureSet.compute
    calls = []

    def poisoned(self, chunk):
        rows = compute(self, chunk)
        calls.append(len(rows))
        if len(calls) == 2:
            rows[20, 1] = np.nan
        return rows

    monkeypatch.setattr(featurize, "_BLOCK_VALUES", 6 * 25)  # 25 rows at a time
    monkeypatch.setattr(featurize.FeatureSet, "compute", poisoned)
    with pytest.raises(InputError, match=r"walk\.dcd gives no number for 'y C1' in frame 140"):  # 5 + 3 (25 + 20)
        load_features(dcd, top, skip=5, stride=3)


def test_a_periodic_box_is_mentioned_where_it_matters(tmp_path, top, walk):
    boxed = mdtraj.Trajectory(walk % 5, particle(2), np.arange(300.0), np.full((300, 3), 5.0), np.full((300, 3), 90.0))
    boxed.save(str(tmp_path / "boxed.xtc"))
    found = load_features(tmp_path / "boxed.xtc", top, "positions")
    assert any("2 of the atoms have no bonds" in text for text in found.warnings)
    distance = load_features(tmp_path / "boxed.xtc", top, "heavy-distances")
    assert distance.warnings == []
    shift = walk[:, 0].astype(float) - walk[:, 1]
    nearest = np.linalg.norm(shift - 5 * np.round(shift / 5), axis=1)
    np.testing.assert_allclose(distance[0][:, 0], nearest, atol=2e-3)


def test_progress_goes_to_stderr(dcd, top, capsys):
    load_features(dcd, top, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert f"0.00/{dcd.stat().st_size / 1000:.1f}k" in err


# ----- real files


@damaged
@pytest.mark.parametrize(
    ("features", "tolerance"), [("heavy-distances", 2e-3), ("aligned-positions", 2e-3), ("torsions", 0.04)]
)
def test_a_molecule_cut_by_its_box(features, tolerance):
    # torsions have no unit of length: 2e-3 nm over a bond of 0.1 nm allows 0.04 in a cosine
    folder = SHARED / "damaged"
    whole = load_features(folder / "ok.xtc", folder / "top.pdb", features)
    cut = load_features(folder / "wrapped_broken_pbc.xtc", folder / "top.pdb", features)
    assert cut.columns == whole.columns
    np.testing.assert_allclose(cut[0], whole[0], atol=tolerance, rtol=0)
    assert os.fspath(cut.files[0].path).endswith("wrapped_broken_pbc.xtc")


@damaged
def test_formats_agree(tmp_path):
    folder = SHARED / "damaged"
    reference = load_features(folder / "ok.h5", features="torsions")
    assert reference.column_names == ["phi ALA2 cos", "phi ALA2 sin", "psi ALA2 cos", "psi ALA2 sin"]
    for name in ("ok.dcd", "ok.trr", "ok.nc"):
        np.testing.assert_allclose(load_features(folder / name, folder / "top.pdb")[0], reference[0], atol=1e-4)
    loaded = mdtraj.load(str(folder / "ok.h5"))
    phi = mdtraj.compute_phi(loaded)[1][:, 0]
    np.testing.assert_allclose(reference[0][:, 1], np.sin(phi), atol=1e-6)
