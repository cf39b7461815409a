"""The price of models that learn: what a dry run counts is what the run then makes, and what is kept costs nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from safetensors import safe_open

from colours import colours
from compbench import run
from compbench.cli import listing
from compbench.core.examples import Classes, Example, Image, Task
from compbench.core.metrics import CLASSIFYING
from compbench.core.models import ModelSpec, Runtime
from compbench.diffusion.families import sd_unet
from compbench.runs.plan import Plan, plan
from compbench.runs.request import RunRequest
from compbench.runs.resolve import resolve
from compbench.store.run import Run
from compbench_analysis.text import show
from compbench_baselines.classifiers.trained import LogisticRegression, SmallResNet
from compbench_baselines.generative._diffusion_model import word_for
from compbench_baselines.generative._mid_block import MidBlock
from compbench_baselines.generative.features import SDFeatures
from compbench_baselines.generative.synthetic import SyntheticSD
from compbench_baselines.training import probes

N_TEST, N_TRAINING = 6, 9  # pictures of three classes
TASK = colours(n=2, n_training=3)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(probes, "_SECONDS", 0.02)  # how long something takes is not looked at here
    return tmp_path / "cache" / "compbench"


def features(folder: Path, **options: object) -> SDFeatures:
    return dataclasses.replace(SDFeatures(base=str(folder), dtype="float32", epochs=2), **options)  # pyright: ignore


def block(spec: SDFeatures) -> MidBlock:
    """What a run of `spec` reads features with."""
    source = spec.source()
    assert source is not None
    return MidBlock(spec, sd_unet.load(Path(spec.base)), word_for(source), Runtime("cpu"))


def synthetic(folder: Path, **options: object) -> SyntheticSD:
    small = {"n_per_class": 3, "steps": 2, "architecture": "small-resnet", "size_px": 8, "epochs": 2}
    return SyntheticSD(base=str(folder), dtype="float32", **(small | options))  # pyright: ignore


def planned(spec: ModelSpec, runs: Path, task: Task = TASK, **options: object) -> Plan:
    return plan(task, model=spec, runs=runs, device="cpu", **options)  # pyright: ignore


def made(spec: ModelSpec, runs: Path, task: Task = TASK, **options: object) -> Run:
    return run(task, model=spec, runs=runs, device="cpu", **options)  # pyright: ignore


def n_made(stored: Run) -> int:
    return show.cost(stored).n_evaluations


class TestFeatures:
    def test_a_dry_run_counts_what_the_run_then_makes(self, small_sd_folder: Path, tmp_path: Path) -> None:
        spec = features(small_sd_folder)
        cold = planned(spec, tmp_path / "a")
        assert (cold.evaluations, cold.preparing_evaluations) == (N_TRAINING + N_TEST,) * 2
        assert cold.trained_inputs == 2 * N_TRAINING
        assert n_made(made(spec, tmp_path / "a")) == cold.evaluations
        warm = planned(spec, tmp_path / "b")
        assert (warm.evaluations, warm.trained_inputs, warm.kept_bytes) == (0, 0, 0)
        again = made(spec, tmp_path / "b")
        assert n_made(again) == 0
        assert "0 evaluations, since earlier runs made the pictures or features" in show.to_text([again], full=True)

    def test_what_is_kept_costs_nothing(self, small_sd_folder: Path, tmp_path: Path) -> None:
        spec = features(small_sd_folder)
        assert TASK.training is not None
        shown = [example.images[0] for example in TASK.training()]
        block(spec).make(shown[:4])
        half = planned(spec, tmp_path)
        assert half.evaluations == N_TRAINING + N_TEST - 4
        assert n_made(made(spec, tmp_path)) == half.evaluations

    def test_another_timestep_keeps_the_latents(self, small_sd_folder: Path, tmp_path: Path, cache: Path) -> None:
        first = planned(features(small_sd_folder), tmp_path / "a")
        made(features(small_sd_folder), tmp_path / "a")
        other = features(small_sd_folder, timestep=500)
        second = planned(other, tmp_path / "b")
        assert second.evaluations == first.evaluations
        assert first.kept_bytes is not None
        assert second.kept_bytes is not None
        n_pictures, latents = N_TRAINING + N_TEST, 4 * 2 * 2 * 4  # bytes of float32
        assert first.kept_bytes - second.kept_bytes == n_pictures * latents
        before = _kept_bytes(cache)
        made(other, tmp_path / "b")
        assert _kept_bytes(cache) - before == second.kept_bytes

    def test_a_limit_is_priced_as_it_is_run(self, small_sd_folder: Path, tmp_path: Path) -> None:
        spec = features(small_sd_folder, head="logistic", train_per_class=2)
        limited = planned(spec, tmp_path, limit=3)
        assert (limited.evaluations, limited.trained_inputs) == (2 * 3 + 3, 2 * 3)
        assert n_made(made(spec, tmp_path, limit=3)) == limited.evaluations
        rest = planned(spec, tmp_path)
        assert (rest.evaluations, rest.trained_inputs) == (3, 0)  # the other three test pictures
        assert n_made(made(spec, tmp_path)) == N_TEST + 2 * 3
        assert planned(spec, tmp_path).is_done

    def test_operations_and_time_are_told_where_the_weights_are(self, small_sd_folder: Path, tmp_path: Path) -> None:
        told = planned(features(small_sd_folder), tmp_path)
        assert told.tflops is not None
        assert told.seconds is not None
        assert told.tflops > 0
        assert told.seconds > 0
        text = " ".join(listing.plans([told], "table").split())
        assert "at most 15 evaluations of half a network read features of pictures; 18 inputs are trained on" in text

    def test_a_dry_run_reads_no_training_picture_and_makes_no_folder(
        self, small_sd_folder: Path, tmp_path: Path, cache: Path
    ) -> None:
        task = dataclasses.replace(TASK, training=lambda: _unreadable(TASK))
        for spec in (features(small_sd_folder), SmallResNet(epochs=2), LogisticRegression()):
            told = planned(spec, tmp_path / "runs", task)
            assert told.folder is None
            assert "nothing is stored yet" in listing.plans([told], "table")
        for name in ("features", "trained", "looks"):
            assert not (cache / name).exists()
        assert not (tmp_path / "runs").exists()

    @pytest.mark.slow
    def test_imagenet_is_priced_by_arithmetic(self) -> None:
        # sd2, whose weights are not here: latents of 4 x 64 x 64 float32, features of 1,280 x 8 x 8 float16
        n_training, n_test = 1_281_167, 50_000
        task = _imagenet(n_training, n_test)
        price = SDFeatures(base="sd2", epochs=30).preparation(task, task.examples, None)
        assert price.evaluations == n_training + n_test
        assert price.trained == 30 * n_training
        assert price.bytes == (n_training + n_test) * (65_536 + 163_840)
        few = SDFeatures(base="sd2", train_per_class=50).preparation(task, task.examples[:100], None)
        assert few.evaluations == 1000 * 50 + 100
        made_up = SyntheticSD().preparation(task, task.examples, None)
        assert (made_up.pictures, made_up.evaluations) == (500_000, 500_000 * 25 * 2)
        assert made_up.trained == 90 * 450_000
        assert made_up.bytes == 500_000 * 3 * 512**2


class TestSynthetic:
    def test_a_dry_run_counts_what_the_run_then_makes(self, small_sd_folder: Path, tmp_path: Path, cache: Path) -> None:
        spec = synthetic(small_sd_folder)
        cold = planned(spec, tmp_path / "a")
        assert (cold.generated_pictures, cold.evaluations, cold.trained_inputs) == (9, 9 * 2 * 2, 2 * 3 * 2)
        assert cold.kept_bytes is not None
        assert n_made(made(spec, tmp_path / "a")) == cold.evaluations
        made_files = [*cache.rglob("*.png"), *cache.rglob("model.safetensors")]
        assert sum(file.stat().st_size for file in made_files) <= 1.1 * cold.kept_bytes
        for file in [*sorted(cache.rglob("*.png"))[:4], *cache.rglob("model.safetensors")]:
            file.unlink()
        half = planned(spec, tmp_path / "b")
        assert (half.generated_pictures, half.evaluations, half.trained_inputs) == (4, 4 * 2 * 2, 12)
        assert n_made(made(spec, tmp_path / "b")) == half.evaluations
        warm = planned(spec, tmp_path / "c")
        assert (warm.evaluations, warm.trained_inputs, warm.kept_bytes) == (0, 0, 0)
        assert n_made(made(spec, tmp_path / "c")) == 0

    def test_without_guidance_a_step_is_one_evaluation(self, small_sd_folder: Path, tmp_path: Path) -> None:
        spec = synthetic(small_sd_folder, guidance_scale=0.0)
        assert planned(spec, tmp_path).evaluations == 9 * 2
        assert n_made(made(spec, tmp_path)) == 9 * 2

    def test_the_plan_says_what_is_made(self, small_sd_folder: Path, tmp_path: Path) -> None:
        text = listing.plans([planned(synthetic(small_sd_folder), tmp_path)], "table")
        assert "36 evaluations make 9 pictures; 12 inputs are trained on" in text


@pytest.mark.parametrize(("spec", "n_inputs"), [(SmallResNet(epochs=3), 27), (LogisticRegression(), 9)])
def test_training_is_priced_and_what_was_trained_is_free(spec: ModelSpec, n_inputs: int, tmp_path: Path) -> None:
    told = planned(spec, tmp_path / "a")
    assert (told.evaluations, told.trained_inputs) == (0, n_inputs)
    assert told.kept_bytes
    stored = made(spec, tmp_path / "a")
    assert n_made(stored) == 0
    assert "0 evaluations" not in show.to_text([stored], full=True)
    again = planned(spec, tmp_path / "b")
    assert (again.trained_inputs, again.kept_bytes) == (0, 0)


@pytest.mark.parametrize("model", ["sd-features", "synthetic-sd", "small-resnet", "logistic-regression"])
@pytest.mark.parametrize("narrowed", [{"limit": 3}, {"images_per_class": 1}], ids=["limit", "images_per_class"])
def test_a_limit_says_that_it_does_not_narrow_what_is_learned_from(
    model: str, narrowed: dict[str, int], tmp_path: Path
) -> None:
    option = "n_per_class" if model == "synthetic-sd" else "train_per_class"
    words = (
        f"{model}: --limit and --images-per-class narrow what is scored, not what it learns from; -o {model}.{option}"
    )

    def n_said(options: dict[str, object], narrowed: dict[str, int]) -> int:
        said: list[str] = []
        base: dict[str, object] = {"base": "tiny-sd"} if "sd" in model else {}
        request = RunRequest(task=TASK, model=model, options={**base, **options}, runs=tmp_path, **narrowed)  # pyright: ignore
        resolve(request, said.append, is_computed=False)
        return sum(words in line for line in said)

    assert n_said({}, narrowed) == 1
    assert n_said({option: 2}, narrowed) == 0
    assert n_said({}, {"limit": 100}) == 0  # which leaves nothing out


def _stops() -> PIL.Image.Image:
    raise AssertionError("a picture was read")


def _unreadable(task: Task) -> list[Example]:
    assert task.training is not None
    source: Callable[[], PIL.Image.Image] = _stops
    return [
        dataclasses.replace(picture, images=tuple(Image(image.name, source) for image in picture.images))
        for picture in task.training()
    ]


def _imagenet(n_training: int, n_test: int) -> Task:
    """A thousand classes in equal parts, as far as they go; no picture can be read."""
    names = tuple(f"class {k}" for k in range(1000))
    matches = list(np.eye(1000, dtype=bool)[:, None])  # shared by the examples of a class

    def example(split: str, n: int) -> Example:
        return Example(f"{split}/{n}", (Image(f"{n}.jpg", _stops),), names, matches[n % 1000])

    return Task(
        "imagenet-like",
        [example("test", n) for n in range(n_test)],
        CLASSIFYING,
        classes=Classes(names, tuple(range(1000))),
        training=[example("train", n) for n in range(n_training)].copy,
    )


def _kept_bytes(cache: Path) -> int:
    """Of numbers, without what the files say of themselves."""
    n_bytes = 0
    for file in cache.rglob("*.safetensors"):
        if file.parent.parent.name == "looks":
            continue
        with safe_open(file, framework="numpy") as opened:
            n_bytes += sum(opened.get_tensor(name).nbytes for name in opened.keys())  # noqa: SIM118
    return n_bytes


def test_the_block_that_is_probed_is_the_one_that_is_run(small_sd_folder: Path) -> None:
    middle, image = block(features(small_sd_folder)), TASK.examples[0].images[0]
    probe, shape = middle.probe()
    middle.make([image])
    assert middle.read(middle.names([image])).shape[1:] == shape
    assert probe.flops > 0
