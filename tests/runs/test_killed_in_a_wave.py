"""A race with a tolerance whose process is killed inside its first wave learns the same, and ends the same."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import pytest
from processes import begun, environment
from test_first_wave import TOLERANT
from test_scheduled import stored

import compbench
from compbench.store.run import Run
from crews import Heard
from deadly import DeadlySpec
from noisy import pairs

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]  # of Ray
AT = 700  # evaluations; the wave is four examples of 256
# argv: the store, the grave, the evaluation at which to die, the shard or nothing
RACED = """
import sys
import compbench
from deadly import DeadlySpec
from compbench.schedules.racing import Racing
from noisy import N_BANK, pairs

TOLERANT = Racing(N_BANK, bound="pooled", n_wave=4, tolerance=0.02)
runs, grave, at, *shard = sys.argv[1:]
spec = DeadlySpec(TOLERANT, runs=runs, grave=grave, at=int(at))
compbench.run(pairs(), model=spec, runs=runs, shard=(shard or [None])[0])
"""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return raced(tmp_path_factory.mktemp("undisturbed"))


def raced(runs: Path) -> Run:
    """By this process, which nobody kills."""
    return compbench.run(pairs(), model=DeadlySpec(TOLERANT, at=10**9, seconds=0), runs=runs)


def assert_died_in_the_wave(grave: Path) -> None:
    wave = json.loads(grave.read_text(encoding="utf-8"))["wave"]
    assert wave["ids"]
    assert not wave["lesson"]


def assert_same(run: Run, undisturbed: Run) -> None:
    assert run.key.digest == undisturbed.key.digest
    assert run.info.wave is not None
    assert run.info.wave.lesson is not None
    assert run.info.wave == undisturbed.info.wave  # the lesson's digest among it
    assert stored(run) == stored(undisturbed)
    np.testing.assert_array_equal(run.table().scores, undisturbed.table().scores)
    assert str(run.verdicts()) == str(undisturbed.verdicts())
    assert run.status == "done"


@pytest.mark.parametrize("at", [40, AT, 1000])
def test_one_process_killed_in_the_wave_and_started_again(at: int, undisturbed: Run, tmp_path: Path) -> None:
    runs, grave = tmp_path / "runs", tmp_path / "grave"
    process = begun(RACED, runs, grave, at)
    assert process.wait(120) == -signal.SIGKILL, process.communicate()
    process.communicate()
    assert_died_in_the_wave(grave)
    (left,) = compbench.Store(runs).runs()
    assert left.status == "interrupted"
    assert at < AT or left.parts()  # what was whole is kept
    assert_same(raced(runs), undisturbed)
    assert len(list(compbench.Store(runs).runs())) == 1


def test_a_shard_killed_in_the_wave_while_the_other_goes_on(undisturbed: Run, tmp_path: Path) -> None:
    runs, grave = tmp_path / "runs", tmp_path / "grave"
    processes = [begun(RACED, runs, grave, at, shard) for at, shard in ((AT, "1/2"), (10**9, "2/2"))]
    for process in processes:
        process.communicate(timeout=120)
    assert [process.returncode for process in processes] == [-signal.SIGKILL, 0]
    assert_died_in_the_wave(grave)
    (run,) = compbench.Store(runs).runs()  # whoever was left took the share of the dead
    assert_same(run, undisturbed)


def test_an_actor_killed_in_the_wave_while_the_others_go_on(
    undisturbed: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray", reason="ray is not installed: pip install 'compbench[ray]'")
    monkeypatch.setenv("PYTHONPATH", environment(tmp_path)["PYTHONPATH"])
    runs, grave, heard = tmp_path / "runs", tmp_path / "grave", Heard()
    spec = DeadlySpec(TOLERANT, runs=str(runs), grave=str(grave), at=200, seconds=0.05)
    run = compbench.run(pairs(), model=spec, runs=runs, workers="ray:2", reporter=heard)
    assert_died_in_the_wave(grave)
    assert any(message.startswith("lost worker process ") for message in heard.said), heard.said
    assert_same(run, undisturbed)
