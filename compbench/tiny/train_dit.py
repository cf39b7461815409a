# pyright: basic, reportArgumentType=false, reportAttributeAccessIssue=false
# (diffusers annotates its constructors and outputs too narrowly)
"""The recipe of `tiny-dit`: `python -m compbench.tiny.train_dit --work DIR` (one CPU core, a quarter to half an hour).

Three resumable stages: an autoencoder, the encoded training pictures, and a class-conditional DiT with learned
variance. All three see the training split of the task `digits` alone, of which every eighth picture is kept back to
watch the accuracy. The examples of step n depend on (seed, n) alone.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.transformers.dit_transformer_2d import DiTTransformer2DModel
from diffusers.pipelines.dit.pipeline_dit import DiTPipeline
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor, nn

from compbench.diffusion.draws import balanced_timesteps
from compbench.diffusion.silence import quiet
from compbench.diffusion.vlb import Bound
from compbench.tasks import digits
from compbench.tiny.arguments import arguments_of
from compbench.tiny.train import Stage, falling, seeded

__all__ = ["Recipe", "main", "new_scheduler", "new_transformer", "new_vae", "train"]

_N_CLASSES = len(digits.NAMES)
_NULL = _N_CLASSES  # the label of no class


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides the weights."""

    seed: int = 20_221_219
    largest_shift_px: int = 3  # pictures are moved by up to this many pixels each way
    held_out_every: int = 8
    held_out_draws: int = 16  # of the accuracy that is watched, which decides nothing
    vae_steps: int = 800
    vae_batch: int = 32
    dit_steps: int = 3_000
    dit_batch: int = 64
    dit_rate: float = 1e-3
    label_dropout: float = 0.1


@dataclass(frozen=True, slots=True)
class Bank:
    """Encoded pictures: every training picture under every shift."""

    latents: Tensor  # [n, shifts, c, h, w] float32 of unit variance
    labels: Tensor  # [n] int64
    scaling_factor: float


def new_vae() -> AutoencoderKL:
    """32x32x3 pixels <-> 8x8x4 latents."""
    return AutoencoderKL(
        block_out_channels=(8, 16, 32),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        mid_block_add_attention=False,
        sample_size=digits.SIZE_PX,
    )


def new_transformer() -> DiTTransformer2DModel:
    """8x8x4 latents in 16 tokens -> eps and v, 8x8x8; ten classes and one for none."""
    transformer = DiTTransformer2DModel(
        num_attention_heads=4,
        attention_head_dim=32,
        in_channels=4,
        out_channels=8,
        num_layers=4,
        sample_size=8,
        patch_size=2,
        num_embeds_ada_norm=_N_CLASSES,
    )
    # adaLN-Zero: every block begins as the identity, the output as zero (Peebles & Xie 2023)
    zeroed = [block.norm1.linear for block in transformer.transformer_blocks]
    for linear in (*zeroed, transformer.proj_out_1, transformer.proj_out_2):
        nn.init.zeros_(linear.weight)
        nn.init.zeros_(linear.bias)
    return transformer


