"""Which pairs of an example the matching metrics compare, and which comparisons an outcome hangs on.

text compares a true and a false caption of one image, image a true and a false image of one caption; an outcome is
right when all of its comparisons are, and group's are all of them (see compbench.core.metrics).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from compbench.core.aliases import Bools, Ints
from compbench.core.errors import UsageError

__all__ = ["OUTCOMES", "Comparisons"]

OUTCOMES = ("text", "image", "group")


@dataclass(frozen=True, eq=False)
class Comparisons:
    """m comparisons of a pair that should have the lower error with one that should not; pairs are flat, i * C + c."""

    better: Ints  # [m]
    worse: Ints  # [m]
    members: Mapping[str, Bools]  # outcome -> [m], those it hangs on; outcomes that the shape does not have are absent

    @staticmethod
    def of(matches: Bools, asked: Iterable[str] = OUTCOMES) -> Comparisons:
        """Those of an example with `matches` [I, C] on which an outcome that is `asked` for hangs.

        >>> pairs = Comparisons.of(np.eye(2, dtype=bool), ["text"])
        >>> pairs.better.tolist(), pairs.worse.tolist(), {name: mask.tolist() for name, mask in pairs.members.items()}
        ([0, 3], [1, 2], {'text': [True, True]})
        """
        asked = tuple(asked)
        if unknown := set(asked) - set(OUTCOMES):
            raise UsageError(f"no outcome named {sorted(unknown)[0]!r}; expected some of {', '.join(OUTCOMES)}")
        pair_of = np.arange(matches.size).reshape(matches.shape)
        text = [_across(pair_of[i, row], pair_of[i, ~row]) for i, row in enumerate(matches)]
        image = [_across(pair_of[column, c], pair_of[~column, c]) for c, column in enumerate(matches.T)]
        both = np.concatenate([np.zeros((0, 2), np.int64), *text, *image])
        is_text = np.arange(len(both)) < sum(map(len, text))
        members = {"text": is_text, "image": ~is_text, "group": np.ones(len(both), bool)}
        members = {name: members[name] for name in asked if _exists(name, matches.shape)}
        used = np.any([np.zeros(len(both), bool), *members.values()], axis=0)
        return Comparisons(both[used, 0], both[used, 1], {name: mask[used] for name, mask in members.items()})

    @property
    def widest(self) -> int:
        """The largest number of comparisons that an outcome depends on."""
        return max((int(mask.sum()) for mask in self.members.values()), default=0)

    def outcomes(self, signs: Ints) -> dict[str, bool]:
        """Whether each outcome is right: all of its comparisons [m] are positive."""
        return {name: bool((signs[mask] > 0).all()) for name, mask in self.members.items()}

    def live(self, signs: Ints) -> Bools:
        """[m]: undecided (0), and an outcome hangs on it that no negative one has settled."""
        unsettled = [mask for mask in self.members.values() if not (signs[mask] < 0).any()]
        return np.any([np.zeros(len(signs), bool), *unsettled], axis=0) & (signs == 0)


def _across(true: Ints, false: Ints) -> Ints:
    """[true x false, 2]."""
    return np.stack(np.meshgrid(true, false, indexing="ij"), -1).reshape(-1, 2)


def _exists(outcome: str, shape: tuple[int, ...]) -> bool:
    return (shape[1] >= 2 or outcome == "image") and (shape[0] >= 2 or outcome == "text")
