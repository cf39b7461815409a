"""The options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin

import click

from compbench.cli import completing
from compbench.cli.numbers import at_least
from compbench.runs.request import RunRequest, setting
from compbench_analysis.text.render import FORMATS

if TYPE_CHECKING:
    from compbench.runs.grid_file import GridFile

__all__ = [
    "PATH",
    "broken_down",
    "by",
    "check_folder",
    "data",
    "device",
    "drawn",
    "full",
    "image_limits",
    "images",
    "images_per_class",
    "limit",
    "of_setting",
    "offline",
    "output",
    "printed",
    "prompts",
    "read",
    "runs",
    "to_run",
    "written",
]

Command = TypeVar("Command", bound=Callable[..., Any])


def _hear_offline(ctx: click.Context, parameter: click.Parameter, value: bool) -> bool:
    """huggingface_hub reads its environment when it is imported, so this comes before everything else."""
    if value:
        os.environ["HF_HUB_OFFLINE"] = "1"
    return value or os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def _read_none(ctx: click.Context, parameter: click.Parameter, value: str) -> int | None:
    """A count, or the word for leaving it open."""
    if value == parameter.default:
        return None
    if not value.isdecimal() or int(value) < 1:
        raise click.BadParameter(f"{value!r} is neither {parameter.default} nor a whole number, at least 1")
    return int(value)


def _read_grid(ctx: click.Context, parameter: click.Parameter, value: Path | None) -> GridFile | None:
    """Make the values of the file the defaults of the other options."""
    if value is None:
        return None
    from compbench.runs.grid_file import read

    # its keys are the long names of the options; "format" is the option of the parameter `style`
    named = {
        option.opts[0].removeprefix("--"): option
        for option in ctx.command.params
        if isinstance(option, click.Option) and option.opts[0] not in _NOT_IN_A_GRID
    }
    switches = [name for name, option in named.items() if option.is_flag]
    lists = [name for name, option in named.items() if option.multiple]
    grid = read(value, named, switches, lists)
    ctx.default_map = {**(ctx.default_map or {}), **{str(named[k].name): given for k, given in grid.settings.items()}}
    return grid


class _UserPath(click.Path):
    """A path with `~` as the home folder, wherever it is given: in quotes, after `=` or in a grid file."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        from compbench.core.disk import expanded

        return expanded(str(super().convert(value, param, ctx)))


