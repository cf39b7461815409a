"""The smallest Stable Diffusion that diffusers builds, with random weights: a thousandth of tiny-sd's arithmetic."""

from __future__ import annotations

from pathlib import Path

__all__ = ["save"]


def save(folder: Path, prediction_type: str = "epsilon") -> Path:
    """A folder in the hub's layout: 16 px pictures, 2x2x4 latents, tiny-sd's own tokenizer; `folder` itself."""
    import torch
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    from compbench.tiny import export, train
    from compbench.tiny.tokenizer import make_tokenizer

    tokenizer = make_tokenizer()
    scheduler = DDIMScheduler.from_config(train.new_scheduler().config, prediction_type=prediction_type)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        unet = UNet2DConditionModel(
            sample_size=2,
            in_channels=4,
            out_channels=4,
            block_out_channels=(8,),
            down_block_types=("CrossAttnDownBlock2D",),
            up_block_types=("CrossAttnUpBlock2D",),
            layers_per_block=1,
            cross_attention_dim=8,
            attention_head_dim=1,
            norm_num_groups=4,
        )
        vae = AutoencoderKL(
            block_out_channels=(4, 4, 4, 4),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=1,
            latent_channels=4,
            norm_num_groups=2,
            mid_block_add_attention=False,
            sample_size=16,
        )
        text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=8,
                intermediate_size=16,
                num_hidden_layers=1,
                num_attention_heads=1,
                max_position_embeddings=tokenizer.model_max_length,
                projection_dim=8,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
    export.save_sd(folder, vae, unet, text_encoder, tokenizer, scheduler)
    return folder
