"""Printed tables are as wide as the screen at most, whatever stands in them, and leave nothing out."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import example, given, settings

from compbench.core.printable import screen_width, width, wrapped
from compbench_analysis.text.render import Grid, render

WORDS = st.text(st.sampled_from("ab猫é e\u0301-/|.x9 "), max_size=40)
LINES = st.lists(st.tuples(WORDS, WORDS, WORDS, WORDS), min_size=1, max_size=4)


@settings(max_examples=150, deadline=None)
@example([(" /999999999", "", "", "9" * 17)], 40, "lrrr", 2)
@given(LINES, st.integers(40, 120), st.sampled_from(["llll", "lrrr", "lwlw", ""]), st.integers(1, 2))
def test_no_line_is_wider_than_the_screen(
    rows: list[tuple[str, ...]], n_columns: int, align: str, n_names: int
) -> None:
    grid = Grid(
        ("model", "a heading of words", "猫" * 9, "n"), tuple(rows), "title " * 30, ("note " * 40,), align, n_names
    )
    assert max(map(width, render([grid], "table", n_columns).splitlines())) <= n_columns


@settings(max_examples=150, deadline=None)
@given(WORDS.map(str.strip), st.integers(4, 60), st.sampled_from(["", "  "]))
def test_wrapping_keeps_every_letter_in_its_order(text: str, n_columns: int, indent: str) -> None:
    lines = wrapped(text, n_columns, indent)
    assert "".join("".join(lines).split()) == "".join(text.split())


def test_what_fits_is_left_as_it_is() -> None:
    grid = Grid(("model", "n"), (("chance", "400"), ("sd2", "24")), align="lr")
    assert render([grid], "table", 40) == "model     n\n-----------\nchance  400\nsd2      24"


def test_prose_is_wrapped_before_a_table_is_cut() -> None:
    grid = Grid(
        ("option", "what it does"), (("draws", "how many draws of the bank are measured of each pair"),), align="lw"
    )
    assert render([grid], "table", 40).splitlines() == [
        "option  what it does",
        "-" * 40,
        "draws   how many draws of the bank are",
        "        measured of each pair",
    ]


@pytest.mark.parametrize("side", ["l", "r"])
def test_a_heading_in_several_lines_is_not_broken_within_a_word(side: str) -> None:
    grid = Grid(("model", "to fetch", "network evaluations"), (("a", "0 B", "1"),), align="l" + 2 * side)
    heading = render([grid], "table", 28).split("---")[0].split()
    assert sorted(heading) == ["evaluations", "fetch", "model", "network", "to"]


def test_a_table_that_is_cut_repeats_the_names_of_its_rows() -> None:
    header = ("model", *(f"tag {n}" for n in range(8)))
    grid = Grid(header, (("sd2", *["100.0 ±1.0"] * 8),))
    lines = render([grid], "table", 40).splitlines()
    assert sum(line.startswith("sd2 ") for line in lines) == 4 == sum(line.startswith("model ") for line in lines)
    assert all(f"tag {n}" in "\n".join(lines) for n in range(8))


def test_an_interval_is_never_broken() -> None:
    lines = wrapped("a and b cannot be told apart: 93.2 and 95.5, difference −2.3 [−5.4, 0.9], p = 0.2", 67)
    assert "[−5.4, 0.9]," in lines[1]


@pytest.mark.parametrize(("columns", "expected"), [("133", 133), ("5", 40)])
def test_the_screen_is_as_wide_as_it_says(columns: str, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert screen_width() == expected


def test_notes_stand_apart_from_the_table_above_them() -> None:
    assert render([Grid(("n",), (("1",),), notes=("one",))], "table", 80).splitlines() == ["n", "-", "1", "", "one"]
