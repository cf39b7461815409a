"""Runs that differ by images that one of them could not read are compared on the examples that both have."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from compbench.cli.app import main
from compbench.core.errors import UsageError
from compbench.store.run import Run
from compbench.store.store import Store
from compbench_analysis.frames.compare import compare
from noise_pictures import cats_and_dogs

Captured = pytest.CaptureFixture[str]
N = 8  # of each class


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two classes, one picture of which cannot be decoded."""
    cats_and_dogs(tmp_path / "data", N, np.random.default_rng(0))
    (tmp_path / "data" / "cat" / "003.png").write_bytes(b"GIF89a")
    return tmp_path / "data"


def run(data: Path, model: str, *more: str, code: int = 0) -> Run:
    runs = data.parent / "runs"
    assert main(["run", "imagefolder", "--data", str(data), "-m", model, "--runs", str(runs), *more]) == code
    return Store(runs).find(f"imagefolder/{model}")


@pytest.mark.parametrize(("more", "code"), [(["--skip-unreadable"], 0), ([], 1)], ids=["skipped", "failed"])
def test_what_both_measured_is_compared_and_what_is_left_out_is_counted(
    data: Path, more: list[str], code: int, capsys: Captured
) -> None:
    whole, lacking = run(data, "chance"), run(data, "tiny-clip", *more, code=code)  # chance looks at no picture
    for runs in ([whole, lacking], [lacking, whole]):
        comparison = compare(runs)
        assert set(comparison.outcomes["n"]) == {2 * N - 1}
        assert comparison.n_examples == 2 * N - 1
        assert comparison.left_out == {"chance": ("test/cat/003.png",)}
        assert not comparison.margins["difference"].isna().any()
        assert "test/cat/003.png" not in set(comparison.examples["id"])
    capsys.readouterr()
    assert main(["compare", str(whole.path), str(lacking.path), "--full"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "imagefolder, 15 examples measured by all" in said
    assert (
        "LEFT OUT: 1 of the 16 examples that chance has measured, because another run could not read their images: "
        "'test/cat/003.png'"
    ) in said
    assert main(["compare", str(whole.path), str(lacking.path), "--format", "json"]) == 0
    told = capsys.readouterr()
    assert {row["n"] for row in json.loads(told.out) if row["test"] == "outcome"} == {2 * N - 1}
    assert told.err.count("LEFT OUT: 1 of the 16 examples") == 1


def test_the_shares_are_those_of_a_data_set_without_the_picture(data: Path, tmp_path: Path) -> None:
    runs = [run(data, "chance"), run(data, "tiny-clip", "--skip-unreadable")]
    ids = sorted(set(runs[1].done()))
    (row,) = compare(runs).outcomes.query("metric == 'top1' and column == ''").to_dict("records")
    for side, stored in zip("ab", runs, strict=True):
        frame = stored.to_frame().set_index("id").loc[ids]
        assert row[f"value_{side}"] == pytest.approx(frame["top1"].mean())


def test_an_example_that_is_lacking_for_another_reason_is_still_refused(data: Path) -> None:
    runs = [run(data, "chance"), run(data, "tiny-clip", "--skip-unreadable", "--limit", "9")]
    with pytest.raises(UsageError, match="cannot compare"):
        compare(runs)


def test_the_report_compares_them_too(data: Path, capsys: Captured) -> None:
    run(data, "chance")
    run(data, "tiny-clip", "--skip-unreadable")
    page = data.parent / "report.html"
    at = ["--runs", str(data.parent / "runs"), "--output", str(page)]
    assert main(["report", "imagefolder/chance", "imagefolder/tiny-clip", *at]) == 0
    assert "LEFT OUT: 1 of the 16 examples" in page.read_text(encoding="utf-8")
