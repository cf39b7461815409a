"""A function of one's own as a model: what it gets, what it gives, what it raises, and that nothing stale is shown."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch

import compbench
import fakes
from compbench.core.errors import RunError, UsageError
from compbench.core.examples import Example, Image, Task

SCORES = [[2.0, 1.0], [0.5, 3.0]]


def constant(images: list[PIL.Image.Image], captions: list[str]) -> Any:
    return SCORES


def stored(run: Any) -> list[list[float]]:
    return run.table().scores[0].tolist()


def test_a_function_gets_rgb_pictures_and_the_captions_of_one_example(tmp_path: Path) -> None:
    calls: list[tuple[list[Any], list[str]]] = []

    def recorded(images: list[PIL.Image.Image], captions: list[str]) -> Any:
        calls.append((images, captions))
        return SCORES

    clear = Image("clear", lambda: PIL.Image.new("RGBA", (8, 8), (0, 0, 0, 0)))
    grey = Image("grey", lambda: PIL.Image.new("L", (8, 8), 7))
    example = Example("a", (clear, grey), ("one", "two"), np.eye(2, dtype=bool))
    task = Task("own", (example,), fakes.task(1).metrics)
    compbench.run(task, model=recorded, runs=tmp_path)
    ((images, captions),) = calls
    assert [image.mode for image in images] == ["RGB", "RGB"]
    assert images[0].getpixel((0, 0)) == (255, 255, 255)
    assert captions == ["one", "two"]


@pytest.mark.parametrize(
    "scores",
    [
        SCORES,
        tuple(map(tuple, SCORES)),
        np.array(SCORES),
        torch.tensor(SCORES),
        torch.tensor(SCORES, dtype=torch.bfloat16, requires_grad=True),
        list(torch.tensor(SCORES)),
        [[torch.tensor(value, requires_grad=True) for value in row] for row in SCORES],
        np.array(SCORES, np.float16),
        np.array(SCORES, np.longdouble),
    ],
)
def test_scores_may_be_lists_arrays_or_tensors(scores: Any, tmp_path: Path) -> None:
    run = compbench.run(fakes.task(2), model=lambda images, captions: scores, runs=tmp_path)
    assert run.key.model == "function"
    assert stored(run) == SCORES


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ([[1.0, 2.0]], r"scores of shape \(1, 2\) for example '0000'; expected \(2, 2\)"),
        (1.0, r"scores of shape \(\) for example '0000'; expected \(2, 2\)"),
        (np.zeros((2, 3)), r"shape \(2, 3\)"),
        ([[1.0, float("nan")], [0, 0]], "nan for example '0000', image 0, caption 1"),
        (np.zeros((2, 2), complex), "dtype complex128"),
        (torch.zeros((2, 2), dtype=torch.complex64), "dtype complex64"),
        (np.ma.masked_equal(np.eye(2), 0), "some are masked"),
        ([np.ma.masked_equal(row, 0) for row in np.eye(2)], "some are masked"),
        ([["a", "b"], ["c", "d"]], "dtype <U1"),
        (None, "dtype object"),
        ({"a": 1}, "dtype object"),
        ([[1.0, 2.0], [1.0]], r"rows of scores have the shapes \(2,\), \(1,\)"),
        ([[1e200, 0], [0, 0]], "score of 1e"),
        ([[2**60 + 1, 2**60], [2**60, 2**60 + 1]], "dtype int64 for example '0000' that are equal in float64"),
        (np.eye(2, dtype=np.longdouble) * 1e-18 + 1, "that are equal in float64"),
    ],
)
def test_what_is_no_score_for_each_pair_is_refused(scores: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=said):
        compbench.run(fakes.task(2), model=lambda images, captions: scores, runs=tmp_path)


def test_a_function_may_fill_one_array_again_and_again(tmp_path: Path) -> None:
    scores, calls = np.zeros((2, 2)), iter(range(1, 9))

    def refilled(images: Any, captions: Any) -> Any:
        scores[...] = next(calls)
        return scores

    run = compbench.run(fakes.task(4), model=refilled, runs=tmp_path)
    assert run.table().scores[:, 0, 0].tolist() == [1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize("error", [ValueError("no luck"), SystemExit(3), RuntimeError(), UsageError("odd")])
def test_what_a_function_raises_is_told_as_its_own_fault_with_the_example(error: BaseException, tmp_path: Path) -> None:
    def broken(images: Any, captions: Any) -> Any:
        raise error

    with pytest.raises(
        RunError, match=rf"function 'broken' raised {type(error).__name__}.* for example '0000'"
    ) as caught:
        compbench.run(fakes.task(2), model=broken, runs=tmp_path)
    assert "test_functions.py, line" in str(caught.value)


def test_without_an_identity_a_function_is_measured_every_time_and_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    offset = [0.0]

    def shifting(images: Any, captions: Any) -> Any:
        return np.array(SCORES) + offset[0]

    first = compbench.run(fakes.task(2), model=shifting, runs=tmp_path)
    said = capsys.readouterr().err
    assert said.count("measured every time and never read from the store") == 1
    offset[0] = 1.0
    second = compbench.run(fakes.task(2), model=shifting, runs=tmp_path)
    assert first.path != second.path
    assert stored(first) == SCORES
    assert stored(second) == [[3.0, 2.0], [1.5, 4.0]]
    assert stored(compbench.load_run("fake/shifting", runs=tmp_path)) == stored(second)  # the latest


def test_with_an_identity_it_is_found_like_any_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    n_calls = [0]

    def counted(images: Any, captions: Any) -> Any:
        n_calls[0] += 1
        return SCORES

    model = compbench.from_function(counted, name="mine", identity="v1")
    first = compbench.run(fakes.task(2), model=model, runs=tmp_path, limit=1)
    assert n_calls == [1]
    again = compbench.run(fakes.task(2), model=model, runs=tmp_path)
    assert n_calls == [2]  # only the other example
    compbench.run(fakes.task(2), model=model, runs=tmp_path)
    assert n_calls == [2]
    assert first.path == again.path
    assert again.key.model == "mine"
    assert again.key.measurement["identity"] == "v1"
    other = compbench.from_function(counted, name="mine", identity="v2")
    assert compbench.run(fakes.task(2), model=other, runs=tmp_path).path != first.path
    assert "every time" not in capsys.readouterr().err


def test_shards_of_a_function_without_an_identity_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="shards could not be recognised as one run"):
        compbench.run(fakes.task(2), model=constant, runs=tmp_path, shard="1/2")
    model = compbench.from_function(constant, identity="v1")
    for shard in ("1/2", "2/2"):
        run = compbench.run(fakes.task(2), model=model, runs=tmp_path, shard=shard)
    assert len(run.done()) == 2


def test_a_function_is_called_by_its_name() -> None:
    class Scorer:
        def __call__(self, images: Any, captions: Any) -> Any:
            return SCORES

    named = [constant, lambda images, captions: SCORES, functools.partial(constant), Scorer(), Scorer().__call__]
    names = [compbench.from_function(function).name for function in named]
    assert names == ["constant", "function", "constant", "Scorer", "__call__"]
    assert compbench.from_function(constant, name="other").name == "other"


@pytest.mark.parametrize("given", [{"name": ""}, {"identity": " "}, {"identity": 3}])
def test_an_empty_name_or_identity_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="expected text that is not empty"):
        compbench.from_function(constant, **given)
    with pytest.raises(UsageError, match="function cannot be 3"):
        compbench.from_function(3)  # type: ignore[arg-type]


def test_settings_that_mean_nothing_to_a_function_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    compbench.run(fakes.task(2), model=constant, runs=tmp_path, device="cpu", batch_size=2, seed=3)
    said = capsys.readouterr().err
    assert "device=cpu changes nothing" in said
    assert "batch_size=2 changes nothing" in said
    assert "seed=3 changes nothing" in said


def test_a_plan_of_a_function_measures_nothing(tmp_path: Path) -> None:
    from compbench.runs.harness import plan

    def never(images: Any, captions: Any) -> Any:
        raise AssertionError

    assert plan(fakes.task(2), model=never, runs=tmp_path).examples == 2
    assert not list(tmp_path.iterdir())
