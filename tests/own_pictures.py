"""A user's own folder: drawn pictures, and a manifest beside them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from compbench.tasks import scenes

RED_ABOVE, BLUE_ABOVE = "a red circle above a blue square", "a blue square above a red circle"


def draw(folder: Path, *names: str) -> Path:
    """A folder with a small drawn picture under each name."""
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        first, second = scenes.Shape("red", "circle"), scenes.Shape("blue", "square")
        scenes.draw(first, "above", second, np.random.default_rng(number)).save(path)
    return folder


def plain(path: Path, size: tuple[int, int] = (8, 8), colour: int = 0) -> Path:
    """A picture of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.new("RGB", size, (colour, 0, 0)).save(path)
    return path


def write_lines(folder: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """metadata.jsonl."""
    folder.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "metadata.jsonl").write_text(text, encoding="utf-8", newline="")
    return folder


def write_csv(folder: Path, text: str) -> Path:
    """metadata.csv."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metadata.csv").write_text(text, encoding="utf-8", newline="")
    return folder
