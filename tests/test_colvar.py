"""COLVAR files: read, as features, and as weights of trajectories."""

import gzip
import json
import shutil

import mdtraj
import numpy as np
import pytest

from spectraldyn import InputError, Weights, fit_generator, load_features
from spectraldyn.cli import main
from spectraldyn.data.weights import kt_of
from spectraldyn.io import is_colvar, read_colvar
from spectraldyn.systems import SYSTEMS

HEADER = "#! FIELDS time phi d bias ene\n#! SET min_phi -pi\n#! SET max_phi +pi\n"


def rows(n=60, spacing=1.0, seed=0, first=0.0):
    """Lines of n rows, and the values in them."""
    rng = np.random.default_rng(seed)
    values = np.column_stack((first + spacing * np.arange(n), rng.uniform(-3, 3, (n, 1)), rng.normal(size=(n, 3))))
    return "".join(" ".join(f"{value:.6f}" for value in row) + "\n" for row in values), values.round(6)


@pytest.fixture
def walk(tmp_path):
    """A trajectory of one atom, with a topology, 60 frames 1 ps apart, and its COLVAR file."""
    topology = mdtraj.Topology()
    topology.add_atom("X", None, topology.add_residue("X", topology.add_chain()))
    xyz = np.random.default_rng(1).normal(size=(60, 1, 3))
    mdtraj.Trajectory(xyz, topology, time=np.arange(60.0)).save_xtc(tmp_path / "walk.xtc")
    mdtraj.Trajectory(xyz[:1], topology).save_pdb(tmp_path / "top.pdb")
    (tmp_path / "COLVAR").write_text(HEADER + rows()[0])
    return tmp_path


def test_reading(tmp_path):
    text, values = rows()
    lines = text.splitlines(keepends=True)
    # A restarted run repeats the header; other comments and blank lines are nobody's.
    path = tmp_path / "COLVAR"
    path.write_text(HEADER + "".join(lines[:30]) + "\n# a comment\n" + HEADER + "".join(lines[30:]))
    found = read_colvar(path)
    np.testing.assert_array_equal(found.values, values)
    assert (found.fields, found.timestep_ps, found.starts) == (("time", "phi", "d", "bias", "ene"), 1.0, (0,))
    assert found.domains == {"phi": (-np.pi, np.pi)}
    (tmp_path / "COLVAR.gz").write_bytes(gzip.compress(path.read_bytes()))
    np.testing.assert_array_equal(read_colvar(tmp_path / "COLVAR.gz").values, values)
    found_as = [is_colvar(tmp_path / name) for name in ("COLVAR", "COLVAR.gz", ".", "none")]
    assert found_as == [True, True, False, False]
    with pytest.raises(InputError, match=r"COLVAR has no column biass \(did you mean bias\?\): choose of time, phi"):
        found.column("biass")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEADER + "0 1 2 3\n", "line 4 has 4 values for 5 columns"),
        (HEADER + "0 1 2 3 4\n1 1 2 x3 4\n", "line 5: x3 is no number"),
        (HEADER, "it holds no row of numbers"),
        (HEADER + "0 1 2 3 4\n#! FIELDS time phi d other ene\n", r"line 5 names other columns than before \(other\)"),
        ("#! FIELDS time time\n0 0\n", "line 1 names time twice"),
        ("0 1 2\n", "line 1 comes before any #! FIELDS"),
        (HEADER.replace("+pi", "-pi") + "0 1 2 3 4\n", "gives phi a period from -3.14159 to -3.14159"),
        (HEADER + "0.000 1.000 2.000 3.000 4.000\n1.000 1.000 2.000 3.000 4.0", "it ends inside line 5"),
        (HEADER + "".join(f"{2.0**k} 1 2 3 4\n" for k in range(20)), "time stamps are uneven"),
        ("", "the file is empty"),
    ],
)
def test_damaged(tmp_path, text, message):
    (tmp_path / "COLVAR").write_text(text)
    with pytest.raises(InputError, match=message) as error:
        read_colvar(tmp_path / "COLVAR")
    assert "COLVAR" in str(error.value)
    assert "\n" not in str(error.value)


