"""Simulate the two-dimensional double well whose timescales are known exactly, and write it as molecular dynamics.

Overdamped Langevin dynamics dX = −β D ∇U dt + √(2D) dW of one particle in U = 5 (x² − 1)² + y²/4 (kT), with β = 1 and
D = 1 nm²/ps, stored as one atom at (x, y, 0) nm in DCD files, which keep lengths in float32 and no times: the spacing
of the frames (0.2 ps) has to be given when they are read.

    python data/double_well/simulate.py --out double-well

Integrator: Leimkuhler and Matthews, Appl. Math. Res. Express 2013, 34: Euler–Maruyama with the mean of two successive
random numbers, for the price of one force, and samples e^{−U} with an error of order dt² rather than dt. Timescales
keep an error of order dt: the slowest comes out 3.4 % long at dt = 4e-3 ps, 1.7 % at 2e-3 ps and 0.8 % at the 1e-3 ps
used here, well below the statistical error of 4 % that 20 ns leave.
"""

import argparse
import sys
from pathlib import Path

import mdtraj
import numpy as np

DIFFUSION = 1.0  # nm²/ps
STEP_PS = 1e-3
STEPS_PER_FRAME = 200
BURN_IN_PS = 200.0  # eleven times the slowest timescale


def minus_gradient(position: np.ndarray) -> np.ndarray:
    """−∇U at positions (n, 2), in kT/nm."""
    x, y = position.T
    return np.stack((-20 * x * (x * x - 1), -y / 2), axis=1)


def simulate(n_runs: int, n_frames: int, seed: int) -> np.ndarray:
    """Independent runs from equilibrium; shape (n_runs, n_frames, 2), in nm."""
    random = np.random.default_rng(seed)
    noise_scale = np.sqrt(2 * DIFFUSION * STEP_PS) / 2
    burn_in = round(BURN_IN_PS / STEP_PS / STEPS_PER_FRAME)
    position = np.stack((random.choice([-1.0, 1.0], n_runs), random.normal(0, np.sqrt(2), n_runs)), axis=1)
    previous = random.standard_normal((n_runs, 2))
    frames = np.empty((n_runs, n_frames, 2))
    for frame in range(-burn_in, n_frames):
        for current in random.standard_normal((STEPS_PER_FRAME, n_runs, 2)):
            position = position + DIFFUSION * STEP_PS * minus_gradient(position) + noise_scale * (previous + current)
            previous = current
        if frame >= 0:
            frames[:, frame] = position
        if frame % 1000 == 0:
            print(f"\r{max(frame, 0):>7} of {n_frames} frames", end="", file=sys.stderr, flush=True)
    print(f"\r{n_frames:>7} of {n_frames} frames", file=sys.stderr)
    return frames


def particle() -> mdtraj.Topology:
    """One atom."""
    topology = mdtraj.Topology()
    residue = topology.add_residue("PRT", topology.add_chain())
    topology.add_atom("C", mdtraj.element.carbon, residue)
    return topology


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write to")
    parser.add_argument("--runs", type=int, default=4, metavar="N", help="independent runs, one file each (4)")
    parser.add_argument("--frames", type=int, default=25_000, metavar="N", help="frames per run, 0.2 ps apart (25000)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the random numbers (1)")
    options = parser.parse_args()
    if options.runs < 1 or options.frames < 1:
        parser.error("--runs and --frames must be at least 1")

    options.out.mkdir(parents=True, exist_ok=True)
    runs = simulate(options.runs, options.frames, options.seed)
    coordinates = np.concatenate((runs, np.zeros((*runs.shape[:2], 1))), axis=2)[:, :, None, :]
    for number, run in enumerate(coordinates):
        mdtraj.Trajectory(run, particle()).save_dcd(str(options.out / f"double_well_{number}.dcd"))
    mdtraj.Trajectory(coordinates[0, :1], particle()).save_pdb(str(options.out / "double_well.pdb"))


if __name__ == "__main__":
    main()
