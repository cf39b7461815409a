"""Files of scores and of tags, as editors, spreadsheets and data frames save them: a right result, or one line."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import fakes
from compbench.core.cells import read_table
from compbench.core.errors import DataError, UsageError
from compbench.runs.harness import import_scores
from compbench.store.frames import as_cells
from compbench_analysis.frames.breakdowns import read_tags

IDS = ("0", "1", "2")
TASK = fakes.Task(
    "three",
    tuple(fakes.Example(name, *(getattr(fakes.example(n), part) for part in ("images", "captions", "matches", "tags")))
          for n, name in enumerate(IDS)),
    fakes.MATCHING,
)  # fmt: skip
ROWS = [
    {"example_id": example_id, "image": i, "caption": c, "score": float(i == c) + 0.25 * i + 0.125 * c}
    for example_id in IDS
    for i in range(2)
    for c in range(2)
]
TEXT = pd.DataFrame(ROWS).to_csv(index=False)


def _lines(rows: list[dict[str, object]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _parquet(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[Path], None]:
    return lambda path: change(pd.DataFrame(ROWS)).to_parquet(path)


def _bytes(content: str, encoding: str = "utf-8") -> Callable[[Path], None]:
    return lambda path: path.write_bytes(content.encode(encoding)) and None


SEMICOLONS = "\n".join(line.replace(",", ";").replace(".", ",") for line in TEXT.split("\n"))
RIGHT = {
    "plain.csv": _bytes(TEXT),
    "UPPER.CSV": _bytes(TEXT),
    "mark.csv": _bytes(TEXT, "utf-8-sig"),
    "utf16.csv": _bytes(TEXT, "utf-16"),
    "crlf.csv": _bytes(TEXT.replace("\n", "\r\n")),
    "cr.csv": _bytes(TEXT.replace("\n", "\r")),
    "semicolons.csv": _bytes(TEXT.replace(",", ";")),
    "decimal-commas.csv": _bytes(SEMICOLONS),
    "spaces.csv": _bytes(TEXT.replace(",", ", ")),
    "capitals.csv": _bytes(TEXT.replace("example_id", "Example_ID").replace("score", " Score")),
    "trailing-comma.csv": _bytes(TEXT.replace("\n", ",\n")),
    "row-numbers.csv": _bytes(pd.DataFrame(ROWS).to_csv()),
    "trailing-blank.csv": _bytes(TEXT + "\n\n"),
    "floats.csv": _bytes(TEXT.replace("\n0,", "\n0.0,").replace("\n1,", "\n1.0,").replace("\n2,", "\n2.0,")),
    "tabs.tsv": _bytes(TEXT.replace(",", "\t")),
    "zipped.csv.gz": lambda path: path.write_bytes(gzip.compress(TEXT.encode())) and None,
    "lines.jsonl": _bytes(_lines(ROWS)),
    "separators.jsonl": _bytes(_lines([{**row, "answer": "yes\u2028no\u0085"} for row in ROWS])),
    "mark.jsonl": _bytes(_lines(ROWS), "utf-8-sig"),
    "list.json": _bytes(json.dumps(ROWS)),
    "whole.parquet": _parquet(lambda frame: frame),
    "numbers.parquet": _parquet(lambda frame: frame.assign(example_id=frame["example_id"].astype(int))),
    "floats.parquet": _parquet(lambda frame: frame.assign(example_id=frame["example_id"].astype(float))),
    "categories.parquet": _parquet(lambda frame: frame.astype({"example_id": "category"})),
    "index.parquet": _parquet(lambda frame: frame.set_index("example_id")),
    "half.parquet": _parquet(lambda frame: frame.assign(score=frame["score"].astype(np.float16))),
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_scores_are_read_however_they_were_saved(name: str, tmp_path: Path) -> None:
    RIGHT[name](tmp_path / name)
    run = import_scores(tmp_path / name, task=TASK, name="m", runs=tmp_path / "runs")
    expected = np.reshape([row["score"] for row in ROWS], (3, 2, 2))
    np.testing.assert_array_equal(run.table().scores, expected)


WRONG = {
    "empty.csv": ("", "cannot read .*empty.csv"),
    "percent.csv": (TEXT.replace("1.375", "87%"), "row 4 of 'percent.csv' has score '87%'; expected a number"),
    "big.csv": (TEXT.replace("1.375", "1e300"), "example '0' in 'big.csv' has a score of 1e.300; expected at most"),
    "negative.csv": (TEXT.replace("1.375", "-1e308"), "has a score of 1e.308"),
    "infinite.csv": (TEXT.replace("1.375", "inf"), "lacks a finite score"),
    "twice.csv": (TEXT.replace("caption", "image"), "has the column 'image' twice"),
    "twice.json": ('[{"example_id": 0, "example_id": 1}]', "a key occurs twice"),
    "latin.csv": (TEXT + "é", "line 14 of .* cannot be read as UTF-8"),
    "nul.csv": (TEXT + "\0", "holds a NUL character"),
    "letters.csv": ("example_id,image,choice\n0,0,A\n", "row 1 of 'letters.csv' has choice 'A'; expected a number"),
    "truths.jsonl": ('{"example_id": "0", "image": 0, "choice": true}', "has choice True; expected a number"),
    "lists.jsonl": ("[1, 2]\n", "row 1 of .* is not a JSON object"),
    "number.json": ("7", "row 1 of .* is not a JSON object"),
    "deep.json": ("[" * 100_000, "is not JSON"),
    "huge.jsonl": ('{"example_id": ' + "9" * 5000 + "}", "is not JSON"),
    "one-based.csv": (
        pd.DataFrame([{**row, "image": int(row["image"]) + 1} for row in ROWS]).to_csv(index=False),
        "has image 1, 1, 2, 2; expected whole numbers from 0 to 1, counted from 0",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_with_a_file_is_told_in_one_line(name: str, tmp_path: Path) -> None:
    content, message = WRONG[name]
    (tmp_path / name).write_bytes(content.encode("latin-1" if "latin" in name else "utf-8"))
    with pytest.raises(DataError, match=message) as raised:
        import_scores(tmp_path / name, task=TASK, name="m", runs=tmp_path / "runs")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "runs").exists()


def test_a_folder_or_a_device_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    for path in (tmp_path / "folder.csv", tmp_path / "absent.csv"):
        with pytest.raises(DataError, match="is not a file"):
            read_table(path)


def test_an_abstention_is_wrong_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"example_id": example_id, "image": i, "choice": str(i)} for example_id in IDS for i in range(2)]
    rows[3]["choice"] = ""
    pd.DataFrame(rows).to_csv(tmp_path / "choices.csv", index=False)
    frame = import_scores(tmp_path / "choices.csv", task=TASK, name="m", runs=tmp_path / "runs").to_frame()
    assert frame["text"].tolist() == [True, False, True]
    assert frame["text_tie"].tolist() == [False, True, False]
    assert "choices.csv: 1 of 6 choices are empty; an abstention counts as wrong" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["", " ", "a\x1b[31m", "a\nb", "\u202etxt"])
def test_a_model_needs_a_name_that_can_be_shown(name: str, tmp_path: Path) -> None:
    (tmp_path / "scores.csv").write_text(TEXT)
    with pytest.raises(UsageError, match="a model's name cannot be"):
        import_scores(tmp_path / "scores.csv", task=TASK, name=name, runs=tmp_path / "runs")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("id,region\n0,NA\n1,EU\n2,NA\n", ["NA", "EU", "NA"]),
        ("id,negation\n0,None\n1,some\n2,\n", ["None", "some", ""]),
        ("id,n_words\n0,3\n1,4\n2,\n", ["3", "4", ""]),
        ("id,code\n0,007\n1,7\n2,07\n", ["007", "7", "07"]),
        ("id,hard\n0,True\n1,False\n2,True\n", ["True", "False", "True"]),
        ("id;mood\n0;'=calm\n1;wild\n2;calm\n", ["=calm", "wild", "calm"]),
    ],
)
def test_tags_are_the_text_of_their_cells(text: str, expected: list[str], tmp_path: Path) -> None:
    (tmp_path / "TAGS.CSV").write_text(text)
    tags = read_tags(tmp_path / "TAGS.CSV")
    assert list(tags.index) == list(IDS)
    assert ["".join(letters) for letters in tags.iloc[:, 0]] == expected


def test_a_column_of_numbers_with_a_gap_holds_whole_numbers(tmp_path: Path) -> None:
    pd.DataFrame({"id": IDS, "n": [3, None, 4]}).to_parquet(tmp_path / "tags.parquet")
    assert read_tags(tmp_path / "tags.parquet")["n"].tolist() == [("3",), (), ("4",)]


def test_an_exported_frame_has_no_formula_and_reads_back(tmp_path: Path) -> None:
    frame = pd.DataFrame({"id": ["0", "1"], "=kind": ["=1+2", "@x"], "score": [-0.5, 1.0]})
    as_cells(frame).to_csv(tmp_path / "out.csv", index=False)
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert lines == ["id,'=kind,score", "0,'=1+2,-0.5", "1,'@x,1.0"]
    back = read_table(tmp_path / "out.csv")
    assert back.to_dict("list") == {"id": ["0", "1"], "=kind": ["=1+2", "@x"], "score": ["-0.5", "1.0"]}
