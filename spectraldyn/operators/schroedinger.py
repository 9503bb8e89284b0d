"""Schrödinger operator H = −∇² + V: its lowest states are the leading eigenfunctions of T = c − H.

Samples come from any law p that covers the states, with weights 1/p(x): inner products are integrals over space. A
potential with a singularity needs a p that visits it often enough for p·(Hψ/p)² to have a finite mean.

References
----------
Ryu et al., ICML 2024 (arXiv:2402.03655), section 4.1 and appendix E.1; the Laplacian here is exact (see
`spectraldyn.networks.derivatives`), where the published code takes finite differences.
"""

from collections.abc import Callable

from torch import Tensor

from spectraldyn.networks.derivatives import value_gradient_and_second
from spectraldyn.operators.transfer import root_weight
from spectraldyn.records import Action, Batch, Network, Operator


def schroedinger(potential: Callable[[Tensor], Tensor], shift: float = 0.0, scale: float = 1.0) -> Operator:
    """T = (c + ∇² − V)/s; its eigenvalues are (c − E)/s, and only positive ones are learned with tied sides.

    Parameters
    ----------
    potential : callable (B, d) → (B,)
        V, in the unit in which −∇² is the kinetic energy.
    shift : float
        c: states with energies E ≥ c are not learned. 0 suits potentials whose bound states have E < 0.
    scale : float
        s, an energy. Networks learn fastest where the eigenvalues, the squared norms of the functions, are of order 1.

    Returns
    -------
    Operator
        Tied; the weights of the batch are 1/p(x).
    """

    def operator(left: Network, right: Network, batch: Batch) -> Action:
        value, _, laplacian = value_gradient_and_second(left, batch.x)
        image = laplacian + (shift - potential(batch.x)).unsqueeze(1) * value
        root = root_weight(batch)
        return Action.with_tied_sides(root * value.unsqueeze(2), root * image.unsqueeze(2) / scale)

    return operator
