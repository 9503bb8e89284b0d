"""Published optimisation frameworks for the leading singular or eigenfunctions of an operator, by name."""

from spectraldyn.objectives.registry import OBJECTIVES, Framework, build_objective, check_combination

__all__ = ["OBJECTIVES", "Framework", "build_objective", "check_combination"]
