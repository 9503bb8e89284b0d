"""What fits were told, as models remember it."""

import dataclasses
from typing import Any, ClassVar

from spectraldyn.networks import Layout


@dataclasses.dataclass(frozen=True)
class _Settings:
    """What a fit was told, whatever the operator."""

    operator: ClassVar[str]

    layout: Layout
    objective: str
    seed: int

    def plain(self) -> dict[str, Any]:
        """As plain values, those of the layout among the others."""
        values = dataclasses.asdict(self)
        return {"operator": self.operator, **values.pop("layout"), **values}


@dataclasses.dataclass(frozen=True)
class TransferSettings(_Settings):
    """Of what a model of a transfer operator was fitted with."""

    operator = "transfer"

    lagtime: int
    """In rows."""
    warm_start: bool


@dataclasses.dataclass(frozen=True)
class GeneratorSettings(_Settings):
    """Of what a model of a generator was fitted with."""

    operator = "generator"

    form: str
    """{"energy-space", "strong"}."""
    shift: float
    """η of the resolvent, or c of the strong form."""
