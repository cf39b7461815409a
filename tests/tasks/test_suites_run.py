"""The suites from a user's folder through the store to what their papers print."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import suites_on_disk as disk
from compbench import run
from compbench.cli.app import main
from compbench.core.errors import UsageError
from compbench.store.run import Run
from compbench_analysis.frames import tables
from compbench_analysis.frames.compare import compare
from compbench_analysis.frames.signature import signature

Captured = pytest.CaptureFixture[str]
# task -> metric -> the closed form for random scores
CHANCE: dict[str, dict[str, float]] = {
    "sugarcrepe": {"text": 1 / 2, "macro": 1 / 2},
    "sugarcrepe-pp": {"text": 1 / 3, "macro": 1 / 3},
    "bivlc": {
        "text": 1 / 4,
        "image": 1 / 4,
        "group": 1 / 6,
        "ipos_2t": 1 / 2,
        "ineg_2t": 1 / 2,
        "tpos_2i": 1 / 2,
        "tneg_2i": 1 / 2,
    },
    "colorswap": {"text": 1 / 4, "image": 1 / 4, "group": 1 / 6, "group_match": 1 / 2},
    "vismin": {"text": 1 / 4, "image": 1 / 4, "group": 1 / 6, "group_match": 1 / 2},
    "naturalbench-retrieval": {"text": 1 / 4, "image": 1 / 4, "group": 1 / 6, "group_match": 1 / 2},
    "cola": {"image": 1 / 4},
    "mmvp-vlm": {"image": 1 / 4},
    "mmvp-vlm+text-side": {"text": 1 / 4},
    "mmvp-vlm+2x2": {"text": 1 / 4, "image": 1 / 4, "group": 1 / 6, "group_match": 1 / 2},
    "whatsup-a": {"text": 1 / 4, "pair": 1 / 16, "set": 1 / 256},
    "whatsup-b": {"text": 1 / 4, "pair": 1 / 16, "set": 1 / 256},
    "coco-spatial-one": {"text": 1 / 2},
    "gqa-spatial-two": {"text": 1 / 2},
    "valse": {"text": 1 / 2, "macro": 1 / 2},
    "aro-relation": {"text": 1 / 2, "macro": 1 / 2},
    "aro-attribution": {"text": 1 / 2, "macro": 1 / 2},
    "aro-coco-order": {"text": 1 / 5},
}


pytestmark = pytest.mark.usefixtures("own_cache")


def _place(name: str, folder: Path) -> Path:
    return disk.write(folder / "data" / name, disk.SUITES[name][0]())


def _run(name: str, folder: Path, model: str = "chance", **options: object) -> Run:
    return run(name, model=model, data=_place(name, folder), runs=folder / "runs", is_offline=True, **options)  # pyright: ignore[reportArgumentType]


def _overall(stored: Run) -> dict[str, dict[str, object]]:
    frame = tables.tidy(stored)
    return {str(row["metric"]): dict(row) for _, row in frame[frame["tag"] == tables.OVERALL].iterrows()}


@pytest.mark.parametrize("name", CHANCE)
def test_a_run_comes_to_its_official_metrics_and_their_chance(name: str, tmp_path: Path) -> None:
    rows = _overall(_run(name, tmp_path))
    assert {metric: row["chance"] for metric, row in rows.items()} == pytest.approx(CHANCE[name])
    assert all(row["n"] == row["n_total"] for row in rows.values())


def test_chance_on_many_sets_comes_to_the_closed_forms(tmp_path: Path) -> None:
    relations = ("on", "under", "left_of", "right_of")
    rows = [
        {"image_path": f"a_{relation}_{n}.jpeg", "caption_options": [f"{relation} {n} {c}" for c in range(4)]}
        for n in range(300)
        for relation in relations
    ]
    one = disk.encoded(0, (8, 8), kind="JPEG")
    files = {f"controlled_images/{row['image_path']}": one for row in rows}
    place = disk.write(tmp_path / "many", {"controlled_images_dataset.json": disk.as_json(rows), **files})
    found = _overall(run("whatsup-a", model="chance", data=place, runs=tmp_path / "runs", is_offline=True))
    assert found["set"]["method"] == "clustered"
    for metric, n in (("text", 1200), ("pair", 600), ("set", 300)):
        value, chance = float(str(found[metric]["value"])), float(str(found[metric]["chance"]))
        assert abs(value - chance) < 4 * np.sqrt(chance * (1 - chance) / n)


@pytest.mark.parametrize(
    "name", ["sugarcrepe-swap-obj", "sugarcrepe-pp-swap-obj", "whatsup-b", "aro-flickr-order", "vismin"]
)
def test_tiny_clip_scores_every_shape(name: str, tmp_path: Path) -> None:
    stored = _run(name, tmp_path, "tiny-clip", device="cpu")
    assert len(stored.done()) == disk.SUITES[name][1]
    assert all(np.isfinite(table.scores).all() for table in stored.tables().values())


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["sugarcrepe-swap-obj", "sugarcrepe-pp-swap-obj", "whatsup-b", "aro-flickr-order", "vismin"]
)
def test_tiny_sd_measures_every_shape(name: str, tmp_path: Path) -> None:
    stored = _run(name, tmp_path, "tiny-sd", device="cpu", draws=2, limit=2)
    assert len(stored.done()) == 2
    assert all(np.isfinite(table.scores).all() for table in stored.tables().values())


@pytest.mark.parametrize(("model", "options"), [("tiny-clip", {}), ("tiny-sd", {"draws": 2})])
def test_the_small_models_score_a_set_of_ones_own_in_every_shape(
    model: str, options: dict[str, object], tmp_path: Path
) -> None:
    shapes = [(1, 2), (1, 5), (2, 1), (2, 2), (2, 3), (3, 3)]
    names = [f"{n}.png" for n in range(3)]
    rows = [
        {"images": names[:i], "captions": [f"a red circle and {n}" for n in range(c)], "matches": np.eye(i, c).tolist()}
        for i, c in shapes
    ]
    files = {name: disk.encoded(n, (16, 16), kind="PNG") for n, name in enumerate(names)}
    lines = "\n".join(map(json.dumps, rows)).encode()
    place = disk.write(tmp_path / "mine", {"metadata.jsonl": lines, **files})
    stored = run(place, model=model, runs=tmp_path / "runs", device="cpu", **options)  # pyright: ignore[reportArgumentType]
    assert sorted(stored.tables()) == shapes
    assert all(table.scores.shape[1:] == shape for shape, table in stored.tables().items())
    assert all(np.isfinite(table.scores).all() for table in stored.tables().values())


def test_tiny_clip_sees_the_box_and_not_the_whole_picture(tmp_path: Path) -> None:
    box, whole = (_run(name, tmp_path, "tiny-clip", device="cpu") for name in ("aro-relation", "aro-relation+mteb"))
    (cut,), (full,) = box.tables().values(), whole.tables().values()
    assert not np.allclose(cut.scores, full.scores)


def test_two_protocols_are_two_runs_that_are_never_compared(tmp_path: Path) -> None:
    official, other = (_run(name, tmp_path) for name in ("mmvp-vlm", "mmvp-vlm+2x2"))
    assert official.key.digest != other.key.digest
    assert "task:mmvp-vlm+2x2@" in signature(other)
    with pytest.raises(UsageError, match="they are of different tasks; compare runs of one task"):
        compare([official, other])


def test_a_suite_says_how_it_can_be_judged_before_its_data_are_there(capsys: Captured) -> None:
    assert main(["list", "tasks", "mmvp-vlm", "--format", "csv"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in ("mmvp-vlm,image,", "mmvp-vlm+text-side,text,", "mmvp-vlm+2x2,"))
    assert "MMVP/MMVP_VLM (read at 211372d); fetched" in said
    assert main(["list", "tasks", "whatsup-a+labels-corrected"]) == 0
    assert "give --data DIR" in capsys.readouterr().out
    assert main(["list", "tasks", "shapes"]) == 2
    assert (
        "task 'shapes' has no protocols to list; for its examples, run compbench show-task shapes"
        in capsys.readouterr().err
    )


def test_the_command_runs_a_protocol_and_shows_it_by_its_name(tmp_path: Path, capsys: Captured) -> None:
    place, runs = str(_place("mmvp-vlm+2x2", tmp_path)), str(tmp_path / "runs")
    assert main(["run", "mmvp-vlm+2x2", "--model", "chance", "--data", place, "--runs", runs]) == 0
    said = capsys.readouterr()
    assert "135 examples expected, 2 found" in said.err
    assert main(["show", "mmvp-vlm+2x2/chance", "--runs", runs, "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["task"] for row in rows} == {"mmvp-vlm+2x2"}


def test_examples_whose_pictures_are_missing_are_skipped_only_when_that_is_chosen(
    tmp_path: Path, capsys: Captured
) -> None:
    files = disk.sugarcrepe()
    del files["val2017/000000000002.jpg"]
    place, runs = str(disk.write(tmp_path / "few", files)), str(tmp_path / "runs")
    command = ["run", "sugarcrepe-swap-att", "--model", "tiny-clip", "--data", place, "--runs", runs, "--device", "cpu"]
    assert main(command) == 1
    assert "1 of 3 pictures are not in" in capsys.readouterr().err
    assert main([*command, "--skip-unreadable"]) == 0
    assert main(["show", "sugarcrepe-swap-att/tiny-clip", "--runs", runs, "--full"]) == 0
    assert "skipped:1@" in capsys.readouterr().out
