"""Every fault of a manifest is told with its line and column, all of them at once, before any model is asked for."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from compbench import registry
from compbench.core.errors import DataError
from compbench.tasks.matching.manifest import inspect
from own_pictures import draw, plain, write_csv, write_lines

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return draw(tmp_path / "my-set", "1.png", "2.png", "3.png")


def faults(folder: Path) -> list[tuple[int | None, str, str]]:
    return [(fault.line, fault.column, fault.problem) for fault in inspect(folder).problems]


@pytest.mark.parametrize(
    ("row", "column", "fault"),
    [
        ("nowhere.png,a,b", "image", "no file 'nowhere.png'"),
        ("1.PNG,a,b", "image", "did you mean '1.png'?"),
        ("1,a,b", "image", "did you mean '1.png'?"),
        ("../1.png,a,b", "image", "leads out of the manifest's folder"),
        ("x/../../1.png,a,b", "image", "leads out of the manifest's folder"),
        ("..\\1.png,a,b", "image", "leads out of the manifest's folder"),
        ("/etc/passwd,a,b", "image", "not an absolute path"),
        ("C:\\1.png,a,b", "image", "not an absolute path"),
        ("\\\\host\\1.png,a,b", "image", "not an absolute path"),
        ("http://host/1.png,a,b", "image", "not an address"),
        (",a,b", "image", "is empty"),
        ("1.png,,b", "caption", "is empty"),
        ("1.png,a,", "foil", "is empty"),
        ("1.png,  ,b", "caption", "is empty"),
        ("1.png,a cat,a  cat ", "foil", "is the same caption as column 'caption'"),
        ("1.png,a,b,c", "", "has 4 cells, but the header has 3; put a text that holds ',' in double quotes"),
        ("1.png,a", "", "has 2 cells, but the header has 3"),
        ("folder.png,a,b", "image", "is a folder; expected a regular file"),
        ("pipe.png,a,b", "image", "is a named pipe; expected a regular file"),
        ("text.png,a,b", "image", "it is not an image of a supported format"),
        ("empty.png,a,b", "image", "is empty (0 bytes)"),
        (f"1.png,{'a ' * 60_000},b", "caption", "has 120,000 characters; expected at most 100,000"),
        ("1.png,a\0,b", "caption", "holds a NUL character"),
        ("1\0.png,a,b", "image", "holds a NUL character"),
    ],
)
def test_a_fault_is_told_with_its_line_and_column(folder: Path, row: str, column: str, fault: str) -> None:
    (folder / "folder.png").mkdir()
    (folder / "text.png").write_text("no picture")
    (folder / "empty.png").touch()
    os.mkfifo(folder / "pipe.png")
    write_csv(folder, f"image,caption,foil\n2.png,a,b\n\n{row}\n3.png,a,b\n")
    ((line, where, what),) = faults(folder)
    assert (line, where) == (4, column)
    assert fault in what
    with pytest.raises(DataError, match="has a problem: line 4"):
        registry.task(folder)


@pytest.mark.parametrize(
    ("row", "column", "fault"),
    [
        ({"image": "1.png"}, "", "no column for the caption"),
        ({"caption": "a", "foil": "b"}, "", "no column for the image"),
        ({"image": "1.png", "caption": "a"}, "", "one caption: there is nothing to choose from"),
        ({"images": ["1.png", "1.png"], "captions": ["a", "b"]}, "images", "repeats a picture of the example"),
        ({"images": ["1.png", "2.png"], "captions": ["a", "a"]}, "captions", "same caption as another in the list"),
        ({"images": ["1.png", "2.png"], "captions": ["a", "b", "c"]}, "", "say which belong together"),
        ({"images": ["1.png", "2.png"], "captions": ["a", ""]}, "captions", "is empty"),
        ({"images": ["1.png", 2], "captions": ["a", "b"]}, "images", "holds 2; expected text"),
        ({"images": "1.png", "captions": ["a", "b"], "matches": [1]}, "matches", "expected 1 x 2 numbers"),
        ({"images": "1.png", "captions": ["a", "b"], "matches": [[1, 1]]}, "matches", "makes every caption true"),
        ({"images": "1.png", "captions": ["a", "b"], "matches": [0, 0]}, "matches", "makes no caption true"),
        ({"images": "1.png", "captions": ["a", "b"], "matches": [[2, 0]]}, "matches", "a list of 1 and 0"),
        ({"images": "1.png", "captions": ["a", "b"], "matches": "x"}, "matches", "is not a JSON list"),
        ({"image": "1.png", "caption": 7, "foil": "b"}, "caption", "holds 7; expected text"),
        ({"image": "1.png", "caption": "a", "text": "b", "foil": "c"}, "text", "could both be the caption"),
        ({"image": "1.png", "image_0": "2.png", "caption": "a"}, "image_0", "could both be the image"),
        ({"image": "1.png", "caption": "a", "wrong_1": "b", "wrong_3": "c"}, "wrong_1", "are numbered 1, 3"),
        ({"image": "1.png", "caption": "a", "wrong_1": "b", "wrong1": "c"}, "wrong1", "the number of 'wrong_1'"),
        ({"image": "1.png", "Image": "2.png", "caption": "a", "foil": "b"}, "Image", "appears twice"),
        ({"image": "1.png", "caption": "a", "foil": "b", "margin": 1}, "margin", "the name of a column of results"),
        ({"image": "1.png", "caption": "a", "foil": "b", "a\x1b": 1}, "a\x1b", "is not a column name"),
        ({"image": "1.png", "caption": "a", "foil": "b", "kind": {"x": 1}}, "kind", "expected text, a number"),
        ({"image": "1.png", "caption": "a", "foil": "b", "id": "\x1b[31m"}, "id", "without control characters"),
    ],
)
def test_a_fault_of_a_json_line_is_told_with_its_line_and_column(
    folder: Path, row: dict[str, object], column: str, fault: str
) -> None:
    write_lines(folder, [{"image": "2.png", "caption": "a", "foil": "b", "id": "first"}, row])
    ((line, where, what),) = faults(folder)
    assert (line, where) == (2, column)
    assert fault in what


def test_lines_that_are_no_examples_are_told_one_by_one(folder: Path) -> None:
    lines = ['{"image": "1.png", "caption": "a", "foil": "b"}', "{", "[]", '{"a": 1, "a": 2}', "7", "[" * 100_000]
    (folder / "metadata.jsonl").write_text("\n\n".join(lines))
    told = faults(folder)
    assert [line for line, _, _ in told] == [3, 5, 7, 9, 11]
    assert all("JSON object" in fault for _, _, fault in told)


def test_an_id_that_two_rows_have_is_told_with_both_lines(folder: Path) -> None:
    write_csv(folder, "id,image,caption,foil\n7,1.png,a,b\n8,2.png,a,b\n7,3.png,a,b\n")
    assert faults(folder) == [(4, "id", "'7' is the id of line 2 too")]


def test_a_line_is_where_an_editor_shows_it_though_captions_hold_line_breaks(folder: Path) -> None:
    write_csv(folder, 'image,caption,foil\r\n1.png,"a\r\nb",c\r\n2.png,a\u2028\x85b,\r\n')
    assert faults(folder) == [(4, "foil", "is empty")]


def test_quotes_that_are_never_closed_are_told_where_they_open(folder: Path) -> None:
    write_csv(folder, 'image,caption,foil\n1.png,a,b\n2.png,"a,b\n3.png,a,b\n')
    ((line, _, fault),) = faults(folder)
    assert line == 3
    assert "double quotes that are never closed" in fault


def test_of_many_faults_a_run_tells_the_first_and_counts_the_others(folder: Path) -> None:
    write_csv(folder, "image,caption,foil\n" + "no.png,a,b\n" * 2500)
    found = inspect(folder)
    assert (len(found.problems), found.n_problems) == (1000, 2500)
    with pytest.raises(DataError, match=r"has 2,500 problems: line 2, column 'image'.*and 1,500 more"):
        registry.task(folder)


def test_a_parquet_row_is_told_by_its_number_and_encoded_pictures_are_refused(folder: Path) -> None:
    rows = [{"image": "1.png", "caption": "a", "foil": "b"}, {"image": "1.png", "caption": None, "foil": "b"}]
    pq.write_table(pa.Table.from_pylist(rows), folder / "metadata.parquet")
    with pytest.raises(DataError, match="row 2, column 'caption': is empty"):
        registry.task(folder)
    rows = [{"image": {"bytes": b"x", "path": "1.png"}, "caption": "a"}]
    pq.write_table(pa.Table.from_pylist(rows), folder / "metadata.parquet")
    with pytest.raises(DataError, match="holds encoded pictures; expected the names of picture files"):
        registry.task(folder)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "is empty; expected a header"),
        (b"image,caption,foil\n", "holds no example"),
        (b"image,caption,foil\n1.png,caf\xe9,b\n", "line 2 of .* cannot be read as UTF-8"),
        (b"image,,foil\n1.png,a,b\n", "has no name for column 2"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer"),
    ],
)
def test_a_manifest_that_cannot_be_read_is_told(folder: Path, content: bytes, fault: str) -> None:
    (folder / "metadata.csv").write_bytes(content)
    with pytest.raises(DataError, match=fault):
        registry.task(folder)


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl", "metadata.parquet"])
def test_a_pipe_in_the_place_of_a_manifest_is_not_waited_for(folder: Path, name: str) -> None:
    os.mkfifo(folder / name)
    with pytest.raises(DataError, match="is a named pipe; expected a regular file"):
        registry.task(folder)


def test_unreadable_pictures_may_be_left_out_and_missing_ones_may_not(folder: Path, tmp_path: Path) -> None:
    import compbench

    (folder / "bad.png").write_text("no picture")
    write_csv(folder, "image,caption,foil\n1.png,a,b\nbad.png,a,b\n")
    with pytest.raises(DataError, match="line 3, column 'image'"):
        compbench.run(folder, model="tiny-clip", runs=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
    run = compbench.run(folder, model="tiny-clip", runs=tmp_path / "runs", skip_unreadable=True)
    assert run.done() == {"1"}
    write_csv(folder, "image,caption,foil\n1.png,a,b\nnone.png,a,b\n")
    with pytest.raises(DataError, match="line 3, column 'image': no file"):
        compbench.run(folder, model="tiny-clip", runs=tmp_path / "runs", skip_unreadable=True)


def test_a_picture_whose_pixels_alone_are_damaged_is_found_by_the_run(folder: Path) -> None:
    whole = plain(folder / "cut.png", (64, 64)).read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    write_csv(folder, "image,caption,foil\ncut.png,a,b\n")
    assert faults(folder) == []  # no pixel is decoded


def test_a_misspelt_column_of_foils_is_named(folder: Path) -> None:
    write_csv(folder, "image,caption,fiol\n1.png,a,b\n2.png,a,b\n3.png,a,b\n")
    assert {fault.rpartition("(")[2] for _, _, fault in faults(folder)} == {
        "the column 'fiol' is read as a tag: is it a misspelt foil?)"
    }
    with pytest.raises(
        DataError, match=r"has 3 problems: line 2: one picture.*; the same in 2 more lines, the last 4$"
    ):
        registry.task(folder)


def test_a_copy_of_a_picture_under_another_name_is_told(folder: Path) -> None:
    shutil.copy(folder / "1.png", folder / "copy.png")
    header = "image_0,image_1,caption_0,caption_1"
    write_csv(folder, f"{header}\n1.png,2.png,a cat,a dog\n1.png,copy.png,a cat,a dog\n")
    assert [(fault.line, fault.column, fault.problem) for fault in inspect(folder).problems] == [
        (3, "image_1", "is a copy of another picture of the example, '1.png'")
    ]


@pytest.mark.parametrize("other", ["cafe\u0301", "ca\u200bfé", "ca\u00adfé", "\ufeffcafé", "\u00a0café "])
def test_captions_that_look_alike_are_one_caption(folder: Path, other: str) -> None:
    (fault,) = inspect(write_lines(folder, [{"image": "1.png", "caption": "café", "foil": other}])).problems
    assert fault.problem.startswith("is the same caption as column 'caption'")
