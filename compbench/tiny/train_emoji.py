"""The recipe of the models of the task `emoji`: `python -m compbench.tiny.train_emoji --work DIR` (one core, two hours).

The stages are those of the tiny models: an autoencoder, a bank of encoded canvases, the latent diffusion model with its
text encoder, and a CLIP. Killed at any time, the same command continues from the last checkpoint and ends at the same
weights. Keep `--work` apart from that of `compbench.tiny.train`.
"""

from __future__ import annotations

from compbench.tasks.drawings.canvases import training_canvas
from compbench.tiny.export import ClipSizes
from compbench.tiny.tokenizer import EMOJI_WORDS
from compbench.tiny.train import Recipe, main

__all__ = ["RECIPE"]

RECIPE = Recipe(
    seed=20_240_910,
    scene=training_canvas,
    words=EMOJI_WORDS,
    sd_name="emoji-sd",
    clip_sizes=ClipSizes("emoji-clip", patch_px=8, width=128),
    text_width=128,
    vae_steps=2_000,
    vae_batch=16,
    bank_scenes=60_000,
    sd_steps=6_000,
    sd_batch=32,
    sd_rates=((0, 0.0), (200, 1.5e-3), (3_000, 1.5e-3), (6_000, 0.0)),
    high_noise=((0, 0.4, 600), (4_000, 0.6, 700)),
    clip_steps=2_000,
    clip_batch=96,
)

if __name__ == "__main__":
    main(RECIPE, __doc__)
