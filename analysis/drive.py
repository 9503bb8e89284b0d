"""Alanine dipeptide driven along its slowest learned mode in OpenMM, and the unbiased timescale out of it again.

    pip install openmm
    python -m analysis.drive    # analysis/results/drive.json and .md

The modes are learned from the trajectories under data/ and exported to TorchScript; a `PythonForce` biases the first
one by a static −(1 − 1/γ) F, F its free energy in those trajectories. The biased frames, which carry the weights
e^{βV}, are the starts of short unbiased runs, whose every pair of frames carries the weight of its start: equilibrium
is stationary, so that these averages are those of an unbiased simulation, whatever the bias.
"""

import json
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import mdtraj
import numpy as np
import openmm
import torch
from openmm import app, unit
from scipy.interpolate import CubicSpline
from scipy.linalg import eigh
from scipy.ndimage import gaussian_filter1d

import spectraldyn as sd
from analysis.benchmarks.record import ROOT, write
from spectraldyn.data.stretches import stretches_of
from spectraldyn.export import export_modes
from spectraldyn.spectra.moments import lagged_moments

sys.path.insert(0, str(ROOT / "data"))
import simulate_alanine

DATA = ROOT / "data" / "alanine_dipeptide"
FILES = sorted(DATA.glob("*.xtc"))
KELVIN = 400.0
KT = 0.00831446261815324 * KELVIN
GAMMA = 5.0
HIGHEST = 11.5
"""Of the free energy along the mode, in kT: between the wells lie parts that no frame was seen in."""
BIASED_PS = 300
SHORT_PS = 20
N_SHORT = 300
LAGS = (5, 10)
BEYOND, BIN = 0.05, 0.25
"""How far past the values seen the ends lie, and width of the histogram; see `Bias`."""
N_STRETCHES = 20
"""Of the biased run, which are resampled."""
CORES = {-1: (-150.0, -50.0), 1: (40.0, 80.0)}
"""In φ (degrees); a crossing goes from one into the other."""


class Bias:
    """A static potential (kJ/mol) along the first mode of an exported module, as OpenMM's PythonForce takes it.

    −(1 − 1/γ) F, F the free energy of the values of the mode that were seen without it. A mode is nearly constant
    within the wells, so that F is taken along u = ln((s − a)/(b − s)), a and b a little beyond the values seen, and
    smoothed. Beyond the minima of both wells the potential is constant: it must not draw the molecule to where nothing
    was seen.
    """

    def __init__(self, module: torch.jit.ScriptModule, seen: np.ndarray):
        self.module = module
        self.ends = seen.min() - BEYOND, seen.max() + BEYOND
        u = self._stretched(seen)
        edges = np.arange(u.min(), u.max() + BIN, BIN)
        counts = gaussian_filter1d(np.histogram(u, edges)[0].astype(float), 1.0, mode="nearest")
        free_energy = -KT * np.log(counts / counts.max() + np.exp(-HIGHEST))
        middles = (edges[:-1] + edges[1:]) / 2
        lower, upper = (int(np.where(side, free_energy, np.inf).argmin()) for side in (middles < 0, middles > 0))
        between = slice(lower, upper + 1)
        self.potential = CubicSpline(middles[between], -(1 - 1 / GAMMA) * free_energy[between])
        self.slope = self.potential.derivative()

    def __call__(self, state: openmm.State) -> tuple[float, np.ndarray]:
        """Energy and forces on the atoms of the module, which the force is applied to."""
        positions = torch.from_numpy(state.getPositions(asNumpy=True)._value).requires_grad_()
        mode = self.module(positions)[0, 0]
        (gradient,) = torch.autograd.grad(mode, positions)
        s = mode.item()
        return float(self.energy(s)), -self.derivative(s) * gradient.numpy()

    def energy(self, s: np.ndarray | float) -> np.ndarray:
        """At values of the mode."""
        return self.potential(np.clip(self._stretched(s), *self.potential.x[[0, -1]]))

    def derivative(self, s: float) -> float:
        """Of the energy with respect to the mode."""
        a, b = self.ends
        if not a < s < b or not self.potential.x[0] < (u := self._stretched(s)) < self.potential.x[-1]:
            return 0.0
        return float(self.slope(u)) * (1 / (s - a) + 1 / (b - s))

    def _stretched(self, s: np.ndarray | float) -> np.ndarray:
        a, b = self.ends
        within = np.clip(s, a + 1e-9, b - 1e-9)
        return np.log((within - a) / (b - within))


