"""Readers of image collections, on miniatures of them; scores of a retrieval; predictions of a noisy cycle."""

import gzip
import itertools
import struct
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import average_precision_score

from analysis.experiments import glyphs, ordered_digits, ordered_digits_report, retrieval, retrieval_report
from analysis.experiments.image_files import PHOTOS, SKETCHES, held_out, mnist, sketchy
from analysis.experiments.noisy_cycle import N_CLASSES, NOISE, hit_rate, most_probable, noisy_cycle
from analysis.experiments.retrieval import Classes, Task
from spectraldyn.errors import InputError
from spectraldyn.spectra.rayleigh_ritz import rayleigh_ritz


def write_idx(path, values, pack=bytes):
    values = np.asarray(values, dtype=np.uint8)
    path.write_bytes(pack(struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape) + values.tobytes()))


@pytest.fixture
def mnist_folder(tmp_path):
    write_idx(tmp_path / "train-images-idx3-ubyte", np.arange(12).reshape(3, 2, 2))
    write_idx(tmp_path / "train-labels-idx1-ubyte", [4, 0, 9])
    write_idx(tmp_path / "t10k-images-idx3-ubyte.gz", np.full((2, 2, 2), 255), gzip.compress)
    write_idx(tmp_path / "t10k-labels-idx1-ubyte.gz", [1, 2], gzip.compress)
    return tmp_path


def test_mnist_is_read_packed_or_not(mnist_folder):
    digits = mnist(mnist_folder)
    np.testing.assert_allclose(digits.train_images, np.arange(12).reshape(3, 4) / 255, rtol=1e-6)
    np.testing.assert_array_equal(digits.test_images, np.ones((2, 4)))
    assert digits.train_labels.tolist() == [4, 0, 9]
    assert digits.test_labels.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train-images-idx3-ubyte", None, "has neither train-images-idx3-ubyte nor"),
        ("train-images-idx3-ubyte", b"\0\0\x0d\x03" + bytes(24), "is no IDX file of bytes with 3 dimensions"),
        (
            "train-labels-idx1-ubyte",
            struct.pack(">HBBI", 0, 8, 1, 5) + bytes(4),
            "has 4 values where its header says 5",
        ),
        ("train-labels-idx1-ubyte", struct.pack(">HBBI", 0, 8, 1, 2) + bytes(2), "3 images but 2 labels"),
        ("t10k-images-idx3-ubyte.gz", b"no archive", "cannot be read"),
        ("t10k-images-idx3-ubyte.gz", gzip.compress(bytes(99), mtime=0)[:-9], "cannot be read"),
    ],
)
def test_what_is_wrong_with_a_file_of_mnist_is_said(mnist_folder, name, content, message):
    (mnist_folder / name).unlink()
    if content is not None:
        (mnist_folder / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        mnist(mnist_folder)


@pytest.fixture
def sketchy_folder(tmp_path):
    def save(part, name, colour):
        path = tmp_path / part / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), colour).save(path)

    for number in (1, 2):
        save(SKETCHES, f"bat/n1-{number}.png", "white")
    save(SKETCHES, "ant/n2-1.png", "black")
    save(PHOTOS[0], "bat/n1.jpg", "white")
    save(PHOTOS[1], "bat/n1.jpg", "black")
    save(PHOTOS[0], "bat/ext_1.jpg", (51, 51, 51))
    save(PHOTOS[1], "ant/n2.jpg", "white")
    return tmp_path


def test_sketchy_is_read_with_ink_high_and_every_photograph_once(sketchy_folder):
    data = sketchy(sketchy_folder, 4)
    assert data.classes == ("ant", "bat")
    assert [part.tolist() for part in data.sketches] == [[[1.0] * 16], [[0.0] * 16] * 2]
    assert data.photos[0].tolist() == [[1.0] * 16]
    torch.testing.assert_close(data.photos[1], torch.tensor([[1.0], [0.2]]).expand(2, 16))


