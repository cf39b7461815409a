"""The command `compbench`: the group, its exit codes and what it says when a command fails.

stdout is the result, stderr the progress. A command's module is imported when the command is used, so that help and
list answer at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

import click

from compbench.cli import streams
from compbench.cli._exit_codes import DONE, FAILED, INTERRUPTED, MISUSED
from compbench.core.errors import DataError, MissingPackage, RunError, UsageError
from compbench.core.packages import named
from compbench.core.printable import say
from compbench.runs.interrupts import Interrupts

__all__ = ["main"]

# the commands, in the order in which they are used, and where each is
_HOMES = {
    "run": "measuring:run",
    "check": "checking:check",
    "show": "reading:show",
    "compare": "reading:compare",
    "curves": "reading:curves",
    "report": "reading:report",
    "site": "publishing:site",
    "results": "publishing:results",
    "robustness": "reading:robustness",
    "explain": "explaining:explain",
    "reproduce": "measuring:reproduce",
    "list": "looking:list_",
    "show-task": "looking:show_task",
    "import": "measuring:import_",
    "calibrate": "reading:calibrate",
    "export": "reading:export",
    "cite": "reading:cite",
    "doctor": "looking:doctor",
    "completion": "completing:completion",
}
_INTERRUPTED = "interrupted: rerun the same command to resume"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 failed, 2 misuse, 130 interrupted."""
    streams.prepare()
    interrupts = Interrupts()
    try:
        with interrupts.watched():  # from the first import on, long before anything is measured
            code = _run(arguments, interrupts)
    except BaseException:
        if not interrupts.is_asked:
            raise
        code = _fail(_INTERRUPTED, INTERRUPTED)
    streams.settle()
    # a library may have turned the signal into an error of its own, such as that it cannot be imported
    return INTERRUPTED if interrupts.is_asked and code != DONE else code


def _run(arguments: Sequence[str] | None, interrupts: Interrupts) -> int:
    code: object = DONE
    words = list(sys.argv[1:] if arguments is None else arguments)
    arguments = [*words[1:2], "--help"] if words[:1] == ["help"] else words
    try:
        with named():
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
        code = _fail(_misuse(error, arguments), MISUSED)
    except (DataError, MissingPackage, RunError) as error:
        if isinstance(error, MissingPackage) and interrupts.is_asked:
            raise  # nothing is missing: the signal came in the middle of an import
        code = _fail(f"error: {error}", FAILED)
    return code if isinstance(code, int) else DONE


def _with_dashes(name: str) -> str:
    """--batch_size is --batch-size."""
    return name.replace("_", "-")


class _Commands(click.Group):
    """Commands, each imported when it is asked for; a wrong one is answered with the nearest."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_HOMES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _HOMES:
            return None
        module, _, function = _HOMES[cmd_name].partition(":")
        return getattr(import_module(f"compbench.cli.{module}"), function)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and self.get_command(ctx, _with_dashes(args[0])) is None:
            from compbench.core.suggestions import unknown

            raise unknown("command", args[0], _HOMES)
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


def _misuse(error: click.ClickException | UsageError, arguments: Sequence[str]) -> str:
    if isinstance(error, click.NoSuchOption) and (meant := _option_of_a_model(error, arguments)):
        return f"error: no such option: {error.option_name}; an option of the model is given as {meant}"
    if isinstance(error, click.NoSuchOption) and (folder := _named_as_option(error, arguments)):
        return f"error: {folder!r} is read as an option; write ./{folder} for the file or folder"
    if isinstance(error, click.UsageError) and error.ctx is not None:
        return f"error: {error.format_message()} (see {error.ctx.command_path} --help)"
    return f"error: {error.format_message() if isinstance(error, click.ClickException) else error}"


def _named_as_option(error: click.NoSuchOption, arguments: Sequence[str]) -> str:
    """The file or folder whose name begins with a dash, and which the parser took for an option; "" where none is."""
    return next((word for word in arguments if word.startswith(error.option_name) and os.path.exists(word)), "")


def _option_of_a_model(error: click.NoSuchOption, arguments: Sequence[str]) -> str:
    """'-o draws=8', where --draws 8 is given to a command that takes -o; empty for any other option."""
    if error.ctx is None or not any("-o" in option.opts for option in error.ctx.command.params):
        return ""
    from compbench import registry
    from compbench.registry.names import options

    name = error.option_name.lstrip("-").replace("-", "_")
    asked = [
        word
        for word in ("tiny-sd", "tiny-clip", "tiny-dit", "small-resnet")
        if name in options(registry.model(word)[1])
    ]
    if not asked:
        return ""
    given = next((word for word in arguments if word.replace("_", "-").startswith(error.option_name)), "")
    at = list(arguments).index(given) + 1 if given else len(arguments)
    value = given.partition("=")[2] or (arguments[at] if at < len(arguments) else "")
    return f"-o {name}={value if value and not value.startswith('-') else '...'}"


def _fail(message: str, code: int) -> int:
    say(message)
    return code