def simulation(molecule: app.Modeller, force_field: app.ForceField, bias: openmm.PythonForce | None, seed: int):
    """Of the molecule as in data/simulate_alanine.py."""
    system = simulate_alanine.create_system(molecule.topology, force_field)
    if bias is not None:
        system.addForce(bias)
    integrator = openmm.LangevinMiddleIntegrator(KELVIN, simulate_alanine.FRICTION_PER_PS, simulate_alanine.STEP_PS)
    integrator.setRandomNumberSeed(seed)
    integrator.setConstraintTolerance(1e-6)
    platform = openmm.Platform.getPlatformByName("Reference")
    result = app.Simulation(molecule.topology, system, integrator, platform)
    result.context.setPositions(molecule.positions)
    return result


def run(simulated: app.Simulation, n_frames: int) -> np.ndarray:
    """(n_frames, n_atoms, 3): nm, 1 ps apart."""
    steps = round(1.0 / simulate_alanine.STEP_PS)
    frames = []
    for _ in range(n_frames):
        simulated.step(steps)
        frames.append(simulated.context.getState(getPositions=True).getPositions(asNumpy=True)._value)
    return np.array(frames)


def phi_of(frames: np.ndarray, topology: mdtraj.Topology) -> np.ndarray:
    """(n_frames,): degrees."""
    return np.degrees(mdtraj.compute_phi(mdtraj.Trajectory(frames, topology))[1][:, 0])


def crossings(phi: np.ndarray) -> int:
    """Of one run from one core to the other."""
    cores = np.zeros(len(phi), dtype=int)
    for number, (low, high) in CORES.items():
        cores[(phi > low) & (phi < high)] = number
    visited = cores[cores != 0]
    return int((np.diff(visited) != 0).sum())


def timescale_of(modes: np.ndarray, weights: np.ndarray, lag: int) -> tuple[float, np.ndarray]:
    """The slowest, in frames, from modes (n_runs, n_frames, n_modes) of runs that carry weights; and its replicates.

    Neighbouring starts in the biased run are alike: replicates draw from stretches of it.
    """
    n_runs, n_frames = modes.shape[:2]
    functions = np.concatenate([np.ones((n_runs * n_frames, 1)), modes.reshape(n_runs * n_frames, -1)], axis=1)
    runs = stretches_of([n_frames] * n_runs)
    moments = lagged_moments(functions, runs, runs, [lag], tied=True, weight=np.repeat(weights, n_frames))
    random, stretch = np.random.default_rng(0), np.arange(n_runs) * N_STRETCHES // n_runs

    def slowest(counts: np.ndarray) -> float:
        a, b, _ = moments.means(0, counts[stretch])
        values = eigh(b, a, eigvals_only=True)
        return float(-lag / np.log(values[-2])) if 0 < values[-2] < 1 else np.nan

    draws = random.multinomial(N_STRETCHES, np.full(N_STRETCHES, 1 / N_STRETCHES), size=500)
    return slowest(np.ones(N_STRETCHES)), np.array([slowest(draw) for draw in draws])


def learned(folder: Path, molecule: app.Modeller) -> tuple[sd.TransferResults, torch.jit.ScriptModule, list[int]]:
    """Modes of the trajectories under data/, exported, and the indices of the module's atoms in the simulation."""
    results = sd.fit_trajectories(FILES, top=DATA / "top.pdb", lag="5ps", refits=0)
    sd.write_results(results, folder / "ala")
    positions = molecule.positions.value_in_unit(unit.nanometer)
    mdtraj.Trajectory(np.array(positions), topology_of(molecule)).save_pdb(str(folder / "top.pdb"))
    exported = export_modes(folder / "ala", "torchscript", folder / "exported", top=folder / "top.pdb")
    atoms = json.loads((exported / "export.json").read_text())["atoms"]
    return results, torch.jit.load(exported / "modes.pt"), [atom["index"] for atom in atoms]


def topology_of(molecule: app.Modeller) -> mdtraj.Topology:
    return mdtraj.Topology.from_openmm(molecule.topology)


