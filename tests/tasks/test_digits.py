"""The handwritten digits: which are tested and which trained on, what they are, and how the shifted ones differ."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from compbench.core.examples import Example, Task
from compbench.tasks import digits

SHIFTED = [digits.digits_rotation, digits.digits_noise, digits.digits_blur]


@pytest.fixture(scope="module")
def task() -> Task:
    return digits.digits()


def number(example: Example) -> int:
    return int(example.id.removeprefix("digit-"))


def grey(example: Example) -> NDArray[np.float64]:
    picture = example.images[0].decode()
    assert (picture.mode, picture.size) == ("L", (32, 32))
    return np.asarray(picture, dtype=np.float64)


def slant(pixels: NDArray[np.float64]) -> float:
    """The direction of the longest axis in degrees, from the second moments."""
    rows, columns = np.indices(pixels.shape)
    weights = pixels / pixels.sum()
    y, x = rows - (weights * rows).sum(), columns - (weights * columns).sum()
    xx, yy, xy = ((weights * moment).sum() for moment in (x * x, y * y, x * y))
    return float(np.degrees(0.5 * np.arctan2(2 * xy, xx - yy)))


def test_every_digit_is_tested_or_trained_on_and_none_is_both(task: Task) -> None:
    tested, trained = ({number(example) for example in some} for some in (task.examples, digits.training_examples()))
    assert (len(tested), len(trained)) == (597, 1200)
    assert tested | trained == set(range(1797))


def test_labels_and_pictures_are_scikit_learn_s(task: Task) -> None:
    bunch = load_digits()
    for example in (*task.examples, *digits.training_examples()):
        (label,) = np.flatnonzero(example.matches[0])
        assert label == bunch.target[number(example)]
        assert example.tags["class"] == (digits.NAMES[label],)
        pixels = grey(example)
        assert pixels[:4].sum() == pixels[-4:].sum() == pixels[:, :4].sum() == pixels[:, -4:].sum() == 0
        shrunk = pixels[4:-4, 4:-4].reshape(8, 3, 8, 3).mean((1, 3)) / 255 * 16
        assert np.abs(shrunk - bunch.images[number(example)]).mean() < 1  # of sixteen levels


def test_each_class_is_named_by_its_caption_and_by_its_label(task: Task) -> None:
    assert task.classes is not None
    assert task.classes.names == ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    assert task.classes.of_caption == task.classes.labels == tuple(range(10))
    assert task.classes.label_space == "digits"
    captions = task.examples[0].captions
    assert [caption.split()[-1] for caption in captions] == list(task.classes.names)
    assert all(example.captions is captions for example in task.examples)


@pytest.mark.parametrize("shifted", SHIFTED)
def test_a_shifted_task_shows_the_same_digits_changed_the_same_way_each_time(task: Task, shifted: object) -> None:
    once, again = shifted(), shifted()  # type: ignore[operator]
    assert [example.id for example in once.examples] == [example.id for example in task.examples]
    for plain, rotated, other in zip(task.examples[:50], once.examples, again.examples, strict=False):
        assert np.array_equal(plain.matches, rotated.matches)
        assert not np.array_equal(grey(plain), grey(rotated))
        assert np.array_equal(grey(rotated), grey(other))


def test_the_four_tasks_have_four_revisions_and_one_training_split(task: Task) -> None:
    shifted = [make() for make in SHIFTED]
    assert len({task.revision, *(task.revision for task in shifted)}) == 4
    for changed in shifted:
        assert changed.training is not None
        assert [example.id for example in changed.training()] == [example.id for example in digits.training_examples()]


def test_the_revision_of_the_digits_stays_what_it_was(task: Task) -> None:
    assert task.revision == "f530b00399d4"


def test_noise_has_the_standard_deviation_that_is_stated(task: Task) -> None:
    pairs = zip(task.examples, digits.digits_noise().examples, strict=True)
    plain, noisy = map(np.concatenate, zip(*((grey(first), grey(other)) for first, other in pairs), strict=True))
    is_middle = np.abs(plain - 127.5) < 12
    clipped = np.random.default_rng(0).normal(0, 0.3, 100_000).clip(-0.5, 0.5)
    assert (noisy - plain)[is_middle].std() / 255 == pytest.approx(clipped.std(), rel=0.02)
    assert (noisy - plain)[is_middle].mean() == pytest.approx(0, abs=3)


def test_rotation_turns_by_twenty_to_forty_degrees_either_way_and_loses_no_ink(task: Task) -> None:
    turns = []
    for plain, other in zip(task.examples, digits.digits_rotation().examples, strict=True):
        assert grey(other).sum() == pytest.approx(grey(plain).sum(), rel=0.05)
        if plain.tags["class"] == ("one",):  # long enough to have a direction
            turns.append((slant(grey(other)) - slant(grey(plain)) + 90) % 180 - 90)
    assert np.quantile(np.abs(turns), [0.1, 0.9]) == pytest.approx([22, 38], abs=4)
    assert 0.3 < np.mean(np.array(turns) > 0) < 0.7


def test_blur_keeps_the_ink_and_flattens_it(task: Task) -> None:
    for plain, other in zip(task.examples[:50], digits.digits_blur().examples, strict=False):
        assert grey(other).sum() == pytest.approx(grey(plain).sum(), rel=0.15)
        assert np.abs(np.diff(grey(other))).sum() < 0.8 * np.abs(np.diff(grey(plain))).sum()
