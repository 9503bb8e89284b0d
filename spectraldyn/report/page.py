"""The self-contained HTML report, from what results.json holds and the figures and structures beside it."""

import base64
import json
import struct
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup, escape

from spectraldyn.pipeline import (
    MEND_FIRST,
    format_number,
    intervals_line,
    part_cell,
    rate_cells,
    stored_axis,
    stored_time,
    timescale_cells,
    with_error,
    with_interval,
)
from spectraldyn.report.citing import asset, methods, references
from spectraldyn.report.shown import Line
from spectraldyn.report.viewer import shown_structures
from spectraldyn.spectra.intervals import Bounds
from spectraldyn.spectra.rates import Rate
from spectraldyn.spectra.timescales import Timescale

NAMES_SHOWN = 12
MOVED_SHOWN = 2
MOVED_AT_LEAST = 0.05  # permutation importance of those after the first
PIXELS_SHOWN = 1.45
"""Of a picture, for one of the page: letters as large as those of the text, and sharp."""

Contents = dict[str, Any]
"""Of results.json: times in ps, or in stored frames where their spacing is unknown."""


def render(contents: Contents, folder: Path) -> str:
    """The page of a folder of results, in which figures and structures have been written."""
    structures = shown_structures(contents, folder)
    own = _of_generator(contents) if contents["lag"] is None else _of_transfer(contents)
    return page_from(
        "fit.html",
        contents,
        folder,
        what="slow spectrum",
        numbers="results.json",
        judgements=[Line(one["level"], one["level"], one["message"], one["advice"]) for one in contents["verdict"]],
        quotable=all(one["message"] != MEND_FIRST for one in contents["verdict"]),
        read_warnings=_not_judged(contents),
        populations=[_cell(state, "population") for state in contents["states"]],
        free_energies=_free_energies(contents),
        typical=[_place(state["most_probable"]) for state in contents["states"]],
        reversible=contents["model"]["tied"],
        scores=_scores(contents),
        features=_features(contents["features"]["columns"]),
        moves=[_moved_most(found["features"]) for found in contents["attribution"]],
        attribution=contents["attribution"][0],
        structures=Markup(json.dumps(structures).replace("</", "<\\/")),
        structure_names=[shown["name"] for shown in structures],
        viewer=Markup(asset("3Dmol-min.js")) if structures else None,
        viewer_script=Markup(asset("viewer.js")),
        licence=Markup(asset("3Dmol-LICENSE.txt")),
        intervals=intervals_line(contents["n_refits"]),
        methods=methods(contents, own["lag"]),
        references=references(contents),
        **own,
    )


def page_from(template: str, contents: Contents, folder: Path, **shown: Any) -> str:
    """A page from a template, with what all pages have: title, figures, style, run.toml, versions."""
    run_file = folder / "run.toml"
    versions = [f"{name} {version}" for name, version in contents["versions"].items()]
    return (
        environment()
        .get_template(template)
        .render(
            contents=contents,
            title=_title(contents),
            figures={path.stem: embedded(path.read_bytes()) for path in sorted(folder.glob("*.png"))},
            style=Markup(asset("page.css")),
            run_file=run_file.read_text(encoding="utf-8") if run_file.exists() else None,
            stages=_stages(contents.get("stages", [])),
            software=", ".join([f"spectraldyn {contents['version']}", *versions]) + ".",
            **shown,
        )
    )


def environment() -> jinja2.Environment:
    """Of the templates: what they are given is escaped."""
    loader = jinja2.PackageLoader("spectraldyn", "report")
    found = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    found.filters |= {"number": format_number, "marked": marked}
    return found


def marked(sentence: str) -> Markup:
    """A remark with the names of parameters, which stand between backticks, as code."""
    parts = [escape(part) for part in sentence.split("`")]
    return Markup("").join(Markup("<code>{}</code>").format(part) if i % 2 else part for i, part in enumerate(parts))