def main() -> None:
    warnings.filterwarnings("ignore", r"`torch\.jit\.")  # deprecated in PyTorch 2.13, and what simulations load
    torch.set_num_threads(1)
    force_field = app.ForceField("amber14-all.xml", "implicit/obc2.xml")
    molecule = simulate_alanine.build(1, -75, 145, force_field)
    topology = topology_of(molecule)
    with tempfile.TemporaryDirectory() as folder:
        results, module, atoms = learned(Path(folder), molecule)
    print(results, flush=True)
    unbiased = [mdtraj.load(file, top=DATA / "top.pdb") for file in FILES]
    phi = [phi_of(frames.xyz, frames.topology) for frames in unbiased]
    ns = sum(map(len, phi)) / 1000
    rows: list[dict[str, Any]] = [
        {
            "run": "unbiased",
            "ns": ns,
            "crossings": sum(map(crossings, phi)),
            "φ > 0": share(np.concatenate(phi)),
            "low": None,
            "high": None,
            "effective frames": None,
            "core seconds": None,
        }
    ]

    bias = Bias(module, results.modes[:, 0])
    simulated = simulation(molecule, force_field, openmm.PythonForce(bias, {}, atoms), seed=1)
    simulated.minimizeEnergy()
    simulated.context.setVelocitiesToTemperature(KELVIN, 1)
    run(simulated, 20)
    started = time.process_time()
    frames = run(simulated, BIASED_PS)
    seconds = time.process_time() - started
    angle = phi_of(frames, topology)
    energy = bias.energy(modes_of(module, frames, atoms)[:, 0])
    weights = np.exp((energy - energy.max()) / KT)
    parts = np.array_split(np.arange(len(frames)), N_STRETCHES)
    random = np.random.default_rng(0)
    drawn = [np.concatenate([parts[i] for i in random.integers(N_STRETCHES, size=N_STRETCHES)]) for _ in range(500)]
    rows.append(
        {
            "run": "biased, weights e^βV",
            "ns": BIASED_PS / 1000,
            "crossings": crossings(angle),
            "φ > 0": share(angle, weights),
            "low": float(np.percentile([share(angle[rows_], weights[rows_]) for rows_ in drawn], 2.5)),
            "high": float(np.percentile([share(angle[rows_], weights[rows_]) for rows_ in drawn], 97.5)),
            "effective frames": float(weights.sum() ** 2 / (weights**2).sum()),
            "core seconds": seconds,
        }
    )
    print(rows, flush=True)

    starts = np.linspace(0, len(frames) - 1, N_SHORT).astype(int)
    free = simulation(molecule, force_field, None, seed=2)
    started = time.process_time()
    modes = []
    for number, start in enumerate(starts.tolist()):
        free.context.setPositions(frames[start])
        free.context.setVelocitiesToTemperature(KELVIN, 1000 + number)
        short = np.concatenate([frames[None, start], run(free, SHORT_PS)])
        modes.append(modes_of(module, short, atoms))
    seconds = time.process_time() - started
    scale = results.timescales[0]
    timescales = [{"from": "unbiased runs, 70.2 ns", "lag (ps)": 5, "timescale (ps)": scale.value, "low": scale.low,
                   "high": scale.high, "core seconds": None}]  # fmt: skip
    for lag in LAGS:
        value, replicates = timescale_of(np.array(modes), weights[starts], lag)
        low, high = np.nanpercentile(replicates, [2.5, 97.5])
        timescales.append({"from": f"{N_SHORT} unbiased runs of {SHORT_PS} ps from the biased frames, weighted",
                           "lag (ps)": lag, "timescale (ps)": value, "low": low, "high": high,
                           "core seconds": seconds})  # fmt: skip
    print(timescales, flush=True)
    text = "Six unbiased runs of this kind, three of them those here, give 308 ps by a Markov model (data/README.md)."
    write("drive", rows + timescales, {"The biased run": rows, "The slowest timescale": timescales}, text)


def modes_of(module: torch.jit.ScriptModule, frames: np.ndarray, atoms: list[int]) -> np.ndarray:
    """(n_frames, n_modes)."""
    with torch.no_grad():
        return module(torch.from_numpy(frames[:, atoms])).numpy()


def share(phi: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Of frames in the basin of φ > 0."""
    return float(np.average((phi > 0) & (phi < 150), weights=weights))


if __name__ == "__main__":
    main()
