"""No name of the code reaches a screen, a page or a figure, however the runs of a model differ."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import test_widths
from matplotlib.text import Text

import pages
from compbench.cli.app import group, main
from compbench.core.aliases import Json
from compbench.core.measurements import ScoreMatrix
from compbench.schedules.racing import Racing
from compbench.schedules.schedule import entry_of
from compbench.store.key import RunKey
from compbench.store.run import Run
from compbench.store.store import Store
from compbench.store.writer import RunWriter
from compbench_analysis.figures import plots
from compbench_analysis.frames import curves
from compbench_analysis.frames.tables import tidy
from compbench_analysis.report import Look, write

CODE = re.compile(
    r"\b[A-Za-z]+(?:_[A-Za-z0-9]+)+|\b[a-z_]+(?:\.[a-z_]+)*=(?!=)\S*|[{}]|\['|True|False|None(?! of the )"
)
FULL: dict[str, Json] = {"protocol": "compbench", "seed": 0, "dtype": "float32"}
MEASUREMENTS: tuple[dict[str, Json], ...] = (
    FULL,
    FULL | {"seed": 1},
    FULL | {"noise": "antithetic-2", "size_px": 256},
    FULL | {"reductions": ["l2", "l1"], "my_option": {"n_words": [3, 4], "is_quick": True}, "of_nothing": None},
)
OF_SCORES: tuple[dict[str, Json], ...] = tuple(FULL | {"race": entry_of(Racing(draws))} for draws in (100, 1000))
COMMANDS = (
    "show photos",
    "show photos --full",
    "show photos --each",
    "show named",
    "show named --full",
    "show photos named",
    "compare photos",
    "compare photos --full",
    "compare named --full",
    "curves photos",
    "curves photos --full",
    "calibrate named",
    "list runs",
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of errors of one model that differ in many ways, and two classifications by another."""
    root = tmp_path_factory.mktemp("runs")
    photos = pages.task(12)
    for measurement in MEASUREMENTS:
        pages.measured(root, photos, "sd", lambda i: i % 3 != 0, measurement)
    classes = test_widths.classes("named")
    for measurement in OF_SCORES:
        run = Store(root).open(RunKey("named", classes.revision, "clip", None, measurement), classes)
        rng = np.random.default_rng(0)
        rows = [example.matches + rng.normal(0, 1, example.shape) for example in classes.examples]
        matrices = zip(classes.examples, rows, strict=True)
        RunWriter(run).append([ScoreMatrix(example.id, row) for example, row in matrices])
        RunWriter(run).settle(None)
    return root


def found_in(text: str) -> list[str]:
    """Names of code in what is said, but for signatures, folders and options as they are typed."""
    lines = [line for line in text.splitlines() if "|" not in line and "runs/" not in line]
    said = re.sub(r"-o \S+", "", "\n".join(lines).partition("Signature")[0])
    return CODE.findall(said)


def _every(root: Path) -> list[Run]:
    return sorted(Store(root).runs(), key=lambda run: run.key.task, reverse=True)  # photos first


@pytest.mark.parametrize("command", COMMANDS)
def test_no_screen_shows_a_name_of_the_code(command: str, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [run.key.digest for run in _every(root)]
    photos, named = names[: len(MEASUREMENTS)], names[len(MEASUREMENTS) :]
    words = [part for word in command.split() for part in {"photos": photos, "named": named}.get(word, [word])]
    assert main([*words, "--runs", str(root)]) == 0
    said = capsys.readouterr()
    assert found_in(said.out) == []
    assert said.out.strip()


def test_no_help_names_a_type_or_a_formula() -> None:
    context = click.Context(group, info_name="compbench")
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        inner = click.Context(command, info_name=name, parent=context)
        told = [" ".join(record) for option in command.params if (record := option.get_help_record(inner))]
        assert [line for line in told if re.search(r"TEXT|INTEGER|FLOAT|RANGE|[<>]=", line)] == []


@pytest.mark.parametrize(("given", "said"), [("0", "at least 1; got 0"), ("x", "a whole number, at least 1; got x")])
def test_what_is_no_number_above_its_limit_is_refused_in_words(
    given: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "shapes", "-m", "chance", "--limit", given]) == 2
    assert said in capsys.readouterr().err


def test_no_page_shows_one(root: Path, tmp_path: Path) -> None:
    page = write(_every(root), tmp_path / "page.html", Look(n_resamples=99)).read_text(encoding="utf-8")
    text = re.sub(r"<(script|style|code|pre)\b.*?</\1>|<[^>]+>", " ", page, flags=re.DOTALL)
    assert "antithetic noise" in text
    assert CODE.findall(re.sub(r"-o \S+", "", text)) == []


def test_no_figure_shows_one(root: Path) -> None:
    photos = _every(root)[: len(MEASUREMENTS)]
    figures: list[Any] = [
        plots.per_tag_bars(tidy(_every(root)[-2:])),
        plots.tag_heat_map(tidy(photos)),
        plots.accuracy_by_draws(curves.by_draws(photos, n_subsets=2)),
        plots.accuracy_by_rule(curves.by_rule(photos)),
    ]
    said = "\n".join(text.get_text() for figure in figures for text in figure.findobj(Text))
    assert "256 px" in said
    assert "mean accuracy per class" in said
    assert found_in(said) == []
