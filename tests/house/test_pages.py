"""What the pages, the notebooks and the docstrings name is there: modules, their names, files and links."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import compbench
import import_graph
from import_graph import FOLDERS, ROOT

NAME = re.compile(r"\b(?:compbench|compbench_analysis|compbench_baselines|tests)(?:\.[A-Za-z_]\w*)+")
PLACE = re.compile(r"(?<![\w/.~:-])(?:compbench|analysis|baselines|tests|notebooks|docs|\.ci)/[\w./-]*\w")
FILE = re.compile(r"(?<![\w*])\w+\.py\b")
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")
ANCHOR = re.compile(r"\]\((?!https?:|#)([^)#]+)#([^)]+)\)")
OF_ANALYSIS = re.compile(r"`((?:frames|statistics|figures|text|report)(?:\.\w+)+)")
ENTRY_POINTS = set(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"])


def pages() -> Iterator[tuple[Path, str]]:
    """The pages for people, with their text; the changelog tells of what has gone."""
    for path in sorted(ROOT.rglob("*.md")):
        if path.relative_to(ROOT).parts[0] not in ("runs", "CHANGELOG.md"):
            yield path, path.read_text(encoding="utf-8")


def sources() -> Iterator[tuple[Path, str]]:
    """The notebooks' cells and the packages' files."""
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        yield path, "\n".join("".join(cell["source"]) for cell in cells)
    for path in import_graph.modules().values():
        yield path, path.read_text(encoding="utf-8")


def is_there(name: str) -> bool:
    """Whether a module, or what stands behind the dots after one, can be imported."""
    parts = name.split(".")
    for n in range(len(parts), 0, -1):
        try:
            found: Any = import_module(".".join(parts[:n]))
        except ModuleNotFoundError:
            continue
        return all((found := getattr(found, part, None)) is not None for part in parts[n:])
    return False


def at(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_every_dotted_name_of_ours_can_be_imported() -> None:
    named = {(at(path), name) for path, text in (*pages(), *sources()) for name in NAME.findall(text)}
    unknown = {name for _, name in named if name not in ENTRY_POINTS and not is_there(name)}
    assert sorted((place, name) for place, name in named if name in unknown) == []


def test_every_name_of_the_analysis_page_can_be_imported() -> None:
    text = (ROOT / "analysis" / "README.md").read_text(encoding="utf-8")
    names = OF_ANALYSIS.findall(text)
    assert len(names) > 20
    assert [name for name in names if not is_there(f"compbench_analysis.{name}")] == []


def test_every_file_that_a_page_or_a_source_names_is_there() -> None:
    named = {(at(path), place) for path, text in (*pages(), *sources()) for place in PLACE.findall(text)}
    assert sorted((page, place) for page, place in named if not (ROOT / place).exists()) == []


def test_every_file_of_python_that_a_page_or_a_source_names_is_one_of_ours() -> None:
    ours = {path.name for folder in (*FOLDERS.values(), ROOT / "tests") for path in folder.rglob("*.py")}
    others = {"pretrained.py"}  # open_clip's
    told = {
        (at(path), name)
        for path, text in (*pages(), *sources())
        if path.name != "ARCHITECTURE.md"  # its examples have names of their own
        for name in FILE.findall(text)
    }
    assert sorted((page, name) for page, name in told if name not in ours | others) == []


def test_every_link_within_the_pages_leads_somewhere() -> None:
    links = [(path, link) for path, text in pages() for link in LINK.findall(text)]
    assert links
    assert sorted((at(path), link) for path, link in links if not (path.parent / link).exists()) == []


def test_every_anchor_of_a_link_is_a_heading() -> None:
    links = [(path, *link) for path, text in pages() for link in ANCHOR.findall(text)]
    assert len(links) > 30
    wrong = [(at(path), page, anchor) for path, page, anchor in links if anchor not in anchors(path.parent / page)]
    assert wrong == []


def anchors(path: Path) -> set[str]:
    """What a link may end in: each heading in lower case, its words joined by hyphens, without other signs."""
    outside = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ (.+)$", outside, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in titles}


def test_the_manual_lists_each_of_its_pages() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    listed = re.findall(r"([\w./-]+\.md)$", text, re.MULTILINE)
    assert {path.name for path in (ROOT / "docs").glob("*.md")} <= set(listed)
    outside = [page for page in listed if page != "start.md" and not (ROOT / "docs" / page).exists()]
    assert [page for page in outside if not (ROOT / page).exists()] == []


def test_the_reference_has_every_public_name() -> None:
    documented = re.findall(
        r"^::: [\w.]+\.(\w+)$", (ROOT / "docs" / "api.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert sorted(documented) == sorted(compbench.__all__)


def test_the_readme_can_be_read_in_five_minutes() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE).split()) <= 900


def test_what_is_not_there_is_told() -> None:
    assert is_there("compbench.core.examples.Image.decode")
    assert not is_there("compbench.core.examples.Taks")
    assert not is_there("compbench.cores")
    assert is_there("compbench.run")


def test_each_name_on_the_page_of_python_has_an_example_that_runs() -> None:
    named = re.findall(r"^::: (\S+)$", (ROOT / "docs" / "api.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(named) >= 20
    assert [name for name in named if ">>>" not in (documented(name).__doc__ or "")] == []


def documented(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    return getattr(import_module(module), attribute)
