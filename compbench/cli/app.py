"""The command `compbench`: each command parses, calls one public function and prints.

stdout is the result, stderr the progress. Only click is imported at the top: help and list must answer at once.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from compbench.cli import flags, streams
from compbench.core.errors import DataError, RunError, UsageError
from compbench.core.printable import say
from compbench.runs.interrupts import Interrupts
from compbench_analysis.text.render import Grid, records, render

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from compbench.core.examples import Example, Task
    from compbench.runs.grid_file import GridFile
    from compbench.store.run import Run
    from compbench_analysis.frames.breakdowns import Breakdown

__all__ = ["main"]

_PICTURES = (".png", ".jpg", ".jpeg", ".webp")
DONE, FAILED, MISUSED, INTERRUPTED = 0, 1, 2, 130
_INTERRUPTED = "interrupted: run the same command to go on"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 failed, 2 misuse, 130 interrupted."""
    streams.prepare()
    interrupts = Interrupts()
    try:
        with interrupts.watched():  # from the first import on, long before anything is measured
            code = _run(arguments)
    except BaseException:
        if not interrupts.is_asked:
            raise
        code = _fail(_INTERRUPTED, INTERRUPTED)
    streams.settle()
    # a library may have turned the signal into an error of its own, such as that it cannot be imported
    return INTERRUPTED if interrupts.is_asked and code != DONE else code


def _run(arguments: Sequence[str] | None) -> int:
    code: object = DONE
    try:
        code = group.main(arguments, "compbench", standalone_mode=False)
    except BrokenPipeError:  # the reader of stdout has gone, as with `| head`
        pass
    except (KeyboardInterrupt, click.Abort):
        code = _fail(_INTERRUPTED, INTERRUPTED)
    except click.exceptions.NoArgsIsHelpError as error:
        for line in error.format_message().splitlines():
            say(line)
        code = MISUSED
    except (click.ClickException, UsageError) as error:
        code = _fail(_misuse(error), MISUSED)
    except (DataError, RunError) as error:
        code = _fail(f"error: {error}", FAILED)
    return code if isinstance(code, int) else DONE


def _with_dashes(name: str) -> str:
    """--batch_size is --batch-size."""
    return name.replace("_", "-")