def embedded(png: bytes, shrunk: float = PIXELS_SHOWN) -> dict[str, Any]:
    """A picture as a data URL, with the size in which it is shown: so many of its pixels for one of the page."""
    width, height = (round(number / shrunk) for number in struct.unpack(">II", png[16:24]))
    return {"src": "data:image/png;base64," + base64.b64encode(png).decode(), "width": width, "height": height}


def _of_transfer(contents: Contents) -> dict[str, Any]:
    time, unit = stored_time(contents)
    lag, mfpt = contents["lag"], contents["mfpt"]
    lag_text = time.lag_text(lag["frames"] // time.stride)
    lag_time = time.time(lag["frames"] / time.stride)
    mfpt_unit = time.unit_for(max([lag_time, *(cell for row in mfpt for cell in row if cell is not None)]))
    passages = [
        [
            "0" if i == j else _with_interval(*cell, factor=1 / mfpt_unit.size)
            for j, cell in enumerate(zip(*rows, strict=True))
        ]
        for i, rows in enumerate(zip(mfpt, contents["mfpt_low"], contents["mfpt_high"], strict=True))
    ]
    model, scales = contents["model"], _timescales(contents)
    operator = "Reversible transfer operator" if model["tied"] else "Transfer operator (nonreversible dynamics)"
    values = [complex(*z) if isinstance(z, list) else z for z in contents["eigenvalues"]]
    oscillate = any(isinstance(z, complex) for z in values)
    period = 2 * np.pi * lag_time / unit.size
    return {
        "summary": f"{length(contents)}. {operator} at lag time {lag_text}, learned by NeuralSVD, "
        f"objective {model['objective']}; {_modes(len(values))}, of which the data carry {contents['n_carried']}.",
        "unit": unit.name,
        "times": [timescale_cells(scale, unit) for scale in scales],
        "parts": _parts(contents, scales),
        "lag": lag_text,
        "eigenvalues": [f"{z:.3g}" if oscillate else f"{z:.4f}" for z in values],
        "periods": [period / abs(np.angle(z)) if isinstance(z, complex) and z.imag else None for z in values],
        "mfpt": passages,
        "mfpt_unit": mfpt_unit.name,
        "refits": contents.get("refit_agreement"),
    }


def _of_generator(contents: Contents) -> dict[str, Any]:
    model, (_, unit) = contents["model"], stored_time(contents)
    rates, scales = [Rate(**_bare(entry)) for entry in contents["rates"]], _timescales(contents)
    exact = contents.get("exact_rates")
    potential = f" in the potential {contents['potential']}" if "potential" in contents else ""
    form = "resolvent in the energy space" if model["form"] == "energy-space" else "shifted generator"
    return {
        "summary": f"{length(contents)}. Generator of overdamped Langevin dynamics{potential}, learned by NeuralSVD "
        f"({form}, shift {model['shift'] * unit.size:.4g}/{unit.name}, objective {model['objective']}); "
        f"{_modes(len(rates))}.",
        "unit": unit.name,
        "times": [timescale_cells(scale, unit) for scale in scales],
        "parts": _parts(contents, scales),
        "lag": None,
        "periods": [None] * len(rates),
        "rates": [rate_cells(*pair, unit) for pair in zip(rates, exact or [None] * len(rates), strict=True)],
        "exact": exact is not None,
    }


def _bare(entry: Contents) -> dict[str, Any]:
    """The fields of a record from its entry, which has its unit, too."""
    parts = {name: entry[name] and Bounds(**entry[name]) for name in ("sampling", "learning")}
    return {**{name: value for name, value in entry.items() if name != "unit"}, **parts}


def _timescales(contents: Contents) -> list[Timescale]:
    return [Timescale(**_bare(entry)) for entry in contents["timescales"]]


def _title(contents: Contents) -> str:
    """The name of the first file, and how many there are more."""
    if not contents["inputs"]:
        return "arrays"
    first, others = contents["inputs"][0]["path"], len(contents["inputs"]) - 1
    return Path(first).name + (f" and {others} more file{'s' * (others > 1)}" if others else "")


def _not_judged(contents: Contents) -> list[str]:
    """What reading the data had to say: the other warnings are the verdict in sentences."""
    judged = {one["message"] + (f"; {one['advice']}" if one["advice"] else "") for one in contents["verdict"]}
    return [warning for warning in contents["warnings"] if warning not in judged]


def _modes(number: int) -> str:
    return f"{number} slow mode{'s' * (number > 1)}"


def length(contents: Contents) -> str:
    """How much data there were."""
    time, n_rows = stored_axis(contents), contents["n_frames"]
    length = f"{n_rows:,} frames" + (f" (every {time.stride}th stored frame)" if time.stride > 1 else "")
    return length if time.timestep_ps is None else f"{length}, {time.length_text(n_rows)} in all"


def _parts(contents: Contents, scales: list[Timescale]) -> list[list[str]]:
    """Of every timescale the parts of its interval that sampling and learning account for; none without refits."""
    if not contents["n_refits"]:
        return []
    _, unit = stored_time(contents)
    return [[part_cell(scale, part, unit) for part in (scale.sampling, scale.learning)] for scale in scales]


def _with_interval(*numbers: float | None, factor: float = 1.0) -> str:
    value, low, high = (np.nan if number is None else number for number in numbers)
    return with_interval(value, low, high, factor)


def _cell(entry: Contents, name: str = "value") -> str:
    return _with_interval(entry[name], entry["low"], entry["high"])


def _free_energies(contents: Contents) -> list[list[str]]:
    """Of every set one cell in kT, and one in kJ/mol where the temperature is known."""
    units = ["kT", *(["kJ/mol"] if contents["temperature"] is not None else [])]
    rest = contents["free_energies"][1:]
    return [["0"] * len(units), *([_cell(estimate[unit]) for unit in units] for estimate in rest)]


def _scores(contents: Contents) -> list[tuple[str, ...]]:
    """Rows of the table of scores: name, on the training blocks, on the held-out blocks, cross-validated."""
    names = {"vamp2": "VAMP-2", "vampe": "VAMP-E", "resolvent": "squared singular values, summed"}
    scores, crossed = contents["scores"], contents["cross_validation"] or {}

    def cell(key: str) -> str:
        score = scores.get(key)
        return "–" if score is None else f"{score:.3f}"

    def mean(name: str) -> str:
        found = crossed.get(name, {"mean": None, "standard_error": None})
        return with_error(found["mean"], found["standard_error"])

    present = [name for name in names if any(key.startswith(name + "_") for key in scores)]
    return [(names[name], cell(f"{name}_train"), cell(f"{name}_test"), mean(name)) for name in present]


def _stages(stages: list[Contents]) -> str:
    """What took how long, with how much memory; empty in results of an earlier version."""

    def one(stage: Contents) -> str:
        memory = "" if stage["peak_mb"] is None else f" ({stage['peak_mb']:,.0f} MB)"
        return f"{stage['name']} {stage['seconds']:.1f} s{memory}"

    return f"Most memory in use in brackets: {', '.join(map(one, stages))}." if stages else ""


def _features(names: list[str]) -> str:
    return f"{len(names)} features: {', '.join(names[:NAMES_SHOWN])}" + ", …" * (len(names) > NAMES_SHOWN)


def _moved_most(features: list[Contents]) -> str:
    """The leading features of a process, with their permutation importance."""
    leading = [(found["name"], found["importance"]["value"] or 0.0) for found in features[:MOVED_SHOWN]]
    shown = leading[:1] + [(name, value) for name, value in leading[1:] if value >= MOVED_AT_LEAST]
    return ", ".join(f"{name} ({value:.2f})" for name, value in shown)


def _place(frame: Contents | None) -> str:
    if frame is None:
        return "–"
    array = f" ({frame['array']})" if "array" in frame else ""
    return f"frame {frame['frame']} of {frame['file']}{array}"
