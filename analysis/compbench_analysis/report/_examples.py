"""The browser of all examples, as data: what its script shows one page of at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from compbench.core.aliases import Floats
from compbench.core.errors import UsageError
from compbench.core.examples import Image
from compbench.core.metrics import named
from compbench.store.run import Run
from compbench_analysis.frames import tables
from compbench_analysis.frames.breakdowns import By
from compbench_analysis.frames.margins import margins
from compbench_analysis.report._explanations import explanations
from compbench_analysis.report._sections import Section
from compbench_analysis.report._thumbnails import Album
from compbench_analysis.text.format import metric_heading

__all__ = ["Shown", "browser"]

Pictures = Mapping[str, Sequence[Image]]  # example id -> its images
_MOST_CAPTIONS = 8  # more of them, as in classification, and only those that matter to an example are shown
_BEST_SHOWN = 4


@dataclass(frozen=True, slots=True)
class Shown:
    """The part of a task's data that is shown: the pictures that are at hand, and the captions."""

    pictures: Pictures
    album: Album
    has_captions: bool = True
    why_not: str = ""  # what the page says where something is left out


def browser(section: Section, shown: Shown, by: By = None) -> dict[str, Any]:
    """JSON for the script of the page; names are short, since there may be many thousand examples.

    Each example: id, c captions (rows of `captions`), k their numbers, p pictures (rows of `pictures`), n image names,
    m matches [I][C], t tags by column, r results by model, x heat maps. A result: s scores [I][C], o outcomes by
    metric (1 right, 0 wrong, -1 tied), d margins by metric (value, standard error, chance to flip).
    """
    examples = section.runs[0].examples()
    columns = _own_columns(examples, section, by)
    results = [_results(run, section) for run in section.runs]
    maps = explanations(section.runs, section.labels) if shown.has_captions else {}
    distinct: dict[str, int] = {}
    rows: list[dict[str, Any]] = []
    for example in examples.to_dict("records"):
        own = [result.get(example["id"]) for result in results]
        if not any(own):
            continue
        kept = _kept_captions(example["matches"], [result["s"] for result in own if result])
        numbers = [distinct.setdefault(example["captions"][c], len(distinct)) for c in kept]
        rows.append(
            {
                "id": str(example["id"]),
                "c": numbers if shown.has_captions else [-1 for _ in numbers],
                "k": kept,
                "p": _places(example, shown),
                "n": list(example["image_names"]),
                "m": example["matches"][:, kept].astype(int).tolist(),
                "t": [column.get(str(example["id"]), []) for column in columns.values()],
                "r": [result and {**result, "s": _rounded(result["s"][:, kept])} for result in own],
                "x": maps.get(str(example["id"]), []),
            }
        )
    return {
        "task": section.key,
        "models": list(section.labels),
        "metrics": (metrics := _judged(results)),
        "headings": [metric_heading(name) for name in metrics],
        "columns": list(columns),
        "captions": list(distinct) if shown.has_captions else [],
        "pictures": list(shown.album.uris),
        "sizes": [list(size) for size in shown.album.sizes],
        "examples": rows,
    }


def _own_columns(examples: pd.DataFrame, section: Section, by: By) -> dict[str, dict[str, list[str]]]:
    """Column -> example id -> tags, of the task and of the breakdown asked for."""
    columns: dict[str, dict[str, list[str]]] = {}
    for example_id, tags in zip(examples["id"], examples["tags"], strict=True):
        for name, values in tags.items():
            columns.setdefault(name, {})[str(example_id)] = list(values)
    known = set(columns)
    for name, tag, ids in tables.tag_groups(section.runs[0].task_examples, by, section.described.order_of()):
        for member in ids if name and name not in known else ():
            columns.setdefault(name, {}).setdefault(member, []).append(tag)
    return columns


def _known(section: Section) -> list[str]:
    return [metric.name for metric in named(section.described.metrics, unconditional=True)]


def _judged(results: Sequence[Mapping[str, Mapping[str, Any]]]) -> list[str]:
    """The metrics that say something of some example."""
    return list(dict.fromkeys(name for result in results for found in result.values() for name in found["o"]))


def _results(run: Run, section: Section) -> dict[str, dict[str, Any]]:
    """Example id -> scores (still an array), outcomes and margins."""
    if not section.n_done(run):
        return {}
    frame = run.to_frame(section.rule, with_posteriors=False).set_index("id")
    scores = {
        example_id: table.scores[row]
        for table in run.tables(section.rule).values()
        for row, example_id in enumerate(table.ids)
    }
    names = [name for name in _known(section) if name in frame]
    outcomes = {name: _outcomes(frame, name) for name in names}
    with_margin = [name for name in names if f"{name}_margin" in frame]
    columns = {name: frame[f"{name}_margin"].to_numpy(dtype=float) for name in with_margin}
    deviations = _deviations(run, section)
    found: dict[str, dict[str, Any]] = {}
    for row, example_id in enumerate(map(str, frame.index)):
        found[example_id] = {
            "s": scores[example_id],
            "o": {name: outcomes[name][row] for name in names if outcomes[name][row] is not None},
            "d": {
                name: [_short(columns[name][row]), *_spread(columns[name][row], deviations.get((example_id, name)))]
                for name in with_margin
                if np.isfinite(columns[name][row])
            },
        }
    return found


def _outcomes(frame: pd.DataFrame, metric: str) -> list[int | None]:
    """1 right, 0 wrong, -1 wrong only because of a tie, None where the metric does not apply."""
    return [
        None if pd.isna(right) else 1 if right else -1 if tie else 0
        for right, tie in zip(frame[metric], frame[f"{metric}_tie"], strict=True)
    ]


def _deviations(run: Run, section: Section) -> dict[tuple[str, str], tuple[float, float, float]]:
    """(example id, metric) -> margin, its standard error and the chance that it flips, where errors are stored."""
    try:
        frame = margins(run, section.rule)
    except UsageError:  # the section on timesteps says why
        return {}
    columns = (frame[name] for name in ("id", "metric", "margin", "se", "p_flip"))
    return {
        (str(example_id), metric): (margin, se, flip)
        for example_id, metric, margin, se, flip in zip(*columns, strict=True)
    }


def _spread(margin: float, found: tuple[float, float, float] | None) -> tuple[float | None, float | None]:
    """Standard error and chance to flip, where they are of this very margin: one may be normalised, the other not."""
    if found is None or not np.isclose(found[0], margin, rtol=1e-6, atol=1e-12):
        return None, None
    return _short(found[1]), _short(found[2])


def _kept_captions(matches: np.ndarray, scores: Sequence[Floats]) -> list[int]:
    """All captions where they are few, else the true ones and each model's best, best first."""
    n_captions = matches.shape[1]
    if n_captions <= _MOST_CAPTIONS:
        return list(range(n_captions))
    true = np.flatnonzero(matches.any(0)).tolist()
    best = [c for score in scores for c in np.argsort(-score.max(0), kind="stable")[:_BEST_SHOWN].tolist()]
    return list(dict.fromkeys([*true[:_BEST_SHOWN], *best]))


def _places(example: Mapping[str, Any], shown: Shown) -> list[int]:
    images = shown.pictures.get(str(example["id"]), ())
    return [shown.album.place.get(image, -1) for image in images] or [-1 for _ in example["image_names"]]


def _rounded(scores: Floats) -> list[list[float | None]]:
    return [[_short(score) for score in row] for row in scores.tolist()]


def _short(value: float) -> float | None:
    """Six digits are more than anybody reads."""
    return float(f"{value:.6g}") if np.isfinite(value) else None
