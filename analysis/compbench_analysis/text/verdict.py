"""A sentence on a table: who leads and whether that is significant, or how a single run compares with chance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from compbench_analysis.frames import tables
from compbench_analysis.frames.leaders import Standings, headline
from compbench_analysis.text.format import metric_words, p_in_words, percent, plain_points
from compbench_analysis.text.render import count

__all__ = ["verdict"]

Row = Mapping[str, Any]
_MOST_NAMED = 4  # models, with their scores


def verdict(rows: Sequence[Row], found: Standings, n_examples: int, *, is_corrected: bool | None = None) -> list[str]:
    """The verdict on the models of plain rows of a table, over all examples of their one task.

    `is_corrected`: whether the p of two models is corrected as well, and is said to be (None: that of three or more).
    No model is called the better one where they did not measure the same examples.
    """
    measured = [row for row in rows if row["tag"] == tables.OVERALL and row["value"] is not None]
    if not measured:
        return [f"None of {count(n_examples)} examples is measured yet."]
    metric = headline(list(dict.fromkeys(str(row["metric"]) for row in measured)))
    of_metric = [row for row in measured if row["metric"] == metric]
    if len(of_metric) == 1 and not found.reason:
        return [_alone(of_metric[0])]
    if found.reason:
        said = f"No winner is named: {found.reason}."
    else:
        stand = [row for row in found.rows if row["tag"] == tables.OVERALL and row["metric"] == metric]
        said = _between(stand, metric, is_corrected=len(stand) > 2 if is_corrected is None else is_corrected)
    return [said, *_not_compared(found.untested), *_not_above_chance(of_metric)]


def _alone(row: Row) -> str:
    what, chance = metric_words(row["metric"]), row["chance"]
    scores = f"{percent(row['value'], row['low'], row['high'])} %"
    if chance is None:
        return f"{row['model']} has {_with_article(what)} of {scores}."
    if row["low"] > chance:
        where = "above"
    elif row["high"] < chance:
        where = "below"
    else:
        where = "not distinguishable from"
    return f"{row['model']} is {where} random scores on {what}: {scores}; random scores get {percent(chance)}."


def _with_article(what: str) -> str:
    return f"{'an' if what[0] in 'aeio' else 'a'} {what}"


def _between(rows: Sequence[Row], metric: str, *, is_corrected: bool) -> str:
    ranked = sorted(rows, key=lambda row: -row["value"])
    level, behind = ([row for row in ranked if row["is_level"] is is_level] for is_level in (True, False))
    level = [row for row in rows if row in level] if len(level) == 2 else level  # two stand as they were named
    what = metric_words(metric)
    if len(level) == 1:
        return _leads(level[0], behind[0], what, n_models=len(rows), is_corrected=is_corrected)
    rest = _rest(behind)
    if len(level) == 2:
        said = f"{_names(level)} cannot be told apart on {what}: {_two(*level, is_corrected=is_corrected)}"
        return f"{said}{rest}."
    scores = _listed([f"{row['model']} {percent(row['value'])}" for row in level])
    if not behind:
        return f"None of the {len(level)} models is significantly below the best on {what}: {scores}."
    return f"{len(level)} models cannot be distinguished from the best on {what}: {scores}{rest}."


def _leads(leader: Row, second: Row, what: str, *, n_models: int, is_corrected: bool) -> str:
    tested = _two(leader, second, is_corrected=is_corrected)
    if n_models == 2:
        return f"{leader['model']} leads {second['model']} on {what}: {tested}."
    return f"{leader['model']} leads all {n_models} models on {what}, {second['model']} is next: {tested}."


def _two(one: Row, other: Row, *, is_corrected: bool) -> str:
    """'93.2 and 95.5, difference −2.3 [−5.4, 0.9], p = 0.2'."""
    is_first = one["p"] is None  # the leader, from which the other is told
    its = other if is_first else one
    sign = -1 if is_first else 1
    low, high = sorted((sign * its["low"], sign * its["high"]))
    between = f"{plain_points(sign * its['difference'])} [{plain_points(low)}, {plain_points(high)}]"
    p = p_in_words(its["p_holm"]) + (" after Holm" if is_corrected else "")
    return f"{percent(one['value'])} and {percent(other['value'])}, difference {between}, {p}"


def _rest(behind: Sequence[Row]) -> str:
    if not behind:
        return ""
    return f"; {behind[0]['model']} is behind" if len(behind) == 1 else f"; the other {len(behind)} are behind"


def _names(rows: Sequence[Row]) -> str:
    return " and ".join(row["model"] for row in rows)


def _listed(names: Sequence[str]) -> str:
    """'a, b and c'; of many the first, and how many more."""
    more = len(names) - _MOST_NAMED
    shown = [*names[:_MOST_NAMED], f"{more} more"] if more > 0 else names
    return " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1])))


def _not_compared(models: Sequence[str]) -> Iterator[str]:
    if models:
        is_not = "is not compared, since it lacks" if len(models) == 1 else "are not compared, since they lack"
        yield f"{_listed(models)} {is_not} examples that the others measured."


def _not_above_chance(rows: Sequence[Row]) -> Iterator[str]:
    """The models of several that random scores would equal."""
    weak = [row for row in rows if row["chance"] is not None and row["low"] <= row["chance"]]
    if not weak:
        return
    are = "is" if len(weak) == 1 else "are"
    yield f"{_listed([row['model'] for row in weak])} {are} not above random scores ({percent(weak[0]['chance'])})."
