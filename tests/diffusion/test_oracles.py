"""Networks that can be checked by hand, in the place of each family's: an oracle has no error, one function one score.

They are asked through the family's own noising, packing, sign and cast, and know the schedule from diffusers alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from diffusers import DDIMScheduler, FluxPipeline
from torch import Tensor, nn

import tiny_pipelines
from compbench import registry
from compbench.core.measurements import DrawTable, Measurement
from compbench.core.models import ModelSpec, Runtime
from compbench.core.rules import Rule, score
from compbench.diffusion.classifier import DiffusionClassifier
from compbench.diffusion.families.dit import TINY_DIT
from compbench.diffusion.latent import LatentDenoiser
from edits import edited

N_DRAWS = 12
FLIPS = ("sign", "time", "scale", "target")
OLDER = ("sd-eps", "sd-v", "sd-x0", "dit")
SCHEDULER = "scheduler/scheduler_config.json"


class Oracle(nn.Module):
    """Solves x_t for what it was trained to predict; `flip` names what it does wrongly.

    It knows the picture and solves for the noise; one that predicts the picture knows the noise and solves for that.
    """

    def __init__(self, network: Any, alphas_cumprod: Tensor | None, target: str, flip: str = "") -> None:
        super().__init__()
        self.config, self.latents, self.noise = network.config, torch.zeros(0), torch.zeros(0)
        self.alphas_cumprod, self.target, self.flip = alphas_cumprod, target, flip
        self.unused = nn.Parameter(torch.zeros(()))

    def forward(self, noised: Tensor, timestep: Tensor, **told: Any) -> tuple[Tensor]:
        t = timestep.float()
        t = 1000 - t if self.flip == "time" else t / 2 if self.flip == "scale" else t
        if self.alphas_cumprod is None:
            sigma = t / 1000
            alpha = 1 - sigma
        else:
            bar = self.alphas_cumprod[t.long().clamp(max=999)]
            alpha, sigma = bar.sqrt(), (1 - bar).sqrt()
        alpha, sigma = alpha.view(-1, 1, 1, 1), sigma.view(-1, 1, 1, 1)
        latents, eps = self.latents, (noised.float() - alpha * self.latents) / sigma
        if self.target == "x0":
            latents, eps = (noised.float() - sigma * self.noise) / alpha, self.noise
        known = {"eps": eps, "v": alpha * eps - sigma * latents, "flow": eps - latents, "x0": latents}
        other = "eps" if self.target == "x0" else "x0"
        answer = known[other if self.flip == "target" else self.target]
        answer = -answer if self.flip == "sign" else answer
        n_out = self.config.get("out_channels") or noised.shape[1]
        beside = answer.new_full((len(noised), max(n_out - noised.shape[1], 0), *noised.shape[2:]), 7.0)
        return (torch.cat([answer.expand_as(noised), beside], dim=1),)


class PackedOracle(Oracle):
    """The same for a network that is given packed latents, and t over 1000."""

    def forward(self, noised: Tensor, timestep: Tensor, **told: Any) -> tuple[Tensor]:
        side = 2 * math.isqrt(noised.shape[1])
        (answer,) = super().forward(FluxPipeline._unpack_latents(noised, side, side, 1), timestep * 1000, **told)
        return (FluxPipeline._pack_latents(answer, len(noised), answer.shape[1], side, side),)


@pytest.fixture(scope="module")
def measured_by(
    folder_of: Callable[[str], Path], tiny_pipeline_folder: Path, tiny_eps_pipeline_folder: Path, tmp_path_factory: Any
) -> Callable[[str], DiffusionClassifier]:
    """The classifier of a family's tiny pipeline, as the real loader makes it; made once."""
    made: dict[str, DiffusionClassifier] = {}
    predicts_x0 = tmp_path_factory.mktemp("x0") / "model"
    folders = {"sd-eps": tiny_eps_pipeline_folder, "sd-v": tiny_pipeline_folder, "sd-x0": predicts_x0}
    edited(tiny_eps_pipeline_folder, predicts_x0, SCHEDULER, prediction_type="sample")

    def spec_of(family: str) -> ModelSpec:
        if family == "dit":
            return replace(TINY_DIT, draws=N_DRAWS)
        folder = folders.get(family) or folder_of(family)
        return registry.model(f"diffusion:{folder}", {"draws": N_DRAWS, "dtype": "float32", "size_px": 32}).spec

    def classifier(family: str) -> DiffusionClassifier:
        if family not in made:
            spec = spec_of(family)
            made[family] = spec.build(spec.source(), Runtime("cpu", 8))  # type: ignore[assignment]
        return made[family]

    return classifier


def alphas_cumprod_of(scheduler: Any) -> Tensor:
    """A DiT's scheduler is its configuration alone."""
    return (
        DDIMScheduler.from_config(scheduler).alphas_cumprod if isinstance(scheduler, dict) else scheduler.alphas_cumprod
    )


def schedule_of(measured: Any) -> Tensor | None:
    """alphas_cumprod, None of a flow."""
    return None if measured.target == "flow" else alphas_cumprod_of(measured.parts.scheduler)


def with_network(measured: Any, network: nn.Module) -> LatentDenoiser:
    """A family's own denoiser around another network."""
    return LatentDenoiser(
        measured.family,
        replace(measured.parts, network=network),
        measured._transform,
        measured._precision,
        torch.device("cpu"),
        size_px=measured.size_px,
    )


