"""What people look at every day, kept as it stands on screens of 80, 100 and 140 columns.

Where a change of a screen is meant, the failing test prints the new text, to be looked at and put in place of the
old.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import test_verdict

from compbench.cli.app import main

SCREENS = Path(__file__).parent / "screens"
MODELS = (("sd2", 50, 0), ("clip-vit-l-14", 53, 3), ("chance", 9, 0), ("openclip-vit-bigg-14", 59, 1))
SHIPPED = ("tiny-sd", "tiny-clip", "chance")
COMMANDS = {
    "show": ["show", *(f"fake/{name}" for name, _, _ in MODELS)],
    "show-one": ["show", "fake/sd2"],
    "compare": ["compare", "fake/sd2", "fake/clip-vit-l-14"],
    "markdown": ["show", "fake/sd2", "fake/clip-vit-l-14", "--format", "markdown"],
    "latex": ["show", "fake/sd2", "fake/clip-vit-l-14", "--format", "latex"],
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    for name, n_right, first in MODELS:
        test_verdict.stored(root, n_right, name, first=first)
    return root


@pytest.mark.parametrize("n_columns", [80, 100, 140])
@pytest.mark.parametrize("name", COMMANDS)
def test_the_screen_is_as_it_was_looked_at(
    name: str, n_columns: int, runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(n_columns))
    assert main([*COMMANDS[name], "--runs", str(runs)]) == 0
    is_page = name in ("markdown", "latex")  # which has no columns
    kept = SCREENS / (f"{name}.txt" if is_page else f"{name}-{n_columns}.txt")
    assert capsys.readouterr().out == kept.read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_first_command_prints_what_the_readme_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("COMPBENCH_RUNS", raising=False)
    monkeypatch.chdir(tmp_path)
    assert main(["run", "shapes", *(word for name in SHIPPED for word in ("--model", name)), "-q"]) == 0
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    assert f"```text\n{capsys.readouterr().out}```" in readme
