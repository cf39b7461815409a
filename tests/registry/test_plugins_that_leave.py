"""Exceptions that are no Exception, such as GeneratorExit, are reported as the plugin's; Ctrl-C stays Ctrl-C."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import compbench
import fakes
from compbench.cli.app import main
from compbench.core.errors import RunError, UsageError
from compbench.core.examples import Task
from compbench.core.measurements import ScoreMatrix
from compbench.core.models import ModelSpec
from compbench.registry import plugins

Captured = pytest.CaptureFixture[str]


class _OwnExit(BaseException):
    pass


@dataclass
class Scorer:
    """Scores 1 and 0, but for what it is told to do."""

    do: Mapping[str, Callable[[], Any]]

    def prepare(self, task: Task) -> None:
        self.do.get("prepare", int)()

    def score(self, examples: Any, known: Any) -> Iterator[Any]:
        for example in examples:
            self.do.get("score", int)()
            yield ScoreMatrix(example.id, np.eye(2))


@dataclass(frozen=True)
class Leaving(ModelSpec):
    """Does in each of its methods what it is told to do."""

    do: Mapping[str, Callable[[], Any]] = field(default_factory=dict, metadata={"option": False})

    def identity(self) -> Any:
        return self.do.get("identity", dict)()

    def build(self, source: object, runtime: object) -> Any:
        self.do.get("build", int)()
        return Scorer(self.do)


def _raises(error: BaseException) -> Callable[[], Any]:
    def act() -> None:
        raise error

    return act


@pytest.fixture(autouse=True)
def nothing_is_registered_for_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("COMPBENCH_RUNS", str(tmp_path / "runs"))
    before = dict(plugins._registered)
    yield
    plugins._registered.clear()
    plugins._registered.update(before)


@pytest.mark.parametrize("where", ["identity", "build", "prepare", "score"])
@pytest.mark.parametrize("error", [GeneratorExit(), GeneratorExit("over"), _OwnExit("off")])
def test_whatever_a_plugin_raises_is_the_plugins(where: str, error: BaseException) -> None:
    with pytest.raises(
        RunError, match=rf"of module test_plugins_that_leave raised {type(error).__name__}.*, line \d+\)"
    ):
        compbench.run(fakes.task(3), model=Leaving({where: _raises(error)}))


def test_the_command_prints_one_line_and_no_traceback(capsys: Captured) -> None:
    compbench.task("leaving-task")(lambda: fakes.task(3))
    compbench.model("leaves")(Leaving({"score": _raises(GeneratorExit())}))
    assert main(["run", "leaving-task", "-m", "leaves"]) == 1
    said = capsys.readouterr().err
    assert "'Scorer' of module test_plugins_that_leave raised GeneratorExit while it scored" in said
    assert "Traceback" not in said
    compbench.task("leaving-too")(_raises(GeneratorExit()))
    assert main(["run", "leaving-too", "-m", "chance"]) == 1
    assert "task 'leaving-too' of module" in capsys.readouterr().err


def test_a_module_that_leaves_while_it_is_imported_cannot_be_loaded() -> None:
    entry = plugins.Entry("gone", "model", "package 1.0", "gone:Gone", None, _raises(GeneratorExit()))
    with pytest.raises(UsageError, match=r"model 'gone' of package 1\.0 cannot be loaded"):
        plugins.load(entry)
    (checked,) = plugins.checked([entry])
    assert "GeneratorExit" in str(checked.error)


@pytest.mark.parametrize("where", ["build", "score"])
def test_an_interrupt_is_no_fault_of_the_plugin(where: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        compbench.run(fakes.task(3), model=Leaving({where: _raises(KeyboardInterrupt())}))
