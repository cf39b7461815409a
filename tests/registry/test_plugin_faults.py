"""What a plugin does wrong is told as the plugin's, with its package and line, and never becomes a number."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faulty import Faulty

import compbench
import fakes
from compbench.cli.app import main
from compbench.core.errors import RunError, UsageError
from compbench.core.measurements import Measurement, ScoreMatrix
from compbench.registry import plugins

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def runs(own_registry: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of the test's own."""
    monkeypatch.setenv("COMPBENCH_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


def _exits() -> None:
    sys.exit(0)


def _fails() -> None:
    raise KeyError("weights")


@pytest.mark.parametrize("where", ["identity", "build", "prepare", "score"])
@pytest.mark.parametrize(
    ("what", "said"), [(_exits, r"called sys.exit\(0\)"), (_fails, r"raised KeyError \('weights'\)")]
)
def test_what_a_plugin_raises_is_told_as_the_plugins(where: str, what: Callable[[], None], said: str) -> None:
    with pytest.raises(RunError, match=rf"of module faulty {said} .*test_plugin_faults.py, line \d+\)"):
        compbench.run(fakes.task(3), model=Faulty({where: what}))


def test_the_command_fails_where_a_plugin_leaves_the_process(capsys: Captured) -> None:
    compbench.task("faulty-task")(lambda: fakes.task(3))
    compbench.model("leaves")(Faulty({"score": _exits}))
    assert main(["run", "faulty-task", "-m", "leaves"]) == 1
    assert "'Scorer' of module faulty called sys.exit(0) while it scored" in capsys.readouterr().err


def test_what_was_measured_before_a_plugin_fails_stays(runs: Path) -> None:
    left = [ScoreMatrix("0000", np.eye(2))]

    def next_or_exit() -> ScoreMatrix:
        return left.pop() if left else sys.exit(1)

    with pytest.raises(RunError, match=r"sys\.exit"):
        compbench.run(fakes.task(3), model=Faulty({"score": next_or_exit}))
    (run,) = _stored(runs)
    assert (run.status, run.done()) == ("failed", {"0000"})


def _stored(root: Path) -> list[Any]:
    from compbench.store.store import Store

    return Store(root).runs()


@pytest.mark.parametrize(
    "identity", [{"a": {1, 2}}, {"a": float("nan")}, {"a": Path()}, {"a": 1j}, {"a": np.float32(1)}, "text", None]
)
def test_an_identity_that_json_cannot_hold_is_refused(identity: Any, runs: Path) -> None:
    with pytest.raises(UsageError, match="'Faulty' of module faulty gave an identity that"):
        compbench.run(fakes.task(3), model=Faulty({"identity": lambda: identity}))
    assert not runs.exists()


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        (np.eye(2) * 1j, "dtype complex128"),
        (np.array([["1", "0"], ["0", "1"]]), "expected a numpy array of real numbers"),
        ([[1.0, 0.0], [0.0, 1.0]], "scores as a builtins.list"),
        (np.eye(3), r"shape \(3, 3\) for example '0000'; expected \(2, 2\)"),
        (np.eye(2) * 1e308, "a score of 1e.308 for example '0000'; expected scores between"),
        (np.eye(2) * np.nan, "gave nan for example '0000'"),
    ],
)
def test_scores_that_are_no_scores_are_refused(scores: Any, said: str) -> None:
    with pytest.raises(RunError, match=said):
        compbench.run(fakes.task(3), model=Faulty({"score": lambda: ScoreMatrix("0000", scores)}))


@dataclass
class Errors(fakes.ErrorScorer):
    """Errors as told."""

    give: Callable[[str], Any] = field(default=lambda example_id: None)

    def score(self, examples: Any, known: Any) -> Iterator[Any]:
        for example in examples:
            yield self.give(example.id)


@dataclass(frozen=True)
class ErrorSpec(fakes.Spec):
    """A spec around Errors."""

    kind: str = "errors"
    give: Callable[[str], Any] = field(default=lambda example_id: None, metadata={"option": False})

    def build(self, source: Any, runtime: Any) -> Any:
        return Errors(give=self.give)


