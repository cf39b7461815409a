"""The style of figures: a colour, hatch, line and marker for each model, safe for colour blindness and grey paper."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text

from compbench.core.errors import UsageError
from compbench.core.printable import printable, say
from compbench_analysis.frames.tables import FEW, SMALL, WIDE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.backend_bases import RendererBase

__all__ = [
    "CHANCE_LINE",
    "GREY",
    "Models",
    "Palette",
    "Panels",
    "Picture",
    "by_model",
    "colour",
    "footer",
    "grid",
    "has_small",
    "hatch",
    "legend",
    "line",
    "model_colours",
    "panels",
    "small_note",
    "tag_labels",
    "tagged",
    "titled",
    "unlike",
    "where",
]

Colour = tuple[float, float, float]
Palette = str | Sequence[Any] | Mapping[str, Any] | None

GREY = "0.25"
CHANCE_LINE: dict[str, Any] = {"color": GREY, "linestyle": (0, (4, 2)), "linewidth": 1.2}
_HATCHES = ("", "///", "...", "\\\\\\", "xxx", "---")  # tells models apart where a page is printed grey
_LINES = ("-", "--", "-.", ":")
_MARKERS = ("o", "s", "^", "D", "v", "P")


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
        for others in (warning for warning in caught if "missing from" not in str(warning.message)):
            warnings.warn_explicit(others.message, others.category, others.filename, others.lineno)
        if not self._has_said and any("missing from" in str(warning.message) for warning in caught):
            self._has_said = True
            say("some letters of the figure are not in its font; install one that has them and set font.family")

    def _repr_png_(self) -> bytes:
        out = io.BytesIO()
        self.savefig(out, format="png", dpi=110)
        return out.getvalue()


def colour(number: int) -> tuple[float, float, float]:
    """The style of the model with that number."""
    palette = sns.color_palette("colorblind")
    return palette[number % len(palette)]


def model_colours(n_models: int) -> list[str]:
    """The colours of the first models of every figure, as "#rrggbb"."""
    return [to_hex(colour(number)) for number in range(n_models)]


def hatch(number: int) -> str:
    """The style of the model with that number."""
    return _HATCHES[number % len(_HATCHES)]


@dataclass(frozen=True)
class Models:
    """The models of a figure in their order, each with a colour, a hatch, a line and a marker of its own."""

    names: tuple[str, ...]
    palette: tuple[Colour, ...]  # one for each name, in turn
    shown: tuple[str, ...]  # those that the frame holds, in the order of the names
    partial: frozenset[str]

    @classmethod
    def of(cls, frame: pd.DataFrame, order: Sequence[str] = (), palette: Palette = None) -> Models:
        """`order`, then those of the frame that are not in it; `palette` is what seaborn takes, or colours by model."""
        names = tuple(dict.fromkeys([*order, *unlike(frame, "model")]))
        if isinstance(palette, Mapping):
            if lacking := [name for name in names if name not in palette]:
                raise UsageError(f"the palette has no colour for {lacking[0]!r}; expected one for each of {names}")
            colours = [palette[name] for name in names]
        else:
            chosen = "colorblind" if palette is None else palette
            colours = sns.color_palette(chosen if isinstance(chosen, str) else list(chosen))
        held = set(unlike(frame, "model"))
        partial = frozenset(frame["model"][frame["is_partial"]]) if "is_partial" in frame else frozenset()
        return cls(names, tuple(map(to_rgb, colours)), tuple(name for name in names if name in held), partial)

    def colour(self, model: str) -> Colour:
        """The colour of a model, wherever the figure shows it."""
        return self.palette[self.names.index(model) % len(self.palette)]

    def hatch(self, model: str) -> str:
        """The hatch that tells the model's bars apart in grey print."""
        return hatch(self.names.index(model))

    def stroke(self, model: str) -> dict[str, Any]:
        """The colour, the dashes and the marker of its line."""
        number = self.names.index(model)
        dashes, marker = _LINES[number % len(_LINES)], _MARKERS[number % len(_MARKERS)]
        return {"color": self.colour(model), "linestyle": dashes, "marker": marker}

    def label(self, model: str) -> str:
        """Its name, which says where not all examples are measured."""
        return f"{model} (partial)" if model in self.partial else model

    def patches(self) -> list[Patch]:
        """Bars for a legend."""
        return [
            Patch(facecolor=self.colour(name), hatch=self.hatch(name), edgecolor="white", label=self.label(name))
            for name in self.shown
        ]

    def lines(self) -> list[Line2D]:
        """Lines for a legend."""
        return [Line2D([], [], **self.stroke(name), markersize=4, label=self.label(name)) for name in self.shown]


