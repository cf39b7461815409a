# pyright: reportArgumentType=false
"""Untrained pipelines of each family, made of its real classes and saved in the hub's own file set."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderDC,
    AutoencoderKL,
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    PixArtAlphaPipeline,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
    SanaPipeline,
    SanaTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    Gemma2Config,
    Gemma2Model,
    GemmaTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from compbench.tasks.scenes import COLOURS, SHAPES
from compbench.tiny.tokenizer import make_tokenizer

__all__ = ["MADE", "flux", "pixart", "sana", "sd3", "sdxl", "t5_pieces", "t5_tokenizer"]

CAPTIONS = [f"a {colour} {shape} to the {side} of a {other}" for colour in COLOURS for other in SHAPES
            for shape in SHAPES for side in ("left", "right")]  # fmt: skip
_GRAIN = 4  # pixels a latent: smaller than the hub's, which is 8


def sdxl(folder: Path, prediction_type: str = "epsilon", **saved: Any) -> Path:
    """32 px pictures, 8x8x4 latents; two CLIPs of width 16 and 24."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        unet = UNet2DConditionModel(
            sample_size=8,
            in_channels=4,
            out_channels=4,
            block_out_channels=(16, 32),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            layers_per_block=1,
            transformer_layers_per_block=(1, 2),
            attention_head_dim=(2, 4),
            cross_attention_dim=40,
            use_linear_projection=True,
            norm_num_groups=4,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=24 + 6 * 8,
        )
        pipeline = StableDiffusionXLPipeline(
            vae=vae(4, 0.13025),
            text_encoder=clip(CLIPTextModel, 16),
            text_encoder_2=clip(CLIPTextModelWithProjection, 24),
            tokenizer=make_tokenizer(),
            tokenizer_2=make_tokenizer(),
            unet=unet,
            scheduler=diffusion_scheduler(prediction_type),
            add_watermarker=False,
        )
    return _saved(pipeline, folder, **saved)


def pixart(folder: Path, pipeline: Any, *, is_told_sizes: bool = False, **saved: Any) -> Path:
    """32 px pictures, 8x8x4 latents, twice as many channels out; a T5 of width 16."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformer = PixArtTransformer2DModel(
            num_attention_heads=2,
            attention_head_dim=12,
            in_channels=4,
            out_channels=8,
            num_layers=2,
            cross_attention_dim=24,
            sample_size=8,
            caption_channels=16,
            use_additional_conditions=is_told_sizes,
        )
        for parameter in transformer.parameters():  # those that a training begins at zero
            torch.nn.init.normal_(parameter, std=0.2)
        made = pipeline(
            vae=vae(4, 0.18215),
            text_encoder=t5(16),
            tokenizer=t5_tokenizer(),
            transformer=transformer,
            scheduler=DPMSolverMultistepScheduler(beta_start=0.0001, beta_end=0.02, beta_schedule="linear"),
        )
    return _saved(made, folder, **saved)


def sd3(folder: Path, *, has_t5: bool = True, is_later: bool = False, **saved: Any) -> Path:
    """32 px pictures, 8x8x16 latents; two CLIPs of width 16 and 24, a T5 of width 48. `is_later`: as 3.5 is built."""
    later: dict[str, Any] = {"dual_attention_layers": (0,), "qk_norm": "rms_norm"} if is_later else {}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        pipeline = StableDiffusion3Pipeline(
            transformer=SD3Transformer2DModel(
                sample_size=8,
                patch_size=2,
                in_channels=16,
                num_layers=2,
                attention_head_dim=8,
                num_attention_heads=2,
                joint_attention_dim=48,
                caption_projection_dim=16,
                pooled_projection_dim=40,
                out_channels=16,
                pos_embed_max_size=8,
                **later,
            ),
            scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
            vae=vae(16, 1.5305, 0.0609),
            text_encoder=clip(CLIPTextModelWithProjection, 16),
            tokenizer=make_tokenizer(),
            text_encoder_2=clip(CLIPTextModelWithProjection, 24),
            tokenizer_2=make_tokenizer(),
            text_encoder_3=t5(48) if has_t5 else None,
            tokenizer_3=t5_tokenizer() if has_t5 else None,
        )
    return _saved(pipeline, folder, **saved)


def flux(folder: Path, *, is_dev: bool = True, n_blocks: int = 3, **saved: Any) -> Path:
    """16 channels in packs of 2x2; a CLIP of width 16, a T5 of width 24. `is_dev`: told a guidance, shifted by size."""
    dev = {"shift": 3.0, "use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 1.15}
    sizes = {"base_image_seq_len": 256, "max_image_seq_len": 4096}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        pipeline = FluxPipeline(
            transformer=FluxTransformer2DModel(
                in_channels=64,
                num_layers=1,
                num_single_layers=1,
                attention_head_dim=16,
                num_attention_heads=2,
                joint_attention_dim=24,
                pooled_projection_dim=16,
                guidance_embeds=is_dev,
                axes_dims_rope=(4, 6, 6),
            ),
            scheduler=FlowMatchEulerDiscreteScheduler(**(dev if is_dev else {"shift": 1.0}), **sizes),
            vae=vae(16, 0.3611, 0.1159, n_blocks),
            text_encoder=clip(CLIPTextModel, 16),
            tokenizer=make_tokenizer(),
            text_encoder_2=t5(24),
            tokenizer_2=t5_tokenizer(),
        )
    return _saved(pipeline, folder, **saved)


def sana(folder: Path, **saved: Any) -> Path:
    """32 px pictures, 8x8x4 latents of a deep-compression autoencoder; a Gemma of width 16."""
    blocks = ("ResBlock", "ResBlock", "EfficientViTBlock")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tokenizer = gemma_tokenizer()
        pipeline = SanaPipeline(
            transformer=SanaTransformer2DModel(
                in_channels=4,
                out_channels=4,
                num_layers=2,
                num_attention_heads=2,
                attention_head_dim=8,
                num_cross_attention_heads=2,
                cross_attention_head_dim=8,
                cross_attention_dim=16,
                caption_channels=16,
                sample_size=8,
            ),
            scheduler=DPMSolverMultistepScheduler(
                prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
            ),
            vae=AutoencoderDC(
                latent_channels=4,
                attention_head_dim=2,
                encoder_block_types=blocks,
                decoder_block_types=blocks,
                encoder_block_out_channels=(8, 8, 8),
                decoder_block_out_channels=(8, 8, 8),
                encoder_layers_per_block=(1, 1, 1),
                decoder_layers_per_block=(1, 1, 1),
                encoder_qkv_multiscales=((), (), (5,)),
                decoder_qkv_multiscales=((), (), (5,)),
                downsample_block_type="conv",
                upsample_block_type="interpolate",
                scaling_factor=0.41407,
            ),
            text_encoder=Gemma2Model(
                Gemma2Config(
                    vocab_size=len(tokenizer),
                    hidden_size=16,
                    intermediate_size=256,
                    num_hidden_layers=2,
                    num_attention_heads=2,
                    num_key_value_heads=1,
                    head_dim=8,
                )
            ),
            tokenizer=tokenizer,
        )
    return _saved(pipeline, folder, **saved)


@cache
def gemma_tokenizer() -> GemmaTokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    tokenizer.train_from_iterator(CAPTIONS, trainers.BpeTrainer(vocab_size=90, special_tokens=special))
    trained = json.loads(tokenizer.to_str())["model"]
    return GemmaTokenizer(trained["vocab"], [tuple(pair) for pair in trained["merges"]], model_max_length=512)


def t5(width: int) -> T5EncoderModel:
    return T5EncoderModel(
        T5Config(
            vocab_size=len(t5_tokenizer()),
            d_model=width,
            d_kv=8,
            d_ff=32,
            num_layers=2,
            num_heads=2,
            feed_forward_proj="gated-gelu",
        )
    )


@cache
def t5_pieces() -> list[tuple[str, float]]:
    """A vocabulary trained on the captions of drawn scenes: pieces and their scores, in the order of their ids."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(vocab_size=60, special_tokens=special, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(CAPTIONS, trainer)
    return [(str(piece), float(score)) for piece, score in json.loads(tokenizer.to_str())["model"]["vocab"]]


