"""The benchmarks run for real and count what they should; how long they take is only printed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow
COLUMNS = [
    "name",
    "network_evaluations",
    "host_syncs",
    "evaluations_per_second",
    "tflops",
    "ceiling_share",
    "peak_memory_bytes",
    "decisions_changed",
]


def answer(*arguments: str) -> Any:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_loop_measures_the_same_decisions_and_ours_waits_least() -> None:
    rows = answer("tests.benchmarks.engine", "--examples", "3", "--draws", "64", "--repeats", "1")
    assert [row["name"] for row in rows] == ["literal", "diffusers", "eager", "compiled", "racing"]
    assert all(list(row) == COLUMNS for row in rows)
    literal, diffusers, eager, compiled, racing = rows
    n = 3 * 4 * 64
    assert literal["network_evaluations"] == diffusers["network_evaluations"] == n
    assert eager["network_evaluations"] == compiled["network_evaluations"] == n  # 24 batches of 32, none padded
    assert racing["network_evaluations"] < n
    assert literal["host_syncs"] == n / 32  # one a batch
    # a chunk is a second's batches, 16 at most: two chunks where that is quick, and never more than a batch each
    assert 2 <= eager["host_syncs"] <= n / 32
    assert [row["decisions_changed"] for row in rows[:4]] == [0, 0, 0, 0]


def test_work_and_storage_grow_with_the_examples_and_nothing_else_does() -> None:
    few, many = answer("tests.benchmarks.growth", "--examples", "16", "256")
    assert few["errors_stored"] * 16 == many["errors_stored"] == 256 * 4 * 16
    assert few["network_evaluations"] == 1024  # one batch
    assert many["network_evaluations"] == 256 * 4 * 16
    assert many["store_bytes"] < 16 * few["store_bytes"]


def test_the_published_imagenet_schedule_costs_what_the_paper_says() -> None:
    (row,) = answer("tests.benchmarks.growth", "--classes", "--examples", "1")
    assert row["errors_stored"] == 124_500
