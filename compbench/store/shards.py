"""The examples that one of several processes takes: `--shard k/n`, else what the launcher says of its processes.

Processes share nothing but the run's folder: each takes every n-th example, whatever is stored already, and writes
its own parts. What a killed process left of its share is taken by the next that has done its own; else rerun its
command.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from compbench.core.errors import UsageError

__all__ = ["Shard", "device_here", "shard_here", "words_for_an_array"]

Item = TypeVar("Item")
# (number, count, local number) of a process: torchrun and accelerate; srun
_LAUNCHERS = (("RANK", "WORLD_SIZE", "LOCAL_RANK"), ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"))


@dataclass(frozen=True, slots=True)
class Shard:
    """The k-th of n parts of what is asked, k from 1.

    >>> Shard(2, 3).of(["a", "b", "c", "d", "e"])
    ['b', 'e']
    """

    number: int
    count: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def of(self, items: Sequence[Item]) -> list[Item]:
        """Every n-th of `items`, beginning with the k-th."""
        return list(items[self.number - 1 :: self.count])


def shard_here(given: str | None, environment: Mapping[str, str] | None = None) -> Shard | None:
    """The shard that was asked for, else this process's by its launcher; None where one process takes all.

    >>> shard_here("2/8"), shard_here("1/1", {"RANK": "3", "WORLD_SIZE": "8"})
    (Shard(number=2, count=8), None)
    >>> shard_here(None, {"RANK": "3", "WORLD_SIZE": "8"})
    Shard(number=4, count=8)
    """
    if given is None:
        return _launched(os.environ if environment is None else environment)
    words = re.fullmatch(r"(\d+)/(\d+)", given.strip()) if isinstance(given, str) else None  # pyright: ignore[reportUnnecessaryIsInstance]  # a notebook has no type checker
    if words is None or not 1 <= int(words[1]) <= int(words[2]):
        raise UsageError(f"shard cannot be {given!r}; expected k/n with k from 1 to n, such as 1/8")
    return _shard(int(words[1]), int(words[2]))


def device_here(device: str, environment: Mapping[str, str] | None = None) -> str:
    """`auto` as `auto:2` where the launcher numbers this process on its machine: each takes a GPU of its own.

    >>> device_here("auto", {"LOCAL_RANK": "2"}), device_here("cpu", {"LOCAL_RANK": "2"}), device_here("auto", {})
    ('auto:2', 'cpu', 'auto')
    """
    environment = os.environ if environment is None else environment
    names = [local for _, _, local in _launchers(environment) if environment.get(local, "").isdecimal()]
    return f"auto:{int(environment[names[0]])}" if device == "auto" and names else device


def words_for_an_array(environment: Mapping[str, str] | None = None) -> str:
    """The way for jobs of a Slurm array to share a run, in parentheses; nothing outside of an array."""
    count = (os.environ if environment is None else environment).get("SLURM_ARRAY_TASK_COUNT", "1")
    return "" if count == "1" else f" (the jobs of an array share a run with --shard $SLURM_ARRAY_TASK_ID/{count})"


def _launched(environment: Mapping[str, str]) -> Shard | None:
    for number, count, _ in _launchers(environment):
        if number not in environment or count not in environment:
            continue
        rank, size = environment[number], environment[count]
        if not (rank.isdecimal() and size.isdecimal() and int(rank) < int(size)):
            raise UsageError(
                f"the environment has {number}={rank!r} and {count}={size!r}; expected a rank from 0 and a larger "
                "number of processes: unset both, or say --shard k/n"
            )
        return _shard(int(rank) + 1, int(size))
    return None


def _launchers(environment: Mapping[str, str]) -> list[tuple[str, str, str]]:
    is_task = _is_task_of_a_step(environment)
    return [launcher for launcher in _LAUNCHERS if is_task or not launcher[0].startswith("SLURM_")]


def _is_task_of_a_step(environment: Mapping[str, str]) -> bool:
    """Whether srun started this process as one of its tasks: Slurm numbers others like the first of several, too.

    A batch script is in no step, or has the numbers of the step that submitted it beside its own job's. The shell that
    salloc opens on a node is a step of one task, beside the number of tasks that were asked for. A shell of `srun
    --pty` is a task, but what is typed in it is meant to be done whole.
    """
    count = environment.get("SLURM_NTASKS", "")
    if "SLURM_STEP_ID" not in environment or environment.get("SLURM_STEP_NUM_TASKS", count) != count:
        return False
    here = environment.get("SLURM_GTIDS", "").split(",")  # the tasks on this node
    if environment.get("SLURM_STEP_NUM_NODES") == "1" and str(len(here)) != count:
        return False
    is_typed = sys.stdin is not None and not sys.stdin.closed and sys.stdin.isatty()
    return not is_typed or environment.get("SLURM_TASK_PID") == str(os.getpid())


def _shard(number: int, count: int) -> Shard | None:
    return Shard(number, count) if count > 1 else None
