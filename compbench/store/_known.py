"""The stored measurements of incomplete examples, read in blocks as a scorer comes to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from compbench.core.measurements import Measurement

__all__ = ["KnownErrors"]

_MOST = 4_096  # examples in a block


@dataclass
class KnownErrors(Mapping[str, Measurement]):
    """The stored errors of `ids`, by example; no more of them in memory than `near` says fit.

    Asked for in the order of `ids`, as scorers do, each is read once.
    """

    ids: Sequence[str]
    near: Callable[[Sequence[str]], int]
    read: Callable[[Sequence[str]], Mapping[str, Measurement]]
    _places: dict[str, int] = field(default_factory=dict[str, int])
    _block: Mapping[str, Measurement] = field(default_factory=dict[str, Measurement])

    def __post_init__(self) -> None:
        self._places = {name: place for place, name in enumerate(self.ids)}

    def __getitem__(self, name: str) -> Measurement:
        if name not in self._block:
            place = self._places[name]
            rest = self.ids[place : place + _MOST]
            self._block = self.read(rest[: self.near(rest)])
        return self._block[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids)

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, name: object) -> bool:
        return name in self._places
