"""Amplitude of the leading functions that are known exactly and never learned.

An `Action` carries them with their singular value as squared norm, which the low-rank family wants. A framework with
another optimum (orthonormal functions, or those of a shifted operator) wants another amplitude; a wrong one leaves a
residual on exactly the functions that are known.
"""

from collections.abc import Sequence

from spectraldyn.errors import InputError
from spectraldyn.records import Action


def with_squared_norms(action: Action, squared_norms: Sequence[float]) -> Action:
    """The same functions with the known ones rescaled to `squared_norms`, one for each of `action.known`."""
    if not action.known:
        return action
    factors = action.f.new_ones(action.f.shape[1], 1)
    for i, (wanted, present) in enumerate(zip(squared_norms, action.known, strict=True)):
        factors[i] = (wanted / present) ** 0.5 if present > 0 else 0.0
    f, Tf, known = factors * action.f, factors * action.Tf, tuple(squared_norms)
    if action.tied:
        return Action.with_tied_sides(f, Tf, known)
    return Action(f, factors * action.Tg, factors * action.g, Tf, known)


def unit_norm(action: Action) -> Action:
    """The same functions with the known ones of norm 1, for frameworks whose optimum is orthonormal."""
    return with_squared_norms(action, (1.0,) * len(action.known))


def affine(action: Action, scale: float, shift: float) -> Action:
    """Action of scale · T + shift with tied sides, the known functions rescaled to its singular values.

    A known function whose singular value becomes negative gets amplitude 0: tied sides cannot represent it, and 0 is
    then the minimiser of the low-rank error.
    """
    require_tied(action)
    values = tuple(max(0.0, scale * value + shift) for value in action.known)
    action = with_squared_norms(action, values)
    return Action.with_tied_sides(action.f, scale * action.Tf + shift * action.f, values)


def require_tied(action: Action) -> None:
    """Refuse an action with two different sides: the formula holds for self-adjoint operators only."""
    if not action.tied:
        raise InputError("this objective is for self-adjoint operators with tied sides, but left and right differ")
