"""The scores that the page of the tiny models states are those that the shipped weights have."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import compbench
from compbench.tiny import train

README = " ".join((Path(train.__file__).parent / "README.md").read_text(encoding="utf-8").split())


def percent(frame: pd.DataFrame, *columns: str) -> str:
    return " / ".join(f"{100 * frame[column].mean():.1f}" for column in columns)


def by_tag(frame: pd.DataFrame) -> str:
    return ", ".join(f"{tag} {percent(rows, 'text', 'image')}" for tag, rows in frame.groupby("tag", sort=False))


@pytest.mark.slow
def test_tiny_clip_has_the_stated_scores(tmp_path: Path) -> None:
    frame = compbench.run("shapes", model="tiny-clip", runs=tmp_path).to_frame()
    seen, unseen = (percent(frame[frame["seen"] == word], "text", "image") for word in ("seen", "unseen"))
    assert f"{by_tag(frame)}; {seen} on seen and {unseen} on unseen combinations" in README


@pytest.mark.slow
def test_tiny_sd_has_the_stated_scores_under_both_rules(tmp_path: Path) -> None:
    run = compbench.run("shapes", model="tiny-sd", draws=16, runs=tmp_path)
    for read in (run.to_frame(), run.read(target="eps").to_frame()):
        assert f"{by_tag(read)}; on unseen combinations {by_tag(read[read['seen'] == 'unseen'])}" in README


@pytest.mark.slow
def test_tiny_dit_has_the_stated_scores(tmp_path: Path) -> None:
    run = compbench.run("digits", model="tiny-dit", draws=16, protocol="paper", runs=tmp_path)
    few, many = (percent(read.to_frame(), "top1") for read in (run.read(draws=8), run))
    assert f"With 16 draws l2 has {many} on `digits`, with 8 draws {few}" in README
