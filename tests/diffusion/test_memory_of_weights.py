"""Weights take no more memory than they need: read in the network's own dtype, with the same numbers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import tiny_pipelines
from compbench import registry
from compbench.cli import listing
from compbench.core.errors import DataError
from compbench.core.examples import Example, Image
from compbench.core.file_list import FileList
from compbench.core.measurements import joined
from compbench.core.models import Runtime
from compbench.diffusion._read_ahead import ReadAhead
from compbench.diffusion.classifier import DiffusionClassifier
from compbench.diffusion.devices import is_cramped
from compbench.diffusion.families import dit_transformer
from compbench.diffusion.families.dit import TINY_DIT
from compbench.diffusion.latent import LatentDenoiser
from compbench.diffusion.parts import Precision
from compbench.runs.plan import plan

BF16 = Precision(torch.bfloat16, encoders=torch.float32)


def loaded(folder: Path, dtype: str) -> Any:
    _, spec = registry.model(f"diffusion:{folder}")
    return spec._family.load(folder, "tiny", [].append, dtype=dtype)  # type: ignore[attr-defined]


def numbers(module: nn.Module) -> dict[str, torch.Tensor]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


@pytest.mark.parametrize("family", tiny_pipelines.MADE)
def test_weights_read_in_half_are_those_that_are_rounded_afterwards(
    folder_of: Callable[[str], Path], family: str
) -> None:
    whole, half = (loaded(folder_of(family), dtype) for dtype in ("float32", "bfloat16"))
    assert next(half.network.parameters()).dtype == torch.bfloat16
    assert next(half.vae.parameters()).dtype == torch.float32
    for parts in (whole, half):
        for text in parts.texts:
            is_half = text.is_large and parts is half
            assert next(text.encoder.parameters()).dtype == (torch.bfloat16 if is_half else torch.float32)
    whole, half = (parts.placed(torch.device("cpu"), BF16) for parts in (whole, half))
    for name, module in whole.trained.items():
        other = numbers(half.trained[name])
        for key, tensor in numbers(module).items():
            assert tensor.dtype == other[key].dtype, key
            assert torch.equal(tensor, other[key]), key


def test_float16_is_read_in_float32_whose_range_it_lacks(folder_of: Callable[[str], Path]) -> None:
    assert next(loaded(folder_of("sd3"), "float16").network.parameters()).dtype == torch.float32


# a device that has no room for the text encoders beside the network


def scorers(folder: Path) -> tuple[DiffusionClassifier, DiffusionClassifier, list[str]]:
    """The same twice, the second as if memory were short; and what it says."""
    _, spec = registry.model(f"diffusion:{folder}", {"draws": 3, "dtype": "float32", "size_px": 32})
    said: list[str] = []
    plain: Any = spec.build(spec.source(), Runtime("cpu", 4))
    cramped = LatentDenoiser(
        plain.denoiser.family,
        loaded(folder, "float32"),
        plain.denoiser._transform,
        plain.denoiser._precision,
        torch.device("cpu"),
        size_px=32,
        is_cramped=True,
    )
    return plain, DiffusionClassifier(cramped, plain.bank, 3, Runtime("cpu", 4, say=said.append)), said


def examples() -> list[Example]:
    pictures = [Image(str(n), lambda n=n: PIL.Image.new("RGB", (40, 40), (60 * n, 99, 7))) for n in range(4)]
    captions = [("a red circle", "a blue square"), ("a blue square", "a green triangle")]
    return [Example(str(n), tuple(pictures[2 * n : 2 * n + 2]), captions[n], np.eye(2, dtype=bool)) for n in (0, 1)]


@pytest.mark.parametrize("family", ["sdxl", "flux-dev"])
def test_captions_read_ahead_give_the_same_errors_each_read_once(folder_of: Callable[[str], Path], family: str) -> None:
    plain, cramped, said = scorers(folder_of(family))
    read: list[int] = []
    encoder = cramped.denoiser.parts.texts[0].encoder  # type: ignore[attr-defined]
    encoder.register_forward_pre_hook(lambda module, given: read.append(len(given[0])))
    ours, theirs = (
        {result.example_id: result.errors["l2"] for result in joined(scorer.score(examples(), {}))}
        for scorer in (cramped, plain)
    )
    for name, errors in theirs.items():
        np.testing.assert_array_equal(ours[name], errors)
    assert sum(read) == 4  # three captions and none, by twos
    assert said == [
        "the device has no room for the text encoders beside the network: they read all 4 captions first, and leave"
    ]
    list(cramped.score(examples(), {}))
    assert sum(read) == 4


def test_more_captions_than_memory_holds_wait_in_files(folder_of: Callable[[str], Path]) -> None:
    _, cramped, said = scorers(folder_of("sdxl"))
    in_memory, in_files = (ReadAhead(cramped.denoiser, room) for room in (10**9, 0))
    captions = ["a red circle", "a blue square", ""]
    for ahead in (in_memory, in_files):
        ahead.read(captions, cramped.denoiser.encode_captions, said.append)
    folder = in_files._folder
    assert folder is not None
    for name, tensor in in_memory(captions[::-1]).items():
        assert torch.equal(tensor, in_files(captions[::-1])[name])
    del in_files, ahead
    assert not folder.exists()


def test_the_weights_that_are_to_be_placed_are_counted(folder_of: Callable[[str], Path]) -> None:
    parts = loaded(folder_of("sd3"), "float32")
    n_bytes = parts.bytes_on(torch.device("meta"), BF16)
    sizes = {name: sum(p.numel() for p in module.parameters()) for name, module in parts.trained.items()}
    halves = sizes["transformer"] + sizes["text_encoder_3"]
    wholes = sizes["text_encoder"] + sizes["text_encoder_2"] + sum(p.numel() for p in parts.vae.parameters())
    assert n_bytes == 2 * halves + 4 * wholes
    assert parts.bytes_on(torch.device("cpu"), BF16) == 0
    assert not is_cramped(torch.device("cpu"), 10**15)  # which only swaps


# what a dry run says of it, before anything is fetched


@pytest.mark.parametrize("family", tiny_pipelines.MADE)
def test_the_configuration_tells_the_memory_that_weights_take(folder_of: Callable[[str], Path], family: str) -> None:
    folder = folder_of(family)
    _, spec = registry.model(f"diffusion:{folder}", {"dtype": "bfloat16"})
    resolved = spec.resolve(None)
    assert resolved.device_bytes is not None
    parts = loaded(folder, "float32")
    without_texts = replace(parts, texts=()).bytes_on(torch.device("meta"), BF16)
    without_network = replace(parts, network=torch.nn.Module()).bytes_on(torch.device("meta"), BF16)
    assert resolved.device_bytes(FileList.of_folder(folder)) == max(without_texts, without_network)


def test_a_dit_s_configuration_tells_it_too() -> None:
    parts = dit_transformer.load(Path(TINY_DIT.repo), "tiny-dit", print)
    network, vae = (sum(p.numel() for p in module.parameters()) for module in (parts.network, parts.vae))
    for dtype, n_bytes in (("float32", 4), ("bfloat16", 2)):
        resolved = replace(TINY_DIT, dtype=dtype).resolve(None)  # pyright: ignore[reportArgumentType]
        assert resolved.device_bytes is not None
        assert resolved.device_bytes(FileList.of_folder(Path(TINY_DIT.repo))) == n_bytes * network + 4 * vae


def test_flux_dev_takes_24_gb_by_its_published_configuration(tmp_path: Path) -> None:
    """FluxTransformer2DModel's own defaults are those of dev, but for the guidance."""
    folder = tiny_pipelines.flux(tmp_path / "flux", n_blocks=4)
    config = {"_class_name": "FluxTransformer2DModel", "guidance_embeds": True}
    (folder / "transformer" / "config.json").write_text(json.dumps(config))
    resolved = registry.model("flux-dev").spec.resolve(None)
    assert resolved.device_bytes is not None
    assert resolved.device_bytes(FileList.of_folder(folder)) == pytest.approx(23.80e9, rel=1e-3)


