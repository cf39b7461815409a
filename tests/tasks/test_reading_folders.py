"""Folders of pictures as people have them: any class name, any extension, what operating systems leave behind."""

from __future__ import annotations

import os
import shutil
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import PIL.Image
import pytest
from PIL import features

import layouts_on_disk as layouts
from compbench import registry
from compbench.cli.app import main
from compbench.core.errors import DataError
from compbench.core.examples import Task
from compbench.tasks._reading.names import ClassNames, same_name
from compbench.tasks.classification import _prompt_files, catalogue

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"


pytestmark = pytest.mark.usefixtures("own_cache")


def folders(root: Path, *names: str, n: int = 2) -> Path:
    """`root` with a folder of pictures for each class."""
    for number, name in enumerate(names):
        for k in range(n):
            layouts.picture(root / name / f"{k}.png", 10 * number + k)
    return root


def ids(task: Task) -> list[str]:
    return [example.id for example in task.examples]


def names(task: Task) -> Sequence[str]:
    assert task.classes is not None
    return task.classes.names


# class folders and splits


def test_a_class_may_be_called_train_val_or_test(tmp_path: Path) -> None:
    task = catalogue.imagefolder(folders(tmp_path / "data", "bus", "test", "train", "val"))
    assert names(task) == ("bus", "test", "train", "val")
    assert len(task.examples) == 8


def test_a_split_folder_is_one_that_holds_folders_even_beside_a_stray_picture(tmp_path: Path) -> None:
    data = folders(tmp_path / "data", "test/cat", "test/dog", "train/cat", "train/dog")
    layouts.picture(data / "test" / "overview.png", 99)
    task = catalogue.imagefolder(data)
    assert ids(task) == [f"test/{name}/{n}.png" for name in ("cat", "dog") for n in (0, 1)]
    assert any("overview.png" in note and "1 file" in note for note in task.notes)
    assert task.training is not None
    assert len(task.training()) == 4


def test_a_class_called_train_that_has_folders_too_is_a_class_beside_other_classes(tmp_path: Path) -> None:
    data = folders(tmp_path / "data", "bus", "train", "train/steam")
    assert names(catalogue.imagefolder(data)) == ("bus", "train")


def test_that_one_of_two_test_splits_was_taken_is_said(tmp_path: Path) -> None:
    data = folders(tmp_path / "data", "test/cat", "test/dog", "val/cat", "val/dog")
    (note,) = catalogue.imagefolder(data).notes
    assert note.startswith("imagefolder: ")
    assert note.endswith("test' is read, 'val' beside it is not")


@pytest.mark.parametrize(
    "own", [("狗", "猫"), ("C", "C++"), ("C", "C#"), ("a", "ä"), ("☀", "☂"), ("Cat", "cat"), ("_x", "x"), ("5", "-5")]
)
def test_class_names_may_have_any_letters_and_signs(tmp_path: Path, own: tuple[str, str]) -> None:
    task = catalogue.imagefolder(folders(tmp_path / "data", *own))
    assert sorted(names(task)) == sorted(own)
    for example in task.examples:
        (caption,) = [text for text, is_match in zip(example.captions, example.matches[0], strict=True) if is_match]
        assert caption == f"a photo of a {example.id.split('/')[1].replace('_', ' ')}."


def test_a_training_folder_in_capitals_is_not_taken_for_another_class_of_fewer_signs(tmp_path: Path) -> None:
    data = folders(tmp_path / "data", "test/c", "test/c++", "train/C", "train/C++")
    task = catalogue.imagefolder(data)
    assert task.training is not None
    assert {(picture.id, picture.tags["class"]) for picture in task.training()} == {
        (f"train/{name}/{n}.png", (name,)) for name in ("c", "c++") for n in (0, 1)
    }


def test_a_folder_whose_name_two_classes_have_is_refused(tmp_path: Path) -> None:
    names_of = ClassNames([("missile", "n03773504"), ("missile", "n04008634"), ("cat",)])
    assert names_of.numbers("Missile") == (0, 1)
    with pytest.raises(DataError, match="folder x: 'missile' is the name of classes 0 and 1"):
        names_of.number("missile", "folder x")


def test_published_spellings_of_a_name_are_one_class() -> None:
    pairs = [("apple_pie", "Apple pie"), ("F-16A_B", "F-16A/B"), ("colt's foot", "colt s foot"), ("É", "e\u0301")]
    assert all(same_name(first, other) for first, other in pairs)


