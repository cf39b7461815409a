"""Who is a shard under Slurm: the variables are those that Slurm 22.05 set in each situation, on three nodes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

import fakes
from compbench.runs import harness
from compbench.store.lock import HeldRun
from compbench.store.shards import Shard, device_here, shard_here
from compbench.store.writer import RunWriter

SCRIPT = {
    "SLURM_JOB_ID": "1",
    "SLURM_PROCID": "0",
    "SLURM_NTASKS": "4",
    "SLURM_LOCALID": "0",
    "SLURM_GTIDS": "0",
    "SLURM_TASK_PID": "12728",
}
STEP = {
    **SCRIPT,
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_GTIDS": "2,3",
    "SLURM_TASK_PID": "12758",
}
# in the shell of `srun --ntasks=4 --pty bash`
PTY = {
    **STEP,
    "SLURM_STEP_NUM_NODES": "1",
    "SLURM_STEP_TASKS_PER_NODE": "4",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_GTIDS": "0,1,2,3",
    "SLURM_PTY_PORT": "60225",
}
ALONE = {
    "a batch script of four tasks": SCRIPT,
    "a job of an array": {
        "SLURM_JOB_ID": "3",
        "SLURM_ARRAY_TASK_ID": "2",
        "SLURM_ARRAY_TASK_COUNT": "8",
        "SLURM_PROCID": "0",
        "SLURM_LOCALID": "0",
        "SLURM_GTIDS": "0",
    },
    "the shell of salloc --ntasks=4": {"SLURM_JOB_ID": "6", "SLURM_NTASKS": "4"},
    "the same, on the node": {
        **SCRIPT,
        "SLURM_STEP_ID": "4294967290",  # use_interactive_step
        "SLURM_STEP_NUM_TASKS": "1",
        "SLURM_STEP_NUM_NODES": "1",
        "SLURM_PTY_PORT": "60115",
    },
    "srun --ntasks=1 within four tasks": {
        **STEP,
        "SLURM_NTASKS": "1",
        "SLURM_STEP_NUM_TASKS": "1",
        "SLURM_STEP_NUM_NODES": "1",
        "SLURM_PROCID": "0",
        "SLURM_LOCALID": "0",
        "SLURM_GTIDS": "0",
    },
    "a batch script of three tasks that a step of two submitted": {
        **SCRIPT,
        "SLURM_NTASKS": "3",
        "SLURM_STEP_ID": "0",
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_STEP_NUM_NODES": "2",
    },
    "a batch script of four tasks that a step of four submitted": {
        **SCRIPT,
        "SLURM_STEP_ID": "0",
        "SLURM_STEP_NUM_TASKS": "4",
        "SLURM_STEP_NUM_NODES": "1",
    },
}
TASKS = {
    "a task of a step": (STEP, Shard(4, 4), "auto:1"),
    "a step in a job of an array": (
        {
            **STEP,
            "SLURM_ARRAY_TASK_ID": "2",
            "SLURM_ARRAY_TASK_COUNT": "2",
            "SLURM_NTASKS": "2",
            "SLURM_STEP_NUM_TASKS": "2",
            "SLURM_STEP_NUM_NODES": "1",
            "SLURM_PROCID": "1",
            "SLURM_GTIDS": "0,1",
        },
        Shard(2, 2),
        "auto:1",
    ),
    "a step that salloc's shell on the node started": (
        {**STEP, "SLURM_PTY_PORT": "60115"},
        Shard(4, 4),
        "auto:1",
    ),
    "torchrun on each of two nodes": (
        {**STEP, "RANK": "5", "WORLD_SIZE": "16", "LOCAL_RANK": "5"},
        Shard(6, 16),
        "auto:5",
    ),
}


@pytest.mark.parametrize("environment", ALONE.values(), ids=ALONE)
def test_what_srun_did_not_start_as_one_of_several_tasks_takes_all(environment: dict[str, str]) -> None:
    assert shard_here(None, environment) is None
    assert device_here("auto", environment) in ("auto", "auto:0")


@pytest.mark.parametrize(("environment", "shard", "device"), TASKS.values(), ids=TASKS)
def test_a_task_of_a_step_is_a_shard(environment: dict[str, str], shard: Shard, device: str) -> None:
    assert shard_here(None, environment) == shard
    assert device_here("auto", environment) == device


def test_what_is_typed_in_a_shell_of_several_tasks_takes_all(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shard_here(None, PTY) == Shard(1, 4)  # a wrapper's child: nobody types
    controller, terminal = os.openpty()
    with open(terminal, encoding="utf-8") as typed:
        monkeypatch.setattr(sys, "stdin", typed)
        assert shard_here(None, PTY) is None
        assert shard_here(None, {**PTY, "SLURM_TASK_PID": str(os.getpid())}) == Shard(1, 4)  # srun --pty compbench
    os.close(controller)
    monkeypatch.setattr(sys, "stdin", None)
    assert shard_here(None, PTY) == Shard(1, 4)


def test_jobs_of_an_array_that_want_the_same_run_are_told_how_to_share_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = harness.run(fakes.task(), model=fakes.Spec(), runs=tmp_path, limit=2)
    monkeypatch.setenv("SLURM_ARRAY_TASK_COUNT", "8")
    with RunWriter(run), pytest.raises(HeldRun, match=r"share a run with --shard \$SLURM_ARRAY_TASK_ID/8\)$"):
        harness.run(fakes.task(), model=fakes.Spec(), runs=tmp_path)
    monkeypatch.delenv("SLURM_ARRAY_TASK_COUNT")
    with RunWriter(run), pytest.raises(HeldRun, match=r"stop it and rerun the command$"):
        harness.run(fakes.task(), model=fakes.Spec(), runs=tmp_path)