def test_a_dry_run_says_what_the_weights_take(small_sd_folder: Path) -> None:
    small = plan("shapes", model=f"diffusion:{small_sd_folder}", limit=1, dtype="float32")
    assert small.device_bytes is not None
    assert 0 < small.device_bytes < 10**9
    assert "of the device's memory" not in listing.plans([small], "table")
    large = listing.plans([replace(small, device_bytes=23_800_000_000)], "table")
    assert "its weights take 23.8 GB of the device's memory, and what a batch computes more" in " ".join(large.split())


# weights in a byte each


def in_fp8(folder: Path, **options: Any) -> Any:
    _, spec = registry.model(f"diffusion:{folder}", {"draws": 3, "size_px": 32, "quantize": "fp8", **options})
    return spec.build(spec.source(), Runtime("cpu", 4))


@pytest.mark.parametrize("family", ["sdxl", "sd3", "flux-dev", "sana", "pixart-sigma"])
def test_weights_in_fp8_give_the_errors_of_a_network_rounded_to_it(
    folder_of: Callable[[str], Path], family: str
) -> None:
    ours = in_fp8(folder_of(family), dtype="float32")
    held = dict(ours.denoiser.parts.network.named_parameters())
    small = {name for name, weight in held.items() if weight.dtype == torch.float8_e4m3fn}
    assert sum(held[name].numel() for name in small) > 0.5 * sum(weight.numel() for weight in held.values())
    plain, *_ = scorers(folder_of(family))
    exact, measured = (
        np.stack([result.errors["l2"] for result in joined(scorer.score(examples(), {}))]) for scorer in (plain, ours)
    )
    with torch.no_grad():
        for name, weight in plain.denoiser.parts.network.named_parameters():  # type: ignore[attr-defined]
            if name in small:
                weight.copy_(weight.to(torch.float8_e4m3fn).float())
    rounded = np.stack([result.errors["l2"] for result in joined(plain.score(examples(), {}))])
    np.testing.assert_allclose(measured, rounded, rtol=1e-5)
    assert not np.allclose(measured, exact, rtol=1e-5)
    # and they stay in a byte each, for the next task too
    again = ours.denoiser.parts.placed(torch.device("cpu"), BF16).network
    assert {name for name, weight in again.named_parameters() if weight.dtype == torch.float8_e4m3fn} == small


