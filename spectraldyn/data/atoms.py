"""Which atoms the coordinates of a data set are of: as much as a network on them must know."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Atoms:
    """Atoms whose coordinates (nm) are the columns of a data set: x, y, z of the first, of the second, ..."""

    kinds: tuple[str, ...]
    """Kind of every atom, named after the first one of it, as "ASP1-OD1". Atoms of one kind are alike: exchanging two
    of them changes nothing."""
    boxed: bool = False
    """Whether nine more columns hold the three box vectors, one after the other; zeros stand for no box."""
    torsions: tuple[tuple[int, int, int, int], ...] = ()
    """Places, among these atoms, of four in a row along bonds: those of one torsion angle each."""
    landmarks: tuple[int, ...] = ()
    """Places of a few atoms whose distances tell how the whole is folded, as one of every residue."""

    @property
    def n_columns(self) -> int:
        """Of such data."""
        return 3 * len(self.kinds) + 9 * self.boxed

    @property
    def kind_numbers(self) -> tuple[int, ...]:
        """Kind of every atom as a number, counted from 0."""
        place = {kind: number for number, kind in enumerate(dict.fromkeys(self.kinds))}
        return tuple(place[kind] for kind in self.kinds)
