"""Class folders with names that mean something to a terminal, HTML, a spreadsheet, Markdown, LaTeX or matplotlib."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import PIL.Image
import pytest

from compbench.cli.app import main
from compbench.core.printable import UNSAFE
from compbench.tasks.classification.catalogue import imagefolder
from compbench_analysis.figures import plots
from compbench_analysis.figures import style as looks
from compbench_analysis.frames import tables

Captured = pytest.CaptureFixture[str]
NAMES = (
    "red\x1b[31mtext",
    "title\x1b]0;owned\x07",
    "dog\nwith newline",
    "a\u202ecod",
    "<script>alert(1)<",
    "x\"y'z|&_$#^~\\",
    "$x^{2$",
    "=1+2",
    "@SUM(A1)",
    "猫",
)
FORMATS = ("table", "markdown", "latex", "csv", "json")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures of each class."""
    root = tmp_path_factory.mktemp("data")
    for name in NAMES:
        (root / name).mkdir()
        for n in range(2):
            PIL.Image.new("RGB", (8, 8), (100 * n, 20, 90)).save(root / name / f"{n}.png")
    return root


@pytest.fixture(autouse=True)
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of the test's own."""
    monkeypatch.setenv("COMPBENCH_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


def _is_clean(text: str) -> bool:
    return not any(UNSAFE.search(line) for line in text.split("\n"))


@pytest.mark.parametrize("style", FORMATS)
def test_no_name_reaches_the_terminal_raw(style: str, data: Path, capsys: Captured) -> None:
    command = ["imagefolder", "--data", str(data), "-m", "chance"]
    assert main(["run", *command, "--by", "class", "--format", style]) == 0
    assert main(["run", *command, "--dry-run", "--format", style]) == 0
    assert main(["show", "imagefolder/chance", "--by", "class", "--format", style]) == 0
    assert main(["show-task", "imagefolder", "--data", str(data), "--format", style]) == 0
    assert main(["list", "runs", "--format", style]) == 0
    said = capsys.readouterr()
    assert _is_clean(said.out)
    assert _is_clean(said.err)
    assert "猫" in said.out


def test_names_are_themselves_in_csv_and_json(data: Path, capsys: Captured) -> None:
    assert main(["run", "imagefolder", "--data", str(data), "-m", "chance", "-q"]) == 0
    capsys.readouterr()
    assert main(["show", "imagefolder/chance", "--by", "class", "--format", "json"]) == 0
    assert {row["tag"] for row in json.loads(capsys.readouterr().out)} == {*NAMES, "overall"}
    assert main(["show", "imagefolder/chance", "--by", "class", "--format", "csv"]) == 0
    cells = {row["tag"] for row in csv.DictReader(io.StringIO(capsys.readouterr().out))}
    assert {"'=1+2", "'@SUM(A1)", "red\\x1b[31mtext", "猫"} <= cells


def test_every_page_picture_and_file_can_be_written(data: Path, tmp_path: Path, capsys: Captured) -> None:
    assert main(["run", "imagefolder", "--data", str(data), "-m", "chance", "-q"]) == 0
    for command in (
        ["report", "imagefolder/chance", "--data", str(data), "--by", "class", "--output", "report.html"],
        ["calibrate", "imagefolder/chance", "--share", "0.5", "--output", "reliability.png"],
        ["export", "imagefolder/chance", "--output", "scores.csv"],
        ["show-task", "imagefolder", "--data", str(data), "--output", "sheet.png"],
        ["cite", "imagefolder/chance"],
    ):
        *rest, last = command
        assert main([*rest, str(tmp_path / last) if "." in last else last]) == 0, command
    said = capsys.readouterr()
    assert _is_clean(said.err)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<script>alert(1)" not in page
    exported = pd.read_csv(tmp_path / "scores.csv")
    assert not any(str(cell)[:1] in "=@" for cell in [*exported["class"], *exported["prediction"].dropna()])


def test_a_dollar_sign_in_a_figure_begins_no_formula() -> None:
    rows = [
        {"task": "$t^{$", "model": model, "column": "class", "tag": name, "metric": "top1", "n": 40, "value": 0.5}
        | {"low": tables.wilson(20, 40)[0], "high": tables.wilson(20, 40)[1], "chance": 0.1, "is_partial": False}
        for model in ("$m_{1$", "b")
        for name in NAMES
    ]
    for draw in (plots.per_tag_bars, plots.tag_heat_map):
        figure = draw(pd.DataFrame(rows))
        figure.savefig(io.BytesIO(), format="png", dpi=40)
        words = [text.get_text() for text in figure.findobj(looks.Text)]
        assert any("$x^{2$" in word for word in words)


def test_a_figure_says_once_that_its_font_lacks_a_letter(capsys: Captured) -> None:
    figure = looks.Picture()
    figure.suptitle("猫\U0001f4a9")
    figure.savefig(io.BytesIO(), format="png")
    figure.savefig(io.BytesIO(), format="png")
    assert capsys.readouterr().err.count("not in its font") == 1


def test_the_classes_keep_their_names(data: Path) -> None:
    classes = imagefolder(data=data).classes
    assert classes is not None
    assert set(classes.names) == set(NAMES)


def _ran(command: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["sh", "-c", command], capture_output=True, env=os.environ | environment, check=False)


ASK = f'"{sys.executable}" -m compbench run shapes -m chance --limit 4'


def test_output_that_cannot_hold_a_sign_has_it_in_plain_letters(tmp_path: Path) -> None:
    done = _ran(ASK, PYTHONIOENCODING="ascii", LC_ALL="C")
    assert done.returncode == 0
    done.stdout.decode("ascii")
    assert b"chance" in done.stdout


@pytest.mark.parametrize("closed", ["2>&-", "2>/dev/full", "0<&-"])
def test_a_closed_or_full_stderr_costs_the_messages_alone(closed: str, runs: Path) -> None:
    done = _ran(f"{ASK} {closed}")
    assert (done.returncode, b"text, %" in done.stdout) == (0, True)
    assert list(runs.glob("shapes/chance/*/run.json"))


@pytest.mark.parametrize("closed", [">&-", ">/dev/full"])
def test_a_closed_or_full_stdout_is_told_in_one_line_and_what_was_measured_stays(closed: str, runs: Path) -> None:
    done = _ran(f"{ASK} -q {closed}")
    assert done.returncode == 1
    assert done.stderr.count(b"\n") == 1
    assert b"error: the result cannot be written" in done.stderr
    assert list(runs.glob("shapes/chance/*/run.json"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("\ufefftasks = ['shapes']\nmodels = ['chance']\nlimit = 3\n", None),
        ("tasks = ['shapes']\r\nmodels = ['chance']\r\nlimit = 3\r\n", None),
        ("tasks = " + "[" * 5000, "cannot read grid"),
        ("tasks = [1]", "tasks of grid .* cannot be"),
        ("tasks = ['shapes']\nmodels = ['chance']\nlimit = 9" + "9" * 5000, "cannot read grid"),
        ("tasks = ['shapes']\nmodels = ['chance']\nlimit = [3]", "limit of grid .* cannot be"),
    ],
)
def test_a_grid_file_is_read_or_told_in_one_line(
    content: str, said: str | None, tmp_path: Path, capsys: Captured
) -> None:
    (tmp_path / "grid.toml").write_text(content, encoding="utf-8")
    code = main(["run", "--config", str(tmp_path / "grid.toml"), "-q"])
    error = capsys.readouterr().err
    assert code == (0 if said is None else 2)
    if said is not None:
        assert error.count("\n") == 1
        assert re.search(said, error)
