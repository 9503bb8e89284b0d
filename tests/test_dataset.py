"""The data of every fit: rows over stretches and files, gathered from where they lie."""

import numpy as np
import pytest
import torch

from spectraldyn.data import Column, Dataset, InputFile, Source, dataset, plain_columns, rows_of
from spectraldyn.units import TimeAxis


@pytest.fixture
def rows():
    return np.random.default_rng(0).normal(size=(100, 3)).astype(np.float32)


@pytest.fixture
def keep_apart(monkeypatch):
    """Arrays are not laid end to end, as those of large data are not."""
    monkeypatch.setattr(dataset, "JOINED_BYTES", 0)


def several_files(rows):
    """Stretches of 20, 30 and, after a gap, 40 rows of one array, and of 5 rows of another."""
    return Dataset([rows[:20], rows[20:50], rows[55:95], rows[95:].copy()])


def test_a_list_of_arrays(rows):
    data = Dataset([rows[:60], rows[60:]])
    assert isinstance(data, list)
    assert repr(data) == "Dataset(2 stretches, 100 rows, 3 columns)"
    assert data.columns == plain_columns(3)
    assert data.column_names == ["feature 0", "feature 1", "feature 2"]
    assert (data.time, data.width, data.n_rows) == (TimeAxis(), 3, 100)
    assert data.stretches == [range(60), range(60, 100)]


@pytest.mark.parametrize(
    ("column", "name"),
    [
        (Column("phi", "ALA2", "cos"), "phi ALA2 cos"),
        (Column("distance", "ALA1-CA GLY5-CA", unit="nm"), "distance ALA1-CA GLY5-CA"),
        (Column("feature", "0"), "feature 0"),
    ],
)
def test_columns_have_names(column, name):
    assert column.name == name


def test_rows_are_those_of_the_concatenation(rows, keep_apart):
    data = several_files(rows)
    whole = np.concatenate(data)
    index = np.random.default_rng(1).integers(data.n_rows, size=500)
    gathered = data.rows(index)
    assert gathered.dtype == np.float32
    np.testing.assert_array_equal(gathered, whole[index])
    np.testing.assert_array_equal(data.rows(np.arange(data.n_rows)), whole)
    assert data.rows(np.array([], dtype=int)).shape == (0, 3)
    np.testing.assert_array_equal(data.column(1), whole[:, 1])


@pytest.mark.parametrize("step", [1, 4])
def test_parts_join_neighbours_without_a_copy(rows, step):
    strided = rows[::step, 1:]
    data = Dataset([strided[:5], strided[5:6], strided[6:]])
    assert len(data.parts) == 1
    assert np.shares_memory(data.parts[0], rows)
    assert data.parts[0].flags.writeable
    np.testing.assert_array_equal(data.parts[0], strided)


def test_parts_of_arrays_that_may_not_be_written(rows):
    rows.flags.writeable = False
    data = Dataset([rows[:5], rows[5:]])
    assert np.shares_memory(data.parts[0], rows)
    assert not data.parts[0].flags.writeable


def test_parts_end_where_rows_do_not_follow(rows, keep_apart):
    assert [len(part) for part in several_files(rows).parts] == [50, 40, 5]
    assert [len(part) for part in Dataset([rows[50:], rows[:50]]).parts] == [50, 50]
    assert [len(part) for part in Dataset([rows[:10], rows[10::2]]).parts] == [10, 45]
    assert [len(part) for part in Dataset([rows[:10, :2], rows[10:, 1:]]).parts] == [10, 90]


def test_small_arrays_are_joined_once(monkeypatch, rows):
    pieces = [rows[:40].copy(), rows[40:].copy()]
    joined = Dataset(pieces)
    assert len(joined.parts) == 1
    assert not np.shares_memory(joined[0], pieces[0])
    assert Dataset(list(joined))[0] is joined[0]
    monkeypatch.setattr(dataset, "JOINED_BYTES", rows.nbytes - 1)
    apart = Dataset(pieces)
    assert apart[0] is pieces[0]
    assert [len(part) for part in apart.parts] == [40, 60]
    for data in (joined, apart):
        np.testing.assert_array_equal(np.concatenate(data), rows)


def test_chunks_cover_all_rows_in_order(monkeypatch, keep_apart):
    monkeypatch.setattr(dataset, "CHUNK_VALUES", 1)  # 1,024 rows at once
    rows = np.arange(10_000.0).reshape(5000, 2)
    data = Dataset([rows[:1500], rows[1500:2500], rows[2500:].copy()])
    numbers, chunks = zip(*data.chunks(), strict=True)
    assert [number for run in numbers for number in run] == list(range(5000))
    assert [len(chunk) for chunk in chunks] == [1024, 1024, 452, 1024, 1024, 452]
    np.testing.assert_array_equal(np.concatenate(chunks), rows)
    assert np.shares_memory(chunks[0], data[0])
    assert np.shares_memory(chunks[-1], data[-1])


def test_the_file_and_frame_behind_every_row(tmp_path):
    # stride 3; the first file skips 7 frames and breaks before its frame 19
    files = [InputFile(tmp_path / "a.xtc", 40), InputFile(tmp_path / "b.xtc", 10)]
    data = Dataset(
        [np.zeros((4, 1)), np.zeros((7, 1)), np.zeros((1, 1))],
        time=TimeAxis(0.5, 3),
        files=files,
        sources=[Source(0, 7), Source(0, 19), Source(1, 7)],
    )
    frames = [7, 10, 13, 16, 19, 22, 25, 28, 31, 34, 37, 7]
    np.testing.assert_array_equal(data.frame_of_row, frames)
    np.testing.assert_array_equal(data.file_of_row, [0] * 11 + [1])
    assert [data.frame(row) for row in range(12)] == [(files[row > 10], frame) for row, frame in enumerate(frames)]


def test_a_digest_tells_data_apart(rows, keep_apart):
    digest = Dataset([rows[:40], rows[40:]]).digest()
    assert Dataset([rows[:40].copy(), rows[40:].copy()]).digest() == digest
    assert Dataset([rows[:41], rows[41:]]).digest() != digest
    assert Dataset([rows]).digest() != digest
    assert Dataset([rows[:40].astype(float), rows[40:].astype(float)]).digest() != digest
    other = rows.copy()
    other[-1, -1] += 1
    assert Dataset([other[:40], other[40:]]).digest() != digest


def test_rows_for_the_training_are_those_of_the_data(rows, keep_apart):
    several = several_files(rows)
    one = Dataset([np.concatenate(several)])
    index = torch.randint(several.n_rows, (300,), generator=torch.Generator().manual_seed(0))
    for data, n_parts in ((one, 1), (several, 3)):
        gatherer = rows_of(data, torch.device("cpu"))
        assert (len(gatherer), len(gatherer.parts)) == (several.n_rows, n_parts)
        np.testing.assert_array_equal(gatherer.gather(index).numpy(), several.rows(index.numpy()))
        assert np.shares_memory(gatherer.parts[0].numpy(), data.parts[0])


def test_rows_of_arrays_that_may_not_be_written(rows):
    rows.flags.writeable = False
    gatherer = rows_of(Dataset([rows]), torch.device("cpu"))
    np.testing.assert_array_equal(gatherer.gather(torch.tensor([5, 3])).numpy(), rows[[5, 3]])
