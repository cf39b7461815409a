"""Pictures decoded on threads ahead of the network: in order, one batch ahead, and none for a reader who has left."""

from __future__ import annotations

import threading
import time

import pytest
import torch
from torch import Tensor

from compbench.core import waiting
from compbench_baselines.decoding import decoders


def test_batches_come_in_order_and_the_next_one_is_begun_by_then() -> None:
    begun: list[int] = []

    def batches():
        for start in (0, 3, 6):
            begun.append(start)
            yield range(start, min(start + 3, 8))

    with decoders(print) as decoding:
        coming = decoding.decoded(batches(), lambda item: torch.full((1, 2, 2), float(item)))
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
        with decoders(print) as decoding:
            for _ in decoding.decoded([range(1000)], pixels):
                pass

    timer = threading.Timer(0.3, may_go_on.set)
    timer.start()
    with pytest.raises(OSError, match="broken"):
        read()
    timer.join()
    assert n_decoded < 100


def test_no_batch_is_no_batch() -> None:
    with decoders(print) as decoding:
        assert list(decoding.decoded([], lambda item: torch.zeros(1))) == []


def test_waiting_long_for_pictures_is_said_once_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_LEAST_SECONDS", 0.1)
    said: list[str] = []

    def late(item: int) -> Tensor:
        time.sleep(0.1)
        return torch.zeros(1)

    with decoders(said.append) as decoding:
        for window in (range(2), range(2)):
            assert len(list(decoding.decoded([window], late))) == 1
        assert said == []
    (line,) = said
    assert "waiting for pictures" in line


def test_beside_a_network_on_the_cpu_cheap_pictures_are_decoded_by_the_caller_and_dear_ones_are_not() -> None:
    batches = [range(40), range(40, 80), range(80, 120)]
    threads: dict[int, int] = {}

    def pixels(item: int) -> Tensor:
        threads[item] = threading.get_ident()
        time.sleep(0.003 if item in range(40, 80) else 0)
        return torch.full((1,), float(item))

    with decoders(print, is_cpu=True) as decoding:
        found = [pixels[:, 0].tolist() for _, pixels in decoding.decoded(batches, pixels)]
    assert found == [list(batch) for batch in batches]
    is_here = [threads[number] == threading.get_ident() for number in range(120)]
    assert is_here == [True] * 56 + [False] * 64  # sixteen of the second batch show that they are dear
