"""All captions of a run read before the network takes their encoders' place: their conditioning waits on the host."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from compbench.diffusion.denoiser import Conditioning, Denoiser
from compbench.diffusion.engine import on_device

__all__ = ["ReadAhead"]

_AT_ONCE = 256  # captions: a file holds as many
_HOST_BYTES = 8_000_000_000  # what may wait in memory; the rest in files


class ReadAhead:
    """The conditioning of captions, each read once; asking for one that was not read is a KeyError."""

    def __init__(self, denoiser: Denoiser, host_bytes: int = _HOST_BYTES) -> None:
        self._denoiser, self._room = denoiser, host_bytes
        self._place: dict[str, tuple[int, int]] = {}  # caption -> block, row
        self._blocks: list[Mapping[str, Tensor] | Path] = []
        self._folder: Path | None = None

    def read(
        self, captions: Iterable[str], encode: Callable[[Sequence[str]], Conditioning], say: Callable[[str], None]
    ) -> None:
        """Encode the captions that are new, with the encoders on the device."""
        new = [caption for caption in dict.fromkeys(captions) if caption not in self._place]
        if not new:
            return
        say(
            f"the device has no room for the text encoders beside the network: they read all {len(new)} captions "
            "first, and leave"
        )
        with self._denoiser.reading():
            for start in range(0, len(new), _AT_ONCE):
                some = new[start : start + _AT_ONCE]
                self._keep({name: tensor.cpu().contiguous() for name, tensor in encode(some).items()})
                self._place |= {caption: (len(self._blocks) - 1, row) for row, caption in enumerate(some)}

    def __call__(self, captions: Sequence[str]) -> dict[str, Tensor]:
        """Name -> [C, ...] on the device."""
        rows = [self._row(*self._place[caption]) for caption in captions]
        return {name: on_device(torch.stack([row[name] for row in rows]), self._denoiser.device) for name in rows[0]}

    def _row(self, block: int, row: int) -> dict[str, Tensor]:
        held = self._blocks[block]
        if not isinstance(held, Path):
            return {name: tensor[row] for name, tensor in held.items()}
        with safe_open(held, "pt") as opened:
            return {name: opened.get_slice(name)[row : row + 1][0] for name in opened.keys()}  # noqa: SIM118

    def _keep(self, block: dict[str, Tensor]) -> None:
        self._room -= sum(tensor.nbytes for tensor in block.values())
        if self._room >= 0:
            self._blocks.append(block)
            return
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="compbench-captions-"))
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        file = self._folder / f"{len(self._blocks)}.safetensors"
        save_file(block, file)
        self._blocks.append(file)
