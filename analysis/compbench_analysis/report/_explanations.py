"""The heat maps that `compbench explain` has stored with a run."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from compbench.store.run import Run
from compbench_analysis.report._thumbnails import data_uri

__all__ = ["FOLDER", "explanations"]

FOLDER = "explain"
_WIDEST_PX = 900
_QUALITY = 82


def explanations(runs: Sequence[Run], labels: Sequence[str]) -> dict[str, list[dict[str, str]]]:
    """Example id -> the pictures of its maps, each with its model and what it shows."""
    found: dict[str, list[dict[str, str]]] = {}
    for run, label in zip(runs, labels, strict=True):
        for path in sorted((run.path / FOLDER).glob("*.npz")):
            try:
                example_id, about, src = _read(path)
            except (OSError, ValueError, KeyError, zipfile.BadZipFile):  # torn, or written by something else
                continue
            found.setdefault(example_id, []).append({"model": label, "about": about, "src": src})
    return found


def _read(path: Path) -> tuple[str, str, str]:
    """Example id, what the map shows, and its picture as an address."""
    with np.load(path, allow_pickle=False) as stored:
        example_id, about = str(stored["example"]), str(stored["about"])
    with PIL.Image.open(path.with_suffix(".png")) as picture:
        small: Any = picture.convert("RGB")
    small.thumbnail((_WIDEST_PX, _WIDEST_PX), PIL.Image.Resampling.LANCZOS)
    out = io.BytesIO()
    small.save(out, "WEBP", quality=_QUALITY)
    return example_id, about, data_uri(out.getvalue(), "image/webp")
