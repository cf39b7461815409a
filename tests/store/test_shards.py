"""Several processes on one run: each takes its share, none waits, and together they are as one."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from processes import assert_equal, begun, ended, environment, only_run, scoring, started

import fakes
from compbench.cli.app import main
from compbench.core.errors import RunError, UsageError
from compbench.core.measurements import ScoreMatrix
from compbench.runs import harness
from compbench.store import run_file
from compbench.store.lock import Guard
from compbench.store.run import Run
from compbench.store.shards import Shard, shard_here
from compbench.store.store import Store
from compbench.store.writer import RunWriter

N_EXAMPLES = 60
RUN = scoring(shard="sys.argv[3]")
# argv: a run's folder, its part of the examples, how many parts; stores them as fast as it can
STORE = """
import sys, numpy as np
from compbench.store.run import Run
from compbench.store.writer import RunWriter
from compbench.core import ScoreMatrix
run, number = Run(__import__("pathlib").Path(sys.argv[1])), int(sys.argv[2])
writer = RunWriter(run)
print("scoring", flush=True)
for n in range(int(sys.argv[3])):
    writer.append([ScoreMatrix(f"{30 * number + n % 30:04d}", np.full((2, 2), float(n)))], by=number, long="x" * 20_000)
    writer.mark("running", **({"sharded": {"n": n}} if number else {"limit": n + 1}))
"""
# argv: a run's folder; is in the middle of a change for a while
CHANGE = """
import sys, time
from pathlib import Path
from compbench.store import run_file
from compbench.store.lock import Guard
folder = Path(sys.argv[1])
with Guard(folder)():
    (folder / ".partial-mine").write_text("whole")
    print("scoring", flush=True)
    time.sleep(1)
    (folder / ".partial-mine").rename(folder / "mine")
