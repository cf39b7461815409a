"""Pictures of classes by Stable Diffusion: picture k of a caption depends on (seed, caption, k) alone.

Each is a PNG that says in itself what it was made from, written as soon as it is made; what is there is not made again.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import PIL.Image
import PIL.PngImagePlugin
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import nn

from compbench.core import disk, stages
from compbench.core.models import Runtime
from compbench.diffusion.devices import fitting, pick_device
from compbench.diffusion.parts import Parts
from compbench_baselines.generative._wanted import Wanted
from compbench_baselines.training.cache import writing
from compbench_baselines.training.fit import one_thread

__all__ = ["Generator"]

_AT_ONCE = 8  # rows of every batch, the last one too: a network's last bits depend on how many rows it is given


class Generator:
    """A diffusers pipeline of a model's own components, with the DDIM sampler."""

    def __init__(self, parts: Parts, settings: Mapping[str, Any], folder: Path, runtime: Runtime) -> None:
        self.device = pick_device(runtime.device)
        self._settings, self.folder, self._runtime = settings, folder, runtime
        self._parts = parts
        self._pipeline: Any = None
        self._embedded: dict[str, torch.Tensor] = {}
        self._at_once = _AT_ONCE

    def make(self, wanted: Sequence[Wanted]) -> list[Path]:
        """The files of the pictures, all of them there; those that were not are made."""
        files = [example.file(self.folder) for example in wanted]
        lacking = [want for want, file in zip(wanted, files, strict=True) if not file.is_file()]
        n_each = int(self._settings["steps"]) * (2 if self._is_guided else 1)
        if lacking:
            self._runtime.say(
                f"synthetic-sd: {len(lacking):,} of {len(wanted):,} pictures still have to be generated, "
                f"{len(lacking) * n_each:,} network evaluations"
            )
        told = partial(stages.tell, "synthetic-sd: making pictures", n_all=len(lacking), unit="pictures")
        start = 0
        while start < len(lacking):
            batch = partial(self._pictures, lacking[start:])
            with one_thread():
                pictures, self._at_once = fitting(batch, self._at_once, self.device, self._runtime.say)
            for want, picture in zip(lacking[start : start + len(pictures)], pictures, strict=True):
                self._write(want, picture)
            self._runtime.advance(len(pictures) * n_each)
            start += len(pictures)
            told(n_done=start)
        return files

    @torch.inference_mode()
    def evaluate(self, n: int) -> None:
        """Run one step on `n` arbitrary rows, for a probe."""
        unet = self._loaded().unet
        states = self._embedding("").expand(n, -1, -1)
        latents = torch.zeros((n, *self._shape()), device=self.device, dtype=unet.dtype)
        float(unet(latents, torch.tensor(1, device=self.device), encoder_hidden_states=states).sample.float().sum())

    @torch.inference_mode()
    def decode(self, n: int) -> None:
        """`n` pictures of nothing in particular: for a probe."""
        vae = self._loaded().vae
        latents = torch.zeros((n, *self._shape()), device=self.device, dtype=vae.dtype)
        float(vae.decode(latents).sample.float().sum())

    @property
    def _is_guided(self) -> bool:
        return float(self._settings["guidance_scale"]) > 1

    @torch.inference_mode()
    def _pictures(self, wanted: Sequence[Wanted], at_once: int) -> list[PIL.Image.Image]:
        """The first `at_once` of them."""
        pipeline, wanted = self._loaded(), wanted[:at_once]
        padded = [*wanted, *[wanted[-1]] * (at_once - len(wanted))]
        unet, shape = pipeline.unet, self._shape()
        noise = [
            torch.randn(shape, generator=torch.Generator().manual_seed(want.seed(self._settings["seed"])))
            for want in padded
        ]
        made = pipeline(
            prompt_embeds=torch.cat([self._embedding(want.caption) for want in padded]),
            negative_prompt_embeds=self._embedding("").expand(len(padded), -1, -1) if self._is_guided else None,
            latents=torch.stack(noise).to(self.device, unet.dtype),
            num_inference_steps=self._settings["steps"],
            guidance_scale=self._settings["guidance_scale"],
        )
        return made.images[: len(wanted)]

    def _shape(self) -> tuple[int, int, int]:
        config: Any = self._parts.network.config
        return config.in_channels, config.sample_size, config.sample_size

    def _embedding(self, caption: str) -> torch.Tensor:
        """[1, tokens, width], once a caption."""
        if caption not in self._embedded:
            self._embedded[caption], _ = self._pipeline.encode_prompt(caption, self.device, 1, False)
        return self._embedded[caption]

    def _loaded(self) -> Any:
        """The pipeline, put together when the first picture is to be made."""
        if self._pipeline is None:
            parts = self._parts
            pipeline = StableDiffusionPipeline(
                vae=parts.vae,
                text_encoder=parts.texts[0].encoder,
                tokenizer=parts.texts[0].tokenizer,
                unet=parts.network,
                scheduler=DDIMScheduler.from_config(parts.scheduler.config),  # pyright: ignore[reportArgumentType]
                safety_checker=None,  # pyright: ignore[reportArgumentType]
                feature_extractor=None,  # pyright: ignore[reportArgumentType]
                requires_safety_checker=False,
            )
            pipeline.set_progress_bar_config(disable=True)
            self._pipeline = pipeline.to(self.device)
            for part in (parts.network, parts.vae, parts.texts[0].encoder):
                # not diffusers' own `to`, which warns of every cast
                nn.Module.to(part, dtype=getattr(torch, str(self._settings["dtype"])))
        return self._pipeline

    def _write(self, wanted: Wanted, picture: PIL.Image.Image) -> None:
        about = PIL.PngImagePlugin.PngInfo()
        about.add_itxt("caption", wanted.caption)
        about.add_text("k", str(wanted.k))
        about.add_text("noise_seed", str(wanted.seed(self._settings["seed"])))
        for name, value in self._settings.items():
            about.add_text(name, str(value))
        out = io.BytesIO()
        picture.save(out, "PNG", pnginfo=about)
        file = wanted.file(self.folder)
        with writing(self.folder):
            file.parent.mkdir(parents=True, exist_ok=True)
            disk.write(file, out.getbuffer())
