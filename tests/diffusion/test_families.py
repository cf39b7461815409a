"""Each family: a pipeline of its real classes, loaded by the real loader, against its own pipeline in diffusers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from diffusers import DiffusionPipeline, FlowMatchEulerDiscreteScheduler
from torch import Tensor, nn

import compbench
import literal
import tiny_pipelines
from compbench import registry
from compbench.cli.app import main
from compbench.core.errors import DataError, UsageError
from compbench.core.examples import Example, Image
from compbench.core.file_list import FileList
from compbench.core.measurements import joined
from compbench.core.models import Runtime
from compbench.diffusion.classifier import DiffusionClassifier
from compbench.diffusion.families.stable_diffusion import TINY_SD
from compbench.diffusion.latent import LatentDenoiser
from edits import edited

CAPTIONS = ("a red circle to the left of a blue square", "a green triangle above a red circle")
N_DRAWS = 12
FAMILIES = list(tiny_pipelines.MADE)


@pytest.fixture(params=FAMILIES)
def folder(request: pytest.FixtureRequest, folder_of: Callable[[str], Path]) -> Path:
    return folder_of(request.param)


def picture(seed: int) -> PIL.Image.Image:
    return PIL.Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, 40, 3), dtype=np.uint8))


def example(number: int) -> Example:
    images = tuple(Image(f"{number}-{side}", lambda seed=2 * number + side: picture(seed)) for side in (0, 1))
    return Example(str(number), images, CAPTIONS, np.eye(2, dtype=bool))


def classifier(folder: Path, **options: Any) -> DiffusionClassifier:
    _, spec = registry.model(f"diffusion:{folder}", {"draws": N_DRAWS, "dtype": "float32", **options})
    return spec.build(spec.source(), Runtime("cpu", 8))  # type: ignore[return-value]


# what a family's own pipeline does, written out


def latents_of(pipeline: Any, image: PIL.Image.Image, size_px: int) -> Tensor:
    pixels = pipeline.image_processor.preprocess(image.resize((size_px, size_px), PIL.Image.Resampling.BICUBIC))
    mean = pipeline.vae.encode(pixels).latent_dist.mean
    return (mean - (pipeline.vae.config.shift_factor or 0)) * pipeline.vae.config.scaling_factor


def sdxl_error(pipeline: Any, latents: Tensor, caption: str, noise: Tensor, t: float) -> float:
    states, _, pooled, _ = pipeline.encode_prompt(caption, do_classifier_free_guidance=False)
    size, width = (32, 32), pipeline.text_encoder_2.config.projection_dim
    time_ids = pipeline._get_add_time_ids(size, (0, 0), size, torch.float32, width)
    scheduler, timestep = pipeline.scheduler, torch.tensor([t])
    scheduler.set_timesteps(1000)
    if scheduler.config.prediction_type == "epsilon":
        assert t in scheduler.timesteps
        scheduler._step_index = scheduler._begin_index = None
        noised, target = scheduler.scale_model_input(scheduler.add_noise(latents, noise, timestep), timestep[0]), noise
    else:
        timestep = timestep.long()
        noised, target = scheduler.add_noise(latents, noise, timestep), _velocity(scheduler, latents, noise, timestep)
    added = {"text_embeds": pooled, "time_ids": time_ids}
    predicted = pipeline.unet(noised, timestep, encoder_hidden_states=states, added_cond_kwargs=added)[0]
    return float((target - predicted).square().mean())


def _velocity(scheduler: Any, latents: Tensor, noise: Tensor, timestep: Tensor) -> Tensor:
    return scheduler.get_velocity(latents, noise, timestep)


def pixart_error(pipeline: Any, latents: Tensor, caption: str, noise: Tensor, t: float) -> float:
    states, mask, _, _ = pipeline.encode_prompt(caption, do_classifier_free_guidance=False)
    timestep = torch.tensor([int(t)])
    pipeline.scheduler.set_timesteps(1000)
    noised = pipeline.scheduler.add_noise(latents, noise, timestep)
    sizes = {"resolution": torch.tensor([[32.0, 32.0]]), "aspect_ratio": torch.tensor([[1.0]])}
    output = pipeline.transformer(
        noised,
        encoder_hidden_states=states,
        encoder_attention_mask=mask,
        timestep=timestep,
        added_cond_kwargs=sizes if pipeline.transformer.use_additional_conditions else {},
    )[0]
    return float((noise - output.chunk(2, dim=1)[0]).square().mean())


def sd3_error(pipeline: Any, latents: Tensor, caption: str, noise: Tensor, t: float) -> float:
    encoded = pipeline.encode_prompt(caption, None, None, do_classifier_free_guidance=False)
    return float(literal.sd3_residual(pipeline, latents, encoded, noise, t).square().mean())


ERRORS = {
    "StableDiffusion3Pipeline": sd3_error,
    "StableDiffusionXLPipeline": sdxl_error,
    "PixArtAlphaPipeline": pixart_error,
    "PixArtSigmaPipeline": pixart_error,
}


# diffusers' schedulers ask of torch's arrays what numpy no longer promises
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@torch.no_grad()
def test_errors_are_those_of_a_loop_written_from_the_family_s_own_pipeline(folder: Path) -> None:
    ours = classifier(folder)
    (result,) = joined(ours.score([example(0)], {}))
    without = {"text_encoder_3": None, "tokenizer_3": None} if folder.name == "sd3-no-t5" else {}
    pipeline: Any = DiffusionPipeline.from_pretrained(folder, low_cpu_mem_usage=False, **without)
    error = ERRORS[type(pipeline).__name__]
    noise = ours.bank.noise(range(N_DRAWS), ours.denoiser.latent_shape)
    timesteps = ours.draw_table().timesteps
    for number, image in enumerate(example(0).images):
        latents = latents_of(pipeline, image.decode(), 32)
        for c, caption in enumerate(CAPTIONS):
            for draw in range(N_DRAWS):
                if not 1 <= timesteps[draw] <= 999:  # where the scheduler's own table has it
                    continue
                expected = error(pipeline, latents, caption, noise[draw][None], float(timesteps[draw]))
                assert result.errors["l2"][number, c, draw] == pytest.approx(expected, rel=1e-5), (draw, caption)


def test_an_evaluation_is_priced_by_the_configuration_as_by_the_network(folder: Path) -> None:
    _, spec = registry.model(f"diffusion:{folder}", {"draws": 1})
    counted = spec.resolve(None).flops_per_evaluation(FileList.of_folder(folder))  # type: ignore[misc]
    price = classifier(folder, draws=1).price([example(0)], probe_seconds=0)
    assert counted == pytest.approx(price.flops_per_evaluation)


@pytest.mark.parametrize("family", ["sdxl", "pixart-alpha", "sd3"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_the_network_s_alone(folder_of: Callable[[str], Path], family: str, dtype: str) -> None:
    half, full = (classifier(folder_of(family), dtype=precision, draws=3) for precision in (dtype, "float32"))
    assert half.draw_table().alpha.dtype == np.float32
    assert half.denoiser.parts.vae.dtype == torch.float32  # type: ignore[attr-defined]
    (rounded,), (exact,) = (joined(scorer.score([example(0)], {})) for scorer in (half, full))
    np.testing.assert_allclose(rounded.errors["l2"], exact.errors["l2"], rtol=0.05)
    assert not np.array_equal(rounded.errors["l2"], exact.errors["l2"])


# an oracle: a network that knows the picture, and tells the target from x_t and the timestep that it is given


class Oracle(nn.Module):
    """Solves x_t for what it was trained to predict; `flip` names what it does wrongly."""

    def __init__(self, network: Any, alphas_cumprod: Tensor | None, target: str, flip: str = "") -> None:
        super().__init__()
        self.config, self.latents = network.config, torch.zeros(0)
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
        eps = (noised.float() - alpha * self.latents) / sigma
        known = {"eps": eps, "v": alpha * eps - sigma * self.latents, "flow": eps - self.latents, "x0": self.latents}
        target = "x0" if self.flip == "target" else self.target
        told_wrongly = -known[target] if self.flip == "sign" else known[target]
        n_out = self.config.get("out_channels") or noised.shape[1]
        beside = told_wrongly.new_full((len(noised), max(n_out - noised.shape[1], 0), *noised.shape[2:]), 7.0)
        return (torch.cat([told_wrongly.expand_as(noised), beside], dim=1),)


def error_of_an_oracle(folder: Path, flip: str = "") -> float:
    """The mean error over draws from low noise to high."""
    ours = classifier(folder)
    parts, family = ours.denoiser.parts, ours.denoiser.family  # type: ignore[attr-defined]
    alphas_cumprod = getattr(parts.scheduler, "alphas_cumprod", None)
    target = {"epsilon": "eps", "v_prediction": "v"}.get(parts.scheduler.config.get("prediction_type", ""), "flow")
    oracle = Oracle(parts.network, alphas_cumprod, "flow" if alphas_cumprod is None else target, flip)
    denoiser = LatentDenoiser(
        family,
        replace(parts, network=oracle),
        ours.denoiser._transform,  # type: ignore[attr-defined]
        ours.denoiser._precision,  # type: ignore[attr-defined]
        torch.device("cpu"),
    )
    latents = denoiser.encode_pixels(denoiser.pixels(picture(0))[None])
    oracle.latents = latents
    timesteps = torch.from_numpy(ours.bank.timesteps[:N_DRAWS])
    noise = ours.bank.noise(range(N_DRAWS), denoiser.latent_shape)
    told = {
        name: tensor.expand(N_DRAWS, *tensor.shape[1:])
        for name, tensor in denoiser.encode_captions(CAPTIONS[:1]).items()
    }
    with torch.inference_mode():
        return float(denoiser.errors(latents.expand_as(noise), noise, timesteps, told, ("l2",)).mean())


def test_a_network_that_returns_the_exact_target_has_no_error(folder: Path) -> None:
    assert error_of_an_oracle(folder) < 1e-8


@pytest.mark.parametrize("flip", ["sign", "time", "scale", "target"])
def test_an_oracle_that_is_wrong_in_one_thing_has_an_error(folder: Path, flip: str) -> None:
    assert error_of_an_oracle(folder, flip) > 0.05


# through the command and the store


def test_it_runs_on_shapes_through_the_store_to_a_table(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--device", "cpu", "--runs", str(tmp_path)]
    command = ["run", "shapes", "-m", f"diffusion:{folder}", "-o", "draws=2", "--limit", "2", *where]
    assert main(command) == 0
    assert "diffusion:" in capsys.readouterr().out
    (place,) = tmp_path.glob("shapes/*/*")
    identity = json.loads((place / "run.json").read_text())["key"]["measurement"]
    assert {"family", "predicts", "timesteps"} <= identity.keys()
    assert main([*command, "--full"]) == 0  # from the store
    printed = capsys.readouterr().out
    assert f"predicts:{identity['predicts']}" in printed
    assert "weighting:uniform" in printed
    assert main(["show", str(place), "-o", "target=eps", "-o", "draws=1", "--full", "--runs", str(tmp_path)]) == 0
    assert "target:eps" in capsys.readouterr().out


def test_stable_diffusion_has_one_label_and_one_identity_by_either_spelling() -> None:
    named, older = (registry.model(f"{scheme}:{TINY_SD.repo}") for scheme in ("diffusion", "sd"))
    assert named == older
    assert named.label == f"sd:{TINY_SD.repo}"


@pytest.mark.parametrize(
    ("name", "family", "predicts", "timesteps", "cited"),
    [
        ("sdxl", "sdxl", "eps", "0-999", "podell2024sdxl"),
        ("pixart-alpha", "pixart-alpha", "eps", "0-999", "chen2024pixart,"),
        ("pixart-sigma", "pixart-sigma", "eps", "0-999", "chen2024pixartsigma"),
        ("sd3-medium", "sd3", "flow", "shift 3 of 1-1000", "esser2024scaling"),
        ("sd3.5-medium", "sd3", "flow", "shift 3 of 1-1000", "esser2024scaling"),
    ],
)
def test_a_preset_says_what_its_configuration_would(
    name: str, family: str, predicts: str, timesteps: str, cited: str
) -> None:
    """Known without asking a hub, so that a stored run is found offline."""
    spec = registry.model(name).spec.for_task("winoground")
    plain = {"family": family, "protocol": "compbench", "seed": 0, "dtype": "bfloat16"}
    assert spec.identity() == plain | {"predicts": predicts, "timesteps": timesteps}
    assert spec.with_files(pytest.fail).identity() == spec.identity()
    assert len(spec.source().revision) == 40
    assert cited in spec.citation


def test_a_protocol_of_stable_diffusion_s_own_precision_is_refused() -> None:
    with pytest.raises(UsageError, match="expected compbench or paper"):
        registry.model("sdxl", {"protocol": "published-fp16"})


@torch.no_grad()
def test_no_caption_is_what_sdxl_s_pipeline_takes_for_an_empty_prompt(folder_of: Callable[[str], Path]) -> None:
    ours = classifier(folder_of("sdxl")).denoiser.encode_captions(["", CAPTIONS[0]])
    pipeline: Any = DiffusionPipeline.from_pretrained(folder_of("sdxl"), low_cpu_mem_usage=False)
    states, nothing, pooled, nothing_pooled = pipeline.encode_prompt(CAPTIONS[0])
    torch.testing.assert_close(ours["encoder_hidden_states"], torch.cat([nothing, states]))
    torch.testing.assert_close(ours["text_embeds"], torch.cat([nothing_pooled, pooled]))


# what is SD3's alone


def test_sd3_without_its_t5_says_so_and_is_a_run_of_its_own(folder_of: Callable[[str], Path]) -> None:
    said: list[str] = []
    identities: list[dict[str, Any]] = []
    for family, options in (("sd3", {}), ("sd3", {"t5": "off"}), ("sd3-no-t5", {})):
        _, spec = registry.model(f"diffusion:{folder_of(family)}", {"dtype": "float32", **options})
        listed = FileList.of_folder(folder_of(family))
        spec = spec.with_files(lambda listed=listed: listed)  # type: ignore[attr-defined]
        identities.append(dict(spec.identity()))
        spec.build(spec.source(), Runtime("cpu", 2, say=said.append))
    whole, off, lacking = identities
    assert off == lacking == {**whole, "without": "text_encoder_3"}
    assert ["is not used" in line for line in said] == [True, False]
    assert ["is not there" in line for line in said] == [False, True]


def test_sd3_s_t5_is_not_opened_where_it_is_left_out(folder_of: Callable[[str], Path]) -> None:
    files = FileList.of_folder(folder_of("sd3"))
    _, spec = registry.model(f"diffusion:{folder_of('sd3')}", {"t5": "off"})
    opened = spec.source().opened(files)
    assert not any("_3/" in name for name in opened)
    assert any("text_encoder_2/" in name for name in opened)


def test_sd3_s_draws_are_of_the_timesteps_of_its_shifted_table(folder_of: Callable[[str], Path]) -> None:
    ours = classifier(folder_of("sd3"))
    table = FlowMatchEulerDiscreteScheduler(shift=3.0).timesteps.numpy()
    assert set(ours.bank.timesteps.tolist()) == set(table.tolist())
    draws = ours.draw_table()
    np.testing.assert_allclose(draws.sigma, draws.timesteps / 1000, rtol=1e-6)
    np.testing.assert_allclose(draws.alpha + draws.sigma, 1, rtol=1e-6)
    assert np.median(draws.timesteps[:N_DRAWS]) > 600  # not 500: each timestep of the table as often as the others
    plain = np.sort(draws.timesteps / (3000 - 2 * draws.timesteps) * 1000)  # the shift undone
    np.testing.assert_allclose(plain, np.arange(1, 1001), rtol=1e-3)


def test_a_schedule_whose_grid_depends_on_what_is_sampled_is_refused(
    folder_of: Callable[[str], Path], tmp_path: Path
) -> None:
    file = "scheduler/scheduler_config.json"
    place = edited(folder_of("sd3"), tmp_path / "model", file, use_dynamic_shifting=True)
    with pytest.raises(DataError, match="use_dynamic_shifting"):
        classifier(place)


def test_racing_runs_on_a_flow(folder_of: Callable[[str], Path], tmp_path: Path) -> None:
    options = {"draws": 40, "schedule": "racing", "bound": "asymptotic", "risk": 0.3}  # without a first wave
    run = compbench.run(
        "shapes", model=f"diffusion:{folder_of('sd3')}", limit=2, runs=tmp_path, device="cpu", **options
    )
    assert run.done() == set(run.ids())
