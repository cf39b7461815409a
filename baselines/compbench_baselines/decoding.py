"""Pictures decoded on a few threads, one batch while the network is busy with the batch before.

Where the network itself is on the CPU, pictures that take less than a millisecond are decoded by the thread that asks
for them: handing them to others costs more than it saves.
"""

from __future__ import annotations

import os
import time
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
_DEAR_SECONDS, _TRIED = 1e-3, 16  # a picture is dear from here on, by the mean of so many or more

Item = TypeVar("Item")


class Decoders:
    """Threads that decode pictures, and how long the network waits for them."""

    def __init__(self, pool: ThreadPoolExecutor, *, is_cheap: bool) -> None:
        self._pool, self._waiting = pool, Waiting()
        self._is_cheap = is_cheap  # until a batch shows that its pictures are not

    def decoded(
        self, batches: Iterable[Sequence[Item]], pixels: Callable[[Item], Tensor]
    ) -> Iterator[tuple[Sequence[Item], Tensor]]:
        """Each batch with its pixels, [b, c, h, w], in order; on the threads the next has been started by then."""
        started: deque[tuple[Sequence[Item], list[Future[Tensor]]]] = deque()
        for batch in batches:
            if self._is_cheap:
                yield batch, self._decoded_here(batch, pixels)
                continue
            started.append((batch, [self._pool.submit(pixels, image) for image in batch]))
            if len(started) > 1:
                yield self._stacked(*started.popleft())
        while started:
            yield self._stacked(*started.popleft())

    def told(self) -> str | None:
        """A sentence on the share of the time that was waited for pictures; None where that is little."""
        return self._waiting.told()

    def _decoded_here(self, batch: Sequence[Item], pixels: Callable[[Item], Tensor]) -> Tensor:
        """[b, c, h, w]; once its pictures turn out to be dear, the rest and all later ones go to the threads."""
        found: list[Tensor] = []
        with self._waiting.counted():
            began = time.perf_counter()
            for image in batch:
                found.append(pixels(image))
                if len(found) % _TRIED == 0 and time.perf_counter() - began > _DEAR_SECONDS * len(found):
                    self._is_cheap = False
                    break
            left = [self._pool.submit(pixels, image) for image in batch[len(found) :]]
            return torch.stack([*found, *(future.result() for future in left)])

    def _stacked(self, batch: Sequence[Item], pixels: Iterable[Future[Tensor]]) -> tuple[Sequence[Item], Tensor]:
        with self._waiting.counted():
            return batch, torch.stack([future.result() for future in pixels])


@contextmanager
def decoders(say: Callable[[str], None], *, is_cpu: bool = False) -> Generator[Decoders]:
    """Threads that decode pictures; at the end what they have not begun is dropped, and long waiting is said.

    `is_cpu` says that the network is on the CPU as well, where cheap pictures are decoded by the caller.
    """
    pool = ThreadPoolExecutor(min(_MAX_DECODERS, os.cpu_count() or 1))
    pictures = Decoders(pool, is_cheap=is_cpu)
    try:
        yield pictures
        if told := pictures.told():
            say(told)
    finally:
        pool.shutdown(cancel_futures=True)