def test_decomposed_names_are_the_same_task_as_composed_ones(tmp_path: Path) -> None:
    composed = folders(tmp_path / "nfc", "café", "thé")
    decomposed = folders(tmp_path / "nfd", *(unicodedata.normalize("NFD", name) for name in ("café", "thé")))
    prompts = tmp_path / "own.csv"
    prompts.write_text("prompt,classname,classidx\nun café.,café,0\nun thé.,thé,1\n", encoding="utf-8")
    for asked in (None, prompts):
        one, other = (catalogue.imagefolder(data, prompts=asked) for data in (composed, decomposed))
        assert one.revision == other.revision
        assert ids(one) == ids(other)
        assert names(one) == names(other) == ("café", "thé")
    prompts.write_text(unicodedata.normalize("NFD", prompts.read_text(encoding="utf-8")), encoding="utf-8")
    assert catalogue.imagefolder(composed, prompts=prompts).revision == one.revision


def test_one_name_in_two_unicode_forms_is_told_as_such(tmp_path: Path) -> None:
    data = folders(tmp_path / "data", "café", unicodedata.normalize("NFD", "café"), "thé")
    with pytest.raises(DataError, match=r"are the same class \(one name in composed and in decomposed Unicode\)"):
        catalogue.imagefolder(data)


# which files are pictures


def test_every_picture_is_read_whatever_its_extension_and_the_rest_is_counted_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = folders(tmp_path / "data", "cat", "dog", n=1)
    picture = PIL.Image.fromarray(layouts.pixels(7, 8))
    for name in ("x.jfif", "upper.JPG", "noext"):
        picture.save(data / "cat" / name, "JPEG")
    picture.save(data / "cat" / "w", "WEBP")
    picture.save(data / "cat" / "b.picture", "BMP")
    picture.save(data / "cat" / "p.pgm", "PPM")
    if features.check("avif"):
        picture.save(data / "cat" / "x.avif")
    layouts.picture(data / "cat" / "more" / "nested.png", 8)
    (data / "cat" / "notes.txt").write_text("BMW, not a picture")
    (data / "dog" / "list.json").write_text("{}")
    assert main(["run", "imagefolder", "--data", str(data), "-m", "chance", "--runs", str(tmp_path / "runs")]) == 0
    said = capsys.readouterr().err
    assert said.count("2 files in") == 1
    assert "left out, not pictures: cat/notes.txt, dog/list.json" in said
    found = ids(catalogue.imagefolder(data))
    expected = {"0.png", "x.jfif", "upper.JPG", "noext", "w", "b.picture", "p.pgm", "more/nested.png"}
    assert set(found) - {"test/cat/x.avif"} == {f"test/cat/{name}" for name in expected} | {"test/dog/0.png"}
    assert ("test/cat/x.avif" in found) == features.check("avif")


def test_what_an_operating_system_leaves_behind_is_no_data(tmp_path: Path) -> None:
    data = folders(tmp_path / "data", "cat", "dog")
    for place in (data, data / "cat"):
        for name in ("._0.png", ".DS_Store", "Thumbs.db", "desktop.ini"):
            (place / name).write_bytes(b"rubbish")
    folders(data, "__MACOSX")
    task = catalogue.imagefolder(data)
    assert (len(task.examples), task.notes) == (4, ())


def test_class_folders_that_begin_with_an_underscore_are_classes_where_they_hold_pictures(tmp_path: Path) -> None:
    data = folders(tmp_path / "data", "_private", "public")
    (data / "_cache").mkdir()
    (data / "_cache" / "index.json").write_text("{}")
    task = catalogue.imagefolder(data)
    assert sorted(names(task)) == ["_private", "public"]
    assert [note for note in task.notes if "_cache" in note]


def test_a_picture_that_is_a_git_lfs_pointer_is_named_for_what_it_is(tmp_path: Path) -> None:
    data = folders(tmp_path / "data", "cat", "dog")
    (data / "dog" / "1.png").write_bytes(LFS)
    with pytest.raises(DataError, match=r"dog/1\.png' is a Git LFS pointer.*git lfs pull"):
        catalogue.imagefolder(data)


def test_a_link_that_leads_back_is_named(tmp_path: Path) -> None:
    data = folders(tmp_path / "data", "cat", "dog")
    (data / "cat" / "again").symlink_to(data / "cat", target_is_directory=True)
    with pytest.raises(DataError, match="cat/again' is a link to a folder that holds it"):
        catalogue.imagefolder(data)
    (data / "cat" / "again").unlink()
    (data / "cat" / "self.png").symlink_to(data / "cat" / "self.png")
    (of_link,) = (example for example in catalogue.imagefolder(data).examples if example.id.endswith("self.png"))
    with pytest.raises(DataError, match=r"self\.png"):
        of_link.images[0].decode()


