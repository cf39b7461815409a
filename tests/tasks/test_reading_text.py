"""Text of data sets as editors and programs write it: encodings, odd characters, identifiers and tags."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import fakes
import layouts_on_disk as layouts
from colours import colours
from compbench.cli.app import main
from compbench.core.errors import DataError
from compbench.tasks.classification import catalogue
from compbench_baselines.clip._templates import templates_for
from winoground_files import ROWS, read, write_jsonl, write_parquet

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return layouts.class_folders(tmp_path / "data", ["cat", "dog"])


def jsonl(folder: Path, *changes: dict[str, Any]) -> Path:
    """The examples file of a small data set, whose first rows have other cells."""
    rows = [row | (changes[n] if n < len(changes) else {}) for n, row in enumerate(ROWS[:3])]
    write_jsonl(folder, ROWS[:3])
    path = folder / "data" / "examples.jsonl"
    written = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("\n".join(json.dumps(old | new) for old, new in zip(written, rows, strict=True)), encoding="utf-8")
    return path


# JSON lines


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b", "\x1c"])
def test_a_caption_may_hold_any_character_that_json_allows(tmp_path: Path, separator: str) -> None:
    path = jsonl(tmp_path, {"caption_0": f"a cat{separator}on a mat"})
    escaped = read(tmp_path)
    path.write_text(path.read_text().replace(json.dumps(separator)[1:-1], separator), encoding="utf-8")
    if separator >= " ":  # JSON wants control characters escaped
        assert read(tmp_path).revision == escaped.revision
    assert escaped.examples[0].captions[0] == f"a cat{separator}on a mat"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_ignored(tmp_path: Path, encoding: str) -> None:
    path = jsonl(tmp_path)
    revision = read(tmp_path).revision
    path.write_text(path.read_text(), encoding=encoding)
    assert read(tmp_path).revision == revision


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'["id", 1]', "is not a JSON object"),
        (b'[["id", 1]]', "is not a JSON object"),
        (b"null", "is not a JSON object"),
        (b'{"id": ' + b"9" * 5000 + b"}", "is not a JSON object .*digits"),
        (b"[" * 100_000, "is not a JSON object"),
        (b'{"id": "caf\xe9"}', "cannot be read as UTF-8"),
        (b"version https://git-lfs.github.com/spec/v1", "is not a JSON object"),
    ],
)
def test_a_line_that_is_no_object_is_named(tmp_path: Path, line: bytes, message: str) -> None:
    path = jsonl(tmp_path)
    path.write_bytes(path.read_bytes() + b"\n\n" + line + b"\n")
    with pytest.raises(DataError, match=f"line 5 of .*examples.jsonl' {message}"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"caption_1": "half \ud83d"}, r"line 2 of .*: caption_1 holds half of a surrogate pair \(U\+D83D\)"),
        ({"caption_0": "a \0 cat"}, r"line 2 of .*: caption_0 holds a NUL"),
        ({"tag": "\udcff"}, r"line 2 of .*: tag holds half of a surrogate pair"),
        ({"id": 1.5}, r"line 2 of .* has id 1\.5; expected a whole number or text"),
        ({"id": None}, r"line 2 of .* has id None"),
        ({"id": True}, r"line 2 of .* has id True"),
        ({"num_main_preds": "one"}, r"line 2 of .* has num_main_preds 'one'"),
        ({"num_main_preds": 1.5}, r"line 2 of .* has num_main_preds 1\.5"),
        ({"collapsed_tag": 3}, r"line 2 of .* has collapsed_tag 3; expected text"),
        ({"caption_0": "   "}, "example 1 has an empty caption_0"),
        ({"id": "0"}, r"holds id 0 more than once \(0 in line 1 and '0' in line 2\)"),
    ],
)
def test_a_cell_that_cannot_be_used_is_named_with_its_line_and_column(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    jsonl(tmp_path, {}, change)
    with pytest.raises(DataError, match=message):
        read(tmp_path)


def test_missing_tags_are_absent_and_a_number_of_predicates_may_be_a_float(tmp_path: Path) -> None:
    nothing = dict.fromkeys(("collapsed_tag", "secondary_tag", "tag", "num_main_preds"))
    jsonl(tmp_path / "json", nothing, {"num_main_preds": 1.0, "collapsed_tag": "Relation,Object"})
    tags = [example.tags for example in read(tmp_path / "json").examples]
    assert tags[0] == {"tag": (), "visual": (), "fine": (), "predicates": ()}
    assert tags[1]["predicates"] == ("1 pred",)
    assert tags[1]["tag"] == ("Relation", "Object")
    rows = [ROWS[0] | {"num_main_preds": None}, ROWS[1] | {"num_main_preds": float("nan")}, *ROWS[2:]]
    assert read(write_parquet(tmp_path / "parquet", rows, n_files=1)).examples[0].tags["predicates"] == ()


@pytest.mark.parametrize("n", [200_000, 10_000_000])
def test_a_caption_of_megabytes_is_refused_at_once(tmp_path: Path, n: int, capsys: pytest.CaptureFixture[str]) -> None:
    jsonl(tmp_path, {"caption_1": "word " * (n // 5)})
    run = ["run", "winoground", "--data", str(tmp_path), "-m", "tiny-clip", "--runs", str(tmp_path / "runs")]
    assert main(run) == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"caption 1 of example '0' of task 'winoground' has {n:,} characters; expected at most 100,000" in said
    jsonl(tmp_path, {"caption_1": "x" * 20_000})
    assert main(run) == 1
    assert "has a word of 20,000 characters" in capsys.readouterr().err


def test_a_task_of_ones_own_is_looked_at_too() -> None:
    from compbench.runs.request import RunRequest
    from compbench.runs.resolve import resolve

    task = fakes.task(n=1)
    with pytest.raises(DataError, match=r"caption 0 of example .* holds half of a surrogate pair"):
        resolve(RunRequest(task=_with_caption(task, "\ud800"), model="chance"), lambda message: None)


def _with_caption(task: Any, caption: str) -> Any:
    import dataclasses

    first = task.examples[0]
    changed = dataclasses.replace(first, captions=(caption, *first.captions[1:]))
    return dataclasses.replace(task, examples=(changed, *task.examples[1:]))


# files of prompts and templates

GOOD = "prompt,classname,classidx\na photo of a cat.,cat,0\na photo of a dog.,dog,1\n"


@pytest.mark.parametrize(
    "content",
    [
        GOOD.encode("utf-8-sig").replace(b"\n", b"\r\n"),
        GOOD.encode("utf-16"),
        GOOD.replace("\n", "\n\n").encode(),
        GOOD.replace(",", ", ").encode(),
        b"classidx,classname,note,prompt\n0,cat,x,a photo of a cat.\n1,dog,,a photo of a dog.\n",
    ],
)
def test_prompts_are_the_same_however_a_program_saved_them(tmp_path: Path, data: Path, content: bytes) -> None:
    path = tmp_path / "own.csv"
    path.write_bytes(content)
    task = catalogue.imagefolder(data, prompts=path)
    assert task.examples[0].captions == ("a photo of a cat.", "a photo of a dog.")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (GOOD.replace("cat.", "c\xe4t.").encode("latin-1"), "line 2 of .* cannot be read as UTF-8"),
        (GOOD.replace("photo of a cat", "photo\0 of a cat").encode(), "line 2 of .*: prompt holds a NUL"),
        (GOOD.replace("a cat.", "a cat, sitting.").encode(), "line 2 of .* has 4 cells for 3 columns"),
        (
            GOOD.replace("a photo of a dog", '"a photo of a dog').encode(),
            r"line 3 of .* \(a quotation mark is not closed\)",
        ),
        (GOOD.replace(",", ";").encode(), "has columns prompt;classname;classidx and lacks .*separated by commas"),
        (GOOD.replace("cat,0", "cat,0.0").encode(), r"line 2 of .* has classidx '0\.0'"),
        (GOOD.replace("dog,1", "dog,¹").encode(), "line 3 of .* has classidx '¹'"),
        (GOOD.replace("dog,1", "dog," + "9" * 5000).encode(), "line 3 of .* has classidx '999"),
        (GOOD.replace("cat,0", "cat,1").replace("dog,1", "dog,2").encode(), "line 2 of .* calls class 1 'cat'"),
        (GOOD.replace("a cat", "x" * 200_000).encode(), "line 2 of .* more than 131,072 characters"),
        (b"", "has columns none and lacks"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer"),
    ],
)
def test_prompts_that_cannot_be_used_are_told_with_their_line(
    tmp_path: Path, data: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "own.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        catalogue.imagefolder(data, prompts=path)


def test_prompts_for_classes_that_differ_in_signs_alone_cannot_be_swapped(tmp_path: Path) -> None:
    data = layouts.class_folders(tmp_path / "data", ["C", "C++"])
    path = tmp_path / "own.csv"
    path.write_text("prompt,classname,classidx\nthe language C,C,0\nthe language C++,C++,1\n")
    assert catalogue.imagefolder(data, prompts=path).examples[0].captions == ("the language C", "the language C++")
    path.write_text("prompt,classname,classidx\nthe language C++,C++,0\nthe language C,C,1\n")
    with pytest.raises(DataError, match=r"calls class 0 'C\+\+'; class 0 of this task is 'C'"):
        catalogue.imagefolder(data, prompts=path)


def test_two_classes_with_one_prompt_tie(tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "own.csv"
    path.write_text("prompt,classname,classidx\na photo of a pet.,cat,0\na photo of a pet.,dog,1\n")
    run = ["run", "imagefolder", "--data", str(data), "--prompts", str(path), "-m", "tiny-clip"]
    assert main([*run, "--runs", str(tmp_path / "runs"), "--format", "json"]) == 0
    assert '"ties": 2' in capsys.readouterr().out


def test_a_byte_order_mark_is_no_part_of_a_template_or_a_grid(tmp_path: Path) -> None:
    path = tmp_path / "templates.txt"
    path.write_text("a photo of a {}.\nthe {}\u2028thing\n", encoding="utf-8-sig")
    assert templates_for(str(path), colours()) == ("a photo of a {}.", "the {}\u2028thing")
    grid = tmp_path / "grid.toml"
    grid.write_text('tasks = ["shapes"]\nmodels = ["chance"]\nlimit = 2\n', encoding="utf-8-sig")
    assert main(["run", "--config", str(grid), "--runs", str(tmp_path / "runs")]) == 0


# captions that a text encoder reads in another way


@pytest.mark.parametrize("model", ["tiny-clip", "tiny-sd"])
def test_what_a_tokenizer_does_not_read_is_said(tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]) -> None:
    long = "red " * 40
    cut = {"caption_0": f"{long}circle", "caption_1": f"{long}square"}
    special = {"caption_0": "a red <|endoftext|> circle", "caption_1": "a red <|endoftext|> square"}
    jsonl(tmp_path, cut, special)
    run = ["run", "winoground", "--data", str(tmp_path), "-m", model, "--runs", str(tmp_path / "runs")]
    assert main([*run, *(["-o", "draws=1"] if model == "tiny-sd" else []), "--format", "json"]) == 0
    said = capsys.readouterr().err
    assert "2 of 6" in said
    assert "and 2 of them differ only after that" in said
    assert "spell a special token of the tokenizer, which reads it as that token, not as text" in said
