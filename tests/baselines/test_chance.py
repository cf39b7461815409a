"""The chance model against the closed form."""

from __future__ import annotations

import dataclasses
from functools import cache

import numpy as np
import pytest
from scipy.stats import binomtest

import fakes
from compbench.core.examples import Example, Metric, ScoreTable
from compbench.core.metrics import BY_NAME, ONE_SIDED
from compbench.core.models import Runtime
from compbench_baselines.chance import Chance

N_MANY = 10_000


def _scores(chance: Chance, examples: list[Example]) -> dict[str, np.ndarray]:
    scorer = chance.build(None, Runtime())
    scorer.prepare(fakes.task())
    return {matrix.example_id: matrix.scores for matrix in scorer.score(examples, {})}


def _examples(n: int, shape: tuple[int, int] = (2, 2)) -> list[Example]:
    n_images, n_captions = shape
    first = fakes.example(0)
    return [
        dataclasses.replace(
            first,
            id=str(number),
            images=first.images[:1] * n_images,
            captions=tuple(map(str, range(n_captions))),
            matches=np.eye(*shape, dtype=bool),
        )
        for number in range(n)
    ]


@cache
def _table(shape: tuple[int, int]) -> ScoreTable:
    """The scores of many examples of one shape, which several metrics read."""
    examples = _examples(N_MANY, shape)
    scores = _scores(Chance(), examples)
    return ScoreTable(
        tuple(scores), np.stack(list(scores.values())), np.stack([example.matches for example in examples])
    )


@pytest.mark.parametrize(
    ("metric", "shape"),
    [
        *((BY_NAME[name], (2, 2)) for name in ("text", "image", "group", "group_match")),
        *((metric, (2, 2)) for metric in ONE_SIDED.values()),
        *((BY_NAME["text"], (1, n_captions)) for n_captions in (2, 4, 5, 80)),
        *((BY_NAME["image"], (n_images, 1)) for n_images in (2, 4, 10)),
        *((BY_NAME[name], (3, 3)) for name in ("group", "group_match")),
        *((BY_NAME[name], (1, 30)) for name in ("top1", "text_r5", "text_r10")),
        *((BY_NAME[name], (30, 1)) for name in ("image_r5", "image_r10")),
    ],
)
def test_simulated_chance_agrees_with_the_closed_form(metric: Metric, shape: tuple[int, int]) -> None:
    table = _table(shape)
    expected = metric.chance(table.matches[0])
    assert expected is not None
    n_right = int(metric.outcome(table).sum())
    # one seed, one draw: this either always passes or never does
    assert binomtest(n_right, N_MANY, expected).pvalue > 0.001
    assert not metric.ties(table).any()


def test_scores_do_not_depend_on_the_order_of_the_examples() -> None:
    examples = _examples(20)
    forward, backward = _scores(Chance(), examples), _scores(Chance(), examples[::-1])
    alone = _scores(Chance(), examples[7:8])
    assert all((forward[name] == backward[name]).all() for name in forward)
    assert (alone["7"] == forward["7"]).all()


def test_another_seed_draws_other_scores_and_is_another_run() -> None:
    examples = _examples(3)
    assert (_scores(Chance(seed=0), examples)["1"] != _scores(Chance(seed=1), examples)["1"]).all()
    assert Chance(seed=0).identity() != Chance(seed=1).identity()


def test_examples_with_different_ids_have_different_scores() -> None:
    scores = _scores(Chance(), _examples(100))
    assert len({matrix.tobytes() for matrix in scores.values()}) == 100
