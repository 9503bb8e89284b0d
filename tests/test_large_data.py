"""Data larger than memory: the store in chunks, training from blocks of it, and several processes that fill it."""

import os
import threading
import time
import zlib
from pathlib import Path
from typing import Any

import mdtraj
import numpy as np
import pytest
import torch
from problems import exchanging_frames

from spectraldyn import Dataset, InputError, NeuralSVD, data, fit_trajectories, load_features
from spectraldyn.cli import main
from spectraldyn.data import PairSamples, rows_of, shuffled
from spectraldyn.data.rows import StoredRows
from spectraldyn.features import several, store
from spectraldyn.learning import loop
from spectraldyn.pipeline import forecast as forecasts

CPU = torch.device("cpu")


@pytest.fixture
def nothing_resident(monkeypatch):
    """Rows of any size are read piece by piece."""
    for module in (data.mapped, data.dataset, store, load_features.__globals__):
        where = module if isinstance(module, dict) else vars(module)
        monkeypatch.setitem(where, "RESIDENT_BYTES", 0)
    monkeypatch.setattr(shuffled, "CYCLE", 32)


# The store.


def rows_of_entry(n_rows=1000, n_columns=3):
    return np.random.default_rng(0).normal(size=(n_rows, n_columns)).astype(np.float32)


def filled_with(rows, asked=None, stop_at=None, piece=70):
    """A `fill` that hands these rows over in pieces, and is interrupted before it would hand over that row."""

    def fill(append, done):
        if asked is not None:
            asked.append(done)
        for start in range(done, len(rows), piece):
            if stop_at is not None and start >= stop_at:
                raise KeyboardInterrupt
            append(rows[start : start + piece])
        return {"note": "whole"}

    return fill


@pytest.fixture
def chunks_of_100_rows(monkeypatch):
    monkeypatch.setattr(store, "CHUNK_BYTES", 4 * 3 * 100)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_entries_are_arrays_of_numpy_with_a_checksum_of_every_chunk(chunks_of_100_rows, feature_store):
    rows = rows_of_entry(950)
    store.write_entry("key", 3, filled_with(rows))
    np.testing.assert_array_equal(np.load(feature_store / "key.npy"), rows)
    entry = store.read_entry("key")
    assert entry is not None
    assert entry[1] == {"note": "whole"}
    sums = [zlib.crc32(rows[start : start + 100].tobytes()) for start in range(0, 950, 100)]
    assert f'"crc32": {sums}' in (feature_store / "key.json").read_text()
    assert names(feature_store) == ["key.json", "key.npy"]


def test_an_interrupted_run_loses_no_finished_chunk(chunks_of_100_rows, feature_store):
    rows, asked = rows_of_entry(), []
    with pytest.raises(KeyboardInterrupt):
        store.write_entry("key", 3, filled_with(rows, stop_at=560))
    assert not store.holds("key")
    assert store.read_entry("key") is None
    assert names(feature_store) == [".key.part", ".key.sums"]
    store.write_entry("key", 3, filled_with(rows, asked))
    assert asked == [500]
    assert names(feature_store) == ["key.json", "key.npy"]
    resumed = (feature_store / "key.npy").read_bytes()
    store.write_entry("other", 3, filled_with(rows))
    assert resumed == (feature_store / "other.npy").read_bytes()


@pytest.mark.parametrize("harm", ["rows", "sums", "no sums", "cut"])
def test_chunks_that_are_not_what_was_written_are_made_again(chunks_of_100_rows, feature_store, harm):
    rows, asked = rows_of_entry(), []
    with pytest.raises(KeyboardInterrupt):
        store.write_entry("key", 3, filled_with(rows, stop_at=560))
    part, sums = feature_store / ".key.part", feature_store / ".key.sums"
    if harm == "rows":
        content = bytearray(part.read_bytes())
        content[128 + 250 * 12] ^= 1  # in the third chunk
        part.write_bytes(content)
    elif harm == "sums":
        sums.write_text("\n".join([*sums.read_text().splitlines()[:2], "no number"]))
    elif harm == "cut":
        os.truncate(part, 128 + 299 * 12)
    else:
        sums.unlink()
    store.write_entry("key", 3, filled_with(rows, asked))
    assert asked == [0 if harm == "no sums" else 200]
    np.testing.assert_array_equal(np.load(feature_store / "key.npy"), rows)


def test_a_part_that_another_run_is_writing_is_left_alone(chunks_of_100_rows, feature_store):
    rows, asked = rows_of_entry(), []

    def fill(append, done):
        append(rows[:500])
        store.write_entry("key", 3, filled_with(rows, asked))  # of another run, meanwhile
        store.forget_parts(-1)
        append(rows[500:])
        return {}

    store.write_entry("key", 3, fill)
    assert asked == [0]
    np.testing.assert_array_equal(np.load(feature_store / "key.npy"), rows)
    assert names(feature_store) == ["key.json", "key.npy"]