@dataclass(frozen=True)
class Panels:
    """The axes of a figure [rows, columns]: of its own, or the one that was given."""

    figure: Figure | SubFigure
    axes: Any
    is_own: bool

    def finish(self, handles: Sequence[Patch | Line2D], x_label: str = "", note: str = "") -> Axes | Figure | SubFigure:
        """Set the legend, the label of the axis and the footer, where there is one; what the function returns."""
        if not self.is_own:
            axis: Axes = self.axes[0, 0]
            axis.tick_params(labelsize=8)  # of one size, whichever functions drew the panels of a figure
            if x_label:
                axis.set_xlabel(x_label)
            if handles:
                above: dict[str, Any] = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0)}  # where no data are
                axis.legend(handles=list(handles), ncols=min(3, len(handles)), frameon=False, fontsize=8, **above)
            return axis
        if handles:
            legend(self.figure, handles)
        if x_label or note:
            words = "\n".join(filter(None, (x_label, note)))
            self.figure.supxlabel(words, fontsize=9, color="0.25")
        return self.figure


def panels(ax: Axes | None, shape: tuple[int, int], size: tuple[float, float], what: str, **shared: Any) -> Panels:
    """Axes of this shape in a new figure of this size; of one panel in `ax` where it is given."""
    if ax is None:
        figure = Picture(figsize=size, layout="constrained")
        with sns.axes_style("whitegrid", {"grid.color": "0.9", "axes.edgecolor": "0.6"}):
            return Panels(figure, figure.subplots(*shape, squeeze=False, **shared), is_own=True)
    if shape != (1, 1):
        raise UsageError(f"ax= takes one panel, but this frame has {shape[0] * shape[1]}: choose one {what} of it")
    return Panels(ax.figure, np.array([[ax]], dtype=object), is_own=False)


def grid(ax: Axes | None, n_rows: int, n_columns: int, height: float | None = None) -> Panels:
    """Panels of metrics down and tags across, which share their scales by row."""
    size = (max(5.5, 2.7 * n_columns), height or 1.3 + 2.3 * n_rows)
    return panels(ax, (n_rows, n_columns), size, "metric and tag", sharex=True, sharey="row")


def line(axis: Axes, rows: pd.DataFrame, names: tuple[str, str], stroke: Mapping[str, Any]) -> None:
    """A line of the two named columns within its band from low to high."""
    x, y, low, high = (rows[name].to_numpy(dtype=float) for name in (*names, "low", "high"))
    axis.fill_between(x, low, high, color=stroke["color"], alpha=0.18, linewidth=0)
    axis.plot(x, y, **stroke, markersize=3.5, linewidth=1.6)


def legend(figure: Figure | SubFigure, handles: Sequence[Patch | Line2D]) -> None:
    """Above the panels, in as many lines of about the same length as it needs, read line by line."""
    widest_inches = 0.75 + 0.09 * max(len(str(handle.get_label())) for handle in handles)
    most_across = max(1, int(figure.bbox.width / figure.dpi / widest_inches))
    n_lines = math.ceil(len(handles) / most_across)
    n_across = math.ceil(len(handles) / n_lines)
    by_column = [handle for column in range(n_across) for handle in handles[column::n_across]]  # as matplotlib fills
    figure.legend(handles=by_column, loc="outside upper center", ncols=n_across, frameon=False)


def footer(frame: pd.DataFrame, note: str) -> str:
    """Below the panels: of which task, how to read it, and what the mark of a small tag means."""
    return f"{', '.join(unlike(frame, 'task'))}; {note}{small_note(frame)}"


def small_note(frame: pd.DataFrame) -> str:
    """The meaning of the small-tag mark, on a line of its own; empty where no tag is small."""
    if not has_small(frame):
        return ""
    return f"\n{SMALL} too small to rank models: fewer than {FEW} examples or wider than ±{100 * WIDE:.0f} points"


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
    return {key: _tag_label(key[1] + (SMALL if key in small else ""), n) for key, n in n_of.items()}


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
