"""Nothing that could be waited for without end is opened, wherever a data set expects a file."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import pytest

from compbench import registry
from compbench.core import cells, regular_files
from compbench.core.errors import DataError
from compbench.tasks.classification._listed_images import AIRCRAFT, FOOD101, PETS
from compbench.tasks.matching._layouts import read_rows


@pytest.mark.parametrize("name", ["test.parquet", "examples.jsonl"])
@pytest.mark.parametrize("is_named", [False, True])
def test_rows_are_not_read_from_a_pipe(tmp_path: Path, name: str, is_named: bool) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(DataError, match=f"{name}' is not a regular file"):
        read_rows(tmp_path / name if is_named else tmp_path, ["id"], ["image"], "rows")


def test_a_copy_of_a_hub_data_set_is_not_read_from_a_pipe(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    os.mkfifo(tmp_path / "data" / "test-00000-of-00001.parquet")
    with pytest.raises(DataError, match="is not a regular file"):
        registry.task("cifar10", data=tmp_path)


def test_a_list_is_not_read_from_a_pipe(tmp_path: Path) -> None:
    (tmp_path / "food-101" / "meta").mkdir(parents=True)
    os.mkfifo(tmp_path / "food-101" / "meta" / "classes.txt")
    with pytest.raises(DataError, match=r"classes\.txt' is not a regular file"):
        registry.task("food101", data=tmp_path)


@pytest.mark.parametrize("name", ["../../outside", "/outside"])
def test_a_list_does_not_lead_out_of_the_data_set(tmp_path: Path, name: str) -> None:
    for folder in ("data/images", "annotations", "images"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "data" / "variants.txt").write_text("707-320\n")
    (tmp_path / "data" / "images_variant_test.txt").write_text(f"{name} 707-320\n")
    (tmp_path / "annotations" / "test.txt").write_text(f"{name} 1 1 1\n")
    for layout in (AIRCRAFT, PETS):
        with pytest.raises(DataError, match=r"a list names '.*outside\.jpg', which lies outside"):
            layout.read(tmp_path, "test")


def test_a_listed_class_that_leads_out_is_not_a_class(tmp_path: Path) -> None:
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "classes.txt").write_text("apple_pie\n")
    (tmp_path / "meta" / "test.txt").write_text("apple_pie/../../../outside\n")
    with pytest.raises(DataError, match="which lies outside"):
        FOOD101.read(tmp_path, "test")


def test_reading_a_small_file_takes_no_more_memory_than_the_file(tmp_path: Path) -> None:
    small, table = tmp_path / "small.png", tmp_path / "small.csv"
    small.write_bytes(b"x" * 1000)
    table.write_text("id,kind\n1,x\n")
    for read in (lambda: regular_files.read_file(small), lambda: cells.read_text(table)):
        read()
        tracemalloc.start()
        try:
            read()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 10 << 20
