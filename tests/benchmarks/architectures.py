"""The real architecture of each family with random weights, made on a device: its speed is that of trained ones.

The configurations are the published repositories'. The network and a large text encoder are in half precision, the rest
in float32, as a run has them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import diffusers
import torch
import transformers
from diffusers.utils import logging as diffusers_logging

from compbench.diffusion.families import flux, pixart, sana, sd3, sd_unet, sdxl
from compbench.diffusion.family import Family
from compbench.diffusion.parts import Parts, Text
from compbench.tiny.tokenizer import make_tokenizer
from tests import tiny_pipelines

__all__ = ["ARCHITECTURES", "Architecture", "parts_of"]

_CLIP_TOKENS = 77
_SD_VAE = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
}
_DEEP_BLOCKS = ("ResBlock",) * 3 + ("EfficientViTBlock",) * 3
_DEEP_VAE = {
    "latent_channels": 32,
    "encoder_block_types": _DEEP_BLOCKS,
    "decoder_block_types": _DEEP_BLOCKS,
    "encoder_block_out_channels": (128, 256, 512, 512, 1024, 1024),
    "decoder_block_out_channels": (128, 256, 512, 512, 1024, 1024),
    "encoder_layers_per_block": (2, 2, 2, 3, 3, 3),
    "decoder_layers_per_block": (3, 3, 3, 3, 3, 3),
    "encoder_qkv_multiscales": ((), (), (), (5,), (5,), (5,)),
    "decoder_qkv_multiscales": ((), (), (), (5,), (5,), (5,)),
    "downsample_block_type": "Conv",
    "upsample_block_type": "interpolate",
    "scaling_factor": 0.41407,
}
_DIFFUSION = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


@dataclass(frozen=True, slots=True)
class Reader:
    """A text encoder: its class, its configuration, its tokenizer and the tokens of a padded caption."""

    kind: str
    config: Mapping[str, Any]
    tokenizer: Callable[[], Any]
    length: int = _CLIP_TOKENS
    is_large: bool = False
    is_lowered: bool = False

    def made(self, half: torch.dtype) -> Text:
        """With random weights, on torch's default device."""
        kind: Any = getattr(transformers, self.kind)
        with _default(half if self.is_large else torch.float32):
            encoder = kind(kind.config_class(**self.config)).eval().requires_grad_(False)
        spelled = _lowered if self.is_lowered else str
        return Text(self.tokenizer(), encoder, self.length, is_large=self.is_large, spelled=spelled)


@dataclass(frozen=True, slots=True)
class Architecture:
    """A family with the configurations of its largest open model, or of the one that is used most."""

    words: str
    family: Family
    network: tuple[str, Mapping[str, Any]]  # class and configuration
    texts: tuple[Reader, ...]
    scheduler: tuple[str, Mapping[str, Any]]
    size_px: int
    vae: tuple[str, Mapping[str, Any]] = field(default=("AutoencoderKL", _SD_VAE))


def parts_of(name: str, device: str, dtype: torch.dtype) -> Parts:
    """The parts of an architecture with random weights on a device."""
    architecture = ARCHITECTURES[name]
    diffusers_logging.set_verbosity_error()
    with torch.random.fork_rng(), torch.device(device):
        torch.manual_seed(0)
        with _default(dtype):
            network = _of_diffusers(architecture.network).eval().requires_grad_(False)
        vae = _of_diffusers(architecture.vae).eval().requires_grad_(False)
        texts = tuple(reader.made(dtype) for reader in architecture.texts)
    scheduler = _of_diffusers(architecture.scheduler)
    return Parts(architecture.words, network, vae, texts, scheduler, size_px=architecture.size_px, is_borrowed=True)


def _of_diffusers(named: tuple[str, Mapping[str, Any]]) -> Any:
    name, config = named
    return getattr(diffusers, name)(**config)


class _default:
    """Within it new tensors of floats have the dtype."""

    def __init__(self, dtype: torch.dtype) -> None:
        self._dtype, self._before = dtype, torch.get_default_dtype()

    def __enter__(self) -> None:
        torch.set_default_dtype(self._dtype)

    def __exit__(self, *error: object) -> None:
        torch.set_default_dtype(self._before)


def _lowered(caption: str) -> str:
    return caption.lower().strip()


def _clip_tokenizer() -> Any:
    tokenizer = make_tokenizer()
    tokenizer.model_max_length = _CLIP_TOKENS
    return tokenizer


def _clip(kind: str, width: int, n_layers: int, n_heads: int, activation: str = "gelu") -> Reader:
    sizes = {"hidden_size": width, "intermediate_size": 4 * width, "projection_dim": width}
    layers = {"num_hidden_layers": n_layers, "num_attention_heads": n_heads, "hidden_act": activation}
    rest = {"vocab_size": 49_408, "max_position_embeddings": _CLIP_TOKENS}
    return Reader(kind, {**sizes, **layers, **rest}, _clip_tokenizer)


def _t5(length: int, *, is_lowered: bool = False) -> Reader:
    config = {"vocab_size": 32_128, "d_model": 4096, "d_kv": 64, "d_ff": 10_240, "num_layers": 24, "num_heads": 64}
    config |= {"feed_forward_proj": "gated-gelu"}
    return Reader("T5EncoderModel", config, tiny_pipelines.t5_tokenizer, length, is_large=True, is_lowered=is_lowered)


