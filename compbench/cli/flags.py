"""The options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from compbench.store.shards import Shard, shard_here
from compbench_analysis.text.render import FORMATS

if TYPE_CHECKING:
    from compbench.runs.grid_file import GridFile

__all__ = [
    "PATH",
    "broken_down",
    "by",
    "check_folder",
    "data",
    "images",
    "offline",
    "output",
    "printed",
    "prompts",
    "read",
    "runs",
    "to_run",
]

Command = TypeVar("Command", bound=Callable[..., Any])


def _hear_offline(ctx: click.Context, parameter: click.Parameter, value: bool) -> bool:
    """huggingface_hub reads its environment when it is imported, so this comes before everything else."""
    if value:
        os.environ["HF_HUB_OFFLINE"] = "1"
    return value or os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def _read_batch_size(ctx: click.Context, parameter: click.Parameter, value: str) -> int | None:
    if value == "auto":
        return None
    if not value.isdecimal() or int(value) < 1:
        raise click.BadParameter(f"{value!r} is neither auto nor a whole number, at least 1")
    return int(value)


def _read_shard(ctx: click.Context, parameter: click.Parameter, value: str | None) -> Shard | None:
    return shard_here(value)


def _read_grid(ctx: click.Context, parameter: click.Parameter, value: Path | None) -> GridFile | None:
    """What the file says becomes the defaults of the other options."""
    if value is None:
        return None
    from compbench.runs.grid_file import read

    # its keys are the long names of the options; "format" is the option of the parameter `style`
    named = {
        each.opts[0].removeprefix("--"): each
        for each in ctx.command.params
        if isinstance(each, click.Option) and each.opts[0] not in _NOT_IN_A_GRID
    }
    switches = [name for name, each in named.items() if each.is_flag]
    grid = read(value, named, switches)
    ctx.default_map = {**(ctx.default_map or {}), **{str(named[k].name): given for k, given in grid.settings.items()}}
    return grid


class _UserPath(click.Path):
    """A path with `~` as the home folder, wherever it is given: in quotes, after `=` or in a grid file."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        from compbench.core.disk import expanded

        return expanded(str(super().convert(value, param, ctx)))


def _allow_pixels(ctx: click.Context, parameter: click.Parameter, value: int | None) -> None:
    """For as long as the command lasts."""
    if value is not None:
        from compbench.core import image_files

        ctx.with_resource(image_files.limited(max_pixels=value))


def _refuse_links(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        from compbench.core import image_files

        ctx.with_resource(image_files.limited(follows_links=False))


def check_folder(ctx: click.Context, parameter: click.Parameter, value: Path | None) -> Path | None:
    """Told now rather than after hours of measuring."""
    if value is None:
        return None
    try:
        if value.absolute().parent.is_dir():
            return value
    except (OSError, ValueError):  # a name that no folder can have
        pass
    raise click.BadParameter(f"there is no folder {str(value.parent)!r}")


def _together(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Several options as one decorator."""

    def decorate(function: Command) -> Command:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


_NOT_IN_A_GRID = ("--model", "--option", "--config", "--shard", "--dry-run", "--help")
PATH = _UserPath()
runs = click.option("--runs", type=PATH, metavar="DIR", help="The folder of runs; else COMPBENCH_RUNS, else ./runs.")
data = click.option("--data", type=PATH, metavar="PATH", help="A local copy of the task's data.")
prompts = click.option(
    "--prompts",
    type=PATH,
    multiple=True,
    metavar="FILE",
    help="A CSV file with other prompts of a classification task: prompt,classname,classidx.",
)
offline = click.option(
    "--offline", "is_offline", is_flag=True, is_eager=True, callback=_hear_offline, help="Fetch nothing from a hub."
)
_style = click.option(
    "--format",
    "style",
    type=click.Choice(FORMATS),
    default="table",
    show_default=True,
    help="How the result is printed.",
)
by = click.option("--by", multiple=True, metavar="COLUMN", help="Tag column of the table (repeatable); else tag.")
broken_down = _together(
    click.option(
        "--by",
        multiple=True,
        metavar="COLUMN",
        help="Tag column (repeatable), or caption_length; with show also margin. Else tag.",
    ),
    click.option(
        "--tags",
        type=PATH,
        metavar="FILE",
        help="A csv, tsv, json, jsonl or parquet file with a column id and columns of your own tags.",
    ),
    click.option("--cross", "is_crossed", is_flag=True, help="Cross the columns: a row for every combination of tags."),
)
read = _together(
    click.option(
        "--option",
        "-o",
        "options",
        multiple=True,
        metavar="K=V",
        help="How stored errors are read: draws, target, loss or unconditional (repeatable), such as -o draws=16; else "
        "as the run's first command read them, on all draws that are stored.",
    ),
    click.option("--limit", "-L", type=click.IntRange(1), help="Read only the subset that run --limit measures."),
)
output = click.option(
    "--output", type=PATH, callback=check_folder, metavar="FILE", help="Write the result to this file; else to stdout."
)
printed = _together(_style, output)
images = _together(
    click.option(
        "--max-pixels",
        type=click.IntRange(1),
        metavar="N",
        expose_value=False,
        callback=_allow_pixels,
        help="Read images of up to N pixels; else up to the 178,956,970 that Pillow allows.",
    ),
    click.option(
        "--no-follow-links",
        is_flag=True,
        expose_value=False,
        callback=_refuse_links,
        help="Refuse symbolic links among the data's files.",
    ),
)
to_run = _together(
    click.option("--model", "-m", "models", multiple=True, help="Name or scheme:ADDRESS; repeat it, or a,b."),
    click.option(
        "--option",
        "-o",
        "options",
        multiple=True,
        metavar="[MODEL.]K=V",
        help="An option of a model, such as -o draws=100 (repeatable).",
    ),
    click.option(
        "--config",
        "grid",
        type=PATH,
        is_eager=True,
        callback=_read_grid,
        metavar="FILE",
        help="A grid in TOML: tasks, models, options, limit ...; what the command line says wins.",
    ),
    data,
    prompts,
    click.option(
        "--limit", "-L", type=click.IntRange(1), help="Score a seeded subset of the examples, the same for every model."
    ),
    click.option(
        "--images-per-class",
        type=click.IntRange(1),
        metavar="N",
        help="Score a seeded subset of the images of each class.",
    ),
    click.option("--seed", type=int, help="Seed for the noise."),
    click.option(
        "--dtype",
        metavar="NAME",
        help="float32, bfloat16 or float16, inside the network; with --device even one that the device only emulates.",
    ),
    click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps."),
    click.option(
        "--batch-size",
        default="auto",
        show_default=True,
        callback=_read_batch_size,
        metavar="N",
        help="How many evaluations or pictures at once; halved when memory runs out.",
    ),
    click.option(
        "--shard",
        metavar="K/N",
        callback=_read_shard,
        help="Score every N-th example only, from the K-th; else as torchrun, accelerate or srun say.",
    ),
    click.option(
        "--keep",
        type=click.Choice(["errors", "scores"]),
        default="errors",
        help="What is stored: errors can be read in other ways later, scores take less space.",
    ),
    click.option(
        "--skip-unreadable",
        is_flag=True,
        help="Leave out the examples whose images cannot be read; the signature says how many.",
    ),
    images,
    runs,
    click.option(
        "--wait",
        type=click.FloatRange(0),
        metavar="SECONDS",
        help="How long to wait for another process that is writing to the run; else an hour.",
    ),
    offline,
    click.option("--refresh", is_flag=True, help="Take the newest commit of a model that is not pinned to one."),
)
