"""What results.json holds of a fit."""

import math
from collections.abc import Iterable
from dataclasses import asdict
from functools import singledispatch
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from scipy.constants import R

from spectraldyn.pipeline import GeneratorResults, Results, TransferResults, feature_seen_from, software, stored_inputs
from spectraldyn.report.structures import Structures
from spectraldyn.spectra.rates import Rate
from spectraldyn.spectra.timescales import Timescale

LEADING = 20
"""Features and residues of every process that results.json ranks."""


def results_dict(results: Results, out: Path, structures: Structures) -> dict[str, Any]:
    """What results.json holds: undetermined values are None, complex ones [re, im], paths relative to `out`."""
    model, data = results.model, results.data
    settings = model.settings.plain()
    return {
        **software(),
        "inputs": stored_inputs(data.files, out),
        "operator": settings["operator"],
        "timestep_ps": data.time.timestep_ps,
        "stride": data.time.stride,
        "n_frames": data.n_rows,
        "typed_unit": data.time.typed_unit,
        "timescales": [_estimate(scale, results.unit) for scale in results.timescales],
        **_own_entries(results),
        "n_refits": results.n_refits,
        "eigenvalues": _numbers(model.eigenvalues),
        "singular_values": {
            "norms": _numbers(model.spectrum.norms),
            # null where the functions are linearly dependent and there are fewer singular values than functions
            "ritz": _numbers(model.singular_values) + [None] * (settings["n_modes"] - model.n_modes),
        },
        "scores": {name: _number(score) for name, score in model.scores.items()},
        "states": [
            {
                "population": _number(value),
                "low": _number(low),
                "high": _number(high),
                "structure": structure,
                "most_probable": _frame(results, rows[0]) if len(rows) else None,
            }
            for value, low, high, structure, rows in zip(
                *results.populations, structures.sets, results.representatives, strict=True
            )
        ],
        "processes": [
            {"structure": along, "transition_structure": transition}
            for along, transition in zip(structures.along, structures.transition, strict=True)
        ],
        "temperature": results.temperature,
        "free_energies": _free_energies(results),
        "attribution": [
            {
                "n_features": len(found.features.names),
                "n_permuted": found.n_permuted,
                "features": found.features.rows(LEADING),
                "residues": found.residues.rows(LEADING),
            }
            for found in results.attribution
        ],
        "features": {
            "columns": data.column_names,
            "width": data.width,
            "options": _options(data.options, out),
            "digests": data.digests,
        },
        "model": settings,
        "coordinates": _of_coordinates(model.settings.layout.encoding),
        "verdict": [asdict(judgement) for judgement in results.verdict],
        "warnings": results.warnings,
        "seed": model.settings.seed,
        "seconds": round(results.seconds, 2),
        "stages": [asdict(stage) for stage in results.stages],
    }


def _of_coordinates(encoding: Any) -> dict[str, Any] | None:
    """What the networks see of them."""
    if encoding is None:
        return None
    encoder = encoding.encoder if encoding.trained else None
    return {"n_atoms": len(encoding.kinds), "encoder": encoder, "plain": encoding.plain_in_words}


def _options(options: dict[str, Any], out: Path) -> dict[str, Any]:
    """With the files that features are named by seen from the folder of results."""
    names = options.get("features")
    return options | {"features": [feature_seen_from(name, out) for name in names]} if names else options


@singledispatch
def _own_entries(results: Results) -> dict[str, Any]:
    """What these results have that those of another kind of operator do not."""
    raise TypeError(f"there is no report on {type(results).__name__}")


@_own_entries.register
def _of_transfer(results: TransferResults) -> dict[str, Any]:
    refitted = results.refitted_timescales_by_lag
    entries: dict[str, Any] = {
        "display_unit": results.display_unit.name,
        "lag": _lag(results, results.model.lagtime),
        "timescales_by_lag": [
            {"lag": _lag(results, lag), "timescales": [_estimate(scale, results.unit) for scale in scales]}
            for lag, scales in results.timescales_by_lag.items()
        ],
        "mfpt": [_numbers(row) for row in results.mfpt],
        "mfpt_low": [_numbers(row) for row in results.kinetics.mfpt.low],
        "mfpt_high": [_numbers(row) for row in results.kinetics.mfpt.high],
        "chapman_kolmogorov": _chapman_kolmogorov(results),
        "fluxes": _fluxes(results),
        "committors": _committors(results),
        "n_carried": results.n_carried,
        "cross_validation": _cross_validation(results),
        "coherence": None if results.coherent_sets is None else _numbers(results.coherent_sets.coherence),
        **_eigenvalue_bounds(results),
    }
    if refitted is not None:
        agreement = results.refit_agreement
        entries["refit_agreement"] = results.refit_summary
        entries["refitted_timescales_by_lag"] = [
            {
                "lag": _lag(results, lag),
                # Each with whether it agrees with the one fit: null where that cannot be said. More answers than
                # timescales where the refit found fewer processes than the fit.
                "timescales": [
                    {**_estimate(scale, results.unit), "agrees": agrees}
                    for scale, agrees in zip(scales, agreement.get(lag, [None] * len(scales)), strict=False)
                ],
            }
            for lag, scales in refitted.items()
        ]
    return entries


