"""The command that reads a user's own set before any model does: check."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from compbench.cli import flags
from compbench.cli._exit_codes import DONE, FAILED
from compbench.cli._output import print_result
from compbench.core.printable import say
from compbench_analysis.text.render import Grid, count, records, render

if TYPE_CHECKING:
    from compbench.tasks.matching.manifest import Inspection

__all__ = ["check"]

_MOST_TAGS = 5  # of a column


@click.command(short_help="Check a folder of your own pictures and captions.")
@click.argument("place", type=flags.PATH, metavar="FOLDER")
@flags.image_limits
@flags.printed
def check(place: Path, style: str, output: Path | None) -> int:
    """Read a folder with metadata.jsonl, .csv or .parquet and print what it contains, or every fault with its line.

    Columns: image, caption, foil; or image_0, image_1, caption_0, caption_1; or images, captions, matches. Every other
    column except id and group is a tag. Only the headers of pictures are read.

    \b
    compbench check ./my-set
    """
    from compbench.registry.task_names import on_lost_letters, slug
    from compbench.tasks.matching.manifest import inspect, outside

    found = inspect(place)
    if found.problems:
        print_result(_problems(found, style), output)
        return FAILED
    n_outside = outside(found)
    print_result(render([Grid(("what", "found"), tuple(_facts(found)), align="lw")], style), output)
    for note in (*on_lost_letters(place, slug(found.file)), *found.notes):
        say(note)
    if n_outside:
        say(f"{n_outside:,} of {len(found.files):,} pictures are links that lead out of {str(found.file.parent)!r}")
    return DONE


def _problems(found: Inspection, style: str) -> str:
    from compbench.tasks.matching.manifest import merged

    unit = found.problems[0].unit
    if style in ("csv", "json"):
        rows = (
            {"file": str(found.file), unit: fault.line, "column": fault.column, "problem": fault.problem}
            for fault in found.problems
        )
        return records(rows, style)
    rows = tuple(
        ("" if fault.line is None else str(fault.line), fault.column, fault.problem)
        for fault, _ in merged(found.problems)
    )
    n_more = found.n_problems - len(found.problems)
    what = "1 problem" if found.n_problems == 1 else f"{count(found.n_problems)} problems"
    notes = (f"... and {count(n_more)} more",) if n_more else ()
    return render([Grid((unit, "column", "problem"), rows, f"{found.file}: {what}", notes, "rlw")], style)


def _facts(found: Inspection) -> Iterable[tuple[str, str]]:
    from compbench.registry.task_names import slug

    yield "task", slug(found.file)
    yield "examples", count(len(found.examples))
    yield "pictures x captions", ", ".join(f"{i}x{c} ({count(n)})" for (i, c), n in sorted(found.shapes.items()))
    formats = ", ".join(f"{name} ({count(n)})" for name, n in found.formats.items())
    yield "pictures", f"{count(len(found.files))}: {formats}, {_sizes(found.sizes)}"
    lengths = [len(caption.split()) for example in found.examples for caption in example.captions]
    words = str(min(lengths)) if min(lengths) == max(lengths) else f"{min(lengths)} to {max(lengths)}"
    yield "captions", f"{count(len(lengths))}, of {words} words"
    for column, tags in found.tags.items():
        yield f"tag {column}", _tags(tags)
    if n_groups := len({example.group for example in found.examples if example.group}):
        yield "groups", count(n_groups)


def _sizes(sizes: Iterable[tuple[int, int]]) -> str:
    least, most = (f"{width}x{height}" for width, height in (pick(sizes, key=_area) for pick in (min, max)))
    return f"{least} pixels" if least == most else f"{least} to {most} pixels"


def _area(size: tuple[int, int]) -> int:
    return size[0] * size[1]


def _tags(counted: Mapping[str, int]) -> str:
    common = sorted(counted.items(), key=lambda pair: -pair[1])
    more = [f"and {count(len(common) - _MOST_TAGS)} more"] if len(common) > _MOST_TAGS else []
    return ", ".join([*(f"{tag} ({count(n)})" for tag, n in common[:_MOST_TAGS]), *more])
