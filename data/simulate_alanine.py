"""Simulate Ace-(Ala)n-Nme in implicit solvent with OpenMM, as in alanine_dipeptide/ and alanine_tetrapeptide/.

    pip install openmm
    python data/simulate_alanine.py --out dipeptide
    python data/simulate_alanine.py --out tetrapeptide --alanines 3 --frames 5020

Force field ff14SB with OBC2 implicit solvent, no cut-off, bonds to hydrogen constrained, Langevin middle integrator at
1/ps with 2 fs steps. Each run starts from another (φ, ψ), is minimised, equilibrated for 100 ps and then stored
every ps: its heavy atoms, as run0.xtc, run1.xtc, ... with times, and their topology, top.pdb.

OpenMM builds OBC2 from the force field's file as a `CustomGBForce`; the same model as the built-in `GBSAOBCForce` is
several times faster on a CPU, and is what runs here.
"""

import argparse
import sys
from pathlib import Path

import mdtraj
import numpy as np

try:
    import openmm
    from openmm import app, unit
except ImportError:
    openmm = None

STARTS_DEG = ((-75, 145), (-75, -40), (-150, 155), (60, 40))  # (φ, ψ): polyproline II, α, β, left-handed α
STEP_PS = 0.002
FRAME_PS = 1.0
FRICTION_PER_PS = 1.0
EQUILIBRATION_PS = 100.0
OBC_OFFSET_NM = 0.009  # taken off each intrinsic radius by the OBC2 model; the force field's file stores the difference


def place(a: np.ndarray, b: np.ndarray, c: np.ndarray, length: float, angle: float, torsion: float) -> np.ndarray:
    """Point d with |cd| = `length`, ∠bcd = `angle` and torsion abcd = `torsion`, in degrees."""
    angle, torsion = np.radians((angle, torsion))
    along = (c - b) / np.linalg.norm(c - b)
    normal = np.cross(b - a, along)
    normal /= np.linalg.norm(normal)
    across = np.cross(normal, along)
    return c + length * (-np.cos(angle) * along + np.sin(angle) * (np.cos(torsion) * across + np.sin(torsion) * normal))


def build(n_alanines: int, phi: float, psi: float, force_field: "app.ForceField") -> "app.Modeller":
    """Ace-(Ala)n-Nme, every alanine at (φ, ψ) in degrees, from standard bond lengths (Å) and angles; with hydrogens."""
    methyl, carbonyl = np.zeros(3), np.array([1.53, 0.0, 0.0])
    beside = np.array([0.0, 1.0, 0.0])  # fixes the plane of the first peptide group
    residues = [("ACE", {"CH3": methyl, "C": carbonyl, "O": place(beside, methyl, carbonyl, 1.229, 120.5, 0.0)})]
    # The next residue continues from these three atoms.
    previous_alpha, previous, nitrogen = methyl, carbonyl, place(beside, methyl, carbonyl, 1.335, 116.0, 180.0)
    for _ in range(n_alanines):
        alpha = place(previous_alpha, previous, nitrogen, 1.449, 121.9, 180.0)
        carbonyl = place(previous, nitrogen, alpha, 1.522, 111.0, phi)
        alanine = {
            "N": nitrogen,
            "CA": alpha,
            "CB": place(previous, nitrogen, alpha, 1.526, 109.7, phi - 122.5),  # L, not D
            "C": carbonyl,
            "O": place(nitrogen, alpha, carbonyl, 1.229, 120.4, psi + 180.0),
        }
        residues.append(("ALA", alanine))
        previous_alpha, previous, nitrogen = alpha, carbonyl, place(nitrogen, alpha, carbonyl, 1.335, 116.6, psi)
    residues.append(("NME", {"N": nitrogen, "C": place(previous_alpha, previous, nitrogen, 1.449, 121.9, 180.0)}))
    topology = app.Topology()
    chain = topology.addChain("A")
    for residue_name, atoms in residues:
        residue = topology.addResidue(residue_name, chain)
        for atom_name in atoms:
            topology.addAtom(atom_name, app.Element.getBySymbol(atom_name[0]), residue)
    topology.createStandardBonds()
    positions = np.array([position for _, atoms in residues for position in atoms.values()])
    modeller = app.Modeller(topology, positions * unit.angstrom)
    modeller.addHydrogens(force_field)
    return modeller


