"""The ways from a name to a scorer and from a stored error to a table cell are short, and those of ARCHITECTURE.md."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType

import pytest

from compbench.cli.app import main as command
from import_graph import ROOT
from tests.benchmarks.steps import module_of, steps

MOST, MOST_FILES = 20, 9
# of the way of a model's name: where it becomes a spec, where it is resolved and built, where the scorer is made
STATIONS = (
    ("compbench.diffusion.families.stable_diffusion.StableDiffusion", "__init__"),
    ("compbench.diffusion.families.stable_diffusion.StableDiffusion", "resolve"),
    ("compbench.diffusion.families.stable_diffusion.StableDiffusion", "build"),
    ("compbench.diffusion.classifier.DiffusionClassifier", "__init__"),
)


def test_a_stored_error_takes_few_steps_to_a_table_cell_and_the_map_names_their_files() -> None:
    found = steps()
    assert 15 < len(found) <= MOST, found  # fewer: the trace has lost the way
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    told = text.partition("## From a stored error")[2].partition("\n## ")[0]
    modules = {module_of(name) for name in found}
    assert {
        name for name in modules if f"`{name}`" not in told and f"{name.replace('.', '/')}.py`" not in told
    } == set()


def test_few_files_lie_between_the_name_of_a_model_and_its_scorer_and_the_map_names_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reached = dict[tuple[str, str], list[str]]()

    def heard(frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and frame.f_code.co_name in ("__init__", "resolve", "build"):
            kind = type(frame.f_locals.get("self"))
            station = f"{kind.__module__}.{kind.__qualname__}", frame.f_code.co_name
            if station in STATIONS:
                reached.setdefault(station, _callers(frame))

    sys.setprofile(heard)
    try:
        assert (
            command(["run", "shapes", "--model", "tiny-sd", "--limit", "2", "-o", "draws=2", "--runs", str(tmp_path)])
            == 0
        )
    finally:
        sys.setprofile(None)
    capsys.readouterr()
    assert list(reached) == list(STATIONS)
    # the entrance of the command line is every command's, and the vocabulary every file's
    files = {name for names in reached.values() for name in names if not name.startswith("compbench.core.")}
    files -= {"compbench.cli.app", "compbench.cli.start"}
    assert 5 < len(files) <= MOST_FILES, sorted(files)  # fewer: the trace has lost the way
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    told = text.partition("## From `--model NAME`")[2].partition("\n## ")[0]
    assert {name for name in files if f"{name.replace('.', '/')}.py`" not in told} == set()


def _callers(frame: FrameType | None) -> list[str]:
    """The modules of ours that lead to a call."""
    found = list[str]()
    while frame := frame and frame.f_back:
        found.append(frame.f_globals.get("__name__", ""))
    return [name for name in dict.fromkeys(found) if name.startswith("compbench.")]
