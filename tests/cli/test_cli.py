"""The command as a user types it: what it prints, where, and with which exit code."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import PIL.Image
import pytest

from compbench.cli.app import main

Captured = pytest.CaptureFixture[str]
HEAVY = ("torch", "pandas", "scipy", "statsmodels", "numpy", "rich", "pyarrow", "huggingface_hub", "matplotlib", "PIL")


@pytest.fixture(autouse=True)
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of the test's own, and an environment that the command may change."""
    monkeypatch.setenv("COMPBENCH_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", os.environ.get("HF_HUB_OFFLINE", "0"))
    return tmp_path / "runs"


def _python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        check=False,
    )


def test_help_and_list_import_nothing_heavy() -> None:
    code = f"""
import sys
from compbench.cli.app import main
for arguments in (["--help"], ["run", "--help"], ["list"], ["list", "models"], ["--version"]):
    assert main(arguments) == 0, arguments
    assert not set(sys.modules) & set({HEAVY}), (arguments, set(sys.modules) & set({HEAVY}))
"""
    done = _python(code)
    assert (done.returncode, done.stderr) == (0, "")
    assert "tiny-sd" in done.stdout


def test_a_wrong_request_is_told_before_torch_is_imported() -> None:
    code = """
import sys
from compbench.cli.app import main
code = main(["run", "shapes", "-m", "chance", "-m", "sd20"])
assert "torch" not in sys.modules
sys.exit(code)
"""
    done = _python(code)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: no model named 'sd20'; did you mean 'sd2")
    assert len(done.stderr.splitlines()) == 1


def test_python_dash_m_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "compbench", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("compbench ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("run shaps -m chance", "no task named 'shaps'; did you mean 'shapes'?"),
        ("run shapes -m chanc", "no model named 'chanc'; did you mean 'chance'?"),
        ("run shapes -m chance -o sed=3", "no option 'sed' of chance; did you mean 'seed'?"),
        ("run shapes -m chance -o seed=three", "option 'seed' of model 'chance' cannot be 'three'"),
        ("run shapes -m chance --limit 0", "'--limit'"),
        ("run shapes -m chance --batch-size many", "'many' is neither auto nor a whole number"),
        ("run shapes -m chance --format xml", "'xml' is not one of"),
        ("run shapes -m chance --output no/such/folder/file", "there is no folder 'no/such/folder'"),
        ("run shapes", "no model given; name one with --model (compbench list models shows them)"),
        ("run -m chance", "no task given; name one after run (compbench list tasks shows them)"),
        ("run shapes -m chance --modle sd2", "'--model'"),
        ("run shapes winoground -m chance --data here", "--data is for one task, but 2 are named"),
        ("run shapes -m chance --by axi", "no tag column named 'axi'; did you mean 'axis'"),
        ("rnu shapes", "no command named 'rnu'; did you mean 'run'?"),
        ("show shapes/chance", "no run 'shapes/chance'"),
        ("list models chanc", "did you mean 'chance'?"),
    ],
)
def test_misuse_is_one_line_and_exit_code_2(arguments: str, message: str, capsys: Captured, runs: Path) -> None:
    assert main(arguments.split()) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert message in said.err
    assert len(said.err.splitlines()) == 1
    assert not runs.exists()


def test_no_command_at_all_shows_the_help(capsys: Captured) -> None:
    assert main([]) == 2
    assert "Commands:" in capsys.readouterr().err


def test_a_run_prints_its_table_where_it_is_and_what_to_do_next(capsys: Captured, runs: Path) -> None:
    assert main(["run", "shapes", "--model", "chance"]) == 0
    said = capsys.readouterr()
    assert "shapes, 400 examples" in said.out
    assert "overall (400)" in said.out
    assert "random scores" in said.out
    (folder,) = runs.glob("shapes/chance/*")
    assert str(folder) in said.out
    assert "compbench show shapes/chance" in said.out
    assert "400 of 400 examples in" in said.err

    assert main(["show", "shapes/chance"]) == 0
    assert capsys.readouterr().out.strip() == said.out.split("\nStored in")[0].strip()


