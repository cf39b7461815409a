"""Stored runs as one HTML file that needs nothing else: to read, to keep, to send to somebody.

It answers in this order: who wins and is it real; where; why, example by example; how it was measured. What cannot be
shown is said in its place. Templates are escaped by Jinja2; a content security policy lets nothing run but its script.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from compbench.core import disk
from compbench.core.errors import UsageError
from compbench.core.examples import Image
from compbench.core.printable import printable
from compbench.core.rules import Rule
from compbench.store import provenance
from compbench.store.run import Run
from compbench_analysis.figures.plots import model_colours
from compbench_analysis.frames import all_pairs, tables
from compbench_analysis.frames.breakdowns import By, breakdown
from compbench_analysis.frames.compare import Comparison, compare
from compbench_analysis.frames.results import small_columns
from compbench_analysis.report import _charts, _draws, _matrix, _method, _pairs, _ranking, _scores
from compbench_analysis.report._cells import Table
from compbench_analysis.report._examples import Shown, browser
from compbench_analysis.report._sections import Section, sections
from compbench_analysis.report._thumbnails import Album, album
from compbench_analysis.text.render import count

__all__ = ["Look", "render", "rendered", "write"]

_GATED = (
    "This data is gated: its licence forbids sharing it, so its pictures and captions are left out. "
    "Use --images to include them, and do not share such a page."
)
_OPENED = (
    "This data is gated and its licence forbids sharing it, but this page contains its pictures and captions: "
    "do not pass it on."
)


@dataclass(frozen=True, slots=True)
class Look:
    """The settings by which runs are shown."""

    by: By = None  # tag columns, or a Breakdown; none: "tag" for scores and tests, all columns for the breakdown
    rule: Rule | None = None
    with_images: bool | None = None  # pictures and captions; None: unless the data is gated
    n_resamples: int = 9999  # of the margin test
    pictures: Mapping[tuple[str, str], Mapping[str, Sequence[Image]]] = field(
        default_factory=dict[tuple[str, str], Mapping[str, Sequence[Image]]]
    )  # (task, revision) -> example id -> images, for the tasks at hand
    notes: Mapping[str, str] = field(default_factory=dict[str, str])  # task -> why its pictures are not at hand


def write(runs: Run | Iterable[Run], output: Path | str, look: Look = Look()) -> Path:
    """Write the page of `runs` to `output`, whole or not at all; UsageError where there is nothing to show."""
    path = disk.expanded(output)
    content = render(runs, look).encode("utf-8", errors="replace")
    with disk.writing(path.parent, "--output FILE"):
        disk.output(path, content)
    return path


def render(runs: Run | Iterable[Run], look: Look = Look(), *, home: str = "") -> str:
    """The page as text; `home` is the address of the site that it is part of."""
    given = list(runs) if isinstance(runs, Iterable) else [runs]
    made, unreadable = sections(given, look.rule)
    if not made:
        what = "; ".join(unreadable) or "none was given"
        raise UsageError(f"no run can be shown: {what}")
    return rendered(
        "page.html.j2",
        title=", ".join(dict.fromkeys(section.name for section in made)),
        sections=[_view(section, look) for section in made],
        unreadable=unreadable,
        home=home,
        colours=model_colours(max(len(section.runs) for section in made)),
        version=provenance.version(),
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def rendered(template: str, **shown: Any) -> str:
    """A template of this folder with the style sheet and the script that all pages have."""
    script = _template("report.js")
    return (
        _environment()
        .get_template(template)
        .render(
            **shown,
            script=Markup(script),  # our own file: nothing of a run is in it
            script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            style=Markup(_template("report.css")),
        )
    )


def _view(section: Section, look: Look) -> dict[str, Any]:
    """All that the template shows of one task."""
    by = look.by if breakdown(look.by).names else None
    frame = tables.tidy(section.runs, by, look.rule)
    pairs, why_not = _pairs_of(section, look)
    comparison = _comparison(section, look) if pairs is not None and len(section.runs) == 2 else None
    ranked = _ranking.ranking(frame, section, pairs)
    shown = _shown(section, look)
    drawn = [_charts.by_draws(section, by), _charts.by_timestep(section, by), _charts.by_rule(section)]
    squares, too_many = _squares(pairs, section, ranked) if pairs is not None and comparison is None else ([], "")
    return {
        "section": section,
        "measured": _measured(section),
        "notes": section.notes(),
        "sentences": _ranking.sentences(frame, section, pairs, why_not),
        "ranking": ranked,
        "methods": _scores.methods(frame),
        "seeds": _scores.seeds_table(section, by),
        "published": _scores.published_table(section),
        "draws": _draws.draws(section, by),
        "pair": _pairs.pair_view(comparison, section) if comparison else None,
        "squares": squares,
        "too_many": too_many,
        "why_no_pairs": why_not,
        "tested": _pairs.tested(comparison) if comparison else _matrix.TESTED if squares else [],
        "breakdown": _scores.breakdown(
            tables.tidy(section.runs, by or small_columns(section.runs[0]), look.rule), section
        ),
        "charts": _charts.without_repeats([*drawn, _charts.margin_chart(section)]),
        "browser": browser(section, shown, by),
        "shown": shown,
        "runs": _method.run_views(section),
        "description": section.described.description.strip(),
        "bibtex": _method.bibtex(section),
        "is_gated": section.described.is_gated,
    }


def _measured(section: Section) -> str:
    """The number of measured examples, out of how many."""
    counts, n_all = sorted({section.n_done(run) for run in section.runs}), section.n_examples
    if counts == [n_all]:
        return f"{count(n_all)} examples measured"
    return f"{' to '.join(map(count, counts[:: max(1, len(counts) - 1)]))} of {count(n_all)} examples measured"


def _pairs_of(section: Section, look: Look) -> tuple[pd.DataFrame | None, str]:
    """Every pair of models tested, or why not."""
    if len(section.runs) < 2:
        return None, "A test needs two or more runs of this task."
    try:
        return all_pairs.all_pairs(section.runs, look.by, look.rule, n_resamples=look.n_resamples), ""
    except UsageError as error:
        return None, section.without_paths(str(error))


def _comparison(section: Section, look: Look) -> Comparison:
    """Two models in full."""
    return compare(section.runs, look.by, look.rule, n_resamples=look.n_resamples)


def _squares(pairs: pd.DataFrame, section: Section, ranked: Table | None) -> tuple[list[_scores.Chosen], str]:
    order = section.labels if ranked is None else [row[1].text for row in ranked.rows if row[1].text in section.labels]
    order = [label for label in order if label in all_pairs.tested(pairs)]
    return _matrix.squares(pairs, section, order)


def _shown(section: Section, look: Look) -> Shown:
    """Pictures and captions, as far as the licence and what is at hand allow."""
    is_gated = section.described.is_gated
    is_wanted = look.with_images if look.with_images is not None else not is_gated
    if not is_wanted:
        return Shown({}, Album((), (), {}), has_captions=not is_gated, why_not=_GATED if is_gated else "")
    measured = {example_id for run in section.runs for example_id in run.done((look.rule or run.rule).draws)}
    at_hand = look.pictures.get((section.name, section.runs[0].key.task_revision), {})
    pictures = {example_id: images for example_id, images in at_hand.items() if example_id in measured}
    made = album(image for images in pictures.values() for image in images)
    why_not = [
        _OPENED if is_gated else "",
        "" if at_hand else look.notes.get(section.name, "No pictures are available locally."),
    ]
    return Shown(pictures, made, why_not=" ".join([*filter(None, why_not), *made.notes]))


def _environment() -> jinja2.Environment:
    loader = jinja2.PackageLoader("compbench_analysis.report")
    return jinja2.Environment(
        loader=loader,
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_written_out,
    )


def _written_out(value: object) -> object:
    """Text from data with control characters written out, which HTML forbids; its lines and our own markup stay."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return "\n".join(map(printable, value.split("\n")))


@cache
def _template(name: str) -> str:
    text = (resources.files("compbench_analysis.report") / "templates" / name).read_text(encoding="utf-8")
    return text.replace("\r\n", "\n")