class _Commands(click.Group):
    """Commands in the order in which they are used; a wrong one is answered with the nearest."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and self.get_command(ctx, _with_dashes(args[0])) is None:
            from compbench.core.suggestions import unknown

            raise unknown("command", args[0], self.commands)
        return super().resolve_command(ctx, args)


@click.group(
    cls=_Commands,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "token_normalize_func": _with_dashes,
        "max_content_width": 110,
    },
)
@click.version_option(None, "--version", package_name="compbench", message="compbench %(version)s")
def group() -> None:
    """Does this model bind words to the right things in a picture?

    \b
    compbench run shapes --model tiny-sd --model tiny-clip --model chance
    """


@group.command(short_help="Score models on tasks and print the table.")
@click.argument("tasks", nargs=-1, metavar="TASK...")
@flags.to_run
@click.option("--dry-run", is_flag=True, help="Print what would be done and its price; measure nothing.")
@click.option("--quiet", "-q", is_flag=True, help="No progress and no notes.")
@flags.by
@flags.printed
def run(
    tasks: Sequence[str],
    models: Sequence[str],
    options: Sequence[str],
    grid: GridFile | None,
    dry_run: bool,
    quiet: bool,
    by: Sequence[str],
    style: str,
    output: Path | None,
    **settings: Any,
) -> int:
    """Score models on tasks, store all that is measured, print the table. Rerun the same command to resume.

    \b
    compbench run shapes -m tiny-sd -m tiny-clip -m chance
    compbench run shapes -m tiny-sd -o draws=100 --limit 24
    compbench run --config grid.toml
    """
    from compbench.cli import listing, progress
    from compbench.runs import grid as grids
    from compbench.store.shards import shard_here

    shard = shard_here(settings["shard"])
    reporter = progress.for_stderr(is_quiet=quiet, shard=shard)
    cells = grids.cells(tasks, models, options, settings, reporter.say, grid)
    if dry_run:
        plans, failures = grids.planned(cells, reporter)
        _print(listing.plans(plans, style), output)
        for failure in failures:
            click.echo(f"error: {failure}", err=True)
        return FAILED if failures else DONE
    outcome = grids.measure(cells, reporter, lambda task: _check_tags(by, task))
    if outcome.runs and outcome.is_told_here(shard):
        text = _results(outcome.runs, style, by)
        is_for_reading = style == "table" and output is None
        _print(f"{text}\n\n{listing.where(outcome.runs, settings['runs'])}" if is_for_reading else text, output)
    elif outcome.runs and not outcome.failures and not quiet:
        say(f"shard {shard} done; what remains is with the others")
    for failure in outcome.told():
        say(f"error: {failure}")
    return FAILED if outcome.failures else DONE


@group.command(short_help="Print stored runs as a table.")
@click.argument("references", nargs=-1, required=True, metavar="RUN...")
@flags.runs
@flags.broken_down
@click.option("--published", "with_published", is_flag=True, help="Show published scores of other models beside them.")
@click.option("--each", "each_seed", is_flag=True, help="Show runs that differ by their seed alone one by one.")
@click.option("--draws/--no-draws", default=True, help="Show what other draws would change, where errors are stored.")
@flags.printed
def show(
    references: Sequence[str],
    runs: Path | None,
    by: Sequence[str],
    tags: Path | None,
    is_crossed: bool,
    style: str,
    output: Path | None,
    **shown: Any,
) -> None:
    """Print stored runs; several models on one task are one table, several seeds of a model one row.

    RUN is a folder, task/model (its latest run), or the first letters of a digest.

    \b
    compbench show shapes/tiny-sd shapes/chance --by axis
    compbench show winoground/sd2 --by tag --by visual --cross --published
    """
    from compbench_analysis.text.show import to_text

    _print(to_text(_find(references, runs), style, _breakdown(by, tags, is_crossed), **shown), output)


@group.command(short_help="Test whether stored runs differ.")
@click.argument("references", nargs=-1, required=True, metavar="RUN RUN...")
@flags.runs
@flags.broken_down
@click.option("--limit", "-L", type=click.IntRange(1), help="Read only the subset that run --limit measures.")
@click.option("--ids", "with_ids", is_flag=True, help="With csv and json: the examples that only A has right, ...")
@flags.printed
def compare(
    references: Sequence[str],
    runs: Path | None,
    by: Sequence[str],
    tags: Path | None,
    is_crossed: bool,
    limit: int | None,
    with_ids: bool,
    style: str,
    output: Path | None,
) -> None:
    """Test whether runs on the same examples differ: exact tests, intervals, overall and by tag.

    RUN is a folder, task/model (its latest run), or the first letters of a digest.

    \b
    compbench compare shapes/tiny-sd shapes/tiny-clip
    """
    from compbench_analysis.frames.compare import compare as compare_runs
    from compbench_analysis.text import compare as compared

    chosen = [run if limit is None else run.limited(limit) for run in _find(references, runs)]
    comparison = compare_runs(chosen, _breakdown(by, tags, is_crossed))
    _print(compared.to_text(comparison, style, with_ids=with_ids), output)


@group.command(short_help="Say what a run's stored errors tell.")
@click.argument("references", nargs=-1, required=True, metavar="RUN...")
@flags.runs
@flags.broken_down
@click.option(
    "--view",
    type=click.Choice(["draws", "timesteps", "differences", "rules"]),
    help="Print one of them alone; else all. A picture shows one: draws unless told otherwise.",
)
@click.option(
    "--window", "windows", multiple=True, metavar="FIRST-LAST", help="A window of timesteps (repeatable); else thirds."
)
@flags.printed
def curves(
    references: Sequence[str],
    runs: Path | None,
    by: Sequence[str],
    tags: Path | None,
    is_crossed: bool,
    view: str | None,
    windows: Sequence[str],
    style: str,
    output: Path | None,
) -> None:
    """Print accuracy against the number of draws, by timestep and by scoring rule; an --output .png is the picture.

    RUN is a folder, task/model (its latest run), or the first letters of a digest. Nothing is measured anew.

    \b
    compbench curves shapes/tiny-sd
    compbench curves shapes/tiny-sd --view rules --output rules.png
    """
    from compbench_analysis.text import curves as traced

    chosen, by_tags = _find(references, runs), _breakdown(by, tags, is_crossed)
    asked = traced.Asked(by_tags, tuple(map(traced.window, windows)))
    if output is not None and output.suffix.lower() in traced.PICTURES:
        _picture(traced.picture(chosen, view or "draws", asked), output)
        say(f"picture written to {output}")
    else:
        _print(traced.to_text(chosen, [view] if view else traced.VIEWS, asked, style), output)


@group.command(short_help="Write one page to read, share and keep.")
@click.argument("references", nargs=-1, required=True, metavar="RUN...")
@click.option("--output", default=Path("report.html"), show_default=True, type=flags.PATH, callback=flags.check_folder)
@flags.runs
@flags.broken_down
@click.option("--limit", "-L", type=click.IntRange(1), help="Read only the subset that run --limit measures.")
@flags.data
@flags.images
@click.option(
    "--images/--no-images",
    "with_images",
    default=None,
    help="Show images and captions; by default unless the data is gated.",
)
@click.option("--open", "is_opened", is_flag=True, help="Show the page in the browser.")
def report(
    references: Sequence[str],
    output: Path,
    runs: Path | None,
    by: Sequence[str],
    tags: Path | None,
    is_crossed: bool,
    is_opened: bool,
    **look: Any,
) -> None:
    """Write one HTML file: who wins and is it real, where, why (all examples), how it was measured.

    RUN is a folder, task/model (its latest run), or the first letters of a digest.

    \b
    compbench report shapes/tiny-sd shapes/tiny-clip --output report.html
    """
    import webbrowser

    from compbench.cli.report import report as write_report

    chosen, by_tags = _find(references, runs), _breakdown(by, tags, is_crossed)
    page = write_report(chosen, output, by=by_tags, say=say, **look)
    say(f"written to {page}")
    if is_opened:
        webbrowser.open(page.absolute().as_uri())


@group.command(short_help="Show where in the images a model's decision was made.")
@click.argument("reference", metavar="RUN")
@click.argument("example_id", metavar="EXAMPLE")
@click.option("--image", type=click.IntRange(0), help="Explain this image alone, numbered from 0.")
@click.option(
    "--captions",
    type=(click.IntRange(0), click.IntRange(0)),
    metavar="A B",
    help="Two captions, numbered from 0; else the true one and the false one that scores best.",
)
@click.option(
    "--draws", type=click.IntRange(1), help="How many draws of the bank; else as many as the run is scored on."
)
@flags.runs
@flags.data
@flags.images
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps.")
@flags.offline
def explain(reference: str, example_id: str, runs: Path | None, **asked: Any) -> None:
    """Map over the images where the model's error tells two captions apart; kept with the run, shown by report.

    \b
    compbench explain shapes/tiny-sd object-001
    """
    from compbench.runs.explain import explain as explain_example

    (run,) = _find([reference], runs)
    made = explain_example(run, example_id, say=say, **asked)
    streams.write(str(made.path))


@group.command(short_help="Run a table of the paper and put its numbers beside ours.")
@click.argument("table", type=click.Choice(["table1", "table2", "table3"]))
@click.option("--model", "-m", "models", multiple=True, help="One of the table's models (repeatable); else all.")
@click.option("--task", "-t", "tasks", multiple=True, help="One of its data sets (repeatable); else all.")
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
    help="The folder that holds a folder for each task, or the folder of one task (repeatable).",
)
@flags.limit
@flags.images_per_class
@flags.device
@flags.runs
@flags.images
@flags.offline
@click.option("--dry-run", is_flag=True, help="Print what each cell would cost, where that can be told.")
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

    By default each row is measured on a seeded subset that fits a night on one GPU, or on all images where that is
    cheap. A cell that cannot be run says why.

    \b
    compbench reproduce table2
    compbench reproduce table1 --task cifar10 --model clip-rn50 --data ~/data
    """
    from compbench.cli import listing, progress
    from compbench.cli import reproduce as paper
    from compbench_analysis.frames.paper import to_text

    reporter = progress.for_stderr(is_quiet=quiet)
    root, folders = paper.data_folders(data)
    asked = paper.asked_for(table, models, tasks, options, settings, reporter, paper.DataFolders(root, folders))
    if dry_run:
        plans, failures = paper.planned(asked, reporter)
        _print(listing.plans(plans, style), output)
        for failure in failures:
            say(f"cannot be planned: {failure}")
        return FAILED if failures else DONE
    outcome, reasons = paper.reproduce(asked, reporter)
    _print(to_text(table, outcome.runs, style, reasons), output)
    return FAILED if outcome.failures else DONE