def test_columns_as_features(tmp_path):
    text, values = rows()
    (tmp_path / "COLVAR").write_text(HEADER + text)
    found = load_features(tmp_path / "COLVAR", features=["phi", "d"], skip="10ps", stride=2)
    assert found.column_names == ["phi cos", "phi sin", "d"]
    assert (found.time.timestep_ps, found.time.stride, found.topology) == (1.0, 2, None)
    expected = np.column_stack((np.cos(values[:, 1]), np.sin(values[:, 1]), values[:, 2]))
    np.testing.assert_allclose(found[0], expected[10::2], atol=1e-6)
    again = load_features(tmp_path / "COLVAR", found.topology, columns=found.column_names, **found.options)
    np.testing.assert_array_equal(again[0], found[0])
    (tmp_path / "far").write_text(HEADER + "0 1 1e39 3 4\n1 1 2 nan 4\n")
    for options, message in (
        ({}, "is a COLVAR file: name its columns as `features`, of time, phi, d, bias, ene"),
        ({"features": "psi"}, r"has no column psi \(did you mean phi\?\)"),
        ({"features": "d,d"}, "each once"),
        ({"features": len}, "no functions"),
        ({"features": "d", "top": "x.pdb"}, "`top` means nothing"),
        ({"features": "d", "timestep": "2ps"}, "the time stamps say 1 ps between frames, `timestep` says 2 ps"),
    ):
        with pytest.raises(InputError, match=message):
            load_features(tmp_path / "COLVAR", **options)
    with pytest.raises(InputError, match="far, line 4: d is too large"):
        load_features(tmp_path / "far", features="d")
    with pytest.raises(InputError, match="far, line 5: bias is nan"):
        load_features(tmp_path / "far", features="bias")


def test_breaks_in_time_are_ends_of_stretches(tmp_path):
    text = rows(30)[0] + rows(30, first=100.0)[0]
    (tmp_path / "COLVAR").write_text(HEADER + text)
    assert [len(part) for part in load_features(tmp_path / "COLVAR", features="d")] == [30, 30]


def test_weights_of_a_trajectory(walk):
    values = rows()[1]
    found = load_features(
        walk / "walk.xtc", walk / "top.pdb", skip="4ps", stride=3, cache=False,
        weights=Weights(f"{walk}/COLVAR:bias,d", temperature=300),
    )  # fmt: skip
    expected = np.exp((values[:, 3] + values[:, 2]) / kt_of(300))[4::3]
    np.testing.assert_allclose(found.weight, expected / expected.mean())
    assert "weights from bias + d: effective sample size" in found.warnings[-1]
    assert found.weighted(None).weight is None
    # Of another temperature; of two runs.
    hot = Weights([f"{walk}/COLVAR:bias"] * 2, 330, energy="ene", simulation_temperature=300)
    found = load_features([walk / "walk.xtc"] * 2, walk / "top.pdb", weights=hot, cache=False)
    logs = values[:, 3] / kt_of(300) + (1 / kt_of(300) - 1 / kt_of(330)) * values[:, 4]
    np.testing.assert_allclose(found.weight, np.tile(np.exp(logs) / np.exp(logs).mean(), 2))


def test_weights_follow_stretches_and_breaks(tmp_path):
    text = rows(30)[0] + rows(30, first=100.0, seed=1)[0]
    (tmp_path / "COLVAR").write_text(HEADER + text)
    found = load_features(
        tmp_path / "COLVAR", features="d", stride=4, weights=Weights(f"{tmp_path}/COLVAR:bias", kt=1.0)
    )
    bias = np.concatenate((rows(30)[1][::4, 3], rows(30, seed=1)[1][2::4, 3]))
    assert [len(part) for part in found] == [8, 7]
    np.testing.assert_allclose(found.weight, np.exp(bias) / np.exp(bias).mean())


CASES = [
    (["--weights", "COLVAR:bias"], "--weights need a temperature: give --temperature in K"),
    (["--weights", "COLVAR:bias", "--temperature", "0"], "--temperature is 0.0: give"),
    (["--weights", "COLVAR:bias", "--temperature", "-300"], "--temperature is -300.0: give"),
    (["--weights", "COLVAR:bias", "--kt", "nan"], "--kt is nan: give kT"),
    (["--weights", "COLVAR:bias", "--kt", "1", "--temperature", "300"], "both say what a bias counts"),
    (["--weights", "COLVAR:bias", "--temperature", "300", "--energy", "ene"], "belong together"),
    (["--weights", "COLVAR:opes.bias", "--kt", "1"], "has no column opes.bias (did you mean bias?): choose of time"),
    (["--weights", "COLVAR:bias,bis", "--kt", "1"], "has no column bis (did you mean bias?)"),
    (["--weights", "COLVAR", "--kt", "1"], "--weights is 'COLVAR': give FILE:COLUMN"),
    (["--weights", "none:bias", "--kt", "1"], "none: there is no such file"),
    (["--weights", "few:bias", "--kt", "1"], "few has 50 rows and walk.xtc 60 frames: weights need one row for each"),
    (["--weights", "fine:bias", "--kt", "1"], "fine has 119 rows 0.5 ps apart and walk.xtc 60 frames 1 ps apart, so "
     "that of fine one in 2 belongs to walk.xtc"),
    (["--weights", "late:bias", "--kt", "1"], "late begins at 7 ps and walk.xtc at 0 ps"),
    (["--weights", "broken:bias", "--kt", "1"], "break at row 30 and no row"),
    (["--weights", "COLVAR:bias", "--weights", "COLVAR:bias", "--kt", "1"], "names 2 COLVAR files for 1 files"),
    (["--weights", "steep:bias", "--kt", "1"], "row 59 alone has 100 % of the weight"),
    (["--weights", "minus:bias", "--kt", "1"], "minus, line 4: bias is -inf"),
    (["--kt", "1"], "--kt means nothing without biases as --weights"),
    (["--weights", "cells"], "--weights need a temperature"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "message"), CASES, ids=[" ".join(options) for options, _ in CASES])
