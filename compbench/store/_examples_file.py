"""examples.parquet: what an analysis needs of a task's examples, so that it never needs the task."""

# pyright: reportUnknownParameterType=false
# pyarrow has no types

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from compbench.core.aliases import Bools
from compbench.core.examples import Example
from compbench.store import _parquet
from compbench.store._parquet import DamagedPart

__all__ = ["read", "table_of"]

# where all examples share their captions, these stand once in the file's metadata; captions and matches are null
EXAMPLES = pa.schema(
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


def table_of(examples: Sequence[Example]) -> pa.Table:
    """What an analysis needs of the examples, so that it never needs the task; captions that all share stand once."""
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
        return pa.Table.from_pylist(rows, EXAMPLES.remove(EXAMPLES.get_field_index("true_pairs")))
    words = {_SHARED: json.dumps(shared, ensure_ascii=False)}
    return pa.Table.from_pylist(rows, EXAMPLES).replace_schema_metadata(words)


def read(path: Path) -> pd.DataFrame:
    """What `table_of` holds, one row an example: captions a tuple, matches [I, C], tags a mapping.

    Shared captions are one tuple, and the matches of a class one array, which cannot be written to.
    """
    table = _parquet.read(path)
    try:
        return _examples_frame(table)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise DamagedPart(f"it does not hold examples: {error}") from error


def _examples_frame(table: pa.Table) -> pd.DataFrame:
    frame = table.to_pandas()
    words = (table.schema.metadata or {}).get(_SHARED)
    frame["tags"] = [json.loads(each) for each in frame["tags"]]
    frame["image_names"] = [tuple(each) for each in frame["image_names"]]
    if words is None:
        frame["matches"] = [np.array([list(row) for row in each], dtype=bool) for each in frame["matches"]]
        frame["captions"] = [tuple(each) for each in frame["captions"]]
        return frame
    shared = tuple(json.loads(words))
    matches_of = cache(partial(_matches, len(shared)))
    pairs = zip(frame["image_names"], frame.pop("true_pairs"), strict=True)
    frame["matches"] = [matches_of(len(names), tuple(each.tolist())) for names, each in pairs]
    frame["captions"] = [shared] * len(frame)
    return frame


def _shared_captions(examples: Sequence[Example]) -> tuple[str, ...] | None:
    """The captions that all of several examples have."""
    first = examples[0].captions if len(examples) > 1 else None
    return first if all(each.captions is first or each.captions == first for each in examples) else None


def _matches(n_captions: int, n_images: int, true_pairs: tuple[int, ...]) -> Bools:
    matches = np.zeros((n_images, n_captions), bool)
    matches.reshape(-1)[list(true_pairs)] = True
    matches.setflags(write=False)
    return matches
