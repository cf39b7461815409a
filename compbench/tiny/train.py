# pyright: basic, reportArgumentType=false, reportAttributeAccessIssue=false
# (diffusers annotates its constructors and outputs too narrowly)
"""The recipe of the tiny models: `python -m compbench.tiny.train --work DIR` (two CPU cores, about two hours).

Four resumable stages: an autoencoder, a bank of encoded scenes, the latent diffusion model with its
text encoder, and a CLIP. Killed at any time, the same command continues from the last checkpoint and
ends at the same weights: the examples of step n depend on (seed, n) alone.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL.Image
import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from compbench.tasks import scenes
from compbench.tiny import export
from compbench.tiny.arguments import arguments_of
from compbench.tiny.export import TINY_CLIP, ClipSizes
from compbench.tiny.tokenizer import SCENE_WORDS, make_tokenizer

__all__ = [
    "Recipe",
    "Stage",
    "encode_bank",
    "falling",
    "interpolated",
    "main",
    "seeded",
    "text_config",
    "tokenize",
    "train",
    "train_vae",
]


VAE_CHANNELS = (8, 16, 32, 64)
# a generator -> pictures, each with its caption
Drawn = Callable[[np.random.Generator], Sequence[tuple[PIL.Image.Image, str]]]


def one_scene(rng: np.random.Generator) -> Sequence[tuple[PIL.Image.Image, str]]:
    """A scene of coloured shapes."""
    return [scenes.training_scene(rng)]


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides the weights."""

    seed: int = 20_230_701
    scenes: Drawn = one_scene
    vae_scenes: Drawn = one_scene
    clip_scenes: Drawn = one_scene
    vae_channels: tuple[int, ...] = VAE_CHANNELS
    words: tuple[str, ...] = SCENE_WORDS
    sd_name: str = "tiny-sd"
    stored_bits: int = 10  # of each weight's mantissa in the diffusion model's files, of the ten that float16 has
    clip_sizes: ClipSizes = TINY_CLIP
    text_width: int = 96
    vae_steps: int = 1_200
    vae_batch: int = 32
    bank_scenes: int = 48_000
    sd_steps: int = 8_000
    sd_batch: int = 64
    # step -> learning rate, straight lines between
    sd_rates: tuple[tuple[int, float], ...] = ((0, 0.0), (200, 1.5e-3), (3_000, 1.5e-3), (4_200, 9e-4), (8_000, 0.0))
    caption_dropout: float = 0.1
    # from this step on, this share of the timesteps lies at or above this one: binding first, then place, of which
    # only very noisy latents teach anything
    high_noise: tuple[tuple[int, float, int], ...] = ((0, 0.4, 600), (4_200, 0.75, 800))
    clip_steps: int = 2_000
    clip_batch: int = 128
    clip_learning_rate: float = 1e-3


def new_vae(channels: tuple[int, ...] = VAE_CHANNELS) -> AutoencoderKL:
    """64x64x3 pixels <-> 8x8x8 latents; 0.66 M parameters of the smaller channels."""
    return AutoencoderKL(
        block_out_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=8,
        norm_num_groups=8,
        mid_block_add_attention=False,
        sample_size=64,
    )


def new_unet(text_width: int = 96) -> UNet2DConditionModel:
    """8x8x8 latents -> the v target, cross-attention at both levels, 2.4 M parameters."""
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=8,
        out_channels=8,
        block_out_channels=(48, 96),
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=text_width,
        attention_head_dim=4,
        norm_num_groups=16,
    )


def new_text_encoder(tokenizer: CLIPTokenizer, width: int = 96) -> CLIPTextModel:
    """Captions of up to 16 tokens -> [16, width]."""
    return CLIPTextModel(text_config(tokenizer, width))


