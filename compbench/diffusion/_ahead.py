"""Pictures decoded on threads, ahead of the network that asks for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from torch import Tensor

from compbench.core.examples import Image
from compbench.core.waiting import Waiting

__all__ = ["Ahead"]

_PICTURES_AHEAD = 32
_THREADS = 4  # that decode pictures


class Ahead:
    """Pictures made into pixels by threads, a few before they are asked for."""

    def __init__(self, images: Iterable[Image], pixels: Callable[[Image], Tensor]) -> None:
        self._coming, self._pixels = iter(images), pixels
        self._futures: dict[Image, Future[Tensor]] = {}
        self._pool = ThreadPoolExecutor(_THREADS)
        self.waiting = Waiting()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def take(self, images: Sequence[Image]) -> list[Tensor]:
        """The pixels of `images`; DataError names one that cannot be decoded."""
        wanted = set(images)
        for image in self._coming:
            self._futures[image] = self._pool.submit(self._pixels, image)
            if len(self._futures) >= _PICTURES_AHEAD and wanted <= self._futures.keys():
                break
        with self.waiting.counted():
            return [self._futures.pop(image).result() for image in images]
