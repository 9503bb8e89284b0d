"""The feature `velocities`: those of TRR, HDF5 and NetCDF files as they were written, and files that hold none."""

import mdtraj
import numpy as np
import pytest
from mdtraj.formats import HDF5TrajectoryFile, TRRTrajectoryFile

from spectraldyn import InputError, load_features

N_FRAMES, N_ATOMS = 12, 4


@pytest.fixture
def written(tmp_path):
    """Positions and velocities of four particles, nm and nm/ps, in a file of each format, and a topology."""
    topology = mdtraj.Topology()
    chain = topology.add_chain()
    for _ in range(N_ATOMS):
        topology.add_atom("AR", mdtraj.element.argon, topology.add_residue("AR", chain))
    xyz, velocities = np.random.default_rng(0).normal(size=(2, N_FRAMES, N_ATOMS, 3)).astype(np.float32)
    times = np.arange(N_FRAMES, dtype=np.float32)
    mdtraj.Trajectory(xyz[:1], topology).save(tmp_path / "top.pdb")
    no_box = np.zeros((N_FRAMES, 3, 3), dtype=np.float32)
    with TRRTrajectoryFile(str(tmp_path / "a.trr"), "w") as file:
        file._write(xyz, times, times.astype(np.int32), no_box, np.zeros(N_FRAMES, dtype=np.float32), velocities)
    with HDF5TrajectoryFile(str(tmp_path / "a.h5"), "w") as file:
        file.write(xyz, time=times, velocities=velocities)
        file.topology = topology
    amber(tmp_path / "a.nc", xyz, velocities, times)
    return xyz, velocities


def amber(path, xyz, velocities, times):
    """As AMBER writes it: Å, and Å per 1/20.455 ps."""
    import netCDF4

    with netCDF4.Dataset(path, "w", format="NETCDF3_64BIT_OFFSET") as file:
        file.Conventions, file.ConventionVersion, file.program, file.programVersion = "AMBER", "1.0", "test", "1"
        for name, size in (("frame", None), ("atom", xyz.shape[1]), ("spatial", 3)):
            file.createDimension(name, size)
        stamp = file.createVariable("time", "f4", ("frame",))
        stamp.units, stamp[:] = "picosecond", times
        for name, values, units in (
            ("coordinates", 10 * xyz, "angstrom"),
            ("velocities", 10 * velocities, "angstrom/picosecond"),
        ):
            variable = file.createVariable(name, "f4", ("frame", "atom", "spatial"))
            variable.units = units
            if name == "velocities":
                variable.scale_factor = 20.455
            variable[:] = values


@pytest.mark.parametrize("ending", ["trr", "h5", "nc"])
def test_velocities_are_what_was_written(written, tmp_path, ending):
    xyz, velocities = written
    data = load_features(
        tmp_path / f"a.{ending}", top=tmp_path / "top.pdb", features="positions,velocities", cache=False
    )
    rows = np.concatenate(list(data))
    np.testing.assert_allclose(rows[:, : 3 * N_ATOMS], xyz.reshape(N_FRAMES, -1), atol=1e-5)
    np.testing.assert_allclose(rows[:, 3 * N_ATOMS :], velocities.reshape(N_FRAMES, -1), atol=1e-5)
    column = data.columns[3 * N_ATOMS + 1]
    assert (column.kind, column.unit) == ("vy", "nm/ps")
    some = load_features(
        tmp_path / f"a.{ending}", top=tmp_path / "top.pdb", features="velocities", stride=3, atoms="index 2",
        cache=False,
    )  # fmt: skip
    np.testing.assert_allclose(np.concatenate(list(some)), velocities[::3, 2], atol=1e-5)


@pytest.mark.parametrize("ending", ["trr", "h5", "nc", "dcd"])
def test_files_without_velocities_are_named(written, tmp_path, ending):
    xyz, _ = written
    path = tmp_path / f"still.{ending}"
    mdtraj.Trajectory(xyz, mdtraj.load(tmp_path / "top.pdb").topology).save(path)
    with pytest.raises(InputError, match=rf"still\.{ending}, frames 0 to 11: there are no velocities in these frames"):
        load_features(path, top=tmp_path / "top.pdb", features="velocities", timestep=1.0, cache=False)