def test_parts_that_no_run_has_gone_on_with_are_removed(chunks_of_100_rows, feature_store):
    for key in ("old", "new"):
        with pytest.raises(KeyboardInterrupt):
            store.write_entry(key, 3, filled_with(rows_of_entry(), stop_at=560))
    os.utime(feature_store / ".old.part", (0, 0))
    store.write_entry("key", 3, filled_with(rows_of_entry()))
    assert names(feature_store) == [".new.part", ".new.sums", "key.json", "key.npy"]


@pytest.mark.usefixtures("nothing_resident")
def test_pages_of_large_files_are_given_back(monkeypatch, tmp_path):
    rows = np.random.default_rng(0).normal(size=(400_000, 20)).astype(np.float32)  # 32 MB
    np.save(tmp_path / "x.npy", rows)
    monkeypatch.setattr(data.dataset, "TOUCHED_BYTES", 2**20)
    mapped = Dataset([np.load(tmp_path / "x.npy", mmap_mode="r").view(np.ndarray)])

    def in_memory():
        smaps = Path("/proc/self/smaps").read_text().split("x.npy\n")[1]
        return int(next(line for line in smaps.splitlines() if line.startswith("Rss:")).split()[1])

    if not Path("/proc/self/smaps").exists():
        pytest.skip("only Linux tells which pages of a file are in memory")
    most = max(in_memory() for _ in mapped.chunks())
    assert in_memory() == 0
    assert most < 4096
    np.testing.assert_array_equal(mapped.rows(np.array([5, 399_999, 7])), rows[[5, 399_999, 7]])
    assert in_memory() == 0


# Columns and precisions that are not those of the rows on disk.


@pytest.mark.usefixtures("nothing_resident")
@pytest.mark.parametrize("precision", [np.float32, np.float64])
def test_large_arrays_are_read_from_disk_whatever_their_precision_and_columns(tmp_path, precision, feature_store):
    rows = np.random.default_rng(0).normal(size=(3000, 4)).astype(precision)
    rows[:, 1] = 1.0
    np.save(tmp_path / "x.npy", rows)
    found = load_features(tmp_path / "x.npy")
    assert found.column_names == ["feature 0", "feature 2", "feature 3"]
    np.testing.assert_array_equal(found[0], rows[:, [0, 2, 3]].astype(np.float32))
    assert not found.resident
    kept = [np.load(path) for path in feature_store.glob("*.npy")]
    assert len(kept) == (1 if precision == np.float32 else 2)
    again = load_features(tmp_path / "x.npy")
    np.testing.assert_array_equal(again[0], found[0])
    assert len(list(feature_store.glob("*.npy"))) == len(kept)


# Training.