_LARGE = _clip("CLIPTextModel", 768, 12, 12, "quick_gelu")  # OpenAI's ViT-L/14
_LARGE_PROJECTED = _clip("CLIPTextModelWithProjection", 768, 12, 12, "quick_gelu")
_BIG = _clip("CLIPTextModelWithProjection", 1280, 32, 20)  # OpenCLIP's ViT-bigG/14
_GEMMA = {
    "vocab_size": 256_000,
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
}
ARCHITECTURES: Mapping[str, Architecture] = {
    "sd2": Architecture(
        "SD2 base",
        sd_unet.UNetFamily(),
        (
            "UNet2DConditionModel",
            {
                "sample_size": 64,
                "block_out_channels": (320, 640, 1280, 1280),
                "cross_attention_dim": 1024,
                "attention_head_dim": (5, 10, 20, 20),
                "use_linear_projection": True,
            },
        ),
        (_clip("CLIPTextModel", 1024, 23, 16),),
        ("DDIMScheduler", _DIFFUSION),
        512,
    ),
    "sdxl": Architecture(
        "SDXL base",
        sdxl.FAMILY,
        (
            "UNet2DConditionModel",
            {
                "sample_size": 128,
                "block_out_channels": (320, 640, 1280),
                "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
                "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
                "transformer_layers_per_block": (1, 2, 10),
                "attention_head_dim": (5, 10, 20),
                "cross_attention_dim": 2048,
                "use_linear_projection": True,
                "addition_embed_type": "text_time",
                "addition_time_embed_dim": 256,
                "projection_class_embeddings_input_dim": 2816,
            },
        ),
        (_LARGE, _BIG),
        ("EulerDiscreteScheduler", {**_DIFFUSION, "timestep_spacing": "leading", "steps_offset": 1}),
        1024,
        vae=("AutoencoderKL", {**_SD_VAE, "scaling_factor": 0.13025}),
    ),
    "sd3": Architecture(
        "SD3 medium",
        sd3.SD3Family(),
        (
            "SD3Transformer2DModel",
            {
                "sample_size": 128,
                "patch_size": 2,
                "in_channels": 16,
                "num_layers": 24,
                "attention_head_dim": 64,
                "num_attention_heads": 24,
                "joint_attention_dim": 4096,
                "caption_projection_dim": 1536,
                "pooled_projection_dim": 2048,
                "out_channels": 16,
                "pos_embed_max_size": 192,
            },
        ),
        (_LARGE_PROJECTED, _BIG, _t5(256)),
        ("FlowMatchEulerDiscreteScheduler", {"shift": 3.0}),
        1024,
        vae=("AutoencoderKL", {**_SD_VAE, "latent_channels": 16, "scaling_factor": 1.5305, "shift_factor": 0.0609}),
    ),
    "flux": Architecture(
        "FLUX dev",
        flux.FluxFamily(),
        (
            "FluxTransformer2DModel",
            {
                "in_channels": 64,
                "num_layers": 19,
                "num_single_layers": 38,
                "attention_head_dim": 128,
                "num_attention_heads": 24,
                "joint_attention_dim": 4096,
                "pooled_projection_dim": 768,
                "guidance_embeds": True,
                "axes_dims_rope": (16, 56, 56),
            },
        ),
        (_LARGE, _t5(512)),
        (
            "FlowMatchEulerDiscreteScheduler",
            {
                "shift": 3.0,
                "use_dynamic_shifting": True,
                "base_shift": 0.5,
                "max_shift": 1.15,
                "base_image_seq_len": 256,
                "max_image_seq_len": 4096,
            },
        ),
        1024,
        vae=("AutoencoderKL", {**_SD_VAE, "latent_channels": 16, "scaling_factor": 0.3611, "shift_factor": 0.1159}),
    ),
    "pixart": Architecture(
        "PixArt-Σ",
        pixart.PixArtSigma(),
        (
            "PixArtTransformer2DModel",
            {
                "num_attention_heads": 16,
                "attention_head_dim": 72,
                "in_channels": 4,
                "out_channels": 8,
                "num_layers": 28,
                "cross_attention_dim": 1152,
                "sample_size": 128,
                "caption_channels": 4096,
                "use_additional_conditions": False,
            },
        ),
        (_t5(300, is_lowered=True),),
        ("DPMSolverMultistepScheduler", {"beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear"}),
        1024,
        vae=("AutoencoderKL", {**_SD_VAE, "scaling_factor": 0.13025}),
    ),
    "sana": Architecture(
        "Sana 1.6B",
        sana.FAMILY,
        (
            "SanaTransformer2DModel",
            {
                "in_channels": 32,
                "out_channels": 32,
                "num_attention_heads": 70,
                "attention_head_dim": 32,
                "num_layers": 20,
                "num_cross_attention_heads": 20,
                "cross_attention_head_dim": 112,
                "cross_attention_dim": 2240,
                "caption_channels": 2304,
                "sample_size": 32,
            },
        ),
        (Reader("Gemma2Model", _GEMMA, tiny_pipelines.gemma_tokenizer, 300, is_large=True, is_lowered=True),),
        (
            "DPMSolverMultistepScheduler",
            {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 3.0},
        ),
        1024,
        vae=("AutoencoderDC", _DEEP_VAE),
    ),
}
