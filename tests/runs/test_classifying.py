"""What a classification task is to the metrics, the store and the frame: many captions, shared by all examples."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import fakes
from compbench.core.aliases import Floats
from compbench.core.errors import DataError
from compbench.core.examples import Classes, Example, Image, ScoreTable, Task
from compbench.core.measurements import ScoreMatrix
from compbench.core.metrics import CLASSIFYING, MEAN_PER_CLASS, TEXT, TOP1
from compbench.runs.request import RunRequest
from compbench.runs.resolve import resolve
from compbench.store import _parquet
from compbench.store.key import RunKey
from compbench.store.store import Store
from compbench.store.stored_examples import examples_table, read_examples
from compbench.store.writer import RunWriter

OF_CAPTION = np.array([0, 0, 1, 2, 2, 2])  # three classes of two, one and three prompts
CAPTIONS = tuple(f"prompt {n} of class {k}" for n, k in enumerate(OF_CAPTION))
NAMES = ("ant", "bee", "cow")
KEY = RunKey("sorting", "0123456789ab", "model", None, {})


def _task(labels: list[int]) -> Task:
    matches = [OF_CAPTION[None] == k for k in range(3)]
    examples = [
        Example(f"{n:03d}", (Image(f"{n}", b"x", "0" * 64),), CAPTIONS, matches[k], {"class": (NAMES[k],)})
        for n, k in enumerate(labels)
    ]
    return Task("sorting", examples, CLASSIFYING, classes=Classes(NAMES, tuple(OF_CAPTION.tolist())))


def _table(scores: object, labels: list[int]) -> ScoreTable:
    array = np.asarray(scores, float)[:, None]
    return ScoreTable(tuple(map(str, labels)), array, np.stack([OF_CAPTION[None] == k for k in labels]))


def test_the_best_prompt_of_a_class_speaks_for_it() -> None:
    table = _table([[1, 9, 8, 2, 3, 4], [9, 1, 8, 2, 3, 4], [1, 2, 8, 2, 3, 4]], [0, 0, 0])
    assert TOP1.outcome(table).tolist() == [True, True, False]
    assert TEXT.outcome(table).tolist() == [False, False, False]  # text wants every prompt of the class above


def test_a_tie_with_another_class_is_wrong_and_counted_and_one_within_the_class_is_right() -> None:
    table = _table([[9, 1, 9, 2, 3, 4], [9, 9, 8, 2, 3, 4], [1, 1, 9, 9, 3, 4]], [0, 0, 0])
    assert TOP1.outcome(table).tolist() == [False, True, False]
    assert TOP1.ties(table).tolist() == [True, False, False]  # in the third two other classes tie


@given(hnp.arrays(float, (4, 6), elements=st.integers(-3, 3)), st.lists(st.integers(0, 2), min_size=4, max_size=4))
@settings(deadline=None)
def test_top1_is_the_argmax_over_classes_written_out(scores: Floats, labels: list[int]) -> None:
    for right, row, label in zip(TOP1.outcome(_table(scores, labels)), scores, labels, strict=True):
        best = [max(row[k == OF_CAPTION]) for k in range(3)]
        assert right == all(best[label] > best[k] for k in range(3) if k != label)


@given(st.permutations(range(6)), hnp.arrays(float, (1, 6), elements=st.integers(-3, 3)))
@settings(deadline=None)
def test_top1_does_not_depend_on_the_order_of_the_prompts(order: list[int], scores: Floats) -> None:
    one = ScoreTable(("0",), scores[:, None], (OF_CAPTION == 2)[None, None])
    other = ScoreTable(("0",), scores[:, None, order], (OF_CAPTION == 2)[None, None, order])
    assert TOP1.outcome(one) == TOP1.outcome(other)


@pytest.mark.parametrize("matches", [[1, 0, 0], [1, 1, 0, 0], [1, 0], [1, 1, 1]])
def test_chance_is_what_all_orders_of_the_captions_give(matches: list[int]) -> None:
    truth = np.array(matches, bool)
    orders = list(itertools.permutations(range(len(matches))))
    right = sum(bool(truth[order.index(max(order))]) for order in orders)
    assert TOP1.chance(truth[None]) == float(Fraction(right, len(orders)))


def test_chance_is_one_in_the_number_of_classes_when_each_has_as_many_prompts() -> None:
    truth = np.repeat(np.arange(1000) == 3, 7)[None]
    assert TOP1.chance(truth) == MEAN_PER_CLASS.chance(truth) == 1 / 1000


def test_mean_per_class_has_the_outcome_of_top1_and_says_that_it_is_averaged_by_class() -> None:
    table = _table(np.random.default_rng(0).random((9, 6)), [0, 1, 2] * 3)
    assert (MEAN_PER_CLASS.outcome(table) == TOP1.outcome(table)).all()
    assert (TOP1.is_per_class, MEAN_PER_CLASS.is_per_class) == (False, True)


def test_shared_captions_are_stored_once_and_read_back_as_one_tuple(tmp_path: Path) -> None:
    labels = np.random.default_rng(1).integers(0, 3, 200).tolist()
    run = Store(tmp_path).open(KEY, _task(labels))
    frame = run.examples()
    assert all(captions is frame["captions"][0] for captions in frame["captions"])
    assert frame["captions"][0] == CAPTIONS
    assert len({id(matches) for matches in frame["matches"]}) == 3
    assert np.array_equal(np.stack(frame["matches"])[:, 0], np.array(labels)[:, None] == OF_CAPTION)
    assert frame["tags"][5] == {"class": [NAMES[labels[5]]]}
    assert run.classes == Classes(NAMES, tuple(OF_CAPTION.tolist()))


def test_a_thousand_captions_of_many_examples_cost_no_more_on_disk_than_those_of_two(tmp_path: Path) -> None:
    captions = tuple(f"{hashlib.sha256(bytes([n % 256, n // 256])).hexdigest()}" for n in range(1000))
    matches = [np.arange(1000)[None] == k for k in range(1000)]

    def size(n: int) -> int:
        examples = [Example(f"{i:05d}", (Image(f"{i:05d}", b""),), captions, matches[i % 1000]) for i in range(n)]
        path = tmp_path / f"{n}.parquet"
        path.write_bytes(_parquet.encode(examples_table(examples)))
        assert read_examples(path, is_known=True).captions[-1] == captions
        return path.stat().st_size

    assert size(2000) - size(2) < 2000 * 20  # bytes an example: its id, its name, its one true pair


def test_matches_read_back_cannot_be_written_to(tmp_path: Path) -> None:
    frame = Store(tmp_path).open(KEY, _task([0, 1])).examples()
    with pytest.raises(ValueError, match="read-only"):
        frame["matches"][0][:] = True


def test_examples_with_captions_of_their_own_are_stored_as_ever(tmp_path: Path) -> None:
    run = Store(tmp_path).open(dataclasses.replace(KEY, task="fake"), fakes.task(3))
    assert pd.read_parquet(run.path / "examples.parquet")["captions"][1].tolist() == list(fakes.example(1).captions)
    assert run.classes is None


def _literal_revision(task: Task) -> str:
    digest = hashlib.sha256()
    for example in sorted(task.examples, key=lambda each: each.id):
        words = [example.id, *example.captions, *(image.digest() for image in example.images)]
        digest.update("\x1f".join(words).encode() + np.packbits(example.matches).tobytes() + b"\x1e")
    return digest.hexdigest()[:12]


def test_the_revision_of_a_matching_task_is_what_it_was() -> None:
    assert fakes.task(5).revision == _literal_revision(fakes.task(5))


@pytest.mark.parametrize("changed", ["caption", "label", "class", "space", "match"])
def test_whatever_a_classification_asks_changes_its_revision(changed: str) -> None:
    task = _task([0, 1, 2])
    classes = task.classes
    assert classes is not None
    captions = (*CAPTIONS[:-1], "another") if changed == "caption" else tuple("".join(c) for c in CAPTIONS)
    examples = [dataclasses.replace(example, captions=captions) for example in task.examples]
    if changed == "match":
        examples[1] = dataclasses.replace(examples[1], matches=examples[0].matches)
    other = {
        "label": dataclasses.replace(classes, labels=tuple(range(6))),
        "space": dataclasses.replace(classes, label_space="letters"),
        "class": dataclasses.replace(classes, of_caption=(0, 0, 1, 1, 2, 2)),
    }.get(changed, classes)
    assert dataclasses.replace(task, examples=examples, classes=other).revision != task.revision
    assert dataclasses.replace(task, examples=task.examples[::-1]).revision == task.revision


def test_an_example_with_other_captions_is_refused(tmp_path: Path) -> None:
    task = _task([0, 1, 2])
    odd = dataclasses.replace(task.examples[1], captions=CAPTIONS[::-1])
    broken = dataclasses.replace(task, examples=[task.examples[0], odd, task.examples[2]])
    with pytest.raises(DataError, match=r"example '001' .* has other captions than the first"):
        resolve(RunRequest(task=broken, model=fakes.GivenSpec(), runs=tmp_path), lambda message: None)


def test_the_frame_of_a_classification_names_the_prediction_and_has_no_column_for_each_caption(tmp_path: Path) -> None:
    task = _task([0, 1, 2, 1])
    run = Store(tmp_path).open(KEY, task)
    scores = [[1, 9, 8, 2, 3, 4], [1, 2, 3, 4, 5, 6], [7, 1, 1, 7, 1, 1], [9, 9, 2, 9, 0, 0]]
    RunWriter(run).append(
        [ScoreMatrix(example.id, np.array([row], float)) for example, row in zip(task.examples, scores, strict=True)]
    )
    frame = run.to_frame()
    assert list(frame["top1"]) == [True, False, False, False]
    assert list(frame["top1_tie"]) == [False, False, True, False]
    assert list(frame["prediction"]) == ["ant", "cow", "", ""]
    assert list(frame["class"]) == ["ant", "bee", "cow", "bee"]
    assert list(frame["top1_margin"]) == [1, -3, 0, -7]
    assert list(frame["score_true"] - frame["score_false"]) == list(frame["top1_margin"])
    assert not [name for name in frame if name.startswith("score_0")]


def test_a_run_of_no_examples_has_an_empty_frame(tmp_path: Path) -> None:
    frame = Store(tmp_path).open(KEY, _task([0, 1])).to_frame()
    assert len(frame) == 0
    assert "prediction" in frame
