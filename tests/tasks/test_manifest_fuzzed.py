"""Whatever lies in a folder, a manifest gives a task or a message: no traceback, and no path outside the folder."""

from __future__ import annotations

import codecs
import io
import json
import os
import tempfile
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import compbench
from compbench import registry
from compbench.core.errors import DataError, UsageError
from compbench.core.examples import Task
from compbench.tasks.matching.manifest import inspect
from own_pictures import plain

FEW = settings(max_examples=60, deadline=None)
ODD_TEXTS = [
    "",
    " ",
    "a",
    "b",
    "a cat",
    "A cat",
    "a\u2028b",
    "a\u0085b",
    "a\r\nb",
    "a\nb",
    "a\0b",
    "\x1b[31m",
    "\ufeff",
    "\u202e",
    "=1+1",
    "'",
    '"',
    '"a',
    "a,b",
    "[",
    "[]",
    '["a"]',
    "[1]",
    "{}",
    "null",
    "NaN",
    "1e999",
    "é",
    unicodedata.normalize("NFD", "é"),
    "\ud800",
    "x" * 200_000,
    "1.png",
    "9" * 5000,
]
ODD_NAMES = [
    "1.png",
    "2.png",
    "./1.png",
    "in/1.png",
    "in\\1.png",
    "in//1.png",
    " 1.png ",
    "1.PNG",
    "1",
    "",
    ".",
    "..",
    "../1.png",
    "in/../1.png",
    "in/../../secret.png",
    "..\\secret.png",
    "/etc/passwd",
    "C:1.png",
    "C:\\1.png",
    "\\\\host\\1.png",
    "file:///etc/passwd",
    "~/1.png",
    "folder.png",
    "pipe.png",
    "empty.png",
    "text.png",
    "cut.png",
    "loop.png",
    "out.png",
    "caf\u00e9.png",
    unicodedata.normalize("NFD", "caf\u00e9.png"),
    "1.png\0",
    "\ud800.png",
    "x" * 5000,
    "con.png",
    "in",
    "metadata.csv",
    "deep/" * 500 + "1.png",
]
NAMES = [
    "id",
    "image",
    "file_name",
    "images",
    "image_0",
    "image_1",
    "image_2",
    "image_00",
    "caption",
    "text",
    "captions",
    "caption_0",
    "caption_1",
    "caption_2",
    "foil",
    "wrong_1",
    "wrong_2",
    "matches",
    "group",
    "scores",
    "kind",
    "Kind ",
    "margin",
    "text_tie",
    "caption_source",
    "",
    " ",
    "\x1b",
    "a\u2028",
    "x" * 300,
]
TEXTS = st.sampled_from(ODD_TEXTS) | st.text(max_size=8)
PICTURES = st.sampled_from(ODD_NAMES)
LEAVES = TEXTS | PICTURES | st.none() | st.booleans() | st.integers() | st.floats()
CELLS = (
    LEAVES | st.lists(LEAVES, max_size=3) | st.lists(st.lists(st.sampled_from([0, 1, True, 2]), max_size=3), max_size=3)
)
ROWS = st.lists(st.dictionaries(st.sampled_from(NAMES), CELLS, max_size=7), max_size=4)


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@contextmanager
def odd_folder() -> Iterator[Path]:
    """Pictures, and what is called like one."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        folder = root / "set"
        plain(root / "secret.png", colour=200)
        for number, inner in enumerate(("1.png", "2.png", "in/1.png", unicodedata.normalize("NFD", "caf\u00e9.png"))):
            plain(folder / inner, colour=number)
        (folder / "folder.png").mkdir()
        os.mkfifo(folder / "pipe.png")
        (folder / "empty.png").touch()
        (folder / "text.png").write_text("<svg/>")
        (folder / "cut.png").write_bytes((folder / "1.png").read_bytes()[:50])
        (folder / "loop.png").symlink_to("loop.png")
        (folder / "out.png").symlink_to(root / "nowhere.png")
        yield folder


def task_or_message(folder: Path) -> Task | str:
    try:
        return registry.task(folder)
    except (DataError, UsageError) as error:
        return str(error)


def read(folder: Path) -> Task | str:
    """The task, or what is said; every task is whole and its pictures lie in the folder."""
    task = task_or_message(folder)
    if isinstance(task, str):
        assert task.strip()
        assert inspected(folder) is not True
        return task
    assert inspected(folder)
    for example in task.examples:
        assert example.id
        assert all(caption.strip() for caption in example.captions)
        assert example.matches.shape == example.shape
        assert example.matches.any()
        assert not example.matches.all()
        for image in example.images:
            assert isinstance(image.source, Path)
            assert image.source.resolve().is_relative_to(folder.resolve())
    return task


def inspected(folder: Path) -> bool | None:
    """Whether `check` finds nothing wrong; None where there is nothing that it can look at."""
    try:
        found = inspect(folder)
    except (DataError, UsageError):
        return None
    for problem in found.problems:
        assert str(problem)
    return not found.problems


@FEW
@given(ROWS, st.sampled_from(["\n", "\r\n", "\n\n"]), st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
def test_json_lines(rows: list[dict[str, object]], end: str, encoding: str) -> None:
    with odd_folder() as folder:
        text = end.join(json.dumps(row, ensure_ascii=encoding == "utf-16") for row in rows)
        (folder / "metadata.jsonl").write_bytes(text.encode(encoding, "surrogatepass"))
        read(folder)


@FEW
@given(
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=6),
    st.lists(st.lists(TEXTS | PICTURES, max_size=7), max_size=4),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1"]),
    st.sampled_from(["csv", "tsv"]),
)
def test_delimited_text(columns: list[str], rows: list[list[str]], end: str, encoding: str, suffix: str) -> None:
    separator = "," if suffix == "csv" else "\t"
    with odd_folder() as folder:
        text = end.join(separator.join(cells) for cells in [columns, *rows])
        (folder / f"metadata.{suffix}").write_bytes(
            text.encode(encoding, "replace" if encoding == "latin-1" else "surrogatepass")
        )
        read(folder)


@FEW
@given(st.binary(max_size=200), st.sampled_from(["csv", "tsv", "json", "jsonl", "parquet"]))
def test_any_bytes(content: bytes, suffix: str) -> None:
    with odd_folder() as folder:
        (folder / f"metadata.{suffix}").write_bytes(content)
        read(folder)


@FEW
@given(ROWS, st.integers(0, 400), st.integers(0, 255))
def test_parquet_whole_and_damaged(rows: list[dict[str, object]], place: int, byte: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    stream = io.BytesIO()
    try:
        pq.write_table(pa.Table.from_pylist(rows), stream)
    except (pa.ArrowException, UnicodeError, ValueError, OverflowError, TypeError):
        return  # nobody can have such a file
    content = bytearray(stream.getvalue())
    with odd_folder() as folder:
        (folder / "metadata.parquet").write_bytes(content)
        read(folder)
        content[place % len(content)] = byte
        (folder / "metadata.parquet").write_bytes(content)
        read(folder)


@FEW
@given(PICTURES, TEXTS, TEXTS)
def test_a_row_is_right_or_is_told(picture: str, caption: str, foil: str) -> None:
    with odd_folder() as folder:
        row = json.dumps({"image": picture, "caption": caption, "foil": foil})
        (folder / "metadata.jsonl").write_text(row)
        task = read(folder)
        if isinstance(task, Task):
            assert task.examples[0].captions == (caption, foil)
        else:
            assert "line 1" in task


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_table_of_any_editor_is_the_same_task(encoding: str, end: str) -> None:
    with odd_folder() as folder:
        rows = ["image,caption,foil", "1.png,caf\u00e9\u2028 a,b\u0085"]
        (folder / "metadata.csv").write_text(end.join(rows), newline="", encoding="utf-8")
        before = registry.task(folder)
        (folder / "metadata.csv").write_bytes(end.join([*rows, ""]).encode(encoding))
        assert (folder / "metadata.csv").read_bytes().startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE))
        after = registry.task(folder)
        assert after.revision == before.revision
        assert after.examples[0].captions == ("caf\u00e9\u2028 a", "b\u0085")


def test_a_caption_of_ten_megabytes_is_told_by_its_line() -> None:
    with odd_folder() as folder:
        for suffix, text in (
            ("jsonl", json.dumps({"image": "1.png", "caption": "a " * 5_000_000, "foil": "b"})),
            ("csv", f"image,caption,foil\n1.png,{'a ' * 5_000_000},b\n"),
        ):
            path = folder / f"metadata.{suffix}"
            path.write_text(text)
            said = read(folder)
            assert isinstance(said, str)
            assert "characters" in said
            assert ("line 1" if suffix == "jsonl" else "line 2") in said
            assert len(said) < 1000
            path.unlink()


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(PICTURES, TEXTS, TEXTS), min_size=1, max_size=3))
def test_a_run_is_whole_or_is_not_there(rows: list[tuple[str, str, str]]) -> None:
    with odd_folder() as folder, tempfile.TemporaryDirectory() as runs:
        lines = [json.dumps({"image": image, "caption": caption, "foil": foil}) for image, caption, foil in rows]
        (folder / "metadata.jsonl").write_text("\n".join(lines))
        try:
            run = compbench.run(folder, model="chance", runs=runs)
        except (DataError, UsageError):
            assert not any(Path(runs).iterdir())
        else:
            assert run.status == "done"
            assert len(run.done()) == len(rows)
