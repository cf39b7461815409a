"""Winoground's "why is it hard" tags: the counts that their authors print, on the whole published set alone."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from compbench.tasks.matching._why_hard import N_TAGGED, TAGS, why_hard
from winoground_files import ROWS, read, write_parquet

pytestmark = pytest.mark.usefixtures("own_cache")


def test_the_counts_are_those_of_their_authors() -> None:
    tags = [why_hard(str(number)) for number in range(N_TAGGED)]
    counts = Counter(tag for own in tags for tag in own)
    assert counts == {
        "Complex Reasoning": 78,
        "Unusual Image": 56,
        "Unusual Text": 50,
        "Ambiguously Correct": 46,
        "Visually Difficult": 38,
        "Non Minimal": 30,
        "Vanilla": 172,
    }
    assert max(map(len, tags)) == 4
    assert sum(counts.values()) > N_TAGGED  # tags overlap: their shares do not sum to one


@pytest.mark.slow
def test_the_whole_set_has_them_and_a_part_of_it_has_not(tmp_path: Path) -> None:
    whole = read(write_parquet(tmp_path / "whole", [ROWS[number % 7] | {"id": number} for number in range(N_TAGGED)]))
    assert whole.tag_order["why"] == TAGS
    assert {example.id: example.tags["why"] for example in whole.examples}["36"] == why_hard("36")
    part = read(write_parquet(tmp_path / "part"))
    assert "why" not in part.tag_order
    assert all("why" not in example.tags for example in part.examples)
