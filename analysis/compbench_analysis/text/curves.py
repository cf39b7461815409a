"""What stored errors tell as text or as a picture: scores against draws and timesteps, and under every scoring rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from compbench.core.errors import UsageError
from compbench_analysis.frames import curves, tables
from compbench_analysis.frames.breakdowns import By
from compbench_analysis.frames.pivot import pivot
from compbench_analysis.frames.weightings import Window
from compbench_analysis.text import _score_tables
from compbench_analysis.text.format import MISSING, percent_aligned
from compbench_analysis.text.render import Grid, records, render

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from compbench.store.run import Run

__all__ = ["PICTURES", "VIEWS", "Asked", "picture", "to_text", "window"]

VIEWS = ("draws", "timesteps", "differences", "rules")
PICTURES = (".png", ".pdf", ".svg", ".jpg", ".jpeg", ".webp")
Row = Mapping[str, Any]
_N_BINS = 10


@dataclass(frozen=True)
class Asked:
    """By which tags, and for which windows of timesteps (none: thirds of the draws)."""

    by: By = None
    windows: tuple[Window, ...] = ()


def to_text(runs: Sequence[Run], views: Sequence[str] = VIEWS, asked: Asked | None = None, style: str = "table") -> str:
    """The views in one of render.FORMATS; csv and json are the rows of their frames, each with its `view`."""
    asked = asked or Asked()
    frames = {view: _frame(runs, view, asked) for view in views}
    if style in ("csv", "json"):
        rows = ({"view": view, **row} for view, frame in frames.items() for row in tables.plain_rows(frame))
        return records(rows, style)
    return render([grid for view, frame in frames.items() for grid in _grids(view, frame)], style)


def picture(runs: Sequence[Run], view: str, asked: Asked | None = None) -> Figure:
    """One view as a figure."""
    from compbench_analysis.figures import plots

    draw: dict[str, Callable[[pd.DataFrame], Figure]] = {
        "draws": plots.accuracy_by_draws,
        "timesteps": plots.accuracy_by_timestep,
        "differences": plots.difference_by_timestep,
        "rules": plots.accuracy_by_rule,
    }
    return draw[view](_frame(runs, view, asked or Asked()))


def window(text: str) -> Window:
    """First and last timestep.

    >>> window("0-333")
    (0.0, 333.0)
    """
    first, _, last = text.partition("-")
    try:
        return float(first), float(last)
    except ValueError:
        raise UsageError(f"{text!r} is not a window of timesteps; expected two numbers such as 0-333") from None


def _frame(runs: Sequence[Run], view: str, asked: Asked) -> pd.DataFrame:
    if view == "draws":
        return curves.by_draws(runs, asked.by)
    if view == "rules":
        return curves.by_rule(runs, asked.by, windows=asked.windows or None)
    n_bins = min(_N_BINS, *(max(1, run.rule.draws or run.n_common_draws()) for run in runs))
    read = curves.by_timestep if view == "timesteps" else curves.differences
    return read(runs, asked.by, n_bins=n_bins)


def _grids(view: str, frame: pd.DataFrame) -> list[Grid]:
    """A grid for each model and, but for differences, each metric: tags across."""
    title, notes, named, cell = _LOOKS[view]
    rows = _score_tables.named(tables.plain_rows(frame))
    parts = list(dict.fromkeys((row["model"], row.get("metric")) for row in rows))
    grids = [Grid((), (), title=title, notes=notes)]
    for model, metric in parts:
        its = [row for row in rows if (row["model"], row.get("metric")) == (model, metric)]
        grids.append(_grid(f"{model}, {metric} score, %" if metric else model, its, named, cell))
    if view == "rules":
        sources = {row["rule"]: row["source"] for row in rows}
        notes = tuple(f"{rule}: {source}" for rule, source in sources.items())
        grids.append(Grid((), (), title="Where the rules are from", notes=notes))
    return grids


def _grid(title: str, rows: Sequence[Row], named: Callable[[Row], str], cell: Callable[[Row], str]) -> Grid:
    sizes = {_tag(row): row["n"] for row in rows}
    table = pivot(rows, named, _tag, cell)
    header = (title, *(f"{tag} ({n})" for tag, n in sizes.items()))
    lines = zip(table.down, table.lines("", across=list(sizes)), strict=True)
    return Grid(header, tuple((name, *line) for name, line in lines))


def _tag(row: Row) -> str:
    return row["tag"]


def _draws(row: Row) -> str:
    return f"{row['n_draws']} draws"


def _bin(row: Row) -> str:
    return f"t {row['first']:g}–{row['last']:g} ({row['n_draws']} draws)"


def _rule(row: Row) -> str:
    return f"{row['rule']} ({row['n_draws']} draws)"


def _percent(row: Row) -> str:
    return percent_aligned(row["value"], row["low"], row["high"])


def _difference(row: Row) -> str:
    if row["difference"] is None:
        return MISSING
    if row["low"] is None:
        return f"{row['difference']:+.5f}"
    return f"{row['difference']:+.5f} [{row['low']:+.5f}, {row['high']:+.5f}]"


_LOOKS: dict[str, tuple[str, tuple[str, ...], Callable[[Row], str], Callable[[Row], str]]] = {
    "draws": (
        "Score against the number of draws: the bank's first draws [95 % of balanced random subsets of as many]",
        ("The last interval closes because there is nothing left to choose; what other draws would change: show.",),
        _draws,
        _percent,
    ),
    "timesteps": ("Score from one stretch of timesteps alone [95 % interval over examples]", (), _bin, _percent),
    "differences": (
        "Error of wrong pairs minus that of right ones, same pictures and noise [95 % interval over examples]",
        ("Above 0 the stretch of timesteps speaks for the right pairs.",),
        _bin,
        _difference,
    ),
    "rules": ("Score under each scoring rule [95 % interval over examples]", (), _rule, _percent),
}