def _limit_images(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Apply the image limits for as long as the command lasts."""
    if value is not None and value != parameter.default:
        from compbench.core import image_files

        limit = "max_pixels" if parameter.name == "max_pixels" else "follows_links"
        ctx.with_resource(image_files.limited(**{limit: value}))


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


# of files that hold no plain text: a table in one of them could not be opened
_NO_TEXT = (
    *(".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".svg", ".pdf", ".eps", ".ps"),
    *(".html", ".xlsx", ".ods", ".docx", ".parquet", ".npy", ".npz"),
)


def _check_file(pictures: Sequence[str]) -> Callable[[click.Context, click.Parameter, Path | None], Path | None]:
    """A callback that refuses a file which the command can neither draw nor write as text."""

    def check(ctx: click.Context, parameter: click.Parameter, value: Path | None) -> Path | None:
        if value is not None and (suffix := value.suffix.lower()) in _NO_TEXT and suffix not in pictures:
            pictured = f"{', '.join(pictures)} (a picture), or " if pictures else ""
            raise click.BadParameter(
                f"{value.name!r} cannot be written; expected {pictured}.txt, .md, .csv, .json or .tex, which hold text"
            )
        return check_folder(ctx, parameter, value)

    return check


def _together(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Several options as one decorator."""

    def decorate(function: Command) -> Command:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def of_setting(name: str, **changes: Any) -> Callable[[Command], Command]:
    """The option of a setting of RunRequest, from the type, the default and the help that it has there."""
    field = setting(name)
    about, kinds = field.metadata, get_args(field.type) or (field.type,)
    flag = about.get("flag") or f"--{name.replace('_', '-')}"
    attributes: dict[str, Any] = {"help": about["help"], "metavar": about.get("metavar")}
    if field.type is bool:
        attributes |= {"is_flag": True} if not field.default else {"flag_value": False, "default": True}
    elif "none" in about:
        attributes |= {"default": about["none"], "show_default": True, "callback": _read_none}
    elif get_origin(field.type) is Literal:
        attributes |= {"type": click.Choice(list(kinds)), "default": field.default}
    elif get_origin(field.type) is Sequence:
        attributes |= {"type": PATH, "multiple": True}
    else:
        attributes |= {"type": _type_of(kinds, is_count="is_count" in about)}
        attributes |= {} if field.default is None else {"default": field.default, "show_default": True}
    spelled = [flag, *([about["short"]] if "short" in about else []), name]
    return click.option(*spelled, **(attributes | changes))


def _type_of(kinds: tuple[Any, ...], *, is_count: bool) -> Any:
    if Path in kinds:
        return PATH
    if int in kinds:
        return at_least(1) if is_count else int
    return at_least(0, float) if float in kinds else str


_NOT_IN_A_GRID = ("--model", "--option", "--config", "--shard", "--dry-run", "--help")
PATH = _UserPath()
runs, data, images, prompts = map(of_setting, ("runs", "data", "images", "prompts"))
limit, images_per_class, device = of_setting("limit"), of_setting("images_per_class"), of_setting("device")
offline = of_setting("is_offline", is_eager=True, callback=_hear_offline)
# of the commands that read images but run nothing; `run` and `reproduce` have them among the settings
image_limits = _together(
    of_setting("max_pixels", expose_value=False, callback=_limit_images),
    of_setting("follow_links", expose_value=False, callback=_limit_images),
)
_style = click.option(
    "--format",
    "style",
    type=click.Choice(FORMATS),
    default="table",
    show_default=True,
    help="Format of the result.",
)
by = click.option(
    "--by",
    multiple=True,
    metavar="COLUMN",
    shell_complete=completing.tags,
    help="Tag column of the table (repeatable); default: tag.",
)
broken_down = _together(
    click.option(
        "--by",
        multiple=True,
        metavar="COLUMN",
        shell_complete=completing.tags,
        help="Tag column (repeatable), caption_length, or with show also margin; default: tag.",
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
        shell_complete=completing.options,
        help="How stored errors are read (repeatable): draws, target, loss, weight, timesteps, guidance, unconditional "
        "or normalise, such as -o draws=16; else as the run's first command read them, on all draws that are stored.",
    ),
    click.option("--limit", "-L", type=at_least(1), help="Read only the subset that run --limit measures."),
)


def written(help: str, metavar: str = "FILE") -> Callable[[Command], Command]:
    """An --output without which a command does nothing."""
    return click.option("--output", required=True, type=PATH, callback=check_folder, metavar=metavar, help=help)


def _output(pictures: Sequence[str] = ()) -> Callable[[Command], Command]:
    help = "Write the result to this file, not stdout."
    return click.option("--output", type=PATH, callback=_check_file(pictures), metavar="FILE", help=help)


def drawn(pictures: Sequence[str]) -> Callable[[Command], Command]:
    """The options of a result that an --output of one of these suffixes has drawn."""
    return _together(_style, _output(pictures))


output = _output()
printed = _together(_style, output)
full = click.option("--full", "is_full", is_flag=True, help="Print everything: cost, ties, signatures, every test.")
to_run = _together(
    click.option(
        "--model",
        "-m",
        "models",
        multiple=True,
        metavar="MODEL",
        shell_complete=completing.models,
        help="A name or scheme:ADDRESS (repeatable, or a,b).",
    ),
    click.option(
        "--option",
        "-o",
        "options",
        multiple=True,
        metavar="[MODEL.]K=V",
        shell_complete=completing.options,
        help="An option of a model, such as -o draws=100 (repeatable).",
    ),
    click.option(
        "--config",
        "grid",
        type=PATH,
        is_eager=True,
        callback=_read_grid,
        metavar="FILE",
        help="A grid in TOML: tasks, models, options, limit ...; the command line overrides it.",
    ),
    *(
        offline if name == "is_offline" else of_setting(name)
        for name, field in RunRequest.__dataclass_fields__.items()
        if name not in ("task", "model", "options") and "in_python" not in field.metadata
    ),
)
