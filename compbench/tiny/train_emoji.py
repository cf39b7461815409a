"""The recipe of the models of `emoji`: `python -m compbench.tiny.train_emoji --work DIR` (one core, three hours).

The stages are those of the tiny models: an autoencoder, a bank of encoded canvases, the latent diffusion model with its
text encoder, and a CLIP. The autoencoder learns from crowded canvases, since most of any other is grey. The CLIP learns
from pairs of canvases whose captions are made of the same words: a batch of unrelated canvases hardly ever holds two
that only place or binding tells apart. Killed at any time, the same command continues from the last checkpoint and ends
at the same weights. Keep its `--work` to itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import PIL.Image

from compbench.tasks.drawings.canvases import crowded_canvas, training_canvas, training_pair
from compbench.tiny.export import ClipSizes
from compbench.tiny.tokenizer import EMOJI_WORDS
from compbench.tiny.train import Recipe, main

__all__ = ["RECIPE"]


def _one_canvas(rng: np.random.Generator) -> Sequence[tuple[PIL.Image.Image, str]]:
    return [training_canvas(rng)]


def _crowded(rng: np.random.Generator) -> Sequence[tuple[PIL.Image.Image, str]]:
    return [(crowded_canvas(rng), "")]


RECIPE = Recipe(
    seed=20_240_910,
    scenes=_one_canvas,
    vae_scenes=_crowded,
    clip_scenes=training_pair,
    vae_channels=(16, 32, 64, 96),
    words=EMOJI_WORDS,
    sd_name="emoji-sd",
    stored_bits=3,  # so that a wheel with all small models stays under 25 MB
    clip_sizes=ClipSizes("emoji-clip", patch_px=16, width=128),
    text_width=128,
    vae_steps=4_000,
    vae_batch=16,
    bank_scenes=60_000,
    sd_rates=((0, 0.0), (200, 1.5e-3), (4_000, 1.5e-3), (8_000, 0.0)),
    high_noise=((0, 0.4, 600), (5_000, 0.6, 700)),
    clip_steps=1_600,
    clip_batch=64,  # pairs
)

if __name__ == "__main__":
    main(RECIPE, __doc__)
