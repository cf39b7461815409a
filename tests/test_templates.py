"""Prompt templates: which are used where, and that a class is the mean of what CLIP makes of its sentences."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F
from open_clip.zero_shot_metadata import OPENAI_IMAGENET_TEMPLATES

from compbench import registry
from compbench.types import Classes, DataError, Floats, Runtime, Task, UsageError
from compbench_baselines.open_clip import OpenClip
from compbench_baselines.templates import class_embeddings, named, templates_for
from tests import fakes
from tests.colours import colours

TEMPLATES = ("a {} circle", "the {} thing")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "templates.txt"
    path.write_text("# two of them\n" + "\n".join(TEMPLATES) + "\n\n")
    return path


def _spec(folder: Path, templates: object) -> OpenClip:
    _, spec = registry.model(f"open-clip:{folder}", {"templates": str(templates)})
    return spec  # type: ignore[return-value]  # pyright: ignore


def _scores(spec: OpenClip, *tasks: Task) -> list[Floats]:
    scorer = spec.build(spec.source(), Runtime("cpu"))
    scores: list[Floats] = []
    for task in tasks:
        scorer.prepare(task)
        scores.append(np.concatenate([matrix.scores for matrix in scorer.score(task.examples, {})]))
    return scores


def test_a_class_is_the_normalised_mean_of_its_normalised_sentences(tiny_clip_folder: Path, file: Path) -> None:
    task = colours(n=2)
    assert task.classes is not None
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{tiny_clip_folder}")
    tokenize = open_clip.get_tokenizer(f"local-dir:{tiny_clip_folder}")
    with torch.inference_mode():
        of_classes = [
            F.normalize(model.eval().encode_text(tokenize([each.format(name) for each in TEMPLATES])), dim=-1).mean(0)
            for name in task.classes.names
        ]
        pixels = torch.stack([transform(each.images[0].decode()) for each in task.examples])  # pyright: ignore
        cosines = F.normalize(model.encode_image(pixels), dim=-1) @ F.normalize(torch.stack(of_classes), dim=-1).T
    (scores,) = _scores(_spec(tiny_clip_folder, file), task)
    np.testing.assert_allclose(scores, cosines.numpy()[:, list(task.classes.of_caption)], atol=1e-5)


def test_without_templates_the_captions_are_scored_as_they_are(tiny_clip_folder: Path) -> None:
    task = colours(n=1)
    plain = dataclasses.replace(task, classes=None)
    none, auto, unclassed = (
        _scores(_spec(tiny_clip_folder, option), each)[0]
        for option, each in (("none", task), ("auto", task), ("auto", plain))
    )
    np.testing.assert_array_equal(none, auto)  # no list is published for `colours`
    np.testing.assert_array_equal(none, unclassed)


def test_the_next_task_is_not_scored_with_the_templates_of_the_last(tiny_clip_folder: Path, file: Path) -> None:
    task = colours(n=1)
    plain = dataclasses.replace(task, classes=None)
    spec = _spec(tiny_clip_folder, file)
    _, after, again = _scores(spec, task, plain, task)
    np.testing.assert_array_equal(after, _scores(spec, plain)[0])
    np.testing.assert_array_equal(again, _scores(spec, task)[0])


def test_templates_are_in_the_identity_of_a_classification_task_alone(tiny_clip_folder: Path, file: Path) -> None:
    task = colours()
    auto, chosen = _spec(tiny_clip_folder, "auto"), _spec(tiny_clip_folder, file)
    assert chosen.on(fakes.task()).identity() == auto.identity()  # runs of other tasks stay what they were
    assert auto.on(task).identity() == auto.identity()
    known = chosen.on(task).identity()
    assert known != auto.identity()
    renamed = dataclasses.replace(task, classes=Classes(("crimson", "green", "blue"), (0, 0, 1, 1, 2, 2)))
    assert chosen.on(renamed).identity() != known
    file.write_text("a {}\n")
    assert chosen.on(task).identity() != known


def test_the_templates_of_imagenet_are_openais_eighty() -> None:
    expected = tuple(template("{}") for template in OPENAI_IMAGENET_TEMPLATES)
    assert len(expected) == 80
    for name in ("imagenet", "imagenet-v2", "imagenet-a", "objectnet"):
        assert named()[name] == expected


def test_every_task_with_templates_exists_and_every_template_has_one_place_for_a_name() -> None:
    tasks = {entry.name for entry in registry.tasks()}
    assert set(named()) <= tasks
    assert all(template.count("{}") == 1 for templates in named().values() for template in templates)


def test_auto_takes_the_list_of_the_task(file: Path) -> None:
    pets = dataclasses.replace(colours(), name="pets")
    assert templates_for("auto", pets) == ("a photo of a {}, a type of pet.",)
    assert templates_for("none", pets) == ()
    assert templates_for(str(file), pets) == TEMPLATES
    assert templates_for("auto", fakes.task(name="pets")) == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a photo\n", "template 1 of .*'a photo', has 0 places"),
        ("a {} {}\n", "has 2 places"),
        ("# nothing\n", "has no templates"),
    ],
)
def test_a_bad_file_is_told(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "bad.txt").write_text(text)
    with pytest.raises(DataError, match=words):
        templates_for(str(tmp_path / "bad.txt"), colours())


def test_a_file_that_is_not_there_is_told() -> None:
    with pytest.raises(UsageError, match="expected auto, none or a file"):
        templates_for("nowhere.txt", colours())


def test_one_caption_for_two_classes_is_refused() -> None:
    task = colours(n=1)
    same = tuple("a thing" for _ in task.examples[0].captions)
    clash = dataclasses.replace(task, examples=[dataclasses.replace(each, captions=same) for each in task.examples])
    with pytest.raises(DataError, match="'a thing' stands for 'red' and for 'green'"):
        class_embeddings(clash, TEMPLATES, lambda texts: np.ones((len(texts), 2)))
