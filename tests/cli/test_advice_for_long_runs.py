"""A dry run of more than a day names what makes it cheaper, and only what the model has."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from compbench.cli import listing
from compbench.runs.plan import Plan

LONG = Plan("shapes", "m", 400, 1600, 10**9, 1.0, 1e6, 0, 100, Path("runs"), False, has_draws=True)


def told(plan: Plan, capsys: pytest.CaptureFixture[str]) -> str:
    print(listing.plans([plan], "table"))
    return " ".join(capsys.readouterr().out.split())


def test_fewer_draws_are_advised_where_there_are_draws(capsys: pytest.CaptureFixture[str]) -> None:
    assert "more than a day: fewer draws (-o draws=N, more can be added later), --limit N or a GPU" in told(
        LONG, capsys
    )


def test_a_model_that_learns_is_told_its_own_option(capsys: pytest.CaptureFixture[str]) -> None:
    said = told(replace(LONG, has_draws=False, fewer_by="n_per_class"), capsys)
    assert "more than a day: fewer pictures to learn from (-o n_per_class=N) or a GPU would make it cheaper" in said
    assert "draws=N" not in said


def test_a_model_without_draws_is_not_told_to_take_fewer(capsys: pytest.CaptureFixture[str]) -> None:
    said = told(replace(LONG, has_draws=False), capsys)
    assert "more than a day: --limit N or a GPU would make it cheaper" in said
    assert "draws" not in said
