"""Each family: a pipeline of its real classes, loaded by the real loader, against its own pipeline in diffusers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from diffusers import DiffusionPipeline, DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler
from diffusers.pipelines.flux.pipeline_flux import calculate_shift
from torch import Tensor

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
from edits import edited

CAPTIONS = ("a red circle to the left of a blue square", "a green triangle above a red circle")
N_DRAWS = 12
FAMILIES = list(tiny_pipelines.MADE)
SIZE = {"size_px": 32}  # which a FLUX's configuration does not say


@pytest.fixture(params=FAMILIES)
def folder(request: pytest.FixtureRequest, folder_of: Callable[[str], Path]) -> Path:
    return folder_of(request.param)


def picture(seed: int) -> PIL.Image.Image:
    return PIL.Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, 40, 3), dtype=np.uint8))


def example(number: int) -> Example:
    images = tuple(Image(f"{number}-{side}", lambda seed=2 * number + side: picture(seed)) for side in (0, 1))
    return Example(str(number), images, CAPTIONS, np.eye(2, dtype=bool))


def classifier(folder: Path, **options: Any) -> DiffusionClassifier:
    _, spec = registry.model(f"diffusion:{folder}", {"draws": N_DRAWS, "dtype": "float32", **SIZE, **options})
    return spec.build(spec.source(), Runtime("cpu", 8))  # type: ignore[return-value]


# what a family's own pipeline does, written out


def latents_of(pipeline: Any, image: PIL.Image.Image, size_px: int) -> Tensor:
    pixels = pipeline.image_processor.preprocess(image.resize((size_px, size_px), PIL.Image.Resampling.BICUBIC))
    encoded, config = pipeline.vae.encode(pixels), pipeline.vae.config
    mean = encoded.latent_dist.mean if hasattr(encoded, "latent_dist") else encoded.latent
    return (mean - (config.get("shift_factor") or 0)) * config.scaling_factor


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


def flux_error(pipeline: Any, latents: Tensor, caption: str, noise: Tensor, t: float) -> float:
    """As its own loop goes: packed by hand, t over 1000; x_t of the scheduler's entry next to t."""
    transformer, (_, channels, height, width) = pipeline.transformer, latents.shape
    is_dev, n_tokens = transformer.config.guidance_embeds, height // 2 * (width // 2)
    states, pooled, text_ids = pipeline.encode_prompt(caption, None, max_sequence_length=512 if is_dev else 256)
    mu = calculate_shift(n_tokens) if is_dev else None
    pipeline.scheduler.set_timesteps(sigmas=np.linspace(1.0, 0.001, 1000), mu=mu)
    timestep = pipeline.scheduler.timesteps[(pipeline.scheduler.timesteps - t).abs().argmin()][None]
    noised = pipeline.scheduler.scale_noise(latents, timestep, noise)
    predicted = transformer(
        hidden_states=pipeline._pack_latents(noised, 1, channels, height, width),
        timestep=timestep / 1000,
        guidance=torch.ones(1) if is_dev else None,
        pooled_projections=pooled,
        encoder_hidden_states=states,
        txt_ids=text_ids,
        img_ids=pipeline._prepare_latent_image_ids(1, height // 2, width // 2, torch.device("cpu"), torch.float32),
    )[0]
    scale = pipeline.vae_scale_factor
    velocity = pipeline._unpack_latents(predicted, height * scale, width * scale, scale)
    return float((noise - latents - velocity).square().mean())


def sana_error(pipeline: Any, latents: Tensor, caption: str, noise: Tensor, t: float) -> float:
    """Its scheduler's add_noise knows whole timesteps alone, so x_t is written out."""
    states, mask, _, _ = pipeline.encode_prompt(caption, do_classifier_free_guidance=False)
    noised = (1 - t / 1000) * latents + t / 1000 * noise
    predicted = pipeline.transformer(
        noised, encoder_hidden_states=states, encoder_attention_mask=mask, timestep=torch.tensor([t])
    )[0]
    return float((noise - latents - predicted).square().mean())


ERRORS = {
    "SanaPipeline": sana_error,
    "FluxPipeline": flux_error,
    "StableDiffusion3Pipeline": sd3_error,
    "StableDiffusionXLPipeline": sdxl_error,
    "PixArtAlphaPipeline": pixart_error,
    "PixArtSigmaPipeline": pixart_error,
}


# diffusers' schedulers ask of torch's arrays what numpy no longer promises
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@torch.no_grad()
def test_errors_are_those_of_a_loop_written_from_the_family_s_own_pipeline(folder: Path) -> None:
    """Whether its files are whole or shards of halves; of a caption that is cut, too, and not in lower case."""
    ours = classifier(folder)
    captions = (CAPTIONS[0], " " + "A Green Triangle above a red circle. " * 60)
    (result,) = joined(ours.score([replace(example(0), captions=captions)], {}))
    without = {"text_encoder_3": None, "tokenizer_3": None} if folder.name == "sd3-no-t5" else {}
    has_halves = any(folder.rglob("*.fp16-00001-of-*"))
    options = {"variant": "fp16"} if has_halves else {}
    pipeline: Any = DiffusionPipeline.from_pretrained(folder, low_cpu_mem_usage=False, **without, **options)
    pipeline.to(torch.float32)
    pipeline.encode_prompt = cache(pipeline.encode_prompt)  # each caption once
    error = ERRORS[type(pipeline).__name__]
    noise = ours.bank.noise(range(N_DRAWS), ours.denoiser.latent_shape)
    timesteps = ours.draw_table().timesteps
    for number, image in enumerate(example(0).images):
        latents = latents_of(pipeline, image.decode(), 32)
        for c, caption in enumerate(captions):
            for draw in range(N_DRAWS):
                if not 1 <= timesteps[draw] <= 999:  # where the scheduler's own table has it
                    continue
                expected = error(pipeline, latents, caption, noise[draw][None], float(timesteps[draw]))
                assert result.errors["l2"][number, c, draw] == pytest.approx(expected, rel=1e-5), (draw, caption)


def test_an_evaluation_is_priced_by_the_configuration_as_by_the_network(folder: Path) -> None:
    _, spec = registry.model(f"diffusion:{folder}", {"draws": 1, **SIZE})
    counted = spec.resolve(None).flops_per_evaluation(FileList.of_folder(folder))  # type: ignore[misc]
    price = classifier(folder, draws=1).price([example(0)], probe_seconds=0)
    assert counted == pytest.approx(price.flops_per_evaluation)


@pytest.mark.parametrize("family", ["sdxl", "pixart-alpha", "sd3"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_the_network_s_alone(folder_of: Callable[[str], Path], family: str, dtype: str) -> None:
    """x_t is computed in float32 and cast last; what comes back is compared with the target in float32."""
    ours = classifier(folder_of(family), dtype=dtype, draws=3)
    denoiser: Any = ours.denoiser
    seen: list[Tensor] = []
    denoiser.parts.network.register_forward_hook(lambda network, told, answer: seen.extend((told[0], answer[0])))
    one = Example("one", (example(0).images[0],), CAPTIONS[:1], np.ones((1, 1), bool))
    (result,) = joined(ours.score([one], {}))
    assert denoiser.parts.vae.dtype == torch.float32
    latents = denoiser.encode_pixels(denoiser.pixels(picture(0))[None])
    noise, draws = ours.bank.noise(range(3), denoiser.latent_shape), ours.draw_table()
    alpha, sigma = (torch.from_numpy(column[:3]).view(-1, 1, 1, 1) for column in (draws.alpha, draws.sigma))
    assert alpha.dtype == sigma.dtype == latents.dtype == torch.float32
    x_t = (alpha * latents + sigma * noise).to(getattr(torch, dtype))
    target = noise - latents if draws.target == "flow" else noise
    noised, answers = (torch.cat(seen[start::2]) for start in (0, 1))
    assert torch.equal(noised[:3], x_t)  # and then the last draw again, to fill the batch
    residual = target - answers[:3, : latents.shape[1]].float()
    np.testing.assert_allclose(result.errors["l2"][0, 0], residual.square().mean((1, 2, 3)).numpy(), rtol=1e-6)


# through the command and the store


def test_it_runs_on_shapes_through_the_store_to_a_table(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--device", "cpu", "--runs", str(tmp_path)]
    command = [
        "run",
        "shapes",
        "-m",
        f"diffusion:{folder}",
        "-o",
        "draws=2",
        "-o",
        "size_px=32",
        "--limit",
        "2",
        *where,
    ]
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
        ("sana-1.6b", "sana", "flow", "shift 3 of 1-1000", "xie2025sana"),
        ("flux-schnell", "flux", "flow", "shift 1 of 1-1000", "blackforestlabs2024flux"),
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


@torch.no_grad()
def test_an_sdxl_that_reads_an_empty_prompt_as_any_other_does_so_here(
    folder_of: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = edited(folder_of("sdxl"), tmp_path / "model", "model_index.json", force_zeros_for_empty_prompt=False)
    pipeline: Any = DiffusionPipeline.from_pretrained(folder, low_cpu_mem_usage=False)
    _, nothing, _, _ = pipeline.encode_prompt(CAPTIONS[0])
    torch.testing.assert_close(classifier(folder).denoiser.encode_captions([""])["encoder_hidden_states"], nothing)
    assert nothing.abs().max() > 0


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


# what is Sana's alone


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_sana_s_draws_are_of_the_timesteps_of_its_solver_s_shifted_table(folder_of: Callable[[str], Path]) -> None:
    solver: Any = DPMSolverMultistepScheduler.from_pretrained(folder_of("sana"), subfolder="scheduler")
    solver.set_timesteps(1000)
    ours = np.sort(classifier(folder_of("sana")).bank.timesteps)
    np.testing.assert_allclose(ours, np.sort(solver.timesteps.numpy()), atol=2)  # whole numbers there
    assert abs(ours[499] - 750) < 1  # 3 t / (1 + 2 t) of a half


# what is FLUX's alone


def test_a_flux_is_told_the_very_timestep_that_its_draws_are_of(folder_of: Callable[[str], Path]) -> None:
    """In bfloat16 t is rounded by up to 2 of 1000; x_t, the store and the network agree on what is left."""
    for dtype in ("bfloat16", "float16", "float32"):
        ours = classifier(folder_of("flux-dev"), dtype=dtype, draws=100)
        seen: list[Tensor] = []
        ours.denoiser.parts.network.time_text_embed.register_forward_pre_hook(  # type: ignore[attr-defined]
            lambda module, told, seen=seen: seen.append(told[0].float())
        )
        one = Example("one", (example(0).images[0],), CAPTIONS[:1], np.ones((1, 1), bool))
        list(ours.score([one], {}))
        draws = ours.draw_table()
        assert set(torch.cat(seen).tolist()) == set(draws.timesteps[:100].tolist())
        np.testing.assert_allclose(draws.sigma, draws.timesteps / 1000, rtol=1e-6)


def test_a_rounded_timestep_is_rounded_to_itself(folder_of: Callable[[str], Path]) -> None:
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        ours = classifier(folder_of("flux-schnell"), dtype=str(dtype).removeprefix("torch."))
        timesteps = torch.from_numpy(ours.bank.timesteps)
        assert torch.equal(((timesteps / 1000).to(dtype) * 1000).float(), timesteps)


def test_flux_dev_s_grid_is_shifted_by_the_size_of_the_picture(folder_of: Callable[[str], Path]) -> None:
    small, large = (classifier(folder_of("flux-dev"), size_px=size_px) for size_px in (128, 512))
    for ours, mu in ((small, 0.5), (large, 1.15)):  # 256 and 4096 packed latents
        plain = np.arange(1, 1001) / 1000
        shifted = np.exp(mu) / (np.exp(mu) + 1 / plain - 1)
        np.testing.assert_allclose(np.sort(ours.bank.timesteps), 1000 * shifted, rtol=1e-5)


def told_of(folder: Path, said: list[str], **options: Any) -> dict[str, Any]:
    _, spec = registry.model(f"diffusion:{folder}", {"dtype": "float32", **SIZE, **options})
    spec = spec.with_files(lambda: FileList.of_folder(folder))  # type: ignore[attr-defined]
    spec.build(spec.source(), Runtime("cpu", 2, say=said.append))
    return dict(spec.identity())


def test_the_guidance_that_flux_dev_is_told_is_part_of_its_run(folder_of: Callable[[str], Path]) -> None:
    folder = folder_of("flux-dev")
    assert told_of(folder, [])["told"] == "guidance 1"
    assert told_of(folder, [], embedded_guidance=3.5)["told"] == "guidance 3.5"
    plain, guided = (joined(classifier(folder, **options).score([example(0)], {}))[0]
                     for options in ({}, {"embedded_guidance": 3.5}))  # fmt: skip
    assert not np.array_equal(plain.errors["l2"], guided.errors["l2"])
    with pytest.raises(UsageError, match="embedded_guidance must be above 0"):
        told_of(folder, [], embedded_guidance=0.0)


def test_flux_schnell_says_that_its_error_bounds_nothing_and_takes_no_guidance(
    folder_of: Callable[[str], Path],
) -> None:
    said: list[str] = []
    assert "told" not in told_of(folder_of("flux-schnell"), said)
    assert any("not a bound on a likelihood" in line for line in said)
    said.clear()
    told_of(folder_of("flux-dev"), said)
    assert said == []
    with pytest.raises(UsageError, match="is not told a guidance"):
        told_of(folder_of("flux-schnell"), [], embedded_guidance=2.0)


def test_a_turbo_of_any_family_is_told_by_its_name(folder_of: Callable[[str], Path], tmp_path: Path) -> None:
    said: list[str] = []
    told_of(shutil.copytree(folder_of("sd3"), tmp_path / "sd3.5-large-turbo"), said)
    assert any("is distilled to few steps (by its name)" in line for line in said)


def test_flux_dev_reads_twice_as_many_tokens_as_schnell_with_its_guidance_or_without(
    folder_of: Callable[[str], Path], tmp_path: Path
) -> None:
    shifted = {"use_dynamic_shifting": True}
    freed = edited(folder_of("flux-schnell"), tmp_path / "freed", "scheduler/scheduler_config.json", **shifted)
    for folder, n_tokens in ((folder_of("flux-dev"), 512), (folder_of("flux-schnell"), 256), (freed, 512)):
        told = classifier(folder).denoiser.encode_captions(CAPTIONS)
        assert told["encoder_hidden_states"].shape[1] == n_tokens
    said: list[str] = []
    told_of(freed, said)
    assert said == []


def test_racing_runs_on_a_flow(folder_of: Callable[[str], Path], tmp_path: Path) -> None:
    options = {"draws": 40, "schedule": "racing", "bound": "asymptotic", "risk": 0.3}  # without a first wave
    run = compbench.run(
        "shapes", model=f"diffusion:{folder_of('sd3')}", limit=2, runs=tmp_path, device="cpu", **options
    )
    assert run.done() == set(run.ids())
