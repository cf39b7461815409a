"""Where a command's result goes: to stdout, or whole into the file that --output names."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from compbench.cli import streams
from compbench.core.errors import RunError
from compbench.core.printable import say

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["PICTURES", "print_result", "write_file", "write_picture"]

PICTURES = (".png", ".pdf", ".svg", ".jpg", ".jpeg", ".webp")


def print_result(text: str, output: Path | None) -> None:
    """Print the text, or write it to `output`."""
    if output is None:
        streams.write(text)
        return
    write_file(output, f"{text}\n".encode("utf-8", errors="replace"))
    say(f"written to {output}")


def write_picture(figure: Figure, output: Path) -> None:
    """Write the figure in the format that the suffix names."""
    content = io.BytesIO()
    figure.savefig(content, dpi=200, format=output.suffix[1:].lower())
    write_file(output, content.getvalue())
    say(f"picture written to {output}")


def write_file(output: Path, content: bytes) -> None:
    """Whole or not at all, so that a command that dies leaves the result of the one before."""
    from compbench.core import disk

    try:
        disk.output(output, content)
    except OSError as error:
        raise RunError(f"cannot write {str(output)!r} ({error.strerror or error}); choose another --output") from error
