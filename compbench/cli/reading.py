"""Commands that read stored runs and measure nothing: show, compare, curves, report and others."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from compbench.cli import completing, flags
from compbench.cli._output import PICTURES, print_result, write_file, write_picture
from compbench.cli._references import found, one
from compbench.cli.numbers import at_least
from compbench.core.errors import UsageError
from compbench.core.printable import say

if TYPE_CHECKING:
    from compbench_analysis.frames.breakdowns import Breakdown

__all__ = ["calibrate", "cite", "compare", "curves", "export", "report", "robustness", "show"]


@click.command(short_help="Print stored runs as a table.")
@click.argument("references", nargs=-1, required=True, metavar="RUN...", shell_complete=completing.runs)
@flags.runs
@flags.read
@flags.broken_down
@click.option("--published", "with_published", is_flag=True, help="Show published scores of other models beside them.")
@click.option("--each", "each_seed", is_flag=True, help="Show runs that differ only by their seed separately.")
@click.option("--no-draws", "draws", flag_value=False, default=True, help="Leave out ±draws, the spread over draws.")
@flags.full
@flags.printed
def show(
    references: Sequence[str],
    runs: Path | None,
    options: Sequence[str],
    limit: int | None,
    by: Sequence[str],
    tags: Path | None,
    is_crossed: bool,
    is_full: bool,
    style: str,
    output: Path | None,
    **shown: Any,
) -> None:
    """Print stored runs; one table for several models on a task, one row for several seeds of a model.

    RUN is a folder, task/model (its latest whole run), task/model/digest, a task (all its models), or a digest's first
    letters.

    \b
    compbench show shapes/tiny-sd shapes/chance --by axis
    compbench show winoground/sd2 --by tag --by visual --cross --published
    """
    from compbench_analysis.text.show import to_text

    chosen, by_tags = found(references, runs, options, limit), _breakdown(by, tags, is_crossed)
    print_result(to_text(chosen, style, by_tags, full=is_full, **shown), output)


@click.command(short_help="Test whether stored runs differ.")
@click.argument("references", nargs=-1, required=True, metavar="RUN RUN...", shell_complete=completing.runs)
@flags.runs
@flags.read
@flags.broken_down
@click.option(
    "--ids", "with_ids", is_flag=True, help="With csv and json: add example ids, such as those only A gets right."
)
@flags.full
@flags.printed
def compare(
    references: Sequence[str],
    runs: Path | None,
    options: Sequence[str],
    limit: int | None,
    by: Sequence[str],
    tags: Path | None,
    is_crossed: bool,
    with_ids: bool,
    is_full: bool,
    style: str,
    output: Path | None,
) -> None:
    """Test whether runs on the same examples differ: exact tests, intervals, overall and by tag.

    RUN is a folder, task/model (its latest whole run), task/model/digest, a task (all its models), or a digest's first
    letters.

    \b
    compbench compare shapes/tiny-sd shapes/tiny-clip
    """
    from compbench_analysis.frames.compare import compare as compare_runs
    from compbench_analysis.text import compare as compared

    comparison = compare_runs(found(references, runs, options, limit), _breakdown(by, tags, is_crossed))
    if style in ("csv", "json"):  # whose rows have no room for it
        for sentence in compared.left_out(comparison):
            say(sentence)
    print_result(compared.to_text(comparison, style, with_ids=with_ids, full=is_full), output)


@click.command(short_help="Analyse a run's stored errors.")
@click.argument("references", nargs=-1, required=True, metavar="RUN...", shell_complete=completing.runs)
@flags.runs
@flags.read
@flags.broken_down
@click.option(
    "--view",
    type=click.Choice(["draws", "timesteps", "differences", "rules"]),
    help="Print only this view; default: all. A figure shows one view, draws by default.",
)
@click.option(
    "--window",
    "windows",
    multiple=True,
    metavar="FIRST-LAST",
    help="Window of timesteps (repeatable); default: thirds.",
)
@flags.full
@flags.drawn(PICTURES)
def curves(
    references: Sequence[str],
    runs: Path | None,
    options: Sequence[str],
    limit: int | None,
    by: Sequence[str],
    tags: Path | None,
    is_crossed: bool,
    view: str | None,
    windows: Sequence[str],
    is_full: bool,
    style: str,
    output: Path | None,
) -> None:
    """Print accuracy against the number of draws, by timestep and by scoring rule; with an --output .png, plot it.

    RUN is a folder, task/model (its latest whole run), task/model/digest, a task (all its models), or a digest's first
    letters. Nothing is measured again.

    \b
    compbench curves shapes/tiny-sd
    compbench curves shapes/tiny-sd --view rules --output rules.png
    """
    from compbench_analysis.text import curves as traced

    chosen, by_tags = found(references, runs, options, limit), _breakdown(by, tags, is_crossed)
    asked = traced.Asked(by_tags, tuple(map(traced.window, windows)))
    if output is not None and output.suffix.lower() in PICTURES:
        write_picture(traced.picture(chosen, view or "draws", asked), output)
    else:
        print_result(traced.to_text(chosen, [view] if view else traced.VIEWS, asked, style, full=is_full), output)


@click.command(short_help="Write a self-contained HTML report.")
@click.argument("references", nargs=-1, required=True, metavar="RUN...", shell_complete=completing.runs)
@click.option(
    "--output",
    default=Path("report.html"),
    show_default=True,
    type=flags.PATH,
    callback=flags.check_folder,
    help="The file of the page.",
)
@flags.runs
@flags.read
@flags.broken_down
@flags.data
@flags.images
@flags.image_limits
@click.option(
    "--show-images/--no-images",
    "with_images",
    default=None,
    help="Show images and captions; default: yes, unless the data is gated.",
)
@click.option("--open", "is_opened", is_flag=True, help="Open the page in the browser.")
def report(
    references: Sequence[str],
    output: Path,
    runs: Path | None,
    options: Sequence[str],
    limit: int | None,
    by: Sequence[str],
    tags: Path | None,
    is_crossed: bool,
    is_opened: bool,
    **look: Any,
) -> None:
    """Write one HTML page: who leads and whether that is significant, on which tags, every example, and the method.

    RUN is a folder, task/model (its latest whole run), task/model/digest, a task (all its models), or a digest's first
    letters.

    \b
    compbench report shapes/tiny-sd shapes/tiny-clip --output report.html
    """
    import webbrowser

    from compbench.cli.report import report as write_report

    chosen, by_tags = found(references, runs, options, limit), _breakdown(by, tags, is_crossed)
    page = write_report(chosen, output, by=by_tags, say=say, **look)
    say(f"written to {page}")
    if is_opened:
        webbrowser.open(page.absolute().as_uri())


@click.command(short_help="Print effective robustness under a shift.")
@click.argument("references", nargs=-1, required=True, metavar="RUN...", shell_complete=completing.runs)
@click.option("--plain", required=True, metavar="TASK", help="The task without a shift, such as imagenet.")
@click.option(
    "--fitted",
    multiple=True,
    required=True,
    metavar="MODEL",
    help="A model to fit the line to, such as a supervised classifier (repeat it: at least two).",
)
@click.option("--metric", metavar="NAME", help="The metric; default: the task's first.")
@flags.runs
@flags.read
@flags.drawn(PICTURES)
def robustness(
    references: Sequence[str],
    plain: str,
    fitted: Sequence[str],
    metric: str | None,
    runs: Path | None,
    options: Sequence[str],
    limit: int | None,
    style: str,
    output: Path | None,
) -> None:
    """Print effective robustness: the accuracy under a shift minus the accuracy predicted from the unshifted task.

    RUN are classifications by the same models on a task and on its shifted versions: folders, task/model (its latest
    whole run), task/model/digest, a task (all its models), or a digest's first letters. An --output .png is the
    picture.

    \b
    compbench robustness digits digits-noise --plain digits \\
        --fitted small-resnet --fitted logistic-regression
    """
    from compbench_analysis.text import robustness as shifted

    chosen = found(references, runs, options, limit)
    frame = shifted.read(chosen, plain, fitted, metric)
    if output is not None and output.suffix.lower() in PICTURES:
        write_picture(shifted.picture(frame), output)
    else:
        print_result(shifted.to_text(frame, chosen, style), output)


@click.command(short_help="Calibrate class probabilities.")
@click.argument("references", nargs=-1, required=True, metavar="RUN...", shell_complete=completing.runs)
@flags.runs
@flags.read
@click.option(
    "--share",
    default=0.2,
    show_default=True,
    metavar="SHARE",
    help="The share of the examples that the temperature is fitted on.",
)
@click.option("--seed", default=0, show_default=True, metavar="N", help="Seed for choosing those examples.")
@click.option("--bins", "n_bins", default=15, show_default=True, type=at_least(1), help="Number of confidence bins.")
@click.option("--examples", "with_examples", is_flag=True, help="With csv and json: the probabilities of each example.")
@flags.drawn(PICTURES)
def calibrate(
    references: Sequence[str],
    runs: Path | None,
    options: Sequence[str],
    limit: int | None,
    style: str,
    output: Path | None,
    with_examples: bool,
    **settings: Any,
) -> None:
    """Fit the temperature of p(class | image) on some examples and test the calibration on the others.

    RUN is a classification: a folder, task/model (its latest whole run), task/model/digest, a task (all its models), or
    a digest's first letters. An --output .png is the reliability diagram.

    \b
    compbench calibrate shape-classes/tiny-sd shape-classes/tiny-clip
    compbench calibrate shape-classes/tiny-sd --output reliability.png
    """
    from compbench_analysis.frames.calibration import calibrate as calibrate_run
    from compbench_analysis.frames.signature import labels
    from compbench_analysis.text import calibrate as calibrated

    chosen = found(references, runs, options, limit)
    calibrations = {label: calibrate_run(run, **settings) for label, run in zip(labels(chosen), chosen, strict=True)}
    if output is not None and output.suffix.lower() in PICTURES:
        write_picture(calibrated.reliability_diagram(calibrations), output)
    else:
        print_result(calibrated.to_text(calibrations, style, with_examples=with_examples), output)


@click.command(short_help="Write the scores of a run, one row per example.")
@click.argument("reference", metavar="RUN", shell_complete=completing.runs)
@flags.written(".parquet, .csv or .jsonl")
@flags.runs
@flags.read
def export(reference: str, output: Path, runs: Path | None, options: Sequence[str], limit: int | None) -> None:
    """Write one row per example: outcomes, ties, margins, tags and scores; import reads the .jsonl back.

    The .jsonl has each example's id, images, captions, matches, tags and scores; next to the pictures it is a manifest.
    The others name in each row how it was scored: the run's signature.

    \b
    compbench export shapes/tiny-sd --output scores.parquet
    compbench export shapes/tiny-sd --output scores.jsonl
    """
    if output.suffix not in (".parquet", ".csv", ".jsonl"):
        raise UsageError(f"cannot export to {str(output)!r}; expected a name that ends in .parquet, .csv or .jsonl")
    from compbench.store import as_cells, to_manifest
    from compbench_analysis.frames.signature import signature

    chosen, content = one(reference, runs, options, limit), io.BytesIO()
    if output.suffix == ".jsonl":
        content.write(to_manifest(chosen))
        n_written = content.getvalue().count(b"\n")
        if n_lacking := n_written - len(chosen.done()):
            say(
                f"{n_lacking} of {n_written} examples are not measured and have no scores; import reads whole runs only"
            )
    else:
        frame = chosen.to_frame()
        name = "run_signature" if "signature" in frame else "signature"  # which a task may call its own tags
        frame = frame.assign(**{name: signature(chosen)})
        n_written = len(frame)
        if n_lacking := len(chosen.ids()) - n_written:
            say(f"{n_lacking} of {len(chosen.ids())} examples are not measured and not written")
        if output.suffix == ".parquet":
            frame.to_parquet(content)
        else:
            as_cells(frame).to_csv(content, index=False, encoding="utf-8")
    write_file(output, content.getvalue())
    say(f"{n_written} examples written to {output}, of {signature(chosen)}")


@click.command(short_help="Print the BibTeX of model, data set and method.")
@click.argument("references", nargs=-1, required=True, metavar="RUN...", shell_complete=completing.runs)
@flags.runs
@flags.output
def cite(references: Sequence[str], runs: Path | None, output: Path | None) -> None:
    """Print the BibTeX entries to cite for runs.

    \b
    compbench cite winoground/sd2 >> references.bib
    """
    from compbench_analysis.text.cite import to_bibtex

    print_result(to_bibtex(found(references, runs)), output)


def _breakdown(by: Sequence[str], tags: Path | None, is_crossed: bool) -> Breakdown:
    from compbench_analysis.frames.breakdowns import Breakdown, read_tags

    return Breakdown(tuple(by), None if tags is None else read_tags(tags), is_crossed)
