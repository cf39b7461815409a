"""Small copies of Winoground in the layouts of its hub repository."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from compbench import registry
from compbench.core.examples import Task
from compbench.tasks import scenes

ROWS: list[dict[str, Any]] = [
    {
        "id": number,
        "caption_0": f"the {number} hats beside a cat",
        "caption_1": f"a cat beside the {number} hats",
        "tag": ("Noun", "Noun, Scope", "Adjective-Size")[number % 3],
        "secondary_tag": ("", "Symbolic", "Series,Symbolic")[number % 3],
        "num_main_preds": 1 + number % 2,
        "collapsed_tag": ("Object", "Relation", "Both")[number % 3],
    }
    for number in range(7)
]


def encoded(number: int, side: int) -> bytes:
    """A drawn picture as a file: PNG, and JPEG for the second picture of an example."""
    first, second = scenes.Shape("red", "circle"), scenes.Shape("blue", "square")
    image = scenes.draw(first, "above", second, np.random.default_rng([number, side]))
    stream = io.BytesIO()
    image.save(stream, format=("PNG", "JPEG")[side])
    return stream.getvalue()


def write_parquet(folder: Path, rows: list[dict[str, Any]] = ROWS, n_files: int = 2) -> Path:
    """data/test-*.parquet as the hub has them: image columns hold {bytes, path}."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    full = [
        row | {f"image_{side}": {"bytes": encoded(row["id"], side), "path": f"{side}.png"} for side in (0, 1)}
        for row in rows
    ]
    for number in range(n_files):
        table = pa.Table.from_pylist(full[number::n_files])
        name = f"test-{number:05d}-of-{n_files:05d}.parquet"
        pq.write_table(table, folder / "data" / name, row_group_size=2)
    return folder


def write_jsonl(folder: Path, rows: list[dict[str, Any]] = ROWS, suffix: str = "") -> Path:
    """data/examples.jsonl and data/images.zip as the hub had them: an example names its images without .png."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    with (
        zipfile.ZipFile(folder / "data" / "images.zip", "w") as archive,
        (folder / "data" / "examples.jsonl").open("w") as lines,
    ):
        for row in rows:
            names = {f"image_{side}": f"ex_{row['id']}_img_{side}" for side in (0, 1)}
            for side, name in enumerate(names.values()):
                archive.writestr(f"images/{name}.png", encoded(row["id"], side))
                archive.writestr(f"__MACOSX/images/._{name}.png", b"rubbish")
            lines.write(json.dumps(row | {column: name + suffix for column, name in names.items()}) + "\n")
    return folder


def read(place: Path) -> Task:
    return registry.task("winoground", data=place)
