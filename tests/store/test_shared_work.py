"""Processes that share a run work side by side: nobody evaluates while the others wait, and none needs much memory."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import compbench
import fakes
from compbench.core import disk
from compbench.core.exclusion import Exclusion
from compbench.core.measurements import DrawTable, Measurement, ScoreMatrix
from compbench.schedules.policies import Weighted
from compbench.schedules.racing import Racing
from compbench.store.key import RunKey
from compbench.store.run import Run
from compbench.store.store import Store
from compbench.store.writer import RunWriter
from noisy import N_BANK, NoisySpec, classes

ASKED: list[bool] = []  # for each thing that a policy was asked: whether the run could be written to by others


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Notes what policies are asked while; each answers as it does anyway."""
    for name in ("wanted", "scores", "verdict", "concluded"):
        asked = getattr(Weighted, name)

        def noting(self: Weighted, *arguments: Any, asked: Any = asked) -> Any:
            ASKED.extend(Exclusion(path).is_free() for path in tmp_path.rglob("write.lock"))
            return asked(self, *arguments)

        monkeypatch.setattr(Weighted, name, noting)
    ASKED.clear()


@pytest.mark.usefixtures("noted")
def test_no_shard_evaluates_while_it_keeps_the_others_from_writing(tmp_path: Path) -> None:
    for number in (2, 3, 1):
        run = compbench.run(classes(), model=NoisySpec(Racing(N_BANK)), runs=tmp_path, shard=f"{number}/3")
    assert run.status == "done"
    assert len(ASKED) > 100
    assert all(ASKED)
    whole = compbench.run(classes(), model=NoisySpec(Racing(N_BANK)), runs=tmp_path / "whole")
    np.testing.assert_array_equal(run.table().scores, whole.table().scores)
    assert str(run.verdicts()) == str(whole.verdicts())


@pytest.mark.usefixtures("noted")
def test_each_shard_concludes_on_its_own_examples_and_the_last_on_no_more(tmp_path: Path) -> None:
    task, spec = classes(), NoisySpec(Racing(N_BANK))
    run = compbench.run(task, model=spec, runs=tmp_path, shard="1/2")
    own = [example.id for example in task.examples][::2]
    assert run.contents.verdicts.are_stored(own)
    n_before = len(ASKED)
    compbench.run(task, model=spec, runs=tmp_path, shard="2/2")
    assert len(ASKED) - n_before <= 1.5 * n_before


def test_errors_that_are_known_already_are_read_in_blocks_that_fit_in_memory(tmp_path: Path) -> None:
    task, rng, draws = fakes.task(100), np.random.default_rng(0), np.arange(400, dtype=np.int32)
    key = RunKey(task.name, task.revision, "model", None, {"kind": "fake"})
    run = Store(tmp_path).open(key, task, view={"n_draws": 400, "target": "native"})
    level, ids = np.full(400, np.sqrt(0.5), np.float32), [example.id for example in task.examples]
    RunWriter(run).write_draws(DrawTable(draws.astype(np.float32), level, level, "v"))
    for start in range(0, 100, 10):
        errors = rng.random((10, 2, 2, 400), dtype=np.float32)
        pairs = zip(ids[start : start + 10], errors, strict=True)
        RunWriter(run).append([Measurement(name, draws, {"l2": own}, own > -1) for name, own in pairs])
    run = Run(run.path)
    run.contents.parts.bytes_to_keep, run.contents.bytes_at_once = 0, 100_000

    def peak_of(read: Any) -> tuple[int, dict[str, Any]]:
        tracemalloc.start()
        sums = {
            name: (len(measurement.draw_ids), float(measurement.errors["l2"].sum()))
            for name, measurement in read().items()
        }
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak, sums

    run.known(ids)[ids[0]]  # what is looked at once
    (few, known), (many, every) = (peak_of(lambda read=read: read(ids)) for read in (run.known, run.measurements))
    assert known == every
    assert few < many / 2


def test_draws_are_raised_from_what_is_known_and_nothing_is_measured_twice(tmp_path: Path) -> None:
    task = fakes.task(40)
    compbench.run(task, model=fakes.HashSpec(draws=4), runs=tmp_path / "raised")
    raised = compbench.run(task, model=fakes.HashSpec(draws=9), runs=tmp_path / "raised")
    whole = compbench.run(task, model=fakes.HashSpec(draws=9), runs=tmp_path / "whole")
    assert sum(int(str(part["n_errors"])) for part in raised.parts()) == 40 * 4 * 9
    np.testing.assert_array_equal(raised.table().scores, whole.table().scores)


def test_a_writer_waits_for_its_disk_while_others_may_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = compbench.run(fakes.task(), model=fakes.Spec(), runs=tmp_path, limit=1)
    writer, flush, is_free = RunWriter(run), os.fsync, list[bool]()

    def noting(handle: int) -> None:
        is_free.append(Exclusion(run.path / "write.lock").is_free())
        flush(handle)

    monkeypatch.setattr(os, "fsync", noting)
    writer.append([ScoreMatrix("0003", np.eye(2))])
    assert len(is_free) >= 3  # the part, its folder, its line
    assert all(is_free)


def test_many_writers_do_not_wait_for_one_another_s_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = compbench.run(fakes.task(48), model=fakes.Spec(), runs=tmp_path, limit=1)
    flush, seconds, n_writers, n_parts = os.fsync, 0.1, 8, 3
    flushed = list[int]()

    def slowly(handle: int) -> None:
        time.sleep(seconds)
        flushed.append(handle)
        flush(handle)

    monkeypatch.setattr(os, "fsync", slowly)

    def write(number: int) -> None:
        writer = RunWriter(Run(run.path))
        for place in range(n_parts):
            writer.append([ScoreMatrix(f"{number * n_parts + place:04d}", np.eye(2))])

    began = time.monotonic()
    with ThreadPoolExecutor(n_writers) as pool:
        list(pool.map(write, range(n_writers)))
    waited = time.monotonic() - began
    assert len(flushed) == 3 * n_writers * n_parts  # the part, its folder, its line
    assert waited < 0.5 * seconds * len(flushed)
    assert Run(run.path).done() >= {f"{number:04d}" for number in range(n_writers * n_parts)}


def test_repair_leaves_the_part_that_a_living_process_writes_and_removes_those_of_the_dead(tmp_path: Path) -> None:
    run = compbench.run(fakes.task(), model=fakes.Spec(), runs=tmp_path)
    host, dead = disk.slug(socket.gethostname()), subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    mine, of_the_dead, elsewhere, old = (
        run.path / f".partial-{mark}-at-0123456789ab"
        for mark in (f"{os.getpid()}-{host}", f"{dead.pid}-{host}", "7-another", "8-another")
    )
    for path in (mine, of_the_dead, elsewhere, old):
        path.write_text("half")
    os.utime(old, (0, 0))
    RunWriter(run).repair()
    assert [path.exists() for path in (mine, of_the_dead, elsewhere, old)] == [True, False, True, False]
