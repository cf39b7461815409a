"""A run as a table of its examples with their scores: a manifest beside the pictures, and what `import` reads."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np

from compbench.core.aliases import Floats, Json
from compbench.core.errors import UsageError
from compbench.store.run import Run

__all__ = ["to_manifest"]


def to_manifest(run: Run) -> bytes:
    """JSON lines: id, images (their names), captions, matches and group of each example that is read, and its tags.

    scores: a list for each image with a number for each caption; absent where the example is not measured. UsageError
    for a task whose captions may not be passed on, and for choices, of which scores would say more than is known.
    """
    if run.info.model.form[-1] != "score":
        raise UsageError(f"run {str(run.path)!r} holds choices, not scores; pass on the file it was imported from")
    if run.info.task.is_gated:
        raise UsageError(
            f"the captions of {run.key.task!r} may not be shared: its data is gated; export .csv or .parquet, which "
            "hold ids and scores"
        )
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in _rows(run)).encode("utf-8")


def _rows(run: Run) -> Iterator[dict[str, Json]]:
    scores: dict[str, Floats] = {
        example_id: table.scores[n] for table in run.tables().values() for n, example_id in enumerate(table.ids)
    }
    wanted = set(run.ids())
    for example in run.examples().to_dict("records"):
        if example["id"] not in wanted:
            continue
        row: dict[str, Json] = {
            "id": str(example["id"]),
            "images": [str(name) for name in example["image_names"]],
            "captions": [str(caption) for caption in example["captions"]],
            "matches": np.asarray(example["matches"]).astype(int).tolist(),
        }
        if example["group"] and example["group"] != example["id"]:
            row["group"] = str(example["group"])
        row |= {column: list(values) for column, values in example["tags"].items()}
        if example["id"] in scores:
            row["scores"] = scores[example["id"]].tolist()
        yield row
