"""The autoencoder's dtype by name: a run of its own where that moves a number, and an overflow that is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import small_sd
from compbench import registry
from compbench.core.errors import RunError, UsageError
from compbench.core.measurements import joined
from compbench.core.models import Runtime
from compbench.diffusion.families.sdxl import SDXL
from compbench.diffusion.families.stable_diffusion import SD2, TINY_SD
from compbench.store.told_apart import in_words
from compbench.tasks.shapes import shapes

EXAMPLES = shapes().examples[:1]
WEIGHTS = Path("vae") / "diffusion_pytorch_model.safetensors"


def identity(spec: Any, **options: Any) -> Any:
    return replace(spec, **options).identity()


def built(folder: Path, **options: Any) -> Any:
    _, spec = registry.model(f"diffusion:{folder}", {"draws": 2, "dtype": "float32", **options})
    return spec.build(spec.source(), Runtime("cpu", 4))


def errors(scorer: Any) -> np.ndarray:
    (measured,) = joined(scorer.score(EXAMPLES, {}))
    return measured.errors["l2"]


@pytest.mark.parametrize(
    ("spec", "options", "given"),
    [
        (SD2, {}, "float32"),
        (SD2, {"protocol": "paper"}, "float16"),
        (SD2, {"protocol": "paper", "dtype": "float32"}, "float32"),
        (SD2, {"protocol": "published-fp16"}, "float16"),
        (SDXL, {"protocol": "paper"}, "float32"),
        (TINY_SD, {}, "float32"),
    ],
)
def test_a_dtype_that_the_autoencoder_has_anyway_is_no_other_run(spec: Any, options: Any, given: str) -> None:
    plain = identity(spec, **options)
    assert "vae_dtype" not in plain
    assert identity(spec, **options, vae_dtype=given) == plain


def test_any_other_is_a_run_of_its_own_which_says_it_in_words() -> None:
    assert identity(SD2, vae_dtype="tf32") == {**identity(SD2), "vae_dtype": "tf32"}
    assert identity(SD2, protocol="paper", vae_dtype="float32")["vae_dtype"] == "float32"
    assert identity(SDXL, vae_dtype="bfloat16")["vae_dtype"] == "bfloat16"
    assert in_words("vae_dtype", "bfloat16") == "autoencoder in bfloat16"


def test_the_published_half_precision_has_no_other() -> None:
    with pytest.raises(UsageError, match="float16 throughout and cannot have vae_dtype=float32; protocol=paper"):
        replace(SD2, protocol="published-fp16", vae_dtype="float32")


def test_a_device_without_tf32_is_told_before_anything_is_measured(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"the device cpu has no TF32.*use vae_dtype=float32"):
        built(small_sd.save(tmp_path / "sd"), vae_dtype="tf32")


def test_it_is_the_autoencoder_alone_that_changes(folder_of: Callable[[str], Path]) -> None:
    plain, half = (built(folder_of("sdxl"), **options) for options in ({}, {"vae_dtype": "bfloat16"}))
    parts = half.denoiser.parts
    assert parts.vae.dtype == torch.bfloat16
    assert {parts.network.dtype, *(text.encoder.dtype for text in parts.texts)} == {torch.float32}
    assert half.denoiser.latent_shape == plain.denoiser.latent_shape
    moved = np.abs(errors(half) / errors(plain) - 1).max()
    assert 0 < moved < 0.1


def test_latents_that_overflow_name_the_autoencoder_and_the_way_out(tmp_path: Path) -> None:
    folder = small_sd.save(tmp_path / "sd")
    weights = load_file(folder / WEIGHTS)
    weights["encoder.conv_in.weight"] = weights["encoder.conv_in.weight"].sign() * 6e4  # float16 ends at 65,504
    save_file(weights, folder / WEIGHTS, {"format": "pt"})
    assert np.isfinite(errors(built(folder))).all()
    with pytest.raises(RunError) as error:
        errors(built(folder, vae_dtype="float16"))
    assert str(error.value) == (
        f"the autoencoder (float16) gave no finite latents for example {EXAMPLES[0].id!r}, image 0; earlier "
        "measurements are stored: some autoencoders overflow in float16, SDXL's among them: use -o vae_dtype=float32 "
        "or bfloat16"
    )
