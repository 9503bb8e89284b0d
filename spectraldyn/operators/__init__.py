"""Operators: what each does to the learned functions on a batch."""

from spectraldyn.operators.kernel import canonical_dependence, integral_kernel
from spectraldyn.operators.kinetic import Langevin, kinetic_resolvent
from spectraldyn.operators.overdamped import Diffusion, energy_space_resolvent, shifted_generator
from spectraldyn.operators.schroedinger import schroedinger
from spectraldyn.operators.transfer import reversible_transfer, transfer
from spectraldyn.records import Action, Batch, Operator
