"""Prompt templates: which are used where, and that a class is the mean of what CLIP makes of its sentences."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F
from open_clip.zero_shot_metadata import OPENAI_IMAGENET_TEMPLATES

import fakes
from colours import colours
from compbench import registry
from compbench.core.aliases import Floats
from compbench.core.digests import digest_of
from compbench.core.errors import DataError, UsageError
from compbench.core.examples import Classes, Task
from compbench.core.models import Runtime
from compbench.tasks.classification import _prompt_files
from compbench.tasks.classification._data_sets import chosen_prompts
from compbench_baselines.clip._templates import class_embeddings, named, templates_for, words_of
from compbench_baselines.clip.models import OpenClip

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
            F.normalize(
                model.eval().encode_text(tokenize([template.format(name) for template in TEMPLATES])), dim=-1
            ).mean(0)
            for name in task.classes.names
        ]
        pixels = torch.stack([transform(example.images[0].decode()) for example in task.examples])  # pyright: ignore
        cosines = F.normalize(model.encode_image(pixels), dim=-1) @ F.normalize(torch.stack(of_classes), dim=-1).T
    (scores,) = _scores(_spec(tiny_clip_folder, file), task)
    np.testing.assert_allclose(scores, cosines.numpy()[:, list(task.classes.of_caption)], atol=1e-5)


def test_prompts_of_classes_that_are_cut_are_counted_and_said(tiny_clip_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "templates.txt"
    path.write_text(f"{'a red circle ' * 9}{{}}\na {{}} circle\n")
    said: list[str] = []
    spec, task = _spec(tiny_clip_folder, path), colours(n=2)
    scorer = spec.build(spec.source(), Runtime("cpu", say=said.append))
    scorer.prepare(task)
    list(scorer.score(task.examples, {}))
    assert task.classes is not None
    n = len(task.classes.names)
    assert [line for line in said if "prompts" in line] == [
        f"{n} of {2 * n} prompts are longer than the text encoder's context (16 tokens); it reads their beginning, and "
        f"{n} of them differ only after that: such prompts score the same"
    ]


def test_without_templates_the_captions_are_scored_as_they_are(tiny_clip_folder: Path) -> None:
    task = colours(n=1)
    plain = dataclasses.replace(task, classes=None)
    none, auto, unclassed = (
        _scores(_spec(tiny_clip_folder, option), task_given)[0]
        for option, task_given in (("none", task), ("auto", task), ("auto", plain))
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
    assert chosen.resolve(fakes.task()).identity == auto.identity()  # runs of other tasks stay what they were
    assert auto.resolve(task).identity == auto.identity()
    known = chosen.resolve(task).identity
    assert known != auto.identity()
    renamed = dataclasses.replace(task, classes=Classes(("crimson", "green", "blue"), (0, 0, 1, 1, 2, 2)))
    assert chosen.resolve(renamed).identity != known
    file.write_text("a {}\n")
    assert chosen.resolve(task).identity != known


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
    clash = dataclasses.replace(
        task, examples=[dataclasses.replace(example, captions=same) for example in task.examples]
    )
    with pytest.raises(DataError, match="'a thing' stands for 'red' and for 'green'"):
        class_embeddings(clash, TEMPLATES, lambda texts: np.ones((len(texts), 2)))


# the words that stand for a class in a sentence

PUBLISHED = (
    "food101",
    "cifar10",
    "fgvc-aircraft",
    "pets",
    "flowers102",
    "stl10",
    "imagenet",
    "imagenet-a",
    "objectnet",
)
CHANGED = {"food101": 60, "fgvc-aircraft": 2, "imagenet": 4, "objectnet": 51}  # names that are not said as they stand


def _published(name: str) -> Task:
    """A task with one example and the classes of a published data set."""
    shipped = _prompt_files.shipped(name)
    ids = [(wnid,) for wnid in _prompt_files.wnids()] if name == "imagenet" else [()] * len(shipped.names)
    known = [(name, *more) for name, more in zip(shipped.names, ids, strict=True)]
    asked = chosen_prompts(shipped, known, None)
    classes = Classes(asked.names, asked.of_caption, words=asked.words)
    (example, *_) = fakes.task(n=1).examples
    matches = np.zeros((1, len(asked.captions)), bool)
    shown = dataclasses.replace(example, images=example.images[:1], captions=asked.captions, matches=matches)
    return dataclasses.replace(fakes.task(name=name), examples=(shown,), classes=classes)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_sentences_of_a_published_data_set_hold_words_and_no_file_names(name: str) -> None:
    task = _published(name)
    assert task.classes is not None
    prompts = task.examples[0].captions
    for words, prompt in zip(words_of(task.classes), prompts, strict=True):
        assert words.casefold() in prompt.casefold()
        assert "_" not in words
        assert not re.search(r"n\d{8}", words)
    said = zip(words_of(task.classes), task.classes.names, strict=True)
    assert sum(words != name for words, name in said) == CHANGED.get(name, 0)


def test_objectnets_own_wording_is_that_of_its_prompts() -> None:
    classes = _published("objectnet").classes
    assert classes is not None
    said = dict(zip(classes.names, words_of(classes), strict=True))
    assert said["butchers_knife"] == "butcher's knife"
    assert said["full_sized_towel"] == "bath towel"
    assert said["hand_towel_or_rag"] == "dishrag or hand towel"


@pytest.mark.parametrize("name", PUBLISHED)
def test_identities_change_only_where_sentences_have_changed(tiny_clip_folder: Path, name: str) -> None:
    task = _published(name)
    assert task.classes is not None
    before = digest_of([templates_for("auto", task), task.classes.names])
    known = _spec(tiny_clip_folder, "auto").resolve(task).identity["templates"]
    assert (known != before) == (name in CHANGED)


def test_two_classes_of_one_name_have_the_same_sentences_and_tie(tiny_clip_folder: Path, file: Path) -> None:
    task = colours(n=2)
    twins = Classes(("red (n1)", "red (n2)", "blue"), (0, 0, 1, 1, 2, 2), words=("red", "red", "blue"))
    captions = ("a red circle",) * 4 + ("a blue circle",) * 2
    same = [dataclasses.replace(example, captions=captions) for example in task.examples]
    (scores,) = _scores(_spec(tiny_clip_folder, file), dataclasses.replace(task, examples=same, classes=twins))
    np.testing.assert_array_equal(scores[:, 0], scores[:, 2])
    assert (scores[:, 0] != scores[:, 4]).any()


def test_the_words_of_prompts_of_ones_own_are_spoken(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    lines = ["a tasty hot dog,hot_dog,0", "the apple pie,apple_pie,1", "a furry friend,guinea_pig,2"]
    path.write_text("\n".join(["prompt,classname,classidx", *lines]))
    asked = chosen_prompts(_prompt_files.shipped("stl10"), [("hot_dog",), ("apple_pie",), ("guinea_pig",)], path)
    assert asked.words == ("hot dog", "apple pie", "guinea pig")
