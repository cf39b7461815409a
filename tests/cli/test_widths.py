"""No line of any command is wider than the terminal, whatever models, tags and folders are called."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

import fakes
from compbench.cli.app import group, main
from compbench.core.examples import Classes, Example, Task
from compbench.core.measurements import DrawTable, Measurement, ScoreMatrix
from compbench.core.metrics import CLASSIFYING, MATCHING
from compbench.core.printable import width
from compbench.store.key import RunKey
from compbench.store.store import Store
from compbench.store.writer import RunWriter

Captured = pytest.CaptureFixture[str]
LONG = "openclip-vit-bigg-14-laion2b-s39b-b160k-of-somebody"
NAMES = (LONG, "sd2", "猫" * 20, *(f"clip-of-seed-{n}" for n in range(7)))
KINDS = ("猫が犬を追いかける絵と犬が猫を追いかける絵の順序", "roles", *(f"a kind with number {n}" for n in range(9)))
N = 66


def _task(name: str = "matching") -> Task:
    examples = [
        replace(example, tags={**example.tags, "kind": (KINDS[n % 11],)})
        for n, example in enumerate(fakes.task(N).examples)
    ]
    return Task(name, tuple(examples), MATCHING, tag_order={"tag": fakes.TAGS})


def classes(name: str) -> Task:
    """66 pictures of eleven classes."""
    names = tuple(f"{kind} ({n})" for n, kind in enumerate(KINDS))
    examples = tuple(
        Example(f"{n:04d}", example.images[:1], names, np.eye(11, dtype=bool)[[n % 11]], {"class": (names[n % 11],)})
        for n, example in enumerate(fakes.task(N).examples)
    )
    return Task(name, examples, CLASSIFYING, classes=Classes(names, tuple(range(11))))


def _store(task: Task, root: Path, models: Sequence[str]) -> None:
    rng = np.random.default_rng(0)
    for model in models:
        run = Store(root).open(RunKey(task.name, task.revision, model, None, {"of": model}), task, view=None)
        writer = RunWriter(run)
        writer.append(
            [ScoreMatrix(example.id, example.matches + rng.normal(0, 0.6, example.shape)) for example in task.examples]
        )
        writer.settle(None)


def _store_errors(task: Task, root: Path) -> None:
    rng, ramp = np.random.default_rng(0), np.linspace(0.1, 0.9, 40, dtype=np.float32)
    key = RunKey(task.name, task.revision, "sd-of-somebody-with-a-name", None, {"seed": 0, "protocol": "compbench"})
    run = Store(root).open(key, task, view={"n_draws": 40, "target": "native"})
    writer = RunWriter(run)
    writer.write_draws(DrawTable(np.arange(40) * 20.0, np.sqrt(1 - ramp**2), ramp, "v"))
    draws, whole = np.arange(40, dtype=np.int32), np.ones((2, 2, 40), bool)
    for example in task.examples:
        errors = rng.random((2, 2, 40), np.float32) + (~example.matches)[..., None].astype(np.float32) * 0.1
        writer.append([Measurement(example.id, draws, {"l2": errors}, whole)])
    writer.settle(None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Runs of ten models, of errors, and of classes; a user's own set, right and wrong."""
    place = tmp_path_factory.mktemp("terminal")
    runs = place / "runs"
    _store(_task(), runs, NAMES)
    _store(classes("classes-of-many-letters"), runs, NAMES[:2])
    _store_errors(_task("errors"), runs)
    for name, caption in (("right", "a dog chases a ball"), ("wrong", "")):
        (place / name).mkdir()
        PIL.Image.new("RGB", (8, 8)).save(place / name / "picture.png")
        rows = "".join(f"picture.png,{caption},a ball chases dog {n},{KINDS[n]}\n" for n in range(11))
        (place / name / "metadata.csv").write_text(f"image,caption,foil,kind\n{rows}", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch, contextlib.chdir(place):
        patch.setenv("XDG_CACHE_HOME", str(place / "cache"))
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.delenv("COMPBENCH_RUNS", raising=False)
        yield place


COMMANDS: Mapping[str, int] = {
    "show matching": 0,
    "show matching --full": 0,
    "show matching --by kind": 0,
    "show matching --by kind --by tag --cross": 0,
    "show errors/sd-of-somebody-with-a-name --full": 0,
    "show classes-of-many-letters --by class": 0,
    "show classes-of-many-letters --by class --full": 0,
    "show matching errors classes-of-many-letters": 0,
    f"show matching/{LONG}": 0,
    f"compare matching/{LONG} matching/{NAMES[2]} matching/sd2": 0,
    f"compare matching/{LONG} matching/sd2 --by kind --full": 0,
    "curves errors": 0,
    "curves errors --by kind": 0,
    "curves errors --full": 0,
    "calibrate classes-of-many-letters --share 0.5": 0,
    "list": 0,
    "list runs": 0,
    "list tasks": 0,
    "list models": 0,
    "list models tiny-clip": 0,
    "list models sd2": 0,
    "list models synthetic-sd": 0,
    "show-task shapes": 0,
    "show-task digits": 0,
    "check right": 0,
    "check wrong": 1,
    "run shapes -m chance --limit 4": 0,
    "run shapes -m chance -m sd2 --dry-run": 0,
    "run digits -m chance --limit 4 --full": 0,
    "reproduce table2 --dry-run": 0,
    "cite matching/sd2": 0,
    "doctor": 0,
}


@pytest.mark.parametrize("command", COMMANDS)
def test_no_line_is_wider_than_80_columns(
    command: str, folder: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code = main(shlex.split(command))
    said = capsys.readouterr()
    if "--dry-run" not in command and command != "doctor":  # which depend on the machine
        assert code == COMMANDS[command], said.err
    assert [line for line in said.out.splitlines() if width(line) > 80] == []
    assert said.out.strip()


@pytest.mark.parametrize("command", ["", *group.list_commands(None)])  # pyright: ignore[reportArgumentType]
def test_no_line_of_help_is_wider_than_80_columns(
    command: str, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main([*command.split(), "--help"]) == 0
    assert [line for line in capsys.readouterr().out.splitlines() if width(line) > 80] == []
