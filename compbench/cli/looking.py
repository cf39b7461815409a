"""Commands that look around: list, show-task, doctor."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from compbench.cli import completing, flags
from compbench.cli._exit_codes import DONE, FAILED
from compbench.cli._output import print_result, write_file
from compbench.cli.numbers import at_least
from compbench.core.errors import UsageError
from compbench.core.printable import say
from compbench_analysis.text.render import records, render

if TYPE_CHECKING:
    from compbench.core.examples import Example

__all__ = ["doctor", "list_", "show_task"]


class _Kind(click.Choice[str]):
    """models, tasks or runs, also one of them: `list model`."""

    def __init__(self) -> None:
        super().__init__(["models", "tasks", "runs"])

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return super().convert(f"{value}s" if f"{value}s" in self.choices else value, param, ctx)


_PICTURES = (".png", ".jpg", ".jpeg", ".webp")


@click.command("list", short_help="List models, tasks or stored runs.")
@click.argument("kind", type=_Kind(), required=False)
@click.argument("name", required=False, shell_complete=completing.listed)
@click.option("--task", metavar="TASK", shell_complete=completing.tasks, help="Show a model's defaults on this task.")
@click.option("--check", is_flag=True, help="Load every model and task, and name those that fail.")
@flags.runs
@flags.printed
def list_(
    kind: str | None,
    name: str | None,
    task: str | None,
    check: bool,
    runs: Path | None,
    style: str,
    output: Path | None,
) -> None:
    """List tasks, models or stored runs; with a model's name its options, with a suite's name its protocols.

    \b
    compbench list models
    compbench list models sd2 --task winoground
    compbench list tasks mmvp-vlm
    """
    from compbench.cli import listing, offers
    from compbench.registry import plugins

    if name is not None:
        print_result(_described(kind, name, task, style), output)
    elif kind == "runs":
        from compbench.store.store import Store

        store = Store(runs)
        stored = store.runs()
        if not stored:
            say(f"no runs in {str(store.root)!r}" if store.root.is_dir() else f"no folder {str(store.root)!r}")
        print_result(render([listing.stored(stored)], style), output)
    else:
        offered = {"tasks": plugins.entries("task"), "models": plugins.entries("model", "scheme")}
        checked = {listed: plugins.checked(entries) if check else entries for listed, entries in offered.items()}
        tell = {"tasks": offers.tasks, "models": offers.models}
        if kind is None and style in ("csv", "json"):
            raise UsageError(f"name what to list as {style}: models, tasks or runs")
        told = [tell[listed](checked[listed], style) for listed in tell if kind in (None, listed)]
        print_result("\n\n\n".join(told), output)


@click.command("show-task", short_help="Show examples of a task.")
@click.argument("task", shell_complete=completing.tasks)
@flags.data
@flags.images
@flags.image_limits
@flags.prompts
@click.option("--n", default=8, show_default=True, type=at_least(1), help="Number of examples, spread over the task.")
@flags.offline
@flags.drawn(_PICTURES)
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
    """Print examples of a task; with an --output that ends in .png, draw them.

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
        say("This data is gated: its licence forbids sharing it.")


@click.command(short_help="Check this machine.")
@click.option("--online", "is_online", is_flag=True, help="Also ask the hub which gated repositories are open to you.")
@click.option("--json", "is_json", is_flag=True, help="The same as --format json.")
@flags.runs
@flags.printed
def doctor(is_online: bool, is_json: bool, runs: Path | None, style: str, output: Path | None) -> int:
    """Check this machine and say how to fix what does not work.

    \b
    compbench doctor --online
    """
    from compbench.cli import listing
    from compbench.cli.doctor import examine

    style = "json" if is_json else style
    root = runs or Path(os.environ.get("COMPBENCH_RUNS") or "runs").expanduser()  # a store needs packages that may lack
    checks = list(examine(root, is_online=is_online))
    text = records(map(asdict, checks), style) if style in ("csv", "json") else render([listing.checks(checks)], style)
    print_result(text, output)
    return FAILED if any(check.state == "problem" for check in checks) else DONE


def _described(kind: str | None, name: str, task: str | None, style: str) -> str:
    from compbench.cli import listing, offers

    if kind == "models":
        return offers.option_list(name, task, style)
    if kind == "tasks":
        return render(listing.task_sheet(name), style)
    raise UsageError(f"list runs takes no name; for run {name!r}, run compbench show {name}")


def _draw(examples: Sequence[Example], picture: Path) -> None:
    import PIL.Image

    from compbench.tasks.gallery import contact_sheet

    content = io.BytesIO()
    contact_sheet(examples, len(examples)).save(content, PIL.Image.registered_extensions()[picture.suffix.lower()])
    write_file(picture, content.getvalue())
    say(f"picture of {len(examples)} examples: {picture}")
