"""Copies of the hub's data sets as Parquet files, whoever wrote them: pictures are pictures, labels are labels."""

from __future__ import annotations

import io
import os
import shutil
from pathlib import Path
from typing import Any

import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import layouts_on_disk as layouts
from compbench.core.errors import DataError
from compbench.tasks.classification import _prompt_files, catalogue
from winoground_files import ROWS, read, write_parquet

LABELS = list(range(10))


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache" / "datasets"))


def png(seed: int) -> bytes:
    out = io.BytesIO()
    PIL.Image.fromarray(layouts.pixels(seed)).save(out, "PNG")
    return out.getvalue()


PICTURES = [png(n) for n in range(10)]
STRUCTS = [{"bytes": picture, "path": None} for picture in PICTURES]


def copy(root: Path, pictures: list[Any], labels: list[Any] = LABELS, name: str = "test-00000-of-00001") -> Path:
    """A copy of CIFAR-10 without any word of the `datasets` library in it."""
    (root / "data").mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"img": pictures, "label": labels}), root / "data" / f"{name}.parquet")
    return root


@pytest.fixture
def revision(tmp_path: Path) -> str:
    good = layouts.parquet(tmp_path / "good", "test", PICTURES, LABELS, layouts.CIFAR10, image="img")
    return catalogue.cifar10(good).revision


@pytest.mark.parametrize(
    "pictures",
    [
        STRUCTS,
        PICTURES,
        pa.array(PICTURES, pa.large_binary()),
        pa.array([{"bytes": picture, "path": "0.png"} for picture in PICTURES]),
        pa.array(STRUCTS, pa.struct([("bytes", pa.large_binary()), ("path", pa.large_string())])),
        pa.array([{"bytes": picture} for picture in PICTURES]),
    ],
    ids=["pandas", "bytes", "large bytes", "duckdb", "dask", "bytes alone"],
)
def test_pictures_are_read_whoever_wrote_the_column(tmp_path: Path, revision: str, pictures: Any) -> None:
    task = catalogue.cifar10(copy(tmp_path / "copy", pictures))
    assert task.revision == revision
    assert any("does not name its classes" in note for note in task.notes)


def test_rows_that_share_the_name_of_a_file_are_known_by_their_numbers(tmp_path: Path) -> None:
    names = [f"{n}.png" for n in range(101)]
    food = list(_prompt_files.shipped("food101").names)
    values = [{"bytes": PICTURES[n % 10], "path": "image.png"} for n in range(202)]
    (tmp_path / "data").mkdir()
    table = pa.table({"image": values, "label": [n % 101 for n in range(202)]})
    pq.write_table(table, tmp_path / "data" / "validation-00000-of-00001.parquet")
    task = catalogue.food101(tmp_path)
    assert len({example.id for example in task.examples}) == 202
    assert f"test/{food[0]}/000000" in {example.id for example in task.examples}
    own = [{"bytes": PICTURES[n % 10], "path": names[n]} for n in range(101)]
    pq.write_table(
        pa.table({"image": own, "label": list(range(101))}), tmp_path / "data" / "validation-00000-of-00001.parquet"
    )
    assert f"test/{food[0]}/0.png" in {example.id for example in catalogue.food101(tmp_path).examples}


def test_a_column_of_paths_is_named_as_such(tmp_path: Path) -> None:
    for paths in ([{"bytes": None, "path": "0.png"}] * 10, ["0.png"] * 10):
        with pytest.raises(DataError, match=r"column 'img' of .* holds paths of pictures, not the pictures"):
            catalogue.cifar10(copy(tmp_path / "copy", paths))


@pytest.mark.parametrize(
    "labels",
    [list(layouts.CIFAR10), [float(n) for n in LABELS], [str(n) for n in LABELS]],
    ids=["names", "floats", "digits"],
)
def test_labels_may_be_the_names_of_classes_or_whole_numbers_in_another_type(
    tmp_path: Path, revision: str, labels: list[Any]
) -> None:
    assert catalogue.cifar10(copy(tmp_path / "copy", PICTURES, labels)).revision == revision


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (0.5, r"row 3 of .*copy' has label 0\.5 in column 'label'"),
        (None, r"row 3 of .*copy' has no label in column 'label'"),
        (-1, r"has label -1; the task has 10 classes"),
        (10**18, r"has label 1000000000000000000; the task has 10 classes"),
    ],
)
def test_a_label_that_is_no_class_is_named_with_its_row(tmp_path: Path, label: Any, message: str) -> None:
    labels: list[Any] = [*LABELS[:3], label, *LABELS[4:]]
    with pytest.raises(DataError, match=message):
        catalogue.cifar10(copy(tmp_path / "copy", PICTURES, labels))


def test_a_text_that_names_no_class_is_named_with_its_row(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"row 0 of .* has label 'plane' in column 'label', which is not the name of any class"
    ):
        catalogue.cifar10(copy(tmp_path / "copy", PICTURES, ["plane", *layouts.CIFAR10[1:]]))


