"""`spectraldyn underdamped`: eigenvalues of underdamped dynamics in a known potential, learned beside exact."""

import argparse
import json
import math
from typing import Any

from spectraldyn.commands import options as shared
from spectraldyn.errors import InputError, did_you_mean

N_STATES = 50_000


def add_underdamped(commands: shared.Commands) -> None:
    purpose = "learn the eigenvalues of underdamped Langevin dynamics in a known potential, beside the exact ones"
    add = shared.command(
        commands, "underdamped double-well --friction 2 --out well.json", purpose, _underdamped
    ).add_argument
    add("system", metavar="NAME", help="spring (frequency 1) or double-well (barrier 4 kT); mass and kT are 1")
    add("--friction", type=float, required=True, metavar="RATE", help="γ in 1/ps")
    add("--modes", type=shared.positive, default=1, metavar="K", help="eigenvalues, conjugate pairs counted once")
    add("--states", type=shared.positive, default=N_STATES, metavar="N", help="independent states to learn from")
    add("--steps", type=shared.positive, metavar="N", help="of the training")
    add("--seed", type=shared.seed, default=0, metavar="N", help="of states, initial weights and batches")
    add("--out", metavar="JSON", help="file to write; by default named after the system")
    add("--force", action="store_true", help="replace an existing file")
    shared.add_quiet(add)
    add("--json", action="store_true", help="what is written also on stdout, in place of the table")


def _underdamped(options: argparse.Namespace) -> int:
    from spectraldyn.estimators import KineticSVD
    from spectraldyn.files import check_file, writing
    from spectraldyn.systems import UNDERDAMPED

    name = options.system
    if name not in UNDERDAMPED:
        choose = f"choose one of {', '.join(UNDERDAMPED)}"
        raise InputError(f"{name} is no underdamped system{did_you_mean(name, UNDERDAMPED)}: {choose}")
    if not (math.isfinite(options.friction) and options.friction > 0):
        raise InputError(f"--friction is {options.friction:g}: give a rate above 0")
    out = check_file(options.out or f"underdamped-{name}.json", options.force)
    system = UNDERDAMPED[name](options.friction)
    learner = KineticSVD(
        options.modes, force=system.force, friction=options.friction, hidden=(64, 128), max_steps=options.steps,
        random_state=options.seed, progress=not options.quiet,
    )  # fmt: skip
    model = learner.fit(system.sample(options.states, options.seed)).fetch_model()
    exact = system.eigenvalues(8 * options.modes + 8).tolist()
    rows = [_row(one, min(exact, key=lambda value: abs(value - one.value))) for one in model.eigenvalues]
    found = {"system": name, "description": system.description, "friction": options.friction, "shift": model.shift}
    text = json.dumps({**found, "states": options.states, "eigenvalues": rows}, indent=1)
    with writing(out, options.force) as draft:
        draft.write_text(text + "\n", encoding="utf-8")
    print(text if options.json else _table(system.description, rows))
    return 0


def _row(one: Any, exact: complex) -> dict[str, Any]:
    """Of an eigenvalue, and of the exact one that is nearest; rates in 1/ps, periods in ps."""
    interval = one.interval
    return {
        "rate": one.rate, "low": interval.low, "high": interval.high, "frequency": one.value.imag,
        "period": one.period, "residual": one.residual, "sampling": one.sampling, "learning": one.learning,
        "unresolved": one.unresolved, "exact_rate": -exact.real, "exact_frequency": abs(exact.imag),
    }  # fmt: skip


def _table(description: str, rows: list[dict[str, Any]]) -> str:
    lines = [description, "rate (1/ps)  interval             frequency (rad/ps)  exact rate  exact frequency"]
    for row in rows:
        bounds = "–" if row["low"] is None else f"{row['low']:.4g} – {row['high']:.4g}"
        doubt = f"  not to be quoted: {row['unresolved']}" if row["unresolved"] else ""
        numbers = f"{row['rate']:<11.5g}  {bounds:<19}  {row['frequency']:<18.5g}  {row['exact_rate']:<10.5g}"
        lines.append(f"{numbers}  {row['exact_frequency']:<.5g}{doubt}")
    return "\n".join(lines)