@group.command("list", short_help="List models, tasks or stored runs.")
@click.argument("kind", type=click.Choice(["models", "tasks", "runs"]), required=False)
@click.argument("name", required=False)
@click.option("--check", is_flag=True, help="Load each model and task, and name those that do not work.")
@flags.runs
@flags.printed
def list_(kind: str | None, name: str | None, check: bool, runs: Path | None, style: str, output: Path | None) -> None:
    """List what can be asked for, or what is stored; with a model's name, its options.

    \b
    compbench list models
    compbench list models sd2
    """
    from compbench.cli import listing
    from compbench.registry import plugins

    if name is not None:
        _print(render([_described(kind, name)], style), output)
    elif kind == "runs":
        from compbench.store.run import Store

        store = Store(runs)
        stored = store.runs()
        if not stored:
            say(f"no runs in {str(store.root)!r}")
        _print(render([listing.stored(stored)], style), output)
    else:
        found = {"tasks": plugins.entries("task"), "models": plugins.entries("model", "scheme")}
        wanted = {each: entries for each, entries in found.items() if kind in (None, each)}
        grids = [
            listing.offered(each[:-1], plugins.checked(wanted[each]) if check else wanted[each]) for each in wanted
        ]
        _print(render(grids, style), output)


@group.command("show-task", short_help="Look at examples of a task.")
@click.argument("task")
@flags.data
@flags.images
@flags.prompts
@click.option(
    "--n", default=8, show_default=True, type=click.IntRange(1), help="How many examples, spread over the task."
)
@flags.offline
@flags.printed
def show_task(
    task: str,
    data: Path | None,
    prompts: Sequence[Path],
    n: int,
    is_offline: bool,
    style: str,
    output: Path | None,
) -> None:
    """Print examples of a task; with an --output that ends in .png, draw them as well.

    \b
    compbench show-task shapes --n 12 --output shapes.png
    """
    from compbench import registry
    from compbench.cli import listing
    from compbench.core.subsets import subset

    loaded = registry.task(task, data=data, is_offline=is_offline, prompts=prompts)
    chosen = set(subset([example.id for example in loaded.examples], n))
    examples = [example for example in loaded.examples if example.id in chosen]
    if output is not None and output.suffix.lower() in _PICTURES:
        _draw(examples, output)
        output = None
    _print(render([listing.examples(examples)], style), output)
    for note in loaded.notes:
        say(note)
    if loaded.is_gated:
        say("This data is gated: its licence does not allow passing it on.")


