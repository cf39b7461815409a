"""The scores of one task as one small table: every metric side by side, the best of each cell marked.

Several metrics stand across, tags and models down. A single metric has models down and tags across, or tags down and
models across where tags are many. Intervals stand in brackets where these fit, else as ± their farther end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from compbench_analysis.frames import tables
from compbench_analysis.frames.leaders import Standings
from compbench_analysis.text._fitted import natural_width
from compbench_analysis.text.format import MISSING, farther_end, metric_heading, percent, percent_aligned
from compbench_analysis.text.render import Grid

__all__ = ["AT_RANDOM", "BEST", "Interval", "Row", "Scores", "score_grid"]

AT_RANDOM = "random scores"  # a row that no model called chance can be mistaken for
BEST = "*"
_MOST_TAGS_ACROSS = 5
Row = Mapping[str, Any]
Interval = Literal["brackets", "farther end"]
_INTERVALS: tuple[Interval, ...] = ("brackets", "farther end")
Cell = tuple[str, bool]  # what it says, and whether it is among the best


@dataclass(frozen=True)
class Scores:
    """The rows of one task by tag, model and metric, and which of them are the best of their cell."""

    cells: Mapping[tuple[str, str, str], Row]
    tags: tuple[str, ...]  # all examples first
    models: tuple[str, ...]
    metrics: tuple[str, ...]
    best: frozenset[tuple[str, str, str]]
    mark: str = BEST  # "" where the best stand in bold

    @classmethod
    def of(cls, rows: Sequence[Row], found: Standings, mark: str = BEST) -> Scores:
        """The table of rows of `_score_tables.named`, in their order."""
        level = {(row["column"], row["tag"], row["model"], row["metric"]) for row in found.rows if row["is_level"]}
        cells = {(str(row["tag"]), str(row["model"]), str(row["metric"])): row for row in rows}
        tags, models, metrics = (tuple(dict.fromkeys(key[n] for key in cells)) for n in range(3))
        return cls(
            cells=cells,
            tags=tuple(sorted(tags, key=lambda tag: tag != tables.OVERALL)),
            models=models,
            metrics=metrics,
            best=frozenset(key for key, row in cells.items() if row["key"] in level),
            mark=mark,
        )

    @property
    def is_one_n(self) -> bool:
        """Whether the models measured equally many examples of each tag."""
        return all(len({row["n"] for row in self.of_tag(tag)}) <= 1 for tag in self.tags)

    def of_tag(self, tag: str) -> list[Row]:
        """All rows of a tag; a published one tells no n."""
        return [row for key, row in self.cells.items() if key[0] == tag and row["n"] is not None]

    def sizes(self, tag: str, model: str) -> str:
        """The number of examples, or of each metric's in their order where these differ: '6 / 4 / 2'."""
        rows = [row for metric in self.metrics if (row := self.cells.get((tag, model, metric))) is not None]
        sizes = [int(row["n"]) for row in rows if row["n"] is not None]
        return " / ".join(f"{n:,}" for n in (sizes if len(set(sizes)) > 1 else sizes[:1]))

    def tag_name(self, tag: str) -> str:
        """'Object (134)', marked where it is too small to rank models by."""
        rows = self.of_tag(tag)
        sizes = {int(row["n"]) for row in rows}
        n = f" ({min(sizes):,})" if len(sizes) == 1 else ""
        return f"{tag}{n}" + (tables.SMALL if any(row["is_small"] for row in rows) else "")

    def model_name(self, model: str) -> str:
        """The model, marked where its examples are too few to rank it by: for a table without tags."""
        is_small = any(row["is_small"] for key, row in self.cells.items() if key[1] == model)
        return model + (tables.SMALL if is_small else "")

    def chances(self, tag: str) -> dict[str, float | None]:
        """The score of random scores, by metric."""
        found: dict[str, float | None] = {}
        for row in self.of_tag(tag):
            if row["chance"] is not None:
                found[row["metric"]] = row["chance"]
        return found

    @property
    def is_one_chance(self) -> bool:
        """Whether random scores get the same under every tag."""
        known = [self.chances(tag) for tag in self.tags]
        shown = [{name: percent(value) for name, value in chances.items()} for chances in known]
        return all(chances == shown[0] for chances in shown)

    def cell(self, tag: str, model: str, metric: str, interval: Interval) -> Cell:
        """A score with its interval, or with the standard deviation over seeds."""
        row = self.cells.get((tag, model, metric))
        if row is None:
            return "", False
        value, low, high, sd = row["value"], row["low"], row["high"], row.get("sd")
        if value is None:
            score = f"{MISSING:>5}"
        elif sd is not None:
            score = f"{percent_aligned(value)} (sd {percent(sd)})"
        elif low is None:
            score = percent_aligned(value)
        elif interval == "brackets":
            score = percent_aligned(value, low, high)
        else:
            score = f"{percent_aligned(value)} ±{farther_end(value, low, high)}"
        is_best = (tag, model, metric) in self.best
        return score + (self.mark if is_best else ""), is_best


