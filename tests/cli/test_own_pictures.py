"""A user's own folder goes through the command, from a check to a report, as the README says."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
from pathlib import Path

import pandas as pd
import pytest

from compbench.cli.app import main
from own_pictures import BLUE_ABOVE, RED_ABOVE, draw, write_csv, write_lines

_README = Path(__file__).parents[2] / "README.md"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    draw(tmp_path / "my-set", "1.png", "2.png", "3.jpg")
    text = f'image,caption,foil,kind\n1.png,"{RED_ABOVE}","{BLUE_ABOVE}",order\n2.png,a red circle,a cow,object\n'
    return write_csv(tmp_path / "my-set", text)


@pytest.mark.slow
def test_five_pictures_and_ten_captions_become_a_table_and_a_report(capsys: pytest.CaptureFixture[str]) -> None:
    section = (
        _README.read_text(encoding="utf-8").partition("## Your own pictures and captions\n")[2].partition("\n## ")[0]
    )
    table, commands = re.findall(r"```\n(.*?)```", section, re.DOTALL)
    rows = list(csv.DictReader(io.StringIO(table)))
    assert len(rows) == 5
    write_csv(draw(Path("my-set"), *(row["image"] for row in rows)), table)
    for line in commands.splitlines():
        program, *arguments = shlex.split(line, comments=True)
        assert program == "compbench"
        assert main(arguments) == 0, capsys.readouterr().err
    told = capsys.readouterr().out
    assert "1x2 (5)" in told
    assert "my-set, 5 examples" in told
    assert "text, %" in told
    page = Path("my-set.html").read_text(encoding="utf-8")
    assert "a red cup on a blue saucer" in page
    assert "are not available" not in page


def test_check_says_what_a_set_is(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "./my-set"]) == 0
    told = capsys.readouterr().out
    for words in ("my-set", "1x2 (2)", "2: PNG (2), 64x64 pixels", "4, of 2 to 7 words", "order (1), object (1)"):
        assert words in told
    assert main(["check", "./my-set", "--format", "json"]) == 0
    assert {row["what"]: row["found"] for row in json.loads(capsys.readouterr().out)}["examples"] == "2"


def test_check_tells_every_fault_and_fails(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_csv(folder, "image,caption,foil\n" + "".join(f"no{n}.png,a,b\n" for n in range(60)))
    assert main(["check", "my-set"]) == 1
    told = capsys.readouterr().out
    assert "60 problems" in told
    assert all(f"no{n}.png" in told for n in range(60))
    assert main(["check", "my-set", "--format", "csv"]) == 1
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["line"] for row in rows] == [str(n) for n in range(2, 62)]
    assert {(row["file"], row["column"]) for row in rows} == {("my-set/metadata.csv", "image")}
    assert main(["check", "nowhere"]) == 1
    assert "no file or folder 'nowhere'" in capsys.readouterr().err


def test_a_fault_of_all_rows_is_one_row_of_the_check(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_csv(folder, "image,caption,foil\n" + "1.png,a,\n" * 60)
    assert main(["check", "my-set"]) == 1
    told = capsys.readouterr().out
    assert told.startswith("my-set/metadata.csv: 60 problems")
    assert told.count("is empty; the same in 59 more lines, the last 61") == 1
    assert len(told.splitlines()) == 4


def test_a_folder_whose_name_begins_with_a_dash_is_not_taken_for_an_option(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder.rename("-dash")
    assert main(["check", "-dash"]) == 2
    assert capsys.readouterr().err == "error: '-dash' is read as an option; write ./-dash for the file or folder\n"
    assert main(["check", "./-dash"]) == 0


def test_a_name_that_loses_letters_of_its_folder_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder.rename("möbel 猫")
    for command in (["check", "möbel 猫"], ["run", "./möbel 猫", "--model", "chance"]):
        assert main(command) == 0
        assert "the task of 'möbel 猫' is called 'm-bel'" in capsys.readouterr().err.replace("\n", " ")
    assert main(["run", "furniture", "--data", "möbel 猫", "--model", "chance"]) == 0
    assert "is called" not in capsys.readouterr().err


def test_a_faulty_set_leaves_no_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_csv(folder, "image,caption,foil\n1.png,a,b\n../x.png,a,b\n")
    assert main(["run", "./my-set", "-m", "tiny-sd", "-m", "tiny-clip"]) == 1
    said = capsys.readouterr().err
    assert "line 3, column 'image': leads out of the manifest's folder" in said
    assert "loading" not in said
    assert not Path("runs").exists()


@pytest.mark.slow
def test_every_command_that_takes_a_task_takes_a_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "./my-set", "-m", "tiny-sd", "-o", "draws=2", "--dry-run"]) == 0
    assert main(["run", "./my-set,shapes", "-m", "chance", "-L", "2"]) == 0
    assert main(["run", "./my-set", "-m", "tiny-sd", "-o", "draws=2"]) == 0
    assert main(["show-task", "./my-set", "--output", "sheet.png"]) == 0
    assert main(["explain", "my-set/tiny-sd", "1"]) == 0  # the folder of that name is here
    assert main(["show", "my-set/tiny-sd", "--by", "kind"]) == 0
    scores = [{"example_id": n, "image": 0, "caption": c, "score": c} for n in (1, 2) for c in (0, 1)]
    pd.DataFrame(scores).to_csv("scores.csv", index=False)
    assert main(["import", "scores.csv", "--task", "./my-set", "--as", "mine"]) == 0
    assert main(["compare", "my-set/tiny-sd", "my-set/mine"]) == 0
    capsys.readouterr()


def test_a_run_finds_its_pictures_where_data_says(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "./my-set", "-m", "tiny-sd", "-o", "draws=2"]) == 0
    moved = folder.rename(folder.parent / "elsewhere")
    assert main(["report", "my-set/tiny-sd"]) == 0
    said = "Pictures of my-set are not available (no task named 'my-set', and no folder of that name here; "
    assert f"{said}compbench report takes a folder as --data)." in capsys.readouterr().err
    assert main(["report", "my-set/tiny-sd", "--data", str(moved)]) == 0
    assert "not available" not in capsys.readouterr().err
    assert main(["explain", "my-set/tiny-sd", "1", "--data", str(moved)]) == 0
    assert main(["run", "my-set", "--data", str(moved), "-m", "tiny-sd", "-o", "draws=2"]) == 0
    assert len(list(Path("runs/my-set/tiny-sd").iterdir())) == 1


def test_two_folders_of_one_name_are_not_mixed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = write_lines(draw(Path("other/my-set"), "1.png"), [{"image": "1.png", "caption": "a", "foil": "b"}])
    assert main(["run", "./my-set", f"./{other}", "-m", "chance"]) == 2
    assert "are both called 'my-set'" in capsys.readouterr().err


def test_python_takes_a_path(folder: Path) -> None:
    import compbench

    by_text = compbench.run("./my-set", model="chance")
    by_path = compbench.run(folder, model="chance")
    assert by_text.path.absolute() == by_path.path.absolute()
    assert by_text.ids() == ["1", "2"]
