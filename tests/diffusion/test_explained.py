"""Where in the image: maps whose mean is known, stored with the run, shown in the report."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

import compbench
from compbench.cli.app import main
from compbench.core.errors import RunError, UsageError
from compbench.core.models import Runtime
from compbench.diffusion.classifier import DiffusionClassifier
from compbench.diffusion.denoiser import Denoiser
from compbench.diffusion.draws import seeded_bank
from compbench.diffusion.error_map import error_map
from compbench.runs import _overlays as overlays
from compbench.store.run import Run
from compbench.tasks.shapes import shapes
from compbench_analysis.report import Look, render


class _CornerDenoiser:
    """Its residual is 1 everywhere, and the caption's number in the first position; with timestep t it is t times that.

    So the map of captions 3 and 5 is 25 - 9 = 16 in one corner, times the mean square of the timesteps, else 0.
    """

    device, latent_shape = torch.device("cpu"), (2, 3, 3)

    def __init__(self) -> None:
        self.batch_sizes: list[int] = []

    def pixels(self, image):
        return torch.zeros(3, 4, 4)

    def encode_pixels(self, pixels):
        return torch.zeros(len(pixels), *self.latent_shape)

    def encode_captions(self, captions):
        return {"number": torch.tensor([float(caption) for caption in captions])}

    def residual(self, latents, noise, timesteps, conditioning):
        self.batch_sizes.append(len(latents))
        values = torch.ones(latents.shape)
        values[:, :, 0, 0] = conditioning["number"][:, None]
        return values * timesteps.view(-1, 1, 1, 1)


def _corner(denoiser: object, n: int = 4) -> DiffusionClassifier:
    return DiffusionClassifier(denoiser, seeded_bank(0), n, Runtime())  # type: ignore[arg-type]


def test_a_map_is_the_weighted_difference_of_the_errors_where_they_differ() -> None:
    weights = np.array([1.0, 0.5, 0.0, 2.0])
    timesteps = seeded_bank(0).timesteps[:4].astype(float)
    made = error_map(_corner(_CornerDenoiser()), PIL.Image.new("RGB", (4, 4)), ("3", "5"), weights=weights)
    assert made[0, 0] == pytest.approx(16 * (weights * timesteps**2).mean())
    assert np.count_nonzero(made) == 1
    absolute = error_map(
        _corner(_CornerDenoiser()), PIL.Image.new("RGB", (4, 4)), ("3", "5"), weights=weights, loss="l1"
    )
    assert absolute[0, 0] == pytest.approx(2 * (weights * timesteps).mean())


def test_a_map_does_not_depend_on_the_batch_size() -> None:
    made = []
    for size in (1, 3, 8):
        denoiser = _CornerDenoiser()
        made.append(
            error_map(_corner(denoiser), PIL.Image.new("RGB", (4, 4)), ("3", "5"), weights=np.ones(4), batch_size=size)
        )
        assert max(denoiser.batch_sizes) == min(size, 4)
    assert np.array_equal(made[0], made[1])
    assert np.array_equal(made[0], made[2])


def test_a_network_without_a_residual_is_refused() -> None:
    class Silent(Denoiser):
        device, latent_shape = _CornerDenoiser.device, _CornerDenoiser.latent_shape
        pixels, encode_pixels = _CornerDenoiser.pixels, _CornerDenoiser.encode_pixels
        encode_captions = _CornerDenoiser.encode_captions

    with pytest.raises(UsageError, match="no residual by position"):
        error_map(_corner(Silent()), PIL.Image.new("RGB", (4, 4)), ("3", "5"), weights=[1.0])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """tiny-sd on two examples of shapes, six draws, scored by the error in eps."""
    return compbench.run(
        "shapes", model="tiny-sd", draws=6, target="eps", limit=2, runs=tmp_path_factory.mktemp("runs")
    )


def test_the_mean_of_a_map_is_the_difference_of_the_stored_errors(run: Run) -> None:
    (example_id, _) = run.ids()
    made = compbench.explain(run, example_id)
    weights = run.rule.weights(run.draws())[:6]
    stored = run.measurements([example_id])[example_id].errors["l2"]  # [I, C, D]
    assert made.choices == ((0, 0, 1), (1, 1, 0))
    for (image, caption, other), shown in zip(made.choices, made.maps, strict=True):
        expected = ((stored[image, other].astype(float) - stored[image, caption]) * weights).mean()
        assert float(shown.astype(float).mean()) == pytest.approx(expected, rel=1e-5, abs=1e-7)
        assert shown.std() > 0
    scores = run.table(ids=[example_id]).scores[0]
    assert made.maps[0].mean() == pytest.approx(scores[0, 0] - scores[0, 1], rel=1e-5, abs=1e-7)


@pytest.mark.slow
def test_a_map_is_stored_with_the_run_and_shown_by_the_report(run: Run) -> None:
    (example_id, other) = run.ids()
    made = compbench.explain(run, example_id, image=1, captions=(0, 1), draws=2)
    with np.load(made.path.with_suffix(".npz")) as stored:
        assert np.array_equal(stored["maps"], made.maps)
        assert stored["choices"].tolist() == [[1, 0, 1]]
    with PIL.Image.open(made.path) as picture:
        assert min(picture.size) > 300
    assert main(["show", str(run.path)]) == 0  # the run reads as before
    page = render(run, Look(n_resamples=9))
    (data,) = (json.loads(block) for block in re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', page))
    maps = {example["id"]: example["x"] for example in data["examples"]}
    assert [heat["model"] for heat in maps[example_id]] == ["tiny-sd"]
    assert "mean of 2 draws" in maps[example_id][0]["about"]
    assert maps[other] == []
    made.path.write_bytes(b"torn")
    assert '"x": []' in render(run, Look(n_resamples=9))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"example_id": "object-9999"}, "no example named 'object-9999'; did you mean"),
        ({"image": 2}, "no image 2 in example"),
        ({"captions": (0, 2)}, "captions 0 and 2 .* cannot be compared"),
        ({"captions": (1, 1)}, "captions 1 and 1 .* cannot be compared"),
        ({"draws": 1001}, "1001 draws were asked for; expected 1 to 1000"),
    ],
)
def test_what_cannot_be_explained_is_told(run: Run, asked: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        compbench.explain(run, **{"example_id": run.ids()[0], **asked})  # type: ignore[arg-type]


def test_a_run_of_scores_and_one_of_other_data_cannot_be_explained(run: Run, tmp_path: Path) -> None:
    scored = compbench.run("shapes", model="chance", limit=2, runs=tmp_path)
    with pytest.raises(UsageError, match="has no maps: its model gives one score"):
        compbench.explain(scored, scored.ids()[0])
    task = shapes()
    fewer = dataclasses.replace(task, examples=tuple(example for example in task.examples if example.id in run.ids()))
    with pytest.raises(UsageError, match="was made with another task_revision"):
        compbench.explain(run, run.ids()[0], task=fewer)


def test_a_run_that_keeps_scores_alone_has_the_same_map(run: Run, tmp_path: Path) -> None:
    kept = compbench.run("shapes", model="tiny-sd", draws=6, target="eps", limit=2, keep="scores", runs=tmp_path)
    example_id = run.ids()[0]
    assert np.array_equal(compbench.explain(kept, example_id).maps, compbench.explain(run, example_id).maps)


def test_a_run_to_which_nothing_can_be_written_is_refused_before_it_is_loaded(run: Run, tmp_path: Path) -> None:
    copy = Run(shutil.copytree(run.path, tmp_path / "shapes/tiny-sd/copy", ignore=shutil.ignore_patterns("explain")))
    (copy.path / "explain").write_text("a file where the folder should be")
    said: list[str] = []
    with pytest.raises(RunError, match=r"cannot write to .*explain.*with a copy of the runs: --runs COPY"):
        compbench.explain(copy, copy.ids()[0], draws=1, say=said.append)
    assert said == []


def test_the_command_prints_where_the_picture_is(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    example_id = run.ids()[1]
    assert main(["explain", str(run.path), example_id, "--draws", "2", "--image", "0"]) == 0
    path = Path(capsys.readouterr().out.strip())
    assert path == run.path / "explain" / f"{example_id}.png"
    assert path.is_file()


def test_a_map_is_centred_at_zero_on_one_scale_for_all_pictures() -> None:
    grey = PIL.Image.new("RGB", (32, 32), (128, 128, 128))
    maps = [np.array([[1.0, 0.0], [0.0, -2.0]], np.float32), np.full((2, 2), 0.5, np.float32)]
    figure = overlays.overlays([overlays.Overlay(grey, heat, "a dog", "a $cat") for heat in maps])
    figure.draw_without_rendering()
    covered = [axis for axis in figure.axes if axis.get_title(loc="left")]
    first, second = (axis.images[0].get_array() for axis in covered)
    (strong, opposite, weak), grey_tone = (first[0, 0], first[-1, -1], second[16, 16]), 0.6 + 0.4 * 128 / 255
    assert strong[2] > strong[0] > strong[1]  # purple
    assert opposite[0] > opposite[1] > opposite[2]  # orange
    assert np.all(weak > strong)  # half as strong is half as dark, in the other picture too
    assert np.all(weak < grey_tone)
    assert covered[0].get_title(loc="left").splitlines() == ["purple: a dog", "orange: a $cat"]
