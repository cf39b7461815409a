"""Pictures and captions on their way into the network, encoded in batches of one shape.

What a library computes for one row may change with the number of rows, so a picture's latents would depend on how many
others happened to be encoded with it. Every batch of a task therefore has the same number of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Generic, TypeVar

import torch

from compbench.diffusion.denoiser import Conditioning
from compbench.diffusion.devices import fitting

__all__ = ["Encode", "FixedBatches"]

Item = TypeVar("Item")
Encode = Callable[[Sequence[Item]], dict[str, torch.Tensor]]  # items -> name -> [n, ...]


class FixedBatches(Generic[Item]):
    """Encodes any number of items, `size` rows at a time, the last batch filled up; halved when memory runs out."""

    def __init__(
        self,
        encode: Callable[[Sequence[Item]], Conditioning],
        size: int,
        device: torch.device,
        say: Callable[[str], None],
        *,
        autotunes: bool = False,
    ) -> None:
        self._encode, self._size, self._device, self._say = encode, size, device, say
        self._autotunes = autotunes

    @property
    def size(self) -> int:
        """The number of rows of a batch."""
        return self._size

    def __call__(self, items: Sequence[Item]) -> dict[str, torch.Tensor]:
        """Name -> [n, ...], in full float32."""
        made: list[Conditioning] = []
        start = 0
        while start < len(items):
            batch = partial(self._batch, items[start:])
            encoded, self._size = fitting(batch, self._size, self._device, self._say, autotunes=self._autotunes)
            made.append(encoded)
            start += self._size
        return {name: torch.cat([conditioning[name] for conditioning in made])[: len(items)] for name in made[0]}

    def _batch(self, items: Sequence[Item], size: int) -> Conditioning:
        some = list(items[:size])
        return self._encode(some + some[-1:] * (size - len(some)))
