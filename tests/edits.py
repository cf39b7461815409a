"""JSON files of models' folders with other values."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

__all__ = ["edit", "edited"]


def edit(file: Path, **values: Any) -> None:
    """Give a JSON file other values."""
    file.write_text(json.dumps({**json.loads(file.read_text(encoding="utf-8")), **values}), encoding="utf-8")


def edited(folder: Path, copy: Path, file: str, **values: Any) -> Path:
    """A copy in which a JSON file has other values."""
    edit(shutil.copytree(folder, copy) / file, **values)
    return copy
