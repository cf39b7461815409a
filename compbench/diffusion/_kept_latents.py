"""Latents of pictures in the user's cache folder, for later runs of the same autoencoder: losing them costs time alone.

A picture's latents are named by everything that they follow from, so nothing in the folder can be out of date: its
pixels, the autoencoder's weights and settings, the dtype, the device, the rows of a batch, and the versions of what
computed them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from compbench.core import disk
from compbench.core.remembered import cache_folder
from compbench.diffusion._encoding import FixedBatches
from compbench.diffusion.engine import on_device

__all__ = ["FOLDER", "KeptLatents"]

FOLDER = "latents"  # in the cache folder
_BOUND = 4_000_000_000  # bytes; the least recently used go first
_SHARE_LEFT = 0.9  # of the bound, once it is passed
_LOOK_EVERY = 256  # pictures that are kept


class KeptLatents:
    """Encodes pictures, but for those whose latents an earlier run left in the cache folder."""

    def __init__(
        self,
        encode: FixedBatches[Tensor],
        autoencoder: str,
        device: torch.device,
        say: Callable[[str], None],
        bound: int = _BOUND,
    ) -> None:
        """`autoencoder`: a digest of all that its latents follow from, beside the pixels."""
        self._encode, self._autoencoder, self._device, self._say = encode, autoencoder, device, say
        self._folder, self._bound, self._n_kept = cache_folder() / FOLDER, bound, 0

    def __call__(self, pictures: Sequence[Tensor]) -> dict[str, Tensor]:
        """{"latents": [I, c, h, w]} on the device."""
        found = [self._read(self._place(pixels)) for pixels in pictures]
        lacking = [n for n, latents in enumerate(found) if latents is None]
        if len(lacking) < len(found):
            self._say(f"latents of pictures that an earlier run encoded are read from {self._folder}")
            self._say = _unheard  # once
        if lacking:
            encoded = self._encode([pictures[n] for n in lacking])["latents"]
            for n, latents in zip(lacking, encoded.cpu().unbind(), strict=True):
                self._write(self._place(pictures[n]), latents)
                found[n] = latents
            if len(lacking) == len(found):
                return {"latents": encoded}
        held = [latents for latents in found if latents is not None]
        return {"latents": on_device(torch.stack(held), self._device)}

    def _place(self, pixels: Tensor) -> Path:
        """The file for the same pixels in batches of as many rows, whose number may move the last digits."""
        name = hashlib.sha256(f"{self._autoencoder} {self._encode.size} {tuple(pixels.shape)}".encode())
        name.update(pixels.contiguous().numpy().tobytes())
        return self._folder / name.hexdigest()[:2] / f"{name.hexdigest()}.safetensors"

    def _read(self, file: Path) -> Tensor | None:
        """None where there is nothing whole."""
        try:
            content = file.read_bytes()
            stored = load(content)
            if _sum(stored["latents"]) != stored["sum"].item():
                return None
        except (OSError, SafetensorError, KeyError, ValueError, RuntimeError, TypeError):  # damaged, or no file of ours
            return None
        with suppress(OSError):  # of a folder that can be read alone
            os.utime(file)  # used last
        return stored["latents"]

    def _write(self, file: Path, latents: Tensor) -> None:
        latents = latents.contiguous()
        with suppress(OSError):  # a full disk, or a folder that cannot be written
            file.parent.mkdir(parents=True, exist_ok=True)
            disk.write(file, save({"latents": latents, "sum": torch.tensor(_sum(latents))}))
            self._n_kept += 1
            if self._n_kept % _LOOK_EVERY == 1:
                _trim(self._folder, self._bound)


def _sum(latents: Tensor) -> int:
    """A check that what is read is what was written."""
    return int.from_bytes(hashlib.sha256(latents.numpy().tobytes()).digest()[:7])


def _trim(folder: Path, bound: int) -> None:
    """Delete the files that were used longest ago, until the others are well within the bound."""
    files = [(stat.st_mtime, stat.st_size, file) for file in folder.glob("*/*") if (stat := _stat(file)) is not None]
    n_bytes = sum(size for _, size, _ in files)
    if n_bytes <= bound:
        return
    for _, size, file in sorted(files):
        file.unlink(missing_ok=True)
        n_bytes -= size
        if n_bytes <= _SHARE_LEFT * bound:
            return


def _stat(file: Path) -> os.stat_result | None:
    try:
        return file.stat()
    except OSError:  # another process deleted it
        return None


def _unheard(message: str) -> None: ...
