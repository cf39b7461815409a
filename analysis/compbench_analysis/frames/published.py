"""Scores that others have published, as rows that can stand beside a run's (published.csv: one line a number).

Each line holds the percentage as it was printed and the number of examples behind it; both give back the count, and
the count its interval. The examples themselves are not there, so nothing can be tested in pairs.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator, Mapping, Sequence
from importlib import resources
from typing import Any

from compbench.core.errors import UsageError
from compbench_analysis.frames import tables
from compbench_analysis.statistics.intervals import wilson

__all__ = ["NOTE", "count_of", "lines", "rows", "sources"]

NOTE = "Published rows have no examples behind them: their intervals are of counts, and no paired test is possible."
_MARK = "published"
_WHOLE = ("winoground", "sugarcrepe")  # tasks of which every tag was printed, and every example has one


def rows(task: str, columns: Collection[str] | None = None) -> list[dict[str, Any]]:
    """The published scores on a task like rows of tables.tidy, with `source` and `protocol`, overall scores summed.

    `columns` are the tag columns wanted (None: "tag"). UsageError for a task of which nothing is known.
    """
    known = [line for line in lines() if line["task"] == task]
    if not known:
        tasks = ", ".join(dict.fromkeys(line["task"] for line in lines()))
        raise UsageError(f"no published scores on {task!r}; there are some on {tasks}")
    wanted = [line for line in known if line["column"] in (columns or ["tag"])]
    by_tag = [_row(line, line["tag"], *_counted(line)) for line in wanted]
    return [*by_tag, *_overall(known)]


def lines() -> list[dict[str, str]]:
    """published.csv: task, model, source, protocol, column, tag, n, metric, percent as printed.

    The column is "" for the whole set.
    """
    text = (resources.files("compbench_analysis") / "published.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def count_of(percent: str, n: int) -> int:
    """The one number of right examples of n that is printed as `percent`; ValueError where there is none, or several.

    >>> count_of("27.0", 141), count_of("57.7", 26)
    (38, 15)
    """
    n_decimals = len(percent.partition(".")[2])
    counts = [count for count in range(n + 1) if f"{100 * count / n:.{n_decimals}f}" == percent]
    if len(counts) != 1:
        raise ValueError(f"{percent!r} % of {n} examples stands for {len(counts)} counts; expected one")
    return counts[0]


def sources(published: Collection[Mapping[str, Any]]) -> list[str]:
    """A line for each source: whose models, which protocol, where from."""
    models_of: dict[tuple[str, str], dict[str, None]] = {}
    for row in published:
        models_of.setdefault((row["source"], row["protocol"]), {})[row["model"].removesuffix(f" ({_MARK})")] = None
    return [f"{_listed(list(models))}: {source}; {protocol}" for (source, protocol), models in models_of.items()]


def _listed(models: Sequence[str]) -> str:
    return ", ".join(models) if len(models) < 5 else f"{models[0]} to {models[-1]} ({len(models)} models)"


def _overall(known: Collection[dict[str, str]]) -> Iterator[dict[str, Any]]:
    """The whole set as it was printed, or as the sum over the tags of "tag", where all of them were."""
    parts: dict[tuple[str, str, str], list[dict[str, str]]] = {}
    for line in known:
        if line["column"] == "":
            yield _row(line, tables.OVERALL, *_counted(line))
        elif line["column"] == "tag" and line["task"] in _WHOLE:
            parts.setdefault((line["model"], line["source"], line["metric"]), []).append(line)
    for its in parts.values():
        counts = [_counted(line) for line in its]
        summed = {**its[0], "column": ""}
        yield _row(summed, tables.OVERALL, sum(right for right, _ in counts), sum(n for _, n in counts))


def _counted(line: Mapping[str, str]) -> tuple[int, int]:
    n = int(line["n"])
    return count_of(line["percent"], n), n


def _row(line: Mapping[str, str], tag: str, n_right: int, n: int) -> dict[str, Any]:
    low, high = wilson(n_right, n)
    return {
        "task": line["task"],
        "model": f"{line['model']} ({_MARK})",
        "column": line["column"],
        "tag": tag,
        "metric": line["metric"],
        "n": n,
        "n_right": n_right,
        "value": n_right / n,
        "low": low,
        "high": high,
        "method": "wilson",
        "is_small": tables.is_small(n, low, high),
        "ties": None,
        "chance": None,
        "n_total": n,
        "is_partial": False,
        "run": "",
        "seeds": 1,
        "source": line["source"],
        "protocol": line["protocol"],
    }