@group.command("import", short_help="Store scores of a model that cannot be run here.")
@click.argument("path", type=flags.PATH)
@click.option("--task", required=True, metavar="TASK", help="The task that was scored.")
@click.option("--as", "name", required=True, metavar="NAME", help="The name that the model gets.")
@flags.data
@flags.runs
@flags.offline
@flags.by
@flags.printed
def import_(path: Path, by: Sequence[str], style: str, output: Path | None, **settings: Any) -> None:
    """Store the scores or choices in a csv, tsv, json, jsonl or parquet file as a run.

    Its columns: example_id, image, caption, score; or example_id, image, choice (the number of the caption chosen);
    or example_id, caption, choice_image. Images and captions are numbered from 0. An empty
    choice is an abstention, which counts as wrong.

    \b
    compbench import scores.csv --task winoground --as gpt-4o
    """
    from compbench.runs.harness import import_scores

    _print(_results([import_scores(path, **settings)], style, by), output)


@group.command(short_help="Turn scores into probabilities of classes.")
@click.argument("references", nargs=-1, required=True, metavar="RUN...")
@flags.runs
@click.option(
    "--share", default=0.2, show_default=True, help="The share of the examples that the temperature is fitted on."
)
@click.option("--seed", default=0, show_default=True, help="Seed for choosing those examples.")
@click.option(
    "--bins", "n_bins", default=15, show_default=True, type=click.IntRange(1), help="How many bins of confidence."
)
@click.option("--examples", "with_examples", is_flag=True, help="With csv and json: the probabilities of each example.")
@flags.printed
def calibrate(
    references: Sequence[str],
    runs: Path | None,
    style: str,
    output: Path | None,
    with_examples: bool,
    **settings: Any,
) -> None:
    """Fit the temperature of p(class | image) on some examples and say how well it holds on the others.

    RUN is a classification: a folder, task/model (its latest run), or the first letters of a digest. An --output .png
    is the reliability diagram.

    \b
    compbench calibrate shape-classes/tiny-sd shape-classes/tiny-clip
    compbench calibrate shape-classes/tiny-sd --output reliability.png
    """
    from compbench_analysis.frames.calibration import calibrate as calibrate_run
    from compbench_analysis.frames.signature import labels
    from compbench_analysis.text import calibrate as calibrated
    from compbench_analysis.text import curves as traced

    chosen = _find(references, runs)
    found = {label: calibrate_run(run, **settings) for label, run in zip(labels(chosen), chosen, strict=True)}
    if output is not None and output.suffix.lower() in traced.PICTURES:
        _picture(calibrated.reliability_diagram(found), output)
        say(f"picture written to {output}")
    else:
        _print(calibrated.to_text(found, style, with_examples=with_examples), output)