def score_grid(scores: Scores, title: str, n_columns: int) -> tuple[Grid, Interval]:
    """The table in the first layout that fits, and how its intervals stand; in the last where none does."""
    layouts = [_metrics_across]
    if len(scores.metrics) == 1 and len(scores.tags) > 1 and scores.is_one_n:
        layouts = [*([_models_down] if len(scores.tags) <= _MOST_TAGS_ACROSS else []), _tags_down, _metrics_across]
    for layout in layouts:
        for interval in _INTERVALS:
            grid = layout(scores, title, interval)
            if natural_width(grid) <= n_columns:
                return grid, interval
    return _metrics_across(scores, title, _INTERVALS[-1]), _INTERVALS[-1]


def _metrics_across(scores: Scores, title: str, interval: Interval) -> Grid:
    """Tags and models down; n has a column of its own where models differ in it."""
    has_tags, has_n = len(scores.tags) > 1, not scores.is_one_n
    names = [*(["tag (n)"] if has_tags else []), "model", *(["n"] if has_n else [])]
    header = (*names, *(f"{metric_heading(metric)}, %" for metric in scores.metrics))
    body: list[list[Cell]] = []
    for tag in scores.tags:
        shown_tag = scores.tag_name(tag)
        for model in scores.models:
            if not any((tag, model, metric) in scores.cells for metric in scores.metrics):
                continue
            lead = [shown_tag, model] if has_tags else [scores.model_name(model)]
            lead += [scores.sizes(tag, model)] if has_n else []
            cells = [scores.cell(tag, model, metric, interval) for metric in scores.metrics]
            body.append([*((text, False) for text in lead), *cells])
            shown_tag = ""
        if not scores.is_one_chance:
            body += _at_random(scores, tag, has_tags=has_tags, has_n=has_n)
    if scores.is_one_chance:
        body += _at_random(scores, scores.tags[0], has_tags=has_tags, has_n=has_n, is_whole=True)
    align = "l" * (len(names) - has_n) + "r" * has_n + "l" * len(scores.metrics)
    return _grid(header, body, title, align, len(names) - has_n)


def _at_random(
    scores: Scores, tag: str, *, has_tags: bool, has_n: bool, is_whole: bool = False
) -> Iterator[list[Cell]]:
    known = scores.chances(tag)
    if known:
        lead = [*([AT_RANDOM if is_whole else ""] if has_tags else []), *([] if has_tags and is_whole else [AT_RANDOM])]
        lead += [""] * (has_tags + 1 + has_n - len(lead))
        values = [percent_aligned(known[metric]) if metric in known else "" for metric in scores.metrics]
        yield [(text, False) for text in (*lead, *values)]


def _models_down(scores: Scores, title: str, interval: Interval) -> Grid:
    (metric,) = scores.metrics
    header = (f"{metric_heading(metric)}, %", *map(scores.tag_name, scores.tags))
    body = [
        [(model, False), *(scores.cell(tag, model, metric, interval) for tag in scores.tags)] for model in scores.models
    ]
    if any(scores.chances(tag) for tag in scores.tags):
        chances = [percent_aligned(scores.chances(tag).get(metric)) for tag in scores.tags]
        body.append([(text, False) for text in (AT_RANDOM, *chances)])
    return _grid(header, body, title, "l" * len(header), 1)


def _tags_down(scores: Scores, title: str, interval: Interval) -> Grid:
    (metric,) = scores.metrics
    has_chances = not scores.is_one_chance
    header = (f"{metric_heading(metric)}, %", *scores.models, *(["at random"] if has_chances else []))
    body = [
        [
            (scores.tag_name(tag), False),
            *(scores.cell(tag, model, metric, interval) for model in scores.models),
            *([(percent_aligned(scores.chances(tag).get(metric)), False)] if has_chances else []),
        ]
        for tag in scores.tags
    ]
    chance = scores.chances(scores.tags[0]).get(metric)
    if not has_chances and chance is not None:
        body.append([(AT_RANDOM, False), *[(percent_aligned(chance), False)] * len(scores.models)])
    return _grid(header, body, title, "l" * len(header), 1)


def _grid(header: Sequence[str], body: Sequence[Sequence[Cell]], title: str, align: str, n_names: int) -> Grid:
    rows = tuple(tuple(text for text, _ in row) for row in body)
    strong = frozenset((y, x) for y, row in enumerate(body) for x, (_, is_best) in enumerate(row) if is_best)
    return Grid(tuple(header), rows, title, align=align, n_names=n_names, strong=strong)
