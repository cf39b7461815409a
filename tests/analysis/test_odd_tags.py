"""Tags of any name, and examples of several shapes: every cell holds what counting its examples by hand gives."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from scipy import stats

import compbench
from compbench.core.examples import Example, Image, Task
from compbench.core.metrics import MATCHING
from compbench.store.run import Run
from compbench_analysis.frames.breakdowns import Breakdown
from compbench_analysis.text import compare as compared
from compbench_analysis.text import show

PIXEL = PIL.Image.new("RGB", (4, 4))
SHAPES = ((1, 2), (2, 2), (1, 3))


def _task(names: list[tuple[str, ...]], shapes: list[tuple[int, int]], column: str = "tag") -> Task:
    examples = [
        Example(
            f"{number:03d}",
            tuple(Image(f"{number}-{image}", lambda: PIXEL, sha256=f"{number}{image}") for image in range(shape[0])),
            tuple(f"{number} {caption}" for caption in range(shape[1])),
            np.eye(*shape, dtype=bool),
            tags={column: tags},
        )
        for number, (tags, shape) in enumerate(zip(names, shapes, strict=True))
    ]
    return Task("odd-tags", tuple(examples), MATCHING)


def _runs(task: Task, runs: Path, n: int = 2) -> list[Run]:
    """Runs of few different scores, so that many are tied."""

    def model(seed: int) -> Any:
        def scored(images: list[Any], captions: list[str]) -> Any:
            example = task.examples[int(captions[0].split()[0])]
            rng = np.random.default_rng([seed, int(example.id)])
            return rng.integers(0, 3, example.shape) + rng.random() * example.matches

        return compbench.from_function(scored, name=f"model-{seed}")

    return [compbench.run(task, model=model(seed), runs=runs) for seed in range(n)]


@pytest.mark.parametrize("column", ["tag", "overall"])
def test_a_tag_called_overall_is_not_taken_for_the_whole_set(column: str, tmp_path: Path) -> None:
    runs = _runs(_task([("overall",)] + [("other",)] * 11, [(2, 2)] * 12, column), tmp_path)
    frame = compbench.tidy(runs[0], column).query("metric == 'text'").set_index("tag")
    assert frame["n"].to_dict() == {f"{column}: overall": 1, "other": 11, "overall": 12}
    for text in (show.to_text(runs, by=column), compared.to_text(compbench.compare(runs, by=column))):
        assert "model-0 and model-1 cannot be told apart" in text
        assert f"{column}: overall (1)" in text
    outcomes = compbench.compare(runs, by=column).outcomes
    n_tests = outcomes.groupby("family")["n_tests"].first().to_dict()
    assert n_tests == {"overall": 3, "tag" if column == "tag" else "overall (column)": 6}
    assert set(outcomes.query("tag == 'overall'")["family"]) == {"overall"}


def test_crossed_tags_that_could_be_taken_for_others_stay_apart(tmp_path: Path) -> None:
    task = _task([("a & b",), ("a",), ("a",)], [(1, 2)] * 3)
    others = ("c", "b & c", "b & c")
    examples = [
        replace(example, tags={**example.tags, "other": (other,)})
        for example, other in zip(task.examples, others, strict=True)
    ]
    (run,) = _runs(replace(task, examples=tuple(examples)), tmp_path, 1)
    frame = compbench.tidy(run, Breakdown(("tag", "other"), is_crossed=True)).set_index("tag")
    assert frame["n"].to_dict() == {"'a' & 'b & c'": 2, "'a & b' & 'c'": 1, "overall": 3}


def test_a_tag_without_examples_of_a_metric_has_no_row(tmp_path: Path) -> None:
    runs = _runs(_task([("a",), ("a",), ("b",)], [(1, 2), (1, 3), (2, 2)]), tmp_path)
    comparison = compbench.compare(runs)
    for frame in (comparison.outcomes, comparison.margins):
        assert (frame["n"] > 0).all()
        assert set(frame.query("metric == 'image'")["tag"]) == {"b", "overall"}
    assert comparison.interactions["metric"].tolist() == ["text"]


def test_every_format_says_how_many_examples_each_metric_has(tmp_path: Path) -> None:
    (run,) = _runs(_task([("a",), ("a",), ("b",)], [(1, 2), (1, 3), (2, 2)]), tmp_path, 1)
    for style in ("table", "markdown", "latex"):
        assert "3 / 1 / 1" in show.to_text([run], style)


def _newcombe(both: int, only_a: int, only_b: int, neither: int) -> tuple[float, float]:
    """Method 10 of Newcombe (1998), written out once more."""
    n = both + only_a + only_b + neither

    def wilson(k: int) -> tuple[float, float, float]:
        interval = stats.binomtest(k, n).proportion_ci(method="wilson")
        return k / n, interval.low, interval.high

    (a, low_a, high_a), (b, low_b, high_b) = wilson(both + only_a), wilson(both + only_b)
    product = (both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither)
    apart = both * neither - only_a * only_b
    phi = (max(apart - n / 2, 0) if apart > 0 else apart) / math.sqrt(product) if product else 0.0
    below = (a - low_a) ** 2 - 2 * phi * (a - low_a) * (high_b - b) + (high_b - b) ** 2
    above = (b - low_b) ** 2 - 2 * phi * (high_a - a) * (b - low_b) + (high_a - a) ** 2
    return a - b - math.sqrt(below), a - b + math.sqrt(above)


@pytest.mark.parametrize("n", [1, 2, 7, 60])
def test_every_cell_of_a_comparison_is_what_scipy_makes_of_its_examples(n: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(n)
    kinds = ["plain", "naïve <b>", 'with ,;"', "-1"]
    tags = [tuple(map(str, rng.choice(kinds, rng.integers(0, 3), replace=False))) for _ in range(n)]
    task = _task(tags, [SHAPES[place] for place in rng.integers(0, 3, n)])
    runs = _runs(task, tmp_path)
    a, b = (run.to_frame().set_index("id") for run in runs)
    for row in compbench.compare(runs).outcomes.to_dict("records"):
        ids = [example.id for example in task.examples if row["tag"] in ("overall", *example.tags["tag"])]
        known = [name for name in ids if a.loc[name, row["metric"]] in (True, False)]
        right = [(bool(a.loc[name, row["metric"]]), bool(b.loc[name, row["metric"]])) for name in known]
        cells = [right.count(cell) for cell in ((True, True), (True, False), (False, True), (False, False))]
        assert [row[name] for name in ("both", "only_a", "only_b", "neither")] == cells
        disagree = cells[1] + cells[2]
        assert row["p"] == pytest.approx(stats.binomtest(cells[1], disagree).pvalue if disagree else 1)
        assert (row["low"], row["high"]) == pytest.approx(_newcombe(*cells), abs=1e-9)
    for run, frame in zip(runs, (a, b), strict=True):
        for row in compbench.tidy(run).to_dict("records"):
            ids = [example.id for example in task.examples if row["tag"] in ("overall", *example.tags["tag"])]
            right = [frame.loc[name, row["metric"]] for name in ids]
            known = [bool(value) for value in right if value in (True, False)]
            interval = stats.binomtest(sum(known), len(known)).proportion_ci(method="wilson")
            assert (row["n"], row["n_right"]) == (len(known), sum(known))
            assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high), abs=1e-9)
