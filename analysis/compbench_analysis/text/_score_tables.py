"""The rows of one task as small grids of strings: a block for each metric, models by tags."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from compbench_analysis.frames.pivot import Pivot, pivot
from compbench_analysis.frames.tables import CHANCE, FEW, SMALL, WIDE
from compbench_analysis.text.format import MISSING, metric_heading, metric_words, percent, percent_aligned, spread
from compbench_analysis.text.render import Grid

__all__ = ["DRAWS", "few", "grids", "named"]

DRAWS = "±draws"
Row = Mapping[str, Any]
_MOST_TAGS_ACROSS = 5  # more tags than this go down the side, models across the top


def grids(rows: Sequence[Row]) -> list[Grid]:
    """A block for each metric of the plain rows of one task: models down, tags across, or turned when tags are many.

    Where all models measured the same examples n stands beside the tag; otherwise in a block of its own. A tag with a
    small cell is marked. With `draws_se` (curves.monte_carlo) a column ±draws stands beside the overall score, and a
    block of all of them below.
    """
    rows = named(rows)
    if not rows:
        return []
    metrics = list(dict.fromkeys(str(row["metric"]) for row in rows))
    names, is_one_n = _tag_names(rows)
    titles = {metric: f"{metric_words(metric)}, %" for metric in metrics}
    width = max(map(len, titles.values()))  # the blocks line up
    blocks = [
        _block(title.ljust(width), [row for row in rows if row["metric"] == metric], names)
        for metric, title in titles.items()
    ]
    with_se = [row for row in rows if _has_se(row)]
    if with_se and len(names) > 1:
        draws = pivot(with_se, _model_and_metric, _tag, lambda row: spread(row["draws_se"]))
        blocks.append(_turned(f"{DRAWS}, points", names, draws))
    if is_one_n:
        return blocks
    counts = pivot((row for row in rows if row["metric"] == metrics[0]), _model, _tag, _n)
    return [*blocks, _turned("n", names, counts)]


def few(rows: Iterable[Row]) -> list[str]:
    """The meaning of the small-cell mark, and what one example of the smallest tags is worth."""
    sizes = {(int(row["n"]), row["tag"]) for row in rows if row["is_small"] and row["n"]}
    if not sizes:
        return []
    worth = ", ".join(f"{100 / n:.1f} points of {tag} ({n})" for n, tag in sorted(sizes)[:3])
    return [
        f"{SMALL} too small to rank models: fewer than {FEW} examples, or an interval wider than "
        f"±{100 * WIDE:.0f} points.",
        f"  1 example is {worth}.",
    ]


def named(rows: Sequence[Row]) -> list[Row]:
    """Rows whose model says that it is partial, and whose tag names its column where two columns share it.

    Each keeps under `key` the column, tag, model and metric that it had.
    """
    columns: dict[str, set[str]] = {}
    for row in rows:
        columns.setdefault(row["tag"], set()).add(row["column"])
    return [
        {
            **row,
            "model": f"{row['model']} (partial)" if row["is_partial"] else row["model"],
            "tag": f"{row['column']}: {row['tag']}" if len(columns[row["tag"]]) > 1 else row["tag"],
            "key": (row["column"], row["tag"], row["model"], row.get("metric")),
        }
        for row in rows
    ]


def _tag_names(rows: Sequence[Row]) -> tuple[dict[str, str], bool]:
    """The heading of each tag, and whether n is part of it (it is where the models share it)."""
    n_of: dict[str, set[int]] = {}
    for row in rows:
        n_of.setdefault(row["tag"], set()).update(() if row["n"] is None else (int(row["n"]),))
    is_one_n = all(len(counts) <= 1 for counts in n_of.values())
    small = {row["tag"] for row in rows if row["is_small"]}
    names = {
        tag: (f"{tag} ({min(counts)})" if is_one_n and counts else tag) + (SMALL if tag in small else "")
        for tag, counts in n_of.items()
    }
    return names, is_one_n


def _block(title: str, rows: Sequence[Row], names: Mapping[str, str]) -> Grid:
    of_chance = [
        {**row, "model": CHANCE, "value": row["chance"], "low": None} for row in rows if row["chance"] is not None
    ]
    grid = _turned(title, names, pivot([*rows, *of_chance], _model, _tag, _cell))
    last = list(names)[-1]  # the whole set
    draws = {row["model"]: spread(row["draws_se"]) for row in rows if row["tag"] == last and _has_se(row)}
    if not draws or _is_turned(names):
        return grid
    return Grid((*grid.header, DRAWS), tuple((*row, draws.get(row[0], "")) for row in grid.rows))


def _turned(title: str, names: Mapping[str, str], table: Pivot[str, str, str]) -> Grid:
    """Models down and tags across, or the other way round when the tags are many."""
    if _is_turned(names):
        lines = zip(names.values(), table.turned().lines("", down=list(names)), strict=True)
        return Grid((title, *table.down), tuple((name, *line) for name, line in lines))
    lines = zip(table.down, table.lines("", across=list(names)), strict=True)
    return Grid((title, *names.values()), tuple((model, *line) for model, line in lines))


def _is_turned(names: Mapping[str, str]) -> bool:
    return len(names) > _MOST_TAGS_ACROSS


def _cell(row: Row) -> str:
    """Percent with its interval, or with its standard deviation over seeds, padded so that a column lines up."""
    if row["value"] is None:
        return percent_aligned(None)
    if row.get("sd") is not None and row["model"] != CHANCE:
        return f"{percent_aligned(row['value'])} ± {percent(row['sd'])}"
    return percent_aligned(row["value"], row["low"], row["high"])


def _n(row: Row) -> str:
    return MISSING if row["n"] is None else str(int(row["n"]))


def _model(row: Row) -> str:
    return row["model"]


def _model_and_metric(row: Row) -> str:
    return f"{row['model']}, {metric_heading(row['metric'])}"


def _tag(row: Row) -> str:
    return row["tag"]


def _has_se(row: Row) -> bool:
    return row.get("draws_se") is not None