def test_flux_in_fp8_is_told_the_timesteps_of_what_it_computes_in(folder_of: Callable[[str], Path]) -> None:
    ours = in_fp8(folder_of("flux-dev"), dtype="bfloat16")
    timesteps = torch.from_numpy(ours.bank.timesteps)
    assert torch.equal(timesteps, ((timesteps / 1000).bfloat16() * 1000).float())


def test_fp8_is_part_of_a_run_and_of_its_memory(folder_of: Callable[[str], Path]) -> None:
    folder = folder_of("flux-dev")
    _, spec = registry.model(f"diffusion:{folder}", {"dtype": "bfloat16"})
    plain, small = (replace(spec, quantize=given).resolve(None) for given in ("none", "fp8"))  # type: ignore[type-var]
    assert small.identity == {**plain.identity, "quantized": "fp8"}
    files = FileList.of_folder(folder)
    assert small.device_bytes(files) < plain.device_bytes(files)  # type: ignore[misc]


def test_weights_beyond_fp8_are_refused(folder_of: Callable[[str], Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folder_of("sd3"), tmp_path / "model")
    file = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    state = load_file(file)
    name = "transformer_blocks.0.attn.to_q.weight"
    state[name][0, 0] = 1000
    save_file(state, file)
    with pytest.raises(DataError, match=rf"beyond float8's 448 \({name}\)"):
        in_fp8(folder)
