"""`spectraldyn systems` and `spectraldyn simulate`: systems with known spectra, and trajectories of them."""

import argparse
import sys

from spectraldyn.commands.options import Commands, add_quiet, command, positive, seed
from spectraldyn.errors import InputError, did_you_mean


def add_systems(commands: Commands) -> None:
    command(commands, "systems", "list the systems with a known spectrum, to try things out on", _systems)


def add_simulate(commands: Commands) -> None:
    purpose = "write a trajectory of a system whose timescales are known exactly"
    add = command(commands, "simulate double-well-2d --out well.dcd", purpose, _simulate).add_argument
    add("system", metavar="NAME", help="see `spectraldyn systems`")
    beside = "trajectory to write, format by its ending; a .pdb goes beside it"
    add("--out", required=True, metavar="FILE", help=beside)
    add("--frames", type=positive, metavar="N", help="stored frames; by default enough to meet the exact timescales")
    add("--timestep", metavar="TIME", help="time between stored frames: 0.2ps; by default as suits the system")
    add("--step", metavar="TIME", help="step of the integrator: 1fs; by default as suits the system")
    add("--seed", type=seed, default=0, metavar="N", help="of the random numbers")
    add("--force", action="store_true", help="replace existing files")
    add_quiet(add)


def _systems(options: argparse.Namespace) -> int:
    from spectraldyn.systems import DISCRETE, RUNS, SCHROEDINGER, SYSTEMS

    for name, system in {**SYSTEMS, **SCHROEDINGER, **DISCRETE}.items():
        print(f"{name:32} {'simulate' if name in RUNS else '':10} {system.description}")
    print(
        "Those marked can be written as trajectories by `spectraldyn simulate NAME --out FILE`, and be the --potential "
        "of `spectraldyn fit --operator generator`.",
        file=sys.stderr,
    )
    return 0


def _simulate(options: argparse.Namespace) -> int:
    from spectraldyn.io import WITH_TIMES, check_output, write_particles
    from spectraldyn.systems import DISCRETE, RUNS, SCHROEDINGER, SYSTEMS

    name = options.system
    if name not in RUNS:
        known = name in {**SYSTEMS, **SCHROEDINGER, **DISCRETE}
        reason = "is not a system of particles in space" if known else f"is not a system{did_you_mean(name, RUNS)}"
        raise InputError(f"{name} {reason}: those that can be simulated are " + ", ".join(RUNS))
    run, system = RUNS[name], SYSTEMS[name]
    spacing = _picoseconds(options.timestep, "--timestep", run.spacing)
    step = _picoseconds(options.step, "--step", run.timestep)
    n_frames = options.frames or run.n_frames
    path, topology = check_output(options.out, options.force)
    states = system.simulate(n_frames, spacing, seed=options.seed, timestep=step, progress=not options.quiet)[0]
    write_particles(path, topology, states, spacing, options.force)
    timed = path.suffix[1:] in WITH_TIMES
    lag = max(1, round(run.lag / spacing)) * spacing
    print(f"{name}: {system.description}")
    print(f"{n_frames} frames {spacing:g} ps apart: {path}" + (f" ({topology} beside it)" if topology != path else ""))
    print("exact timescales: " + ", ".join(f"{1 / rate:.4g} ps" for rate in system.rates(3)))
    print(
        f"try: spectraldyn fit {path} --top {topology} --features positions --lag {lag:.10g}ps"
        + ("" if timed else f" --timestep {spacing:.10g}ps")
    )
    print(f"or:  spectraldyn fit {path} --top {topology} --operator generator --potential {name}")
    return 0


def _picoseconds(text: str | None, option: str, default: float) -> float:
    """A positive time given with its unit."""
    from spectraldyn.units import parse_duration

    if text is None:
        return default
    duration = parse_duration(text, option)
    if duration.in_frames or not duration.value > 0:
        raise InputError(f"{option} is {text!r}: give a time above 0 with its unit, such as {default:g}ps")
    return duration.value
