"""Runs from which a fit meets the exact timescales, for the systems that can be written as trajectories."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Run:
    """How long to simulate, and how finely.

    Attributes
    ----------
    n_frames : int
        For at least 1000 times the slowest timescale t, which leaves it a statistical error of about
        √(2t / length) = 4.5 %.
    spacing : float
        Between stored frames; in ps, as all times here.
    timestep : float
        Of the integrator: the slowest timescale errs by at most 0.5 %, to first order in the step.
    lag : float
        To begin a fit with.
    """

    n_frames: int
    spacing: float
    timestep: float
    lag: float


RUNS = {
    "double-well": Run(90_000, 0.2, 5e-4, 1.0),
    "tilted-double-well": Run(120_000, 0.1, 5e-4, 0.5),
    "prinz": Run(84_000, 0.01, 4e-5, 0.05),
    "ornstein-uhlenbeck": Run(20_000, 0.1, 5e-3, 0.2),
    "legendre-diffusion": Run(30_000, 0.02, 5e-4, 0.04),
    "double-well-variable-diffusion": Run(50_000, 0.1, 5e-4, 0.3),
    "double-well-2d": Run(90_000, 0.2, 5e-4, 1.0),
    "triple-well-2d": Run(75_000, 0.1, 8e-4, 0.3),
    "muller-brown": Run(90_000, 0.05, 2.5e-4, 0.2),
    "mixed-double-wells": Run(84_000, 0.1, 8e-4, 0.5),
}
"""By the name of the system. Angles on a torus are not here: as Cartesian coordinates they would jump."""
