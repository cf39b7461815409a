"""A user's own pictures and captions become the examples that their columns say."""

from __future__ import annotations

import json
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from compbench import registry
from compbench.core.errors import DataError, UsageError
from compbench.core.examples import Example
from own_pictures import draw, plain, write_csv, write_lines

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return draw(tmp_path / "my-set", "1.png", "2.png", "3.png")


def examples(folder: Path) -> list[Example]:
    return list(registry.task(folder).examples)


def only(folder: Path) -> Example:
    (example,) = examples(folder)
    return example


# forms


def test_an_image_a_caption_and_a_foil_are_one_by_two(folder: Path) -> None:
    example = only(write_csv(folder, "image,caption,foil\n1.png,a cat,a dog\n"))
    assert (example.id, example.captions, example.shape) == ("1", ("a cat", "a dog"), (1, 2))
    assert example.matches.tolist() == [[True, False]]
    assert example.images[0].source == folder / "1.png"


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("between", ["_", "", " ", "-"])
def test_numbered_columns_count_from_0_or_from_1(folder: Path, first: int, between: str) -> None:
    a, b = first, first + 1
    header = ",".join(f"{kind}{between}{number}" for kind in ("image", "Caption") for number in (a, b))
    example = only(write_csv(folder, f"{header}\n1.png,2.png,a cat,a dog\n"))
    assert example.shape == (2, 2)
    assert example.captions == ("a cat", "a dog")
    assert example.matches.tolist() == [[True, False], [False, True]]


def test_an_example_may_have_fewer_wrong_captions_than_another(folder: Path) -> None:
    text = "image,caption,wrong_1,wrong_2\n1.png,a cat,a dog,a cow\n2.png,a dog,a cat,\n"
    assert [example.shape for example in examples(write_csv(folder, text))] == [(1, 3), (1, 2)]


def test_of_several_pictures_the_first_fits_the_caption(folder: Path) -> None:
    example = only(write_csv(folder, "image_1,image_2,image_3,caption\n1.png,2.png,3.png,a cat\n"))
    assert example.matches.tolist() == [[True], [False], [False]]


def test_all_captions_that_are_not_wrong_fit_one_picture(folder: Path) -> None:
    example = only(write_csv(folder, "image,caption_1,caption_2,foil\n1.png,a cat,one cat,a dog\n"))
    assert example.matches.tolist() == [[True, True, False]]


def test_wrong_captions_beside_a_diagonal_fit_no_picture(folder: Path) -> None:
    text = "image_0,image_1,caption_0,caption_1,foil\n1.png,2.png,a cat,a dog,a cow\n"
    assert only(write_csv(folder, text)).matches.tolist() == [[True, False, False], [False, True, False]]


@pytest.mark.parametrize(
    ("row", "matches"),
    [
        ({"images": ["1.png", "2.png"], "captions": ["a", "b"]}, [[1, 0], [0, 1]]),
        ({"images": ["1.png"], "captions": ["a", "b", "c"]}, [[1, 0, 0]]),
        ({"images": "1.png", "captions": ["a", "b"], "matches": [0, 1]}, [[0, 1]]),
        ({"images": ["1.png", "2.png"], "captions": "a", "matches": [0, 1]}, [[0], [1]]),
        ({"images": ["1.png", "2.png"], "captions": ["a", "b", "c"], "matches": [[1, 0, 0], [0, 1, 1]]}, None),
        ({"images": ["1.png", "2.png"], "captions": ["a", "b"], "matches": [[False, True], [True, False]]}, None),
        ({"file_name": "1.png", "text": "a", "foils": ["b", "c"]}, [[1, 0, 0]]),
        ({"image_0_file_name": "1.png", "image_1_file_name": "2.png", "text_0": "a", "text_1": "b"}, [[1, 0], [0, 1]]),
    ],
)
@pytest.mark.parametrize("kind", ["jsonl", "csv", "json", "parquet"])
def test_lists_and_the_hub_s_names_are_read_from_any_file(
    folder: Path, kind: str, row: dict[str, object], matches: list[list[int]] | None
) -> None:
    if kind == "jsonl":
        write_lines(folder, [row])
    elif kind == "json":
        (folder / "metadata.json").write_text(json.dumps([row]))
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist([row]), folder / "metadata.parquet")
    else:
        cells = {name: cell if isinstance(cell, str) else json.dumps(cell) for name, cell in row.items()}
        pd.DataFrame([cells]).to_csv(folder / "metadata.csv", index=False)
    np.testing.assert_array_equal(only(folder).matches, np.array(matches or row["matches"], bool))