"""
LAUNCHED = ({"RANK": "2", "WORLD_SIZE": "4"}, {"SLURM_STEP_ID": "0", "SLURM_PROCID": "2", "SLURM_NTASKS": "4"})


@pytest.fixture(autouse=True)
def _not_launched(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "SLURM_STEP_ID"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("count", [2, 3, 7, 20])
def test_shards_are_disjoint_and_together_everything(count: int) -> None:
    items = list(range(13))
    shares = [Shard(number, count).of(items) for number in range(1, count + 1)]
    assert sorted(part for share in shares for part in share) == items
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("environment", LAUNCHED)
def test_a_launcher_numbers_from_zero_and_a_shard_from_one(environment: dict[str, str]) -> None:
    assert shard_here(None, environment) == Shard(3, 4)
    assert shard_here("1/2", environment) == Shard(1, 2)
    assert shard_here("1/1", environment) is None  # all of it, whatever the launcher says


@pytest.mark.parametrize("environment", [{}, {"RANK": "0", "WORLD_SIZE": "1"}, {"RANK": "0"}])
def test_one_process_takes_all(environment: dict[str, str]) -> None:
    assert shard_here(None, environment) is None


@pytest.mark.parametrize("given", ["0/2", "3/2", "1", "1/0", "a/b", "1/2/3", "-1/2"])
def test_a_shard_that_cannot_be_is_refused(given: str) -> None:
    with pytest.raises(UsageError, match=f"shard cannot be '{given}'; expected k/n with k from 1 to n"):
        shard_here(given)


@pytest.mark.parametrize("environment", [{"RANK": "4", "WORLD_SIZE": "4"}, {"RANK": "x", "WORLD_SIZE": "4"}])
def test_a_launcher_that_contradicts_itself_is_told(environment: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=f"RANK='{environment['RANK']}' and WORLD_SIZE='4'.*--shard k/n"):
        shard_here(None, environment)


def test_without_cuda_every_process_of_a_machine_takes_the_same_device() -> None:
    import torch

    from compbench.diffusion.devices import pick_device

    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    assert pick_device("auto:3") == pick_device("auto")


@pytest.mark.gpu
def test_each_process_of_a_machine_takes_a_device_of_its_own() -> None:
    import torch

    from compbench.diffusion.devices import pick_device

    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    n = torch.cuda.device_count()
    assert [pick_device(f"auto:{rank}").index for rank in range(n + 1)] == [*range(n), 0]


def test_three_processes_of_which_one_is_killed_and_given_again_equal_one(tmp_path: Path) -> None:
    slow = started(RUN, tmp_path / "shards", 0.3, "2/3")
    fast = [begun(RUN, tmp_path / "shards", 0.01, shard) for shard in ("1/3", "3/3")]
    _wait_for_a_part(tmp_path / "shards", slow.pid)
    slow.send_signal(signal.SIGKILL)
    assert [ended(process) for process in (slow, *fast)] == [-signal.SIGKILL, 0, 0]
    run = only_run(tmp_path / "shards")
    asked = [example.id for example in fakes.task(N_EXAMPLES).examples]
    assert {*asked[0::3], *asked[2::3]} <= run.done()  # and more, where one of the others saw that it died
    harness.run(fakes.task(N_EXAMPLES), model=fakes.HashSpec(), runs=tmp_path / "shards", shard="2/3")
    assert_equal(run, harness.run(fakes.task(N_EXAMPLES), model=fakes.HashSpec(), runs=tmp_path / "whole"))
    stored = pd.concat(pd.read_parquet(part) for part in (run.path / "errors").glob("*.parquet"))
    assert not stored.duplicated(["example_id", "image", "caption"]).any()  # nothing was measured twice
    assert {slow.pid, *(process.pid for process in fast)} <= {part["pid"] for part in run.parts()}


def test_a_share_whose_process_was_killed_is_taken_by_whoever_has_done_its_own(tmp_path: Path) -> None:
    killed = begun(RUN, tmp_path / "shards", 0.3, "2/3")
    _wait_for_a_part(tmp_path / "shards", killed.pid)
    killed.kill()
    ended(killed)
    others = [begun(RUN, tmp_path / "shards", 0.01, shard) for shard in ("1/3", "3/3")]
    said = [other.communicate()[1] for other in others]
    assert [other.returncode for other in others] == [0, 0]
    assert sum(f"shard 2/3 was left unfinished by process {killed.pid} on host" in words for words in said) >= 1
    run = only_run(tmp_path / "shards")
    assert_equal(run, harness.run(fakes.task(N_EXAMPLES), model=fakes.HashSpec(), runs=tmp_path / "whole"))
    stored = pd.concat(pd.read_parquet(part) for part in (run.path / "errors").glob("*.parquet"))
    assert not stored.duplicated(["example_id", "image", "caption"]).any()


def test_a_share_that_was_not_begun_or_that_lives_is_left_alone(tmp_path: Path) -> None:
    task, spec = fakes.task(12), fakes.HashSpec()
    alive = started(RUN, tmp_path, 0.5, "2/3")
    run = Store(tmp_path).runs()[0]
    harness.run(fakes.task(N_EXAMPLES), model=spec, runs=tmp_path, shard="1/3")
    assert {part["pid"] for part in run.parts()} <= {os.getpid(), alive.pid}
    assert len(run.done()) < 40
    alive.kill()
    ended(alive)
    other = harness.run(task, model=spec, runs=tmp_path / "other", shard="1/3")
    assert len(other.done()) == 4


def test_a_run_of_two_processes_that_died_is_ended_by_one_or_by_another_number(tmp_path: Path) -> None:
    processes = [begun(RUN, tmp_path / "shards", 0.1, f"{number}/2") for number in (1, 2)]
    for process in processes:
        _wait_for_a_part(tmp_path / "shards", process.pid)
        process.kill()
        ended(process)
    run = only_run(tmp_path / "shards")
    assert run.status == "interrupted"
    harness.run(fakes.task(N_EXAMPLES), model=fakes.HashSpec(), runs=tmp_path / "shards", shard="2/3")
    assert run.status == "partial"
    completed = harness.run(fakes.task(N_EXAMPLES), model=fakes.HashSpec(), runs=tmp_path / "shards")
    assert_equal(completed, harness.run(fakes.task(N_EXAMPLES), model=fakes.HashSpec(), runs=tmp_path / "whole"))
    assert not list(run.path.glob("lock*.json"))  # nobody is said to hold it


def test_whoever_would_measure_the_same_is_refused_with_host_and_process(tmp_path: Path) -> None:
    task, spec = fakes.task(N_EXAMPLES), fakes.HashSpec()
    first = started(RUN, tmp_path, 0.2, "1/2")
    who = f"is being measured by process {first.pid} on host {re.escape(socket.gethostname())} since"
    with pytest.raises(RunError, match=rf"^shard 1/2 of run .* {who}.*: wait for it"):
        harness.run(task, model=spec, runs=tmp_path, shard="1/2")
    with pytest.raises(
        RunError,
        match=rf"^shard 1/2 of run .* {who}.*the whole run cannot be measured at the "
        f"same time",
    ):
        harness.run(task, model=spec, runs=tmp_path)
    with pytest.raises(RunError, match=rf"^shard 1/2 of run .* {who}.*shard 2/3 would overlap.*give --shard k/2"):
        harness.run(task, model=spec, runs=tmp_path, shard="2/3")
    run = harness.run(task, model=spec, runs=tmp_path, shard="2/2")
    assert run.status == "running"  # the other lives
    first.kill()
    ended(first)
    with RunWriter(run), pytest.raises(RunError, match=f"^run .* is being measured by process {os.getpid()} on host"):
        harness.run(task, model=spec, runs=tmp_path, shard="1/2")


def test_a_shard_leaves_the_examples_of_the_others_alone_whatever_is_stored(tmp_path: Path) -> None:
    task = fakes.task(12)
    harness.run(task, model=fakes.Spec(), limit=5, runs=tmp_path)
    run = harness.run(task, model=fakes.Spec(), runs=tmp_path, shard="2/3")
    some = {example.id for example in task.examples[1::3]}
    assert run.done() == some | set(Run(run.path).limited(5).ids())
    planned = harness.plan(task, model=fakes.Spec(), runs=tmp_path, shard="1/3")
    assert planned.examples == len({example.id for example in task.examples[0::3]} - run.done())


def test_a_limit_is_shared_out_and_not_each_shard_limited(tmp_path: Path) -> None:
    task = fakes.task(12)
    for number in (1, 2, 3, 4):
        run = harness.run(task, model=fakes.Spec("errors"), limit=3, runs=tmp_path, shard=f"{number}/4")
    assert run.status == "partial"
    assert run.table().ids == harness.run(task, model=fakes.Spec(), limit=3, runs=tmp_path).table().ids


def test_the_last_shard_derives_the_scores_and_no_other(tmp_path: Path) -> None:
    task = fakes.task(12)
    first = harness.run(task, model=fakes.HashSpec(), runs=tmp_path, shard="2/2")
    assert not (first.path / "scores").exists()
    harness.run(task, model=fakes.HashSpec(), runs=tmp_path, shard="1/2")
    assert len(pd.read_parquet(first.path / "scores")) == 4 * 12
    assert first.status == "done"


def test_what_only_the_settling_lacks_is_settled_by_any_process(tmp_path: Path) -> None:
    run = harness.run(fakes.task(), model=fakes.HashSpec(), runs=tmp_path)
    RunWriter(run).mark("running")  # as a process that is killed between its last part and the end leaves it
    (run.path / "scores" / "scores.parquet").unlink()
    again = harness.run(fakes.task(), model=fakes.HashSpec(), runs=tmp_path, shard="2/2")
    assert (again.status, len(pd.read_parquet(run.path / "scores"))) == ("done", 48)


def test_processes_that_write_at_once_lose_and_mix_nothing(tmp_path: Path) -> None:
    run = harness.run(fakes.task(N_EXAMPLES), model=fakes.Spec(), runs=tmp_path, limit=1)
    processes = [begun(STORE, run.path, number, 25) for number in (0, 1)]
    assert [ended(process) for process in processes] == [0, 0]
    lines = (run.path / "parts.jsonl").read_text().splitlines()
    assert len(lines) == 1 + 50
    stored = [json.loads(line)["part"] for line in lines]
    assert sorted(path.name for path in (run.path / "scores").glob("*.parquet")) == sorted(map(_file_name, stored))
    numbers = [int(_file_name(part).split("-")[0]) for part in stored]
    assert sorted(numbers) == list(range(1, 52))
    words = run_file.words(run.path)
    assert (words["limit"], words["sharded"]) == (25, {"n": 24})
    assert len(Run(run.path).table().ids) == 50


def test_repair_leaves_what_another_process_is_writing(tmp_path: Path) -> None:
    run = harness.run(fakes.task(), model=fakes.Spec(), runs=tmp_path)
    (run.path / "scores" / ".partial-of-the-dead").write_text("half")
    writer = started(CHANGE, run.path)
    RunWriter(run).repair()
    assert ended(writer) == 0
    assert (run.path / "mine").read_text() == "whole"
    assert not list(run.path.rglob(".partial-*"))


def test_a_change_within_a_change_is_no_deadlock(tmp_path: Path) -> None:
    guard = Guard(tmp_path)
    with guard(), guard():
        pass
    run = harness.run(fakes.task(), model=fakes.Spec(), runs=tmp_path)
    writer = RunWriter(run)
    with writer.guarded():
        writer.append([ScoreMatrix("0000", np.eye(2))])


def test_one_of_several_processes_prints_the_table(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, "-m", "compbench", "run", "shapes", "-m", "chance", "--limit", "12"]
    processes = [
        subprocess.Popen(command, env=environment(tmp_path) | {"RANK": str(rank), "WORLD_SIZE": "2"}) for rank in (0, 1)
    ]
    assert [process.wait() for process in processes] == [0, 0]
    said = capfd.readouterr()
    assert said.out.count("text, %") == 1
    assert len(re.findall(r"^shard [12]/2 is done; the rest belongs to the other shards$", said.err, re.MULTILINE)) == 1
    for number in (1, 2):
        assert f"shard {number}/2: shapes · chance: 6 of 6 examples in" in said.err
    assert said.err.count("400 → 12 examples") == 1  # what is the same for all is said by one

    sharded = Run(only_run(tmp_path).path)
    assert main(["run", "shapes", "-m", "chance", "--limit", "12", "--runs", str(tmp_path / "whole"), "-q"]) == 0
    np.testing.assert_array_equal(sharded.table().scores, only_run(tmp_path / "whole").table().scores)
    one_process = capfd.readouterr().out
    assert said.out.split("model ")[0] == one_process.split("model ")[0]  # the cost and the places differ


def test_given_again_the_first_shard_prints_and_nothing_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["run", "shapes", "-m", "chance", "--limit", "6", "--runs", str(tmp_path), "--shard"]
    for shard in ("2/2", "1/2"):
        assert main([*command, shard]) == 0
    capsys.readouterr()
    for shard, has_table in (("1/2", True), ("2/2", False)):
        assert main([*command, shard]) == 0
        said = capsys.readouterr()
        assert ("text, %" in said.out) is has_table
        assert ("the rest belongs to the other shards" in said.err) is not has_table
        assert "examples in" not in said.err


def test_a_dry_run_prices_the_shard_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [
        "run",
        "shapes",
        "-m",
        "chance",
        "--limit",
        "12",
        "--runs",
        str(tmp_path),
        "--dry-run",
        "--format",
        "json",
    ]
    assert main([*command, "--shard", "2/5"]) == 0
    (planned,) = json.loads(capsys.readouterr().out)
    assert (planned["examples"], planned["pairs"]) == (3, 12)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_torchrun_works_as_it_is(tmp_path: Path) -> None:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m"]
    command = ["compbench", "run", "shapes", "-m", "chance", "--limit", "9", "--runs", str(tmp_path)]
    done = subprocess.run([*launcher, *command], env=environment(tmp_path), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("text, %") == 1
    assert len(only_run(tmp_path).limited(9).table().ids) == 9
    assert {part["n_examples"] for part in only_run(tmp_path).parts()} == {4, 5}


def _wait_for_a_part(root: Path, pid: int) -> None:
    """Until the process has stored some of what it measures."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if any(part["pid"] == pid for run in Store(root).runs() for part in run.parts()):
            return
        time.sleep(0.05)
    raise AssertionError(f"process {pid} stored nothing")


def _file_name(part: str) -> str:
    return part.rpartition("/")[2]
