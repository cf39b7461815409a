"""The example in a row of a manifest, or all that is wrong with it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from compbench.core.aliases import Bools
from compbench.core.captions import caption_fault
from compbench.core.errors import DataError
from compbench.core.examples import Example, Image
from compbench.core.printable import printable
from compbench.tasks._reading.names import nfc
from compbench.tasks._reading.numbered_rows import Row
from compbench.tasks._reading.texts import check_text
from compbench.tasks.matching._manifest_columns import Columns, Family, columns_of, nearly_foil
from compbench.tasks.matching._manifest_pictures import Picture, Pictures
from compbench.tasks.matching._problems import Problems

__all__ = ["example_of"]

_TAGS_APART = ";"  # as in a file for --tags
_MANY = 1000  # pictures or captions of one example
_EMPTY = "is empty"
# soft hyphen, zero-width space, word joiner, zero-width no-break space
_NO_WIDTH: dict[int, None] = dict.fromkeys((0x00AD, 0x200B, 0x2060, 0xFEFF))


class _Faulty(Exception):
    """A row cannot become an example."""

    def __init__(self, column: str, fault: str) -> None:
        super().__init__(fault)
        self.column, self.fault = column, fault


@dataclass(frozen=True, slots=True)
class _Part:
    """A picture or caption, and its column."""

    column: str
    value: str


def example_of(row: Row, number: int, pictures: Pictures, problems: Problems) -> Example | None:
    """The example in a row, the `number`-th from 1; None where it is faulty, which `problems` then tells.

    One of whose pictures no more is wrong than that they cannot be read is given all the same.
    """
    if row.fault:
        problems.add(row.number, "", row.fault)
        return None
    columns, before = columns_of(tuple(row.cells)), problems.n_fatal
    for column, fault in columns.faults:
        problems.add(row.number, column, fault)
    if columns.faults:
        return None
    try:
        images = _parts(row, columns, "image")
        captions = _parts(row, columns, "caption")
        wrong = _parts(row, columns, "wrong")
        found = [_picture(part, pictures, row, problems) for part in images]
        _check_captions([*captions, *wrong], row, problems)
        _check_distinct(found, images, pictures, row, problems)
        _check_shape(len(images), len(captions) + len(wrong), columns)
        made = Example(
            id=_text(row, columns, "id") or str(number),
            images=tuple(Image(image.name, image.path) for image in found if image.path is not None),
            captions=tuple(part.value for part in (*captions, *wrong)),
            matches=_matches(row, columns, len(images), len(captions), len(wrong)),
            tags={plain: _tags(row.cells[name], name) for plain, name in columns.tags.items()},
            group=_text(row, columns, "group"),
        )
    except _Faulty as error:
        problems.add(row.number, error.column, error.fault)
        return None
    return made if problems.n_fatal == before else None


# pictures and captions


def _parts(row: Row, columns: Columns, kind: str) -> list[_Part]:
    """The cells in the columns of a kind; empty cells are ignored."""
    families = [(family, _family(row, family)) for family in columns.families if family.kind == kind]
    filled = [(family, parts) for family, parts in families if parts]
    if len(filled) > 1:
        first, second = filled[0][0].names[0], filled[1][0].names[0]
        raise _Faulty(second, f"and {first!r} could both be the {kind}; empty or rename one")
    if filled:
        return filled[0][1]
    if families and kind != "wrong":
        raise _Faulty(families[0][0].names[0], _EMPTY)
    if kind != "wrong":
        has = ", ".join(map(printable, list(row.cells)[:8])) or "none"
        expected = (
            "image, images or image_0, image_1" if kind == "image" else "caption, captions or caption_0, caption_1"
        )
        raise _Faulty("", f"no column for the {kind}: expected {expected}; the columns are {has}")
    return []


def _family(row: Row, family: Family) -> list[_Part]:
    if family.is_list:
        name = family.names[0]
        return [_Part(name, _string(value, name)) for value in _list(row.cells[name], name)]
    parts = [_Part(name, _string(row.cells[name], name)) for name in family.names]
    if all(not part.value.strip() for part in parts):
        return []
    while family.kind == "wrong" and not parts[-1].value.strip():  # an example may have fewer wrong captions
        parts.pop()
    return parts


def _list(cell: object, name: str) -> Sequence[object]:
    """The values of a list; a cell of text holds one as JSON, or a single value."""
    if isinstance(cell, str) and cell.lstrip().startswith("["):
        cell = _json(cell, name, '["...", "..."]')
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        return []
    values: Sequence[object] = cell if isinstance(cell, list) else [cell]
    if len(values) > _MANY:
        raise _Faulty(name, f"has {len(values):,} values; expected at most {_MANY:,}")
    return values


def _json(cell: str, name: str, such: str) -> object:
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        raise _Faulty(name, f"is not a JSON list: {_shown(cell)}; expected a list such as {such}") from None


def _string(value: object, name: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _Faulty(name, f"holds {_shown(value)}; expected text")
    return value


def _picture(part: _Part, pictures: Pictures, row: Row, problems: Problems) -> Picture:
    if not part.value.strip():
        problems.add(row.number, part.column, _EMPTY)
        return Picture("")
    found = pictures.get(part.value)
    if found.fault:
        problems.add(row.number, part.column, found.fault, is_of_picture=found.path is not None)
    return found


def _check_captions(parts: Sequence[_Part], row: Row, problems: Problems) -> None:
    seen: dict[str, _Part] = {}
    for part in parts:
        if fault := _caption_fault(part.value):
            problems.add(row.number, part.column, fault)
        elif (words := _as_seen(part.value)) in seen:
            same = f"column {seen[words].column!r}" if seen[words].column != part.column else "another in the list"
            problems.add(row.number, part.column, f"is the same caption as {same}: {_shown(part.value)}")
        else:
            seen[words] = part


def _as_seen(text: str) -> str:
    """A caption as its reader sees it: however its accents are composed, without what has no width."""
    return " ".join(nfc(text).translate(_NO_WIDTH).split())


def _caption_fault(text: str) -> str:
    if fault := caption_fault(text):
        return fault
    return "holds a NUL character (U+0000); remove it" if "\0" in text else ""


def _check_distinct(
    found: Sequence[Picture], parts: Sequence[_Part], pictures: Pictures, row: Row, problems: Problems
) -> None:
    seen: list[Path] = []
    for picture, part in zip(found, parts, strict=True):
        if picture.path is None:
            continue
        if picture.path in seen:
            problems.add(row.number, part.column, f"repeats a picture of the example: {_shown(part.value)}")
        elif copied := next((path for path in seen if pictures.are_copies(path, picture.path)), None):
            of = repr(copied.relative_to(pictures.folder).as_posix())
            problems.add(row.number, part.column, f"is a copy of another picture of the example, {of}")
        seen.append(picture.path)


def _check_shape(n_images: int, n_captions: int, columns: Columns) -> None:
    if n_images > 1 or n_captions > 1:
        return
    empty = next((family.names[0] for family in columns.families if family.kind == "wrong"), "")
    if empty:
        raise _Faulty(empty, _EMPTY)
    meant = nearly_foil(columns)
    meant = f" (the column {meant!r} is read as a tag: is it a misspelt foil?)" if meant else ""
    raise _Faulty(
        "",
        "one picture and one caption: there is nothing to choose from; add a wrong caption (foil) or another picture"
        f"{meant}",
    )


# which caption is true of which picture


def _matches(row: Row, columns: Columns, n_images: int, n_true: int, n_wrong: int) -> Bools:
    """[I, C], as the row says; else the diagonal, or the first of several."""
    name = columns.own.get("matches")
    cell = None if name is None else row.cells[name]
    if name is not None and cell is not None and cell != "":
        return _given_matches(cell, name, (n_images, n_true + n_wrong))
    if n_images != 1 and n_true not in (1, n_images):
        raise _Faulty(
            name or "",
            f"{n_images} pictures and {n_true} captions: say which belong together in a column matches, a row for each "
            "picture such as [[1, 0, 0], [0, 1, 1]]",
        )
    return _usual_matches(n_images, n_true, n_wrong)


@lru_cache(256)  # one array for all examples of a shape
def _usual_matches(n_images: int, n_true: int, n_wrong: int) -> Bools:
    matches = np.zeros((n_images, n_true + n_wrong), bool)
    if n_images == n_true:
        matches[:, :n_true] = np.eye(n_true, dtype=bool)
    elif n_images == 1 and n_wrong:
        matches[0, :n_true] = True
    else:
        matches[0, 0] = True
    matches.flags.writeable = False
    return matches


def _given_matches(cell: object, name: str, shape: tuple[int, int]) -> Bools:
    such = "a list of 1 and 0 for each picture, one number per caption, such as [[1, 0], [0, 1]]"
    value = _json(cell, name, "[[1, 0], [0, 1]]") if isinstance(cell, str) else cell
    rows: Any = [value] if shape[0] == 1 and _is_flat(value) else value
    rows = [[number] for number in value] if shape[1] == 1 and shape[0] > 1 and _is_flat(value) else rows  # pyright: ignore
    if not isinstance(rows, list) or not all(_is_flat(row) for row in rows):
        raise _Faulty(name, f"is {_shown(cell)}; expected {such}")
    if [len(row) for row in rows] != [shape[1]] * shape[0]:
        raise _Faulty(
            name, f"is {_shown(cell)}; expected {shape[0]} x {shape[1]} numbers, pictures by captions: {such}"
        )
    matches = np.array(rows, dtype=bool)
    if matches.all() or not matches.any():
        raise _Faulty(name, f"makes {'every' if matches.all() else 'no'} caption true; expected some, not all")
    return matches


def _is_flat(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(number, int | float) and number in (0, 1) for number in value)


# the rest


def _text(row: Row, columns: Columns, plain: str) -> str:
    """The cell of `id` or `group` as text; "" where there is none."""
    name = columns.own.get(plain)
    cell = None if name is None else row.cells[name]
    if name is None or cell is None or cell == "":
        return ""
    text = _word(cell, name).strip()
    if not text or printable(text) != text:
        raise _Faulty(name, f"is {_shown(cell)}; expected text without control characters")
    return text


def _tags(cell: object, name: str) -> tuple[str, ...]:
    """The tags of a cell: several in a list or apart by ";", none where it is empty."""
    values: Sequence[object] = (
        cell if isinstance(cell, list) else cell.split(_TAGS_APART) if isinstance(cell, str) else [cell]
    )
    words = (_word(value, name).strip() for value in values)
    return tuple(dict.fromkeys(word for word in words if word))


def _word(value: object, name: str) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, Mapping | list | bytes):
        raise _Faulty(name, f"holds {_shown(value)}; expected text, a number, or a list of them")
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)  # of a table in which some cells of the column are empty
    try:
        text = str(value).lower() if isinstance(value, bool) else str(value)
        check_text(text, "it")
    except (DataError, ValueError) as error:
        raise _Faulty(name, str(error).replace("it holds", "holds", 1)) from error
    return text


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        return type(value).__name__
    return text if len(text) <= 60 else text[:60] + "..."
