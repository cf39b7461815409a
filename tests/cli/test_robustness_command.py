"""The command robustness, from the store to the table and the picture, on digits and their noisy copies."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import PIL.Image
import pytest

from compbench.cli.app import main

Captured = pytest.CaptureFixture[str]
FITTED = ["--plain", "digits", "--fitted", "chance", "--fitted", "logistic-regression"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of a learned model and of chance on digits without and with noise."""
    runs = tmp_path_factory.mktemp("runs")
    measured = ["run", "digits", "digits-noise", "-m", "logistic-regression,chance", "--limit", "60"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(runs.parent / "cache"))
        assert main([*measured, "-o", "logistic-regression.train_per_class=3", "-q", "--runs", str(runs)]) == 0
    return runs


@pytest.fixture(autouse=True)
def here(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPBENCH_RUNS", str(store))


def test_the_table_holds_accuracies_the_line_and_what_is_partial(capsys: Captured) -> None:
    assert main(["robustness", "digits", "digits-noise", *FITTED]) == 0
    text = capsys.readouterr().out
    assert text.startswith("Effective robustness over digits, top-1, %")
    assert {"logistic-regression*", "chance*"} <= set(text.split())
    assert "digits-noise/chance: partial: 60 of 597 examples" in text


def test_csv_and_json_hold_the_same_rows_and_models_on_the_line_are_not_robust(capsys: Captured) -> None:
    assert main(["robustness", "digits", "digits-noise", *FITTED, "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["task"] for row in rows] == ["digits-noise"] * 2
    assert all(abs(row["rho"]) < 1e-9 for row in rows)  # two points make a line
    assert main(["robustness", "digits", "digits-noise", *FITTED, "--format", "csv"]) == 0
    table = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [float(row["shifted"]) for row in table] == [row["shifted"] for row in rows]


def test_fewer_examples_are_read_when_asked_for(capsys: Captured) -> None:
    assert main(["robustness", "digits", "digits-noise", *FITTED, "--format", "json", "--limit", "30"]) == 0
    assert {row["n"] for row in json.loads(capsys.readouterr().out)} == {30}


def test_an_output_with_a_pictures_suffix_is_the_picture(tmp_path: Path, capsys: Captured) -> None:
    output = tmp_path / "robustness.png"
    assert main(["robustness", "digits", "digits-noise", *FITTED, "--output", str(output)]) == 0
    with PIL.Image.open(output) as picture:
        assert min(picture.size) > 500
    assert "picture written to" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["digits", *FITTED], "expected 'digits' and at least one other"),
        (["digits", "digits-noise", "--plain", "digits", "--fitted", "chance"], "a line needs two models"),
        (["digits", "digits-noise", "--plain", "digits", "--fitted", "sd2"], "model 'sd2' has no result on 'digits'"),
    ],
)
def test_what_cannot_be_fitted_is_refused(capsys: Captured, arguments: list[str], message: str) -> None:
    assert main(["robustness", *arguments]) == 2
    assert message in capsys.readouterr().err
