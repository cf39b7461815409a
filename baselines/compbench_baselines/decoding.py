"""Pictures decoded on a few threads, one batch while the network is busy with the batch before."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor

from compbench.core.waiting import Waiting

__all__ = ["Decoders", "decoders"]

_MAX_DECODERS = 8

Item = TypeVar("Item")


class Decoders:
    """Threads that decode pictures, and how long the network waits for them."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool, self._waiting = pool, Waiting()

    def decoded(
        self, batches: Iterable[Sequence[Item]], pixels: Callable[[Item], Tensor]
    ) -> Iterator[tuple[Sequence[Item], Tensor]]:
        """Each batch with its pixels, [b, c, h, w], in order; the next batch has been started by then."""
        started: deque[tuple[Sequence[Item], list[Future[Tensor]]]] = deque()
        for batch in batches:
            started.append((batch, [self._pool.submit(pixels, image) for image in batch]))
            if len(started) > 1:
                yield self._stacked(*started.popleft())
        while started:
            yield self._stacked(*started.popleft())

    def told(self) -> str | None:
        """A sentence on the share of the time that was waited for pictures; None where that is little."""
        return self._waiting.told()

    def _stacked(self, batch: Sequence[Item], pixels: Iterable[Future[Tensor]]) -> tuple[Sequence[Item], Tensor]:
        with self._waiting.counted():
            return batch, torch.stack([future.result() for future in pixels])


@contextmanager
def decoders(say: Callable[[str], None]) -> Generator[Decoders]:
    """Threads that decode pictures; at the end what they have not begun is dropped, and long waiting is said."""
    pool = ThreadPoolExecutor(min(_MAX_DECODERS, os.cpu_count() or 1))
    pictures = Decoders(pool)
    try:
        yield pictures
        if told := pictures.told():
            say(told)
    finally:
        pool.shutdown(cancel_futures=True)
