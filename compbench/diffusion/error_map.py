"""The error of one caption minus that of another, position by position in the image, averaged over draws."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import PIL.Image
import torch
from torch import Tensor

from compbench.core.aliases import Floats
from compbench.diffusion.classifier import DiffusionClassifier
from compbench.diffusion.denoiser import Conditioning
from compbench.diffusion.devices import fitting

__all__ = ["LOSSES", "error_map", "seen"]

# what the mean over positions of each is a stored error
LOSSES: dict[str, Callable[[Tensor], Tensor]] = {"l2": torch.square, "l1": torch.abs}
_BATCH_SIZE = 8


@torch.inference_mode()
def error_map(
    classifier: DiffusionClassifier,
    picture: PIL.Image.Image,
    captions: tuple[str, str],
    *,
    of: tuple[str, int] = ("", 0),
    weights: Sequence[float] | Floats,
    loss: str = "l2",
    batch_size: int | None = None,
) -> Floats:
    """[h, w] float32 over the latent positions: error under captions[1] less error under captions[0].

    Averaged over the first len(weights) draws of the classifier's bank, each times its weight, and over channels, so
    that the mean over positions is the difference of the two stored errors. Positive: there the picture speaks for
    captions[0]. `of` names the example and the image's number, by which an image may have noise of its own.
    UsageError for a network that shows no residual by position.
    """
    denoiser, each_error = classifier.denoiser, LOSSES[loss]
    pixels = denoiser.pixels(picture)[None]
    latents, _ = fitting(lambda size: denoiser.encode_pixels(pixels), 1, denoiser.device, _unheard)
    states, _ = fitting(lambda size: denoiser.encode_captions(list(captions)), 1, denoiser.device, _unheard)
    total = torch.zeros(denoiser.latent_shape[1:], dtype=torch.float64)
    start, size = 0, batch_size or _BATCH_SIZE
    while start < len(weights):
        batch = partial(_summed, classifier, latents, states, each_error, weights, of, start)
        summed, size = fitting(batch, size, denoiser.device, _unheard)
        total += summed
        start += size
    return (total / len(weights)).float().numpy()


def seen(classifier: DiffusionClassifier, picture: PIL.Image.Image) -> PIL.Image.Image:
    """The picture as the network sees it: cropped or squeezed to a square."""
    pixels = classifier.denoiser.pixels(picture)  # [3, side, side] in [-1, 1]
    values = ((pixels.permute(1, 2, 0) + 1) * 127.5).round().clamp(0, 255)
    return PIL.Image.fromarray(values.to(torch.uint8).numpy())


def _unheard(message: str) -> None: ...


def _summed(
    classifier: DiffusionClassifier,
    latents: Tensor,
    states: Conditioning,
    each_error: Callable[[Tensor], Tensor],
    weights: Sequence[float] | Floats,
    of: tuple[str, int],
    start: int,
    n_draws: int,
) -> Tensor:
    """[h, w] float64 on the CPU: the weighted differences of the next `n_draws` draws, or of what is left."""
    denoiser, bank = classifier.denoiser, classifier.bank
    draws = range(start, min(start + n_draws, len(weights)))
    noise = bank.noise_of(*of)(draws, denoiser.latent_shape).to(denoiser.device)
    timesteps = torch.from_numpy(bank.timesteps[draws.start : draws.stop]).to(denoiser.device)
    n = len(draws)
    first, second = (
        each_error(
            denoiser.residual(
                latents.expand(n, -1, -1, -1),
                noise,
                timesteps,
                {name: tensor[c : c + 1].expand(n, *tensor.shape[1:]) for name, tensor in states.items()},
            )
        ).mean(1)
        for c in (0, 1)
    )  # [n, h, w] each
    scale = torch.from_numpy(np.asarray(weights, dtype=np.float64)[draws.start : draws.stop])
    return ((second.double().cpu() - first.double().cpu()) * scale[:, None, None]).sum(0)
