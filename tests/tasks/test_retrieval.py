"""Karpathy's test splits: a picture's captions among all, a caption's picture among all, to recall at 1, 5 and 10."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

import suites_on_disk as disk
from compbench import registry, run
from compbench.core.errors import DataError, UsageError
from compbench.core.examples import Task
from compbench_analysis.frames import tables

pytestmark = pytest.mark.usefixtures("own_cache")


def _read(name: str, folder: Path, files: disk.Files | None = None) -> Task:
    place = disk.write(folder / "data" / name, disk.RETRIEVAL[name][0]() if files is None else files)
    return registry.task(name, data=place, is_offline=True)


@pytest.mark.parametrize("name", disk.RETRIEVAL)
def test_every_picture_and_every_caption_is_an_option(name: str, tmp_path: Path) -> None:
    task, (_, n, shape) = _read(name, tmp_path), disk.RETRIEVAL[name]
    assert (task.name, len(task.examples)) == (name, n)
    assert {example.shape for example in task.examples} == {shape}
    assert len({id(example.images if "t2i" in name else example.captions) for example in task.examples}) == 1  # shared
    n_published = 1000 if "flickr" in name else 5000
    assert task.notes == (f"{name.partition('+')[0]}: {n_published:,} pictures expected, 12 found",)


def test_the_captions_of_a_picture_are_its_own(tmp_path: Path) -> None:
    for example in _read("coco-karpathy-i2t", tmp_path).examples:
        number = int(example.id.removesuffix(".jpg")) - 1000
        own = [example.captions[place] for place in np.flatnonzero(example.matches[0])]
        assert own == [f"hat {number}, seen by {who}" for who in range(5 + number % 3)]  # six of one, seven of another


def test_the_picture_of_a_caption_is_its_own(tmp_path: Path) -> None:
    examples = _read("flickr30k-t2i", tmp_path).examples
    assert [example.id for example in examples[4:6]] == ["1000.jpg/4", "1001.jpg/0"]
    for example in examples:
        (place,) = np.flatnonzero(example.matches[:, 0])
        assert example.images[place].name == example.group == example.id.partition("/")[0]
        assert example.captions[0].startswith(f"hat {place},")


def test_the_first_five_captions_are_a_protocol(tmp_path: Path) -> None:
    whole, five = _read("coco-karpathy-i2t", tmp_path), _read("coco-karpathy-i2t+first-five", tmp_path)
    assert {int(example.matches.sum()) for example in whole.examples} == {5, 6, 7}
    assert {int(example.matches.sum()) for example in five.examples} == {5}
    assert whole.revision != five.revision
    with pytest.raises(UsageError, match="has no protocol 'first-five'"):
        registry.task("flickr30k-i2t+first-five", data=tmp_path)


def test_the_zip_may_be_unpacked_and_the_pictures_may_lie_elsewhere(tmp_path: Path) -> None:
    packed = _read("flickr30k-t2i", tmp_path)
    place = tmp_path / "data" / "flickr30k-t2i"
    with zipfile.ZipFile(place / "images_flickr_1k_test.zip") as archive:
        archive.extractall(place)
    (place / "images_flickr_1k_test.zip").unlink()
    assert registry.task("flickr30k-t2i", data=place).revision == packed.revision
    (place / "images_flickr_1k_test").rename(tmp_path / "pictures")
    assert registry.task("flickr30k-t2i", data=place, images=tmp_path / "pictures").revision == packed.revision


@pytest.mark.parametrize("raw", ["a cat", "[]", "{}", "[1", ""])
def test_captions_that_are_no_list_are_named(raw: str, tmp_path: Path) -> None:
    files = disk.karpathy() | {"test_1k_flickr.csv": f'raw,filename\n"{raw}",1000.jpg\n'.encode()}
    with pytest.raises(DataError, match=r"row 0 of .*test_1k_flickr.csv' has the captions .*expected a list of them"):
        _read("flickr30k-i2t", tmp_path, files)


def test_a_list_as_python_writes_it_is_read_too(tmp_path: Path) -> None:
    content = b"""raw,filename\n"['a hat\\'s cat', 'two']",1000.jpg\n"['a dog', 'one']",1001.jpg\n"""
    task = _read("flickr30k-i2t", tmp_path, disk.karpathy() | {"test_1k_flickr.csv": content})
    assert task.examples[0].captions == ("a hat's cat", "two", "a dog", "one")


def test_no_picture_can_be_left_out(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="every picture is an option of every example: none can be left out"):
        registry.task("flickr30k-t2i", data=tmp_path, skip_unreadable=True)


@pytest.mark.parametrize(
    ("name", "chance"),
    [
        ("flickr30k-i2t", {"top1": 5 / 60, "text_r5": None, "text_r10": None}),
        ("flickr30k-t2i", {"image": 1 / 12, "image_r5": 5 / 12, "image_r10": 10 / 12}),
    ],
)
@pytest.mark.parametrize("model", ["chance", "tiny-clip"])
def test_a_run_comes_to_recall(name: str, chance: dict[str, float | None], model: str, tmp_path: Path) -> None:
    place = disk.write(tmp_path / "data", disk.RETRIEVAL[name][0]())
    stored = run(name, model=model, data=place, runs=tmp_path / "runs", device="cpu", is_offline=True)
    frame = tables.tidy(stored)
    rows = {str(row["metric"]): row for _, row in frame[frame["tag"] == tables.OVERALL].iterrows()}
    assert list(rows) == list(chance)
    for metric, expected in chance.items():
        known = 1 - np.prod([(55 - k) / (60 - k) for k in range(int(metric[6:]))]) if expected is None else expected
        assert rows[metric]["chance"] == pytest.approx(known)
    values = [row["value"] for row in rows.values()]
    assert values == sorted(values)  # of the first ten at least those of the first five