def new_scheduler() -> DDIMScheduler:
    """The noise schedule of the published DiT: linear betas."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=1e-4,
        beta_end=2e-2,
        beta_schedule="linear",
        prediction_type="epsilon",
        clip_sample=False,
        set_alpha_to_one=False,
    )


def train_vae(recipe: Recipe, pixels: Tensor, work: Path) -> AutoencoderKL:
    """Pixels to latents with an L1 + L2 reconstruction loss and a whiff of KL."""
    torch.manual_seed(recipe.seed)
    vae = new_vae()

    def loss(step: int) -> Tensor:
        generator = seeded(recipe.seed, 1, step)
        rows = torch.randint(len(pixels), (recipe.vae_batch,), generator=generator)
        most = recipe.largest_shift_px
        moves = torch.randint(-most, most + 1, (recipe.vae_batch, 2), generator=generator).tolist()
        images = torch.stack([shifted(pixels[row], *move) for row, move in zip(rows.tolist(), moves, strict=True)])
        posterior = vae.encode(images).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=generator)
        decoded = vae.decode(posterior.mean + posterior.std * noise).sample
        kl = posterior.kl().mean() / posterior.mean[0].numel()
        return F.l1_loss(decoded, images) + F.mse_loss(decoded, images) + 1e-4 * kl

    Stage("vae", work, {"vae": vae}, recipe.vae_steps, falling(2e-3, recipe.vae_steps)).run(loss)
    return vae


@torch.inference_mode()
def encode_bank(recipe: Recipe, vae: AutoencoderKL, pixels: Tensor, labels: Tensor) -> Bank:
    """All training pictures under all shifts, scaled to unit variance."""
    most = recipe.largest_shift_px
    moves = [(down, right) for down in range(-most, most + 1) for right in range(-most, most + 1)]
    means = [vae.encode(shifted(pixels, *move)).latent_dist.mean for move in moves]
    raw = torch.stack(means, dim=1)
    scaling_factor = 1 / raw.std().item()
    return Bank(raw * scaling_factor, labels, scaling_factor)


def train_dit(recipe: Recipe, bank: Bank, watch: Callable[[DiTTransformer2DModel], str], work: Path) -> nn.Module:
    """The hybrid loss of Nichol & Dhariwal (2021), L_simple + 0.001 L_vlb; the averaged weights are returned.

    L_vlb is the sum of 1000 terms, of which one is drawn: so its weight is one. The bound teaches the variance alone.
    """
    torch.manual_seed(recipe.seed + 1)
    transformer, scheduler = new_transformer(), new_scheduler()
    for block in transformer.transformer_blocks:  # which would drop the label in one block and not in the next
        block.norm1.emb.class_embedder.dropout_prob = 0.0
    bound = Bound.from_betas(scheduler.betas, torch.device("cpu"))
    n, n_shifts = bank.latents.shape[:2]

    def loss(step: int) -> Tensor:
        generator = seeded(recipe.seed, 2, step)
        rows = torch.randint(n, (recipe.dit_batch,), generator=generator)
        latents = bank.latents[rows, torch.randint(n_shifts, (recipe.dit_batch,), generator=generator)]
        noise = torch.randn(latents.shape, generator=generator)
        timesteps = torch.randint(1000, (recipe.dit_batch,), generator=generator)
        is_dropped = torch.rand(recipe.dit_batch, generator=generator) < recipe.label_dropout
        labels = torch.where(is_dropped, _NULL, bank.labels[rows])
        noised = scheduler.add_noise(latents, noise, timesteps)
        eps, v = transformer(noised, timestep=timesteps, class_labels=labels).sample.chunk(2, dim=1)
        error = noise - eps
        has_term = timesteps > 0
        return error.square().mean() + (bound.bits(error.detach(), v, timesteps) * has_term).mean()

    def report(step: int, average: Mapping[str, Tensor]) -> None:
        averaged = copy.deepcopy(transformer)
        averaged.load_state_dict({key.removeprefix("transformer."): tensor for key, tensor in average.items()})
        print(f"  step {step}: {watch(averaged.eval())}", file=sys.stderr, flush=True)

    stage = Stage(
        "dit", work, {"transformer": transformer}, recipe.dit_steps, falling(recipe.dit_rate, recipe.dit_steps)
    )
    stage.run(loss, watch=report)
    return transformer


@torch.inference_mode()
def accuracy(transformer: DiTTransformer2DModel, latents: Tensor, labels: Tensor, n_draws: int) -> float:
    """The share of `latents` [n, c, h, w] whose own class has the smallest mean squared error."""
    scheduler = new_scheduler()
    errors = torch.zeros(len(latents), _N_CLASSES)
    for draw, t in enumerate(balanced_timesteps()[:n_draws].tolist()):
        timestep = torch.tensor([t])
        noise = torch.randn(latents.shape[1:], generator=seeded(0, 3, draw))
        noised = scheduler.add_noise(latents, noise.expand_as(latents), timestep)
        for label in range(_N_CLASSES):
            given = torch.full((len(latents),), label)
            eps = transformer(noised, timestep=timestep.expand(len(latents)), class_labels=given).sample[:, :4]
            errors[:, label] += (noise - eps).square().flatten(1).mean(1)
    return (errors.argmin(1) == labels).float().mean().item()


def save(folder: Path, vae: AutoencoderKL, transformer: nn.Module) -> None:
    """A folder that `DiTPipeline.from_pretrained` loads; float16 safetensors."""
    id2label = {str(label): name for label, name in enumerate(digits.NAMES)}
    pipeline = DiTPipeline(transformer=transformer, vae=vae, scheduler=new_scheduler(), id2label=id2label)
    pipeline.register_to_config(id2label=id2label)  # which saving would leave out of model_index.json
    with quiet():  # of parts to be kept in float32, of which there are none
        pipeline.to(torch.float16).save_pretrained(folder, safe_serialization=True)


def shifted(pixels: Tensor, down: int, right: int) -> Tensor:
    """Pictures [..., h, w] moved by whole pixels; black comes in, since the margin is wider than the shift."""
    return pixels.roll((down, right), dims=(-2, -1))


def training_pictures() -> tuple[Tensor, Tensor]:
    """Pixels [1200, 3, 32, 32] float32 in [-1, 1] and labels [1200] of the training split."""
    examples = digits.training_examples()
    grey = np.stack([np.asarray(example.images[0].decode()) for example in examples])
    pixels = torch.from_numpy(grey)[:, None].expand(-1, 3, -1, -1).float() / 127.5 - 1
    labels = torch.tensor([int(example.matches[0].argmax()) for example in examples])
    return pixels, labels


def train(recipe: Recipe, work: Path, output: Path) -> None:
    """Train what `work` lacks and write `tiny-dit` into `output`."""
    work.mkdir(parents=True, exist_ok=True)
    pixels, labels = training_pictures()
    is_held_out = torch.arange(len(pixels)) % recipe.held_out_every == 0
    fitted, held_out = pixels[~is_held_out], pixels[is_held_out]
    vae = train_vae(recipe, fitted, work)
    bank = encode_bank(recipe, vae, fitted, labels[~is_held_out])
    with torch.inference_mode():
        latents = vae.encode(held_out).latent_dist.mean * bank.scaling_factor

    def watch(transformer: DiTTransformer2DModel) -> str:
        share = accuracy(transformer, latents, labels[is_held_out], recipe.held_out_draws)
        return f"{share:.1%} of {len(latents)} held-out digits"

    transformer = train_dit(recipe, bank, watch, work)
    vae.register_to_config(scaling_factor=bank.scaling_factor)
    save(output / "tiny-dit", vae, transformer)


def main() -> None:
    """Train what is not trained yet, then write the weights in the layout of diffusers' DiTPipeline."""
    arguments = arguments_of(__doc__, "tiny-dit/ goes").parse_args()
    torch.set_num_threads(arguments.threads)
    train(Recipe(), arguments.work, arguments.output)


if __name__ == "__main__":
    main()