def _measured(
    draws: Any, value: complex = 1.0, losses: Any = None, *, null_caption: float | None = None
) -> Callable[[str], Measurement]:
    shape = 2, 2 + (null_caption is not None), len(draws)
    mask, errors = np.ones(shape, bool), np.full(shape, value)
    if null_caption is not None:
        errors[:, -1] = null_caption
    by_loss = {"l2": errors} if losses is None else losses
    return lambda example_id: Measurement(example_id, np.asarray(draws), by_loss, mask, null_caption is not None)


@pytest.mark.parametrize(
    ("give", "said"),
    [
        (_measured([0, 1, 2, -1]), "gave draw -1 for example '0000'; expected draws of the bank, 0 to 9"),
        (_measured([0, 1, 2, 10]), "gave draw 10"),
        (_measured([0, 1, 1, 2]), "the same draw twice"),
        (_measured([0.0, 1.0, 2.0, 3.0]), "gave draws of dtype float64"),
        (_measured([0, 1, 2, 3], 1e300), "gave 1e.300 for example '0000', image 0, caption 0 .*draw 0"),
        (_measured([0, 1, 2, 3], 1j), "dtype complex128"),
        (_measured([0, 1, 2, 3], losses={"l1": np.full((2, 2, 4), np.inf)}), "gave inf for example '0000'"),
        (
            _measured([0, 1, 2, 3], null_caption=np.nan),
            "gave nan for example '0000', image 0, no caption, draw 0",
        ),
        (_measured([0, 1, 2, 3], losses=np.ones((2, 2, 4))), "expected an array for each loss, by name"),
        (_measured([0, 1, 2, 3], losses={}), "expected an array for each loss, by name"),
        (_measured([0, 1, 2, 3], losses={"l2": np.ones((2, 3, 4))}), r"errors 'l2' of shape \(2, 3, 4\)"),
        (lambda example_id: {"example_id": example_id}, "gave a dict; expected a ScoreMatrix or a Measurement"),
    ],
)
@pytest.mark.parametrize("keep", ["errors", "scores"])
def test_errors_that_are_no_errors_are_refused(give: Callable[[str], Any], said: str, keep: Any, runs: Path) -> None:
    if keep == "scores" and "image 0" in said:
        said = "example '0000'"
    with pytest.raises(RunError, match=said), np.errstate(invalid="ignore", over="ignore"):
        compbench.run(fakes.task(3), model=ErrorSpec(give=give), keep=keep)
    (run,) = _stored(runs)
    assert not run.done()


def test_a_task_that_fails_is_told_with_its_package(capsys: Captured) -> None:
    compbench.task("failing-task")(_fails)
    assert main(["run", "failing-task", "-m", "chance"]) == 1
    assert "task 'failing-task' of module test_plugin_faults raised KeyError" in capsys.readouterr().err


def test_doctor_and_list_live_where_a_plugin_leaves_the_process(tmp_path: Path) -> None:
    (tmp_path / "leaving.py").write_text("import sys\nsys.exit(3)\n")
    (tmp_path / "leaving-1.0.dist-info").mkdir()
    (tmp_path / "leaving-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: leaving\nVersion: 1.0\n")
    (tmp_path / "leaving-1.0.dist-info" / "entry_points.txt").write_text("[compbench.models]\nleaves = leaving:X\n")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}

    def ran(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "compbench", *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, cwd=tmp_path)

    listed = ran("list", "models", "--check")
    assert listed.returncode == 0
    assert "model 'leaves' of leaving 1.0 cannot be loaded from 'leaving:X' (it called sys.exit(3))" in listed.stdout
    asked = ran("run", "shapes", "-m", "leaves")
    assert asked.returncode == 2
    assert asked.stderr.count("\n") == 1


def test_a_package_that_is_installed_or_removed_meanwhile_is_on_offer_or_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    assert "late" not in {entry.name for entry in plugins.entries("model")}
    about = tmp_path / "late-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: late\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[compbench.models]\nlate = late:X\n")
    assert plugins.find("model", "late").package == "late 1.0"
    about.rename(tmp_path / "gone")
    assert "late" not in {entry.name for entry in plugins.entries("model")}