def test_given_again_nothing_is_measured(capsys: Captured, runs: Path) -> None:
    main(["run", "shapes", "-m", "chance", "--limit", "8"])
    first, before = capsys.readouterr().out, _files(runs)
    assert main(["run", "shapes", "-m", "chance", "--limit", "8"]) == 0
    again = capsys.readouterr()
    assert again.out == first
    assert _files(runs) == before
    assert "examples in" not in again.err


def test_a_limit_marks_the_table_as_partial(capsys: Captured) -> None:
    main(["run", "shapes", "-m", "chance", "--limit", "24"])
    said = capsys.readouterr()
    assert "400 → 24 examples" in said.err
    assert "partial: 24 of 400 examples" in said.out
    main(["run", "shapes", "-m", "chance", "--limit", "24", "--full"])
    assert "|n:24/400|" in capsys.readouterr().out


def test_several_models_are_one_table_and_options_go_where_they_fit(capsys: Captured) -> None:
    assert main(["run", "shapes", "-m", "chance,chance", "-o", "chance.seed=7", "--limit", "4", "-q", "--full"]) == 0
    said = capsys.readouterr()
    assert said.out.count("text score") == 1
    assert "|seed:7|" in said.out
    assert said.err == ""


def test_flags_may_be_written_with_underscores(capsys: Captured) -> None:
    assert main(["run", "shapes", "-m", "chance", "--limit", "4", "--batch_size", "2", "--dry_run"]) == 0
    assert main(["show_task", "shapes", "--n", "1"]) == 0


@pytest.mark.parametrize("style", ["markdown", "csv", "json", "latex"])
def test_every_format_goes_to_stdout_alone(style: str, capsys: Captured) -> None:
    assert main(["run", "shapes", "-m", "chance", "--limit", "12", "--format", style]) == 0
    out = capsys.readouterr().out
    if style == "json":
        assert {row["model"] for row in json.loads(out)} == {"chance"}
    elif style == "csv":
        assert {row["n_total"] for row in csv.DictReader(io.StringIO(out)) if row["tag"] == "overall"} == {"400"}
    else:
        assert "partial: 12 of 400 examples" in out
    assert "Stored in" not in out


def test_the_result_can_go_to_a_file(tmp_path: Path, capsys: Captured) -> None:
    file = tmp_path / "table.csv"
    assert main(["run", "shapes", "-m", "chance", "--limit", "4", "--format", "csv", "--output", str(file)]) == 0
    assert capsys.readouterr().out == ""
    assert set(pd.read_csv(file)["metric"]) == {"text", "image", "group"}


def test_a_dry_run_prints_the_price_and_writes_nothing(capsys: Captured, runs: Path) -> None:
    assert main(["run", "shapes", "-m", "chance", "--dry-run"]) == 0
    out = "".join(capsys.readouterr().out.split())
    assert "1,600" in out
    assert f"tobestoredin{runs / 'shapes' / 'chance'}" in out
    assert not runs.exists()


def test_a_model_that_fails_lets_the_others_go_on(capsys: Captured) -> None:
    assert main(["run", "shapes", "-m", "sd:nobody/nothing", "-m", "chance", "--limit", "4", "--offline"]) == 1
    said = capsys.readouterr()
    assert said.err.count("error: ") == 1
    assert "error: shapes · sd:nobody/nothing: model 'nobody/nothing' is not in the local cache" in said.err
    assert "chance is not distinguishable from random scores" in said.out


