"""Stored errors as text or as a figure: scores against draws and timesteps, and under every scoring rule."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from compbench.core.errors import UsageError
from compbench.core.printable import screen_width
from compbench_analysis.frames import curves, tables
from compbench_analysis.frames.breakdowns import By, breakdown
from compbench_analysis.frames.leaders import headline
from compbench_analysis.frames.pivot import pivot
from compbench_analysis.frames.weightings import Window
from compbench_analysis.text import _score_tables
from compbench_analysis.text._fitted import natural_width
from compbench_analysis.text._look import too_few_draws
from compbench_analysis.text.format import MISSING, farther_end, metric_heading, metric_words, percent, percent_aligned
from compbench_analysis.text.render import Grid, records, render

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from compbench.store.run import Run

__all__ = ["VIEWS", "Asked", "picture", "to_text", "window"]

VIEWS = ("draws", "timesteps", "differences", "rules")
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Asked:
    """The tags and the windows of timesteps asked for (none: thirds of the draws)."""

    by: By = None
    windows: tuple[Window, ...] = ()


def to_text(
    runs: Sequence[Run],
    views: Sequence[str] = VIEWS,
    asked: Asked | None = None,
    style: str = "table",
    *,
    full: bool = False,
    n_columns: int | None = None,
) -> str:
    """The views in one of render.FORMATS; csv and json are the rows of their frames, each with its `view`.

    Over all examples, every metric side by side; with tags that are asked for, or `full`, a block for each metric.
    """
    asked = asked or Asked()
    frames = {view: _frame(runs, view, asked) for view in views}
    if style in ("csv", "json"):
        rows = ({"view": view, **row} for view, frame in frames.items() for row in tables.plain_rows(frame))
        return records(rows, style)
    lead = [Grid((), (), notes=tuple(_last_doubling(frames["draws"])))] if "draws" in frames else []
    closing = tuple(_closing(runs)) if "draws" in frames else ()
    look = _Look(full or bool(breakdown(asked.by).names), full, n_columns or screen_width(), closing)
    return render([*lead, *(grid for view, frame in frames.items() for grid in _grids(view, frame, look))], style)


def picture(runs: Sequence[Run], view: str, asked: Asked | None = None) -> Figure:
    """A view as a figure."""
    from compbench_analysis.figures import plots

    draw: dict[str, Callable[..., Figure]] = {
        "draws": plots.accuracy_by_draws,
        "timesteps": plots.accuracy_by_timestep,
        "differences": plots.difference_by_timestep,
        "rules": plots.accuracy_by_rule,
    }
    return draw[view](_frame(runs, view, asked or Asked()), footer=True)


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
    n_bins = min(curves.n_bins_of(run) for run in runs)
    read = curves.by_timestep if view == "timesteps" else curves.differences
    return read(runs, asked.by, n_bins=n_bins)


@dataclass(frozen=True)
class _Look:
    has_tags: bool
    has_sources: bool
    n_columns: int
    closing: tuple[str, ...]  # notes on the last of the draws


def _last_doubling(frame: pd.DataFrame) -> Iterator[str]:
    """A line for each model on how much the last draws still changed."""
    rows = [row for row in tables.plain_rows(frame) if row["tag"] == tables.OVERALL]
    for model in dict.fromkeys(str(row["model"]) for row in rows):
        its = [row for row in rows if row["model"] == model]
        metric = headline(list(dict.fromkeys(str(row["metric"]) for row in its)))
        *_, last = of_metric = [row for row in its if row["metric"] == metric]
        scores = f"{metric_words(metric)} {percent(last['value'])} with all {_n_draws(last)}"
        before = next((row for row in reversed(of_metric) if 2 * row["n_draws"] <= last["n_draws"]), None)
        if before is not None:
            scores += f", {percent(before['value'])} with the first {before['n_draws']}"
        yield f"{model}: {scores}."


def _closing(runs: Sequence[Run]) -> Iterator[str]:
    """Why the last interval is a point, and where to find the spread over other draws, if it is known."""
    told = "The last interval has no width because all draws are used"
    few = [(run, n_draws, n_units) for run in runs for n_draws, n_units, is_few in [curves.enough_draws(run)] if is_few]
    yield told + ("." if len(few) == len(runs) else "; show --full gives the spread over other draws.")
    yield from (too_few_draws(*counts) for counts in few)


def _grids(view: str, frame: pd.DataFrame, look: _Look) -> list[Grid]:
    """The grids of one view, below a line that says what they are."""
    title, notes, named, cell = _LOOKS[view]
    rows = _score_tables.named([_by_one_name(row) for row in tables.plain_rows(frame) if _is_new(row)])
    made = list(_by_tag(rows, named, cell) if look.has_tags else _by_metric(rows, named, cell, look.n_columns))
    grids = [Grid((), (), title=title, notes=look.closing if view == "draws" else notes), *made]
    if view == "rules" and look.has_sources:
        sources = {row["rule"]: row["source"] for row in rows}
        grids.append(
            Grid((), (), title="Sources of the rules", notes=tuple(f"{k}: {said}" for k, said in sources.items()))
        )
    return grids


def _is_new(row: Row) -> bool:
    """False for the rule of the network's own target, which is the native one under another name."""
    return "rule" not in row or row["rule"] != row["target"]


