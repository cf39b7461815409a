"""A hook of mkdocs: the manual also has the pages outside docs/, and a reference made from the help of each command.

A page's links are those of the repository, where they work as well; here they become the manual's.
"""

from __future__ import annotations

import inspect
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from compbench.cli.app import group

ROOT = Path(__file__).parents[1]
START = "start.md"  # index.md is the manual's own
OUTSIDE = (
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "baselines/README.md",
    "analysis/README.md",
    "compbench/tiny/README.md",
)
COMMANDS = "<!-- here stands the help of every command -->"
LINK = re.compile(r"(?<=\]\()(?!https?:|mailto:|#)([^)#\s]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages outside docs/ and the files that they link to."""
    linked = {place for page in OUTSIDE for place in _linked(page)}
    for place in sorted({*OUTSIDE, *linked}):
        if not place.startswith("docs/") and (ROOT / place).is_file():
            files.append(File.generated(config, _site(place), abs_src_path=str(ROOT / place)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The page with its links as the manual has them."""
    here = page.file.src_uri
    place = "README.md" if here == START else here if here in OUTSIDE else f"docs/{here}"
    linked = LINK.sub(lambda link: _relative(_from(place, link[1]), here), markdown)
    return linked.replace(COMMANDS, "\n\n".join(_reference())) if COMMANDS in linked else linked


def _linked(page: str) -> set[str]:
    return {_from(page, link) for link in LINK.findall((ROOT / page).read_text(encoding="utf-8"))}


def _from(page: str, link: str) -> str:
    """The place in the repository that a page's link means."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), link))


def _site(place: str) -> str:
    return START if place == "README.md" else place.removeprefix("docs/")


def _relative(place: str, here: str) -> str:
    return posixpath.relpath(_site(place), posixpath.dirname(here) or ".")


def _reference() -> Iterator[str]:
    """Each command's help as Markdown: its sentences, its examples, its usage and its options."""
    context = click.Context(group, info_name="compbench")
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        inner = click.Context(command, info_name=name, parent=context)
        yield f"## compbench {name}"
        yield from map(_paragraph, inspect.cleandoc(command.help or "").split("\n\n"))
        yield _fenced(command.get_usage(inner))
        formatter = inner.make_formatter()
        command.format_options(inner, formatter)
        yield _fenced(formatter.getvalue().strip("\n"))


def _paragraph(text: str) -> str:
    return _fenced(text.removeprefix("\b\n")) if text.startswith("\b") else text


def _fenced(text: str) -> str:
    return f"```text\n{text}\n```"