def t5_tokenizer() -> T5Tokenizer:
    extra = [(f"<extra_id_{number}>", 0.0) for number in range(99, -1, -1)]
    return T5Tokenizer(vocab=[*t5_pieces(), *extra], model_max_length=512)


def vae(
    latent_channels: int, scaling_factor: float, shift_factor: float | None = None, n_blocks: int = 3
) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8,) * n_blocks,
        down_block_types=("DownEncoderBlock2D",) * n_blocks,
        up_block_types=("UpDecoderBlock2D",) * n_blocks,
        layers_per_block=1,
        latent_channels=latent_channels,
        norm_num_groups=2,
        mid_block_add_attention=False,
        sample_size=32,
        scaling_factor=scaling_factor,
        shift_factor=shift_factor,
    )


def clip(kind: Any, width: int) -> Any:
    tokenizer = make_tokenizer()
    return kind(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=3,
            num_attention_heads=2,
            max_position_embeddings=tokenizer.model_max_length,
            projection_dim=width,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def diffusion_scheduler(prediction_type: str) -> Any:
    """As SDXL is published; its velocity is another scheduler's."""
    settings: dict[str, Any] = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    if prediction_type != "epsilon":
        return DDIMScheduler(prediction_type=prediction_type, clip_sample=False, **settings)
    return EulerDiscreteScheduler(timestep_spacing="leading", steps_offset=1, **settings)


def _saved(pipeline: Any, folder: Path, *, sharded: str = "", variant: str | None = None) -> Path:
    """`sharded`: the largest file of weights; `variant`: fp16 saves halves, under names that say so."""
    for part in pipeline.components.values():
        if variant == "fp16" and isinstance(part, torch.nn.Module):
            part.half()
    options: dict[str, Any] = {"variant": variant} | ({"max_shard_size": sharded} if sharded else {})
    pipeline.save_pretrained(folder, **options)
    return folder


_HALVES = {"sharded": "20KB", "variant": "fp16"}  # as a hub holds large models
MADE: dict[str, Callable[..., Path]] = {
    "sdxl": sdxl,
    "pixart-alpha": partial(pixart, pipeline=PixArtAlphaPipeline, is_told_sizes=True, **_HALVES),
    "pixart-sigma": partial(pixart, pipeline=PixArtSigmaPipeline),
    "sd3": sd3,
    "sd3.5": partial(sd3, is_later=True, **_HALVES),
    "sd3-no-t5": partial(sd3, has_t5=False),
    "flux-dev": flux,
    "flux-schnell": partial(flux, is_dev=False),
    "flux-halves": partial(flux, **_HALVES),
    "sana": sana,
    "sana-halves": partial(sana, **_HALVES),
    "sdxl-v": partial(sdxl, prediction_type="v_prediction", **_HALVES),
}