@group.command(short_help="Write the scores of a run, one row per example.")
@click.argument("reference", metavar="RUN")
@click.option(
    "--output", required=True, type=flags.PATH, callback=flags.check_folder, metavar="FILE", help=".parquet or .csv"
)
@flags.runs
def export(reference: str, output: Path, runs: Path | None) -> None:
    """Write one row per example: outcomes, ties, margins, tags and scores.

    \b
    compbench export shapes/tiny-sd --output scores.parquet
    """
    if output.suffix not in (".parquet", ".csv"):
        raise UsageError(f"cannot write {output.suffix or 'a file without a suffix'!r}; expected .parquet or .csv")
    from compbench.store.frames import as_cells

    frame = _find([reference], runs)[0].to_frame()
    content = io.BytesIO()
    frame.to_parquet(content) if output.suffix == ".parquet" else as_cells(frame).to_csv(
        content, index=False, encoding="utf-8"
    )
    _write(output, content.getvalue())
    say(f"{len(frame)} examples written to {output}")


@group.command(short_help="Print the BibTeX of model, data set and method.")
@click.argument("references", nargs=-1, required=True, metavar="RUN...")
@flags.runs
@flags.output
def cite(references: Sequence[str], runs: Path | None, output: Path | None) -> None:
    """Print what to cite for runs, each entry once.

    \b
    compbench cite winoground/sd2 >> references.bib
    """
    from compbench_analysis.text.cite import to_bibtex

    _print(to_bibtex(_find(references, runs)), output)


@group.command(short_help="Say what works on this machine.")
@click.option("--online", "is_online", is_flag=True, help="Also ask the hub whether winoground is open to you.")
@flags.runs
@flags.printed
def doctor(is_online: bool, runs: Path | None, style: str, output: Path | None) -> int:
    """Say what works on this machine and what to do about what does not.

    \b
    compbench doctor --online
    """
    from compbench.cli import listing
    from compbench.cli.doctor import examine
    from compbench.store.run import Store

    checks = list(examine(Store(runs).root, is_online=is_online))
    text = records(map(asdict, checks), style) if style in ("csv", "json") else render([listing.checks(checks)], style)
    _print(text, output)
    return FAILED if any(check.state == "problem" for check in checks) else DONE


def _find(references: Sequence[str], root: Path | None) -> list[Run]:
    from compbench.store.run import Store

    store = Store(root)
    return list({run.path: run for run in map(store.find, references)}.values())


def _results(runs: Sequence[Run], style: str, by: Sequence[str]) -> str:
    from compbench_analysis.text.show import to_text

    return to_text(runs, style, by or None)


def _check_tags(by: Sequence[str], task: Task) -> None:
    from compbench_analysis.frames.breakdowns import tag_columns

    tag_columns(by, [example.tags for example in task.examples])


def _breakdown(by: Sequence[str], tags: Path | None, is_crossed: bool) -> Breakdown:
    from compbench_analysis.frames.breakdowns import Breakdown, read_tags

    return Breakdown(tuple(by), None if tags is None else read_tags(tags), is_crossed)


def _described(kind: str | None, name: str) -> Grid:
    from compbench.cli import listing

    if kind == "models":
        return listing.option_list(name)
    raise UsageError(f"nothing more to list of {name!r}; see compbench {'show-task' if kind == 'tasks' else 'show'}")


def _draw(examples: Sequence[Example], picture: Path) -> None:
    import PIL.Image

    from compbench.tasks.gallery import contact_sheet

    content = io.BytesIO()
    contact_sheet(examples, len(examples)).save(content, PIL.Image.registered_extensions()[picture.suffix.lower()])
    _write(picture, content.getvalue())
    say(f"picture of {len(examples)} examples: {picture}")


def _print(text: str, output: Path | None) -> None:
    if output is None:
        streams.write(text)
        return
    _write(output, f"{text}\n".encode("utf-8", errors="replace"))
    say(f"written to {output}")


def _picture(figure: Figure, output: Path) -> None:
    content = io.BytesIO()
    figure.savefig(content, dpi=200, format=output.suffix[1:].lower())
    _write(output, content.getvalue())


def _write(output: Path, content: bytes) -> None:
    """Whole or not at all, so that a command that dies leaves the result of the one before."""
    from compbench.core import disk

    try:
        disk.output(output, content)
    except OSError as error:
        raise RunError(f"cannot write {str(output)!r} ({error.strerror or error}); choose another --output") from error


def _misuse(error: click.ClickException | UsageError) -> str:
    if isinstance(error, click.UsageError) and error.ctx is not None:
        return f"error: {error.format_message()} (see {error.ctx.command_path} --help)"
    return f"error: {error.format_message() if isinstance(error, click.ClickException) else error}"


def _fail(message: str, code: int) -> int:
    say(message)
    return code
