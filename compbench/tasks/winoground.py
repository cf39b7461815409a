"""The task `winoground`: two pictures and two captions of the same words in another order, 400 times.

Read from the user's own access to the gated hub data set, or from a local copy (`--data PATH`); nothing of it ships
with compbench, since its licence forbids that. Tags:

- tag: Object, Relation or Both, what changes places between the captions (the set's collapsed_tag)
- visual: Symbolic, Pragmatics, Series; an example counts for each tag that its secondary_tag holds, and most hold none
- fine: the set's own linguistic tags
- predicates: 1 pred or 2 preds, the main predicates of a caption
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compbench import hub
from compbench.metrics import MATCHING
from compbench.tasks.digests import file_stamp, with_digests
from compbench.tasks.layouts import Rows, read_rows
from compbench.types import DataError, Example, Image, Source, Task

__all__ = ["SOURCE", "winoground"]

SOURCE = Source("facebook/winoground", "b400e173549071916ad1b3d449293bc8d8b4b763")
TAG_ORDER = {
    "tag": ("Object", "Relation", "Both"),
    "visual": ("Symbolic", "Pragmatics", "Series"),
    "predicates": ("1 pred", "2 preds"),
}
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
    examples = [_example(row) for row in found.rows]
    return Task(
        name="winoground",
        examples=with_digests(examples, [file_stamp(file) for file in found.files]),
        metrics=MATCHING,
        description=__doc__ or "",
        citation=CITATION,
        is_gated=True,
        tag_order=TAG_ORDER,
    )


def _fetch(is_offline: bool) -> Path:
    older = ["data/examples.jsonl", "data/images.zip"]  # of a mirror that kept that layout
    return hub.fetch_first(SOURCE, [["data/*.parquet"], older], is_offline, repo_type="dataset")


def _check_ids(found: Rows) -> None:
    where = str(found.files[0])
    if not found.rows:
        raise DataError(f"{where!r} holds no example; expected {_EXPECTED}")
    counts = Counter(str(row["id"]) for row in found.rows)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        more = f" and {len(twice) - 5} more" if len(twice) > 5 else ""
        raise DataError(f"{where!r} holds id {', '.join(twice[:5])}{more} more than once; copy or fetch it again")


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
    n_predicates = row["num_main_preds"]
    return {
        "tag": _split(row["collapsed_tag"]),
        "visual": _split(row["secondary_tag"]),
        "fine": _split(row["tag"]),
        "predicates": (f"{n_predicates} pred" + "s" * (n_predicates != 1),),
    }


def _split(value: str | Sequence[str] | None) -> tuple[str, ...]:
    """The tags of a cell: separated by commas, often none."""
    cells = value.split(",") if isinstance(value, str) else value or ()
    return tuple(cell.strip() for cell in cells if cell.strip())
