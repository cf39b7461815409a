"""The benchmarks run for real and count what they should; how long they take is only printed."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
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


@pytest.mark.parametrize("path", sorted((ROOT / "tests" / "benchmarks").glob("*.py")), ids=lambda path: path.stem)
def test_a_benchmark_imports_the_tests_helpers_by_their_whole_name(path: Path) -> None:
    """`python -m tests.benchmarks.NAME` has the top of the repository on its path, not the folder of the tests."""
    helpers = {file.stem for file in path.parents[1].rglob("*.py")}
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    names = [name for node in nodes if isinstance(node, ast.Import | ast.ImportFrom) for name in modules(node)]
    assert [name for name in names if name.split(".")[0] in helpers] == []


def modules(node: ast.Import | ast.ImportFrom) -> list[str]:
    return [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]


@pytest.mark.slow
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


@pytest.mark.slow
def test_work_and_storage_grow_with_the_examples_and_nothing_else_does() -> None:
    few, many = answer("tests.benchmarks.overhead", "--examples", "16", "256")
    assert few["errors_stored"] * 16 == many["errors_stored"] == 256 * 4 * 16
    assert few["network_evaluations"] == 1024  # one batch
    assert many["network_evaluations"] == 256 * 4 * 16
    assert many["store_bytes"] < 16 * few["store_bytes"]


@pytest.mark.slow
def test_the_published_imagenet_schedule_costs_what_the_paper_says() -> None:
    (row,) = answer("tests.benchmarks.overhead", "--classes", "--examples", "1")
    assert row["errors_stored"] == 124_500


@pytest.mark.slow
def test_pictures_are_decoded_ahead_of_the_network_and_a_manifest_is_listed_in_little_memory() -> None:
    found = answer("tests.benchmarks.loading", "--pictures", "40", "--listed", "2000")
    assert [row["model"] for row in found["runs"]] == ["tiny-clip", "tiny-sd"]
    assert all(0 <= row["share"] < 1 for row in found["runs"])
    assert found["runs"][1]["share"] < 0.5  # its network takes longer than the pictures
    assert found["listed"]["bytes_per_example"] < 4_000


@pytest.mark.slow
def test_every_kind_of_scorer_does_less_than_the_plain_loop_for_the_same_scores() -> None:
    rows = answer("tests.benchmarks.scorers", "--examples", "4", "--times", "1")
    by_scorer = {
        plain["scorer"].split(" (")[0]: (plain, ours) for plain, ours in zip(rows[::2], rows[1::2], strict=True)
    }
    assert len(by_scorer) == 5
    for scorer in ("cross encoder", "image tokens", "VQAScore"):  # sixteen pairs of eight pictures
        plain, ours = by_scorer[scorer]
        assert (plain["pictures"], ours["pictures"]) == (16, 8)
        assert ours["calls"] < plain["calls"] == 16
    plain, ours = by_scorer["VQAScore"]
    assert ours["positions"] < 0.7 * plain["positions"]
    assert [row["calls"] for row in by_scorer["text-only prior"]] == [8, 1]


@pytest.mark.slow
def test_every_step_on_a_run_costs_time_and_memory_linear_in_its_examples() -> None:
    rows = answer("tests.benchmarks.growth", "--examples", "500", "4000")
    (few, few_mib), (many, many_mib) = (
        ({step: row[step][column] for step in row if not step.startswith("wall")} for column in (0, 1))
        for row in rows.values()
    )
    assert list(few) == ["append", "show of all parts", "continue", "done", "show", "compare", "report"]
    for step in few:  # eight times as many; what is quadratic would cost 64 times as much
        assert many[step] < 24 * few[step], step
        assert many_mib[step] < 16 * few_mib[step] + 50, step


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium on this machine")
def test_a_report_grows_in_line_with_its_pictures_and_opens_in_a_browser() -> None:
    rows = answer("tests.benchmarks.page", "--examples", "50", "400")
    few, many = rows.values()
    assert 5 < many["MB"] / few["MB"] < 9  # eight times as many pictures
    assert many["CPU, s"] < 16 * few["CPU, s"]
    assert all(0 < row["first card, s"] < row["first answer, s"] for row in rows.values())


@pytest.mark.slow
def test_loops_take_turns_in_processes_of_their_own() -> None:
    words = ("--subjects", "tiny-sd", "tiny-clip each thrice", "--turns", "2", "--examples", "3")
    for row in answer("tests.benchmarks.turns", *words):
        assert 0 < row["low"] < row["ratio"] < row["high"]
        assert min(row["our_seconds"], row["other_seconds"]) > 0


SWITCHES = ["as it is by default, eager", "autotuner off", "autoencoder in bfloat16", "encoders in uneven batches"]


@pytest.mark.slow
@pytest.mark.parametrize("family", ["sd2", "sd3"])
def test_every_switch_is_measured_beside_the_published_loop(family: str) -> None:
    words = ("--family", family, "--small", "--examples", "1", "--draws", "8", "--repeats", "2", "--batch-size", "8")
    published, *ours = answer("tests.benchmarks.engine", *words)
    assert published["name"] == "published"
    assert published["low"] == published["ratio"] == published["high"] == 1
    assert [row["name"] for row in ours] == [*SWITCHES, "compiled"]  # TF32 is of GPUs
    for row in ours:
        assert 0 < row["low"] < row["ratio"] < row["high"]
        assert row["tflops"] > 0
        assert row["peak_memory_bytes"] is None
