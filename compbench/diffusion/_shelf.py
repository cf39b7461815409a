"""A shelf for encodings that many pairs share: the latents of images, the conditioning of captions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Generic, TypeVar

import torch
from torch import Tensor

from compbench.diffusion.denoiser import Conditioning
from compbench.diffusion.engine import on_device

__all__ = ["Shelf"]

Key = TypeVar("Key", bound=Hashable)


class Shelf(Generic[Key]):
    """Encodes each distinct image or caption once, and gives its row to another after its last use."""

    def __init__(self, uses: Counter[Key], encode: Callable[[Sequence[Key]], Conditioning]) -> None:
        self._uses, self._encode = uses, encode
        self._row: dict[Key, int] = {}
        self._free: list[int] = []
        self.tensors: dict[str, Tensor] = {}  # name -> [rows, ...]

    def rows(self, keys: Sequence[Key]) -> list[int]:
        """The row of each of `keys` in `tensors`; those that are missing are encoded in one call."""
        lacking = list(dict.fromkeys(key for key in keys if key not in self._row))
        if lacking:
            encoded = self._encode(lacking)
            self._make_room(len(lacking), encoded)
            taken = [self._free.pop() for _ in lacking]
            self._row |= zip(lacking, taken, strict=True)
            for name, tensor in encoded.items():
                rows = on_device(torch.tensor(taken), tensor.device)
                self.tensors[name].index_copy_(0, rows, tensor)
        return [self._row[key] for key in keys]

    def release(self, keys: Iterable[Key]) -> None:
        """Count one use less of each."""
        for key in keys:
            self._uses[key] -= 1
            if not self._uses[key]:
                self._free.append(self._row.pop(key))

    def _make_room(self, n: int, like: Conditioning) -> None:
        if n <= len(self._free):
            return
        n_rows = len(self._row) + len(self._free)
        n_more = max(n - len(self._free), n_rows)
        for name, tensor in like.items():
            more = tensor.new_zeros((n_more, *tensor.shape[1:]))
            self.tensors[name] = torch.cat([self.tensors[name], more]) if n_rows else more
        self._free += range(n_rows, n_rows + n_more)
