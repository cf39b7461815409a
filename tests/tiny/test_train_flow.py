"""The recipe of `emoji-flow` at a few steps: what it writes is an SD3 for compbench and for diffusers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3 import StableDiffusion3Pipeline
from safetensors.torch import load_file

import compbench
from compbench.tiny import export, train, train_flow
from compbench.tiny.train_flow import FlowRecipe

SHARED = dataclasses.replace(train.Recipe(), vae_steps=2, vae_batch=2, bank_scenes=6, stored_bits=3, seed=1)
FEW = FlowRecipe(shared=SHARED, name="few", width=16, n_heads=2, n_layers=2, steps=4, batch=2)
TRANSFORMER = "transformer/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[FlowRecipe, str], Path]:
    """The folder of a recipe's model, made in a working folder of its own."""
    top = tmp_path_factory.mktemp("flow")

    def make(recipe: FlowRecipe, work: str) -> Path:
        train_flow.train(recipe, top / work, top / f"out-{work}")
        return top / f"out-{work}" / recipe.name

    return make


@pytest.fixture(scope="module")
def folder(made: Callable[[FlowRecipe, str], Path]) -> Path:
    return made(FEW, "whole")


def test_a_flow_model_scores_pictures_and_makes_them(folder: Path) -> None:
    scenes = [scene for number in range(2) for scene in SHARED.scenes(np.random.default_rng(number))]
    images, captions = [image for image, _ in scenes], [caption for _, caption in scenes]
    model = compbench.load_model(f"diffusion:{folder}", draws=2, dtype="float32")
    scores = model.score_pairs(images, captions)
    assert scores.shape == (2, 2)
    assert np.isfinite(scores).all()
    pipeline: Any = StableDiffusion3Pipeline.from_pretrained(
        folder, text_encoder_3=None, tokenizer_3=None, low_cpu_mem_usage=False
    ).to(torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    (picture,) = pipeline(
        captions[0], height=64, width=64, num_inference_steps=2, guidance_scale=1, max_sequence_length=0
    ).images
    assert isinstance(picture, PIL.Image.Image)
    assert picture.size == (64, 64)


def test_training_that_goes_on_ends_at_the_same_weights(made: Callable[[FlowRecipe, str], Path], folder: Path) -> None:
    made(dataclasses.replace(FEW, steps=2), "stopped")
    resumed = made(FEW, "stopped")
    for file in (TRANSFORMER, "text_encoder/model.safetensors", "text_encoder_2/model.safetensors"):
        whole, goes_on = load_file(folder / file), load_file(resumed / file)
        assert all(torch.equal(whole[name], goes_on[name]) for name in whole)


def test_latents_are_shifted_to_mean_nothing_and_scaled_to_unit_variance(folder: Path) -> None:
    vae = train.AutoencoderKL.from_pretrained(folder / "vae")
    bank = torch.load(folder.parents[1] / "whole" / "bank.pt", weights_only=True)["latents"]
    latents = (bank - vae.config["shift_factor"]) * vae.config["scaling_factor"]
    assert abs(latents.mean().item()) < 1e-5
    assert latents.std().item() == pytest.approx(1)


def test_weights_are_stored_with_as_many_bits_as_the_recipe_says(folder: Path) -> None:
    for file in folder.rglob("*.safetensors"):
        for name, weights in load_file(file).items():
            if "pos_embed" in name and "proj" not in name:  # a table that is computed
                continue
            assert torch.equal(weights, export.rounded(weights, 3)), (file, name)
    with pytest.raises(ValueError, match="bits must be 1 to 10"):
        export.rounded(torch.ones(1), 0)


def test_rounding_moves_no_weight_by_more_than_half_of_its_last_bit() -> None:
    weights = torch.randn(10_000, generator=torch.Generator().manual_seed(0)).half()
    for bits in (3, 7, 10):
        moved = (export.rounded(weights, bits).double() - weights.double()).abs()
        assert (moved <= weights.double().abs() * 2.0 ** -(bits + 1)).all()
