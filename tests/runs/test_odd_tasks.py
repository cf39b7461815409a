"""A task of one's own that is not what it should be is refused by name before anything is measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

import compbench
from compbench.core.errors import DataError, RunError
from compbench.core.examples import Example, Image, Task
from compbench.core.measurements import ScoreMatrix
from compbench.core.metrics import MATCHING
from fakes import GivenSpec, PerfectScorer

EYE = np.eye(2, dtype=bool)


def _images(number: int = 0) -> tuple[Image, Image]:
    def drawn(grey: int) -> Image:
        return Image(f"{number}-{grey}", lambda: PIL.Image.new("L", (4, 4), grey))

    return drawn(1), drawn(2)


def _example(number: int = 0, **changes: Any) -> Example:
    return replace(Example(str(number), _images(number), ("one", "two"), EYE), **changes)


def _scores(images: list[Any], captions: list[str]) -> Any:
    return np.eye(len(images), len(captions))


def _run(task: Task, runs: Path) -> Any:
    return compbench.run(task, model=compbench.from_function(_scores, name="diagonal", identity="1"), runs=runs)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"matches": EYE.astype(int)}, "an array of int64 for its matches; expected a numpy array of bool"),
        ({"matches": EYE.astype(float)}, "an array of float64 for its matches"),
        ({"matches": EYE.tolist()}, "a list for its matches"),
        ({"matches": np.ones((2, 2), bool)}, "every caption is true of every image"),
        ({"matches": np.zeros((2, 2), bool)}, "no caption is true of no image"),
        ({"captions": "ab"}, "'ab' for its captions; expected a tuple of texts"),
        ({"captions": (1, 2)}, r"\(1, 2\) for its captions"),
        ({"id": 3}, "the id 3 and the group ''; expected text"),
        ({"group": 3}, "the group 3; expected text"),
        ({"tags": {"tag": (1,)}}, r"\(1,\) for its tags 'tag'; expected a tuple of texts"),
        ({"tags": {"tag": None}}, "None for its tags 'tag'"),
        ({"tags": None}, "None for its tags; expected a mapping"),
        ({"tags": {"text": ("x",)}}, "tags 'text', which is the name of a column of results"),
        ({"tags": {"id": ("x",)}}, "tags 'id', which is the name of a column of results"),
        ({"tags": {"image_margin": ("x",)}}, "tags 'image_margin'"),
        ({"tags": {"score_0_1": ("x",)}}, "tags 'score_0_1'"),
        ({"images": (Image("a", "a.png"), _images()[0])}, "has a str for its source; expected a Path"),  # pyright: ignore
        ({"images": (Image(3, Path("a.png")), _images()[0])}, "an image named 3; expected text"),  # pyright: ignore
    ],
)
def test_an_example_that_cannot_be_judged_is_refused(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"'(0|odd)'.*{said}|{said}.*'odd'"):
        _run(Task("odd", (_example(**changes),), MATCHING), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_picture_that_is_another_one_each_time_is_refused(tmp_path: Path) -> None:
    greys = count()
    moving = Image("moving", lambda: PIL.Image.new("L", (4, 4), next(greys)))
    with pytest.raises(DataError, match="'moving' of example '0' of task 'odd' is another picture each time"):
        _run(Task("odd", (_example(images=(moving, _images()[1])),), MATCHING), tmp_path)


@pytest.mark.parametrize("given", [np.zeros((4, 4, 3), np.uint8), None, "a.png"])
def test_what_is_not_a_picture_is_named_with_its_kind(given: Any, tmp_path: Path) -> None:
    images = (Image("odd-one", lambda: given), _images()[1])
    with pytest.raises((DataError, RunError), match=rf"'odd-one'.* its source gave a {type(given).__name__}; expected"):
        _run(Task("odd", (_example(images=images),), MATCHING), tmp_path)


def test_examples_are_asked_for_once(tmp_path: Path) -> None:
    class Renewed:
        """Other examples whenever they are looked at."""

        n_asked = 0

        def __iter__(self) -> Iterator[Example]:
            self.n_asked += 1
            return iter([_example(10 * self.n_asked + number) for number in range(3)])

    renewed: Any = Renewed()
    run = _run(Task("odd", renewed, MATCHING), tmp_path)
    assert run.to_frame()["id"].tolist() == ["10", "11", "12"]
    one_by_one: Any = (_example(number) for number in range(3))
    assert len(_run(Task("odd", one_by_one, MATCHING), tmp_path).to_frame()) == 3


@pytest.mark.parametrize(("examples", "said"), [(3, "3 for examples"), (("a",), "a str among its examples")])
def test_what_holds_no_examples_is_refused(examples: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=said):
        _run(Task("odd", examples, MATCHING), tmp_path)


class _Given(PerfectScorer):
    """Gives some examples a score without a caption."""

    def score(self, examples: Any, known: Any) -> Iterator[ScoreMatrix]:
        for number, example in enumerate(examples):
            yield ScoreMatrix(example.id, np.eye(2), np.zeros(2) if number else None)


def test_scores_without_a_caption_are_given_for_all_examples_or_for_none(tmp_path: Path) -> None:
    task = Task("odd", (_example(0), _example(1)), MATCHING)
    with pytest.raises(RunError, match="for some examples and none for others, of which '1' is the first to differ"):
        compbench.run(task, model=GivenSpec(_Given()), runs=tmp_path)
