"""Weights of the frames of trajectories, from COLVAR files beside them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from spectraldyn.data.weights import kt_of, log_weights
from spectraldyn.errors import InputError
from spectraldyn.io import Colvar, read_colvar


@dataclass(frozen=True)
class Weights:
    """Where the weights of frames come from: biases, and perhaps energies, that PLUMED has printed.

    A frame counts e^{V/kT}, V being the sum of the bias columns; see `spectraldyn.data.weights.log_weights`.

    Parameters
    ----------
    columns : str or sequence of str
        "FILE:COLUMN" or "FILE:COLUMN,COLUMN": the columns of a COLVAR file that together are the bias. One for every
        trajectory, in their order.
    temperature : float, optional
        Of the ensemble asked for, in K; biases and energies are in kJ/mol.
    kt : float, optional
        In place of the temperature: k_B T in the unit of the biases.
    energy : str, optional
        Column of the potential energy without the bias, for another temperature than that of the simulation.
    simulation_temperature : float, optional
        Of the thermostat, in K, with `energy`; by default `temperature`.

    Raises
    ------
    InputError
        If an option is missing, or no temperature.
    """

    columns: str | Sequence[str]
    temperature: float | None = None
    kt: float | None = None
    energy: str | None = None
    simulation_temperature: float | None = None

    def __post_init__(self) -> None:
        if self.temperature is None and self.kt is None:
            raise InputError(
                "`weights` need a temperature: give `temperature` in K for biases in kJ/mol, or `kt` in the unit of "
                "the biases"
            )
        if self.temperature is not None and self.kt is not None:
            raise InputError("`kt` and `temperature` both say what a bias counts: give one of them")
        for name in ("temperature", "kt", "simulation_temperature"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1e9:
                unit = "kT in the unit of the biases" if name == "kt" else "a temperature in K"
                raise InputError(f"`{name}` is {value!r}: give {unit}, greater than 0")
        if (self.energy is None) != (self.simulation_temperature is None):
            raise InputError(
                "`energy` and `simulation_temperature` belong together: the energies, and the temperature at which "
                "they were sampled"
            )
        if self.simulation_temperature is not None and self.temperature is None:
            raise InputError("`simulation_temperature` is in K: give the `temperature` asked for in K, too, not `kt`")
        for given in self._given:
            file, _, names = given.rpartition(":")
            if not (file and all(names.split(","))):
                raise InputError(
                    f"`weights` is {given!r}: give FILE:COLUMN or FILE:COLUMN,COLUMN, such as COLVAR:opes.bias"
                )

    @property
    def _given(self) -> list[str]:
        return [self.columns] if isinstance(self.columns, str) else list(self.columns)

    @property
    def bias(self) -> str:
        """Names of the columns of the bias, as a sentence has them."""
        return ", ".join(dict.fromkeys(given.rpartition(":")[2].replace(",", " + ") for given in self._given))

    def read(self, n_trajectories: int) -> list["FrameWeights"]:
        """Of every trajectory; InputError where there are not as many files, or a column is missing."""
        if len(self._given) != n_trajectories:
            raise InputError(
                f"`weights` names {len(self._given)} COLVAR files for {n_trajectories} files: give one for each, in "
                "the same order"
            )
        return [self._of(given) for given in self._given]

    def _of(self, given: str) -> "FrameWeights":
        file, _, names = given.rpartition(":")
        colvar = read_colvar(file)
        bias = np.sum([colvar.column(name) for name in names.split(",")], axis=0)
        energy = None if self.energy is None else colvar.column(self.energy)
        simulated = None if self.simulation_temperature is None else kt_of(self.simulation_temperature)
        kt = cast(float, self.kt) if self.temperature is None else kt_of(self.temperature)
        return FrameWeights(colvar, log_weights(kt, bias, energy, simulated))


@dataclass(frozen=True, eq=False)
class FrameWeights:
    """Of all frames of one trajectory."""

    colvar: Colvar
    logs: np.ndarray
    """(n_frames,), up to a constant that all trajectories share."""

    def check(
        self, path: Path, n_frames: int, timestep_ps: float | None, starts: Sequence[int], first_time: float | None
    ) -> None:
        """InputError where its rows are not those of the frames of this trajectory.

        Parameters
        ----------
        timestep_ps, first_time
            Between frames, and of the first one, in ps; None where nothing is known of them.
        starts
            First frame of every uninterrupted stretch.
        """
        mine, theirs = self.colvar, timestep_ps
        if mine.timestep_ps is not None and theirs is not None and abs(theirs / mine.timestep_ps - 1) > 1e-3:
            raise InputError(
                f"{mine.path} has {len(self.logs):,} rows {mine.timestep_ps:g} ps apart and {path} {n_frames:,} frames "
                f"{theirs:g} ps apart{self._multiple(path, theirs / mine.timestep_ps)}: write both with one stride"
            )
        if len(self.logs) != n_frames:
            raise InputError(
                f"{mine.path} has {len(self.logs):,} rows and {path} {n_frames:,} frames: weights need one row for "
                "each frame, so write both with one stride, and cut off what only one of them has"
            )
        if mine.timestep_ps is None or theirs is None:
            return
        time = float(mine.column("time")[0])
        if first_time is not None and abs(time - first_time) > 1e-2 * theirs + 1e-6 * abs(time):
            first = f"{mine.path} begins at {time:g} ps and {path} at {first_time:g} ps"
            raise InputError(f"{first}: their rows do not belong together")
        if tuple(starts) != mine.starts:
            cuts = f"{_first_break(mine.starts)} and {_first_break(starts)}"
            raise InputError(f"the times of {mine.path} and {path} break at {cuts}: their rows do not belong together")

    def _multiple(self, path: Path, ratio: float) -> str:
        """What the ratio of two spacings says, where it is a whole number."""
        fewer, more = (path, self.colvar.path) if ratio > 1 else (self.colvar.path, path)
        ratio = max(ratio, 1 / ratio)
        times = round(ratio)
        return f", so that of {more} one in {times} belongs to {fewer}" if abs(ratio / times - 1) < 1e-3 else ""


def _first_break(starts: Sequence[int]) -> str:
    return "no row" if len(starts) < 2 else f"row {starts[1]}"
