"""The protocols of DiffusionITM and of Self-Bench, each against a loop written from its own repository's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from torch import Tensor

import literal
from compbench import registry
from compbench.core.errors import DataError, UsageError
from compbench.core.examples import Example
from compbench.core.measurements import joined
from compbench.core.models import Runtime
from compbench.core.rules import Rule, score
from compbench.diffusion.classifier import DiffusionClassifier
from compbench.diffusion.families import stable_diffusion
from compbench.diffusion.families.sd3 import SD3_MEDIUM
from compbench.diffusion.images import squeezed
from edits import edited

TINY_SD = Path(stable_diffusion.TINY_SD.repo)


def classifier(folder: Path, protocol: str, **options: Any) -> DiffusionClassifier:
    options = {"protocol": protocol, "dtype": "float32", **options}
    _, spec = registry.model(f"diffusion:{folder}", options)
    return spec.build(spec.source(), Runtime("cpu", 8))  # type: ignore[return-value]


def preprocessed(image: PIL.Image.Image, size_px: int) -> Tensor:
    """[1, 3, side, side]: RGB, `resize` to the square, a second resize to the same side, [-1, 1]."""
    image = image.convert("RGB").resize((size_px, size_px))
    image = image.resize((size_px, size_px), resample=PIL.Image.Resampling.LANCZOS)
    pixels = np.array(image).astype(np.float32) / 255.0
    return 2.0 * torch.from_numpy(pixels[None].transpose(0, 3, 1, 2)) - 1.0


def sampled_timesteps(table: Tensor, strength: float, sampling_steps: int = 30) -> list[float]:
    """Self-Bench's steps: every 33rd of a descending table without its ends, turned around."""
    num_inference_steps, rate = 50, int(1000 / sampling_steps)
    t_start = max(num_inference_steps - min(int(num_inference_steps * strength), num_inference_steps), 0)
    return table[np.arange(t_start, len(table) - t_start, rate)].tolist()[::-1]


@torch.no_grad()
def distances(pipeline: Any, latents: Tensor, caption: str, timesteps: list[float] | None) -> list[float]:
    """One pair, step by step, with the noise of the step's number; `timesteps` None: those of DiffusionITM."""
    scheduler: Any = EulerDiscreteScheduler.from_config(pipeline.scheduler.config, timestep_spacing="linspace")
    scheduler.set_timesteps(1000)
    noises = literal.published_noise(tuple(latents.shape[1:]), 0, 1000)
    steps = list(range(10, 990, int(1000 / 10))) if timesteps is None else timesteps
    states = literal.encode_caption(pipeline, caption)
    found: list[float] = []
    for sampling_step, t in enumerate(steps):
        timestep = torch.tensor([t], dtype=torch.float32)
        noise = noises[sampling_step][None]
        scheduler._step_index = scheduler._begin_index = None
        noised = scheduler.scale_model_input(scheduler.add_noise(latents, noise, timestep), timestep[0])
        predicted = pipeline.unet(noised, timestep.long(), encoder_hidden_states=states).sample
        if scheduler.config.prediction_type == "v_prediction":  # the repositories run eps-models alone
            alpha_cumprod = pipeline.scheduler.alphas_cumprod[int(t)]
            predicted = alpha_cumprod**0.5 * predicted + (1 - alpha_cumprod) ** 0.5 * noised
        found.append(float(torch.norm((noise - predicted).flatten(1), p=2, dim=1)))
    return found


def _pair(ours: DiffusionClassifier, example: Example) -> tuple[np.ndarray, np.ndarray, list[Tensor]]:
    """Norms [I, C, D] in the order of t, scores [I, C], and the latents to hand over."""
    (result,) = joined(ours.score([example], {}))
    table = ours.draw_table()
    rule = Rule("eps" if table.target != "flow" else "native", loss="norm")
    order = np.argsort(table.timesteps)
    norms = rule.of_stored([result.errors["l2"]]) * rule.weights(table)
    latents = [ours.denoiser.encode_pixels(ours.denoiser.pixels(image.decode())[None]) for image in example.images]
    n_elements = float(np.prod(ours.denoiser.latent_shape))
    return norms[..., order] * np.sqrt(n_elements), score(result, table, rule).scores, latents


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("protocol", ["diffusion-itm", "self-bench"])
def test_every_norm_and_decision_is_that_of_the_published_loop(protocol: str, tiny_eps_pipeline_folder: Path) -> None:
    for folder in (TINY_SD, tiny_eps_pipeline_folder):
        example = registry.task("shapes").examples[0]
        ours = classifier(folder, protocol)
        norms, scores, latents = _pair(ours, example)
        pipeline = literal.load(folder)
        scheduler: Any = EulerDiscreteScheduler.from_config(pipeline.scheduler.config)
        steps = sampled_timesteps(scheduler.timesteps, 0.8) if protocol == "self-bench" else None
        published = np.array(
            [[distances(pipeline, latent, caption, steps) for caption in example.captions] for latent in latents]
        )
        np.testing.assert_allclose(norms, published, rtol=1e-5)
        expected = -published.mean(-1)
        assert ((scores[:, 0] > scores[:, 1]) == (expected[:, 0] > expected[:, 1])).all()
        assert np.array_equal(np.argsort(scores, axis=None), np.argsort(expected, axis=None))


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@torch.no_grad()
def test_self_bench_of_sd3_is_its_loop_over_the_shifted_table(folder_of: Callable[[str], Path]) -> None:
    folder = folder_of("sd3")
    example = registry.task("shapes").examples[0]
    ours = classifier(folder, "self-bench")
    norms, _, latents = _pair(ours, example)
    pipeline: Any = DiffusionPipeline.from_pretrained(folder, low_cpu_mem_usage=False)
    steps = sampled_timesteps(pipeline.scheduler.timesteps, 0.6)
    assert np.sort(ours.draw_table().timesteps) == pytest.approx(steps)
    assert (round(steps[0], 1), round(steps[-1], 1)) == (66.0, 993.2)
    noises = literal.published_noise(ours.denoiser.latent_shape, 0, 1000)
    for number, latent in enumerate(latents):
        for c, caption in enumerate(example.captions):
            encoded = pipeline.encode_prompt(caption, None, None, do_classifier_free_guidance=False)
            for step, t in enumerate(steps):
                residual = literal.sd3_residual(pipeline, latent, encoded, noises[step][None], t)
                expected = float(torch.norm(residual.reshape(1, -1), p=2, dim=1))
                assert norms[number, c, step] == pytest.approx(expected, rel=1e-5)


