"""Scores that others have published, as rows that can stand beside a run's (published.csv: one line a number).

Each line holds the percentage as it was printed and the number of examples behind it; both give back the count, and
the count its interval. A number that several counts would give, or that is a mean over tags, has no interval. The
examples themselves are not there, so nothing can be tested in pairs.
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

NOTE = (
    "Published rows come without their examples: an interval is given only where the printed number fits exactly "
    "one count, and no paired test is possible."
)
_MARK = "published"
# tasks of which every tag was printed, and every example has one -> how many tags
_WHOLE = {"winoground": 3, "sugarcrepe": 7, "valse": 11, "mmvp-vlm+2x2": 9, "imagecode": 2}
_WITH_MACRO = ("sugarcrepe", "valse")  # whose papers print the plain mean of the tags too


def rows(task: str, columns: Collection[str] | None = None) -> list[dict[str, Any]]:
    """The published scores on a task like rows of tables.tidy, with `source` and `protocol`, overall scores summed.

    `columns` are the tag columns wanted (None: "tag"). UsageError for a task of which nothing is known.
    """
    known = [line for line in lines() if line["task"] == task]
    if not known:
        tasks = ", ".join(dict.fromkeys(line["task"] for line in lines()))
        raise UsageError(f"no published scores on {task!r}; there are some on {tasks}")
    wanted = [line for line in known if line["column"] in (columns or ["tag"])]
    by_tag = [_row(line, line["tag"]) for line in wanted]
    return [*by_tag, *_overall(known)]


def lines() -> list[dict[str, str]]:
    """published.csv: task, model, source, protocol, column, tag, n, metric, percent as printed.

    The column is "" for the whole set. n is "" where the number is not a share of examples, or nobody says of how many.
    """
    text = (resources.files("compbench_analysis") / "published.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def count_of(percent: str, n: int) -> int | None:
    """The number of right examples of n that is printed as `percent`; None where several are, ValueError where none is.

    >>> count_of("27.0", 141), count_of("57.7", 26), count_of("27", 400), count_of("13.3", 400), count_of("13.2", 400)
    (38, 15, None, 53, 53)
    """
    n_decimals = len(percent.partition(".")[2])
    near = round(float(percent) / 100 * n)
    reach = n // 100 + 2  # counts that one unit of the last place could be of, if no decimal was printed
    counts = [
        count
        for count in range(max(0, near - reach), min(n, near + reach) + 1)
        if abs(100 * count / n - float(percent))
        <= 0.5 / 10**n_decimals + 1e-9  # half is printed up by some, even by others
    ]
    if not counts:
        raise ValueError(f"{percent!r} % of {n} examples matches no count; expected one that does")
    return counts[0] if len(counts) == 1 else None


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
            yield _row(line, tables.OVERALL)
        elif line["column"] == "tag" and line["task"] in _WHOLE:
            parts.setdefault((line["model"], line["source"], line["metric"]), []).append(line)
    for of_model in parts.values():
        whole = {**of_model[0], "column": ""}
        rows = [_row(line, line["tag"]) for line in of_model]
        if len(rows) < _WHOLE[whole["task"]] or any(row["n_right"] is None for row in rows):
            continue  # a sum over some of the tags is not a score of the whole
        n = sum(row["n"] for row in rows)
        yield _made(whole, tables.OVERALL, n, sum(row["n_right"] for row in rows), None)
        if whole["task"] in _WITH_MACRO:
            mean = sum(row["value"] for row in rows) / len(rows)
            yield _made({**whole, "metric": "macro"}, tables.OVERALL, n, None, mean)


def _row(line: Mapping[str, str], tag: str) -> dict[str, Any]:
    n = int(line["n"]) if line["n"] else None
    n_right = None if n is None else count_of(line["percent"], n)
    return _made(line, tag, n, n_right, float(line["percent"]) / 100)


def _made(line: Mapping[str, str], tag: str, n: int | None, n_right: int | None, value: float | None) -> dict[str, Any]:
    """A row of a count, which has an interval, or of a bare value."""
    low = high = None
    if n is not None and n_right is not None:
        value, (low, high) = n_right / n, wilson(n_right, n)
    return {
        "task": line["task"],
        "model": f"{line['model']} ({_MARK})",
        "column": line["column"],
        "tag": tag,
        "metric": line["metric"],
        "n": n,
        "n_right": n_right,
        "value": value,
        "low": low,
        "high": high,
        "method": "" if low is None else "wilson",
        "is_small": n is not None and low is not None and high is not None and tables.is_small(n, low, high),
        "ties": None,
        "chance": None,
        "n_total": n,
        "is_partial": False,
        "run": "",
        "seeds": 1,
        "source": line["source"],
        "protocol": line["protocol"],
    }
