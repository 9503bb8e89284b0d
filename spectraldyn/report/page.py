"""The self-contained HTML report."""

from typing import Any

import jinja2
import numpy as np

from spectraldyn.pipeline.transfer import Results, format_number


def render(results: Results, contents: dict[str, Any], figures: dict[str, str]) -> str:
    """The page, from results, the contents of results.json and the figures as data URLs."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("spectraldyn", "report"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    n_frames = len(results.modes)
    lag = f"{results.lag_time:g} {results.unit}"
    first = results.features.files[0].path
    others = len(results.features.files) - 1
    return environment.get_template("template.html").render(
        title=first.name + (f" and {others} more file{'s' * (others > 1)}" if others else ""),
        summary=_summary(results, n_frames, lag),
        warnings=results.warnings,
        unit=results.unit,
        lag=lag,
        processes=_processes(results),
        refits=results.refit_summary,
        states=[
            {
                "population": f"{state['population']:.3g}",
                "structure": state["structure"],
                "frame": _frame(results, rows[0]) if len(rows) else "–",
            }
            for state, rows in zip(contents["states"], results.representatives, strict=True)
        ],
        has_structures=any(state["structure"] for state in contents["states"]),
        mfpt=[[format_number(cell, "–") for cell in row] for row in contents["mfpt"] or []],
        reversible=results.model.reversible,
        generator=results.rates is not None,
        exact=results.exact_rates is not None,
        scores=_scores(contents["scores"]),
        inputs=contents["inputs"],
        features=f"{len(results.features.columns)} features: {_listing(results.features.columns)}",
        figures=figures,
        version=contents["version"],
        seed=contents["seed"],
        seconds=contents["seconds"],
    )


def _summary(results: Results, n_frames: int, lag: str) -> str:
    stride = results.features.stride
    length = f"{n_frames:,} frames" + (f" (every {stride}th stored frame)" if stride > 1 else "")
    if results.features.timestep_ps is not None:
        length += f", {n_frames * stride * results.frame_time / 1000:,.4g} ns in all"
    config = results.model.config
    if results.rates is not None:
        potential = f" in the potential {results.potential}" if results.potential else ""
        form = "resolvent in the energy space" if config["form"] == "energy-space" else "shifted generator"
        return (
            f"{length}. Generator of overdamped Langevin dynamics{potential}, learned by NeuralSVD ({form}, shift "
            f"{config['shift']:.4g}/{results.unit}, {config['nesting']} nesting); {results.model.n_modes} slow modes."
        )
    kind = "Reversible transfer operator" if results.model.reversible else "Transfer operator (nonreversible dynamics)"
    return (
        f"{length}. {kind} at lag time {lag}, learned by NeuralSVD with {config['nesting']} nesting; "
        f"{results.model.n_modes} slow modes."
    )


def _processes(results: Results) -> list[dict[str, str]]:
    eigenvalues = results.model.eigenvalues
    moves = strongest_features(results)
    rows = []
    for k, scale in enumerate(results.timescales):
        eigenvalue = eigenvalues[k]
        rows.append(
            {
                "value": format_number(scale.value, "–"),
                "low": format_number(scale.low, "0"),
                "high": format_number(scale.high, "∞"),
                "transitions": "–" if scale.n_transitions is None else f"{scale.n_transitions:,}",
                "rate": _rate(results, k),
                "eigenvalue": f"{eigenvalue:.3g}" if np.iscomplexobj(eigenvalue) else f"{eigenvalue:.4f}",
                "moves": ", ".join(moves[k]),
                "remark": "; ".join(_process_remarks(results, k)),
            }
        )
    return rows


def _rate(results: Results, k: int) -> str:
    if results.rates is None:
        return ""
    rate = results.rates[k]
    exact = "" if results.exact_rates is None else f", exact {format_number(float(results.exact_rates[k]), '–')}"
    low, high = format_number(rate.low, "–"), format_number(rate.high, "–")
    return f"{format_number(rate.value, '–')} ({low} – {high}){exact}"


def _scores(scores: dict[str, float | None]) -> list[tuple[str, str, str]]:
    """Rows of the table of scores: name, on the training blocks, on the held-out blocks."""
    names = {"vamp2": "VAMP-2", "vampe": "VAMP-E", "resolvent": "squared singular values, summed"}

    def cell(key: str) -> str:
        score = scores.get(key)
        return "–" if score is None else f"{score:.3f}"

    present = [name for name in names if any(key.startswith(name + "_") for key in scores)]
    return [(names[name], cell(f"{name}_train"), cell(f"{name}_test")) for name in present]


def _process_remarks(results: Results, k: int) -> list[str]:
    unresolved, eigenvalue = results.timescales[k].unresolved, results.model.eigenvalues[k]
    remarks = [f"unresolved: {unresolved}"] if unresolved else []
    if eigenvalue.imag != 0:
        period = 2 * np.pi * results.lag_time / abs(np.angle(eigenvalue))
        remarks.append(f"one of a pair that oscillates with period {format_number(period, '–')} {results.unit}")
    return remarks


def strongest_features(results: Results, n_names: int = 2) -> list[list[str]]:
    """For every process the features that correlate with its eigenfunction most, by the modulus of the correlation."""
    step = max(1, len(results.modes) // 50_000)
    frames = np.concatenate(results.features)[::step].astype(float)
    modes = results.eigenfunctions[::step]
    frames = frames - frames.mean(axis=0)
    deviation = frames.std(axis=0)
    deviation[deviation == 0] = np.inf
    correlation = np.abs(frames.T @ (modes - modes.mean(axis=0))) / deviation[:, None]
    order = np.argsort(-correlation, axis=0)[:n_names]
    return [[results.features.columns[i] for i in column] for column in order.T]


def _frame(results: Results, row: int) -> str:
    file = results.features.files[results.features.file_of_row[row]]
    return f"frame {results.features.frame_of_row[row]} of {file.path.name}" + (
        f" ({file.array})" if file.array else ""
    )


def _listing(names: list[str], most: int = 12) -> str:
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")
