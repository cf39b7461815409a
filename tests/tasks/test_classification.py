"""The classification tasks, each on a small copy in its source's own layout, read as a user's run reads it.

Where torchvision reads the layout too, its labels and pixels are the reference.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import PIL.Image
import pytest

import layouts_on_disk as layouts
from compbench.core.errors import DataError, UsageError
from compbench.core.examples import Example, Task
from compbench.core.models import ResolvedModel
from compbench.tasks._reading.names import same_name
from compbench.tasks.classification import _prompt_files, catalogue
from compbench.tasks.classification.catalogue import flower_aliases

LABELS = [3, 0, 1, 2, 9, 8, 7, 6, 5, 4, 3, 3]  # of twelve pictures in ten classes


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads what another remembered, or writes where the user's data are."""
    import datasets

    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(folder / "datasets"))


def _names(task: str) -> tuple[str, ...]:
    return _prompt_files.shipped(task).names


def labels_of(examples: Sequence[Example]) -> list[int]:
    """The class of each example, from its one row of matches."""
    return [int(example.matches[0].argmax()) for example in examples]


def pixels_of(example: Example) -> np.ndarray:
    return np.asarray(example.images[0].decode().convert("RGB"))


def training_of(task: Task) -> Sequence[Example]:
    assert task.training is not None
    return task.training()


