"""The task `winoground`: two pictures and two captions of the same words in another order, 400 times.

Read from the user's own access to the gated hub data set, or from a local copy (`--data PATH`); nothing of it ships
with compbench, since its licence forbids that. Tags:

- tag: Object, Relation or Both, what changes places between the captions (the set's collapsed_tag)
- visual: Symbolic, Pragmatics, Series; an example counts for each tag that its secondary_tag holds, and most hold none
- fine: the set's own linguistic tags
- predicates: 1 pred or 2 preds, the main predicates of a caption
- why: why it is hard beside its composition, by others (see _why_hard.py); of the whole published set alone
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from compbench.core.errors import DataError
from compbench.core.examples import Example, Image, Task
from compbench.core.metrics import MATCHING
from compbench.core.models import Source
from compbench.registry import hub
from compbench.tasks._reading.digests import file_stamp, with_digests
from compbench.tasks.matching._layouts import PLACE, Rows, read_rows
from compbench.tasks.matching._why_hard import N_TAGGED, TAGS, why_hard

__all__ = ["SOURCE", "winoground"]

SOURCE = Source("facebook/winoground", "b400e173549071916ad1b3d449293bc8d8b4b763")
TAG_ORDER = {
    "tag": ("Object", "Relation", "Both"),
    "visual": ("Symbolic", "Pragmatics", "Series"),
    "predicates": ("1 pred", "2 preds"),
}
_WITH_WHY = {**TAG_ORDER, "why": TAGS}
CITATION = """\
@inproceedings{thrush2022winoground,
  title = {Winoground: Probing Vision and Language Models for Visio-Linguistic Compositionality},
  author = {Thrush, Tristan and Jiang, Ryan and Bartolo, Max and Singh, Amanpreet and Williams, Adina and
            Kiela, Douwe and Ross, Candace},
  booktitle = {Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  pages = {5238--5248},
  year = {2022},
}
"""
_N_PUBLISHED = 400
_TEXT_COLUMNS = ("id", "caption_0", "caption_1", "tag", "secondary_tag", "num_main_preds", "collapsed_tag")
_IMAGE_COLUMNS = ("image_0", "image_1")
_EXPECTED = (
    "a copy of facebook/winoground: data/test-*.parquet, or data/examples.jsonl beside data/images.zip, as "
    "`hf download facebook/winoground --repo-type dataset --local-dir PATH` leaves it"
)


def winoground(data: Path | None = None, is_offline: bool = False) -> Task:
    """The examples of the hub's data set at its pinned commit, or of the local copy `data` in either layout."""
    found = read_rows(data or _fetch(is_offline), _TEXT_COLUMNS, _IMAGE_COLUMNS, _EXPECTED)
    _check_ids(found)
    is_published = {str(row["id"]) for row in found.rows} == {str(number) for number in range(N_TAGGED)}
    examples = [_with_why(_example(row)) if is_published else _example(row) for row in found.rows]
    return Task(
        name="winoground",
        examples=with_digests(examples, [file_stamp(file) for file in found.files]),
        metrics=MATCHING,
        description=__doc__ or "",
        citation=CITATION,
        is_gated=True,
        tag_order=_WITH_WHY if is_published else TAG_ORDER,
        notes=_notes(len(examples)),
    )


def _with_why(example: Example) -> Example:
    return replace(example, tags={**example.tags, "why": why_hard(example.id)})


def _notes(n_examples: int) -> tuple[str, ...]:
    if n_examples == _N_PUBLISHED:
        return ()
    return (f"winoground: {n_examples} examples; the published data set has {_N_PUBLISHED}",)


def _fetch(is_offline: bool) -> Path:
    older = ["data/examples.jsonl", "data/images.zip"]  # of a mirror that kept that layout
    return hub.fetch_first(SOURCE, [["data/*.parquet"], older], is_offline, repo_type="dataset")


def _check_ids(found: Rows) -> None:
    """DataError for an id that is neither a whole number nor text, or that two examples have: 0 and "0" are one."""
    where = str(found.files[0])
    if not found.rows:
        raise DataError(f"{where!r} holds no example; expected {_EXPECTED}")
    of_id: dict[str, list[Mapping[str, Any]]] = {}
    for row in found.rows:
        if not isinstance(row["id"], int | str) or isinstance(row["id"], bool) or row["id"] == "":
            raise DataError(f"{row[PLACE]} has id {row['id']!r}; expected a whole number or text")
        of_id.setdefault(str(row["id"]), []).append(row)
    twice = [rows for rows in of_id.values() if len(rows) > 1]
    if twice:
        names = ", ".join(str(rows[0]["id"]) for rows in twice[:5])
        more = f" and {len(twice) - 5} more" if len(twice) > 5 else ""
        places = " and ".join(f"{row['id']!r} in {row[PLACE].partition(' of ')[0]}" for row in twice[0][:3])
        raise DataError(f"{where!r} holds id {names}{more} more than once ({places}); copy or fetch it again")


def _example(row: Mapping[str, Any]) -> Example:
    name = str(row["id"])
    return Example(
        id=name,
        images=tuple(Image(f"{name}/{column}", row[column]) for column in _IMAGE_COLUMNS),
        captions=tuple(_caption(row, column) for column in ("caption_0", "caption_1")),
        matches=np.eye(2, dtype=bool),
        tags=_tags(row),
    )


def _caption(row: Mapping[str, Any], column: str) -> str:
    caption = row[column]
    if not isinstance(caption, str) or not caption.strip():
        raise DataError(f"example {row['id']!r} has an empty {column}: {caption!r}; expected a sentence")
    return caption


def _tags(row: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    return {
        "tag": _split(row, "collapsed_tag"),
        "visual": _split(row, "secondary_tag"),
        "fine": _split(row, "tag"),
        "predicates": _predicates(row),
    }


def _predicates(row: Mapping[str, Any]) -> tuple[str, ...]:
    """The number of main predicates, in words; none where it is missing."""
    n = row["num_main_preds"]
    if _is_missing(n):
        return ()
    if not isinstance(n, int | float) or isinstance(n, bool) or n != n // 1:
        raise DataError(f"{row[PLACE]} has num_main_preds {n!r}; expected a whole number")
    return (f"{int(n)} pred" + "s" * (n != 1),)


def _split(row: Mapping[str, Any], column: str) -> tuple[str, ...]:
    """The tags of a cell: separated by commas, often none."""
    value = row[column]
    if _is_missing(value):
        return ()
    cells: Sequence[Any] = value.split(",") if isinstance(value, str) else value
    if not isinstance(cells, list | tuple) or not all(isinstance(cell, str) for cell in cells):
        raise DataError(f"{row[PLACE]} has {column} {value!r}; expected text, with commas between tags")
    return tuple(cell.strip() for cell in cells if cell.strip())


def _is_missing(value: object) -> bool:
    return value is None or value != value  # noqa: PLR0124  # not a number: how pandas writes a missing one
