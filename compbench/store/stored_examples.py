"""examples.parquet: what an analysis needs of a task's examples, so that it never needs the task.

Each column is decoded when it is first asked for: a table of scores needs neither captions nor names of images.
"""

# pyright: reportUnknownParameterType=false
# pyarrow has no types

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow as pa

from compbench.core.aliases import Bools, Ints
from compbench.core.examples import Example
from compbench.core.packages import named
from compbench.store import _parquet
from compbench.store._arrays import lists, numbers
from compbench.store._damage import Damaged

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["NAME", "StoredExamples", "examples_table", "read_examples"]

NAME = "examples.parquet"
# where all examples share their captions, these are in the file's metadata once; captions and matches are null
_SCHEMA = pa.schema(
    {
        "id": pa.string(),
        "captions": pa.list_(pa.string()),
        "image_names": pa.list_(pa.string()),
        "matches": pa.list_(pa.list_(pa.bool_())),  # [I, C]
        "true_pairs": pa.list_(pa.int32()),  # with shared captions: what matches holds, as image * C + caption
        "tags": pa.string(),  # a JSON object: column -> values
        "group": pa.string(),
        "order": pa.int32(),
    }
)
_SHARED = b"captions"
_DAMAGE = (AttributeError, IndexError, KeyError, TypeError, ValueError)  # what decoding something else raises

Column = TypeVar("Column")


def examples_table(examples: Sequence[Example]) -> pa.Table:
    """The rows of the file, in the task's order; captions that all examples share are stored once."""
    shared = _shared_captions(examples)
    rows = [
        {
            "id": example.id,
            "captions": list(example.captions) if shared is None else None,
            "image_names": [image.name for image in example.images],
            "matches": example.matches.tolist() if shared is None else None,
            "true_pairs": np.flatnonzero(example.matches) if shared is not None else None,
            "tags": json.dumps({name: list(values) for name, values in example.tags.items()}, ensure_ascii=False),
            "group": example.group or example.id,
            "order": order,
        }
        for order, example in enumerate(examples)
    ]
    if shared is None:
        return pa.Table.from_pylist(rows, _SCHEMA.remove(_SCHEMA.get_field_index("true_pairs")))
    words = {_SHARED: json.dumps(shared, ensure_ascii=False)}
    return pa.Table.from_pylist(rows, _SCHEMA).replace_schema_metadata(words)


def read_examples(path: Path, *, is_known: bool) -> StoredExamples:
    """The examples in a file; Damaged where it does not hold any.

    `is_known`: its bytes are those that were written; of another file every column is decoded at once.
    """
    found = StoredExamples(_parquet.read(path))
    if not is_known:
        _ = found.ids, found.captions, found.image_names, found.matches, found.tags, found.groups, found.orders
    return found


@dataclass(frozen=True, eq=False)
class StoredExamples:
    """All examples of a run's task in its order, a list for each column; Damaged where one cannot be decoded."""

    table: pa.Table

    @cached_property
    def ids(self) -> list[str]:
        """The id of each example."""
        return self._decoded(lambda: self._column("id").to_pylist())

    @cached_property
    def captions(self) -> list[tuple[str, ...]]:
        """The captions of each example."""
        shared = self._shared
        return self._decoded(lambda: self._texts("captions") if shared is None else [shared] * len(self.table))

    @cached_property
    def image_names(self) -> list[tuple[str, ...]]:
        """The names of the images of each example."""
        return self._decoded(lambda: self._texts("image_names"))

    @cached_property
    def matches(self) -> list[Bools]:
        """The matches [I, C] of each example; they cannot be written to."""
        return self._decoded(self._own_matches if self._shared is None else self._matches_of_classes)

    @cached_property
    def tags(self) -> list[dict[str, list[str]]]:
        """Column -> values, of each example; examples whose tags are the same share one mapping."""
        texts = self._decoded(lambda: self._column("tags").to_pylist())
        parsed = self._decoded(lambda: {text: json.loads(text) for text in set(texts)})
        return [parsed[text] for text in texts]

    @property
    def columns(self) -> set[str]:
        """The names of the columns of tags."""
        return {column for tags in self.tags for column in tags}

    @cached_property
    def groups(self) -> list[str]:
        """The group of each example: its own id where it shares none."""
        return self._decoded(lambda: self._column("group").to_pylist())

    @cached_property
    def orders(self) -> Ints:
        """The place of each example in the task."""
        return self._decoded(lambda: numbers(self._column("order")))

    def frame(self) -> pd.DataFrame:
        """A row per example: id, captions, image_names, matches, tags, group, order."""
        with named():
            import pandas as pd

        return pd.DataFrame(
            {
                "id": self.ids,
                "captions": pd.Series(self.captions, dtype=object),
                "image_names": pd.Series(self.image_names, dtype=object),
                "matches": pd.Series(self.matches, dtype=object),
                "tags": pd.Series([dict(tags) for tags in self.tags], dtype=object),
                "group": self.groups,
                "order": self.orders,
            }
        )

    @cached_property
    def _shared(self) -> tuple[str, ...] | None:
        """The captions that all examples have."""
        words = (self.table.schema.metadata or {}).get(_SHARED)
        return None if words is None else tuple(self._decoded(lambda: json.loads(words)))

    def _own_matches(self) -> list[Bools]:
        images, n_images = lists(self._column("matches"))
        captions, n_captions = lists(images)
        flags = numbers(captions)
        flags.setflags(write=False)
        if not len(n_images):
            return []
        if (n_images == n_images[0]).all() and (n_captions == n_captions[0]).all():
            return list(flags.reshape(len(n_images), n_images[0], n_captions[0]))
        images_end = np.cumsum(n_images)
        ends = np.cumsum(n_captions)[images_end - 1]
        pieces = np.split(flags, ends[:-1])
        return [piece.reshape(n, -1) for piece, n in zip(pieces, n_images.tolist(), strict=True)]

    def _matches_of_classes(self) -> list[Bools]:
        """The matches with shared captions: one array for all examples with the same true pairs."""
        n_captions, found = len(self._shared or ()), dict[tuple[int, tuple[int, ...]], Bools]()
        lengths = lists(self._column("image_names"))[1].tolist()
        keys = list(zip(lengths, map(tuple, self._column("true_pairs").to_pylist()), strict=True))
        for n_images, true_pairs in set(keys):
            matches = np.zeros((n_images, n_captions), bool)
            matches.reshape(-1)[list(true_pairs)] = True
            matches.setflags(write=False)
            found[n_images, true_pairs] = matches
        return [found[key] for key in keys]

    def _texts(self, name: str) -> list[tuple[str, ...]]:
        """A tuple for each list of a column."""
        return [tuple(texts) for texts in self._column(name).to_pylist()]

    def _column(self, name: str) -> Any:
        return self.table.column(name)

    def _decoded(self, decode: Callable[[], Column]) -> Column:
        try:
            return decode()
        except _DAMAGE as error:
            raise Damaged(f"it does not hold examples: {error}") from error


def _shared_captions(examples: Sequence[Example]) -> tuple[str, ...] | None:
    """The captions that all of several examples have."""
    first = examples[0].captions if len(examples) > 1 else None
    return first if all(example.captions is first or example.captions == first for example in examples) else None
