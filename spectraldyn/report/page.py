"""The self-contained HTML report."""

from functools import singledispatch
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup, escape

from spectraldyn.pipeline import (
    GeneratorResults,
    Results,
    TransferResults,
    format_number,
    part_cell,
    rate_cells,
    timescale_cells,
    with_error,
    with_interval,
)

NAMES_SHOWN = 12
MOVED_SHOWN = 2
MOVED_AT_LEAST = 0.05  # permutation importance of those after the first


def render(results: Results, contents: dict[str, Any], figures: dict[str, str]) -> str:
    """The page, from results, the contents of results.json and the figures as data URLs."""
    loader = jinja2.PackageLoader("spectraldyn", "report")
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters |= {"number": format_number, "marked": marked}
    data, names = results.data, results.data.column_names
    others = len(data.files) - 1
    return environment.get_template("template.html").render(
        contents=contents,
        read_warnings=data.warnings,
        title=data.files[0].path.name + (f" and {others} more file{'s' * (others > 1)}" if others else ""),
        populations=[with_interval(*cell) for cell in zip(*results.populations, strict=True)],
        free_energies=["0", *(with_interval(*cell) for cell in list(zip(*results.free_energies, strict=True))[1:])],
        typical=[_frame(results, rows[0]) if len(rows) else "–" for rows in results.representatives],
        reversible=results.model.reversible,
        scores=_scores(contents),
        intervals=results.intervals_line,
        features=f"{len(names)} features: {', '.join(names[:NAMES_SHOWN])}" + ", …" * (len(names) > NAMES_SHOWN),
        moves=_moved_most(results),
        attribution=contents["attribution"][0],
        figures=figures,
        **own_part(results),
    )


def marked(sentence: str) -> Markup:
    """A remark with the names of parameters, which stand between backticks, as code."""
    parts = [escape(part) for part in sentence.split("`")]
    return Markup("").join(Markup("<code>{}</code>").format(part) if i % 2 else part for i, part in enumerate(parts))


@singledispatch
def own_part(results: Results) -> dict[str, Any]:
    """What the page says of one kind of operator alone."""
    raise TypeError(f"there is no report on {type(results).__name__}")


@own_part.register
def _of_transfer(results: TransferResults) -> dict[str, Any]:
    model, time, unit = results.model, results.data.time, results.display_unit
    lag, known = time.lag_text(model.lagtime), np.isfinite(results.mfpt)
    mfpt_unit = time.unit_for(results.mfpt[known].max(initial=results.lag_time))
    passages = [
        ["0" if i == j else with_interval(*cell, 1 / mfpt_unit.size) for j, cell in enumerate(zip(*rows, strict=True))]
        for i, rows in enumerate(zip(*results.kinetics.mfpt, strict=True))
    ]
    operator = "Reversible transfer operator" if model.reversible else "Transfer operator (nonreversible dynamics)"
    form = "{:.3g}" if np.iscomplexobj(model.eigenvalues) else "{:.4f}"
    period = 2 * np.pi * results.lag_time / unit.size
    periods = [period / abs(np.angle(z)) if z.imag else None for z in model.eigenvalues]
    return {
        "summary": f"{_length(results)}. {operator} at lag time {lag}, learned by NeuralSVD, "
        f"objective {model.settings.objective}; {_modes(model.n_modes)}, of which the data carry {results.n_carried}.",
        "unit": unit.name,
        "times": [timescale_cells(scale, unit) for scale in results.timescales],
        "parts": _parts(results),
        "lag": lag,
        "eigenvalues": list(map(form.format, model.eigenvalues)),
        "periods": periods,
        "mfpt": passages,
        "mfpt_unit": mfpt_unit.name,
        "refits": results.refit_summary,
    }


@own_part.register
def _of_generator(results: GeneratorResults) -> dict[str, Any]:
    settings, unit = results.model.settings, results.display_unit
    exact = [None] * len(results.rates) if results.exact_rates is None else results.exact_rates.tolist()
    potential = f" in the potential {results.potential}" if results.potential else ""
    form = "resolvent in the energy space" if settings.form == "energy-space" else "shifted generator"
    return {
        "summary": f"{_length(results)}. Generator of overdamped Langevin dynamics{potential}, learned by NeuralSVD "
        f"({form}, shift {settings.shift * unit.size:.4g}/{unit.name}, objective {settings.objective}); "
        f"{_modes(results.model.n_modes)}.",
        "unit": unit.name,
        "times": [timescale_cells(scale, unit) for scale in results.timescales],
        "parts": _parts(results),
        "lag": None,
        "periods": [None] * len(results.rates),
        "rates": [rate_cells(rate, known, unit) for rate, known in zip(results.rates, exact, strict=True)],
        "exact": results.exact_rates is not None,
    }


def _modes(number: int) -> str:
    return f"{number} slow mode{'s' * (number > 1)}"


def _length(results: Results) -> str:
    time, n_rows = results.data.time, results.data.n_rows
    length = f"{n_rows:,} frames" + (f" (every {time.stride}th stored frame)" if time.stride > 1 else "")
    if time.timestep_ps is not None:
        length += f", {time.length_text(n_rows)} in all"
    return length


def _parts(results: TransferResults | GeneratorResults) -> list[list[str]]:
    """Of every timescale the parts of its interval that sampling and learning account for; none without refits."""
    if not results.n_refits:
        return []
    unit = results.display_unit
    return [[part_cell(scale, part, unit) for part in (scale.sampling, scale.learning)] for scale in results.timescales]


def _scores(contents: dict[str, Any]) -> list[tuple[str, ...]]:
    """Rows of the table of scores: name, on the training blocks, on the held-out blocks, cross-validated."""
    names = {"vamp2": "VAMP-2", "vampe": "VAMP-E", "resolvent": "squared singular values, summed"}
    scores, crossed = contents["scores"], contents.get("cross_validation") or {}

    def cell(key: str) -> str:
        score = scores.get(key)
        return "–" if score is None else f"{score:.3f}"

    def mean(name: str) -> str:
        found = crossed.get(name, {"mean": None, "standard_error": None})
        return with_error(found["mean"], found["standard_error"])

    present = [name for name in names if any(key.startswith(name + "_") for key in scores)]
    return [(names[name], cell(f"{name}_train"), cell(f"{name}_test"), mean(name)) for name in present]


def _moved_most(results: Results) -> list[str]:
    """Of every process the leading features, with their permutation importance."""
    moved = []
    for attribution in results.attribution:
        features = attribution.features
        leading = list(zip(features.names, features.importance.value, strict=True))[:MOVED_SHOWN]
        shown = leading[:1] + [(name, value) for name, value in leading[1:] if value >= MOVED_AT_LEAST]
        moved.append(", ".join(f"{name} ({value:.2f})" for name, value in shown))
    return moved


def _frame(results: Results, row: int) -> str:
    file, frame = results.data.frame(row)
    return f"frame {frame} of {file.path.name}" + (f" ({file.array})" if file.array else "")
