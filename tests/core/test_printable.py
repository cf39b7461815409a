"""Text from data, wherever it is shown: nothing in it reaches a terminal, a table, a page or a spreadsheet raw."""

from __future__ import annotations

import csv
import html
import io
import json
import re
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from compbench.core.printable import UNSAFE, from_cell, printable, to_cell, width
from compbench_analysis.text.render import Grid, records, render

NASTY = (
    "red\x1b[31mtext\x1b]0;title\x07",
    "dog\nwith newline",
    "a\u202ecod\u2066x",
    "line\u2028separator\x85",
    "<script>alert(1)<",
    "x\"y'z|&_$#^~\\",
    "=1+2",
    "@SUM(A1)",
    "*bold* _it_ `code` [a](b) ![i](j) &amp; ~~s~~ $x^2$",
    "猫",
    "",
)
any_text = st.text(st.characters(codec=None), max_size=30)


@given(any_text)
def test_what_is_printable_is_one_line_that_no_terminal_acts_upon(text: str) -> None:
    shown = printable(text)
    assert not UNSAFE.search(shown)
    assert len(shown.splitlines()) <= 1
    shown.encode()


@given(any_text)
def test_a_cell_gives_back_its_text_and_begins_no_formula(text: str) -> None:
    cell = to_cell(text)
    assert from_cell(cell) == text
    if cell[:1] in tuple("=+-@\t\r") and cell:
        float(cell.replace(",", "").replace("_", "x"))  # a number, and nothing else


@pytest.mark.parametrize("number", ["-0.25", "+3", "1e-5", "-1,600", "-inf"])
def test_a_number_stays_a_number(number: str) -> None:
    assert to_cell(number) == number == from_cell(number)


@given(st.lists(st.tuples(any_text, any_text), min_size=1, max_size=4), any_text)
def test_a_table_has_a_line_for_each_row_whatever_its_cells_hold(rows: list[tuple[str, str]], note: str) -> None:
    lines = render([Grid(("a", "b"), tuple(rows), title=note, notes=(note,))], "table").split("\n")
    assert len(lines) == bool(note) + 2 + len(rows) + 2  # the notes stand below an empty line
    assert not any(UNSAFE.search(line) for line in lines)


def test_columns_line_up_under_wide_letters() -> None:
    lines = render([Grid(("class", "n"), (("猫", "1"), ("cat", "22")), align="lr")], "table").split("\n")
    assert {width(line) for line in lines} == {9}


@given(st.lists(st.tuples(any_text, any_text), min_size=1, max_size=4))
def test_markdown_shows_the_text_itself(rows: list[tuple[str, str]]) -> None:
    page = (
        MarkdownIt("commonmark")
        .enable(["table", "strikethrough"])
        .render(render([Grid(("a", "b"), tuple(rows))], "markdown"))
    )
    cells = [html.unescape(cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", page, re.DOTALL)]
    expected = [re.sub(" +", " ", printable(cell).strip()).replace("[ ", "[") for row in rows for cell in row]
    assert cells == [cell.strip() for cell in expected]


@given(any_text)
def test_a_markdown_note_is_one_list_item(note: str) -> None:
    page = MarkdownIt("commonmark").render(render([Grid((), (), title="t", notes=(note,))], "markdown"))
    assert page.count("<li>") == 1
    assert "<h" not in page
    assert "<script" not in page


@given(st.lists(st.fixed_dictionaries({"name": any_text, "n": st.integers() | st.none()}), min_size=1, max_size=4))
def test_csv_and_json_hold_every_value(rows: list[dict[str, object]]) -> None:
    read = list(csv.DictReader(io.StringIO(records(rows, "csv"))))
    assert [from_cell(row["name"]) for row in read] == [printable(cast(str, row["name"])) for row in rows]
    text = records(rows, "json")
    assert json.loads(text) == rows
    assert not any(UNSAFE.search(line) for line in text.split("\n"))