def test_a_label_that_is_kept_back_is_named_with_its_row(tmp_path: Path) -> None:
    data = layouts.parquet(tmp_path / "hf", "test", PICTURES, [*LABELS[:9], -1], layouts.CIFAR10, image="img")
    with pytest.raises(DataError, match=r"row 9 of .* has label -1; expected 0 to 9 \(-1 stands for"):
        catalogue.cifar10(data)


# half a data set, and twice the data set


def test_missing_files_of_a_split_are_named(tmp_path: Path) -> None:
    data = copy(tmp_path / "copy", PICTURES, name="test-00001-of-00003")
    with pytest.raises(DataError, match=r"found 1 of 3 .*: test-00000-of-00003\.parquet, test-00002-of-00003\.parquet"):
        catalogue.cifar10(data)


def test_a_copy_beside_the_data_is_not_read_too(tmp_path: Path, revision: str) -> None:
    data = copy(tmp_path / "copy", PICTURES)
    shutil.copytree(data / "data", data / "backup")
    shutil.copytree(data / "data", data / "backup" / "data")
    (data / "data" / "._test-00000-of-00001.parquet").write_bytes(b"of macOS")
    assert catalogue.cifar10(data).revision == revision
    shutil.rmtree(data / "data")
    shutil.copytree(data / "backup" / "data", data / "backup2")
    with pytest.raises(DataError, match=r"holds several copies: .*backup, .*backup2; name one"):
        catalogue.cifar10(data)


@pytest.mark.parametrize(
    "place",
    [
        "test.parquet",
        "test-0.parquet",
        "test/0000.parquet",
        "default/test/0000.parquet",
        "plain_text/test-0.parquet",
        "data/cifar10-test-00000-of-00001.parquet",
        "snapshots/abc/data/test-00000-of-00001.parquet",
    ],
)
def test_the_files_may_lie_where_the_hub_and_its_tools_put_them(tmp_path: Path, revision: str, place: str) -> None:
    file = copy(tmp_path / "copy", PICTURES) / "data" / "test-00000-of-00001.parquet"
    (tmp_path / "hub" / place).parent.mkdir(parents=True)
    file.rename(tmp_path / "hub" / place)
    assert catalogue.cifar10(tmp_path / "hub").revision == revision


def test_a_second_copy_of_a_file_in_the_folder_is_refused(tmp_path: Path) -> None:
    data = copy(tmp_path / "copy", PICTURES)
    shutil.copy(data / "data" / "test-00000-of-00001.parquet", data / "data" / "test-00000-of-00001 (1).parquet")
    with pytest.raises(DataError, match=r"holds test-00000-of-00001 \(1\)\.parquet beside the 1 Parquet files"):
        catalogue.cifar10(data)


def test_another_split_is_not_taken_for_the_test_split(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no split 'test'"):
        catalogue.cifar10(copy(tmp_path / "copy", PICTURES, name="pretest-00000-of-00001"))
    write_parquet(tmp_path / "winoground", n_files=1)
    file = tmp_path / "winoground" / "data" / "test-00000-of-00001.parquet"
    file.rename(file.with_name("train-00000-of-00001.parquet"))
    with pytest.raises(DataError, match="no file of the test split"):
        read(tmp_path / "winoground")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer"),
        (b"", "is damaged"),
        (b"PAR", "is damaged"),
    ],
)
def test_a_file_that_is_not_parquet_is_named_for_what_it_is(tmp_path: Path, content: bytes, message: str) -> None:
    file = copy(tmp_path / "copy", PICTURES) / "data" / "test-00000-of-00001.parquet"
    file.write_bytes(content)
    with pytest.raises(DataError, match=rf"test-00000-of-00001\.parquet' {message}"):
        catalogue.cifar10(tmp_path / "copy")


def test_a_file_replaced_with_its_time_kept_is_read_anew(tmp_path: Path) -> None:
    file = copy(tmp_path / "copy", PICTURES) / "data" / "test-00000-of-00001.parquet"
    os.utime(file, (1e9, 1e9))
    before = catalogue.cifar10(tmp_path / "copy")
    other = [png(100 + n) for n in range(10)]
    copy(tmp_path / "copy", other)
    os.utime(file, (1e9, 1e9))
    after = catalogue.cifar10(tmp_path / "copy")
    assert after.revision != before.revision
    assert after.examples[0].images[0].decode().getpixel((0, 0)) == tuple(layouts.pixels(100)[0, 0])


def test_damaged_pages_of_winoground_are_told_in_one_line(tmp_path: Path) -> None:
    file = write_parquet(tmp_path, ROWS, n_files=1) / "data" / "test-00000-of-00001.parquet"
    content = bytearray(file.read_bytes())
    content[4:200] = bytes(196)
    file.write_bytes(content)
    with pytest.raises(DataError, match="is damaged: fetch or copy it again"):
        read(tmp_path)