def error_of_an_oracle(ours: DiffusionClassifier, flip: str = "") -> float:
    """The mean error over draws from low noise to high."""
    measured: Any = ours.denoiser
    network, family = measured.parts.network, measured.family
    kind = PackedOracle if type(network).__name__ == "FluxTransformer2DModel" else Oracle
    oracle = kind(network, schedule_of(measured), measured.target, flip)
    denoiser = with_network(measured, oracle)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    latents = denoiser.encode_pixels(denoiser.pixels(PIL.Image.fromarray(pixels))[None])
    timesteps = torch.from_numpy(ours.bank.timesteps[:N_DRAWS])
    noise = ours.bank.noise(range(N_DRAWS), denoiser.latent_shape)
    oracle.latents, oracle.noise = latents, noise
    caption = "3" if family.label_space else "a red circle"
    told = {
        name: tensor.expand(N_DRAWS, *tensor.shape[1:]) for name, tensor in denoiser.encode_captions([caption]).items()
    }
    with torch.inference_mode():
        return float(denoiser.errors(latents.expand_as(noise), noise, timesteps, told, ("l2",)).mean())


@pytest.mark.parametrize("family", [*tiny_pipelines.MADE, *OLDER])
def test_a_network_that_returns_the_exact_target_has_no_error_and_one_that_is_wrong_in_one_thing_has(
    family: str, measured_by: Callable[[str], DiffusionClassifier]
) -> None:
    ours = measured_by(family)
    assert error_of_an_oracle(ours) < 1e-8
    for flip in FLIPS:
        assert error_of_an_oracle(ours, flip) > 1e-3, flip


def test_the_oracles_stand_for_every_target(measured_by: Callable[[str], DiffusionClassifier]) -> None:
    """A family whose pipeline predicts another quantity than its name says would be asked the wrong question."""
    expected = {"sd-eps": "eps", "sd-v": "v", "sd-x0": "x0", "dit": "eps", "sdxl": "eps", "sdxl-v": "v"}
    expected |= {"pixart-alpha": "eps", "pixart-sigma": "eps"}
    found = {family: measured_by(family).denoiser.target for family in [*tiny_pipelines.MADE, *OLDER]}
    assert found == {family: expected.get(family, "flow") for family in found}


# models that are one function


class OneFunction(nn.Module):
    """Guesses the same noise for pictures of the same signal-to-noise ratio, and gives it as its target has it."""

    def __init__(self, network: Any, alphas_cumprod: Tensor | None, target: str) -> None:
        super().__init__()
        self.config, self.alphas_cumprod, self.target = network.config, alphas_cumprod, target
        self.unused = nn.Parameter(torch.zeros(()))

    def forward(self, noised: Tensor, timestep: Tensor, caption: Tensor, **told: Any) -> tuple[Tensor]:
        if self.alphas_cumprod is None:
            sigma = timestep / 1000
            alpha = 1 - sigma
        else:
            bar = self.alphas_cumprod[timestep]
            alpha, sigma = bar.sqrt(), (1 - bar).sqrt()
        alpha, sigma = alpha.view(-1, 1, 1, 1), sigma.view(-1, 1, 1, 1)
        seen = noised / (alpha**2 + sigma**2).sqrt()  # a flow's input is rescaled to what the others see
        eps = torch.tanh(seen + sigma / alpha + caption.view(-1, 1, 1, 1))
        x0 = (noised - sigma * eps) / alpha
        return ({"eps": eps, "v": alpha * eps - sigma * x0, "x0": x0, "flow": eps - x0}[self.target],)


@pytest.mark.parametrize("rule", [Rule("eps"), Rule("x0"), Rule("eps", loss="norm")], ids=["eps", "x0", "norm"])
def test_models_that_are_one_function_have_the_same_scores_at_the_same_signal_to_noise(
    rule: Rule, measured_by: Callable[[str], DiffusionClassifier]
) -> None:
    """Through the adapters of an eps-, a v-, an x0- and a flow-model: t / (1 - t) = sqrt(1 - abar) / sqrt(abar)."""
    whole = torch.tensor([5, 200, 400, 600, 800, 950])
    latents, noise = torch.randn((2, 6, 4, 2, 2), generator=torch.Generator().manual_seed(1))
    latents = latents[:1].expand_as(noise)
    scores: list[float] = []
    for family in ("sd-eps", "sd-v", "sd-x0", "sd3"):
        measured: Any = measured_by(family).denoiser
        denoiser = with_network(measured, OneFunction(measured.parts.network, schedule_of(measured), measured.target))
        bar = alphas_cumprod_of(measured_by("sd-eps").denoiser.parts.scheduler)[whole]  # type: ignore[attr-defined]
        flow_t = 1000 * (1 - bar).sqrt() / (bar.sqrt() + (1 - bar).sqrt())
        timesteps = flow_t if measured.target == "flow" else whole
        told = {"caption": torch.full((6,), 0.3)}
        with torch.inference_mode():
            errors = denoiser.errors(latents, noise, timesteps, told, ("l2",)).numpy()[:, None]
        alpha, sigma = (column.numpy() for column in denoiser.noising(timesteps))
        table = DrawTable(timesteps.double().numpy(), alpha, sigma, measured.target)
        measurement = Measurement("0", np.arange(6), {"l2": errors}, np.ones((1, 1, 6), bool))
        scores.append(score(measurement, table, rule).scores.item())
    assert scores == pytest.approx([scores[0]] * 4, rel=1e-5)
