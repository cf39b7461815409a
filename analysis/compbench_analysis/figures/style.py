"""How figures look: one colour, hatch, line and marker for each model, for every eye and on grey paper."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text

from compbench.core.printable import printable, say
from compbench_analysis.frames.tables import FEW, WIDE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.backend_bases import RendererBase

__all__ = [
    "CHANCE_LINE",
    "GREY",
    "Picture",
    "by_model",
    "caption",
    "colour",
    "has_small",
    "hatch",
    "legend",
    "line",
    "line_key",
    "matrix",
    "model_colours",
    "ordered",
    "small_note",
    "tag_labels",
    "tagged",
    "titled",
    "unlike",
    "where",
]

GREY = "0.25"
CHANCE_LINE: dict[str, Any] = {"color": GREY, "linestyle": (0, (4, 2)), "linewidth": 1.2}
_HATCHES = ("", "///", "...", "\\\\\\", "xxx", "---")  # tells models apart where a page is printed grey
_LINES = ("-", "--", "-.", ":")
_MARKERS = ("o", "s", "^", "D", "v", "P")
_SMALL = "*"


class Picture(Figure):
    """A figure that a notebook shows by itself, whether or not it has turned pyplot's inline mode on.

    Names in it come from data: a dollar sign is a dollar sign and begins no formula, and a letter that the font lacks
    is said once.
    """

    _has_said = False  # that its font lacks a letter

    def draw(self, renderer: RendererBase) -> None:
        """Draw with every label as it is written, but for the numbers that matplotlib itself sets as formulas."""
        for text in self.findobj(Text):
            if "\\mathdefault" not in (words := text.get_text()):
                text.set_parse_math(False)
                if words != (shown := "\n".join(map(printable, words.split("\n")))):
                    text.set_text(shown)
        with warnings.catch_warnings(record=True) as caught:
            warnings.filterwarnings("always", "Glyph .* missing from", UserWarning)
            super().draw(renderer)
        for others in (each for each in caught if "missing from" not in str(each.message)):
            warnings.warn_explicit(others.message, others.category, others.filename, others.lineno)
        if not self._has_said and any("missing from" in str(each.message) for each in caught):
            self._has_said = True
            say("some letters of the figure are not in its font; install one that has them and set font.family")

    def _repr_png_(self) -> bytes:
        out = io.BytesIO()
        self.savefig(out, format="png", dpi=110)
        return out.getvalue()


def colour(number: int) -> tuple[float, float, float]:
    """Of the model with that number."""
    palette = sns.color_palette("colorblind")
    return palette[number % len(palette)]


def model_colours(n_models: int) -> list[str]:
    """The colours of the first models of every figure, as "#rrggbb"."""
    return [to_hex(colour(number)) for number in range(n_models)]


def hatch(number: int) -> str:
    """Of the model with that number."""
    return _HATCHES[number % len(_HATCHES)]


def ordered(frame: pd.DataFrame, models: Sequence[str]) -> list[str]:
    """`models`, whose colours are kept, then those of the frame that are not among them."""
    return list(dict.fromkeys([*models, *unlike(frame, "model")]))


def matrix(n_rows: int, n_columns: int) -> tuple[Figure, Any]:
    """A figure and its axes [rows, columns], which share their scales by row."""
    figure = Picture(figsize=(max(5.5, 2.7 * n_columns), 1.3 + 2.3 * n_rows), layout="constrained")
    with sns.axes_style("whitegrid", {"grid.color": "0.9", "axes.edgecolor": "0.6"}):
        return figure, figure.subplots(n_rows, n_columns, sharex=True, sharey="row", squeeze=False)


def line(axis: Axes, rows: pd.DataFrame, names: tuple[str, str], number: int) -> None:
    """A line of the two named columns within its band from low to high."""
    x, y, low, high = (rows[name].to_numpy(dtype=float) for name in (*names, "low", "high"))
    axis.fill_between(x, low, high, color=colour(number), alpha=0.18, linewidth=0)
    axis.plot(x, y, **_stroke(number), markersize=3.5, linewidth=1.6)


def line_key(number: int, label: str) -> Line2D:
    """What stands in a legend for such a line."""
    return Line2D([], [], **_stroke(number), markersize=4, label=label)


def legend(figure: Figure, handles: Sequence[Patch | Line2D]) -> None:
    """Above the panels, in as many lines as it needs."""
    widest_inches = 0.75 + 0.09 * max(len(str(each.get_label())) for each in handles)
    n_across = min(len(handles), max(1, int(figure.get_figwidth() / widest_inches)))
    figure.legend(handles=handles, loc="outside upper center", ncols=n_across, frameon=False)


def caption(figure: Figure, frame: pd.DataFrame, x_label: str, note: str) -> None:
    """Below the panels: what is along the axis, of which task, and how to read it."""
    first = f"{x_label}\n" if x_label else ""
    figure.supxlabel(f"{first}{', '.join(unlike(frame, 'task'))}; {note}{small_note(frame)}", fontsize=9, color="0.25")


def small_note(frame: pd.DataFrame) -> str:
    """What the mark of a small tag means, on a line of its own; nothing where there is none."""
    if not has_small(frame):
        return ""
    return f"\n{_SMALL} too small to rank models by: fewer than {FEW} examples or wider than ±{100 * WIDE:.0f} points"


def has_small(frame: pd.DataFrame) -> bool:
    """Whether a tag of the frame is too small to rank models by."""
    return "is_small" in frame and bool(frame["is_small"].any())


def titled(axis: Axes, title: str, y_label: str) -> None:
    """A panel's title and the label of its side."""
    axis.set_title(title, fontsize=10)
    axis.set_ylabel(y_label)
    axis.tick_params(labelsize=8)
    sns.despine(ax=axis, left=True)


def tag_labels(frame: pd.DataFrame) -> dict[tuple[str, str], str]:
    """(column, tag) to what stands under it: n where the models share it, and the mark of a small one."""
    n_of: dict[tuple[str, str], set[int]] = {}
    small: set[tuple[str, str]] = set()
    flags = frame["is_small"] if "is_small" in frame else [False] * len(frame)
    for column, tag, n, is_small in zip(frame["column"], frame["tag"], frame["n"], flags, strict=True):
        n_of.setdefault((column, tag), set()).add(n)
        small |= {(column, tag)} if is_small else set()
    return {key: _tag_label(key[1] + (_SMALL if key in small else ""), n) for key, n in n_of.items()}


def by_model(frame: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Each model's rows."""
    return [(model, where(frame, "model", model)) for model in unlike(frame, "model")]


def tagged(frame: pd.DataFrame, column: str, tag: str) -> pd.DataFrame:
    """The rows of one tag of one column."""
    return where(where(frame, "column", column), "tag", tag)


def where(frame: pd.DataFrame, column: str, value: str) -> pd.DataFrame:
    """The rows with that value."""
    return frame.iloc[np.flatnonzero(frame[column] == value)]


def unlike(frame: pd.DataFrame, column: str) -> list[str]:
    """The values of a column, each once, in the frame's order."""
    return list(dict.fromkeys(frame[column].astype(str)))


def _tag_label(tag: str, n: set[int]) -> str:
    return f"{tag}\n(n = {min(n)})" if len(n) == 1 else tag


def _stroke(number: int) -> Mapping[str, Any]:
    n_lines, n_markers = len(_LINES), len(_MARKERS)
    return {"color": colour(number), "linestyle": _LINES[number % n_lines], "marker": _MARKERS[number % n_markers]}
