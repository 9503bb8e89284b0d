"""`spectraldyn fit` and `spectraldyn transform`: the slow spectrum, and new trajectories on its modes."""

import argparse
from typing import Any

from spectraldyn.commands import options as shared
from spectraldyn.errors import InputError, did_you_mean


def add_fit(commands: shared.Commands) -> None:
    purpose = "learn the slow spectrum of trajectories and write a report"
    parser = shared.command(commands, "fit run1.xtc run2.xtc --top protein.pdb --lag 1ns --modes 4", purpose, fit)
    shared.add_trajectory_options(parser)
    add = parser.group("learning").add_argument
    add(
        "--operator",
        choices=["transfer", "generator"],
        default="transfer",
        help="transfer: the operator at a lag time, for any trajectories; generator: that of overdamped Langevin "
        "dynamics in a known potential, for states with or without an order in time",
    )
    add(
        "--potential",
        metavar="NAME",
        help="for the generator: gives force and diffusion; see `spectraldyn systems`. The first d Cartesian "
        "coordinates in nm, or d columns of a COLVAR file, are the state. With --weights cells states count by the "
        "probability nearest to them",
    )
    add(
        "--states",
        type=shared.positive,
        metavar="N",
        help="metastable sets; by default from the last sure gap between the timescales, for the generator from the "
        "largest one between the rates",
    )
    add("--temperature", type=float, metavar="K", help="of the simulation, for free energies in kJ/mol beside kT")
    nesting = "how the modes are put in order: by default joint, for the generator sequential"
    add("--nesting", choices=["joint", "sequential"], help=nesting)
    add("--hidden", type=shared.numbers, metavar="N[,N]", help="widths of the hidden layers, by default two of 64")
    pairs = "lagged pairs, or states, of one training step, by default 512: more where several processes share them out"
    add("--batch-size", type=shared.positive, metavar="N", help=pairs)
    add(
        "--refits",
        type=shared.seed,
        metavar="N",
        help="learn anew so often from resampled blocks, for error bars that hold the errors of learning, too; 0 for "
        "none. By default 4 where a fit takes seconds",
    )
    add(
        "--refit-lags",
        action="store_true",
        help="fit anew at each lag time of the timescale plot, to check its lines, which all come from one fit: takes "
        "ten times as long",
    )
    shared.add_weight_options(parser)
    shared.add_learning_options(parser)
    where = "scheduler of a Dask cluster that computes the features, file by file, such as tcp://node1:8786; its "
    where += "workers must see the files and the cache folder where this machine does"
    parser.group("features").add_argument("--cluster", metavar="ADDRESS", help=where)


def add_transform(commands: shared.Commands) -> None:
    purpose = "project new trajectories on the modes of an earlier fit"
    add = shared.command(
        commands, "transform protein-results new.xtc --out new-modes.npz", purpose, _transform
    ).add_argument
    add("run", metavar="RUN", help="folder written by `spectraldyn fit`")
    add("files", nargs="+", metavar="FILE", help="new files of the same molecule")
    add("--out", metavar="NPZ", help="file to write; by default named after the first file")
    add("--force", action="store_true", help="replace an existing file")
    shared.add_quiet(add)


def fit(options: argparse.Namespace) -> int:
    arguments = _fit_arguments(options) | {"hidden": options.hidden, "batch_size": options.batch_size}
    # torch and matplotlib take seconds to import, so that only a command that needs them pays.
    from spectraldyn.features import cache_folder
    from spectraldyn.processes import first
    from spectraldyn.report import check_results_folder, write_results

    arguments |= {"n_states": options.states, "temperature": options.temperature, "refits": options.refits}
    arguments["cluster"] = options.cluster
    if not first():  # of several processes, which shows, keeps and writes for all
        _fitted(options, arguments | {"progress": False}, None)
        return 0
    out = check_results_folder(shared.output_name(options, "-results"), options.force)
    with shared.under_way(options, out) as run:
        results = _fitted(options, arguments | {"checkpoint_folder": cache_folder()}, run)
        shared.log_notes(results.warnings)
        out = write_results(results, out, options.force, options.parser.run_file(options, out), run)
    shared.print_notes(options, results.data.warnings)
    table = f"{shared.as_options(str(results))}\nreport: {out / 'report.html'}"
    shared.print_results(options, table, out / "results.json")
    return 0


def _fitted(options: argparse.Namespace, arguments: dict[str, Any], run: Any) -> Any:
    """Results of the operator asked for; of several processes all but the first end here, with the training."""
    from spectraldyn.pipeline import fit_generator, fit_trajectories

    if options.operator == "generator":
        potential = _potential(options.potential)
        return fit_generator(options.files, potential, name=options.potential, run=run, **arguments)
    return fit_trajectories(options.files, run=run, **arguments)


def _potential(name: str) -> Any:
    """The potential of that name; InputError for another name."""
    from spectraldyn.systems import SYSTEMS

    if name not in SYSTEMS:
        names = [name for name, system in SYSTEMS.items() if not system.periodic]
        raise InputError(f"--potential {name} is unknown{did_you_mean(name, names)}: choose one of {', '.join(names)}")
    return SYSTEMS[name]


def _fit_arguments(options: argparse.Namespace) -> dict[str, Any]:
    """What the fit takes; InputError for options that are missing or mean nothing for the operator asked for."""
    if options.operator == "transfer":
        arguments = shared.lagged_arguments(options)
        if options.potential is not None:
            raise InputError("--potential is for --operator generator: leave it out, or ask for the generator")
        learned = {"objective": options.nesting or "joint", "refit_lags": options.refit_lags}
        return {**arguments, **learned, "weights": shared.weights_of(options)}
    if options.potential is None:
        raise InputError("--operator generator needs --potential: see `spectraldyn systems` for the names")
    for option in ("lag", "atoms", "nonreversible", "refit_lags"):
        if getattr(options, option):
            raise InputError(f"`{option}` means nothing with --operator generator: leave it out")
    weights = shared.weights_of(options, cells=True)
    asked = {"features": shared.joined(options.features), "weights": weights}
    return {**shared.common_arguments(options), **asked, "objective": options.nesting or "sequential"}


def _transform(options: argparse.Namespace) -> int:
    from spectraldyn.pipeline import transform_trajectories

    out = shared.output_name(options, "-modes.npz")
    data = transform_trajectories(options.run, options.files, out, options.force, progress=not options.quiet)
    shared.print_notes(options, data.warnings)
    print(f"{data.n_rows} frames: {out}")
    return 0
