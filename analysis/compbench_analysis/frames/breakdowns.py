"""The breakdowns of a table: tag columns of the task or of one's own file, caption length, score margin, and crossed.

A Breakdown can stand wherever the analysis takes `by`; a column's name, or several, is one too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compbench.core import disk
from compbench.core.aliases import Floats
from compbench.core.cells import read_table
from compbench.core.errors import DataError, UsageError
from compbench.core.suggestions import did_you_mean

if TYPE_CHECKING:
    import pandas as pd

    from compbench.store import StoredExamples

__all__ = [
    "CAPTION_LENGTH",
    "MARGIN",
    "OVERALL",
    "Breakdown",
    "By",
    "breakdown",
    "read_tags",
    "tag_columns",
    "tag_groups",
    "unmatched",
]

OVERALL = "overall"
CAPTION_LENGTH = "caption_length"  # words of an example's longest caption, in thirds
MARGIN = "margin"  # how far from a tie a run's own score is, in thirds: by run and metric
_MARGIN_TAGS = ("closest third", "middle third", "clearest third")
_CROSSED = " & "
Tags = Mapping[str, Sequence[str]]  # column -> values, of one example


@dataclass(frozen=True)
class Breakdown:
    """Columns of tags, those of `tags` among them (None: all of `tags`, else "tag"); crossed if `is_crossed`."""

    columns: tuple[str, ...] = ()
    tags: pd.DataFrame | None = field(default=None, compare=False)  # index: example ids; each value a tuple of tags
    is_crossed: bool = False

    def __post_init__(self) -> None:
        if self.is_crossed and len(self.names) < 2:
            raise UsageError(f"crossed tags need two columns, got {', '.join(self.names) or 'none'}; name another one")

    @property
    def names(self) -> tuple[str, ...]:
        """The columns asked for; none where that is left to the task."""
        return self.columns or (() if self.tags is None else tuple(map(str, self.tags.columns)))


By = str | Sequence[str] | Breakdown | None


def breakdown(by: By) -> Breakdown:
    """The breakdown that `by` names."""
    if isinstance(by, Breakdown):
        return by
    return Breakdown((by,) if isinstance(by, str) else tuple(by or ()))


def read_tags(path: Path | str) -> pd.DataFrame:
    """Tags of one's own from a csv, tsv, json, jsonl or parquet file.

    A column `id` (or `example_id`) of example ids, and one for each kind of tag. A cell may hold several tags, joined
    by ";", or none. DataError where the ids are missing or not unique.
    """
    path = Path(path)
    frame = read_table(disk.expanded(path))
    name = next((word for word in ("id", "example_id") if word in frame), None)
    if name is None or len(frame.columns) < 2:
        raise DataError(
            f"{str(path)!r} has the columns {', '.join(map(str, frame.columns)) or 'none'}; "
            "expected id, with ids of examples, and one or more columns of tags"
        )
    frame = frame.set_index(frame[name].astype(str)).drop(columns=name)
    if len(twice := frame.index[frame.index.duplicated()].unique()):
        raise DataError(f"{str(path)!r} has {len(twice)} ids in several rows, {twice[0]!r} the first; expected one row")
    return frame.map(_values).rename(columns=str)


def unmatched(by: By, ids: Sequence[str]) -> list[str]:
    """The examples that a file of tags says nothing of; UsageError where it names ids that are not examples."""
    tags = breakdown(by).tags
    if tags is None:
        return []
    known = set(ids)
    if unknown := [example_id for example_id in tags.index if example_id not in known]:
        raise UsageError(
            f"{len(unknown)} of the {len(tags)} ids in the file of tags are not examples of this task, "
            f"{unknown[0]!r} the first; the task's ids look like {next(iter(ids), '')!r}"
        )
    return [example_id for example_id in ids if example_id not in tags.index]


def tag_groups(
    examples: StoredExamples,
    by: By,
    tag_order: Mapping[str, Sequence[str]],
    margins: Mapping[str, float] | None = None,
) -> list[tuple[str, str, list[str]]]:
    """(column, tag, example ids) for each tag of the columns, in the task's own order, then the whole set.

    `margins`, by example, are what the column MARGIN is of: the thirds of their size.
    """
    wanted, ids = breakdown(by), examples.ids
    unmatched(wanted, ids)
    tags, orders = _enriched(examples, wanted, dict(tag_order))
    if margins is not None:
        tags = [{**own, MARGIN: third} for own, third in zip(tags, _margin_tags(ids, margins), strict=True)]
    columns = tag_columns(wanted, tags)
    if wanted.is_crossed:
        groups = _crossed(ids, tags, columns, orders)
    else:
        groups = [group for column in columns for group in _by_column(ids, tags, column, orders)]
    # a tag may be called what the whole set is called
    told = [(column, f"{column}: {tag}" if tag == OVERALL else tag, members) for column, tag, members in groups]
    return [*told, ("", OVERALL, ids)]


def tag_columns(by: By, tags: Iterable[Tags]) -> list[str]:
    """The columns that `by` stands for among the tags of a task's examples; UsageError when it has no such column."""
    known, columns = dict.fromkeys(name for own in tags for name in own), list(breakdown(by).names)
    if not columns:
        return ["tag"] if "tag" in known else []
    for column in columns:
        if column not in known:
            raise UsageError(_no_such_column(column, list(known)))
    return columns


def _margin_tags(ids: Sequence[str], margins: Mapping[str, float]) -> list[tuple[str, ...]]:
    """The tag of each example; none of one without a margin."""
    sizes = np.abs([margins.get(example_id, np.nan) for example_id in ids])
    thirds = _thirds(sizes)
    return [() if np.isnan(size) else (_MARGIN_TAGS[third],) for size, third in zip(sizes, thirds, strict=True)]