def test_what_is_wrong_with_sketchy_is_said(sketchy_folder):
    with pytest.raises(InputError, match=f"has no folder {SKETCHES}"):
        sketchy(sketchy_folder / "256x256", 4)
    photo = sketchy_folder / PHOTOS[1] / "ant" / "n2.jpg"
    photo.write_bytes(b"no photograph")
    with pytest.raises(InputError, match=r"n2\.jpg cannot be read as an image"):
        sketchy(sketchy_folder, 4)
    photo.unlink()
    with pytest.raises(InputError, match="has no photographs of ant"):
        sketchy(sketchy_folder, 4)


def test_held_out_classes_are_those_of_the_published_splits():
    names = [*"abcdefgh", "bat", "window"]
    assert held_out(names, 2) == [8, 9]
    # RandomState(0).permutation(10) begins 2 8 4 9 1 6 7 3 and leaves 0 and 5.
    assert held_out(names, 1) == [0, 5]
    with pytest.raises(InputError, match="holds out 0 of 8 classes"):
        held_out(names[:8], 2)


def test_retrieval_scores_are_those_of_the_definition():
    torch.manual_seed(0)
    left, right = torch.randn(5, 3, dtype=torch.float64), torch.randn(40, 3, dtype=torch.float64)
    relevant = torch.rand(5, 40) < 0.3
    found = retrieval.precision(left, right, relevant, n_first=7)
    scores = (left @ right.T).numpy()
    expected = [average_precision_score(r, s) for r, s in zip(relevant.numpy(), scores, strict=True)]
    assert np.isclose(found["mAP"], np.mean(expected))
    first = [r[np.argsort(-s)[:7]].mean() for r, s in zip(relevant.numpy(), scores, strict=True)]
    assert np.isclose(found["P@100"], np.mean(first))


def test_interpolated_precision_looks_ahead():
    # Ranks: wrong, right, right; precisions 0, 1/2, 2/3, of which the best from rank 2 on is 2/3.
    found = retrieval.precision(
        torch.tensor([[1.0]]), torch.tensor([[2.0], [3.0], [1.0]]), torch.tensor([[1, 0, 1]]) > 0
    )
    assert np.isclose(found["mAP"], (1 / 2 + 2 / 3) / 2)
    assert np.isclose(found["mAP, interpolated"], 2 / 3)


def test_chance_is_the_mean_over_all_rankings():
    rankings = [[i in places for i in range(6)] for places in itertools.combinations(range(6), 2)]
    mean = np.mean([average_precision_score(r, -np.arange(6)) for r in rankings])
    assert np.isclose(retrieval_report.chance(6, 2)["mAP"], mean)


def test_pairs_are_of_one_class_and_all_of_its_images_come():
    parts = [[torch.full((n, 1), 10.0 * i) + torch.arange(n)[:, None] for i, n in enumerate(counts)]
             for counts in ((3, 1), (2, 4))]  # fmt: skip
    sketches, photos = (Classes.of(part, torch.device("cpu")) for part in parts)
    batch = Task(sketches, photos, sketches, photos).draw(4000, torch.Generator().manual_seed(0))
    seen, counts = np.unique(torch.hstack(batch.pair).numpy(), axis=0, return_counts=True)
    pairs = [[x, y] for x in (0, 1, 2) for y in (0, 1)] + [[10, y] for y in (10, 11, 12, 13)]
    assert seen.tolist() == pairs
    expected = 2000 / np.array([6] * 6 + [4] * 4)
    assert (np.abs(counts - expected) < 4 * np.sqrt(expected)).all()


def test_linear_cca_takes_all_pairs_of_a_class():
    random = np.random.default_rng(0)
    arrays = [[random.normal(size=(n, 2)) + i for i, n in enumerate(counts)] for counts in ((3, 2, 4), (2, 5, 3))]
    parts = [Classes.of([torch.tensor(a, dtype=torch.float32) for a in side], torch.device("cpu")) for side in arrays]
    with_one = [[np.hstack((np.ones((len(a), 1)), a.astype(np.float32))) for a in side] for side in arrays]
    grams = [sum(h.T @ h / len(h) for h in side) / 3 for side in with_one]
    cross = sum(np.einsum("ni,mj->ij", x, y) / len(x) / len(y) for x, y in zip(*with_one, strict=True)) / 3
    ridged = [a + 0.01 * np.diag(a)[1:].mean() * np.diag([0, 1, 1]) for a in grams]
    spectrum = rayleigh_ritz((ridged[0], cross, ridged[1]), tied=False)
    how, k, [(left, right)] = next(x for x in retrieval.linear(Task(*parts, *parts), 2) if x[1] == 2)
    assert (how, k) == ("ridge 0.01", 2)
    x, y = (np.concatenate(side) for side in with_one)
    np.testing.assert_allclose(
        left @ right.T, x @ (spectrum.left * spectrum.values) @ (y @ spectrum.right).T, atol=1e-5
    )


