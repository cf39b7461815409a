"""The task `shape-classes`: one shape in each picture."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import compbench
from compbench.core.errors import DataError
from compbench.core.examples import Task
from compbench.tasks import scenes
from compbench.tasks.shape_classes import shape_classes


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        return shape_classes()


def test_it_has_ten_examples_of_each_of_the_24_classes(task: Task) -> None:
    assert task.classes is not None
    assert len(set(task.classes.names)) == 24
    assert Counter(example.tags["class"][0] for example in task.examples) == dict.fromkeys(task.classes.names, 10)
    assert Counter(example.tags["seen"][0] for example in task.examples) == {"seen": 200, "unseen": 40}
    assert {id(example.captions) for example in task.examples} == {id(task.examples[0].captions)}


def test_the_picture_shows_the_class_on_the_left_and_nothing_else(task: Task) -> None:
    for example in task.examples[::13]:
        colour, shape = example.tags["class"][0].split()
        pixels = np.asarray(example.images[0].decode())  # [64, 64, 3] uint8
        columns = np.argwhere((pixels == scenes.COLOURS[colour]).all(-1))[:, 1]
        others = [(pixels == value).all(-1).any() for name, value in scenes.COLOURS.items() if name != colour]
        assert len(columns) > 50
        assert columns.max() < 32
        assert not any(others)
        (caption,) = np.array(example.captions)[example.matches[0]]
        assert caption == f"a {colour} {shape} on the left"


def test_the_training_split_has_all_classes_and_none_of_the_test_pictures(task: Task) -> None:
    assert task.training is not None
    training = task.training()
    assert Counter(example.tags["class"][0] for example in training) == dict.fromkeys(task.tag_order["class"], 40)
    shown = {example.images[0].digest() for example in task.examples}
    learned = {example.images[0].digest() for example in training}
    assert (len(shown), len(learned)) == (240, 960)
    assert not shown & learned
    assert training[0].captions is task.examples[0].captions


def test_a_task_that_is_asked_for_twice_is_made_once_and_its_captions_are_shared() -> None:
    assert shape_classes() is shape_classes()
    again = shape_classes()
    assert again.training is not None
    assert again.training()[0].captions is again.examples[0].captions


def test_no_test_picture_is_a_training_scene_of_the_tiny_models(task: Task) -> None:
    shown = {example.images[0].decode().tobytes() for example in task.examples}
    drawn = [scenes.training_scene(np.random.default_rng([0, stream, n])) for stream in range(6) for n in range(30)]
    assert not shown & {picture.tobytes() for picture, _ in drawn}


def test_it_takes_other_prompts_for_the_same_classes(task: Task, tmp_path: Path) -> None:
    names = task.tag_order["class"]
    lines = [f"there is a {name},{name},{n}\nlook: a {name},{name},{n}" for n, name in enumerate(names)]
    (tmp_path / "own.csv").write_text("prompt,classname,classidx\n" + "\n".join(lines))
    other = shape_classes(prompts=tmp_path / "own.csv")
    assert other.examples[0].captions[:3] == ("there is a red circle", "look: a red circle", "there is a red square")
    assert other.examples[0].matches.sum() == 2
    assert other.revision != task.revision
    (tmp_path / "short.csv").write_text("prompt,classname,classidx\n" + "\n".join(lines[:-1]))
    with pytest.raises(DataError, match=r"1 of 24 classes have no prompt.*class 23 \('white cross'\)"):
        shape_classes(prompts=tmp_path / "short.csv")


def test_the_tiny_diffusion_model_knows_the_shapes_it_was_trained_on(task: Task, tmp_path: Path) -> None:
    run = compbench.run(task, model="tiny-sd", draws=4, limit=4, runs=tmp_path)
    frame = run.to_frame()
    assert len(frame) == 4
    assert frame["top1"].mean() > 0.5  # chance is 1 in 24
    assert (frame["prediction"] == frame["class"]).tolist() == frame["top1"].tolist()
