"""Grids of strings as a terminal table, Markdown, LaTeX, CSV or JSON: one look wherever a table is printed.

Standard library only, so that `compbench list` stays instant.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compbench.core.printable import UNSAFE, printable, screen_width, to_cell
from compbench_analysis.text._fitted import fitted

__all__ = ["FORMATS", "Grid", "count", "duration", "latex_text", "records", "render", "size"]

FORMATS = ("table", "markdown", "csv", "json", "latex")
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
# what Markdown reads as code, emphasis, HTML, a link, an entity or mathematics
_MARKUP = re.compile(r"[\\`*<~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|&(?=#?\w+;)|\](?=[(\[:])|!(?=\[)")
_BLOCK = re.compile(r"^(?:[#>+-]+|\d+[.)])(?=\s|$)")  # at the beginning of a line: a heading, a quotation, a list
_LATEX = {character: f"\\{character}" for character in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "−": "$-$",
}


@dataclass(frozen=True, slots=True)
class Grid:
    """A small table of strings with a line above it and lines below it."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    title: str = ""
    notes: tuple[str, ...] = ()
    align: str = ""  # one letter a column, l, r or w, prose that may be wrapped; "" stands for all left
    n_names: int = 1  # the first columns, which name a row: a table that is cut into bands repeats them
    strong: frozenset[tuple[int, int]] = frozenset()  # (row, column) of cells in bold where there is bold


def render(grids: Sequence[Grid], style: str, n_columns: int | None = None) -> str:
    """The grids in the style asked for, one below the other, ending without a newline.

    A table is at most `n_columns` wide (None: as wide as the screen).

    >>> print(render([Grid(("model", "n"), (("chance", "400"), ("sd2", "24")), align="lr")], "table"))
    model     n
    -----------
    chance  400
    sd2      24
    """
    if style in ("csv", "json"):
        return records([_record(grid, row) for grid in grids for row in grid.rows], style)
    shown = [grid for grid in grids if grid.rows or grid.title or grid.notes]
    if style == "table":
        return "\n\n".join("\n".join(fitted(grid, n_columns or screen_width())) for grid in shown)
    return "\n\n".join(map(_markdown if style == "markdown" else _latex, shown))


def records(rows: Iterable[Mapping[str, Any]], style: str) -> str:
    """Rows of named values as CSV (missing values empty) or as a JSON list.

    In CSV a text that a spreadsheet would take for a formula has an apostrophe in front; numbers stay numbers.
    """
    rows = list(rows)
    if style == "json":
        return _json_safe(json.dumps(rows, indent=1, ensure_ascii=False))
    out = io.StringIO()
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([_csv_cell(name) for name in names])
    writer.writerows([_csv_cell(row.get(name, "")) for name in names] for row in rows)
    return out.getvalue().rstrip("\n")


def duration(seconds: float) -> str:
    """A length of time as people say it.

    >>> duration(0.42), duration(75), duration(5000), duration(200_000)
    ('0.4 s', '1 min 15 s', '1 h 23 min', '2 d 7 h')
    """
    if seconds < _MINUTE:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    for unit, name, below, below_name in ((_DAY, "d", _HOUR, "h"), (_HOUR, "h", _MINUTE, "min")):
        if seconds >= unit:
            return f"{int(seconds // unit)} {name} {int(seconds % unit // below)} {below_name}"
    return f"{int(seconds // _MINUTE)} min {int(seconds % _MINUTE)} s"


def count(n: float) -> str:
    """A whole number with its thousands apart.

    >>> count(1600000)
    '1,600,000'
    """
    return f"{n:,.0f}"


def size(n_bytes: float) -> str:
    """Bytes in the largest unit that fits.

    >>> size(5_160_000_000)
    '5.2 GB'
    """
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} {unit}" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} TB"


def _csv_cell(value: Any) -> Any:
    return to_cell(printable(value)) if isinstance(value, str) else value


def _json_safe(text: str) -> str:
    """The JSON with what a terminal would act upon written as JSON's own escape; that stands in strings alone."""
    return "\n".join(UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", line) for line in text.split("\n"))


def _record(grid: Grid, row: Sequence[str]) -> dict[str, str]:
    return dict(zip(grid.header, row, strict=True))


def _markdown(grid: Grid) -> str:
    blocks = [f"**{_markdown_text(grid.title)}**"] if grid.title else []
    if grid.rows:
        rule = " | ".join("--:" if side == "r" else ":--" for side in grid.align or "l" * len(grid.header))
        rows = [
            [f"**{cell}**" if (y, x) in grid.strong else cell for x, cell in enumerate(map(_markdown_cell, row))]
            for y, row in enumerate(grid.rows)
        ]
        table = (f"| {' | '.join(row)} |" for row in (map(_markdown_cell, grid.header), [rule], *rows))
        blocks.append("\n".join(table))
    if grid.notes:
        blocks.append("\n".join(f"- {_BLOCK.sub(_behind, _markdown_text(note))}" for note in grid.notes))
    return "\n\n".join(blocks)


def _markdown_cell(cell: str) -> str:
    return _markdown_text(cell).replace("|", r"\|")


def _markdown_text(text: str) -> str:
    return _MARKUP.sub(r"\\\g<0>", _plain(text))


def _behind(found: re.Match[str]) -> str:
    """The last character of the mark behind a backslash."""
    return f"{found[0][:-1]}\\{found[0][-1]}"


def _latex(grid: Grid) -> str:
    lines = [f"% {printable(line)}" for line in (grid.title,) if line]
    if grid.rows:
        align = (grid.align or "l" * len(grid.header)).replace("w", "l")
        lines += [rf"\begin{{tabular}}{{{align}}}", r"\toprule", _latex_row(grid.header)]
        lines += [r"\midrule", *map(_latex_row, grid.rows), r"\bottomrule", r"\end{tabular}"]
    return "\n".join([*lines, *(f"% {printable(note)}" for note in grid.notes)])


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(map(latex_text, cells)) + r" \\"


def latex_text(text: str) -> str:
    """The text as LaTeX sets it.

    >>> print(latex_text("x_1 & 50 %"))
    x\\_1 \\& 50 \\%
    """
    return "".join(_LATEX.get(letter, letter) for letter in _plain(text))


def _plain(cell: str) -> str:
    """Without the spaces that line numbers up in a terminal, and with nothing that a terminal would act upon."""
    return re.sub(" +", " ", printable(cell).strip()).replace("[ ", "[")
