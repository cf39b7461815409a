"""What importing costs: no deep-learning library before a model is built, no tables before one is read."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from import_graph import ROOT

DEEP = ("torch", "torchvision", "diffusers", "transformers", "open_clip", "datasets", "matplotlib", "scipy")
TABLES = ("pandas", "pyarrow")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SPECS = sorted({entry.split(":")[0] for group in PROJECT["entry-points"].values() for entry in group.values()})
HARNESS = ("compbench", "compbench.core", "compbench.registry", "compbench.runs.harness", "compbench.cli.app")
READERS = ("compbench.store.run", "compbench_analysis")


def loaded_after(steps: list[str], libraries: tuple[str, ...]) -> dict[str, list[str]]:
    """Which of the libraries are loaded after each step of one fresh process; steps print to stderr."""
    code = f"""
import contextlib, json, sys
def loaded(step):
    with contextlib.redirect_stdout(sys.stderr):
        exec(step)
    return [name for name in {libraries!r} if name in sys.modules]
print(json.dumps({{step: loaded(step) for step in {steps!r}}}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_importing_the_harness_or_a_spec_imports_no_deep_learning_library() -> None:
    steps = [f"import {module}" for module in (*HARNESS, *SPECS, *READERS)]
    assert {step: names for step, names in loaded_after(steps, DEEP).items() if names} == {}


@pytest.mark.parametrize("what", ["models", "tasks"])
def test_listing_names_loads_neither_a_network_nor_a_table(what: str) -> None:
    step = f"from compbench.cli import main; assert main(['list', {what!r}]) == 0"
    assert loaded_after([step], (*DEEP, *TABLES, "numpy")) == {step: []}


def test_a_run_is_shown_and_answered_from_the_store_without_a_deep_learning_library(tmp_path: Path) -> None:
    golden, runs = str(ROOT / "tests" / "golden" / "errors"), ["--runs", str(tmp_path)]
    commands = [["show", golden], *[["run", "shapes", "-m", "chance", *runs, *more] for more in ([], ["-q"])]]
    steps = [f"from compbench.cli import main; assert main({command!r}) == 0" for command in commands]
    assert loaded_after(steps, DEEP) == {step: [] for step in steps}


def test_a_table_needs_neither_frames_nor_scipy() -> None:
    runs = [["errors"], ["scores"], ["scores", "--full"], ["scores", "--format", "json"]]
    commands = [["show", str(ROOT / "tests" / "golden" / run), *more] for run, *more in runs]
    steps = [f"from compbench.cli import main; assert main({words!r}) == 0" for words in commands]
    libraries = (*DEEP, "pandas", "pyarrow.compute", "pyarrow.dataset", "rich", "PIL")
    assert loaded_after(steps, libraries) == {step: [] for step in steps}


def test_every_public_name_exists() -> None:
    import compbench

    for name in compbench.__all__:
        assert getattr(compbench, name) is not None


def test_an_unknown_public_name_is_an_attribute_error() -> None:
    import compbench

    with pytest.raises(AttributeError, match="no attribute 'runn'"):
        _ = compbench.runn  # type: ignore[attr-defined]
