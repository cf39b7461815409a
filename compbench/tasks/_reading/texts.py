"""Text files of a data set, whoever saved them."""

from __future__ import annotations

from pathlib import Path

from compbench.core import regular_files
from compbench.core.errors import DataError
from compbench.core.plain_text import decoded, half_character

__all__ = ["check_text", "is_lfs_pointer", "lines_of", "read_text"]

_LFS = b"version https://git-lfs"


def read_text(path: Path) -> str:
    """The text, without a byte-order mark; DataError names the line that is not UTF-8."""
    content = regular_files.read_file(path)
    if is_lfs_pointer(content):
        raise DataError(f"{str(path)!r} is a Git LFS pointer, not the data: run `git lfs pull` there")
    return decoded(content, str(path))


def lines_of(text: str) -> list[str]:
    """The lines, which end at a line feed alone: a JSON string or a caption may hold U+2028, U+0085 and the like."""
    return text.split("\n")


def check_text(text: str, what: str) -> None:
    """DataError for text that cannot be written as UTF-8 or holds a NUL."""
    if "\0" in text:
        raise DataError(f"{what} holds a NUL character (U+0000): {_shortened(text)}; remove it")
    if half := half_character(text):
        raise DataError(
            f"{what} holds half of a surrogate pair ({half}): {_shortened(text)}; expected whole characters"
        )


def is_lfs_pointer(start: bytes) -> bool:
    """Whether a file that begins so only says where Git LFS keeps the data."""
    return start.startswith(_LFS)


def _shortened(text: str) -> str:
    return ascii(text if len(text) <= 60 else text[:60] + "...")
