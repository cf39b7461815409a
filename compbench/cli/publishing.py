"""Commands that put a folder of runs into the world: site and results."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from compbench.cli import flags
from compbench.cli._output import write_file
from compbench.cli._references import found, read
from compbench.core.errors import UsageError
from compbench.core.printable import say

if TYPE_CHECKING:
    from compbench.store.run import Run

__all__ = ["results", "site"]

_SUFFIXES = (".parquet", ".csv")


@click.command(short_help="Write a static site with a leaderboard and a page per task.")
@click.argument("references", nargs=-1, metavar="[RUN...]")
@flags.written("The folder of the site.", "DIR")
@flags.runs
@flags.read
@flags.image_limits
@click.option(
    "--show-images/--no-images",
    "with_images",
    default=None,
    help="Show images and captions; default: yes, unless the data is gated.",
)
def site(
    references: Sequence[str],
    output: Path,
    runs: Path | None,
    options: Sequence[str],
    limit: int | None,
    with_images: bool | None,
) -> None:
    """Write a static site of the named runs, or of all: a leaderboard, a page per task, every number as CSV.

    RUN is a folder, task/model (its latest whole run), task/model/digest, a task (all its models), or a digest's first
    letters. Any host that serves files can serve the folder.

    \b
    compbench site --output site
    """
    from compbench.cli.report import site as write_site

    written = write_site(_chosen(references, runs, options, limit), output, with_images=with_images, say=say)
    say(f"{len(written)} files written to {output}; begin at {written[0]}")


@click.command(short_help="Write the scores of all runs as one table.")
@click.argument("references", nargs=-1, metavar="[RUN...]")
@flags.written(".parquet or .csv")
@flags.runs
@flags.read
def results(
    references: Sequence[str], output: Path, runs: Path | None, options: Sequence[str], limit: int | None
) -> None:
    """Write the scores of all runs, or of those named, as one tidy table: a row per run, tag and metric.

    The table also says how each was measured; it contains no captions or pictures. RUN is a folder, task/model
    (its latest whole run), task/model/digest, a task (all its models), or a digest's first letters.

    \b
    compbench results --output results.parquet
    """
    if output.suffix not in _SUFFIXES:
        raise UsageError(f"cannot write results to {str(output)!r}; expected a name that ends in .parquet or .csv")
    from compbench.store import as_cells
    from compbench_analysis.frames.results import results as table

    frame, content = table(_chosen(references, runs, options, limit)), io.BytesIO()
    if output.suffix == ".parquet":
        frame.to_parquet(content)
    else:
        as_cells(frame).to_csv(content, index=False, encoding="utf-8")
    write_file(output, content.getvalue())
    say(f"{len(frame):,} rows of {frame['run'].nunique()} runs written to {output}")


def _chosen(references: Sequence[str], root: Path | None, options: Sequence[str], limit: int | None) -> list[Run]:
    """The runs named, or all that are stored."""
    if references:
        return found(references, root, options, limit)
    from compbench.store.store import Store

    store = Store(root)
    stored = store.runs()
    if not stored:
        raise UsageError(
            f"no runs in {str(store.root)!r}; measure some with compbench run, or name a folder with --runs"
        )
    return read(stored, options, limit)
