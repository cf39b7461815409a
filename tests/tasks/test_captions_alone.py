"""SugarCrepe++ without its pictures: captions compared with captions."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

import suites_on_disk as disk
from compbench import registry, run
from compbench.cli.app import main
from compbench.core.errors import DataError, UnreadableImage, UsageError
from compbench.core.examples import Image, ScoreTable, Task, Written
from compbench.core.metrics import BY_NAME
from compbench_analysis.frames import tables

TASK = "sugarcrepe-pp+tot"
Captured = pytest.CaptureFixture[str]

pytestmark = pytest.mark.usefixtures("own_cache")


def _place(folder: Path, files: disk.Files | None = None) -> Path:
    return disk.write(folder / "scpp", disk.sugarcrepe_pp() if files is None else files)


def _task(folder: Path, name: str = TASK) -> Task:
    return registry.task(name, data=_place(folder), is_offline=True)


def test_it_needs_no_pictures(tmp_path: Path) -> None:
    task = _task(tmp_path)
    assert (task.name, len(task.examples), list(task.metrics)) == (TASK, 10, ["tot"])
    example = task.examples[1]
    assert [image.source for image in example.images] == [Written("1 cats sleep"), Written("1 dogs sleep")]
    assert example.captions == ("1 sleeping cats", "1 dogs sleep")
    assert example.tags["tag"] == ("replace-obj",)
    assert len(_task(tmp_path, "sugarcrepe-pp-swap-obj+tot").examples) == 2


def test_another_caption_is_another_task(tmp_path: Path) -> None:
    rows = json.loads(disk.sugarcrepe_pp()["data/swap_obj.json"])
    rows[0]["caption"] = "0 cats doze"
    other = disk.sugarcrepe_pp() | {"data/swap_obj.json": disk.as_json(rows)}
    changed = registry.task(TASK, data=_place(tmp_path / "b", other))
    assert changed.revision != _task(tmp_path).revision
    rows[0]["caption"] = " "
    with pytest.raises(DataError, match="has an empty caption: ' '"):
        registry.task(TASK, data=_place(tmp_path / "c", other | {"data/swap_obj.json": disk.as_json(rows)}))


def test_the_two_captions_must_be_closer_to_one_another_than_to_the_foil() -> None:
    right: list[bool] = []
    for both, first, second in itertools.permutations((3.0, 2.0, 1.0)):
        scores = np.array([[[both, first], [second, 9.0]]])  # of the foil and itself nothing hangs
        right.append(bool(BY_NAME["tot"].outcome(ScoreTable(("0",), scores, np.eye(2, dtype=bool)[None]))[0]))
        assert right[-1] == (both == 3.0)
    assert np.mean(right) == pytest.approx(BY_NAME["tot"].chance(np.eye(2, dtype=bool)))
    tied = ScoreTable(("0",), np.array([[[2.0, 2.0], [1.0, 9.0]]]), np.eye(2, dtype=bool)[None])
    assert (bool(BY_NAME["tot"].outcome(tied)[0]), bool(BY_NAME["tot"].ties(tied)[0])) == (False, True)


def test_a_clip_compares_its_captions_and_reads_no_picture(tmp_path: Path) -> None:
    stored = run(TASK, model="tiny-clip", data=_place(tmp_path), runs=tmp_path / "runs", device="cpu", is_offline=True)
    (table,) = stored.tables().values()
    assert table.scores[:, 1, 1] == pytest.approx(1, abs=1e-6)  # a caption beside itself
    assert np.all(np.abs(table.scores) < 1 + 1e-6)
    # the same captions the other way round: of two captions there is one cosine
    swapped = json.loads(disk.sugarcrepe_pp()["data/swap_obj.json"])
    rows = [{**row, "caption": row["caption2"], "caption2": row["caption"]} for row in swapped]
    files = {f"data/{split}.json": disk.as_json(rows) for split in disk.SUGARCREPE_PP}
    other = run(TASK, model="tiny-clip", data=_place(tmp_path / "b", files), runs=tmp_path / "r", device="cpu")
    (turned,) = other.tables().values()
    assert turned.scores[:, 0, 0] == pytest.approx(table.scores[:, 0, 0], abs=1e-6)


def test_chance_is_a_third(tmp_path: Path) -> None:
    rows = [
        {"id": n, "filename": "a.jpg", "caption": f"{n} a", "caption2": f"{n} b", "negative_caption": f"{n} c"}
        for n in range(400)
    ]
    files = {f"data/{split}.json": disk.as_json(rows) for split in disk.SUGARCREPE_PP}
    stored = run(TASK, model="chance", data=_place(tmp_path, files), runs=tmp_path / "runs")
    frame = tables.tidy(stored)
    (row,) = [row for _, row in frame[frame["tag"] == tables.OVERALL].iterrows()]
    assert row["chance"] == pytest.approx(1 / 3)
    assert abs(row["value"] - 1 / 3) < 4 * np.sqrt(2 / 9 / 2000)


@pytest.mark.parametrize("model", ["tiny-sd", lambda images, captions: [[0.0, 0.0]] * 2])
def test_a_model_of_pictures_is_refused_before_it_is_loaded(model: object, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"compares captions with captions, but .* scores pictures: choose a model"):
        run(TASK, model=model, data=_place(tmp_path), runs=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_pictures_are_of_no_use_to_it(tmp_path: Path, capsys: Captured) -> None:
    more = ["--data", str(_place(tmp_path)), "--images", str(tmp_path), "-m", "chance", "--runs", str(tmp_path / "r")]
    assert main(["run", TASK, *more]) == 2
    assert "reads only captions; leave out --images" in capsys.readouterr().err
    assert main(["show-task", TASK, "--data", str(tmp_path / "scpp")]) == 0


def test_a_caption_in_a_picture_s_place_cannot_be_decoded() -> None:
    with pytest.raises(UnreadableImage, match="image 'x' is a caption in a picture's place: 'two cats'"):
        Image("x", Written("two cats")).decode()
    assert Image("x", Written("two cats")).identity() != Image("x", Written("two dogs")).identity()
