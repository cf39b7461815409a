"""A hook of mkdocs: the manual also has the pages outside docs/, and a reference made from the help of each command.

A page's links are those of the repository, where they work as well; here they become the manual's.
"""

from __future__ import annotations

import inspect
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from markdown import Extension, Markdown
from markdown.preprocessors import Preprocessor
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from compbench.cli.app import group

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
START = "start.md"  # index.md is the manual's own
COMMANDS = "<!-- here stands the help of every command -->"
SIGNS = re.compile(r"[\\*_`<|\[\]]")
OPTION = re.compile(r"(?<![\w-])--?\w[\w-]*")
LINK = re.compile(r"(?<=\]\()(?!https?:|mailto:|#)([^)#\s]+)")


def on_config(config: MkDocsConfig) -> None:
    config.markdown_extensions.append(Doctests())  # mkdocstrings reads docstrings with the same extensions


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the navigation that stand outside docs/, and the files that pages link to."""
    pages = {_place(page) for page in _leaves(config.nav)}
    linked = {place for page in pages for place in _linked(page)}
    for place in sorted(pages | linked):
        if not place.startswith("docs/") and (ROOT / place).is_file():
            files.append(File.generated(config, _site(place), abs_src_path=str(ROOT / place)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The page with its links as the manual has them."""
    here = page.file.src_uri
    place = _place(here)
    linked = LINK.sub(lambda link: _relative(_from(place, link[1]), here), markdown)
    return linked.replace(COMMANDS, "\n\n".join(_reference())) if COMMANDS in linked else linked


def _leaves(nav: Any) -> Iterator[str]:
    """The pages that a navigation of lists and titles names."""
    if isinstance(nav, str):
        yield nav
    else:
        for entry in nav.values() if isinstance(nav, dict) else nav:
            yield from _leaves(entry)


def _place(page: str) -> str:
    """Where the repository has a page of the navigation."""
    return "README.md" if page == START else f"docs/{page}" if (DOCS / page).is_file() else page


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
    """Each command's help as Markdown: its sentences, its usage, its examples and its options."""
    context = click.Context(group, info_name="compbench")
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        inner = click.Context(command, info_name=name, parent=context)
        yield f"## compbench {name}"
        paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
        yield from (text for text in paragraphs if not text.startswith("\b"))
        yield _fenced(command.get_usage(inner).removeprefix("Usage: "))
        yield from (_fenced(text.removeprefix("\b\n")) for text in paragraphs if text.startswith("\b"))
        yield "\n".join(_options(command, inner))


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    """A table that a narrow screen can wrap, which the printed columns of the help cannot be."""
    yield "| option | meaning |"
    yield "|---|---|"
    for parameter in command.get_params(context):
        if record := parameter.get_help_record(context):
            spelled, meaning = map(_escaped, record)
            coded = OPTION.sub(r"`\g<0>`{.whole}", spelled)
            yield f"| {coded} | {meaning} |"


def _escaped(text: str) -> str:
    """Plain text as Markdown, in one line."""
    return SIGNS.sub(lambda sign: f"&#{ord(sign[0])};", " ".join(text.split()))


def _fenced(text: str) -> str:
    return f"```\n{text}\n```"


class Doctests(Extension):
    """The examples of docstrings as blocks of Python: to Markdown alone, `>>>` is a quotation in a quotation."""

    def extendMarkdown(self, md: Markdown) -> None:
        md.preprocessors.register(_Fences(md), "doctests", 40)  # before the fences of superfences, at 25


class _Fences(Preprocessor):
    def run(self, lines: list[str]) -> list[str]:
        fenced: list[str] = []
        is_inside = False
        for line in lines:
            if line.startswith(">>> ") and not is_inside:
                fenced, is_inside = [*fenced, "", "```pycon"], True
            elif is_inside and not line.strip():
                fenced, is_inside = [*fenced, "```"], False
            fenced.append(line)
        return [*fenced, "```"] if is_inside else fenced
