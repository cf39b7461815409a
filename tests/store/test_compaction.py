"""Small parts are put together: no bit that is read changes, whoever reads, and no crash loses or repeats anything."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import fakes
from compbench.core.measurements import DrawTable, Measurement, ScoreMatrix
from compbench.schedules.racing import Racing
from compbench.store import _compaction
from compbench.store.key import RunKey
from compbench.store.run import Run
from compbench.store.store import Store
from compbench.store.writer import RunWriter
from noisy import N_BANK, NoisySpec, classes

GOLDEN = Path(__file__).parents[1] / "golden"
TASK, N_PARTS = fakes.task(12), 70
LEVEL = np.full(N_BANK, np.sqrt(0.5), np.float32)
BANK = DrawTable(np.arange(N_BANK, dtype=np.float32) * 100, LEVEL, LEVEL, "v")
# argv: the folder of a run, that of copies, numbers. Copy n is compacted by a process that is killed as it changes a
# file for the n-th time; prints which were
KILLED = """
import os, shutil, signal, sys
from pathlib import Path
from compbench.store import _compaction
from compbench.store.run import Run
from compbench.store.writer import RunWriter

def changes(event, arguments):
    is_written = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
    return is_written or event in ("os.rename", "os.remove")

for number in map(int, sys.argv[3:]):
    copy = Path(sys.argv[2]) / str(number)
    shutil.copytree(sys.argv[1], copy)
    if (child := os.fork()) == 0:
        left = number
        def kill(event, arguments):
            global left
            if changes(event, arguments):
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
        writer = RunWriter(Run(copy))
        sys.addaudithook(kill)
        writer.repair()
        os._exit(0)
    if os.waitpid(child, 0)[1] != 0:
        print(number)
"""
# argv: the folder of a run, a number; appends parts of its own example while others compact
APPENDING = """
import sys, numpy as np
from pathlib import Path
from compbench.core.measurements import ScoreMatrix
from compbench.store.run import Run
from compbench.store.writer import RunWriter
writer, number = RunWriter(Run(Path(sys.argv[1]))), int(sys.argv[2])
for n in range(80):
    writer.append([ScoreMatrix(f"{number:04d}", np.full((2, 2), float(n)))], by=number, n=n)
"""
# argv: the folder of a run; asks for its scores until there is a file "stop"
READING = """
import sys
import time
from pathlib import Path
from compbench.store.run import Run
folder, run = Path(sys.argv[1]), Run(Path(sys.argv[1]), say=sys.exit)
run.contents.parts.bytes_to_keep = 0
n_before = 0
while not (folder / "stop").exists():
    n_done = len(run.done())
    assert n_before <= n_done <= len(run.table().ids), (n_before, n_done)
    n_before = n_done
"""


def many_parts(root: Path) -> Run:
    """A run of errors in parts of a few examples each, some of which are measured again in a later part."""
    key = RunKey(TASK.name, TASK.revision, "model", None, {"kind": "fake"})
    rng = np.random.default_rng(0)
    run = Store(root).open(key, TASK, view={"n_draws": N_BANK, "target": "eps"})
    writer = RunWriter(run)
    writer.write_draws(BANK)
    for number in range(N_PARTS):
        names = [TASK.examples[n].id for n in rng.choice(12, 1 + number % 3, replace=False)]
        draws = np.arange(N_BANK, dtype=np.int32) if number < 12 else np.sort(rng.choice(N_BANK, 3, replace=False))
        names = [TASK.examples[number].id] if number < 12 else names
        writer.append([measured(name, draws.astype(np.int32), rng) for name in names], seconds=number, host="h")
    return run


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of many parts that no test changes."""
    return many_parts(tmp_path_factory.mktemp("stored"))


@pytest.fixture
def run(stored: Run, tmp_path: Path) -> Run:
    """A copy of it, which says nothing."""
    return Run(shutil.copytree(stored.path, tmp_path / "copy"), say=pytest.fail)


def measured(name: str, draws: np.ndarray, rng: np.random.Generator) -> Measurement:
    errors = rng.random((2, 2, len(draws)), dtype=np.float32)
    return Measurement(name, draws, {"l2": errors}, np.ones(errors.shape, bool))


def assert_reads_as(run: Run, before: Run) -> None:
    assert run.done() == before.done()
    assert run.parts() == before.parts()
    np.testing.assert_array_equal(run.table().scores, before.table().scores)
    ones, others = run.measurements(), before.measurements()
    assert ones.keys() == others.keys()
    for name, measurement in ones.items():
        np.testing.assert_array_equal(measurement.errors["l2"], others[name].errors["l2"])
        np.testing.assert_array_equal(measurement.draw_ids, others[name].draw_ids)