def test_examples_of_several_shapes_stand_in_one_manifest(folder: Path) -> None:
    rows = [
        {"image": "1.png", "caption": "a", "foil": "b"},
        {"image_0": "1.png", "image_1": "2.png", "caption_0": "a", "caption_1": "b"},
    ]
    assert [example.shape for example in examples(write_lines(folder, rows))] == [(1, 2), (2, 2)]
    (folder / "metadata.jsonl").unlink()
    header = "image,caption,foil,image_0,image_1,caption_0,caption_1"
    text = f"{header}\n1.png,a,b,,,,\n,,,1.png,2.png,a,b\n"
    assert [example.shape for example in examples(write_csv(folder, text))] == [(1, 2), (2, 2)]


# ids, groups, tags


def test_ids_groups_and_tags_are_text(folder: Path) -> None:
    rows = [
        {"id": 7, "image": "1.png", "caption": "a", "foil": "b", "group": 3, "kind": "x; y", "n": 2.0, "ok": True},
        {"id": "8", "image": "2.png", "caption": "a", "foil": "b", "kind": ["z"], "n": None},
    ]
    first, second = examples(write_lines(folder, rows))
    assert (first.id, first.group) == ("7", "3")
    assert first.tags == {"kind": ("x", "y"), "n": ("2",), "ok": ("true",)}
    assert second.tags == {"kind": ("z",), "n": (), "ok": ()}


def test_examples_of_one_picture_are_one_group_unless_there_are_groups(folder: Path) -> None:
    text = "image,caption,foil{}\n1.png,a,b{}\n1.png,a,c{}\n2.png,a,b{}\n"
    task = registry.task(write_csv(folder, text.format("", "", "", "")))
    assert [example.group for example in task.examples] == ["1", "1", ""]
    assert any("2 examples share their pictures with another" in note for note in task.notes)
    write_csv(folder, text.format(",group", ",x", ",y", ",y"))
    assert [example.group for example in examples(folder)] == ["x", "y", "y"]


def test_examples_that_share_some_of_their_pictures_are_counted(folder: Path) -> None:
    pairs = [{"images": ["1.png", other], "captions": ["a cat", "a dog"]} for other in ("2.png", "3.png")]
    (note,) = registry.task(write_lines(folder, pairs)).notes
    assert (
        "2 examples share some of their pictures with another and not all; intervals treat them as independent" in note
    )
    assert not registry.task(write_lines(folder, [{**row, "group": "one"} for row in pairs])).notes
    apart = [pairs[0], {"image": "3.png", "caption": "a cat", "foil": "a dog"}]
    assert not registry.task(write_lines(folder, apart)).notes


def test_a_column_that_looks_like_a_caption_and_is_none_is_told_once(folder: Path) -> None:
    text = "image,caption,foil,caption_source\n1.png,a,b,web\n2.png,a,b,web\n"
    task = registry.task(write_csv(folder, text))
    assert task.notes == ("metadata.csv: 'caption_source' is read as a tag, not as pictures or captions",)


# identity and names


@pytest.mark.parametrize("column", ["correct", "Answer", "label"])
def test_a_column_that_seems_to_say_which_caption_is_right_is_told(folder: Path, column: str) -> None:
    def notes(header: str) -> tuple[str, ...]:
        n_cells = header.count(",") + 1
        cells = ["1.png", "a cat", "a dog", "[0, 1]", "1"] if "matches" in header else ["1.png", "a cat", "a dog", "1"]
        row = ",".join(f'"{cell}"' for cell in cells[:n_cells])
        return registry.task(write_csv(folder, f"{header}\n{row}\n")).notes

    (said,) = notes(f"image,caption_0,caption_1,{column}")
    assert f"{column!r} is read as a tag and does not say which caption is right" in said
    assert not notes(f"image,caption,foil,{column}")
    assert not notes(f"image,caption_0,caption_1,matches,{column}")


def test_a_moved_folder_is_the_same_task(folder: Path, tmp_path: Path) -> None:
    before = registry.task(write_csv(folder, "image,caption,foil\n1.png,a,b\n"))
    moved = shutil.move(folder, tmp_path / "elsewhere" / "my-set") if (tmp_path / "elsewhere").mkdir() is None else ""
    after = registry.task(Path(moved))
    assert (after.name, after.revision) == (before.name, before.revision) == ("my-set", before.revision)


