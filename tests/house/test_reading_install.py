"""Stored runs are read without torch, and a package that is missing is one line that names what to install."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

import compbench
from compbench.core import packages
from compbench.core.packages import Package
from without_packages import ROOT, Told, declared, for_reading, without

GOLDEN = ROOT / "tests" / "golden"
READING = [
    "list models",
    "list tasks",
    "list runs",
    "list models tiny-clip --task shapes",
    "show golden shapes digits",
    "show golden --full",
    "compare golden/Spec/d23138cc7068 golden/Spec/b9c6dd592cac",
    "curves golden/Spec/d23138cc7068",
    "curves golden/Spec/d23138cc7068 --output curves.png",
    "report shapes digits --output report.html",
    "site --output site",
    "results --output results.csv",
    "results --output results.parquet",
    "export golden/Spec/d23138cc7068 --output scores.jsonl",
    "calibrate digits",
    "cite shapes",
    "show-task shapes --n 2 --output shapes.png",
    "run shapes -m chance --limit 5 --runs own",
    "completion bash",
    "doctor",
]
MEASURING = [
    "run shapes -m tiny-sd --limit 2 --runs own",
    "run shapes -m tiny-clip,chance --limit 2 --runs own",
    "run shapes -m tiny-sd --limit 2 --dry-run --runs own",
    "run digits -m logistic-regression --limit 2 --runs own",
    "run winoground -m chance --runs own",
]
# a package that is missing is met by some of these, whichever it is
ONE_BY_ONE = [
    "list runs",
    "show golden shapes digits",
    "compare golden/Spec/d23138cc7068 golden/Spec/b9c6dd592cac",
    "curves golden/Spec/d23138cc7068 --output curves.png",
    "report shapes digits --output report.html",
    "results --output results.parquet",
    "show-task shapes --n 2 --output shapes.png",
    "doctor",
    "run shapes -m tiny-clip,chance --limit 2 --runs own",
    "run shapes -m tiny-sd --limit 2 -o draws=1 --runs own",
    "run digits -m logistic-regression --limit 2 --runs own",
    "run winoground -m chance --runs own",
]
PYTHON = [
    "import compbench; run = compbench.load_run('golden/Spec/d23138cc7068'); run.to_frame(); run.summary()",
    "run._repr_html_()",
    "frame = compbench.tidy(run); compbench.plots.per_tag_bars(frame)",
    "other = compbench.load_run('golden/Spec/b9c6dd592cac'); compbench.compare([run, other])",
    "compbench.report('shapes', 'page.html')",
    "compbench.score_pairs(lambda images, captions: [[0.0] * len(captions) for _ in images], [], [])",
]
OTHERS = [module for requirement, module in declared().items() if requirement not in for_reading()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs as from a cluster: two golden ones, one of drawn pictures and one of scikit-learn's digits."""
    made = tmp_path_factory.mktemp("laptop")
    for name, digest in (("errors", "d23138cc7068"), ("scores", "b9c6dd592cac")):
        shutil.copytree(GOLDEN / name, made / "runs" / "golden" / "Spec" / digest)
    for task in ("shapes", "digits"):
        compbench.run(task, model="chance", limit=3, runs=made / "runs")
    return made


@pytest.fixture(scope="module")
def told(folder: Path) -> Mapping[str, Told]:
    """What each command and line of Python says where only what reading needs can be imported."""
    asked = [*READING, *MEASURING, "doctor --json"]
    results = without(OTHERS, folder, [command.split() for command in asked], PYTHON)
    return dict(zip([*asked, *PYTHON], results, strict=True))


def test_what_reading_needs_is_a_part_of_what_is_declared_in_the_same_ranges() -> None:
    assert set(for_reading()) < declared().keys()
    assert {"torch", "torchvision", "diffusers", "transformers", "open_clip", "timm", "datasets"} <= set(OTHERS)


def test_every_command_that_reads_works_without_torch(told: Mapping[str, Told]) -> None:
    assert {command: told[command] for command in READING if told[command].code != 0} == {}


def test_python_reads_without_torch(told: Mapping[str, Told]) -> None:
    assert {line: told[line] for line in PYTHON if told[line].code != 0} == {}