def files(run: Run) -> list[str]:
    return sorted(path.name for path in (run.path / "errors").glob("*.parquet"))


def test_parts_become_one_and_nothing_that_is_read_changes(stored: Run, run: Run) -> None:
    lines = (run.path / "parts.jsonl").read_bytes()
    run.done()
    RunWriter(run).repair()
    assert len(files(run)) == 1
    assert (run.path / "parts.jsonl").read_bytes().startswith(lines)  # who measured what, and the digests
    assert_reads_as(Run(run.path, say=pytest.fail), stored)
    assert_reads_as(run, stored)  # and this one has looked before


def test_a_run_of_few_parts_is_left_as_it_is(run: Run) -> None:
    RunWriter(run).repair()
    RunWriter(run).append([measured("0003", np.arange(2, dtype=np.int32), np.random.default_rng(0))])
    before = files(run)
    RunWriter(run).repair()
    assert len(before) == 2
    assert files(run) == before


def test_each_row_of_a_compacted_part_tells_in_which_part_it_was_written(run: Run) -> None:
    written = [pd.read_parquet(run.path / str(part["part"])).assign(part=n) for n, part in enumerate(run.parts())]
    RunWriter(run).repair()
    pd.testing.assert_frame_equal(
        pd.read_parquet(run.path / "errors"), pd.concat(written, ignore_index=True), check_dtype=False
    )


def test_what_is_measured_later_counts_and_is_compacted_in_turn(run: Run, tmp_path: Path) -> None:
    plain, rng = Run(shutil.copytree(run.path, tmp_path / "plain")), np.random.default_rng(1)
    RunWriter(run).repair()
    for _ in range(N_PARTS):
        again = measured("0003", np.arange(2, dtype=np.int32), rng)
        for stored_run in (run, plain):
            RunWriter(stored_run).append([again], seconds=1.0)
    assert len(files(run)) == 1 + N_PARTS
    RunWriter(run).settle(None)
    assert len(files(run)) == 1
    assert_reads_as(run, plain)


@pytest.mark.slow
def test_a_process_killed_at_any_step_loses_nothing_and_counts_nothing_twice(stored: Run, tmp_path: Path) -> None:
    copies = tmp_path / "copies"
    steps = [*range(1, 10), 40, 70, 100]  # write a part, its line; then remove the others; the last is beyond the end
    command = [sys.executable, "-c", KILLED, str(stored.path), str(copies), *map(str, steps)]
    killed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert list(map(int, killed)) == steps[:-1]
    for step in steps:
        said: list[str] = []
        run = Run(copies / str(step), say=said.append)
        assert_reads_as(run, stored)
        RunWriter(run).repair()
        assert len(files(run)) == 1, step
        assert not [*run.path.rglob(".partial-*")]
        assert_reads_as(run, stored)
        assert all("parts.jsonl" in sentence and "rewritten" in sentence for sentence in said)


def test_who_opened_the_run_before_reads_on(stored: Run, run: Run) -> None:
    run.contents.parts.bytes_to_keep, run.contents.bytes_at_once = 0, 1  # an example at a time, none kept in memory
    tables = run.error_tables(N_BANK)
    first = next(tables)
    RunWriter(Run(run.path)).repair()
    assert len(files(run)) == 1
    found = {name: errors for table in (first, *tables) for name, errors in zip(table.ids, table.errors, strict=True)}
    for name, measurement in stored.measurements().items():
        np.testing.assert_array_equal(found[name], measurement.errors["l2"])
    np.testing.assert_array_equal(run.table().scores, stored.table().scores)


