"""Commands that look around: list, show-task, doctor."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from compbench.cli import flags
from compbench.cli._exit_codes import DONE, FAILED
from compbench.cli._output import print_result, write_file
from compbench.core.errors import UsageError
from compbench.core.printable import say
from compbench_analysis.text.render import Grid, records, render

if TYPE_CHECKING:
    from compbench.core.examples import Example

__all__ = ["doctor", "list_", "show_task"]

_PICTURES = (".png", ".jpg", ".jpeg", ".webp")


@click.command("list", short_help="List models, tasks or stored runs.")
@click.argument("kind", type=click.Choice(["models", "tasks", "runs"]), required=False)
@click.argument("name", required=False)
@click.option("--check", is_flag=True, help="Load each model and task, and name those that do not work.")
@flags.runs
@flags.printed
def list_(kind: str | None, name: str | None, check: bool, runs: Path | None, style: str, output: Path | None) -> None:
    """List what can be asked for, or what is stored; with a model's name its options, with a suite's its protocols.

    \b
    compbench list models
    compbench list models sd2
    compbench list tasks mmvp-vlm
    """
    from compbench.cli import listing
    from compbench.registry import plugins

    if name is not None:
        print_result(render(_described(kind, name), style), output)
    elif kind == "runs":
        from compbench.store.store import Store

        store = Store(runs)
        stored = store.runs()
        if not stored:
            say(f"no runs in {str(store.root)!r}")
        print_result(render([listing.stored(stored)], style), output)
    else:
        offered = {"tasks": plugins.entries("task"), "models": plugins.entries("model", "scheme")}
        wanted = {each: entries for each, entries in offered.items() if kind in (None, each)}
        grids = [
            listing.offered(each[:-1], plugins.checked(wanted[each]) if check else wanted[each]) for each in wanted
        ]
        print_result(render(grids, style), output)


@click.command("show-task", short_help="Look at examples of a task.")
@click.argument("task")
@flags.data
@flags.images
@flags.image_limits
@flags.prompts
@click.option(
    "--n", default=8, show_default=True, type=click.IntRange(1), help="How many examples, spread over the task."
)
@flags.offline
@flags.printed
def show_task(
    task: str,
    data: Path | None,
    images: Path | None,
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

    loaded = registry.task(task, data=data, images=images, is_offline=is_offline, prompts=prompts, skip_unreadable=True)
    chosen = set(subset([example.id for example in loaded.examples], n))
    examples = [example for example in loaded.examples if example.id in chosen]
    if output is not None and output.suffix.lower() in _PICTURES:
        _draw(examples, output)
        output = None
    print_result(render([listing.examples(examples)], style), output)
    for note in loaded.notes:
        say(note)
    if loaded.is_gated:
        say("This data is gated: its licence does not allow passing it on.")


@click.command(short_help="Say what works on this machine.")
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
    from compbench.store.store import Store

    checks = list(examine(Store(runs).root, is_online=is_online))
    text = records(map(asdict, checks), style) if style in ("csv", "json") else render([listing.checks(checks)], style)
    print_result(text, output)
    return FAILED if any(check.state == "problem" for check in checks) else DONE


def _described(kind: str | None, name: str) -> list[Grid]:
    from compbench.cli import listing

    if kind == "models":
        return [listing.option_list(name)]
    if kind == "tasks":
        return listing.task_sheet(name)
    raise UsageError(f"list runs takes no name; for run {name!r}, run compbench show {name}")


def _draw(examples: Sequence[Example], picture: Path) -> None:
    import PIL.Image

    from compbench.tasks.gallery import contact_sheet

    content = io.BytesIO()
    contact_sheet(examples, len(examples)).save(content, PIL.Image.registered_extensions()[picture.suffix.lower()])
    write_file(picture, content.getvalue())
    say(f"picture of {len(examples)} examples: {picture}")
