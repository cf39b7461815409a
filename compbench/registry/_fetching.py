"""A progress bar for huggingface_hub that draws nothing and tells how many bytes are there."""

from __future__ import annotations

import io
from typing import Any

from tqdm import tqdm

from compbench.core import stages

__all__ = ["bar_class"]


def bar_class(what: str) -> type[tqdm[Any]]:
    """The class whose bars tell of `what`; they are moved by threads of the hub's, and the listener is this one's."""
    tell = stages.listener()

    class Told(tqdm[Any]):
        def __init__(self, *arguments: Any, **settings: Any) -> None:
            self._counts_bytes = settings.get("unit") == "B" and settings.get("desc") != "Downloading bytes"
            settings.pop("name", None)
            super().__init__(*arguments, **(settings | {"file": io.StringIO(), "disable": False}))

        def update(self, n: float | None = 1) -> bool | None:
            drawn = super().update(n)
            if self._counts_bytes:
                tell(what, int(self.n), int(self.total or 0), "B")
            return drawn

    return Told