def create_system(topology: "app.Topology", force_field: "app.ForceField") -> "openmm.System":
    """ff14SB + OBC2, with the built-in OBC2 force in place of the custom one of equal energy."""
    system = force_field.createSystem(topology, nonbondedMethod=app.NoCutoff, constraints=app.HBonds)
    index = next(i for i, force in enumerate(system.getForces()) if isinstance(force, openmm.CustomGBForce))
    custom = system.getForce(index)
    names = [custom.getPerParticleParameterName(i) for i in range(custom.getNumPerParticleParameters())]
    builtin = openmm.GBSAOBCForce()
    builtin.setNonbondedMethod(openmm.GBSAOBCForce.NoCutoff)
    builtin.setSoluteDielectric(1.0)
    builtin.setSolventDielectric(78.5)
    for particle in range(custom.getNumParticles()):
        values = dict(zip(names, custom.getParticleParameters(particle), strict=True))
        # `or`: the radius less the offset; `sr`: the same, scaled for the screening of neighbours.
        builtin.addParticle(values["charge"], values["or"] + OBC_OFFSET_NM, values["sr"] / values["or"])
    system.removeForce(index)
    system.addForce(builtin)
    return system


def simulate(
    n_alanines: int, start: tuple[float, float], n_frames: int, temperature: float, seed: int, progress: str
) -> mdtraj.Trajectory:
    """One run from (φ, ψ) of every alanine; the heavy atoms of its frames, with times in ps."""
    force_field = app.ForceField("amber14-all.xml", "implicit/obc2.xml")
    molecule = build(n_alanines, *start, force_field)
    integrator = openmm.LangevinMiddleIntegrator(temperature, FRICTION_PER_PS, STEP_PS)
    integrator.setRandomNumberSeed(seed)
    integrator.setConstraintTolerance(1e-6)
    system = create_system(molecule.topology, force_field)
    # For so few atoms one thread of the Reference platform is as fast as any other platform.
    platform = openmm.Platform.getPlatformByName("Reference")
    simulation = app.Simulation(molecule.topology, system, integrator, platform)
    simulation.context.setPositions(molecule.positions)
    simulation.minimizeEnergy()
    simulation.context.setVelocitiesToTemperature(temperature, seed)
    simulation.step(round(EQUILIBRATION_PS / STEP_PS))

    topology = mdtraj.Topology.from_openmm(molecule.topology)
    heavy = topology.select("element != H")
    frames = np.empty((n_frames, len(heavy), 3), dtype=np.float32)
    for frame in range(n_frames):
        simulation.step(round(FRAME_PS / STEP_PS))
        positions = simulation.context.getState(getPositions=True).getPositions(asNumpy=True)
        frames[frame] = positions.value_in_unit(unit.nanometer)[heavy]
        if frame % 100 == 99 or frame == n_frames - 1:
            print(f"\r{progress}: {frame + 1:>7} of {n_frames} frames", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return mdtraj.Trajectory(frames, topology.subset(heavy), time=FRAME_PS * np.arange(1, n_frames + 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write to")
    parser.add_argument("--alanines", type=int, default=1, metavar="N", help="between Ace and Nme (1)")
    parser.add_argument("--runs", type=int, default=4, metavar="N", help="independent runs, one file each (4)")
    parser.add_argument("--frames", type=int, default=23_400, metavar="N", help="frames per run, 1 ps apart (23400)")
    parser.add_argument("--temperature", type=float, default=400.0, metavar="K", help="in kelvin (400)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the random numbers (1)")
    options = parser.parse_args()
    if options.alanines < 1 or options.runs < 1 or options.frames < 1:
        parser.error("--alanines, --runs and --frames must be at least 1")
    if options.temperature <= 0:
        parser.error("--temperature must be above 0")
    if options.seed < 0:
        parser.error("--seed must not be negative")
    if openmm is None:
        parser.exit(1, "simulate_alanine.py needs OpenMM, which spectraldyn does not: pip install openmm\n")

    options.out.mkdir(parents=True, exist_ok=True)
    for run in range(options.runs):
        start = STARTS_DEG[run % len(STARTS_DEG)]
        # OpenMM takes a seed of 0 for "choose one".
        trajectory = simulate(
            options.alanines,
            start,
            options.frames,
            options.temperature,
            1000 * options.seed + run + 1,
            f"run {run + 1} of {options.runs}",
        )
        if run == 0:
            trajectory[0].save_pdb(str(options.out / "top.pdb"))
        trajectory.save_xtc(str(options.out / f"run{run}.xtc"))


if __name__ == "__main__":
    main()