def test_another_picture_caption_or_match_is_another_revision(folder: Path) -> None:
    def revision(**changed: object) -> str:
        row = {"images": ["1.png", "2.png"], "captions": ["a", "b"], "matches": [[1, 0], [0, 1]], "kind": "x"}
        return registry.task(write_lines(folder, [{**row, **changed}])).revision

    plain_one = revision()
    others = [revision(captions=["a", "c"]), revision(matches=[[0, 1], [1, 0]]), revision(images=["1.png", "3.png"])]
    assert revision(kind="y") == plain_one
    assert len({plain_one, *others}) == 4
    plain(folder / "1.png", colour=9)
    assert revision() != plain_one


@pytest.mark.parametrize(
    ("place", "name"),
    [("my-set", "my-set"), ("my-set/metadata.csv", "my-set"), ("my-set/hard.csv", "my-set-hard")],
)
def test_the_task_is_called_like_its_folder(folder: Path, place: str, name: str) -> None:
    write_csv(folder, "image,caption,foil\n1.png,a,b\n")
    shutil.copy(folder / "metadata.csv", folder / "hard.csv")
    assert registry.task(str(folder.parent / place)).name == name


def test_a_folder_here_is_found_by_its_name_and_a_registered_task_goes_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("mine", "shapes"):
        write_csv(draw(Path(name), "1.png"), "image,caption,foil\n1.png,a,b\n")
    assert registry.task("mine").name == "mine"
    assert len(registry.task("shapes").examples) == 400
    with pytest.raises(UsageError, match=r"would be named 'shapes', which is already a task of compbench.*NAME --data"):
        registry.task("./shapes")
    assert registry.task("own", data=Path("shapes")).name == "own"
    with pytest.raises(UsageError, match="cannot be called 'a b'"):
        registry.task("a b", data=Path("shapes"))
    with pytest.raises(UsageError, match="leave out --data"):
        registry.task("./mine", data=Path("mine"))


def test_a_misspelt_task_is_not_taken_for_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="did you mean 'shapes'"):
        registry.task("shaps")
    (tmp_path / "shaps").mkdir()
    with pytest.raises(UsageError, match=r"did you mean 'shapes'.*folder 'shaps' has no metadata.jsonl"):
        registry.task("shaps")
    with pytest.raises(DataError, match="no file or folder"):
        registry.task("./shap")


def test_names_of_files_are_found_however_they_are_written(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    folder = draw(tmp_path / "s", f"{decomposed}/{composed}.png", "a/b.png")
    text = f"image,caption,foil\n{composed}/{decomposed}.png,a,b\na\\b.png,a,b\n./a/b.png,a,c\n"
    names = [example.images[0].name for example in examples(write_csv(folder, text))]
    assert names == [f"{composed}/{composed}.png", "a/b.png", "a/b.png"]


def test_links_that_lead_out_are_followed_and_counted_or_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from compbench.cli.app import main

    plain(tmp_path / "elsewhere.png")
    (folder / "link.png").symlink_to(tmp_path / "elsewhere.png")
    write_csv(folder, "image,caption,foil\n1.png,a,b\nlink.png,a,b\n")
    assert main(["check", str(folder)]) == 0
    assert "1 of 2 pictures are links that lead out of" in capsys.readouterr().err
    assert main(["check", str(folder), "--no-follow-links"]) == 1
    assert "links are not followed here" in capsys.readouterr().out
    assert main(["run", str(folder), "-m", "chance", "--runs", str(tmp_path / "runs")]) == 0
    assert "1 of 2 image files are links that lead out of" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl"])
def test_two_manifests_in_a_folder_are_told_apart_by_the_user(folder: Path, name: str) -> None:
    write_csv(folder, "image,caption,foil\n1.png,a,b\n")
    write_lines(folder, [{"image": "1.png", "caption": "a", "foil": "b"}])
    with pytest.raises(UsageError, match=r"holds metadata.jsonl and metadata.csv; name one of them"):
        registry.task(folder)
    assert len(registry.task(folder / name).examples) == 1


def test_a_manifest_one_folder_below_is_pointed_at(tmp_path: Path) -> None:
    write_csv(draw(tmp_path / "s" / "train", "1.png"), "image,caption,foil\n1.png,a,b\n")
    with pytest.raises(DataError, match=r"no table of examples in .*there is one in '.*train': give that folder"):
        registry.task(tmp_path / "s")