def text_config(tokenizer: CLIPTokenizer, width: int) -> CLIPTextConfig:
    """The configuration of a text encoder of three layers."""
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=tokenizer.model_max_length,
        projection_dim=width,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def new_scheduler() -> DDIMScheduler:
    """Stable Diffusion's noise schedule with the v target."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def train_vae(recipe: Recipe, work: Path) -> AutoencoderKL:
    """Pixels to latents with an L1 + L2 reconstruction loss and a whiff of KL."""
    torch.manual_seed(recipe.seed)
    vae = new_vae(recipe.vae_channels)

    def loss(step: int) -> Tensor:
        first = step * recipe.vae_batch
        pixels, _ = _scenes(recipe, range(first, first + recipe.vae_batch), 1, recipe.vae_scenes)
        images = _to_range(pixels)
        posterior = vae.encode(images).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=seeded(recipe.seed, 2, step))
        decoded = vae.decode(posterior.mean + posterior.std * noise).sample
        kl = posterior.kl().mean() / posterior.mean[0].numel()
        return F.l1_loss(decoded, images) + F.mse_loss(decoded, images) + 1e-4 * kl

    stage = Stage("vae", work, {"vae": vae}, recipe.vae_steps, falling(2e-3, recipe.vae_steps))
    stage.run(loss)
    return vae


def encode_bank(recipe: Recipe, vae: AutoencoderKL, work: Path) -> tuple[Tensor, list[str], float]:
    """Latents [n, 8, 8, 8] float32 of unit variance, their captions, and the scaling factor that made it one."""
    path = work / "bank.pt"
    if not path.exists():
        latents: list[Tensor] = []
        captions: list[str] = []
        for start in range(0, recipe.bank_scenes, 250):
            pixels, texts = _scenes(recipe, range(start, min(start + 250, recipe.bank_scenes)), stream=3)
            with torch.inference_mode():
                latents.append(vae.encode(_to_range(pixels)).latent_dist.mean)
            captions += texts
        raw = torch.cat(latents)
        _save({"latents": raw, "captions": captions, "scaling_factor": 1.0 / raw.std().item()}, path)
    bank = torch.load(path, weights_only=True)
    return bank["latents"] * bank["scaling_factor"], bank["captions"], bank["scaling_factor"]


def train_sd(
    recipe: Recipe, tokenizer: CLIPTokenizer, bank: Tensor, captions: list[str], work: Path
) -> tuple[UNet2DConditionModel, CLIPTextModel]:
    """The U-Net and its text encoder on the v target; the averaged weights are returned."""
    torch.manual_seed(recipe.seed + 1)
    unet, text_encoder = new_unet(recipe.text_width), new_text_encoder(tokenizer, recipe.text_width)
    scheduler = new_scheduler()
    tokens = tokenize(tokenizer, captions)
    empty = tokenize(tokenizer, [""])[0]

    def loss(step: int) -> Tensor:
        generator = seeded(recipe.seed, 4, step)
        rows = torch.randint(len(bank), (recipe.sd_batch,), generator=generator)
        noise = torch.randn(bank[rows].shape, generator=generator)
        timesteps = torch.randint(1000, (recipe.sd_batch,), generator=generator)
        _, share, lowest = next(phase for phase in reversed(recipe.high_noise) if step >= phase[0])
        high = torch.rand(recipe.sd_batch, generator=generator) < share
        timesteps = torch.where(high, lowest + timesteps * (1000 - lowest) // 1000, timesteps)
        dropped = torch.rand(recipe.sd_batch, generator=generator) < recipe.caption_dropout
        ids = torch.where(dropped[:, None], empty, tokens[rows])
        latents = bank[rows]
        noised = scheduler.add_noise(latents, noise, timesteps)
        target = scheduler.get_velocity(latents, noise, timesteps)
        hidden = text_encoder(ids)[0]
        return F.mse_loss(unet(noised, timesteps, hidden).sample, target)

    modules = {"unet": unet, "text_encoder": text_encoder}
    stage = Stage("sd", work, modules, recipe.sd_steps, interpolated(recipe.sd_rates))
    stage.run(loss)
    return unet, text_encoder


def train_clip(recipe: Recipe, tokenizer: CLIPTokenizer, work: Path) -> nn.Module:
    """A CLIP on fresh scenes with the usual symmetric contrastive loss."""
    torch.manual_seed(recipe.seed + 2)
    clip = export.new_clip(tokenizer, recipe.clip_sizes)
    mean = torch.tensor(export.CLIP_MEAN)[:, None, None]
    std = torch.tensor(export.CLIP_STD)[:, None, None]

    def loss(step: int) -> Tensor:
        first = step * recipe.clip_batch
        pixels, captions = _scenes(recipe, range(first, first + recipe.clip_batch), 5, recipe.clip_scenes)
        images = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255 - mean) / std
        features, text, scale = clip(images, tokenize(tokenizer, captions))[:3]
        logits = scale * features @ text.T
        # captions repeat within a batch; each of the equal ones is a right answer
        same = torch.tensor([[a == b for b in captions] for a in captions], dtype=torch.float32)
        targets = same / same.sum(1, keepdim=True)
        return (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)) / 2

    rate = falling(recipe.clip_learning_rate, recipe.clip_steps)
    stage = Stage("clip", work, {"clip": clip}, recipe.clip_steps, rate, weight_decay=0.05)
    stage.run(loss)
    return clip


class Stage:
    """A training loop with a learning rate by step, averaged weights and checkpoints."""

    def __init__(
        self,
        name: str,
        work: Path,
        modules: dict[str, nn.Module],
        steps: int,
        rate: Callable[[int], float],
        weight_decay: float = 0.01,
    ) -> None:
        self.name, self.path, self.steps, self.rate = name, work / f"{name}.pt", steps, rate
        self.modules = nn.ModuleDict(modules)
        self.optimizer = torch.optim.AdamW(
            self.modules.parameters(), rate(0), weight_decay=weight_decay, betas=(0.9, 0.99)
        )
        self.average = {k: v.detach().clone() for k, v in self.modules.state_dict().items()}

    def run(
        self,
        loss: Callable[[int], Tensor],
        save_every: int = 200,
        watch: Callable[[int, Mapping[str, Tensor]], None] = lambda step, average: None,
    ) -> None:
        """All steps that are left; `watch` sees the averaged weights, named as in `modules`, at every checkpoint."""
        start, running, began = self._resume(), 0.0, time.monotonic()
        for step in range(start, self.steps):
            for group in self.optimizer.param_groups:
                group["lr"] = self.rate(step)
            value = loss(step)
            self.optimizer.zero_grad(set_to_none=True)
            value.backward()
            nn.utils.clip_grad_norm_(self.modules.parameters(), 1.0)
            self.optimizer.step()
            self._accumulate(step)
            running = value.item() if step == start else 0.98 * running + 0.02 * value.item()
            if (step + 1) % save_every == 0 or step + 1 == self.steps:
                self._checkpoint(step + 1)
                seconds = time.monotonic() - began
                print(
                    f"{self.name} {step + 1}/{self.steps} loss {running:.4f} {seconds:.0f} s",
                    file=sys.stderr,
                    flush=True,
                )
                watch(step + 1, self.average)
        self.modules.load_state_dict(self.average)
        self.modules.eval()

    def _accumulate(self, step: int) -> None:
        decay = min(0.999, (1 + step) / (10 + step))
        with torch.no_grad():
            for key, value in self.modules.state_dict().items():
                if value.is_floating_point():
                    self.average[key].lerp_(value, 1 - decay)
                else:
                    self.average[key].copy_(value)

    def _checkpoint(self, step: int) -> None:
        state = {
            "step": step,
            "modules": self.modules.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
        }
        _save(state, self.path)

    def _resume(self) -> int:
        if not self.path.exists():
            return 0
        state = torch.load(self.path, weights_only=True)
        self.modules.load_state_dict(state["modules"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.average = state["average"]
        return state["step"]


def falling(rate: float, steps: int, warm_up: int = 200) -> Callable[[int], float]:
    """A warm-up, a constant rate, and a straight fall to zero over the second half."""
    return lambda step: rate * min(1.0, (step + 1) / warm_up) * min(1.0, 2 * (1 - step / steps))


def interpolated(rates: tuple[tuple[int, float], ...]) -> Callable[[int], float]:
    """The learning rate of a step: straight lines between the given (step, rate)."""
    steps, values = zip(*rates, strict=True)
    return lambda step: float(np.interp(step + 1, steps, values))


def _scenes(
    recipe: Recipe, indices: Iterable[int], stream: int, drawn: Drawn | None = None
) -> tuple[np.ndarray, list[str]]:
    """uint8 pixels [n, 64, 64, 3] and captions of the scenes with these numbers."""
    drawn = drawn or recipe.scenes
    found = [scene for index in indices for scene in drawn(np.random.default_rng([recipe.seed, stream, index]))]
    side = (scenes.SIZE_PX, scenes.SIZE_PX)  # resized as the models' own pictures are; one of that size is left alone
    pixels = [np.asarray(image.resize(side, PIL.Image.Resampling.BICUBIC)) for image, _ in found]
    return np.stack(pixels), [caption for _, caption in found]


def _to_range(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1  # NHWC uint8 -> NCHW [-1, 1]


def tokenize(tokenizer: CLIPTokenizer, captions: list[str]) -> Tensor:
    """The ids [n, tokens] of captions, padded."""
    encoded = tokenizer(
        captions, padding="max_length", truncation=True, max_length=tokenizer.model_max_length, return_tensors="pt"
    )
    return encoded.input_ids


def seeded(*numbers: int) -> torch.Generator:
    """A generator that depends on these numbers alone."""
    seed = int(np.random.SeedSequence(list(numbers)).generate_state(1, np.uint64)[0] >> 1)
    return torch.Generator().manual_seed(seed)


def _save(state: object, path: Path) -> None:
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    os.replace(partial, path)


def train(recipe: Recipe, work: Path, output: Path, *, only: str | None = None) -> None:
    """Train what `work` lacks and write the diffusion model and the CLIP into `output`."""
    work.mkdir(parents=True, exist_ok=True)
    tokenizer = make_tokenizer(recipe.words)
    if only != "clip":
        vae = train_vae(recipe, work)
        bank, captions, scaling_factor = encode_bank(recipe, vae, work)
        unet, text_encoder = train_sd(recipe, tokenizer, bank, captions, work)
        vae.register_to_config(scaling_factor=scaling_factor)
        export.save_sd(output / recipe.sd_name, vae, unet, text_encoder, tokenizer, new_scheduler(), recipe.stored_bits)
    if only != "sd":
        clip = train_clip(recipe, tokenizer, work)
        export.save_clip(output / recipe.clip_sizes.name, clip, tokenizer, recipe.clip_sizes)


def main(recipe: Recipe = Recipe(), about: str | None = __doc__) -> None:
    """Train what is not trained yet, then write the weights in the layouts of diffusers and open_clip."""
    parser = arguments_of(about, f"{recipe.sd_name}/ and {recipe.clip_sizes.name}/ go")
    parser.add_argument("--only", choices=("sd", "clip"), help="train one of the two")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    train(recipe, arguments.work, arguments.output, only=arguments.only)


if __name__ == "__main__":
    main()
