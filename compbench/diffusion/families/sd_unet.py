"""Stable Diffusion 1 and 2: a U-Net that attends to one CLIP's last hidden states."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from compbench.core.digests import sha256_of
from compbench.core.errors import DataError
from compbench.core.file_list import FileList
from compbench.diffusion import loading
from compbench.diffusion.denoiser import Conditioning
from compbench.diffusion.family import Family
from compbench.diffusion.parts import Parts, check_channels, check_vocabularies, check_width
from compbench.diffusion.silence import quiet
from compbench.registry import checkpoints
from compbench.registry.checkpoints import TEXT_ENCODER, UNET, VAE

__all__ = ["UNetFamily", "digest", "load", "of_pipeline"]


class UNetFamily(Family):
    """It predicts eps, v or x_0, as its scheduler's configuration says."""

    def check(self, parts: Parts) -> None:
        _check_is_supported(parts)

    def conditioning(self, parts: Parts, captions: Sequence[str]) -> Conditioning:
        """The last hidden state of the padded captions, [C, tokens, width]."""
        (text,) = parts.texts
        states = [tensor[0] for tensor in text.encoded(text.tokens(captions).input_ids)]
        return {"encoder_hidden_states": torch.cat(states)}


def load(
    folder: Path,
    say: Callable[[str], None] = lambda message: None,
    name: str | None = None,
    *,
    size_px: int | None = None,
) -> Parts:
    """The parts of a folder in the diffusers layout, in float32 on the CPU; DataError for what does not fit.

    `say` hears of fp16 weights where there are no others, of float64 weights, and of a size of pictures that had to be
    corrected, unless it is `size_px` that will be used.
    """
    files, name = FileList.of_folder(folder), name or str(folder)
    checkpoints.stable_diffusion(files, name)
    weights = loading.weights_of(files, (UNET, VAE, TEXT_ENCODER), name, say)
    with quiet():
        unet = loading.load_part(UNET, folder, weights["unet"], say)
        _correct_size(unet, files, name, say if size_px is None else lambda message: None)
        vae = loading.load_part(VAE, folder, weights["vae"], say)
        encoder = loading.load_text_encoder(TEXT_ENCODER, folder, weights["text_encoder"], say)
        text = loading.text_of(encoder, loading.load_tokenizer_of(folder))
        return Parts(name, unet, vae, (text,), loading.load_scheduler(folder, files))


def of_pipeline(pipeline: Any, name: str = "my-pipeline") -> Parts:
    """The parts of a StableDiffusionPipeline in memory, as they are."""
    text = loading.text_of(pipeline.text_encoder, pipeline.tokenizer)
    return Parts(name, pipeline.unet, pipeline.vae, (text,), pipeline.scheduler, is_borrowed=True)


def digest(parts: Parts) -> str:
    """SHA-256 of all weights and of the schedule: what names a pipeline that has no commit."""
    config = {key: repr(value) for key, value in dict(parts.scheduler.config).items() if not key.startswith("_")}
    made = sha256_of(config)
    for module in (parts.network, parts.vae, *(text.encoder for text in parts.texts)):
        for key, weights in sorted(module.state_dict().items()):
            made.update(f"{key} {weights.dtype} {tuple(weights.shape)}".encode())
            made.update(weights.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return made.hexdigest()


def _check_is_supported(parts: Parts) -> None:
    name, unet = parts.name, parts.network.config
    check_channels(parts)
    if unet["addition_embed_type"] is not None or unet["class_embed_type"] is not None:
        raise DataError(
            f"model {name!r} is conditioned on more than one text encoder's states, as SDXL is; expected a pipeline of "
            "its own kind (StableDiffusionXLPipeline)"
        )
    if unet["time_cond_proj_dim"] is not None:
        raise DataError(
            f"model {name!r} is a latent consistency model (LCM), which is not supported: its network takes a guidance "
            "scale and is distilled to jump, so its error does not say how well a caption fits"
        )
    check_width(parts, parts.texts[0].encoder.config.hidden_size, unet["cross_attention_dim"])
    check_vocabularies(parts)
    if not isinstance(unet["sample_size"], int):
        raise DataError(
            f"model {name!r} has sample_size {unet['sample_size']!r} in unet/config.json; expected a number"
        )


def _correct_size(unet: Any, files: FileList, name: str, say: Callable[[str], None]) -> None:
    """As diffusers' own pipeline does."""
    configured, corrected, grain = checkpoints.sizes_px(files, name)
    if corrected != configured:
        unet.register_to_config(sample_size=corrected // grain)
        written_by = files.json("unet/config.json").get("_diffusers_version")
        say(
            f"{name}: its configuration was written by diffusers {written_by} and says {configured} px "
            f"(sample_size {configured // grain}); scored at {corrected} px, as diffusers corrects it. "
            f"-o size_px={configured} keeps the old size"
        )
