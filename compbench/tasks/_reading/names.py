"""Names of classes: when two spellings are one class, and which class of a task a name stands for."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Collection, Iterable, Sequence

from compbench.core import disk
from compbench.core.errors import DataError

__all__ = ["ClassNames", "nfc", "plain", "same_name"]

_OF_THE_NAME = frozenset("#&%*@")  # punctuation that tells names apart, as symbols do: C, C#, C++


class ClassNames:
    """The names that each class of a task may go by, looked up: an exact spelling comes before a similar one.

    >>> names = ClassNames([("C",), ("C++",), ("apple_pie",)])
    >>> names.numbers("C++"), names.numbers("Apple pie"), names.numbers("C#")
    ((1,), (2,), ())
    """

    def __init__(self, known: Sequence[Collection[str]]) -> None:
        self._by_spelling: list[dict[str, tuple[int, ...]]] = [_index(known, spell) for spell in _SPELLINGS]

    def numbers(self, name: str) -> tuple[int, ...]:
        """The classes that `name` may stand for: none, one, or several where the task uses one name twice."""
        for spell, found in zip(_SPELLINGS, self._by_spelling, strict=True):
            if numbers := found.get(spell(name)):
                return numbers
        return ()

    def number(self, name: str, where: str) -> int | None:
        """The one class that `name` stands for; None where there is none, DataError where there are several."""
        numbers = self.numbers(name)
        if len(numbers) > 1:
            raise DataError(
                f"{where}: {name!r} is the name of classes {' and '.join(map(str, numbers))}; expected a name that "
                "only one class has"
            )
        return numbers[0] if numbers else None


def nfc(name: str) -> str:
    """A name in composed Unicode: macOS writes é as two characters, most others as one."""
    return unicodedata.normalize("NFC", disk.text_of(name))


def same_name(one: str, other: str) -> bool:
    """Whether two spellings are one class: case and what stands between words do not count.

    >>> same_name("apple_pie", "Apple pie"), same_name("F-16A_B", "F-16A/B"), same_name("cat", "cats")
    (True, True, False)
    >>> same_name("C", "C++"), same_name("猫", "狗")
    (False, False)
    """
    return plain(one) == plain(other)


def plain(name: str) -> str:
    """A name without case and without what stands between its words."""
    kept = (" " if _separates(letter) else letter for letter in nfc(nfc(name).casefold()))
    return " ".join("".join(kept).split())


def _separates(letter: str) -> bool:
    """Whether it may stand between words: spaces and punctuation, but no letters, digits, accents or symbols."""
    category = unicodedata.category(letter)
    return category[0] in "ZCP" and letter not in _OF_THE_NAME


def _folded(name: str) -> str:
    return nfc(nfc(name).casefold())


_SPELLINGS = (nfc, _folded, plain)


def _index(known: Iterable[Collection[str]], spell: Callable[[str], str]) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    for number, names in enumerate(known):
        for name in {spell(name) for name in names}:
            found[name] = (*found.get(name, ()), number)
    return found
