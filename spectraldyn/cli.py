"""Command line: results on stdout, progress and remarks on stderr; a user error is one sentence and exit code 2."""

import argparse
import contextlib
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from spectraldyn.errors import InputError
from spectraldyn.version import __version__


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Defaults in the options' help where there is one to tell, examples as typed."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default in (None, False) else super()._get_help_string(action)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        with warnings.catch_warnings():
            # What the user must know arrives in the results' own list of warnings.
            warnings.simplefilter("ignore")
            return options.handler(options)
    except InputError as error:
        print(f"spectraldyn: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        again = "; run the same command again to go on from where it stopped" if options.handler is _fit else ""
        print(f"spectraldyn: interrupted{again}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output has gone (`| head`); Python must not complain at exit about the closed pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="spectraldyn",
        description="The slow spectrum behind molecular-dynamics trajectories: implied timescales with error bars, "
        "metastable sets and kinetics.",
        epilog="example: spectraldyn fit traj.xtc --top protein.pdb --lag 1ns\n\n"
        "Times: a number of stored frames (50), or a time with its unit (50ps, 1.2ns).",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"spectraldyn {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_fit(commands)
    _add_transform(commands)
    _add_info(commands)
    _add_features(commands)
    _add_systems(commands)
    _add_simulate(commands)
    return parser


def _add_fit(commands: argparse._SubParsersAction) -> None:
    parser = _command(
        commands,
        "fit",
        "learn the slow spectrum of trajectories and write a report",
        "spectraldyn fit run1.xtc run2.xtc --top protein.pdb --lag 1ns --modes 4",
        _fit,
    )
    parser.add_argument(
        "files", nargs="+", metavar="FILE", help="trajectories, or .npy/.npz arrays of ready-made features"
    )
    parser.add_argument("--top", metavar="FILE", help="topology (PDB, GRO, ...) where the trajectories carry none")
    parser.add_argument("--lag", metavar="TIME", help="lag time: stored frames (50) or a time (50ps)")
    parser.add_argument(
        "--operator",
        choices=["transfer", "generator"],
        default="transfer",
        help="transfer: the operator at a lag time, for any trajectories; generator: that of overdamped Langevin "
        "dynamics in a known potential, for states with or without an order in time",
    )
    parser.add_argument(
        "--potential",
        metavar="NAME",
        help="for the generator: gives force and diffusion; see `spectraldyn systems`. The first d Cartesian "
        "coordinates in nm are the state",
    )
    parser.add_argument(
        "--timestep",
        "--frame-spacing",
        metavar="TIME",
        help="time between stored frames, for files that do not carry it (DCD): 1ps",
    )
    parser.add_argument(
        "--features",
        action="append",
        metavar="NAME[,NAME]",
        help="features by name; see `spectraldyn features`. By default chosen for the molecule",
    )
    parser.add_argument("--atoms", metavar="SELECTION", help="only these atoms, in mdtraj's selection language")
    parser.add_argument("--stride", type=_positive, default=1, metavar="N", help="use every N-th stored frame")
    parser.add_argument("--skip", metavar="TIME", help="leave out this much at the start of each file")
    parser.add_argument(
        "--modes", type=_positive, default=3, metavar="K", help="relaxation processes, the constant one not counted"
    )
    parser.add_argument(
        "--states",
        type=_positive,
        metavar="N",
        help="metastable sets; by default one more than processes slower than the lag time, for the generator from the "
        "largest gap between the rates",
    )
    parser.add_argument(
        "--nesting",
        choices=["joint", "sequential"],
        help="how the modes are put in order: by default joint, for the generator sequential",
    )
    parser.add_argument(
        "--nonreversible", action="store_true", help="driven or relaxing dynamics: no detailed balance, two networks"
    )
    parser.add_argument(
        "--refit-lags",
        action="store_true",
        help="fit anew at each lag time of the timescale plot, to check its lines, which all come from one fit: takes "
        "ten times as long",
    )
    parser.add_argument("--out", metavar="DIR", help="folder for the results; by default named after the first file")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of initial weights, batches and resampling")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help="where to train")
    parser.add_argument("--force", action="store_true", help="replace earlier results in DIR")


def _add_transform(commands: argparse._SubParsersAction) -> None:
    parser = _command(
        commands,
        "transform",
        "project new trajectories on the modes of an earlier fit",
        "spectraldyn transform protein-results new.xtc --out new-modes.npz",
        _transform,
    )
    parser.add_argument("run", metavar="RUN", help="folder written by `spectraldyn fit`")
    parser.add_argument("files", nargs="+", metavar="FILE", help="new files of the same molecule")
    parser.add_argument("--out", metavar="NPZ", help="file to write; by default named after the first file")
    parser.add_argument("--force", action="store_true", help="replace an existing file")


def _add_info(commands: argparse._SubParsersAction) -> None:
    parser = _command(
        commands,
        "info",
        "read every frame once and say what is in the files",
        "spectraldyn info run1.xtc run2.xtc --top protein.pdb",
        _info,
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="trajectories, or .npy/.npz arrays")
    parser.add_argument("--top", metavar="FILE", help="topology where the trajectories carry none")


def _add_features(commands: argparse._SubParsersAction) -> None:
    parser = _command(
        commands,
        "features",
        "list the features, with what each would give for a molecule",
        "spectraldyn features --top protein.pdb",
        _features,
    )
    parser.add_argument("--top", metavar="FILE", help="topology to count the columns for")
    parser.add_argument("--atoms", metavar="SELECTION", help="only these atoms, in mdtraj's selection language")


def _add_systems(commands: argparse._SubParsersAction) -> None:
    _command(
        commands,
        "systems",
        "list the systems with a known spectrum, to try things out on",
        "spectraldyn systems",
        _systems,
    )


def _add_simulate(commands: argparse._SubParsersAction) -> None:
    parser = _command(
        commands,
        "simulate",
        "write a trajectory of a system whose timescales are known exactly",
        "spectraldyn simulate double-well-2d --out well.dcd",
        _simulate,
    )
    parser.add_argument("system", metavar="NAME", help="see `spectraldyn systems`")
    parser.add_argument(
        "--out", required=True, metavar="FILE", help="trajectory to write, format by its ending; a .pdb goes beside it"
    )
    parser.add_argument(
        "--frames", type=_positive, metavar="N", help="stored frames; by default enough to meet the exact timescales"
    )
    parser.add_argument(
        "--spacing", metavar="TIME", help="time between stored frames: 0.2ps; by default as suits the system"
    )
    parser.add_argument(
        "--timestep", metavar="TIME", help="step of the integrator: 1fs; by default as suits the system"
    )
    parser.add_argument("--seed", type=_seed, default=0, metavar="N", help="of the random numbers")
    parser.add_argument("--force", action="store_true", help="replace existing files")


def _command(
    commands: argparse._SubParsersAction, name: str, purpose: str, example: str, handler: object
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=purpose,
        description=purpose[0].upper() + purpose[1:] + ".",
        epilog=f"example: {example}",
        formatter_class=_HelpFormatter,
    )
    parser.set_defaults(handler=handler)
    return parser


def _positive(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least 1")
    return number


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least 0")
    return int(text)


def _fit(options: argparse.Namespace) -> int:
    # torch and matplotlib take seconds to import, so that only a command that needs them pays.
    from spectraldyn.generator_results import fit_generator
    from spectraldyn.report.write import check_folder, write_results
    from spectraldyn.results import fit_trajectories
    from spectraldyn.trajectories.store import cache_folder

    _check_operator(options)
    out = check_folder(options.out or f"{_stem(options.files[0])}-results", options.force)
    common = {
        "top": options.top,
        "stride": options.stride,
        "skip": options.skip,
        "timestep": options.timestep,
        "n_modes": options.modes,
        "n_states": options.states,
        "random_state": options.seed,
        "device": options.device,
        "checkpoint_folder": cache_folder(),
        "progress": True,
    }
    if options.operator == "generator":
        results = fit_generator(options.files, options.potential, nesting=options.nesting or "sequential", **common)
    else:
        results = fit_trajectories(
            options.files,
            lag=options.lag,
            features=",".join(options.features) if options.features else None,
            atoms=options.atoms,
            nesting=options.nesting or "joint",
            reversible=not options.nonreversible,
            refit_lags=options.refit_lags,
            **common,
        )
    out = write_results(results, out, options.force)
    for warning in results.warnings:
        print(f"note: {warning}", file=sys.stderr)
    print(results)
    print(f"report: {out / 'report.html'}")
    return 0


def _check_operator(options: argparse.Namespace) -> None:
    """Options that are missing or mean nothing for the operator that was asked for."""
    if options.operator == "transfer":
        if options.lag is None:
            raise InputError("--lag is missing: give the lag time in stored frames (50) or as a time (50ps)")
        if options.potential is not None:
            raise InputError("--potential is for --operator generator: leave it out, or ask for the generator")
        return
    if options.potential is None:
        raise InputError("--operator generator needs --potential: see `spectraldyn systems` for the names")
    meaningless = {
        "--lag": options.lag,
        "--features": options.features,
        "--atoms": options.atoms,
        "--nonreversible": options.nonreversible,
        "--refit-lags": options.refit_lags,
    }
    for option, value in meaningless.items():
        if value:
            raise InputError(f"{option} means nothing with --operator generator: leave it out")


def _transform(options: argparse.Namespace) -> int:
    from spectraldyn.report.project import project_files

    out = options.out or f"{_stem(options.files[0])}-modes.npz"
    features = project_files(options.run, options.files, out, options.force, progress=True)
    for warning in features.warnings:
        print(f"note: {warning}", file=sys.stderr)
    print(f"{sum(map(len, features))} frames: {out}")
    return 0


def _info(options: argparse.Namespace) -> int:
    from spectraldyn.trajectories.info import describe_files

    failed = False
    for line, error in describe_files(options.files, options.top):
        failed = failed or error
        print(f"spectraldyn: error: {line}" if error else line, file=sys.stderr if error else sys.stdout, flush=True)
    return 2 if failed else 0


def _features(options: argparse.Namespace) -> int:
    from spectraldyn.trajectories.features import FEATURES, available_features
    from spectraldyn.trajectories.files import load_topology

    if options.top is None:
        if options.atoms is not None:
            raise InputError("--atoms needs --top: without a topology there are no atoms to select")
        for name, feature in FEATURES.items():
            print(f"{name:20} {feature.description}")
        print("Give --top to see what each would give for a molecule.", file=sys.stderr)
        return 0
    for name, description, n_columns, reason in available_features(load_topology(options.top, []), options.atoms):
        given = f"{n_columns:>6} columns" if n_columns else f"     none: {reason}"
        print(f"{name:20} {description}\n{'':20} {given}")
    return 0


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
    from spectraldyn.systems import DISCRETE, RUNS, SCHROEDINGER, SYSTEMS
    from spectraldyn.trajectories.write import WITH_TIMES, check_output, write_particles

    name = options.system
    if name not in RUNS:
        known = name in {**SYSTEMS, **SCHROEDINGER, **DISCRETE}
        reason = "is not a system of particles in space" if known else "is not a system"
        raise InputError(f"{name} {reason}: those that can be simulated are " + ", ".join(RUNS))
    run, system = RUNS[name], SYSTEMS[name]
    spacing = _picoseconds(options.spacing, "--spacing", run.spacing)
    timestep = _picoseconds(options.timestep, "--timestep", run.timestep)
    n_frames = options.frames or run.n_frames
    path, topology = check_output(options.out, options.force)
    states = system.simulate(n_frames, spacing, seed=options.seed, timestep=timestep, progress=True)[0]
    write_particles(path, topology, states, spacing)
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


def _stem(file: str) -> str:
    """File name without its endings, for the names of outputs in the current folder."""
    name = Path(file).name
    with contextlib.suppress(ValueError):
        return name[: name.index(".", 1)]
    return name
