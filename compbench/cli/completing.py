"""Shell completion for tasks, models, runs, tag columns and options of models; and the command that says how."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem, get_completion_class

from compbench.cli import streams
from compbench.core.errors import DataError, RunError, UsageError

__all__ = ["completion", "listed", "models", "options", "runs", "tags", "tasks"]

_VARIABLE = "_COMPBENCH_COMPLETE"
_SOURCES = {
    "bash": 'eval "$(compbench completion bash)"   # in ~/.bashrc',
    "zsh": 'eval "$(compbench completion zsh)"   # in ~/.zshrc',
    "fish": "compbench completion fish | source   # in ~/.config/fish/config.fish",
}


@click.command(short_help="Print a shell completion script.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a shell script that completes tasks, models, runs, tags and options.

    \b
    compbench completion bash
    """
    from compbench.cli.app import group

    made = get_completion_class(shell)
    assert made is not None  # click has all three
    streams.write(f"# {_SOURCES[shell]}\n{_checked(made)(group, {}, 'compbench', _VARIABLE).source()}")


def _checked(made: type[Any]) -> type[Any]:
    """Without the look at the shell's version, which starts it: another shell may be the one that reads this."""
    return type(made.__name__, (made,), {"_check_version": staticmethod(lambda: None)})


def tasks(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Tasks by name, or a folder of the user's own."""
    from compbench.registry import plugins

    if incomplete.startswith((".", "/", "~")):
        return [CompletionItem(incomplete, type="dir")]
    return _starting((entry.name for entry in plugins.entries("task")), incomplete)


def models(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Models by name, also behind a comma, and schemes."""
    from compbench.registry import plugins

    before, comma, last = incomplete.rpartition(",")
    entries = plugins.entries("model", "scheme")
    names = (f"{entry.name}:" if entry.kind == "scheme" else entry.name for entry in entries)
    return _starting((f"{before}{comma}{name}" for name in names), f"{before}{comma}{last}")


def listed(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The names that `list` has more to say about."""
    return (models if ctx.params.get("kind") == "models" else tasks)(ctx, param, incomplete)


def runs(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """task/model of the stored runs, and their tasks."""
    root = _root(ctx)
    found = [path.parent.relative_to(root).as_posix() for path in root.glob("*/*/*") if (path / "run.json").is_file()]
    names = dict.fromkeys([*found, *(name.partition("/")[0] for name in found)])
    return _starting(sorted(names), incomplete)


def tags(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The tag columns of the run that is named first, and those that every task has."""
    columns = {"caption_length"}
    references = ctx.params.get("references") or ctx.args  # as long as an option lacks its value
    with suppress(UsageError, DataError, RunError, OSError):
        from compbench.store.store import Store

        for run in Store(_root(ctx)).find_all(references[0])[:1] if references else ():
            columns |= run.task_examples.columns
    return _starting(sorted(columns), incomplete)


def options(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The options of the models that are named so far; else those that stored errors are read with."""
    from compbench import registry
    from compbench.registry.names import options as options_of

    names = [name for listed in ctx.params.get("models") or () for name in listed.split(",")]
    found: dict[str, None] = {}
    for name in names:
        with suppress(UsageError, DataError):
            found |= dict.fromkeys(f"{option}=" for option in options_of(registry.model(name)[1]))
    from compbench.store.reading import SETTINGS

    return _starting(found or [f"{name}=" for name in SETTINGS], incomplete)


def _root(ctx: click.Context) -> Path:
    return Path(ctx.params.get("runs") or os.environ.get("COMPBENCH_RUNS") or "runs").expanduser()


def _starting(names: Iterable[str], incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]
