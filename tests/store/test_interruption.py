"""Real signals, real processes, real full disks."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
from processes import assert_equal, ended, only_run, scoring, started

import fakes
from compbench.core.errors import RunError
from compbench.runs import harness
from compbench.runs.interrupts import Interrupts
from compbench.store.run import Run

N_EXAMPLES = 60
RUN = scoring()
# as RUN, where no file may grow beyond argv[3] bytes
RUN_IN_LITTLE_SPACE = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)\n" + RUN
# stores parts as fast as it can
STORE = """
import itertools, sys, numpy as np
from compbench.store.run import Run
from compbench.store.writer import RunWriter
from compbench.core import ScoreMatrix
run = Run(__import__("pathlib").Path(sys.argv[1]))
print("scoring", flush=True)
for n in itertools.count():
    RunWriter(run).append([ScoreMatrix(f"{n % 60:04d}", np.full((2, 2), float(n)))] * 3)
"""


def test_a_killed_and_continued_run_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    seed = random.randrange(10**6)
    print(f"moments of the kills are those of seed {seed}")
    moments, n_kills, codes = random.Random(seed), 0, list[int]()
    while not codes or codes[-1] != 0:
        process = started(RUN, tmp_path / "killed", 0.06)
        if n_kills < 3:
            time.sleep(moments.uniform(0.3, 1.0))
            process.send_signal(signal.SIGKILL)
            n_kills += 1
        codes.append(ended(process))
        said: list[str] = []
        _ = Run(only_run(tmp_path / "killed").path, say=said.append).table()
        assert said == []  # no part is ever damaged
    assert codes.count(-signal.SIGKILL) >= 2  # on a slow machine the third may come too late
    killed = only_run(tmp_path / "killed")
    whole = harness.run(fakes.task(N_EXAMPLES), model=fakes.HashSpec(), runs=tmp_path / "whole")
    assert_equal(killed, whole)
    assert len(killed.parts()) >= 3
    stored = pd.concat(pd.read_parquet(part) for part in (killed.path / "errors").glob("*.parquet"))
    assert not stored.duplicated(["example_id", "image", "caption"]).any()  # nothing was measured twice


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_run_stores_what_it_measured_and_goes_on(tmp_path: Path, how: signal.Signals) -> None:
    process = started(RUN, tmp_path, 0.05)
    time.sleep(0.3)  # before the first part is due
    process.send_signal(how)
    assert ended(process) == 130
    run = only_run(tmp_path)
    assert run.status == "interrupted"
    assert 0 < len(run.done()) < N_EXAMPLES
    assert not (run.path / "lock.json").exists()
    assert ended(started(RUN, tmp_path, 0.0)) == 0
    assert only_run(tmp_path).status == "done"
    assert_equal(run, harness.run(fakes.task(N_EXAMPLES), model=fakes.HashSpec(), runs=tmp_path / "whole"))


def test_a_process_killed_while_it_stores_leaves_only_whole_parts(tmp_path: Path) -> None:
    run = harness.run(fakes.task(N_EXAMPLES), model=fakes.Spec("perfect"), runs=tmp_path, limit=1)
    for _ in range(3):
        process = started(STORE, run.path)
        time.sleep(random.uniform(0.02, 0.2))
        process.kill()
        ended(process)
        said: list[str] = []
        assert Run(run.path, say=said.append).table().ids
        assert said == []
        pd.read_parquet(run.path / "scores")
        assert all("n_examples" in part for part in run.parts())


def test_a_second_run_is_refused_while_the_first_goes_on(tmp_path: Path) -> None:
    first = started(RUN, tmp_path, 0.05)
    with pytest.raises(RunError, match=f"is being measured by process {first.pid} on host "):
        harness.run(fakes.task(N_EXAMPLES), model=fakes.HashSpec(), runs=tmp_path)
    first.kill()
    ended(first)
    run = harness.run(fakes.task(N_EXAMPLES), model=fakes.HashSpec(), runs=tmp_path)  # taken over from the dead
    assert run.status == "done"


def test_a_signal_waits_until_a_result_is_stored() -> None:
    interrupts, stored, before = Interrupts(), list[str](), signal.getsignal(signal.SIGTERM)

    def store() -> None:
        with interrupts.watched():
            with interrupts.held():
                os.kill(os.getpid(), signal.SIGTERM)
                stored.append("whole")
            stored.append("never")

    with pytest.raises(KeyboardInterrupt):
        store()
    assert stored == ["whole"]
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_file_that_may_not_grow_stops_the_run_and_keeps_what_was_stored(tmp_path: Path) -> None:
    """What a quota does: the disk refuses a write in the middle of a file."""
    harness.run(fakes.task(N_EXAMPLES), model=fakes.HashSpec(), limit=2, runs=tmp_path)
    process = started(RUN_IN_LITTLE_SPACE, tmp_path, 0.0, 4_000)
    _, message = process.communicate()
    assert process.returncode == 1
    assert f"cannot write to {str(only_run(tmp_path).path)!r}" in message
    assert "free some space, then rerun the command" in message
    run = only_run(tmp_path)
    assert len(run.done()) == 2
    assert not list(run.path.rglob(".partial-*"))
    again = harness.run(fakes.task(N_EXAMPLES), model=fakes.HashSpec(), runs=tmp_path)
    assert_equal(again, harness.run(fakes.task(N_EXAMPLES), model=fakes.HashSpec(), runs=tmp_path / "whole"))


def test_a_full_disk_stops_the_run_and_keeps_what_was_stored(tmp_path: Path) -> None:
    with _small_disk(tmp_path / "disk", "200k") as disk:
        spec = fakes.HashSpec()
        harness.run(fakes.task(N_EXAMPLES), model=spec, limit=2, runs=disk)
        filler = disk / "filler"
        filler.write_bytes(b"x" * (shutil.disk_usage(disk).free - 8_192))
        with pytest.raises(RunError, match=r"No space left on device.*free some space"):
            harness.run(fakes.task(N_EXAMPLES), model=spec, runs=disk)
        assert len(only_run(disk).done()) == 2
        filler.unlink()
        assert harness.run(fakes.task(N_EXAMPLES), model=spec, runs=disk).status == "done"


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"cannot write to .*file/runs/fake.*--runs DIR"):
        harness.run(fakes.task(), model=fakes.Spec(), runs=tmp_path / "file" / "runs")


def test_a_finished_run_on_a_read_only_disk_is_read_and_a_new_one_refused(tmp_path: Path) -> None:
    with _small_disk(tmp_path / "disk", "400k") as disk:
        harness.run(fakes.task(), model=fakes.Spec("errors"), runs=disk)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        assert len(harness.run(fakes.task(), model=fakes.Spec("errors"), runs=disk).to_frame()) == 12
        for spec in (fakes.Spec("errors", 8), fakes.Spec("perfect")):
            with pytest.raises(RunError, match=r"Read-only file system.*--runs DIR"):
                harness.run(fakes.task(), model=spec, runs=disk)


@contextmanager
def _small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of its own; skips where one may not be mounted."""
    folder.mkdir()
    if shutil.which("mount") is None:
        pytest.skip("there is no mount command")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a small disk needs more rights")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
