"""The bank: a finite, fixed set of draws (timestep, noise), the same for all captions of an image.

It is the same for all images too, unless each image has noise of its own. Draw d depends on the seed, d and, where the
noise is its own, the image: never on batch, device, order, or how many draws or examples there are. Every prefix of
the bank is balanced over the timesteps, so a larger budget only adds draws to a smaller one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from compbench.core.aliases import Floats, Ints

__all__ = [
    "DrawBank",
    "antithetic_bank",
    "balanced_timesteps",
    "paper_bank",
    "per_image",
    "generator_of",
    "seeded_bank",
    "stepped_bank",
]

_PAPER_NOISES = 1024

Noise = Callable[[Iterable[int], tuple[int, ...]], Tensor]


@dataclass(frozen=True, slots=True)
class DrawBank:
    """Draw d of an image is timestep `timesteps[d]` with noise `noise_of(example_id, image)([d], shape)[0]`."""

    timesteps: Ints | Floats  # [D] each of the grid's once; int64, or float32 as a flow's network is told them
    noise: Noise  # draws, (c, h, w) -> [k, c, h, w] float32 on the CPU: shared by all images
    own: Callable[[str, int], Noise] | None = None  # in its place, that of an example's id and the image's number

    def over(self, grid: Ints | Floats) -> DrawBank:
        """The same draws where the n-th timestep is the n-th of a grid."""
        return replace(self, timesteps=grid[self.timesteps.astype(np.int64)])

    def noise_of(self, example_id: str, image: int) -> Noise:
        """The noise of one image, all captions of it."""
        return self.noise if self.own is None else self.own(example_id, image)


def balanced_timesteps(n: int = 1000) -> Ints:
    """The numbers 0..n-1, each once, in van der Corput's order: every prefix is spread evenly.

    The sequence is shifted by a third, so that a prefix of 2^k neither leans to low noise nor to high.

    >>> balanced_timesteps(8).tolist()
    [2, 6, 4, 0, 3, 7, 5, 1]
    """
    n_bits = max(1, (n - 1).bit_length())
    reversed_bits = (int(f"{d:0{n_bits}b}"[::-1], 2) for d in range(1 << n_bits))
    whole = 3 << n_bits  # thirds of a step: integers keep the order exact
    steps = ((3 * r + (1 << n_bits)) % whole * n // whole for r in reversed_bits)
    return np.fromiter(dict.fromkeys(steps), dtype=np.int64, count=n)


def seeded_bank(seed: int, n_timesteps: int = 1000) -> DrawBank:
    """compbench's own bank: the noise of draw d comes from a generator seeded by (seed, d)."""

    def noise(draws: Iterable[int], shape: tuple[int, ...]) -> Tensor:
        return torch.stack([torch.randn(shape, generator=generator_of(seed, draw)) for draw in draws])

    return DrawBank(balanced_timesteps(n_timesteps), noise)


def per_image(bank: DrawBank, seed: int) -> DrawBank:
    """The timesteps of `bank`, with noise of each image's own from (seed, example's id, image's number, draw).

    As in the published runs on data sets of classes, which draw fresh noise for each picture; theirs is not seeded.
    """

    def own(example_id: str, image: int) -> Noise:
        name = (*hashlib.sha256(example_id.encode()).digest(), image)

        def noise(draws: Iterable[int], shape: tuple[int, ...]) -> Tensor:
            return torch.stack([torch.randn(shape, generator=generator_of(seed, *name, draw)) for draw in draws])

        return noise

    return replace(bank, own=own)


def antithetic_bank(seed: int, n_timesteps: int = 1000) -> DrawBank:
    """Draws in pairs: neighbouring timesteps, the same noise with opposite signs (antithetic variates).

    Each draw is distributed as in `seeded_bank`, so a mean over draws estimates the same; what the sign of the noise
    does to an error cancels within a pair. The noise of pair k comes from a generator seeded by (seed, k). Each pair is
    followed by the one mirrored at the middle of the schedule: half as many timesteps as of independent draws would
    else lean to one side of it.
    """
    n_pairs = n_timesteps // 2
    mirrored = (t for first in balanced_timesteps(n_pairs).tolist() for t in (first, n_pairs - 1 - first))
    pairs = np.fromiter(dict.fromkeys(mirrored), dtype=np.int64, count=n_pairs)

    def noise(draws: Iterable[int], shape: tuple[int, ...]) -> Tensor:
        return torch.stack([_signed(torch.randn(shape, generator=generator_of(seed, d // 2)), d) for d in draws])

    return DrawBank((2 * pairs[:, None] + np.arange(2)).ravel(), noise)


def _signed(noise: Tensor, draw: int) -> Tensor:
    return -noise if draw % 2 else noise


def paper_bank(seed: int, n_timesteps: int = 1000) -> DrawBank:
    """The draws of the published Winoground and DiT runs, the same for all images.

    Timestep t goes with the t-th of 1024 noises drawn at once after manual_seed(seed). The published loop goes through
    t in order; ours in balanced order, over the same 1000 pairs (t, noise).
    """
    timesteps = balanced_timesteps(n_timesteps)

    def noise(draws: Iterable[int], shape: tuple[int, ...]) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        noises = torch.randn((_PAPER_NOISES, *shape), generator=generator)
        return noises[torch.from_numpy(timesteps[list(draws)])]

    return DrawBank(timesteps, noise)


def stepped_bank(seed: int, timesteps: Ints) -> DrawBank:
    """The draws of the published runs of DiffusionITM and Self-Bench: few timesteps, the same for all images.

    The n-th timestep goes with the n-th noise drawn after manual_seed(seed); the published code keeps those of its
    first run in a file. Draws are in balanced order, where the published loops go through t in order.
    """
    order = balanced_timesteps(len(timesteps))

    def noise(draws: Iterable[int], shape: tuple[int, ...]) -> Tensor:
        noises = torch.randn((len(timesteps), *shape), generator=torch.Generator().manual_seed(seed))
        return noises[torch.from_numpy(order[list(draws)])]

    return DrawBank(timesteps[order], noise)


def generator_of(seed: int, *of_draw: int) -> torch.Generator:
    """The generator that a seed and further numbers stand for."""
    mixed = np.random.SeedSequence([seed, *of_draw]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(mixed >> np.uint64(1)))