def test_pictures_that_need_a_missing_package_are_left_out_and_it_is_said(
    told: Mapping[str, Told], folder: Path
) -> None:
    line = "Pictures of digits are not available (scikit-learn is not installed: pip install 'scikit-learn>=1.5')."
    assert told["report shapes digits --output report.html"].err.splitlines() == [line, "written to report.html"]
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "scikit-learn is not installed" in page
    assert page.count("data:image/webp") >= 6  # the pictures of shapes are drawn


def test_measuring_names_all_that_it_needs_and_stores_nothing(told: Mapping[str, Told], folder: Path) -> None:
    refused = told["run shapes -m tiny-sd --limit 2 --runs own"]
    assert (refused.code, refused.out) == (1, "")
    line = refused.err.splitlines()[-1]
    assert line.startswith("error: shapes · tiny-sd: torch is not installed; this installation only reads runs")
    assert {requirement for requirement, module in declared().items() if module in OTHERS} == {
        word.replace("open-clip-torch", "open_clip_torch").replace("huggingface-hub", "huggingface_hub")
        for word in re.findall(r"'([^']+)'", line)
    }
    assert not (folder / "own" / "shapes" / "tiny-sd").exists()


def test_one_model_that_cannot_be_built_does_not_cost_the_others(told: Mapping[str, Told]) -> None:
    both = told["run shapes -m tiny-clip,chance --limit 2 --runs own"]
    assert both.code == 1
    assert "chance" in both.out
    assert "Traceback" not in both.err
    assert "is not installed" in both.err


def test_the_doctor_says_what_works_and_what_measuring_needs(told: Mapping[str, Told]) -> None:
    checks = {check["name"]: check for check in json.loads(told["doctor --json"].out)}
    assert checks["reading runs"]["state"] == "ok"
    assert checks["measuring"]["state"] == "note"
    assert "which is for reading runs; needs datasets, diffusers" in checks["measuring"]["found"]
    assert checks["measuring"]["advice"].startswith("pip install 'datasets>=")
    assert checks["plugins"]["found"].startswith("1")  # every model can be listed
    assert {name for name, check in checks.items() if check["state"] == "problem"} == set()


FAST = ("click", "pandas")


@pytest.mark.parametrize(
    "package",
    [
        package if package.name in FAST else pytest.param(package, marks=pytest.mark.slow)
        for package in packages.declared()
    ],
    ids=lambda package: package.name,
)
def test_a_missing_package_is_one_line_that_names_it(package: Package, folder: Path) -> None:
    commands = ["show golden", "doctor"] if package.name in FAST else ONE_BY_ONE
    results = without([package.module], folder, [command.split() for command in commands], PYTHON)
    named = f"{package.name} is not installed: {packages.install([package])}"
    for asked, result in zip([*commands, *PYTHON], results, strict=True):
        assert result.code in (0, 1, "MissingPackage", "NameError"), (asked, result)
        assert "Traceback" not in result.err
        if result.code == "MissingPackage" or (result.code == 1 and not asked.startswith("doctor")):
            # of the hub's tasks the hub's cache may be what lacks
            assert any(named in line or "HF_HUB_OFFLINE" in line for line in result.err.splitlines()), (asked, result)


@pytest.mark.slow
def test_the_wheel_and_the_list_make_an_environment_that_reads(wheel: Path, folder: Path, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def call(*command: str | Path, code: int = 0) -> str:
        done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    programs = tmp_path / "venv" / "bin"
    call(sys.executable, "-m", "venv", tmp_path / "venv")
    index = subprocess.run(
        [programs / "pip", "download", "-q", "--no-deps", "-d", tmp_path, "click"], env=environment, check=False
    )
    if index.returncode:
        pytest.skip("there is no index of packages")
    call(programs / "pip", "install", "-q", "-r", ROOT / "compbench" / "reading.txt")
    call(programs / "pip", "install", "-q", "--no-deps", wheel)
    installed = json.loads(call(programs / "pip", "list", "--format", "json").partition("\n")[0])
    assert not {package["name"].lower() for package in installed} & set(OTHERS)
    for command in READING:
        call(programs / "compbench", *command.split())
    assert "scikit-learn is not installed" in call(programs / "compbench", "report", "digits")
    refused = call(programs / "compbench", *MEASURING[0].split(), code=1)
    assert refused.splitlines()[-1].startswith("error: shapes · tiny-sd: torch is not installed")
    call(programs / "python", "-c", "\n".join(PYTHON))