def _by_one_name(row: Row) -> Row:
    return {**row, "rule": f"native ({row['target']})"} if row.get("rule") == "native" else row


def _by_tag(rows: Sequence[Row], named: Callable[[Row], str], cell: Callable[[Row], str]) -> Iterator[Grid]:
    """A grid for each model and, but for differences, each metric: tags across."""
    for model, metric in dict.fromkeys((row["model"], row.get("metric")) for row in rows):
        its = [row for row in rows if (row["model"], row.get("metric")) == (model, metric)]
        sizes = {_tag(row): row["n"] for row in its}
        across = {tag: f"{tag} ({n})" for tag, n in sizes.items()}
        yield _grid(f"{model}, {metric_words(metric)}, %" if metric else model, its, named, _tag, cell, across)


def _by_metric(
    rows: Sequence[Row], named: Callable[[Row], str], cell: Callable[[Row], str], n_columns: int
) -> Iterator[Grid]:
    """A grid for each model, over all examples: metrics across, intervals as ± where brackets do not fit."""
    overall = [row for row in rows if row["tag"] == tables.OVERALL]
    for model in dict.fromkeys(str(row["model"]) for row in overall):
        its = [row for row in overall if row["model"] == model]
        metrics = dict.fromkeys(row.get("metric") for row in its)
        across = {name: f"{metric_heading(name)}, %" if name else "difference" for name in metrics}
        grid = _grid(f"{model} ({its[0]['n']})", its, named, lambda row: row.get("metric"), cell, across)
        if cell is _percent and natural_width(grid) > n_columns:
            yield _grid(grid.header[0], its, named, lambda row: row.get("metric"), _farther, across)
        else:
            yield grid


def _grid(
    title: str,
    rows: Sequence[Row],
    named: Callable[[Row], str],
    across: Callable[[Row], Any],
    cell: Callable[[Row], str],
    names: Mapping[Any, str],
) -> Grid:
    table = pivot(rows, named, across, cell)
    lines = zip(table.down, table.lines("", across=list(names)), strict=True)
    return Grid((title, *names.values()), tuple((name, *line) for name, line in lines))


def _tag(row: Row) -> str:
    return row["tag"]


def _n_draws(row: Row) -> str:
    return "1 draw" if row["n_draws"] == 1 else f"{row['n_draws']} draws"


def _bin(row: Row) -> str:
    last = "" if row["first"] == row["last"] else f"–{row['last']:g}"
    return f"t {row['first']:g}{last} ({_n_draws(row)})"


def _rule(row: Row) -> str:
    return f"{row['rule']} ({_n_draws(row)})"


def _percent(row: Row) -> str:
    return percent_aligned(row["value"], row["low"], row["high"])


def _spread(row: Row) -> str:
    """The value with what random subsets of as many draws give, which need not lie around the value."""
    return _percent(row)


def _farther(row: Row) -> str:
    end = "" if row["low"] is None else f" ±{farther_end(row['value'], row['low'], row['high'])}"
    return f"{percent_aligned(row['value'])}{end}"


def _difference(row: Row) -> str:
    if row["difference"] is None:
        return MISSING
    if row["low"] is None:
        return f"{row['difference']:+.5f}"
    return f"{row['difference']:+.5f} [{row['low']:+.5f}, {row['high']:+.5f}]"


_LOOKS: dict[str, tuple[str, tuple[str, ...], Callable[[Row], str], Callable[[Row], str]]] = {
    "draws": (
        "Score against the number of draws: the bank's first draws [95 % of balanced random subsets of as many]",
        (),
        _n_draws,
        _spread,
    ),
    "timesteps": ("Score from one range of timesteps alone [95 % interval over examples]", (), _bin, _percent),
    "differences": (
        "Error of wrong pairs minus that of right ones, same pictures and noise [95 % interval over examples]",
        ("Above 0 the timesteps favour the right pairs.",),
        _bin,
        _difference,
    ),
    "rules": ("Score under each scoring rule [95 % interval over examples]", (), _rule, _percent),
}
