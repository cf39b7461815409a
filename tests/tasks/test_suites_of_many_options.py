"""Suites with many options: SPEC, ImageCoDe, the CLEVR pictures of GDBench, EqBen-mini and Self-Bench."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import suites_on_disk as disk
from compbench import registry, run
from compbench.core.errors import DataError, MissingPictures
from compbench.core.examples import Example, Task
from compbench_analysis.frames import tables

pytestmark = pytest.mark.usefixtures("own_cache")


def _files(name: str) -> disk.Files:
    return (disk.SUITES | disk.OF_SEVERAL_SHAPES)[name][0]()


def _read(name: str, folder: Path, files: disk.Files | None = None, **more: object) -> Task:
    place = disk.write(folder / name, _files(name) if files is None else files)
    return registry.task(name, data=place, is_offline=True, **more)  # pyright: ignore[reportArgumentType]


def _by_id(task: Task) -> dict[str, Example]:
    return {example.id: example for example in task.examples}


def _true(example: Example) -> list[str]:
    """The names of the right pictures, or the right captions."""
    if len(example.images) > 1:
        return [example.images[place].name for place in np.flatnonzero(example.matches[:, 0])]
    return [example.captions[place] for place in np.flatnonzero(example.matches[0])]


@pytest.mark.parametrize("name", disk.OF_SEVERAL_SHAPES)
def test_examples_have_as_many_options_as_their_lists(name: str, tmp_path: Path) -> None:
    task, (_, shapes, n_published) = _read(name, tmp_path), disk.OF_SEVERAL_SHAPES[name]
    assert task.name == name
    assert Counter(example.shape for example in task.examples) == shapes
    assert all(example.matches.sum() == 1 for example in task.examples)
    assert all(image.decode().size for example in task.examples for image in example.images)
    noted = [] if n_published is None else [f"{n_published:,} examples expected, {len(task.examples)} found"]
    assert [note.partition(": ")[2] for note in task.notes] == noted


# SPEC


def test_spec_reads_both_ways_and_the_right_option_may_stand_anywhere(tmp_path: Path) -> None:
    texts, images = _read("spec-i2t", tmp_path), _read("spec-t2i", tmp_path)
    assert [_true(example) for example in texts.examples] == [
        [example.captions[example.matches[0].argmax()]] for example in texts.examples
    ]
    assert _true(texts.examples[0]) == ["1 cats"]
    assert texts.examples[0].images[0].name == "absolute_size/images/1.png"
    assert _true(images.examples[0]) == ["absolute_size/images/1.png"]
    assert {example.tags["tag"] for example in images.examples} == {(subset,) for subset in disk.SPEC}
    assert (list(texts.metrics), list(images.metrics)) == (["text", "macro"], ["image", "image_macro"])


def test_spec_is_the_same_packed_and_unpacked(tmp_path: Path) -> None:
    packed = _read("spec-t2i", tmp_path / "packed", disk.spec_zip())
    assert packed.revision == _read("spec-t2i", tmp_path).revision


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"query": "images/0.png", "keys": [], "label": 0}, "has an empty list keys"),
        ({"query": "images/0.png", "keys": ["a", "b"], "label": 2}, "has the label 2; expected the place of the right"),
        ({"query": "images/0.png", "keys": ["a", "b"], "label": True}, "has the label True"),
        ({"query": "images/0.png", "keys": ["a", "b"]}, "has the label None"),
        ({"query": "images/0.png", "keys": ["a", ""], "label": 0}, "has an empty keys_1"),
        ({"query": "../../0.png", "keys": ["a", "b"], "label": 0}, "expected a name within the folder of pictures"),
        ({"query": 3, "keys": ["a", "b"], "label": 0}, "expected the name of a file"),
    ],
)
def test_a_row_of_spec_that_cannot_be_read_is_named(row: object, said: str, tmp_path: Path) -> None:
    files = disk.spec() | {"data/count/image2text.json": disk.as_json([row])}
    with pytest.raises(DataError, match=said):
        _read("spec-i2t", tmp_path, files)


# ImageCoDe


def test_imagecode_counts_places_and_not_the_numbers_in_names(tmp_path: Path) -> None:
    examples = _by_id(_read("imagecode", tmp_path))
    video, static = disk.IMAGECODE
    assert list(examples) == [f"{video}/3", f"{video}/9", f"{static}/0"]
    assert _true(examples[f"{video}/3"]) == [f"{video}/img21.jpg"]
    assert _true(examples[f"{video}/9"]) == [f"{video}/img63.jpg"]  # as text, img7 is the last
    assert examples[f"{video}/3"].captions == ("a hat falls.",)
    assert {name: example.tags["tag"] for name, example in examples.items()} == {
        f"{video}/3": ("video",),
        f"{video}/9": ("video",),
        f"{static}/0": ("static",),
    }


def test_the_simple_form_has_the_right_picture_and_one_other(tmp_path: Path) -> None:
    example = _read("imagecode-simple", tmp_path).examples[0]
    assert [image.name.rpartition("/")[2] for image in example.images] == ["img63.jpg", "img14.jpg"]
    assert example.matches.tolist() == [[True], [False]]


def test_the_pictures_of_imagecode_lie_elsewhere(tmp_path: Path) -> None:
    files = disk.imagecode()
    data = disk.write(tmp_path / "a", {name: content for name, content in files.items() if name.startswith("data")})
    images = disk.write(tmp_path / "b", files) / "image-sets"
    apart = registry.task("imagecode", data=data, images=images)
    assert apart.revision == _read("imagecode", tmp_path).revision


def test_a_folder_of_frames_that_is_missing_is_counted(tmp_path: Path) -> None:
    files = {name: content for name, content in disk.imagecode().items() if disk.IMAGECODE[1] not in name}
    with pytest.raises(MissingPictures, match=r"10 of 20 pictures are not in .*open-images-1815_f91d6f546e63f20d/img0"):
        _read("imagecode", tmp_path, files)
    assert len(_read("imagecode", tmp_path, files, skip_unreadable=True).examples) == 3


def test_a_place_beyond_the_frames_is_told(tmp_path: Path) -> None:
    files = disk.imagecode()
    del files[f"image-sets/{disk.IMAGECODE[0]}/img0.jpg"]
    with pytest.raises(DataError, match="asks for picture 9 of 9; expected 0 to 8"):
        _read("imagecode", tmp_path, files)
    row = {"directory": disk.IMAGECODE[0], "pos_idx": 1, "neg_idx": 1, "caption": "a"}
    with pytest.raises(DataError, match=r"has the places \(1, 1\); expected two that differ"):
        _read("imagecode-simple", tmp_path, disk.imagecode_simple() | {"data/valid_simple.json": disk.as_json([row])})


# CLEVR


def test_the_file_of_places_has_its_wrong_captions_first(tmp_path: Path) -> None:
    task = _read("clevr-binding", tmp_path)
    assert all(example.captions[0].split()[1] == "right" for example in task.examples)
    assert all(example.matches.tolist() == [[True, False]] for example in task.examples)
    assert {example.tags["tag"] for example in task.examples} == {(subset,) for subset in disk.CLEVR}


# EqBen-mini


def test_the_subsets_of_eqben_are_the_folders_of_its_pictures(tmp_path: Path) -> None:
    task = _read("eqben-mini", tmp_path)
    assert [example.tags["tag"][0] for example in task.examples] == [
        "eqbensd",
        "eqbenkubric_cnt",
        "eqbenkubric_loc",
        "eqbenag",
    ]


# Self-Bench


def test_self_bench_asks_among_all_prompts_of_a_kind(tmp_path: Path) -> None:
    examples = _by_id(_read("self-bench-sd2", tmp_path))
    assert _true(examples["00000/3"]) == ["a photo of a dog"]
    assert _true(examples["00001/0"]) == ["a photo of two cats"]
    assert _true(examples["00002/0"]) == ["a photo of a cat above a dog"]  # the second thing begins the sentence
    assert _true(examples["00003/1"]) == ["a photo of a red cat and a blue dog"]
    assert {example.group for example in examples.values()} == {f"{number:05d}" for number in range(4)}


def test_what_is_correct_is_spelled_in_three_ways(tmp_path: Path) -> None:
    for version in ("sd1.5", "sd2"):  # of two labels both must be good, or the one there is
        examples = _by_id(_read(f"self-bench-{version}+correct", tmp_path))
        assert list(examples) == [f"{number:05d}/0" for number in range(4)]
    assert len(_read("self-bench-sd3-m+correct", tmp_path).examples) == 16  # of which one is enough


def test_the_labels_are_needed_for_what_is_correct_alone(tmp_path: Path) -> None:
    files = {name: content for name, content in disk.self_bench().items() if not name.startswith("filter")}
    assert len(_read("self-bench-sd2", tmp_path, files).examples) == 16
    with pytest.raises(DataError, match="no picture of Self-Bench has a label; expected the authors' file"):
        _read("self-bench-sd2+correct", tmp_path, files)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("prompts/zero_shot_prompts.json", {"photo": {}}, "for which prompts/zero_shot_prompts.json has no list"),
        ("filter/SD-2.0-CFG=9.json", {}, "holds a dict; expected a list of labels"),
        ("filter/SD-2.0-CFG=9.json", [{"tag": "colors"}], "expected a sample_path and its labels"),
        (
            "9.0/stable-diffusion-2-base/00000/metadata.jsonl",
            {"tag": "single_object", "include": [{"class": "dog"}], "prompt": "a photo of a bear"},
            "has the prompt 'a photo of a bear', which is none of the 2 of its kind",
        ),
    ],
)
def test_what_self_bench_cannot_be_read_from_is_named(name: str, content: object, said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=said):
        _read("self-bench-sd2", tmp_path, disk.self_bench() | {name: json.dumps(content).encode()})


# to the numbers

CHANCE = {
    "spec-i2t": {"text": (1 / 2 + 1 / 3 + 1 / 4) / 3, "macro": (1 / 2 + 1 / 3 + 1 / 4) / 3},
    "spec-t2i": {"image": (1 / 2 + 1 / 3 + 1 / 4) / 3, "image_macro": (1 / 2 + 1 / 3 + 1 / 4) / 3},
    "imagecode": {"image": 1 / 10},
    "imagecode-simple": {"image": 1 / 2},
    "clevr-binding": {"text": 1 / 2, "macro": 1 / 2},
    "eqben-mini": {"text": 1 / 4, "image": 1 / 4, "group": 1 / 6, "group_match": 1 / 2},
    "self-bench-sd2": {"text": 1 / 2},
}


@pytest.mark.parametrize("name", CHANCE)
def test_a_run_comes_to_its_official_metrics_and_their_chance(name: str, tmp_path: Path) -> None:
    place = disk.write(tmp_path / "data", _files(name))
    stored = run(name, model="chance", data=place, runs=tmp_path / "runs", is_offline=True)
    frame = tables.tidy(stored)
    rows = {str(row["metric"]): row for _, row in frame[frame["tag"] == tables.OVERALL].iterrows()}
    assert {metric: row["chance"] for metric, row in rows.items()} == pytest.approx(CHANCE[name])


@pytest.mark.parametrize("name", ["spec-i2t", "spec-t2i", "imagecode"])
def test_tiny_clip_scores_many_options(name: str, tmp_path: Path) -> None:
    place = disk.write(tmp_path / "data", _files(name))
    stored = run(name, model="tiny-clip", data=place, runs=tmp_path / "runs", is_offline=True, device="cpu")
    assert len(stored.done()) == stored.info.n_task_examples
    assert all(np.isfinite(table.scores).all() for table in stored.tables().values())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["spec-i2t", "spec-t2i", "imagecode"])
def test_tiny_sd_measures_many_options(name: str, tmp_path: Path) -> None:
    place = disk.write(tmp_path / "data", _files(name))
    stored = run(name, model="tiny-sd", data=place, runs=tmp_path / "runs", draws=2, limit=2, is_offline=True)
    assert len(stored.done()) == 2
