"""Commands that measure or take in scores: run, reproduce, import."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from compbench.cli import _freed_memory, completing, flags
from compbench.cli._exit_codes import DONE, FAILED
from compbench.cli._output import print_result
from compbench.core import stages
from compbench.core.printable import say

if TYPE_CHECKING:
    from compbench.core.examples import Task
    from compbench.runs.grid import Failure
    from compbench.runs.grid_file import GridFile
    from compbench.runs.plan import Plan
    from compbench.store.run import Run

__all__ = ["import_", "reproduce", "run"]


@click.command(short_help="Score models on tasks and print the table.")
@click.argument("tasks", nargs=-1, metavar="TASK...", shell_complete=completing.tasks)
@flags.to_run
@click.option("--dry-run", is_flag=True, help="Print what would be done and what it would cost; measure nothing.")
@click.option("--quiet", "-q", is_flag=True, help="No progress and no notes.")
@flags.by
@flags.full
@flags.printed
def run(
    tasks: Sequence[str],
    models: Sequence[str],
    options: Sequence[str],
    grid: GridFile | None,
    dry_run: bool,
    quiet: bool,
    by: Sequence[str],
    is_full: bool,
    style: str,
    output: Path | None,
    **settings: Any,
) -> int:
    """Score models on tasks, store every measurement and print a table. Rerun the same command to resume.

    TASK is a name, or a folder of your own pictures and captions (see compbench check).

    \b
    compbench run shapes -m tiny-sd -m tiny-clip -m chance
    compbench run shapes -m tiny-sd -o draws=100 --limit 24
    compbench run ./my-set -m tiny-sd
    compbench run --config grid.toml
    """
    from compbench.cli import listing, progress
    from compbench.store.shards import shard_here

    shard = shard_here(settings["shard"])
    reporter = progress.for_stderr(is_quiet=quiet, shard=shard)
    with progress.shown(reporter):
        stages.tell("importing")
        from compbench.runs import grid as grids

        cells = grids.cells(tasks, models, options, settings, reporter.say, grid)
        stages.tell("reading the task" if len(cells) == 1 else "reading the tasks")
        if dry_run:
            plans, failures = grids.planned(cells, reporter)
            reporter.close()
            return _tell_plans(plans, failures, style, output)
        _freed_memory.keep()
        outcome = grids.measure(cells, reporter, lambda task: _check_tags(by, task))
        is_told = bool(outcome.runs) and outcome.is_told_here(shard)
        stages.tell("making the table")
        text = _results(outcome.runs, style, by, is_full=is_full) if is_told else ""
    if is_told:
        is_for_reading = style == "table" and output is None
        print_result(f"{text}\n\n{listing.where(outcome.runs, settings['runs'])}" if is_for_reading else text, output)
    elif outcome.runs and not outcome.failures and not quiet:
        say(f"shard {shard} is done; the rest belongs to the other shards")
    for failure in outcome.told():
        say(f"error: {failure}")
    return FAILED if outcome.failures else DONE


@click.command(short_help="Reproduce a table of the paper beside its published numbers.")
@click.argument("table", type=click.Choice(["table1", "table2", "table3"]))
@click.option(
    "--model",
    "-m",
    "models",
    multiple=True,
    metavar="MODEL",
    help="One of the table's models (repeatable); default: all.",
)
@click.option(
    "--task", "-t", "tasks", multiple=True, metavar="TASK", help="One of its data sets (repeatable); default: all."
)
@click.option(
    "--option",
    "-o",
    "options",
    multiple=True,
    metavar="[MODEL.]K=V",
    help="An option of a model, such as -o sd2.schedule=racing (repeatable).",
)
@click.option(
    "--data",
    "data",
    multiple=True,
    metavar="[TASK=]DIR",
    help="A folder with one folder per task, or the folder of one task (repeatable).",
)
@flags.limit
@flags.images_per_class
@flags.device
@flags.runs
@flags.image_limits
@flags.offline
@click.option("--dry-run", is_flag=True, help="Print what each cell would cost, where that is known.")
@click.option("--quiet", "-q", is_flag=True, help="No progress and no notes.")
@flags.printed
def reproduce(
    table: str,
    models: Sequence[str],
    tasks: Sequence[str],
    options: Sequence[str],
    dry_run: bool,
    quiet: bool,
    style: str,
    output: Path | None,
    data: Sequence[str],
    **settings: Any,
) -> int:
    """Run a table of Li et al. (ICCV 2023) and print the paper's numbers beside ours, with intervals and differences.

    By default each row is measured on a seeded subset that fits in a night on one GPU, or on all images where that
    is cheap. A cell that cannot be run says why.

    \b
    compbench reproduce table2
    compbench reproduce table1 --task cifar10 --model clip-rn50 --data ~/data
    """
    from compbench.cli import progress
    from compbench.cli import reproduce as paper
    from compbench_analysis.text.paper import to_text

    reporter = progress.for_stderr(is_quiet=quiet)
    root, folders = paper.data_folders(data)
    with progress.shown(reporter):
        stages.tell("importing")
        asked = paper.asked_for(table, models, tasks, options, settings, reporter, paper.DataFolders(root, folders))
        if dry_run:
            plans, failures = paper.planned(asked, reporter)
            reporter.close()
            return _tell_plans(plans, failures, style, output)
        _freed_memory.keep()
        outcome, reasons = paper.reproduce(asked, reporter)
    print_result(to_text(table, outcome.runs, style, reasons), output)
    return FAILED if outcome.failures else DONE


def _tell_plans(plans: Sequence[Plan], failures: Sequence[Failure], style: str, output: Path | None) -> int:
    from compbench.cli import listing

    print_result(listing.plans(plans, style), output)
    for failure in failures:
        say(f"error: {failure}")
    return FAILED if failures else DONE


@click.command("import", short_help="Store scores from a model that was run elsewhere.")
@click.argument("path", type=flags.PATH)
@click.option(
    "--task", required=True, metavar="TASK", shell_complete=completing.tasks, help="The task that was scored."
)
@click.option("--as", "name", required=True, metavar="NAME", help="The name to give the model.")
@flags.data
@flags.images
@flags.runs
@flags.offline
@flags.by
@flags.printed
def import_(path: Path, by: Sequence[str], style: str, output: Path | None, **settings: Any) -> None:
    """Store the scores or choices in a csv, tsv, json, jsonl or parquet file as a run.

    Its columns: example_id, image, caption, score; or example_id, image, choice (the number of the caption chosen);
    or example_id, caption, choice_image; or id and scores, a list for each image, as export writes them to .jsonl.
    Images and captions are numbered from 0. An empty choice is an abstention, which counts as wrong.

    \b
    compbench import scores.csv --task winoground --as gpt-4o
    """
    from compbench.runs.harness import import_scores

    print_result(_results([import_scores(path, **settings)], style, by), output)


def _results(runs: Sequence[Run], style: str, by: Sequence[str], *, is_full: bool = False) -> str:
    from compbench_analysis.text.show import to_text

    return to_text(runs, style, by or None, full=is_full)


def _check_tags(by: Sequence[str], task: Task) -> None:
    from compbench_analysis.frames.breakdowns import tag_columns

    tag_columns(by, [example.tags for example in task.examples])