def png(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    PIL.Image.fromarray(array).save(out, "PNG")
    return out.getvalue()


def agrees(examples: Sequence[Example], reference: Any, ids: Sequence[str]) -> None:
    """The same pictures and classes as a torchvision data set, whose n-th item has the n-th of `ids`."""
    ours = {example.id: example for example in examples}
    assert sorted(ours) == sorted(ids)
    for example_id, (picture, label) in zip(ids, reference, strict=True):
        assert labels_of([ours[example_id]]) == [label], example_id
        assert np.array_equal(pixels_of(ours[example_id]), np.asarray(picture.convert("RGB"))), example_id


@pytest.fixture(scope="module")
def sorted_copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One picture a class, in folders of WordNet ids."""
    root = tmp_path_factory.mktemp("imagenet")
    _one_picture_each(root / "val", _prompt_files.wnids(), lambda n: f"ILSVRC2012_val_{7 * n % 1000 + 1:08d}.JPEG")
    return root


@pytest.fixture(scope="module")
def objectnet_copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture of each of the 113 classes with a red border of two pixels, and a class of the other 200."""
    root = tmp_path_factory.mktemp("objectnet")
    for number, name in enumerate([*_names("objectnet"), "squeegee"]):
        framed = np.full((12, 10, 3), (255, 0, 0), np.uint8)
        framed[2:-2, 2:-2] = number
        (root / "objectnet-1.0" / "images" / name).mkdir(parents=True)
        PIL.Image.fromarray(framed).save(root / "objectnet-1.0" / "images" / name / f"{number:x}.png")
    return root


def test_the_names_of_the_tasks_are_those_of_the_functions() -> None:
    import tomllib

    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    offered = tomllib.loads(text)["project"]["entry-points"]["compbench.tasks"]
    for name in set(catalogue.__all__) - {"flower_aliases"}:
        assert offered[name.replace("_", "-")] == f"compbench.tasks.classification.catalogue:{name}"


class TestCifar10:
    @pytest.mark.parametrize("write", [layouts.cifar_python, layouts.cifar_binary])
    def test_pictures_and_labels_are_those_that_were_written(
        self, tmp_path: Path, write: Callable[[Path, Sequence[int]], Path]
    ) -> None:
        task = catalogue.cifar10(write(tmp_path, LABELS))
        assert [example.id for example in task.examples] == [f"test/{n:06d}" for n in range(12)]
        assert labels_of(task.examples) == LABELS
        for n in (0, 5, 11):
            assert np.array_equal(pixels_of(task.examples[n]), layouts.pixels(n))
        assert task.classes is not None
        assert task.classes.names == layouts.CIFAR10
        assert task.examples[4].captions[9] == "a blurry photo of a truck."

    def test_torchvision_agrees(self, tmp_path: Path) -> None:
        from torchvision.datasets import CIFAR10

        class Small(CIFAR10):  # a small copy has other checksums
            test_list: ClassVar = [["test_batch", ""]]

            def _check_integrity(self) -> bool:
                return True

            def _load_meta(self) -> None:
                self.classes = list(layouts.CIFAR10)

        layouts.cifar_python(tmp_path, LABELS)
        task = catalogue.cifar10(tmp_path)
        agrees(task.examples, Small(tmp_path, train=False), [f"test/{n:06d}" for n in range(12)])

    def test_every_way_of_having_it_is_the_same_task(self, tmp_path: Path) -> None:
        pictures = [png(layouts.pixels(n)) for n in range(12)]
        hub = layouts.parquet(tmp_path / "hub", "test", pictures, LABELS, layouts.CIFAR10, image="img")
        ways = [layouts.cifar_python(tmp_path / "py", LABELS), layouts.cifar_binary(tmp_path / "bin", LABELS), hub]
        tasks = [catalogue.cifar10(way) for way in [*ways, tmp_path / "py" / "cifar-10-batches-py"]]
        assert len({task.revision for task in tasks}) == 1

    def test_the_training_split_is_the_five_batches(self, tmp_path: Path) -> None:
        examples = training_of(catalogue.cifar10(layouts.cifar_binary(tmp_path, LABELS)))
        assert len(examples) == 5 * 12
        assert np.array_equal(pixels_of(examples[-1]), layouts.pixels(511))
        assert examples[0].id == "train/000000"

    def test_a_split_that_is_missing_is_told_when_it_is_asked_for(self, tmp_path: Path) -> None:
        folder = layouts.cifar_python(tmp_path, LABELS) / "cifar-10-batches-py"
        (folder / "data_batch_3").unlink()
        task = catalogue.cifar10(tmp_path)
        with pytest.raises(DataError, match=r"no 'data_batch_3' in .*train split of CIFAR-10"):
            training_of(task)

    def test_a_pickle_that_would_run_code_is_refused(self, tmp_path: Path) -> None:
        class Evil:
            def __reduce__(self) -> tuple[Any, ...]:
                return print, ("owned",)

        import pickle

        folder = layouts.cifar_python(tmp_path, LABELS) / "cifar-10-batches-py"
        (folder / "test_batch").write_bytes(pickle.dumps({b"data": Evil(), b"labels": []}, protocol=2))
        with pytest.raises(DataError, match="which is not an array"):
            catalogue.cifar10(tmp_path)

    @pytest.mark.parametrize("damage", ["cut", "label", "names"])
    def test_damage_is_named(self, tmp_path: Path, damage: str) -> None:
        folder = layouts.cifar_binary(tmp_path, LABELS) / "cifar-10-batches-bin"
        batch = folder / "test_batch.bin"
        if damage == "cut":
            batch.write_bytes(batch.read_bytes()[:-7])
        elif damage == "label":
            batch.write_bytes(bytes([11]) + batch.read_bytes()[1:])
        else:
            (folder / "batches.meta.txt").write_text("\n".join(layouts.CIFAR10[::-1]))
        expected = {"cut": "multiple of 3073", "label": "labels 0 to 11 of 10", "names": "class 0 .* is 'truck'"}
        with pytest.raises(DataError, match=expected[damage]):
            catalogue.cifar10(tmp_path)


class TestStl10:
    def test_torchvision_agrees(self, tmp_path: Path) -> None:
        from torchvision.datasets import STL10

        class Small(STL10):
            def _check_integrity(self) -> bool:
                return True

        task = catalogue.stl10(layouts.stl10(tmp_path, LABELS))
        agrees(task.examples, Small(tmp_path, "test"), [f"test/{n:06d}" for n in range(12)])
        assert task.tag_order["class"] == layouts.STL10
        training = training_of(task)
        agrees(training, Small(tmp_path, "train"), [f"train/{n:06d}" for n in range(12)])

    def test_labels_for_other_pictures_are_refused(self, tmp_path: Path) -> None:
        folder = layouts.stl10(tmp_path, LABELS) / "stl10_binary"
        (folder / "test_y.bin").write_bytes(b"\x01\x02")
        with pytest.raises(DataError, match="2 labels for 12 pictures"):
            catalogue.stl10(tmp_path)


class TestListed:
    def test_food101_is_what_torchvision_reads(self, tmp_path: Path) -> None:
        from torchvision.datasets import Food101

        names = _names("food101")
        task = catalogue.food101(layouts.food101(tmp_path, names))
        for split, examples in (("test", task.examples), ("train", training_of(task))):
            reference = Food101(tmp_path, split)
            ids = [f"{split}/{file.parent.name}/{file.name}" for file in reference._image_files]
            agrees(examples, reference, ids)
        assert reference.classes == list(names)

    def test_aircraft_is_what_torchvision_reads(self, tmp_path: Path) -> None:
        from torchvision.datasets import FGVCAircraft

        names = [{"F-16A_B": "F-16A/B", "F_A-18": "F/A-18"}.get(n, n) for n in _names("fgvc-aircraft")]
        task = catalogue.fgvc_aircraft(layouts.aircraft(tmp_path, names))
        for ours, theirs, examples in (("test", "test", task.examples), ("train", "trainval", training_of(task))):
            reference = FGVCAircraft(tmp_path, theirs)
            agrees(examples, reference, [f"{ours}/{Path(file).name}" for file in reference._image_files])
        assert reference.classes == names

    def test_pets_are_what_torchvision_reads(self, tmp_path: Path) -> None:
        from torchvision.datasets import OxfordIIITPet

        names = [name.title() for name in _names("pets")]
        task = catalogue.pets(layouts.pets(tmp_path, names))
        for ours, theirs, examples in (("test", "test", task.examples), ("train", "trainval", training_of(task))):
            reference = OxfordIIITPet(tmp_path, theirs)
            agrees(examples, reference, [f"{ours}/{Path(file).name}" for file in reference._images])
        assert reference.classes == names

    def test_flowers_are_what_torchvision_reads(self, tmp_path: Path) -> None:
        from torchvision.datasets import Flowers102

        class Small(Flowers102):
            def _check_integrity(self) -> bool:
                return True

        task = catalogue.flowers102(layouts.flowers102(tmp_path))
        for split, examples in (("test", task.examples), ("train", training_of(task))):
            reference = Small(tmp_path, split)
            agrees(examples, reference, [f"{split}/{file.name}" for file in reference._image_files])
        known = [(name, *more) for name, more in zip(_names("flowers102"), flower_aliases(), strict=True)]
        for theirs, ours in zip(Flowers102.classes, known, strict=True):
            assert any(same_name(theirs, name) for name in ours)
        assert task.examples[0].tags == {"class": ("blackberry lily",)} == {"class": (Flowers102.classes[101],)}

    def test_a_list_that_names_an_unknown_class_or_a_missing_picture_is_refused(self, tmp_path: Path) -> None:
        folder = layouts.food101(tmp_path, _names("food101")) / "food-101"
        listed = folder / "meta" / "test.txt"
        before = listed.read_text()
        listed.write_text(before + "gruel/12\n")
        with pytest.raises(DataError, match=r"line 'gruel/12' .* has class 'gruel'"):
            catalogue.food101(tmp_path)
        listed.write_text(before + "waffles/12\n")
        with pytest.raises(DataError, match=r"no '12\.jpg' in .*waffles"):
            catalogue.food101(tmp_path)

    def test_a_class_without_pictures_is_named(self, tmp_path: Path) -> None:
        folder = layouts.food101(tmp_path, _names("food101")) / "food-101"
        lines = (folder / "meta" / "test.txt").read_text().splitlines()
        (folder / "meta" / "test.txt").write_text("\n".join(line for line in lines if "waffles" not in line))
        with pytest.raises(DataError, match="1 of 101 classes have no picture in the test split, 'waffles' the first"):
            catalogue.food101(tmp_path)

    def test_a_corrupted_picture_is_named(self, tmp_path: Path) -> None:
        folder = layouts.food101(tmp_path, _names("food101")) / "food-101"
        (folder / "images" / "waffles" / "700.jpg").write_bytes(b"\xff\xd8 cut off")
        task = catalogue.food101(tmp_path)
        with pytest.raises(DataError, match=r"image 'test/waffles/700\.jpg' .*700\.jpg\) cannot be decoded"):
            task.examples[-1].images[0].decode()


class TestImageNet:
    def test_the_label_is_the_place_among_the_sorted_wordnet_ids(self, sorted_copy: Path) -> None:
        from torchvision.datasets import ImageFolder

        reference = ImageFolder(str(sorted_copy / "val"))
        task = catalogue.imagenet(sorted_copy)
        by_id = {example.id: label for example, label in zip(task.examples, labels_of(task.examples), strict=True)}
        assert by_id == {f"test/{Path(file).name}": label for file, label in reference.samples}
        assert task.classes is not None
        assert task.classes.label_space == "imagenet"
        assert task.classes.labels == task.classes.of_caption == tuple(range(1000))

    def test_the_names_are_openais(self) -> None:
        from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES

        prompts = _prompt_files.shipped("imagenet")
        assert prompts.names == tuple(IMAGENET_CLASSNAMES)
        assert prompts.captions == tuple(f"a photo of a {name}." for name in IMAGENET_CLASSNAMES)

    def test_the_two_names_that_two_classes_share_are_told_apart(self, sorted_copy: Path) -> None:
        names = catalogue.imagenet(sorted_copy).tag_order["class"]
        assert len(set(names)) == 1000
        assert [name for name in names if name.startswith("sunglasses")] == [
            "sunglasses (n04355933)",
            "sunglasses (n04356056)",
        ]

    def test_pictures_in_one_folder_are_labelled_by_the_development_kit(
        self, sorted_copy: Path, tmp_path: Path
    ) -> None:
        reference = catalogue.imagenet(sorted_copy)
        (tmp_path / "val").mkdir()
        for example in reference.examples:
            shutil.copy(example.images[0].source, tmp_path / "val" / example.id.removeprefix("test/"))
        layouts.imagenet_kit(tmp_path, _prompt_files.wnids(), labels_of(reference.examples))
        assert catalogue.imagenet(tmp_path).revision == reference.revision
        truth = tmp_path / "ILSVRC2012_devkit_t12" / "data" / "ILSVRC2012_validation_ground_truth.txt"
        truth.write_text("\n".join(truth.read_text().split()[:-1]))
        with pytest.raises(DataError, match=r"1000 pictures in .* and 999 labels"):
            catalogue.imagenet(tmp_path)

    def test_the_hubs_copy_is_the_same_task(self, sorted_copy: Path, tmp_path: Path) -> None:
        reference = catalogue.imagenet(sorted_copy)
        files = [example.images[0].source for example in reference.examples]
        labels = labels_of(reference.examples)
        wnids = _prompt_files.wnids()
        paths = " ".join(f"{file.stem}_{wnids[label]}.JPEG" for file, label in zip(files, labels, strict=True))
        names = [f"{name}, or {wnid} in other words" for name, wnid in zip(_names("imagenet"), wnids, strict=True)]
        encoded = [file.read_bytes() for file in files]
        layouts.parquet(tmp_path / "hub", "validation", encoded, labels, names, paths=paths)
        assert catalogue.imagenet(tmp_path / "hub").revision == reference.revision
        layouts.parquet(tmp_path / "odd", "validation", encoded, [*labels[1:], labels[0]], names, paths=paths)
        with pytest.raises(DataError, match="expected the classes in the order of their WordNet ids"):
            catalogue.imagenet(tmp_path / "odd")

    def test_a_training_split_that_is_not_there_is_told_when_asked_for(self, sorted_copy: Path) -> None:
        task = catalogue.imagenet(sorted_copy)
        with pytest.raises(DataError, match="has no split 'train'"):
            training_of(task)


class TestShiftedImageNet:
    def test_the_folders_of_imagenet_v2_are_labels(self, tmp_path: Path) -> None:
        folder = tmp_path / "imagenetv2-matched-frequency-format-val"
        _one_picture_each(folder, [str(n) for n in range(1000)], lambda n: f"{n:04x}.jpeg")
        task = catalogue.imagenet_v2(tmp_path)
        assert labels_of(task.examples) == [int(example.images[0].source.parent.name) for example in task.examples]
        with pytest.raises(DataError, match="task 'imagenet-v2' has no training split; models learn from ImageNet's"):
            training_of(task)
        assert task.classes is not None
        assert task.classes.labels == tuple(range(1000))

    def test_imagenet_a_has_200_captions_and_their_labels(self, tmp_path: Path) -> None:
        wnids, labels = _prompt_files.wnids(), [label for (label,) in _prompt_files.labels("imagenet-a")]
        _one_picture_each(tmp_path / "imagenet-a", [wnids[label] for label in labels], lambda n: f"{n}.jpg")
        task = catalogue.imagenet_a(tmp_path)
        assert task.classes is not None
        assert task.classes.labels == tuple(labels)
        assert len(task.examples[0].captions) == 200
        for example in task.examples:
            (caption,) = np.flatnonzero(example.matches[0])
            assert wnids[task.classes.labels[caption]] == example.images[0].source.parent.name

    def test_the_prompts_of_imagenet_a_are_imagenets(self) -> None:
        of_all, of_some = _prompt_files.shipped("imagenet"), _prompt_files.shipped("imagenet-a")
        labels = [label for (label,) in _prompt_files.labels("imagenet-a")]
        assert of_some.captions == tuple(of_all.captions[label] for label in labels)
        assert labels == sorted(set(labels))


class TestObjectNet:
    def test_the_border_is_cut_off_and_other_classes_are_left_out(self, objectnet_copy: Path) -> None:
        task = catalogue.objectnet(objectnet_copy)
        assert len(task.examples) == len(task.examples[0].captions) == 113
        for example, label in zip(task.examples, labels_of(task.examples), strict=True):
            assert np.array_equal(pixels_of(example), np.full((8, 6, 3), label))

    def test_a_model_of_labels_is_asked_for_the_125_of_the_113_classes(self, objectnet_copy: Path) -> None:
        task = catalogue.objectnet(objectnet_copy)
        labelled = task.labelled
        assert task.classes is not None
        assert labelled is not None
        assert labelled.classes is not None
        assert task.classes.labels is None
        assert labelled.classes.labels is not None
        assert len(labelled.classes.labels) == len(set(labelled.classes.labels)) == 125
        stands_for: dict[int, set[int]] = {}
        for label, place in zip(labelled.classes.labels, labelled.classes.of_caption, strict=True):
            stands_for.setdefault(place, set()).add(label)
        assert {n: tuple(sorted(numbers)) for n, numbers in stands_for.items()} == dict(
            enumerate(_prompt_files.labels("objectnet"))
        )
        for example, other in zip(task.examples, labelled.examples, strict=True):
            assert example.id == other.id
            assert (np.array(labelled.classes.of_caption) == labels_of([example])[0]).tolist() == other.matches[
                0
            ].tolist()

    def test_the_125_labels_are_imagenets_for_the_things_that_a_class_names(self) -> None:
        names = _prompt_files.shipped("imagenet").names
        known = dict(zip(_names("objectnet"), _prompt_files.labels("objectnet"), strict=True))
        assert {names[label] for label in known["chair"]} == {"barber chair", "folding chair", "rocking chair"}
        assert {names[label] for label in known["still_camera"]} == {"Polaroid camera", "reflex camera"}
        assert sum(map(len, known.values())) == 125

    def test_the_model_decides_which_of_the_two_it_is_asked(self, objectnet_copy: Path, tmp_path: Path) -> None:
        import dataclasses

        import fakes
        from compbench.runs.request import RunRequest
        from compbench.runs.resolve import resolve

        @dataclasses.dataclass(frozen=True)
        class Labelled(fakes.GivenSpec):
            def resolve(self, task: Task | None) -> ResolvedModel:
                return dataclasses.replace(super().resolve(task), label_space="imagenet")

        task = catalogue.objectnet(objectnet_copy)
        requests = [RunRequest(task=task, model=model, runs=tmp_path) for model in (fakes.GivenSpec(), Labelled())]
        asked = [resolve(request, print).task for request in requests]
        assert [len(task.examples[0].captions) for task in asked] == [113, 125]


class TestFolders:
    def test_a_folder_for_each_class_is_any_of_the_tasks(self, tmp_path: Path) -> None:
        names = [name.replace("_", " ").title() for name in _names("food101")]
        layouts.class_folders(tmp_path, names[::-1], split="validation")
        layouts.class_folders(tmp_path, names, split="train", n=2)
        task = catalogue.food101(tmp_path)
        assert [example.images[0].source.parent.name for example in task.examples] == sorted(names)
        assert labels_of(task.examples) == list(range(101))
        assert len(training_of(task)) == 202

    def test_file_names_that_recur_are_told_apart_by_their_class(self, tmp_path: Path) -> None:
        task = catalogue.cifar10(layouts.class_folders(tmp_path, layouts.CIFAR10))
        assert [example.id for example in task.examples] == [f"test/{name}/0.png" for name in sorted(layouts.CIFAR10)]

    def test_an_unknown_folder_an_empty_one_and_a_double_one_are_named(self, tmp_path: Path) -> None:
        layouts.class_folders(tmp_path, [*layouts.CIFAR10, "zebra"])
        with pytest.raises(DataError, match=r"zebra.* is none of the task's 10 classes"):
            catalogue.cifar10(tmp_path)
        shutil.rmtree(tmp_path / "test" / "zebra")
        (tmp_path / "test" / "Ship").mkdir()
        with pytest.raises(DataError, match=r"Ship' and .*ship' are the same class"):
            catalogue.cifar10(tmp_path)
        shutil.rmtree(tmp_path / "test" / "ship")
        with pytest.raises(DataError, match=r"1 of 10 classes have no picture in .*, 'ship' the first"):
            catalogue.cifar10(tmp_path)

    def test_a_folder_of_ones_own_is_a_task(self, tmp_path: Path) -> None:
        layouts.class_folders(tmp_path, ["dog", "big_cat"], n=2)
        task = catalogue.imagefolder(tmp_path)
        assert task.examples[0].captions == ("a photo of a big cat.", "a photo of a dog.")
        assert [example.id for example in task.examples] == [
            f"test/{c}/{n}.png" for c in ("big_cat", "dog") for n in (0, 1)
        ]
        assert labels_of(task.examples) == [0, 0, 1, 1]
        with pytest.raises(DataError, match="no split 'train'"):
            training_of(task)
        with pytest.raises(UsageError, match="needs --data PATH"):
            catalogue.imagefolder()

    def test_no_folder_says_what_was_expected(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"no folder .*expected food-101/ or one folder for each class.*ethz\.ch"):
            catalogue.food101(tmp_path / "nowhere")
        with pytest.raises(DataError, match=r"objectnet is not on a hub .*objectnet\.dev"):
            catalogue.objectnet()


class TestHub:
    def test_its_own_class_order_is_checked_against_ours(self, tmp_path: Path) -> None:
        pictures = [png(layouts.pixels(n)) for n in range(10)]
        swapped = [*layouts.STL10[:8], "truck", "ship"]
        layouts.parquet(tmp_path, "test", pictures, list(range(10)), swapped)
        with pytest.raises(DataError, match=r"class 8 of .* is 'truck', and of the task 'ship'"):
            catalogue.stl10(tmp_path)

    def test_files_keep_the_names_that_the_data_set_remembers(self, tmp_path: Path) -> None:
        names = _names("pets")
        pictures = [png(layouts.pixels(n, 8)) for n in range(37)]
        paths = " ".join(f"{name.replace(' ', '_')}_1.jpg" for name in names)
        layouts.parquet(tmp_path, "test", pictures, list(range(37)), names, paths=paths)
        task = catalogue.pets(tmp_path)
        assert task.examples[0].id == "test/abyssinian_1.jpg"
        assert np.array_equal(pixels_of(task.examples[3]), layouts.pixels(3, 8))

    def test_a_missing_split_a_missing_column_and_damage_are_told(self, tmp_path: Path) -> None:
        pictures = [png(layouts.pixels(n)) for n in range(10)]
        layouts.parquet(tmp_path, "test", pictures, list(range(10)), layouts.STL10, image="photo")
        with pytest.raises(DataError, match="columns photo, label and lacks image"):
            catalogue.stl10(tmp_path)
        layouts.parquet(tmp_path, "test", pictures, list(range(10)), layouts.STL10)
        task = catalogue.stl10(tmp_path)
        with pytest.raises(DataError, match="has no split 'train'"):
            training_of(task)
        file = tmp_path / "data" / "test-00000-of-00001.parquet"
        file.write_bytes(file.read_bytes()[:-20])
        with pytest.raises(DataError, match=r"test-00000-of-00001\.parquet .* cannot be read"):
            catalogue.stl10(tmp_path)

    def test_offline_and_not_in_the_cache_says_so(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from huggingface_hub import constants

        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
        with pytest.raises(DataError, match="uoft-cs/cifar10"):
            catalogue.cifar10(is_offline=True)


def _one_picture_each(root: Path, names: Sequence[str], file_name: Callable[[int], str]) -> None:
    """A JPEG in each folder: the same bytes but for a comment, which is quick."""
    out = io.BytesIO()
    PIL.Image.fromarray(layouts.pixels(0, 8)).save(out, "JPEG")
    for number, name in enumerate(names):
        (root / name).mkdir(parents=True)
        (root / name / file_name(number)).write_bytes(out.getvalue() + f"{number}".encode())


def test_the_tasks_import_no_torch_and_no_datasets() -> None:
    code = "import sys; from compbench.tasks import classification, shape_classes; assert not {'torch', 'torchvision', "
    code += "'pyarrow', 'pandas', 'datasets', 'scipy', 'huggingface_hub'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
