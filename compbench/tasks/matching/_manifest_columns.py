"""The columns of a manifest: pictures, captions, wrong captions, and tags for everything else.

Pictures, captions and wrong captions stand in one column (`image`), in numbered ones (`image_0`, `image_1`, or counted
from 1) or in a list (`images`).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from compbench.core.printable import printable

__all__ = ["Columns", "Family", "columns_of", "nearly_foil", "plain_name"]

Kind = Literal["image", "caption", "wrong"]
_SINGLE: Mapping[str, Kind] = {
    **dict.fromkeys(("image", "file_name", "filename", "image_path", "image_file_name"), "image"),
    **dict.fromkeys(("caption", "text", "true_caption"), "caption"),
    **dict.fromkeys(("foil", "wrong", "false_caption", "negative_caption"), "wrong"),
}
_LISTS: Mapping[str, Kind] = {
    **dict.fromkeys(("images", "file_names", "image_paths", "image_file_names", "images_file_names"), "image"),
    **dict.fromkeys(("captions", "texts"), "caption"),
    **dict.fromkeys(("foils", "wrongs", "false_captions", "negative_captions"), "wrong"),
}
_LONGEST_NAME = 200
_NUMBERED = re.compile(r"([a-z_]+?)_?(\d{1,4})(?:_file_name)?")
_ALIKE = re.compile(r"(image|picture|file_?name|caption|text|foil|wrong|negative)s?(_|\d|$)")
_ANSWERS = frozenset(("answer", "correct", "gold", "label", "match", "right", "solution", "target", "truth"))
_OWN = ("id", "group", "matches", "scores")  # the last is what `export` writes and `import` reads
# columns that a table of outcomes has, and words that --by has for something else
_TAKEN = re.compile(
    r"(text|image|group)(_raw)?(_tie|_margin)?|score_\d+_(\d+|without)|caption_length|margin|example_id"
)


@dataclass(frozen=True, slots=True)
class Family:
    """The columns in which one kind of thing stands."""

    kind: Kind
    names: tuple[str, ...]  # as the file writes them; of numbered ones in the order of their numbers
    is_list: bool = False


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a row."""

    families: tuple[Family, ...]
    tags: Mapping[str, str]  # plain name -> as the file writes it
    own: Mapping[str, str]  # id, group, matches -> as the file writes them
    faults: tuple[tuple[str, str], ...] = ()  # column, what is wrong with it
    alike: tuple[str, ...] = ()  # tags that might be taken for pictures or captions
    answers: tuple[str, ...] = ()  # tags that might be taken for the right one of several captions or pictures


def plain_name(name: str) -> str:
    """A column's name without case, and with "_" between its words.

    >>> plain_name(" Caption 1 "), plain_name("file-name")
    ('caption_1', 'file_name')
    """
    return re.sub(r"[\s-]+", "_", name.strip().lower())


def nearly_foil(columns: Columns) -> str:
    """The tag whose name is nearly that of a column of wrong captions; "" where none is.

    >>> nearly_foil(columns_of(("image", "caption", "fiol", "kind")))
    'fiol'
    """
    wrong = [name for name, kind in (*_SINGLE.items(), *_LISTS.items()) if kind == "wrong"]
    near = (as_written for plain, as_written in columns.tags.items() if difflib.get_close_matches(plain, wrong, 1, 0.7))
    return next(near, "")


@lru_cache(1024)
def columns_of(names: tuple[str, ...]) -> Columns:
    """The meaning of columns with these names."""
    faults = [(name, "appears twice; expected each column once") for name in _twice(names)]
    by_plain = {plain_name(name): name for name in names}
    families: list[Family] = []
    numbered: dict[tuple[Kind, str], dict[int, list[str]]] = {}
    own: dict[str, str] = {}
    tags: dict[str, str] = {}
    for plain, name in by_plain.items():
        counted = _NUMBERED.fullmatch(plain)
        if plain in _OWN:
            own[plain] = name
        elif kind := _SINGLE.get(plain) or _LISTS.get(plain):
            families.append(Family(kind, (name,), plain in _LISTS))
        elif counted and counted[1] in _SINGLE:
            numbered.setdefault((_SINGLE[counted[1]], counted[1]), {}).setdefault(int(counted[2]), []).append(name)
        else:
            tags[plain] = name
    for (kind, _), by_number in numbered.items():
        families.append(Family(kind, tuple(name for number in sorted(by_number) for name in by_number[number])))
        faults += _numbering(by_number)
    faults += [
        (name, "is the name of a column of results; rename it")
        for plain, name in tags.items()
        if _TAKEN.fullmatch(plain)
    ]
    faults += [(name[:60], "is not a column name; expected a few plain words") for name in names if not _is_plain(name)]
    alike = tuple(name for plain, name in tags.items() if _ALIKE.match(plain))
    answers = tuple(name for plain, name in tags.items() if plain in _ANSWERS)
    is_told = "matches" in own or any(family.kind == "wrong" for family in families)
    return Columns(tuple(families), tags, own, tuple(faults), alike, () if is_told else answers)


def _is_plain(name: str) -> bool:
    return len(name) <= _LONGEST_NAME and printable(name) == name and bool(name.strip())


def _twice(names: Sequence[str]) -> list[str]:
    seen: set[str] = set()
    return [name for name in names if plain_name(name) in seen or seen.add(plain_name(name))]


def _numbering(by_number: Mapping[int, Sequence[str]]) -> Iterable[tuple[str, str]]:
    numbers = sorted(by_number)
    for names in by_number.values():
        if len(names) > 1:
            yield names[1], f"has the number of {names[0]!r}; expected each number once"
    if numbers not in ([*range(len(numbers))], [*range(1, len(numbers) + 1)]):
        found = ", ".join(map(str, numbers))
        yield by_number[numbers[0]][0], f"and those like it are numbered {found}; expected 0, 1, ... or 1, 2, ..."
