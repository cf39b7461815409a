"""Pictures decoded on threads ahead of the network: in order, one batch ahead, and none for a reader who has left."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import Tensor

from compbench_baselines.decoding import decoded, decoders


def test_batches_come_in_order_and_the_next_one_is_begun_by_then() -> None:
    begun: list[int] = []

    def batches():
        for start in (0, 3, 6):
            begun.append(start)
            yield range(start, min(start + 3, 8))

    with decoders() as pool:
        coming = decoded(batches(), lambda item: torch.full((1, 2, 2), float(item)), pool)
        items, pixels = next(coming)
        assert (list(items), begun) == ([0, 1, 2], [0, 3])
        assert pixels.shape == (3, 1, 2, 2)
        assert [(list(items), pixels[:, 0, 0, 0].tolist()) for items, pixels in coming] == [
            ([3, 4, 5], [3, 4, 5]),
            ([6, 7], [6, 7]),
        ]


def test_what_cannot_be_decoded_is_told_and_what_has_not_begun_is_dropped() -> None:
    n_decoded, may_go_on = 0, threading.Event()

    def pixels(item: int) -> Tensor:
        nonlocal n_decoded
        if item == 0:
            raise OSError("broken")
        may_go_on.wait(10)
        n_decoded += 1
        return torch.zeros(1)

    def read() -> None:
        with decoders() as pool:
            for _ in decoded([range(1000)], pixels, pool):
                pass

    timer = threading.Timer(0.3, may_go_on.set)
    timer.start()
    with pytest.raises(OSError, match="broken"):
        read()
    timer.join()
    assert n_decoded < 100


def test_no_batch_is_no_batch() -> None:
    with decoders() as pool:
        assert list(decoded([], lambda item: torch.zeros(1), pool)) == []
