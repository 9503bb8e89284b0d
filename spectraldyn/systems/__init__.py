"""Systems with known spectra, the solvers that know them, and Langevin simulators."""

from spectraldyn.systems.catalogue import (
    DISCRETE,
    RUNS,
    SCHROEDINGER,
    SYSTEMS,
    Run,
    cosine_circle,
    double_well,
    double_well_variable_diffusion,
    legendre_diffusion,
    mixed_double_wells,
    muller_brown,
    ornstein_uhlenbeck,
    prinz,
    triple_well,
)
from spectraldyn.systems.cells import cell_weights
from spectraldyn.systems.composed import Mapped, Separable
from spectraldyn.systems.discrete import MarkovChain, NoisyLogisticMap
from spectraldyn.systems.overdamped import Overdamped
from spectraldyn.systems.schroedinger import (
    Schroedinger,
    SchroedingerSum,
    cosine_well,
    harmonic_oscillator,
    hydrogen,
    infinite_well,
)
from spectraldyn.systems.simulate import simulate_overdamped
from spectraldyn.systems.spectrum import Exact, oracle_timescales
from spectraldyn.systems.underdamped import UNDERDAMPED, Underdamped, underdamped_double_well, underdamped_spring
