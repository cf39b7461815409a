"""The static site and the one table of all scores: what they hold, and what they leave out."""

from __future__ import annotations

import dataclasses
import html
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import pages
from compbench.cli.app import main
from compbench.core.errors import UsageError
from compbench_analysis.frames import tables
from compbench_analysis.frames.results import results
from compbench_analysis.report import Look, write_site


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three models on one task and two on another, which is gated; one of these is not whole."""
    root = tmp_path_factory.mktemp("site") / "runs"
    photos, secret = pages.task(40), dataclasses.replace(pages.task(30, "secret"), is_gated=True)
    for name, share in (("good", 0.95), ("as-good", 0.9), ("bad", 0.2)):
        pages.scored(root, photos, name, lambda i, share=share: pages.RIGHT if i < 40 * share else pages.WRONG)
    pages.scored(root, secret, "good", lambda i: pages.RIGHT)
    pages.scored(root, secret, "bad", lambda i: pages.RIGHT if i % 2 else pages.WRONG, n=20)
    return root


def _words(path: Path) -> str:
    text = re.sub(r"<(style|script)\b.*?</\1>", " ", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", text)))


def test_a_site_is_a_leaderboard_a_page_for_each_task_and_the_numbers(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["site", "--runs", str(root), "--output", str(tmp_path / "site")]) == 0
    assert {path.name for path in (tmp_path / "site").iterdir()} == {
        "index.html",
        "photos.html",
        "secret.html",
        "results.csv",
    }
    assert "4 files written to" in capsys.readouterr().err
    index = tmp_path / "site" / "index.html"
    text, said = index.read_text(encoding="utf-8"), _words(index)
    assert set(re.findall(r'href="([^"#]+)"', text)) == {"data:,", "photos.html", "secret.html", "results.csv"}
    assert "good 95.0 83.5 – 98.6, a 100.0 88.6 – 100.0" in said
    assert "as-good 90.0 76.9 – 96.0, a –" in said  # not measured on the other task
    assert "bad 20.0 10.5 – 34.8, b 50.0 29.9 – 70.1, n 20" in said
    assert said.index("random chance 16.7 16.7") > said.index("bad 20.0")
    assert text.count('class="number best') == 2  # good and as-good on photos; nobody is on secret
    assert "secret: no winner is named: cannot compare" in said
    assert "secret: bad: partial: 20 of 30 examples" in said
    assert 'href="index.html"' in (tmp_path / "site" / "photos.html").read_text(encoding="utf-8")


def test_captions_of_gated_data_are_on_no_page_and_in_no_table(root: Path, tmp_path: Path) -> None:
    main(["site", "--runs", str(root), "--output", str(tmp_path / "site")])
    main(["results", "--runs", str(root), "--output", str(tmp_path / "all.csv")])
    assert "a dog beside" in (tmp_path / "site" / "photos.html").read_text(encoding="utf-8")
    for path in (tmp_path / "site" / "secret.html", tmp_path / "site" / "results.csv", tmp_path / "all.csv"):
        assert "a dog beside" not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_results_are_every_score_of_every_run_with_how_it_was_measured(
    root: Path, tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"results{suffix}"
    assert main(["results", "--runs", str(root), "--output", str(path)]) == 0
    assert f"90 rows of 5 runs written to {path}" in capsys.readouterr().err  # 5 runs, 3 scores, 6 tags
    frame = pd.read_csv(path) if suffix == ".csv" else pd.read_parquet(path)
    row = frame.query("task == 'photos' and model == 'good' and tag == 'overall' and metric == 'group'").iloc[0]
    assert (row["n"], row["value"], row["status"]) == (40, 0.95, "done")
    assert (row["low"], row["high"]) == pytest.approx(tables.wilson(38, 40))
    assert row["signature"].startswith("task:photos@")
    assert set(frame["column"].fillna("")) == {"", "tag", "parity"}


def test_one_run_named_is_all_that_is_written(root: Path, tmp_path: Path) -> None:
    assert main(["results", "photos/bad", "--runs", str(root), "--output", str(tmp_path / "one.csv")]) == 0
    assert set(pd.read_csv(tmp_path / "one.csv")["model"]) == {"bad"}


def test_nothing_to_show_and_a_file_of_another_kind_are_refused(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["site", "--runs", str(tmp_path / "none"), "--output", str(tmp_path / "site")]) == 2
    assert "no runs in" in capsys.readouterr().err
    assert main(["results", "--runs", str(root), "--output", str(tmp_path / "all.xlsx")]) == 2
    assert "ends in .parquet or .csv" in capsys.readouterr().err
    with pytest.raises(UsageError, match="no run can be shown"):
        write_site([], tmp_path / "site")


def test_a_caption_or_name_that_is_markup_is_text_on_the_leaderboard(tmp_path: Path) -> None:
    task = dataclasses.replace(pages.task(4), name="<b>photos</b>")
    run = pages.scored(tmp_path / "runs", task, "<img src=x>", lambda i: np.eye(2))
    index = write_site([run], tmp_path / "site", Look(n_resamples=99))[0]
    assert "<img" not in index.read_text(encoding="utf-8")
    assert "<b>" not in index.read_text(encoding="utf-8")
    assert results([run])["model"].unique().tolist() == ["<img src=x>"]


def test_a_quick_run_keeps_no_whole_ones_from_the_letters_of_their_task(tmp_path: Path) -> None:
    photos = pages.task(40)
    runs = [
        pages.scored(
            tmp_path / "runs", photos, name, lambda i, right=right: pages.RIGHT if i < right else pages.WRONG, n=n
        )
        for name, right, n in (("good", 38, 40), ("bad", 8, 40), ("quick", 40, 10))
    ]
    index, page = (_words(path) for path in write_site(runs, tmp_path / "site", Look(n_resamples=99))[:2])
    assert "good 95.0 83.5 – 98.6, a bad 20.0 10.5 – 34.8, b" in index
    assert "no winner is named" not in index
    assert "photos: quick: partial: 10 of 40 examples" in index
    assert "good leads bad on group score" in page
    assert "quick is not compared, since it lacks examples that the others measured." in page
