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
from markupsafe import Markup

from compbench.core import disk
from compbench.core.errors import UsageError
from compbench.core.examples import Image
from compbench.core.printable import printable
from compbench.core.rules import Rule
from compbench.store import provenance
from compbench.store.run import Run
from compbench_analysis.figures.plots import model_colours
from compbench_analysis.frames import curves, tables
from compbench_analysis.frames.breakdowns import By, breakdown
from compbench_analysis.frames.compare import Comparison, compare
from compbench_analysis.report import _charts, _method, _pairs, _scores
from compbench_analysis.report._cells import Cell, Heading, Table, named
from compbench_analysis.report._examples import Shown, browser
from compbench_analysis.report._sections import Section, sections
from compbench_analysis.report._thumbnails import Album, album
from compbench_analysis.text.show import cost, too_few_draws

__all__ = ["Look", "render", "write"]

_MOST_TAGS = 80  # of a column that is broken down; beyond, the browser's search is the better way
_GATED = (
    "This data is gated: its licence does not allow passing it on, so its pictures and captions are left out. "
    "Give --images to put them in, and keep such a page to yourself."
)
_OPENED = "This data is gated, and this page holds its pictures and captions: its licence does not allow passing it on."


@dataclass(frozen=True, slots=True)
class Look:
    """How runs are shown."""

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


def render(runs: Run | Iterable[Run], look: Look = Look()) -> str:
    """The page as text."""
    given = list(runs) if isinstance(runs, Iterable) else [runs]
    made, unreadable = sections(given, look.rule)
    if not made:
        what = "; ".join(unreadable) or "none was given"
        raise UsageError(f"no run can be shown: {what}")
    views = [_view(section, look) for section in made]
    script, style = _template("report.js"), _template("report.css")
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            title=", ".join(dict.fromkeys(section.name for section in made)),
            sections=views,
            unreadable=unreadable,
            colours=model_colours(max(len(section.runs) for section in made)),
            version=provenance.version(),
            made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            script=Markup(script),  # our own file: nothing of a run is in it
            script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            style=Markup(style),
        )
    )


def _view(section: Section, look: Look) -> dict[str, Any]:
    """All that the template shows of one task."""
    by = look.by if breakdown(look.by).names else None
    frame = tables.tidy(section.runs, by, look.rule)
    comparison, why_not = _comparison(section, look)
    shown = _shown(section, look)
    drawn = [_charts.by_draws(section, by), _charts.by_timestep(section, by), _charts.by_rule(section)]
    *curved, margins = _charts.without_repeats([*drawn, _charts.margin_chart(section)])
    return {
        "section": section,
        "notes": section.notes(),
        "sentences": _scores.sentences(frame, section, comparison),
        "score_tables": _scores.score_tables(frame, section),
        "methods": _scores.methods(frame),
        "seeds": _scores.seeds_table(section, by),
        "ties": _scores.ties_table(frame, section),
        "published": _scores.published_table(section),
        "draws": _draws(section, by),
        "pairs": _pairs.pair_views(comparison, section) if comparison else [],
        "why_no_pairs": why_not,
        "tested": _pairs.tested(comparison) if comparison else [],
        "bars": _charts.bars(frame, section),
        "breakdown": _scores.breakdown(tables.tidy(section.runs, by or _columns(section), look.rule), section),
        "charts": curved,
        "margins": margins,
        "browser": browser(section, shown, by),
        "shown": shown,
        "runs": _method.run_views(section),
        "description": section.described.description.strip(),
        "bibtex": _method.bibtex(section),
        "is_gated": section.described.is_gated,
        "cost": [cost(run) for run in section.runs],
    }


def _comparison(section: Section, look: Look) -> tuple[Comparison | None, str]:
    """The paired tests, or why there are none."""
    if len(section.runs) < 2:
        return None, "One run has nothing to be tested against; name two or more runs of this task."
    try:
        found = compare(section.runs, look.by, look.rule, n_resamples=look.n_resamples)
    except UsageError as error:
        return None, section.without_paths(str(error))
    return found, ""


def _draws(section: Section, by: By) -> Table | None:
    """How far the scores would move under other draws, for the runs that store their errors."""
    rows: list[tuple[Any, ...]] = []
    names: list[str] = []
    too_few: list[str] = []
    for number, (run, label) in enumerate(zip(section.runs, section.labels, strict=True)):
        try:
            n_draws, n_units, is_unsure = curves.enough_draws(run, section.rule)
            frame = (tables.tidy if is_unsure and n_units > 1 else curves.monte_carlo)(run, by, section.rule)
        except UsageError:  # the charts say why
            continue
        overall = [row for row in tables.plain_rows(frame) if row["tag"] == tables.OVERALL]
        names = _scores.metrics_of(overall)
        too_few += [too_few_draws(run, n_draws, n_units)] if is_unsure else []
        spreads = (None if is_unsure else _scores.spread(row) for row in overall)
        rows.append((named(label, colour=number), *(each or Cell("–") for each in spreads)))
    if not rows:
        return None
    return Table(
        (Heading("model", is_number=False), *(Heading(name, "±, points") for name in names)),
        tuple(rows),
        "What other draws would change",
        (
            "One standard deviation of the score over resamples of the draws. Where all examples share their draws, "
            "this does not shrink with more examples, and the intervals above are of the examples alone.",
            *too_few,
        ),
    )


def _columns(section: Section) -> list[str]:
    """The tag columns that are worth a table."""
    values: dict[str, set[str]] = {}
    for tags in section.runs[0].examples()["tags"]:
        for name, its in tags.items():
            values.setdefault(name, set()).update(its)
    return [name for name, its in values.items() if 0 < len(its) <= _MOST_TAGS]


def _shown(section: Section, look: Look) -> Shown:
    """Pictures and captions, as far as the licence and what is at hand allow."""
    is_gated = section.described.is_gated
    is_wanted = look.with_images if look.with_images is not None else not is_gated
    if not is_wanted:
        return Shown({}, Album((), (), {}), has_captions=not is_gated, why_not=_GATED if is_gated else "")
    measured = {each for run in section.runs for each in run.done((look.rule or run.rule).draws)}
    at_hand = look.pictures.get((section.name, section.runs[0].key.task_revision), {})
    pictures = {each: images for each, images in at_hand.items() if each in measured}
    made = album(image for images in pictures.values() for image in images)
    why_not = [_OPENED if is_gated else "", "" if at_hand else look.notes.get(section.name, "No pictures are at hand.")]
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
