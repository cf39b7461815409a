"""Synthetic SD Data: which pictures are made, that they are the same ones after a kill, and what learns from them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline

from colours import colours
from compbench.core.aliases import Floats
from compbench.core.errors import UsageError
from compbench.core.examples import Classes, Task
from compbench.core.models import Runtime
from compbench.diffusion.families import sd_unet
from compbench.diffusion.families.stable_diffusion import TINY_SD
from compbench.diffusion.parts import Parts
from compbench_baselines.generative._generator import Generator
from compbench_baselines.generative._wanted import Wanted, wanted_pictures
from compbench_baselines.generative.synthetic import SyntheticSD

SETTINGS = {"steps": 2, "guidance_scale": 3.0, "seed": 0, "dtype": "float32"}
RED, BLUE = "a red circle on the left", "a blue square on the right"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "compbench"


@pytest.fixture(scope="module")
def tiny_sd() -> Parts:
    return sd_unet.load(Path(TINY_SD.repo))


def _make(parts: Parts, folder: Path, wanted: list[Wanted]) -> dict[Wanted, bytes]:
    files = Generator(parts, SETTINGS, folder, Runtime("cpu")).make(wanted)
    return {want: file.read_bytes() for want, file in zip(wanted, files, strict=True)}


def _wanted(caption: str, *numbers: int) -> list[Wanted]:
    return [Wanted(caption, k) for k in numbers]


def _spec(folder: Path, **options: object) -> SyntheticSD:
    small = {"n_per_class": 3, "steps": 1, "architecture": "small-resnet", "size_px": 8, "epochs": 2}
    return SyntheticSD(base=str(folder), dtype="float32", **(small | options))  # pyright: ignore


def _scores(spec: SyntheticSD, task: Task, said: list[str] | None = None) -> Floats:
    scorer = spec.build(spec.source(), Runtime("cpu", say=(said if said is not None else []).append))
    scorer.prepare(task)
    return np.concatenate([matrix.scores for matrix in scorer.score(task.examples, {})])


class TestPictures:
    def test_a_picture_is_what_diffusers_makes_of_its_noise(self, tiny_sd: Parts, tmp_path: Path) -> None:
        (wanted,) = _wanted(RED, 4)
        Generator(tiny_sd, SETTINGS, tmp_path, Runtime("cpu")).make([wanted])
        made = PIL.Image.open(wanted.file(tmp_path))
        pipeline = StableDiffusionPipeline(
            vae=tiny_sd.vae,
            text_encoder=tiny_sd.texts[0].encoder,
            tokenizer=tiny_sd.texts[0].tokenizer,
            unet=tiny_sd.network,
            scheduler=DDIMScheduler.from_config(tiny_sd.scheduler.config),
            safety_checker=None,  # pyright: ignore
            feature_extractor=None,  # pyright: ignore
            requires_safety_checker=False,
        )
        pipeline.set_progress_bar_config(disable=True)
        noise = torch.randn(1, 8, 8, 8, generator=torch.Generator().manual_seed(wanted.seed(0)))
        (expected,) = pipeline(RED, latents=noise, num_inference_steps=2, guidance_scale=3.0).images
        difference = np.asarray(made, int) - np.asarray(expected, int)
        assert np.abs(difference).max() <= 1  # another batch size rounds otherwise

    def test_a_killed_process_makes_the_same_pictures_when_it_goes_on(self, tiny_sd: Parts, tmp_path: Path) -> None:
        wanted = [*_wanted(RED, 0, 1), *_wanted(BLUE, 0, 1)]
        whole = _make(tiny_sd, tmp_path, wanted)
        times = {example: example.file(tmp_path).stat().st_mtime_ns for example in wanted}
        for example in wanted[1:3]:  # what a killed process had not written yet
            example.file(tmp_path).unlink()
        assert _make(tiny_sd, tmp_path, wanted) == whole
        assert wanted[0].file(tmp_path).stat().st_mtime_ns == times[wanted[0]]

    def test_a_picture_depends_on_its_caption_and_number_alone(self, tiny_sd: Parts, tmp_path: Path) -> None:
        few, more = _wanted(RED, 0, 1), [*_wanted(BLUE, 3), *_wanted(RED, 2, 1, 0)]
        one, other = _make(tiny_sd, tmp_path / "few", few), _make(tiny_sd, tmp_path / "more", more)
        assert all(one[want] == other[want] for want in few)
        assert len(set(other.values())) == 4

    def test_a_picture_says_what_it_was_made_from(self, tiny_sd: Parts, tmp_path: Path) -> None:
        (wanted,) = _wanted(RED, 7)
        _make(tiny_sd, tmp_path, [wanted])
        with PIL.Image.open(wanted.file(tmp_path)) as picture:
            about = picture.text  # pyright: ignore
        assert about["caption"] == RED
        assert (about["k"], about["noise_seed"], about["steps"]) == ("7", str(wanted.seed(0)), "2")

    def test_captions_that_are_alike_as_file_names_have_folders_of_their_own(self, tmp_path: Path) -> None:
        assert Wanted("a cat?", 0).file(tmp_path) != Wanted("a cat!", 0).file(tmp_path)

    def test_captions_and_seeds_have_noise_of_their_own(self) -> None:
        seeds = {Wanted(caption, k).seed(seed) for caption in (RED, BLUE) for k in range(5) for seed in range(3)}
        assert len(seeds) == 30


class TestWanted:
    def test_prompts_take_turns_and_a_tenth_is_held_out(self) -> None:
        classes = Classes(("cat", "dog"), (0, 1, 0))
        wanted, labels, is_held_out = wanted_pictures(("a cat", "a dog", "the cat"), classes, 20)
        assert [example.caption for example in wanted[:3]] == ["a cat", "the cat", "a cat"]
        assert {example.caption for example in wanted[20:]} == {"a dog"}
        assert labels.tolist() == [0] * 20 + [1] * 20
        assert np.flatnonzero(is_held_out).tolist() == [18, 19, 38, 39]

    def test_at_least_one_picture_of_a_class_is_held_out(self) -> None:
        _, _, is_held_out = wanted_pictures(("a", "b"), Classes(("a", "b"), (0, 1)), 2)
        assert is_held_out.tolist() == [False, True, False, True]


class TestScorer:
    def test_it_scores_and_what_is_made_is_made_once(self, tiny_pipeline_folder: Path, cache: Path) -> None:
        spec, task, said = _spec(tiny_pipeline_folder), colours(n=2), list[str]()
        scores = _scores(spec, task, said)
        assert scores.shape == (6, 6)
        np.testing.assert_array_equal(scores[:, 0::2], scores[:, 1::2])  # prompts of a class
        assert said[0] == "synthetic-sd: 9 of 9 pictures still have to be generated, 18 network evaluations"
        assert said[1].startswith("synthetic-sd: trained on 6 pictures, ")
        assert len(list((cache / "synthetic").rglob("*.png"))) == 9
        again = list[str]()
        np.testing.assert_array_equal(_scores(spec, task, again), scores)
        assert again == []

    def test_a_killed_run_ends_at_the_same_scores(self, tiny_pipeline_folder: Path, cache: Path) -> None:
        spec, task = _spec(tiny_pipeline_folder), colours(n=2)
        scores = _scores(spec, task)
        for file in [*sorted(cache.rglob("*.png"))[1::2], *cache.rglob("model.safetensors")]:
            file.unlink()
        np.testing.assert_array_equal(_scores(spec, task), scores)

    def test_more_pictures_a_class_keep_those_that_are_there(self, tiny_pipeline_folder: Path) -> None:
        said: list[str] = []
        _scores(_spec(tiny_pipeline_folder), colours(n=1), said)
        _scores(_spec(tiny_pipeline_folder, n_per_class=4), colours(n=1), said)
        assert said[2].startswith("synthetic-sd: 3 of 12 pictures still have to be generated")

    def test_an_architecture_of_timm_learns_from_random_parts(self, tiny_pipeline_folder: Path) -> None:
        spec = _spec(tiny_pipeline_folder, architecture="resnet10t", size_px=32, epochs=1)
        assert spec.settled().augment == "true"
        assert np.isfinite(_scores(spec, colours(n=1))).all()

    def test_no_guidance_is_half_the_evaluations(self, tiny_pipeline_folder: Path) -> None:
        said: list[str] = []
        _scores(_spec(tiny_pipeline_folder, guidance_scale=0.0, n_per_class=2), colours(n=1), said)
        assert said[0].endswith("6 of 6 pictures still have to be generated, 6 network evaluations")


class TestSpec:
    def test_all_that_changes_a_score_is_in_the_identity(self, tiny_pipeline_folder: Path) -> None:
        plain = _spec(tiny_pipeline_folder).resolve(colours()).spec
        changes: list[dict[str, object]] = [
            {"n_per_class": 4}, {"steps": 3}, {"guidance_scale": 1.0}, {"seed": 1}, {"architecture": "resnet50"},
            {"size_px": 16}, {"epochs": 3}, {"augment": "true"}, {"dtype": "bfloat16"}, {"asked": "others"},
        ]  # fmt: skip
        changed = [dataclasses.replace(plain, **change).identity() for change in changes]  # pyright: ignore
        assert all(identity != plain.identity() for identity in changed)

    def test_defaults_follow_the_base(self) -> None:
        large, small = SyntheticSD().settled(), SyntheticSD(base="tiny-sd").settled()
        assert (large.architecture, large.size_px, large.dtype) == ("resnet50", 224, "bfloat16")
        assert (small.architecture, small.size_px, small.dtype) == ("small-resnet", 32, "float32")

    def test_other_captions_are_another_identity(self) -> None:
        spec = SyntheticSD(base="tiny-sd")
        assert spec.resolve(colours()).identity != spec.resolve(colours(names=("red", "blue"))).identity

    @pytest.mark.parametrize("options", [{"n_per_class": 1}, {"steps": 0}, {"size_px": 4}, {"epochs": 0}])
    def test_bad_options_are_told(self, options: dict[str, int]) -> None:
        with pytest.raises(UsageError, match=r"expected [128] or more"):
            SyntheticSD(**options)

    def test_a_task_without_classes_is_refused(self) -> None:
        with pytest.raises(UsageError, match="expected a classification task"):
            SyntheticSD().resolve(dataclasses.replace(colours(), classes=None))
