"""What the table and its long form say of a race that had nothing to leave out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from compbench import registry
from compbench.diffusion.families import stable_diffusion
from compbench.runs import harness
from compbench.store.run import Run
from compbench_analysis.text._racing import saved
from compbench_analysis.text.show import to_text


@pytest.fixture(scope="module")
def race(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A race of three examples on four draws, all of them its first wave."""
    task = registry.task("shapes")
    model = replace(stable_diffusion.TINY_SD, schedule="racing", tolerance=0.01, draws=4)
    runs: Path = tmp_path_factory.mktemp("raced")
    return harness.run(replace(task, examples=task.examples[:3]), model=model, runs=runs)


def test_a_race_that_measured_every_draw_is_not_said_to_have_left_some_out(race: Run) -> None:
    assert all(verdict.is_full for verdict in race.verdicts(comparisons=False).values())
    assert "left out draws" not in to_text([race])


def test_a_race_of_its_first_wave_alone_counts_no_others(race: Run) -> None:
    assert "A first wave of 3 examples was measured in full, and no other is here." in saved(race, "tiny-sd")
