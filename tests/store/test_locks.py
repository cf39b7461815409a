"""Who is in the way is named, is waited for as long as asked, and is never taken over while it lives."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from processes import started

import fakes
from compbench.cli.app import main
from compbench.core.errors import RunError, UsageError
from compbench.core.exclusion import Heartbeat, holder_in
from compbench.runs import harness
from compbench.store.lock import Guard
from compbench.store.store import Store
from compbench.store.writer import RunWriter

Captured = pytest.CaptureFixture[str]
HOLD = """
import sys, time
from pathlib import Path
from compbench.store.lock import Guard
with Guard(Path(sys.argv[1]))():
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""
# argv: the moment of the signal; a model whose module takes a while to import
TERMINATED = """
import os, signal, sys, threading
from compbench.cli import app
def at(moment, kill=lambda: os.kill(os.getpid(), signal.SIGTERM)):
    threading.Timer(moment, kill).start()
if sys.argv[1] == "settling":
    from compbench.runs import resolve as module
    real = module.resolve
    def slow(*given, **named):
        at(0)
        threading.Event().wait(20)
        return real(*given, **named)
    module.resolve = slow
else:
    import builtins
    real = builtins.__import__
    def importing(name, *rest):
        if name == "compbench.runs.harness" or name == "pyarrow.parquet":
            try:
                at(0)
                threading.Event().wait(20)
            except KeyboardInterrupt:
                raise ImportError("initialisation of a library failed")  # as compiled ones say
        return real(name, *rest)
    builtins.__import__ = importing
sys.exit(app.main(["run", "shapes", "-m", "chance", "--limit", "3", "--runs", sys.argv[2]]))
"""


@pytest.mark.slow
def test_who_holds_the_files_is_said_after_a_few_seconds_and_waited_for(tmp_path: Path) -> None:
    run = harness.run(fakes.task(), model=fakes.Spec(), runs=tmp_path, limit=2)
    other, said = _holding(run.path, 4.5), list[str]()
    harness.run(fakes.task(), model=fakes.Spec(), runs=tmp_path, reporter=_Hearing(said))
    other.communicate()
    waits = [message for message in said if message.startswith("waiting for ")]
    assert len(waits) == 1
    assert waits[0].startswith(f"waiting for process {other.pid} on host ")
    assert str(run.path) in waits[0]


def test_patience_is_an_option_of_the_command_and_of_python(tmp_path: Path, capsys: Captured) -> None:
    command = ["run", "shapes", "-m", "chance", "--limit", "3", "-q", "--runs", str(tmp_path)]
    assert main(command) == 0
    (run,) = Store(tmp_path).runs()
    other = _holding(run.path, 30)
    capsys.readouterr()
    assert main([*command[:5], "4", *command[6:], "--wait", "0.2"]) == 1
    said = capsys.readouterr().err
    assert f"process {other.pid} on host " in said
    assert "is writing to run" in said
    assert "--wait SECONDS waits longer" in said
    with pytest.raises(RunError, match=r"0\.1 seconds of waiting have passed"):
        harness.run("shapes", model="chance", limit=5, runs=tmp_path, wait=0.1)
    other.kill()
    other.communicate()
    assert harness.run("shapes", model="chance", limit=5, runs=tmp_path, wait=0).is_partial
    for wrong in (-1, float("inf"), True):
        with pytest.raises(UsageError, match=f"wait cannot be {wrong!r}; expected seconds"):
            harness.run("shapes", model="chance", runs=tmp_path, wait=wrong)


def test_a_run_whose_process_died_on_another_host_is_not_running_for_ever(tmp_path: Path, capsys: Captured) -> None:
    run = harness.run(fakes.task(), model=fakes.Spec(), runs=tmp_path, limit=2)
    RunWriter(run).mark("running")
    holder = _elsewhere(run.path)
    assert run.status == "running"
    assert run.state.startswith("running on elsewhere, last heard 20")
    os.utime(holder, (0, time.time() - 3_600))
    assert run.status == "interrupted"
    assert main(["list", "runs", "--runs", str(tmp_path)]) == 0
    assert "interrupted on elsewhere, last heard 20" in capsys.readouterr().out
    said: list[str] = []
    harness.run(fakes.task(), model=fakes.Spec(), runs=tmp_path, reporter=_Hearing(said))
    assert "resuming a run that process 7 on elsewhere left unfinished" in said
    assert run.state == "done"


def test_a_process_of_another_host_that_lives_is_never_taken_over(tmp_path: Path) -> None:
    """As on a network drive that does not pass locks on: the lock is free and its holder at work."""
    run = harness.run(fakes.task(), model=fakes.Spec(), runs=tmp_path, limit=2)
    beat = Heartbeat(_elsewhere(run.path), 0.1)
    beat.start()
    try:
        with pytest.raises(RunError, match="is being measured by process 7 on host elsewhere"):
            harness.run(fakes.task(), model=fakes.Spec(), runs=tmp_path)
    finally:
        beat.stop()


