"""Exceptions that are no Exception, such as GeneratorExit, are reported as the plugin's; Ctrl-C stays Ctrl-C."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from faulty import Faulty

import compbench
import fakes
from compbench.cli.app import main
from compbench.core.errors import RunError, UsageError
from compbench.registry import plugins

Captured = pytest.CaptureFixture[str]


class _OwnExit(BaseException):
    pass


def _raises(error: BaseException) -> Callable[[], Any]:
    def act() -> None:
        raise error

    return act


@pytest.fixture(autouse=True)
def own_runs(own_registry: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPBENCH_RUNS", str(tmp_path / "runs"))


@pytest.mark.parametrize("where", ["identity", "build", "prepare", "score"])
@pytest.mark.parametrize("error", [GeneratorExit(), GeneratorExit("over"), _OwnExit("off")])
def test_whatever_a_plugin_raises_is_the_plugins(where: str, error: BaseException) -> None:
    with pytest.raises(RunError, match=rf"of module faulty raised {type(error).__name__}.*, line \d+\)"):
        compbench.run(fakes.task(3), model=Faulty({where: _raises(error)}))


def test_the_command_prints_one_line_and_no_traceback(capsys: Captured) -> None:
    compbench.task("leaving-task")(lambda: fakes.task(3))
    compbench.model("leaves")(Faulty({"score": _raises(GeneratorExit())}))
    assert main(["run", "leaving-task", "-m", "leaves"]) == 1
    said = capsys.readouterr().err
    assert "'Scorer' of module faulty raised GeneratorExit while it scored" in said
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
        compbench.run(fakes.task(3), model=Faulty({where: _raises(KeyboardInterrupt())}))
