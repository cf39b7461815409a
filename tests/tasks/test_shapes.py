from __future__ import annotations

import hashlib
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from compbench import registry
from compbench.core.errors import UsageError
from compbench.core.examples import Task
from compbench.tasks import places, scenes
from compbench.tasks.shapes import TAG_ORDER, Scene, shapes, swapped


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        shapes.cache_clear()  # so that its pictures are drawn here
        return shapes()


def _says(caption: str) -> Scene:
    """The scene that a caption describes, read word by word."""
    words = caption.split()
    return Scene(scenes.Shape(*words[1:3]), " ".join(words[3:-3]), scenes.Shape(*words[-2:]))


def test_the_400_examples_are_spread_over_tags_axes_and_seen(task: Task) -> None:
    tags = [{column: value for column, (value,) in example.tags.items()} for example in task.examples]
    assert len({example.id for example in task.examples}) == 400
    assert Counter(tag["tag"] for tag in tags) == {"Object": 134, "Relation": 133, "Both": 133}
    assert Counter(tag["axis"] for tag in tags) == {"horizontal": 200, "vertical": 200}
    for tag in TAG_ORDER["tag"]:
        seen = Counter(row["seen"] for row in tags if row["tag"] == tag)
        axes = Counter(row["axis"] for row in tags if row["tag"] == tag)
        assert seen["unseen"] == pytest.approx(0.25 * seen.total(), abs=1)
        assert abs(axes["horizontal"] - axes["vertical"]) <= 1


def test_the_captions_hold_the_same_words_and_no_two_examples_the_same_captions(task: Task) -> None:
    for example in task.examples:
        first, second = example.captions
        assert first != second
        assert sorted(first.split()) == sorted(second.split())
    assert len({frozenset(example.captions) for example in task.examples}) == 400


def test_a_tag_says_what_changes_places(task: Task) -> None:
    for example in task.examples:
        one, other = map(_says, example.captions)
        assert one.relation == other.relation
        assert places.RELATIONS[one.relation][0] == example.tags["axis"][0]
        colours_stay = (one.first.colour, one.second.colour) == (other.first.colour, other.second.colour)
        shapes_stay = (one.first.shape, one.second.shape) == (other.first.shape, other.second.shape)
        same_things = {one.first, one.second} == {other.first, other.second}
        expected = {"Object": (False, False, True), "Relation": (False, True, False), "Both": (True, False, False)}
        assert (colours_stay, shapes_stay, same_things) == expected[example.tags["tag"][0]]
        assert swapped(other, example.tags["tag"][0]) == one


def test_the_two_shapes_differ_in_colour_and_in_shape(task: Task) -> None:
    for scene in (_says(caption) for example in task.examples for caption in example.captions):
        assert scene.first.colour != scene.second.colour
        assert scene.first.shape != scene.second.shape


def test_unseen_examples_and_only_they_hold_a_combination_that_training_never_shows(task: Task) -> None:
    for example in task.examples:
        shown = {shape for caption in map(_says, example.captions) for shape in (caption.first, caption.second)}
        assert any(map(scenes.is_held_out, shown)) == (example.tags["seen"] == ("unseen",))


def test_unseen_examples_are_told_apart_by_how_many_of_their_scenes_are(task: Task) -> None:
    for example in task.examples:
        n_unseen = sum(_says(caption).is_unseen for caption in example.captions)
        assert example.tags["unseen"] == (("neither scene", "one scene", "both scenes")[n_unseen],)
    found = Counter((example.tags["tag"][0], example.tags["unseen"][0]) for example in task.examples)
    # where the noun phrases change places both scenes hold the same two things; elsewhere only one holds a new one
    assert {key: n for key, n in found.items() if key[1] != "neither scene"} == {
        ("Object", "both scenes"): 34,
        ("Relation", "one scene"): 33,
        ("Both", "one scene"): 33,
    }


def test_a_picture_shows_what_its_caption_says(task: Task) -> None:
    for example in task.examples[::23]:
        for image, caption in zip(example.images, example.captions, strict=True):
            pixels = np.asarray(image.decode())  # [64, 64, 3] uint8
            scene = _says(caption)
            axis, is_first = places.RELATIONS[scene.relation]
            along = {"horizontal": 1, "vertical": 0}[axis]
            middles = [
                np.argwhere((pixels == scenes.COLOURS[shape.colour]).all(-1))[:, along].mean()
                for shape in (scene.first, scene.second)
            ]
            assert pixels.shape == (64, 64, 3)
            assert (middles[0] < middles[1]) == is_first


def test_the_task_is_the_same_every_time_and_every_picture_another(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert shapes() is shapes()
    shapes.cache_clear()
    again = shapes()
    assert again is not task
    assert again.revision == task.revision
    assert len({image.digest() for example in task.examples for image in example.images}) == 800


def test_the_captions_are_those_of_every_other_machine(task: Task) -> None:
    captions = "\n".join(caption for example in task.examples for caption in example.captions)
    assert hashlib.sha256(captions.encode()).hexdigest()[:12] == "048d5ae9b314", (
        "the task changed: results do not compare"
    )


def test_the_remembered_digests_are_those_of_the_pictures(task: Task) -> None:
    for example in task.examples[::57]:
        for image in example.images:
            picture = image.decode()
            pixels = picture.mode.encode() + repr(picture.size).encode() + picture.tobytes()
            assert image.sha256 == hashlib.sha256(pixels).hexdigest()


def test_no_test_picture_is_a_training_picture(task: Task) -> None:
    shown = {image.digest() for example in task.examples for image in example.images}
    for stream in range(8):
        for index in range(25):
            picture, _ = scenes.training_scene(np.random.default_rng([0, stream, index]))
            assert hashlib.sha256(b"RGB(64, 64)" + picture.tobytes()).hexdigest() not in shown


def test_the_description_explains_every_tag(task: Task) -> None:
    for words in ("Object", "Relation", "Both", "axis", "unseen", "where things are", "which colour belongs"):
        assert words in task.description


def test_shapes_takes_no_data() -> None:
    with pytest.raises(UsageError, match="leave out --data"):
        registry.task("shapes", data=Path("somewhere"))


def test_the_tasks_import_no_torch() -> None:
    code = "import sys; from compbench.tasks import gallery, matching, shapes; "
    code += "from compbench.tasks.matching import winoground; assert not {'torch', 'pyarrow', "
    code += "'pandas', 'datasets', 'huggingface_hub'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