def test_a_name_that_is_not_utf_8_is_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = folders(tmp_path / "data", "cat", "dog")
    shutil.copy(data / "cat" / "0.png", os.fsencode(data / "cat") + b"/caf\xe9.png")
    assert main(["run", "imagefolder", "--data", str(data), "-m", "chance", "--runs", str(tmp_path / "runs")]) == 1
    said = capsys.readouterr().err
    assert "has a name that is not UTF-8, b'caf\\xe9.png'; rename it" in said
    assert len(said.strip().splitlines()) == 1


# labels of ImageNet's validation pictures


def imagenet(root: Path) -> tuple[Path, list[int]]:
    """A loose validation folder of 1,000 pictures with the development kit, and their labels."""
    labels = [(7 * n + 3) % 1000 for n in range(1000)]
    source = layouts.picture(root / "one.JPEG", 1)
    (root / "val").mkdir()
    for n in range(1, 1001):
        os.link(source, root / "val" / f"ILSVRC2012_val_{n:08d}.JPEG")
    layouts.imagenet_kit(root, _prompt_files.wnids(), labels)
    return root, labels


def test_a_validation_picture_has_the_label_of_the_number_in_its_name(tmp_path: Path) -> None:
    root, labels = imagenet(tmp_path / "imagenet")
    shutil.copy(root / "one.JPEG", root / "val" / "AAA.JPEG")  # a stray, first by name
    task = registry.task("imagenet", data=root)
    got = {example.id: int(example.matches[0].argmax()) for example in task.examples}
    assert got == {f"test/ILSVRC2012_val_{n:08d}.JPEG": label for n, label in enumerate(labels, 1)}
    assert "AAA.JPEG" in " ".join(task.notes)
    (root / "val" / "ILSVRC2012_val_00000100.JPEG").unlink()  # one stray and one lost: as many files as labels
    with pytest.raises(
        DataError, match=r"999 pictures in .* and 1000 labels: .*ILSVRC2012_val_00000100\.JPEG the first"
    ):
        registry.task("imagenet", data=root)


def test_the_unlabelled_test_pictures_beside_them_are_not_taken_for_the_validation_split(tmp_path: Path) -> None:
    root, _ = imagenet(tmp_path / "imagenet")
    layouts.picture(root / "test" / "ILSVRC2012_test_00000001.JPEG", 2)
    assert len(registry.task("imagenet", data=root).examples) == 1000


def test_pictures_without_a_number_in_their_names_are_not_given_labels_by_position(tmp_path: Path) -> None:
    root, _ = imagenet(tmp_path / "imagenet")
    for file in list((root / "val").iterdir()):
        file.rename(root / "val" / f"picture-{file.stem[-8:]}.JPEG")
    with pytest.raises(DataError, match=r"0 pictures in .* and 1000 labels: 1000 are missing"):
        registry.task("imagenet", data=root)


# labels that other sources keep apart from their pictures


def test_a_batch_of_cifar_with_fewer_labels_or_with_fractions_is_refused(tmp_path: Path) -> None:
    folder = layouts.cifar_python(tmp_path, list(range(10))) / "cifar-10-batches-py"
    pictures = [layouts.pixels(n).transpose(2, 0, 1).ravel() for n in range(10)]
    for labels in (list(range(9)), [0.5, *range(1, 10)]):
        batch = {b"data": pictures, b"labels": labels}
        (folder / "test_batch").write_bytes(layouts.python2_pickle(batch))
        with pytest.raises(DataError, match=r"test_batch' is not a batch of CIFAR-10 .*labels for 10 pictures"):
            catalogue.cifar10(tmp_path)


def test_a_list_of_pets_that_gives_one_class_two_breeds_is_refused(tmp_path: Path) -> None:
    folder = layouts.pets(tmp_path, [name.title() for name in _prompt_files.shipped("pets").names])
    listed = folder / "oxford-iiit-pet" / "annotations" / "test.txt"
    first, second, *rest = listed.read_text().splitlines()
    listed.write_text("\n".join([first, second.replace(" 2 1 1", " 1 1 1"), *rest]))
    with pytest.raises(DataError, match="has class 1, which is 'Abyssinian' on a line before"):
        catalogue.pets(tmp_path)


def test_a_byte_order_mark_in_a_list_of_classes_is_ignored(tmp_path: Path) -> None:
    folder = layouts.food101(tmp_path, _prompt_files.shipped("food101").names) / "food-101" / "meta"
    revision = catalogue.food101(tmp_path).revision
    for file in folder.glob("*.txt"):
        file.write_text("\ufeff" + file.read_text(), encoding="utf-8")
    assert catalogue.food101(tmp_path).revision == revision