def test_glyphs_are_of_their_character_and_new_every_time():
    """Of five classes, most new images are nearest to the mean of their own."""
    assert len(set(glyphs.CHARACTERS)) == 125
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(0, 125, 25).repeat_interleave(60)
    for modality in glyphs.FONTS:
        first, again = (glyphs.images(modality, labels, generator) for _ in range(2))
        assert not torch.equal(first, again)
        means = first.unflatten(0, (-1, 60)).mean(1)
        means, again = (part - part.mean(1, keepdim=True) for part in (means, again))
        nearest = (again @ (means / means.norm(dim=1, keepdim=True)).T).argmax(1)
        share = (nearest == labels // 25).float().mean()
        assert share > 0.5


def test_what_is_kept_with_a_quarter_of_the_dimensions_is_the_ratio_of_every_seed():
    rows = [
        {"embedding": retrieval.NESTED, "kept": "leading", "dimensions": k, "seed": seed, "mAP": value}
        for seed, values in enumerate(((0.2, 0.3, 0.4), (0.1, 0.3, 0.5)))
        for k, value in zip((2, 4, 8), values, strict=True)
    ]
    np.testing.assert_allclose(retrieval_report.shares_kept(rows, retrieval.NESTED, "leading", "mAP"), [0.5, 0.2])


def test_a_miniature_of_the_retrieval(tmp_path, monkeypatch):
    small = retrieval.Setting((32,), 16, 128, 80, 5e-3, 20, 5, 20)
    monkeypatch.setitem(retrieval.SETTINGS, "quick", small)
    cases = [
        {"data": "glyphs", "split": retrieval.DRAWN, "embedding": name, "seed": 0, "setting": "quick"}
        for name in (retrieval.NESTED, retrieval.UNNESTED, retrieval.CCA)
    ]
    rows = [{**case, **row} for case in cases for row in retrieval.measure(case)]
    last = {row["embedding"]: row for row in rows if row["dimensions"] == 16}
    level = retrieval_report.chance(420, 20)["mAP"]
    assert all(row["mAP"] > 2 * level for row in last.values())
    options = SimpleNamespace(folder=tmp_path, setting="quick")
    examples = retrieval.drawn(2, torch.Generator().manual_seed(0))
    retrieval_report.write_report("retrieval", options, rows, small._asdict(), examples)
    assert {path.name for path in tmp_path.iterdir()} == {
        "retrieval.json", "retrieval.md", "retrieval.png", "retrieval_data.png"
    }  # fmt: skip
    assert "| chance | – | 0.0" in (tmp_path / "retrieval.md").read_text()


def test_what_can_be_known_of_a_noisy_cycle():
    transition = (1 - NOISE) * np.roll(np.eye(N_CLASSES), 1, axis=1) + NOISE / N_CLASSES
    for n in (1, 4, 15):
        power = np.linalg.matrix_power(transition, n)
        assert np.isclose(hit_rate(1, n), power[2, most_probable(np.array(2), n, "forward")])
        assert np.isclose(hit_rate(0, n), power[2, most_probable(np.array(2), n + 1, "forward")])
        assert most_probable(most_probable(np.arange(5), n, "forward"), n, "backward").tolist() == [0, 1, 2, 3, 4]
    labels = noisy_cycle(50_000, np.random.default_rng(0))
    counts = np.zeros((N_CLASSES, N_CLASSES))
    np.add.at(counts, (labels[:-1], labels[1:]), 1)
    expected = counts.sum(axis=1, keepdims=True) * transition
    assert (np.abs(counts - expected) < 4 * np.sqrt(expected)).all()


def test_powers_of_the_operator_on_the_classes_themselves_follow_the_cycle():
    """Their indicators and the constant are linearly dependent."""
    labels = noisy_cycle(20_000, np.random.default_rng(1))
    h = np.hstack((np.ones((len(labels), 1)), np.eye(N_CLASSES)[labels]))
    start = np.hstack((np.ones((N_CLASSES, 1)), np.eye(N_CLASSES)))
    for direction in ("forward", "backward"):
        for n, found in enumerate(ordered_digits.predictions(h, labels, start, direction)[:8], 1):
            assert found.tolist() == most_probable(np.arange(N_CLASSES), n, direction).tolist()


def test_images_of_a_trajectory_are_of_its_classes_and_none_is_tested():
    case = {"seed": 3, "data": "scikit-learn"}
    trajectory, test = ordered_digits.data(case)
    assert len(trajectory.labels) == ordered_digits.N_FRAMES
    assert not {image.tobytes() for image in trajectory.images} & {image.tobytes() for image in test.images}
    assert np.bincount(test.labels).tolist() == [60, 61, 59, 61, 61]
    means = np.stack([trajectory.images[trajectory.labels == k].mean(axis=0) for k in range(N_CLASSES)])
    nearest = np.square(test.images[:, None] - means).sum(axis=2).argmin(axis=1)
    assert (nearest == test.labels).mean() > 0.9


def test_a_miniature_of_ordered_digits(tmp_path, monkeypatch):
    setting = ordered_digits.Setting((3e-3,), {32: 150}, False)
    monkeypatch.setitem(ordered_digits.SETTINGS, "quick", setting)
    cases = [
        {"objective": name, "batch": 32, "rate": 3e-3, "seed": 0, "data": "scikit-learn", "setting": "quick"}
        for name in ordered_digits.OBJECTIVES
    ]
    rows = [{**case, **row} for case in cases for row in ordered_digits.measure(case)]
    ours = [row["agreement"] for row in rows if row["objective"] == "NeuralSVD (joint)" and row["steps ahead"] == 2]
    assert min(ours) > 0.9
    options = SimpleNamespace(folder=tmp_path, setting="quick")
    ordered_digits_report.write_report("ordered_digits", options, rows, setting.steps, "scikit-learn")
    assert "Batches of 32, 15 steps away" in (tmp_path / "ordered_digits.md").read_text()


def test_the_best_rate_counts_and_a_difference_within_its_spread_is_a_tie(tmp_path):
    """Agreements after 15 steps, for two seeds: ours, one that is behind, one within the spread, one ahead."""
    agreements = {("ours", 1e-3): (0.9, 0.8), ("a", 1e-3): (0.1, 0.1), ("a", 1e-2): (0.6, 0.5), ("b", 1e-3): (0.7, 0.9),
                  ("c", 1e-3): (0.98, 0.9)}  # fmt: skip
    rows = [
        {"objective": name, "rate": rate, "batch": 8, "seed": seed, "direction": direction, "steps ahead": n,
         "agreement": values[seed] if n == 15 else 1.0}
        for (name, rate), values in agreements.items()
        for seed in (0, 1)
        for direction in ("forward", "backward")
        for n in (1, 5, 15)
    ]  # fmt: skip
    options = SimpleNamespace(folder=tmp_path, setting="quick")
    ordered_digits_report.write_report("ordered_digits", options, rows, {8: 10}, "none")
    text = (tmp_path / "ordered_digits.md").read_text()
    assert "0.85 ± 0.07; differences 0.30 ± 0 to a (ahead), 0.1 ± 0.2 to b (a tie), -0.09 ± 0.01 to c (behind)." in text
    assert "| 8 | a | 0.01 | 1.00 ± 0 | 1.00 ± 0 | 0.55 ± 0.07 |" in text.replace("\u00a0", " ")


def test_the_published_encoder_takes_images_of_any_size():
    for side in (8, 28):
        assert ordered_digits.Convolutional(side**2, 4)(torch.zeros(3, side**2)).shape == (3, 4)
