"""An SD3 trained with another number of tokens than the pipeline's 256 for its T5, or for the zeros without it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline

import literal
from compbench import registry
from compbench.core.errors import DataError
from compbench.core.file_list import FileList
from compbench.core.models import Runtime
from compbench.diffusion.classifier import DiffusionClassifier
from edits import edited

INDEX = "model_index.json"
CAPTIONS = ("a red circle to the left of a blue square", "a green triangle above a red circle")


def classifier(folder: Path, **options: Any) -> DiffusionClassifier:
    _, spec = registry.model(f"diffusion:{folder}", {"draws": 2, "dtype": "float32", **options})
    return spec.build(spec.source(), Runtime("cpu", 8))  # type: ignore[return-value]


@pytest.mark.parametrize(("family", "n_tokens"), [("sd3-no-t5", 0), ("sd3-no-t5", 5), ("sd3", 8)])
@torch.no_grad()
def test_errors_are_those_of_its_pipeline_told_as_many_tokens(
    folder_of: Callable[[str], Path], tmp_path: Path, family: str, n_tokens: int
) -> None:
    folder = edited(folder_of(family), tmp_path / "model", INDEX, _max_sequence_length=n_tokens)
    ours = classifier(folder)
    without = {} if family == "sd3" else {"text_encoder_3": None, "tokenizer_3": None}
    pipeline: Any = DiffusionPipeline.from_pretrained(folder, low_cpu_mem_usage=False, **without)
    image = PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8))
    latents = ours.denoiser.encode_pixels(ours.denoiser.pixels(image)[None])
    noise = ours.bank.noise(range(1), ours.denoiser.latent_shape)
    timesteps = torch.from_numpy(ours.draw_table().timesteps[:1])
    for caption in CAPTIONS:
        told = ours.denoiser.encode_captions([caption])
        assert told["encoder_hidden_states"].shape[1] == 16 + n_tokens
        encoded = pipeline.encode_prompt(caption, None, None, False, max_sequence_length=n_tokens)
        expected = literal.sd3_residual(pipeline, latents, encoded, noise, float(timesteps[0])).square().mean()
        found = ours.denoiser.errors(latents, noise, timesteps, told, ("l2",))
        assert found.item() == pytest.approx(expected.item(), rel=1e-5)


def test_what_an_evaluation_costs_counts_the_tokens_that_there_are(
    folder_of: Callable[[str], Path], tmp_path: Path
) -> None:
    def flops(folder: Path) -> float:
        _, spec = registry.model(f"diffusion:{folder}", {"draws": 1})
        return spec.resolve(None).flops_per_evaluation(FileList.of_folder(folder))  # type: ignore[misc,return-value]

    few = edited(folder_of("sd3-no-t5"), tmp_path / "few", INDEX, _max_sequence_length=0)
    as_ever = edited(folder_of("sd3-no-t5"), tmp_path / "as-ever", INDEX, _max_sequence_length=256)
    assert flops(as_ever) == flops(folder_of("sd3-no-t5")) > 5 * flops(few)


def test_a_t5_that_is_left_out_leaves_as_many_zeros_as_it_has_tokens(
    folder_of: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = edited(folder_of("sd3"), tmp_path / "model", INDEX, _max_sequence_length=8)
    whole, off = (classifier(folder, **options).denoiser.encode_captions(CAPTIONS) for options in ({}, {"t5": "off"}))
    states, without = whole["encoder_hidden_states"], off["encoder_hidden_states"]
    torch.testing.assert_close(states[:, :16], without[:, :16])
    assert states.shape == without.shape
    assert states[:, 16:].any()
    assert not without[:, 16:].any()


def test_a_caption_that_is_longer_than_its_tokens_is_said_to_be_cut(
    folder_of: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = edited(folder_of("sd3"), tmp_path / "model", INDEX, _max_sequence_length=4)
    assert classifier(folder).denoiser.too_long(CAPTIONS) == list(CAPTIONS)
    assert classifier(folder_of("sd3")).denoiser.too_long(CAPTIONS) == []


@pytest.mark.parametrize("given", [-1, 513, True])
def test_another_number_of_tokens_is_refused_before_any_weight_is_read(
    folder_of: Callable[[str], Path], tmp_path: Path, given: object
) -> None:
    folder = edited(folder_of("sd3"), tmp_path / "model", INDEX, _max_sequence_length=given)
    _, spec = registry.model(f"diffusion:{folder}")
    with pytest.raises(DataError, match=r"_max_sequence_length .* expected a whole number from 0 to 512"):
        spec.with_files(lambda: FileList.of_folder(folder))  # type: ignore[attr-defined]


def test_a_t5_of_no_tokens_is_refused(folder_of: Callable[[str], Path], tmp_path: Path) -> None:
    folder = edited(folder_of("sd3"), tmp_path / "model", INDEX, _max_sequence_length=0)
    with pytest.raises(DataError, match="a T5, of which it reads 0 tokens"):
        classifier(folder)
    assert classifier(folder, t5="off").denoiser.encode_captions(CAPTIONS)["encoder_hidden_states"].shape[1] == 16