INTERRUPTED = """
import os, signal, sys
from dataclasses import dataclass
import compbench
from compbench.cli.app import main
from compbench_baselines.chance import Chance

@compbench.model("interrupted")
@dataclass(frozen=True)
class Interrupted(Chance):
    def score(self, examples, known):
        for number, result in enumerate(super().score(examples, known)):
            if number == 5:
                os.kill(os.getpid(), getattr(signal, sys.argv[1]))
            yield result

sys.exit(main(["run", "shapes", "-m", "interrupted"]))
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_an_interrupted_command_says_how_to_go_on(name: str, runs: Path) -> None:
    command = [sys.executable, "-c", INTERRUPTED, name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 130
    assert done.stderr.splitlines()[-1] == "interrupted: rerun the same command to resume"
    assert "Traceback" not in done.stderr
    (info,) = runs.glob("shapes/interrupted/*/run.json")
    assert json.loads(info.read_text())["status"] == "interrupted"


def test_export_writes_one_row_an_example(tmp_path: Path, capsys: Captured) -> None:
    main(["run", "shapes", "-m", "chance", "--limit", "6"])
    for name in ("scores.parquet", "scores.csv"):
        assert main(["export", "shapes/chance", "--output", str(tmp_path / name)]) == 0
    frame = pd.read_parquet(tmp_path / "scores.parquet")
    assert len(frame) == 6
    assert {"id", "text", "image", "group", "tag", "score_0_1"} <= set(frame.columns)
    of_csv = pd.read_csv(tmp_path / "scores.csv")
    assert len(of_csv) == 6
    (signature,) = set(of_csv["signature"])
    assert set(frame["signature"]) == {signature}
    assert signature.startswith("task:shapes@")
    assert f"of {signature}" in capsys.readouterr().err
    assert main(["export", "shapes/chance", "--output", str(tmp_path / "scores.xls")]) == 2


def test_cite_prints_bibtex(capsys: Captured) -> None:
    main(["run", "shapes", "-m", "chance", "--limit", "2", "-q"])
    capsys.readouterr()
    assert main(["cite", "shapes/chance"]) == 0
    assert capsys.readouterr().out.startswith("@software{compbench,")


def test_runs_and_options_are_listed(capsys: Captured) -> None:
    main(["run", "shapes", "-m", "chance", "--limit", "2", "-q"])
    capsys.readouterr()
    assert main(["list", "runs"]) == 0
    assert "shapes/chance" in capsys.readouterr().out
    assert main(["list", "models", "chance"]) == 0
    assert "-o seed=" in capsys.readouterr().out
    assert main(["list", "tasks", "--format", "json"]) == 0
    assert {"shapes", "winoground"} <= {row["task"] for row in json.loads(capsys.readouterr().out)}


def test_examples_can_be_read_and_looked_at(tmp_path: Path, capsys: Captured) -> None:
    picture = tmp_path / "sheet.png"
    assert main(["show-task", "shapes", "--n", "2", "--output", str(picture)]) == 0
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 2 + 2 * 2
    with PIL.Image.open(picture) as sheet:
        assert sheet.width > 500


def test_somebody_elses_scores_become_a_run(tmp_path: Path, capsys: Captured) -> None:
    main(["run", "shapes", "-m", "chance", "-q"])
    (folder,) = (tmp_path / "runs" / "shapes" / "chance").iterdir()
    pd.read_parquet(folder / "scores").to_csv(tmp_path / "scores.csv", index=False)
    table = capsys.readouterr().out.splitlines()
    assert main(["import", str(tmp_path / "scores.csv"), "--task", "shapes", "--as", "gpt-4o"]) == 0
    imported = capsys.readouterr().out
    mine = next(line for line in table if line.startswith("chance "))
    assert mine.split()[1:] in [line.split()[1:] for line in imported.splitlines() if line.startswith("gpt-4o ")]


def test_doctor_finds_what_works_and_never_shows_a_token(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_notasecret")
    assert main(["doctor", "--format", "json"]) == 0
    out = capsys.readouterr().out
    state_of = {row["name"]: row["state"] for row in json.loads(out)}
    assert state_of["torch"] == state_of["hub token"] == state_of["runs"] == "ok"
    assert "hf_notasecret" not in out


def _files(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
