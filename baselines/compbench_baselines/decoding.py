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

__all__ = ["decoded", "decoders"]

_MAX_DECODERS = 8

Item = TypeVar("Item")


@contextmanager
def decoders() -> Generator[ThreadPoolExecutor]:
    """Threads that decode pictures; at the end what they have not begun is dropped."""
    pool = ThreadPoolExecutor(min(_MAX_DECODERS, os.cpu_count() or 1))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def decoded(
    batches: Iterable[Sequence[Item]],
    pixels: Callable[[Item], Tensor],
    pool: ThreadPoolExecutor,
    waiting: Waiting | None = None,
) -> Iterator[tuple[Sequence[Item], Tensor]]:
    """Each batch with its pixels, [b, c, h, w], in order; the next batch has been started by then.

    `waiting` counts the seconds until they are there.
    """
    waiting = waiting or Waiting()
    started: deque[tuple[Sequence[Item], list[Future[Tensor]]]] = deque()
    for batch in batches:
        started.append((batch, [pool.submit(pixels, image) for image in batch]))
        if len(started) > 1:
            yield _stacked(*started.popleft(), waiting)
    while started:
        yield _stacked(*started.popleft(), waiting)


def _stacked(
    batch: Sequence[Item], pixels: Iterable[Future[Tensor]], waiting: Waiting
) -> tuple[Sequence[Item], Tensor]:
    with waiting.counted():
        return batch, torch.stack([future.result() for future in pixels])