def test_one_that_fell_silent_a_moment_ago_is_listened_for_and_then_taken_over(tmp_path: Path) -> None:
    run, said = harness.run(fakes.task(), model=fakes.Spec(), runs=tmp_path, limit=2), list[str]()
    os.utime(_elsewhere(run.path), (0, time.time() - 44))
    harness.run(fakes.task(), model=fakes.Spec(), runs=tmp_path, reporter=_Hearing(said))
    assert any("listening 1 s for a sign of life" in message for message in said)
    assert run.status == "done"


def test_a_holder_is_heard_of_while_it_works(tmp_path: Path) -> None:
    path = tmp_path / "lock.json"
    path.write_text("{}", encoding="utf-8")
    os.utime(path, (0, 0))
    beat = Heartbeat(path, 0.05)
    beat.start()
    time.sleep(0.3)
    beat.stop()
    assert path.stat().st_mtime > time.time() - 60


@pytest.mark.parametrize(
    "words",
    [
        "",
        "[]",
        "[" * 5_000,
        '{"pid": 1}',
        '{"host": "h", "pid": -1, "since": "s"}',
        '{"host": "h", "pid": 1e400}',
        "\0",
    ],
)
def test_a_holder_that_cannot_be_read_is_nobody(words: str, tmp_path: Path) -> None:
    (tmp_path / "lock.json").write_text(words, encoding="utf-8")
    assert holder_in(tmp_path / "lock.json") is None


def test_shards_that_work_at_one_time_on_different_terms_are_refused(tmp_path: Path) -> None:
    task = fakes.task(8)
    run = harness.run(task, model=fakes.HashSpec(4), runs=tmp_path, shard="1/2")
    asked = {"n_draws": 4, "target": "native", "limit": None, "images_per_class": None}
    other = _shard_of(run.path, asked)
    for terms in ({"draws": 8}, {"limit": 7}):
        draws, limit = terms.get("draws", 4), terms.get("limit")
        with pytest.raises(RunError, match=r"give all shards of a run the same options and limits"):
            harness.run(task, model=fakes.HashSpec(draws), runs=tmp_path, shard="2/2", limit=limit)
    assert run.info.view["n_draws"] == 4
    other.kill()
    other.communicate()
    assert harness.run(task, model=fakes.HashSpec(4), runs=tmp_path, shard="2/2").status == "done"


def test_shards_that_follow_each_other_on_different_terms_are_told(tmp_path: Path) -> None:
    task, said = fakes.task(8), list[str]()
    harness.run(task, model=fakes.HashSpec(8), runs=tmp_path, shard="1/2", reporter=_Hearing(said))
    assert said == []
    harness.run(task, model=fakes.HashSpec(4), runs=tmp_path, shard="2/2", reporter=_Hearing(said))
    (told,) = [message for message in said if "earlier shards" in message]
    assert "has n_draws=4, but earlier shards had n_draws=8" in told
    run = harness.run(task, model=fakes.HashSpec(8), runs=tmp_path)
    assert (run.status, run.info.sharded is not None) == ("done", False)
    said.clear()
    harness.run(task, model=fakes.HashSpec(9), runs=tmp_path, shard="1/2", reporter=_Hearing(said))
    assert said == []  # the shards before had done what they were asked for


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["settling", "importing"])
def test_a_signal_before_anything_is_measured_ends_as_one_afterwards(moment: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", TERMINATED, moment, str(tmp_path)], check=False, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1] == "interrupted: rerun the same command to resume"


def test_handlers_of_signals_are_as_they_were_after_a_command(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    assert main(["list", "runs", "--runs", str(tmp_path)]) == 0
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_a_guard_lets_the_next_in(tmp_path: Path) -> None:
    entered: list[int] = []

    def enter(number: int) -> None:
        with Guard(tmp_path)():
            entered.append(number)
            time.sleep(0.1)
            entered.append(number)

    threads = [threading.Thread(target=enter, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [entered[n] == entered[n + 1] for n in (0, 2, 4)] == [True] * 3


class _Hearing(harness.QuietReporter):
    def __init__(self, said: list[str]) -> None:
        self._said = said

    def say(self, message: str) -> None:
        self._said.append(message)


def _elsewhere(folder: Path) -> Path:
    """What a process of another host, heard of just now, has left in a run's folder."""
    path = folder / "lock.json"
    path.write_text(json.dumps({"host": "elsewhere", "pid": 7, "since": "2026-01-01T00:00:00+00:00"}), encoding="utf-8")
    return path


def _holding(folder: Path, seconds: float) -> subprocess.Popen[str]:
    return started(HOLD, folder, seconds, says="held")


def _shard_of(folder: Path, asked: dict[str, object]) -> subprocess.Popen[str]:
    """Another process that holds the first of two shards."""
    code = (
        "import json, sys, time; from pathlib import Path; from compbench.store.lock import locked\n"
        "from compbench.store.shards import Shard\n"
        "with locked(Path(sys.argv[1]), print, Shard(1, 2), json.loads(sys.argv[2])):\n"
        "    print('held', flush=True); time.sleep(60)"
    )
    return started(code, folder, json.dumps(asked), says="held")
