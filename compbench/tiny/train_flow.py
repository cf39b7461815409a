# pyright: basic, reportArgumentType=false, reportAttributeAccessIssue=false
# (diffusers annotates its constructors and outputs too narrowly)
"""The recipe of `emoji-flow`: `python -m compbench.tiny.train_flow --work DIR` (one core, one hour and what it shares).

Stable Diffusion 3 in miniature: a transformer over latents and captions together, read by two CLIPs that are trained
with it, by flow matching on timesteps of the paper's density (Esser et al., 2024: logit-normal, then shifted). The
autoencoder and the encoded canvases are those of `emoji-sd`: where DIR holds its vae.pt and bank.pt they are taken,
else made by its recipe. Killed at any time, the same command continues from the last checkpoint and ends at the same
weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from torch import Tensor, nn
from transformers import CLIPTextModelWithProjection, CLIPTokenizer

from compbench.tiny import export
from compbench.tiny.arguments import arguments_of
from compbench.tiny.tokenizer import make_tokenizer
from compbench.tiny.train import (
    Recipe,
    Stage,
    encode_bank,
    interpolated,
    seeded,
    text_config,
    tokenize,
    train_vae,
)
from compbench.tiny.train_emoji import RECIPE

__all__ = ["FlowRecipe", "main", "train"]


@dataclass(frozen=True, slots=True)
class FlowRecipe:
    """Everything that decides the weights."""

    shared: Recipe = RECIPE  # of the autoencoder, the encoded canvases and the words
    name: str = "emoji-flow"
    seed: int = 20_240_305
    n_layers: int = 5
    n_heads: int = 4
    width: int = 96  # of the transformer, and of both text encoders side by side
    shift: float = 3.0
    steps: int = 12_000
    batch: int = 64
    # step -> learning rate, straight lines between
    rates: tuple[tuple[int, float], ...] = ((0, 0.0), (300, 1e-3), (6_000, 1e-3), (12_000, 0.0))
    caption_dropout: float = 0.1


def new_transformer(recipe: FlowRecipe) -> SD3Transformer2DModel:
    """8x8x8 latents in 16 tokens, beside those of the caption -> the velocity; 1.7 M parameters."""
    transformer = SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=8,
        out_channels=8,
        num_layers=recipe.n_layers,
        num_attention_heads=recipe.n_heads,
        attention_head_dim=recipe.width // recipe.n_heads,
        joint_attention_dim=recipe.width,
        caption_projection_dim=recipe.width,
        pooled_projection_dim=recipe.width,
        pos_embed_max_size=4,
        qk_norm="rms_norm",  # as in 3.5: it lets the learning rate be this high
    )
    # every block begins as the identity, the output as zero (Peebles & Xie 2023)
    norms = [norm for block in transformer.transformer_blocks for norm in (block.norm1, block.norm1_context)]
    for linear in (*(norm.linear for norm in norms), transformer.norm_out.linear, transformer.proj_out):
        nn.init.zeros_(linear.weight)
        nn.init.zeros_(linear.bias)
    return transformer


def new_text_encoder(tokenizer: CLIPTokenizer, width: int) -> CLIPTextModelWithProjection:
    """Captions of up to 16 tokens -> [16, width] of its second layer, and one vector of its third."""
    return CLIPTextModelWithProjection(text_config(tokenizer, width))


def conditioning(encoders: Sequence[nn.Module], ids: Tensor) -> dict[str, Tensor]:
    """Token ids [n, tokens] as the transformer is told of them, by the SD3 pipeline without a T5."""
    read = [encoder(ids, output_hidden_states=True) for encoder in encoders]
    states = torch.cat([some.hidden_states[-2] for some in read], dim=-1)
    return {"encoder_hidden_states": states, "pooled_projections": torch.cat([some[0] for some in read], dim=-1)}


def train_flow(
    recipe: FlowRecipe, tokenizer: CLIPTokenizer, bank: Tensor, captions: list[str], work: Path
) -> tuple[SD3Transformer2DModel, tuple[CLIPTextModelWithProjection, ...]]:
    """The transformer and its text encoders on the velocity; the averaged weights are returned."""
    torch.manual_seed(recipe.seed)
    transformer = new_transformer(recipe)
    encoders = tuple(new_text_encoder(tokenizer, recipe.width // 2) for _ in range(2))
    tokens = tokenize(tokenizer, captions)
    empty = tokenize(tokenizer, [""])[0]

    def loss(step: int) -> Tensor:
        generator = seeded(recipe.seed, 1, step)
        rows = torch.randint(len(bank), (recipe.batch,), generator=generator)
        noise = torch.randn(bank[rows].shape, generator=generator)
        dropped = torch.rand(recipe.batch, generator=generator) < recipe.caption_dropout
        even = torch.randn(recipe.batch, generator=generator).sigmoid()
        sigma = (recipe.shift * even / (1 + (recipe.shift - 1) * even)).view(-1, 1, 1, 1)
        told = conditioning(encoders, torch.where(dropped[:, None], empty, tokens[rows]))
        noised = (1 - sigma) * bank[rows] + sigma * noise
        velocity = transformer(noised, timestep=1000 * sigma.flatten(), **told).sample
        return F.mse_loss(velocity, noise - bank[rows])

    modules = {"transformer": transformer, "text_encoder": encoders[0], "text_encoder_2": encoders[1]}
    Stage("flow", work, modules, recipe.steps, interpolated(recipe.rates)).run(loss)
    return transformer, encoders


def train(recipe: FlowRecipe, work: Path, output: Path) -> None:
    """Train what `work` lacks and write the model into `output`."""
    work.mkdir(parents=True, exist_ok=True)
    tokenizer = make_tokenizer(recipe.shared.words)
    vae = train_vae(recipe.shared, work)
    bank, captions, scaling_factor = encode_bank(recipe.shared, vae, work)
    mean = bank.mean().item()
    transformer, encoders = train_flow(recipe, tokenizer, bank - mean, captions, work)
    vae.register_to_config(scaling_factor=scaling_factor, shift_factor=mean / scaling_factor)
    scheduler = FlowMatchEulerDiscreteScheduler(shift=recipe.shift)
    export.save_sd3(output / recipe.name, vae, transformer, encoders, tokenizer, scheduler, recipe.shared.stored_bits)


def main() -> None:
    """Train what is not trained yet, then write the weights in the layout of diffusers' StableDiffusion3Pipeline."""
    arguments = arguments_of(__doc__, "emoji-flow/ goes").parse_args()
    torch.set_num_threads(arguments.threads)
    train(FlowRecipe(), arguments.work, arguments.output)


if __name__ == "__main__":
    main()