@_own_entries.register
def _of_generator(results: GeneratorResults) -> dict[str, Any]:
    rates = [_estimate(rate, f"1/{results.unit}") for rate in results.rates]
    entries: dict[str, Any] = {
        "display_unit": results.display_unit.name,
        "lag": None,
        "rates": rates,
        "timescales_by_lag": [],
        "mfpt": None,
        "mfpt_low": None,
        "mfpt_high": None,
        "fluxes": [],
        "committors": [],
        "coherence": None,
        "cross_validation": None,
    }
    if results.potential is not None:
        entries["potential"] = results.potential
    if results.exact_rates is not None:
        entries["exact_rates"] = _numbers(results.exact_rates)
    return entries


def _frame(results: Results, row: int) -> dict[str, Any]:
    file, frame = results.data.frame(row)
    place = {"file": file.path.name, "frame": int(frame)}
    return place if file.array is None else {**place, "array": file.array}


def _interval(estimate: Iterable[Any], factor: float = 1.0) -> dict[str, Any]:
    scaled = (None if part is None else factor * part for part in _numbers(estimate))
    return dict(zip(("value", "low", "high"), scaled, strict=True))


def _free_energies(results: Results) -> list[dict[str, Any]]:
    """Of every set less the first: in kT, and in kJ/mol where the temperature is known."""
    kelvin = results.temperature
    return [
        {"kT": _interval(estimate), "kJ/mol": None if kelvin is None else _interval(estimate, R / 1000 * kelvin)}
        for estimate in zip(*results.free_energies, strict=True)
    ]


def _chapman_kolmogorov(results: TransferResults) -> list[dict[str, Any]]:
    """For every multiple of the lag time and every set the chance to be there again."""
    test = results.chapman_kolmogorov
    if test is None:
        return []
    return [
        {
            "lag": _lag(results, int(lag)),
            "sets": [
                {
                    "predicted": _number(test.predicted.value[i, k]),
                    "predicted_low": _number(test.predicted.low[i, k]),
                    "predicted_high": _number(test.predicted.high[i, k]),
                    "estimated": _number(test.estimated.value[i, k]),
                    "low": _number(test.estimated.low[i, k]),
                    "high": _number(test.estimated.high[i, k]),
                }
                for k in range(test.predicted.value.shape[1])
            ],
        }
        for i, lag in enumerate(test.lagtimes)
    ]


def _fluxes(results: TransferResults) -> list[dict[str, Any]]:
    """Between the cores of any two sets, which are counted from 1, as often there as back."""
    fluxes = results.kinetics.fluxes
    return [
        {"sets": [a + 1, b + 1], **_interval(part[a, b] for part in fluxes), "unit": f"1/{results.unit}"}
        for a, b in combinations(range(len(results.sets.populations)), 2)
    ]


def _committors(results: TransferResults) -> list[dict[str, Any]]:
    """Between any two sets, which are counted from 1, at the frames that represent the sets."""
    rows = np.concatenate([np.asarray(shown, dtype=int) for shown in results.representatives])
    entries = []
    for (a, b), committor in results.kinetics.committors.items():
        learned, clusters = results.neural_committor(a, b), results.kinetics.clusters.assignment
        frames = []
        for row in rows:
            file, frame = results.data.frame(row)
            values = _interval(part[clusters[row]] for part in committor)
            frames.append({"file": file.path.name, "frame": int(frame), **values, "learned": float(learned[row])})
        entries.append({"from": a + 1, "to": b + 1, "frames": frames})
    return entries


def _cross_validation(results: TransferResults) -> dict[str, Any] | None:
    """Scores on what each refit has not drawn: null without refits."""
    found = results.cross_validation
    if found is None:
        return None
    entries = {}
    for name in ("vamp2", "vampe"):
        mean, error = _numbers(found.mean(name))
        entries[name] = {"mean": mean, "standard_error": error, "folds": _numbers(getattr(found, name))}
    return entries


def _eigenvalue_bounds(results: TransferResults) -> dict[str, list[float | None]]:
    """Of the modulus of every eigenvalue, from those of its timescale: |λ| = exp(−τ / t)."""

    def modulus(bound: float | None) -> float | None:
        return None if bound is None else math.exp(-results.lag_time / bound)

    return {
        "eigenvalues_low": [modulus(scale.low) for scale in results.timescales],
        "eigenvalues_high": [modulus(scale.high) for scale in results.timescales],
    }


def _lag(results: Results, rows: int) -> dict[str, Any]:
    time = results.data.time
    known = None if time.timestep_ps is None else time.time(rows)
    return {"frames": time.frames(rows), "time": known, "unit": time.unit}


def _estimate(estimate: Timescale | Rate, unit: str) -> dict[str, Any]:
    return {**asdict(estimate), "unit": unit}


def _numbers(values: Iterable[Any]) -> list[Any]:
    return [_number(value) for value in values]


def _number(value: Any) -> Any:
    if np.iscomplexobj(value):
        return [float(value.real), float(value.imag)]
    return float(value) if math.isfinite(value) else None