def test_what_the_command_line_refuses(walk, options, message, monkeypatch, capsys):
    monkeypatch.chdir(walk)
    values = rows()[1]
    (walk / "few").write_text(HEADER + rows(50)[0])
    (walk / "fine").write_text(HEADER + rows(119, 0.5)[0])
    (walk / "late").write_text(HEADER + rows(first=7.0)[0])
    (walk / "broken").write_text(HEADER + rows(30)[0] + rows(30, first=100.0)[0])
    steep = [[row[0], 0, 0, 40.0 * (row[0] == 59), 0] for row in values]
    (walk / "steep").write_text(HEADER + "".join(" ".join(map(str, row)) + "\n" for row in steep))
    (walk / "minus").write_text(HEADER + "".join(f"{k} 0 0 -inf 0\n" for k in range(60)))
    assert main(["fit", "walk.xtc", "--top", "top.pdb", "--lag", "1", "--out", "out", "--quiet", *options]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not (walk / "out").exists()


def biased_spring(path, n=4000):
    """States on a spring of rate 1 under the bias that makes it half as stiff, as a COLVAR file has them."""
    x = np.sqrt(2) * np.random.default_rng(0).normal(size=n)
    lines = "".join(f"{k} {value:.6f} {-(value**2) / 4:.6f}\n" for k, value in enumerate(x))
    path.write_text("#! FIELDS time x opes.bias\n" + lines)


def test_generator_from_a_biased_run_by_the_command_line(tmp_path, monkeypatch, capsys):
    """The exact rate lies inside the interval, by the bias and by cells; run.toml repeats the run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("spectraldyn.estimators.base.default_steps", lambda batch_size: 100)
    biased_spring(tmp_path / "COLVAR")
    fit = ["fit", "COLVAR", "--features", "x", "--operator", "generator", "--potential", "ornstein-uhlenbeck"]
    fit += ["--modes", "1", "--refits", "0", "--hidden", "16", "--quiet"]
    assert main([*fit, "--weights", "COLVAR:opes.bias", "--kt", "1", "--out", "bias"]) == 0
    assert main([*fit, "--weights", "cells", "--out", "cells"]) == 0
    assert main(["fit", "--config", "bias/run.toml", "--out", "again", "--quiet"]) == 0
    rates = {}
    for name in ("bias", "cells", "again"):
        rates[name] = json.loads((tmp_path / name / "results.json").read_text())["rates"][0]
    for name in ("bias", "cells"):
        assert rates[name]["low"] < 1 < rates[name]["high"]
    assert abs(rates["cells"]["value"] - 1) < 0.05  # after so short a training
    assert rates["again"] == rates["bias"]
    assert 'weights = ["../COLVAR:opes.bias"]' in (tmp_path / "bias" / "run.toml").read_text()
    assert main([*fit, "--weights", "cells", "--kt", "1", "--out", "not"]) == 2
    assert "--kt means nothing without biases" in capsys.readouterr().err
    assert main(["states", "bias"]) == 0
    assert main(["info", "COLVAR"]) == 0
    assert "COLVAR, 4000 rows, 1 ps apart, columns time, x, opes.bias" in capsys.readouterr().out


def test_generator_and_features(walk):
    shutil.copy(walk / "COLVAR", walk / "other")
    with pytest.raises(InputError, match="names 2 columns for a potential in 1 dimensions"):
        fit_generator(walk / "COLVAR", SYSTEMS["double-well"], features="d,ene")
    with pytest.raises(InputError, match="means nothing with --operator generator, except for COLVAR files"):
        fit_generator(walk / "walk.xtc", SYSTEMS["double-well"], top=walk / "top.pdb", features="positions")