def _enriched(
    examples: StoredExamples, wanted: Breakdown, orders: dict[str, Sequence[str]]
) -> tuple[list[Tags], dict[str, Sequence[str]]]:
    """Each example's tags with those that are not the task's own, and the order of every column's tags."""
    tags: list[dict[str, Sequence[str]]] = [dict(own) for own in examples.tags]
    if wanted.tags is not None:
        _add(tags, {str(name): _of_file(examples, values) for name, values in wanted.tags.items()})
    if CAPTION_LENGTH in wanted.names and not any(CAPTION_LENGTH in own for own in tags):
        names, order = _caption_lengths(examples.captions)
        _add(tags, {CAPTION_LENGTH: [(name,) for name in names]})
        orders[CAPTION_LENGTH] = order
    return list(tags), {MARGIN: _MARGIN_TAGS, **orders}


def _add(tags: list[dict[str, Sequence[str]]], columns: Mapping[str, Sequence[Sequence[str]]]) -> None:
    for name, values in columns.items():
        if name == MARGIN:
            raise UsageError(f"{MARGIN!r} is a breakdown of every task's; give the column of the file another name")
        if any(name in own for own in tags):
            raise UsageError(f"the task has tags named {name!r} of its own; give the column of the file another name")
        for own_tags, value in zip(tags, values, strict=True):
            own_tags[name] = value


def _of_file(examples: StoredExamples, column: pd.Series) -> list[Sequence[str]]:
    values = column.to_dict()
    return [values.get(example_id, ()) for example_id in examples.ids]


def _caption_lengths(captions: Iterable[Sequence[str]]) -> tuple[list[str], list[str]]:
    """A name for each example, such as "4–6 words", and the names from short to long."""
    n_words = np.array([max((len(text.split()) for text in own), default=0) for own in captions])
    number = _thirds(n_words.astype(float))
    names = {third: _span(n_words[number == third]) for third in sorted(set(number.tolist()))}
    return [names[third] for third in number.tolist()], list(names.values())


def _span(n_words: np.ndarray) -> str:
    first, last = int(n_words.min()), int(n_words.max())
    return f"{first} words" if first == last else f"{first}–{last} words"


def _thirds(values: Floats) -> np.ndarray:
    """0, 1 or 2 for each value, equal values alike; the thirds are as even as that allows. NaN counts as 0."""
    known = values[~np.isnan(values)]
    if not len(known):
        return np.zeros(len(values), int)
    edges = np.quantile(known, [1 / 3, 2 / 3], method="inverted_cdf")
    return np.where(np.isnan(values), 0, np.searchsorted(edges, values, side="left"))


def _by_column(
    ids: Sequence[str], tags: Sequence[Tags], column: str, orders: Mapping[str, Sequence[str]]
) -> list[tuple[str, str, list[str]]]:
    members: dict[str, list[str]] = {tag: [] for tag in _ordered(tags, column, orders)}
    for example_id, own in zip(ids, tags, strict=True):
        for tag in set(own.get(column, ())):
            members[tag].append(example_id)
    return [(column, tag, found) for tag, found in members.items()]


def _crossed(
    ids: Sequence[str], tags: Sequence[Tags], columns: Sequence[str], orders: Mapping[str, Sequence[str]]
) -> list[tuple[str, str, list[str]]]:
    """A group for every combination that some example has, the last column changing fastest."""
    combinations: list[tuple[str, ...]] = [()]
    for column in columns:
        combinations = [(*before, tag) for before in combinations for tag in _ordered(tags, column, orders)]
    groups = [
        (
            combination,
            [example_id for example_id, own in zip(ids, tags, strict=True) if _has_all(own, columns, combination)],
        )
        for combination in combinations
    ]
    return [(_CROSSED.join(columns), _joined(tags_of), members) for tags_of, members in groups if members]


def _joined(combination: Sequence[str]) -> str:
    """The name of a combination, its tags in quotes where one of them could be taken for two.

    >>> _joined(["red", "left"]), _joined(["red & blue", "left"])
    ('red & left', "'red & blue' & 'left'")
    """
    is_plain = not any(_CROSSED in tag for tag in combination)
    return _CROSSED.join(combination if is_plain else map(repr, combination))


def _has_all(tags: Tags, columns: Sequence[str], combination: Sequence[str]) -> bool:
    return all(tag in tags.get(column, ()) for column, tag in zip(columns, combination, strict=True))


def _ordered(tags: Iterable[Tags], column: str, orders: Mapping[str, Sequence[str]]) -> list[str]:
    found = {value for own in tags for value in own.get(column, ())}
    order = [tag for tag in orders.get(column, ()) if tag in found]
    return [*order, *sorted(found - set(order))]


def _no_such_column(column: str, known: Sequence[str]) -> str:
    if column == MARGIN:
        return "each run has its own margins: only tables can be broken down by margin, not comparisons or curves"
    return f"no tag column named {column!r}; {did_you_mean(column, [*known, CAPTION_LENGTH])}"


def _values(cell: Any) -> tuple[str, ...]:
    """The tags in a cell."""
    if isinstance(cell, Mapping | bytes):
        raise DataError(f"a cell of the file of tags holds {cell!r}; expected text, a number, or a list of them")
    if isinstance(cell, list | tuple | np.ndarray):
        return tuple(str(part) for part in cell)
    if cell is None or (isinstance(cell, float | np.floating) and np.isnan(cell)):
        return ()
    if isinstance(cell, float | np.floating) and cell == int(cell):  # a column of whole numbers with a gap in it
        return (str(int(cell)),)
    return tuple(part.strip() for part in str(cell).split(";") if part.strip())