@pytest.mark.usefixtures("nothing_resident")
def test_every_sample_is_drawn_equally_often_and_the_seed_says_when():
    states = np.arange(1000, dtype=np.float32)[:, None]
    pairs = PairSamples.of(rows_of(Dataset([states]), CPU), 3, np.arange(0, 997))
    assert isinstance(pairs.rows, StoredRows)
    generator, counts = torch.Generator().manual_seed(0), np.zeros(1000)
    seen = []
    for step in range(40 * shuffled.CYCLE):
        pairs.seek(step, 1)
        batch = pairs.draw(64, generator)
        assert batch.y is not None
        assert (batch.y - batch.x == 3).all()
        np.add.at(counts, batch.x[:, 0].numpy().astype(int), 1)
        seen.append(batch.x)
    expected, blocks = counts[:997].mean(), 40 * (997 // shuffled.BLOCK)
    assert counts[997:].sum() == 0
    # Each sample is in as many selections as blocks happen to hold it, about 40, and drawn at random from these.
    z = (counts[:997] - expected) / (expected * np.sqrt(997 / (blocks * shuffled.BLOCK) + 1 / expected))
    assert np.abs(z).max() < 4.5
    # A training that goes on somewhere sees what it would have seen.
    again = PairSamples.of(rows_of(Dataset([states]), CPU), 3, np.arange(0, 997))
    generator.manual_seed(7)
    again.seek(5 * shuffled.CYCLE + 3, 1)
    first = again.draw(64, generator).x
    generator.manual_seed(7)
    pairs.seek(5 * shuffled.CYCLE, 1)
    assert torch.equal(first, pairs.draw(64, generator).x)
    pairs.seek(5 * shuffled.CYCLE, 2)
    generator.manual_seed(7)
    assert not torch.equal(first, pairs.draw(64, generator).x)


RESUMED = {"n_modes": 2, "lagtime": 2, "max_steps": 96, "n_networks": 2, "hidden": (16,)}


@pytest.mark.usefixtures("nothing_resident", "kept_at_every_evaluation")
def test_fits_from_disk_find_the_timescales_and_go_on_after_an_interruption(monkeypatch, tmp_path):
    frames = Dataset([exchanging_frames(20_000)])
    estimator = NeuralSVD(**RESUMED, random_state=0, checkpoint_folder=tmp_path)
    drawn: list[int] = []
    draw = shuffled.ShuffledBlocks.batch

    def counted(self, index):
        drawn.append(len(index))
        return draw(self, index)

    monkeypatch.setattr(shuffled.ShuffledBlocks, "batch", counted)
    straight = estimator.fit_fetch(frames)
    assert len(drawn) > 2 * RESUMED["max_steps"]
    exact = -1 / np.log([0.97, 0.95])
    # Statistical errors of the data, 20,000 frames for some 300 exchanges: those of a fit from memory as well.
    np.testing.assert_allclose(straight.timescales(), exact, rtol=0.1)
    saved, save = [], loop._Run.save

    def interrupted(self, path):
        save(self, path)
        saved.append(path)
        if len(saved) == 25:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop._Run, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(frames)
    again = estimator.fit_fetch(frames)
    np.testing.assert_array_equal(again.timescales(), straight.timescales())
    monkeypatch.setattr(data.dataset, "RESIDENT_BYTES", 2**29)
    resident = NeuralSVD(**RESUMED, random_state=0).fit_fetch(frames)
    np.testing.assert_allclose(straight.timescales(), resident.timescales(), rtol=0.01)
    assert straight.scores["vamp2_test"] == pytest.approx(resident.scores["vamp2_test"], rel=0.005)


# Several processes.


@pytest.fixture
def walks(tmp_path):
    """Four trajectories of a pair of particles, and their topology."""
    top = mdtraj.Topology()
    chain = top.add_chain()
    for _ in range(2):
        top.add_atom("C", mdtraj.element.carbon, top.add_residue("PRT", chain))
    paths = []
    for number in range(4):
        xyz = np.random.default_rng(number).normal(size=(200, 2, 3)).astype(np.float32)
        mdtraj.Trajectory(xyz, top).save(str(tmp_path / f"{number}.dcd"))
        paths.append(tmp_path / f"{number}.dcd")
    return paths, mdtraj.Trajectory(xyz[:1], top)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_several_processes_fill_the_store_as_one_does(monkeypatch, tmp_path, walks, feature_store):
    paths, top = walks
    one = load_features(paths, top, "heavy-distances")
    alone = contents(feature_store)
    for path in feature_store.iterdir():
        path.unlink()
    monkeypatch.setattr(several, "PROCESS_BYTES", 0)
    two = load_features(paths, top, "heavy-distances")
    assert contents(feature_store) == alone
    assert two.warnings == one.warnings
    np.testing.assert_array_equal(np.concatenate(two), np.concatenate(one))
    # What is wrong with a file is said as it is by one process.
    paths[2].write_bytes(paths[2].read_bytes()[:-100])
    (tmp_path / "text.dcd").write_text("no trajectory")
    with pytest.raises(InputError, match=r"text\.dcd: this is not a"):
        load_features([*paths, tmp_path / "text.dcd"], top, "heavy-distances")


@pytest.mark.filterwarnings("ignore")  # of Dask, and of the sockets that a killed worker leaves open
def test_a_dask_cluster_fills_the_store_as_one_process_does_though_a_worker_dies(tmp_path, walks, feature_store):
    distributed = pytest.importorskip("distributed")
    paths, top = walks
    (tmp_path / "slow.py").write_text(
        "import time\ndef span(frames):\n    time.sleep(0.5)\n    return frames.xyz[:, 1] - frames.xyz[:, 0]\n"
    )
    asked = f"heavy-distances,{tmp_path / 'slow.py'}:span"
    load_features(paths, top, asked)
    alone = contents(feature_store)
    for path in feature_store.iterdir():
        path.unlink()

    def kill_one_at_work(processes):
        while not any(feature_store.glob(".*.part")):
            time.sleep(0.01)
        os.kill(processes[0], 9)

    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        killer = threading.Thread(target=kill_one_at_work, args=[list(client.run(os.getpid).values())])
        killer.start()
        load_features(paths, top, asked, cluster=cluster.scheduler_address)
        killer.join()
    left = {name for name in contents(feature_store) if not name.endswith((".part", ".sums"))}
    assert left == alone.keys()
    assert {name: content for name, content in contents(feature_store).items() if name in left} == alone


def test_a_cluster_that_is_not_there(walks, monkeypatch):
    monkeypatch.setattr(several, "CONNECT_SECONDS", 0.2)
    paths, top = walks
    with pytest.raises(InputError, match=r"no Dask cluster answers at 'tcp://127\.0\.0\.1:9'"):
        load_features(paths, top, "heavy-distances", cluster="tcp://127.0.0.1:9")
    with pytest.raises(InputError, match="no Dask cluster answers at 'nonsense'"):
        load_features(paths, top, "heavy-distances", cluster="nonsense")


# What is said before anything starts, and what is kept.


def test_a_forecast_counts_rows_columns_and_bytes(monkeypatch, tmp_path, walks, feature_store):
    monkeypatch.setattr(forecasts, "LARGE_BYTES", 0)
    paths, top = walks
    top.save_pdb(str(tmp_path / "top.pdb"))
    arguments: Any = (paths, tmp_path / "top.pdb", NeuralSVD(2, max_steps=10), "heavy-distances,positions", None)
    found = forecasts.forecast(*arguments, stride=2, skip=None, timestep=None)
    assert (found.n_rows, found.n_columns, found.disk_bytes) == (400, 7, 4 * 400 * 7)
    assert found.reading_seconds > 0
    assert "400 frames × 7 columns take about 600.1 MB of memory, 11.2 kB of disk" in str(found)
    load_features(*arguments[:2], "heavy-distances,positions", stride=2)
    there = forecasts.forecast(*arguments, stride=2, skip=None, timestep=None)
    assert (there.n_rows, there.disk_bytes, there.reading_seconds) == (400, 0, 0)
    # Text, of which the frames are estimated.
    mdtraj.load(str(paths[0]), top=top).save(str(tmp_path / "0.pdb"))
    (of_text := list(arguments))[0] = [tmp_path / "0.pdb"]
    assert forecasts.forecast(*of_text, stride=1, skip=None, timestep=None).n_rows == pytest.approx(200, rel=0.3)
    np.save(tmp_path / "x.npy", np.zeros((300, 5), np.float32))
    of_array = tmp_path / "x.npy", None, NeuralSVD(2), None, None
    found = forecasts.forecast(*of_array, stride=1, skip=None, timestep=None)
    assert (found.n_rows, found.n_columns, found.disk_bytes) == (300, 5, 0)
    features, of_rows = 4 * 300 * 5, 240 * 300
    rest = forecasts.PROGRAM_BYTES + 5 * 8 * 5**2
    assert found.memory_bytes == rest + features + of_rows
    # Of what stays on disk, the blocks, or what grows with the rows once they are given up.
    monkeypatch.setattr(forecasts, "RESIDENT_BYTES", 0)
    for blocks, larger in ((of_rows + 1, of_rows + 1), (of_rows - 1, of_rows)):
        monkeypatch.setattr(forecasts, "BLOCKS_BYTES", blocks)
        found = forecasts.forecast(*of_array, stride=1, skip=None, timestep=None)
        assert found.memory_bytes == rest + larger


@pytest.mark.parametrize("lacking", ["memory", "disk"])
def test_what_the_machine_has_not_is_refused_before_anything_is_read(
    monkeypatch, walks, capsys, lacking, feature_store
):
    monkeypatch.setattr(forecasts, "LARGE_BYTES", 0)
    monkeypatch.setattr(forecasts, f"free_{lacking}", lambda: 100.0)
    paths, top = walks
    said = (
        rf"of {lacking}.* are needed for 800 frames × 1 columns, and 100 B are free: use every N-th frame \(`stride`\)"
    )
    with pytest.raises(InputError, match=said):
        fit_trajectories(paths, top=top, lag=2, features="heavy-distances", progress=True)
    assert "forecast: 800 frames × 1 columns take about 600.2 MB" in capsys.readouterr().err
    assert not feature_store.exists()


def test_the_cache_is_listed_and_pruned_by_age(monkeypatch, walks, capsys, feature_store):
    paths, top = walks
    load_features(paths[:2], top, "heavy-distances")
    with pytest.raises(KeyboardInterrupt):
        store.write_entry("cut", 3, filled_with(rows_of_entry(), stop_at=560))
    (feature_store / "training-1").mkdir()
    (feature_store / "training-1" / "first.pt").write_bytes(b"x" * 5000)
    assert main(["cache"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert len(listed) == 5
    assert "used 0 days ago  unfinished features: .cut.part" in listed[0]
    assert "5.0 kB  used 0 days ago  training: training-1" in listed[1]
    assert f"features: 200 × 1 of {paths[0]}" in "".join(listed[2:4])
    for path in feature_store.rglob("*"):
        os.utime(path, (0, 0))
    load_features(paths[:1], top, "heavy-distances")  # which is used again
    assert main(["cache", "--prune", "30"]) == 0
    assert capsys.readouterr().out.startswith("removed 3, ")
    assert [path.suffix for path in sorted(feature_store.iterdir())] == [".json", ".npy"]
    with pytest.raises(SystemExit, match="2"):
        main(["cache", "--prune", "-1"])
    assert "-1 is not a number of days" in capsys.readouterr().err
