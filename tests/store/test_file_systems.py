"""File systems without modes, flushing of folders or file locks, and users without a home: everything works there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import fakes
from compbench.core.exclusion import Exclusion, Holder
from compbench.runs import harness
from compbench.store.run import Run
from compbench.store.store import Store
from preloaded import compiled

FLOCKLESS = ("flock ENOSYS", "flock ENOLCK", "flock EOPNOTSUPP", "flock EINVAL")
# argv: the store, seconds an example; says when scoring begins
RUN = """
import sys, fakes
from compbench.runs import harness
from compbench.runs.reporter import QuietReporter
from compbench.core import RunError

class Telling(QuietReporter):
    def start(self, *counts):
        print("scoring", flush=True)
    def say(self, message):
        print(message, file=sys.stderr, flush=True)

try:
    harness.run(fakes.task(12), model=fakes.HashSpec(seconds=float(sys.argv[2])), runs=sys.argv[1], reporter=Telling())
except RunError as error:
    sys.exit(str(error))
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that refuses, compiled."""
    return compiled(tmp_path_factory.mktemp("library"))


@pytest.mark.slow
@pytest.mark.parametrize("what", ["slow", "chmod", "fsync of folders", *FLOCKLESS])
def test_a_run_works_where_the_file_system_refuses_something(what: str, library: Path, tmp_path: Path) -> None:
    done = _begun(library, what, tmp_path / "runs", 0)
    out, err = done.communicate(timeout=120)
    assert (done.returncode, out) == (0, "scoring\n"), err
    assert err.count("has no file locks") == (what in FLOCKLESS), err
    (run,) = Store(tmp_path / "runs").runs()
    whole = harness.run(fakes.task(12), model=fakes.HashSpec(), runs=tmp_path / "whole")
    assert run.status == "done"
    assert run.table().scores.tolist() == whole.table().scores.tolist()
    assert not [path for path in run.path.rglob("*") if ".taken" in path.name]


@pytest.mark.slow
def test_without_file_locks_the_living_are_left_alone_and_the_dead_are_taken_over(
    library: Path, tmp_path: Path
) -> None:
    first = _begun(library, "flock ENOLCK", tmp_path, 0.3)
    assert first.stdout is not None
    assert first.stdout.readline() == "scoring\n"
    second = _begun(library, "flock ENOLCK", tmp_path, 0)
    _, err = second.communicate(timeout=120)
    assert second.returncode == 1
    assert f"is being measured by process {first.pid} on host" in err
    first.send_signal(signal.SIGKILL)
    first.communicate()
    third = _begun(library, "flock ENOLCK", tmp_path, 0)
    _, err = third.communicate(timeout=120)
    assert third.returncode == 0, err
    assert Store(tmp_path).runs()[0].status == "done"


@pytest.mark.slow
@pytest.mark.parametrize("ahead", [3_600, -3_600])
def test_clocks_of_hosts_that_differ_by_an_hour_let_the_living_live_and_the_dead_be_dead(
    ahead: int, library: Path, tmp_path: Path
) -> None:
    def begun(host: str, seconds: float, **clock: str) -> subprocess.Popen[str]:
        return _begun(library, "flock ENOLCK", tmp_path, seconds, HOST_HERE=host, **clock)

    first = begun("first", 0.5)
    assert first.stdout is not None
    assert first.stdout.readline() == "scoring\n"
    second = begun("second", 0, SECONDS_AHEAD=str(ahead))
    _, err = second.communicate(timeout=120)
    assert f"is being measured by process {first.pid} on host first" in err
    first.send_signal(signal.SIGKILL)
    first.communicate()
    for path in tmp_path.rglob("lock*"):  # a quarter of an hour passes
        os.utime(path, (0, time.time() - 900))
    third = begun("second", 0, SECONDS_AHEAD=str(ahead))
    _, err = third.communicate(timeout=120)
    assert third.returncode == 0, err
    assert Store(tmp_path).runs()[0].status == "done"


def test_a_marker_of_a_host_that_was_heard_of_lately_is_respected_and_an_old_one_is_not(tmp_path: Path) -> None:
    marker = tmp_path / "lock.taken"
    marker.write_text('{"host": "elsewhere", "pid": 5, "since": "2026-01-01T00:00:00+00:00"}')
    lock = Exclusion(tmp_path / "lock")
    assert not lock.acquire()
    assert lock.holder() == Holder("elsewhere", 5, "2026-01-01T00:00:00+00:00", marker.stat().st_mtime)
    os.utime(marker, (0, time.time() - 3_600))
    assert lock.acquire()
    assert not Exclusion(tmp_path / "lock").acquire()
    lock.release()


@pytest.mark.slow
def test_a_user_without_a_home_measures_and_reads(library: Path, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("HOME", "XDG_CACHE_HOME")}
    environment |= {"LD_PRELOAD": str(library), "REFUSED": "home"}
    codes: list[int] = []
    for command in (
        ["run", "shapes", "-m", "chance", "--limit", "4", "-q", "--runs", "r"],
        ["show", "shapes/chance", "--runs", "r"],
        ["doctor", "--runs", "r"],
        ["show", "shapes/chance", "--runs", "~/r"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "compbench", *command],
            env=environment,
            cwd=tmp_path,
            check=False,
            capture_output=True,
            encoding="utf-8",
        )
        assert "Traceback" not in done.stderr, done.stderr
        codes.append(done.returncode)
    assert codes[:2] == [0, 0]
    assert codes[3] == 2
    assert "this user has no home folder: give the full path" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r"]
    assert len(Run(next((tmp_path / "r").glob("*/*/*"))).done()) == 4


def _begun(library: Path, what: str, runs: Path, seconds: float, **others: str) -> subprocess.Popen[str]:
    paths = [str(Path(fakes.__file__).parent), os.environ.get("PYTHONPATH", "")]
    return subprocess.Popen(
        [sys.executable, "-c", RUN, str(runs), str(seconds)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "LD_PRELOAD": str(library), "REFUSED": what, **others},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
