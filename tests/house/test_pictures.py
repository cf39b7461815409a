"""The pictures of the README and the manual are those that today's code draws."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]
PICTURES = runpy.run_path(str(ROOT / ".ci" / "pictures.py"))
SOURCES = runpy.run_path(str(ROOT / ".ci" / "sources.py"))
IMAGE = re.compile(r"!\[[^]]*\]\(([^)]+)\)")


def test_no_picture_is_older_than_what_draws_it() -> None:
    assert PICTURES["stale"]() == [], f"run `{PICTURES['COMMAND']}` and look at what it made"


def test_every_picture_on_a_page_is_made_by_the_script() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    shown = {
        str((page.parent / place).resolve().relative_to(ROOT))
        for page in pages
        for place in IMAGE.findall(page.read_text(encoding="utf-8"))
    }
    assert shown
    assert shown <= PICTURES["SOURCES"].keys()


def test_a_picture_is_stale_once_its_code_changes_and_not_for_a_comment(tmp_path: Path) -> None:
    code, file = SOURCES["code"], tmp_path / "module.py"
    digests = []
    for text in ('"""One."""\nx = 1\n', '"""Another."""\nx = 1  # why\n', "x = 2\n"):
        file.write_text(text, encoding="utf-8")
        digests.append(SOURCES["digest"]([code(file)]))
    assert digests[0] == digests[1] != digests[2]


def test_the_wording_of_a_refusal_counts_only_where_it_is_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    told = {True: set[bytes](), False: set[bytes]()}
    for text in ('if x:\n    raise ValueError("no")\n', 'if x:\n    raise ValueError("not so")\n'):
        file.write_text(text, encoding="utf-8")
        for with_refusals, found in told.items():
            found.add(SOURCES["code"](file, with_refusals=with_refusals))
    assert (len(told[True]), len(told[False])) == (2, 1)