@pytest.mark.slow
def test_several_writers_and_readers_take_no_notice(tmp_path: Path) -> None:
    run = Store(tmp_path).open(RunKey(TASK.name, TASK.revision, "scores", None, {}), TASK)
    RunWriter(run).append([ScoreMatrix("0011", np.eye(2))], by=11, n=0)
    start = [sys.executable, "-c"]
    readers = [subprocess.Popen([*start, READING, str(run.path)], stderr=subprocess.PIPE, text=True) for _ in range(2)]
    writers = [subprocess.Popen([*start, APPENDING, str(run.path), str(number)]) for number in (0, 1)]
    n_files, said = set[int](), list[str]()
    while any(process.poll() is None for process in writers):
        RunWriter(Run(run.path, say=said.append)).repair()
        n_files.add(len([*(run.path / "scores").glob("*.parquet")]))
        time.sleep(0.2)
    (run.path / "stop").touch()
    assert [process.wait() for process in writers] == [0, 0]
    assert [(process.communicate()[1], process.returncode) for process in readers] == [("", 0)] * 2
    assert max(n_files) < 2 * 80
    assert all(sentence.startswith("waiting for") for sentence in said)
    stored = Run(run.path, say=pytest.fail)
    assert sorted((part["by"], part["n"]) for part in stored.parts()) == sorted(
        [(11, 0), *((number, n) for number in (0, 1) for n in range(80))]
    )
    np.testing.assert_array_equal(stored.table().scores[:2], np.full((2, 2, 2), 79.0))


@pytest.mark.parametrize("kind", ["errors", "scores"])
def test_runs_of_older_versions_are_compacted_and_read_alike(tmp_path: Path, kind: str) -> None:
    before = Run(GOLDEN / kind)
    run = Run(shutil.copytree(before.path, tmp_path / "run"), say=pytest.fail)
    (first,) = run.parts()
    content = (run.path / str(first["part"])).read_bytes()
    assert not _compaction.is_worthwhile(run.contents.parts)
    _compaction.compact(run.contents.parts)
    assert (run.path / str(first["part"])).read_bytes() == content  # a single part stays
    results = (
        list(run.measurements().values())
        if kind == "errors"
        else [ScoreMatrix(name, own) for name, own in zip(run.table().ids, run.table().scores, strict=True)]
    )
    RunWriter(run).append(results)
    _compaction.compact(run.contents.parts)
    assert len([*(run.path / kind).glob("0*.parquet")]) == 1
    assert run.parts()[0] == first
    np.testing.assert_array_equal(run.table().scores, before.table().scores)


def test_what_a_schedule_concluded_is_not_derived_again(tmp_path: Path) -> None:
    import compbench

    run = compbench.run(classes(), model=NoisySpec(Racing(N_BANK)), runs=tmp_path)
    RunWriter(run).append(list(run.measurements().values())[:1])
    RunWriter(run).settle(None)
    verdicts = [path.read_bytes() for path in sorted((run.path / "verdicts").iterdir())]
    _compaction.compact(run.contents.parts)
    assert len(files(run)) == 1
    fresh = Run(run.path, say=pytest.fail)
    assert fresh.contents.verdicts.are_stored(sorted(fresh.done()))
    RunWriter(fresh).settle(None)
    assert [path.read_bytes() for path in sorted((run.path / "verdicts").iterdir())] == verdicts


def test_an_older_version_refuses_a_compacted_run_instead_of_missing_its_parts(run: Run) -> None:
    assert run.info.format == 2
    RunWriter(run).repair()
    assert run.info.format == 3


def test_a_damaged_compacted_part_is_named_and_its_examples_are_measured_again(tmp_path: Path) -> None:
    import compbench

    task = fakes.task(N_PARTS)
    run = compbench.run(task, model=fakes.HashSpec(), runs=tmp_path, limit=1)
    whole = fakes.HashSpec().build(None, None)  # pyright: ignore[reportArgumentType]
    for result in whole.score(task.examples, {}):
        RunWriter(run).append([result])
    run = Run(run.path)
    RunWriter(run).settle(None)
    expected = run.table().scores.copy()
    (part,) = (run.path / "errors").glob("0*.parquet")
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(content)
    said: list[str] = []
    damaged = Run(run.path, say=said.append)
    assert not damaged.done()
    assert ["is damaged" in sentence for sentence in said] == [True]
    again = compbench.run(task, model=fakes.HashSpec(), runs=tmp_path)
    np.testing.assert_array_equal(again.table().scores, expected)
    assert Run(run.path, say=pytest.fail).status == "done"


def test_lines_that_are_lost_are_written_anew_from_a_compacted_part(run: Run) -> None:
    RunWriter(run).repair()
    parts, path = run.parts(), run.path / "parts.jsonl"
    names = sorted(json.loads(line)["part"] for line in path.read_text().splitlines())
    path.unlink()
    said: list[str] = []
    RunWriter(Run(run.path, say=said.append)).repair()
    assert ["rewritten" in sentence for sentence in said] == [True]
    assert sorted(json.loads(line)["part"] for line in path.read_text().splitlines()) == names
    assert Run(run.path, say=pytest.fail).parts() == parts
