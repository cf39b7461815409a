"""Diffusion models make pictures of a task's captions and score each other's, as sets and runs like any other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import PIL.Image
import pytest

import compbench
from compbench import registry
from edits import edited
from tests.benchmarks.selfbench import Making, by_captions, made_set, measure

MAKING = Making(steps=2, guidance=2.0, seed=0)


@pytest.mark.slow
def test_each_model_scores_its_own_pictures_the_others_and_the_drawn_ones(
    folder_of: Callable[[str], Path], tmp_path: Path
) -> None:
    flow = edited(folder_of("sd3-no-t5"), tmp_path / "flow", "model_index.json", _max_sequence_length=0)
    models = ["tiny-sd", f"diffusion:{flow}"]
    folder = tmp_path / "selfbench"
    rows = measure("shapes", models, "tiny-clip", folder, MAKING, limit=2, draws=2)
    pictures = ["drawn", *models]
    assert [(row.pictures, row.model) for row in rows] == [(made, model) for made in pictures for model in models]
    assert all(row.n == 2 and row.low <= row.text <= row.high for row in rows)
    drawn = rows[0]
    assert (drawn.text, drawn.n_told, drawn.text_of_told) == (1, 2, 1)  # both know the drawn scenes
    sets = sorted(place for place in folder.iterdir() if (place / "metadata.jsonl").exists())
    assert len(sets) == 3
    sizes = {place.name: {size_of(file) for file in place.glob("*.png")} for place in sets}
    assert set(map(len, sizes.values())) == {1}
    assert sizes["shapes-by-tiny-sd"] == {(64, 64)}
    run = compbench.load_run("shapes-by-tiny-sd/tiny-sd", runs=folder / "runs")
    assert set(run.to_frame()["tag"]) <= {"Object", "Relation", "Both"}
    made = {file: file.stat().st_mtime_ns for place in sets for file in place.glob("*.png")}
    assert measure("shapes", models, "tiny-clip", folder, MAKING, limit=2, draws=2) == rows
    assert {file: file.stat().st_mtime_ns for file in made} == made


def size_of(file: Path) -> tuple[int, int]:
    with PIL.Image.open(file) as picture:
        return picture.size


def test_a_picture_depends_on_its_captions_and_the_seed_alone(tmp_path: Path) -> None:
    captioned = by_captions(registry.task("shapes").examples, 2)
    both = made_set(captioned, "tiny-sd", tmp_path / "both", MAKING)
    alone = made_set(captioned[1:], "tiny-sd", tmp_path / "alone", MAKING)
    for file in alone.glob("*.png"):
        assert file.read_bytes() == (both / file.name).read_bytes()
    assert len({file.read_bytes() for file in alone.glob("*.png")}) == 2


def test_pictures_that_were_made_otherwise_are_not_taken(tmp_path: Path) -> None:
    captioned = by_captions(registry.task("shapes").examples, 1)
    folder = made_set(captioned, "tiny-sd", tmp_path / "made", MAKING)
    with pytest.raises(SystemExit, match="its pictures were made otherwise"):
        made_set(captioned, "tiny-sd", folder, Making(steps=3, guidance=2.0, seed=0))


def test_captions_that_two_artists_drew_are_asked_once() -> None:
    examples = registry.task("emoji").examples
    captioned = by_captions(examples, None)
    assert len(captioned) == len(examples) / 2
    assert {tuple(example.tags["artist"] for example in alike) for alike in captioned} == {(("Twemoji",), ("Noto",))}


def test_a_task_of_another_form_is_refused() -> None:
    with pytest.raises(SystemExit, match="not of two pictures with a caption each"):
        by_captions(registry.task("digits").examples, None)