def test_the_timesteps_are_the_published_ones() -> None:
    itm, self_bench = (
        classifier(TINY_SD, protocol).draw_table().timesteps for protocol in ("diffusion-itm", "self-bench")
    )
    assert sorted(itm) == [10, 110, 210, 310, 410, 510, 610, 710, 810, 910]
    assert sorted(self_bench) == list(range(32, 990, 33))
    assert (len(self_bench), max(self_bench)) == (30, 989)


def test_a_picture_is_squeezed_whole_as_published() -> None:
    image = PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 90, 3), dtype=np.uint8))
    assert torch.equal(squeezed(image, 32)[None], preprocessed(image, 32))


def test_a_sample_of_the_posterior_is_the_same_in_every_batch_and_spreads_as_it_says() -> None:
    sampling, mean = (classifier(TINY_SD, protocol).denoiser for protocol in ("self-bench", "diffusion-itm"))
    pictures = [example.images[0].decode() for example in registry.task("shapes").examples[:4]]
    pixels = torch.stack([sampling.pixels(picture) for picture in pictures])
    latents = sampling.encode_pixels(pixels)
    assert sampling.encode_pixels(pixels[2:3]) == pytest.approx(latents[2:3], rel=1e-5, abs=1e-5)
    vae: Any = sampling.parts.vae  # type: ignore[attr-defined]
    std = vae.encode(pixels).latent_dist.std * vae.config.scaling_factor
    noise = (latents - mean.encode_pixels(pixels)) / std
    assert abs(float(noise.mean())) < 0.1
    assert float(noise.std()) == pytest.approx(1, abs=0.1)
    other = classifier(TINY_SD, "self-bench", seed=1).denoiser
    assert not torch.allclose(other.encode_pixels(pixels), latents)


def test_the_first_noises_are_those_of_a_thousand_drawn_at_once() -> None:
    ours = classifier(TINY_SD, "self-bench")
    found = ours.bank.noise(range(30), ours.denoiser.latent_shape)
    in_order = found[torch.from_numpy(np.argsort(ours.bank.timesteps))]
    assert torch.equal(in_order, literal.published_noise(ours.denoiser.latent_shape, 0, 1000)[:30])


def test_a_protocol_pins_its_draws_rule_and_identity() -> None:
    sd2 = stable_diffusion.SD2
    for protocol, n_draws in (("diffusion-itm", 10), ("self-bench", 30)):
        pinned = replace(sd2, protocol=protocol)  # pyright: ignore[reportArgumentType]
        assert pinned.view() == {"n_draws": n_draws, "target": "eps", "reduction": "norm"}
        assert (pinned.identity()["protocol"], pinned.identity()["seed"]) == (protocol, 0)
    assert replace(SD3_MEDIUM, protocol="self-bench").view()["target"] == "native"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"protocol": "diffusion-itm", "draws": 11}, "has 10 timesteps and cannot take draws=11"),
        ({"protocol": "self-bench", "schedule": "racing"}, "leave schedule=racing out"),
        ({"protocol": "self-bench", "noise": "per-image"}, "leave noise=per-image out"),
        ({"weight": "learned:0.2"}, "run the model without it, then compbench show RUN -o weight=learned:0.2"),
        ({"weight": "elbo", "target": "eps"}, "weight=elbo is of the squared error in x0"),
        ({"weight": "elbo", "schedule": "racing"}, "weight=elbo needs schedule=full"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        replace(stable_diffusion.SD2, **options)


def test_another_family_than_the_published_is_refused() -> None:
    with pytest.raises(UsageError, match="published runs of other models; expected compbench, paper or self-bench"):
        replace(SD3_MEDIUM, protocol="diffusion-itm")


def test_a_schedule_of_another_length_is_refused(tiny_eps_pipeline_folder: Path, tmp_path: Path) -> None:
    file = "scheduler/scheduler_config.json"
    folder = edited(tiny_eps_pipeline_folder, tmp_path / "model", file, num_train_timesteps=500)
    with pytest.raises(DataError, match="has 500 timesteps"):
        classifier(folder, "diffusion-itm")
