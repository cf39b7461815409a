"""Pictures are decoded ahead by threads: in order, so many and no more, and each comes to who asked for it."""

from __future__ import annotations

import threading
import time

import pytest
import torch
from torch import Tensor

from compbench.core.examples import Image
from compbench.diffusion._ahead import Ahead
from compbench.diffusion.engine import stacked

DEPTH = 32
IMAGES = [Image(str(number), lambda: None) for number in range(100)]  # type: ignore[arg-type,return-value]


class Decoder:
    """Makes the number of an image of it, and remembers which it was given, and in which threads."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.threads: set[int] = set()

    def __call__(self, image: Image) -> Tensor:
        self.threads.add(threading.get_ident())
        self.begun.append(int(image.name))
        time.sleep(0.0005 * (int(image.name) % 3))  # so that they do not end in order
        return torch.tensor(float(image.name))


def settled(decoder: Decoder, n: int) -> None:
    """Wait until so many are begun, and a little for more that should not be."""
    until = time.monotonic() + 5
    while len(decoder.begun) < n and time.monotonic() < until:
        time.sleep(0.001)
    time.sleep(0.02)


def test_several_batches_are_decoded_ahead_and_no_more() -> None:
    decoder = Decoder()
    with Ahead(IMAGES, decoder) as ahead:
        for start in range(0, 12, 4):
            taken = ahead.take(IMAGES[start : start + 4])
            assert [int(pixels) for pixels in taken] == list(range(start, start + 4))
            settled(decoder, start + DEPTH)
            assert len(decoder.begun) == start + DEPTH  # eight batches of four, this one among them
        assert sorted(decoder.begun) == list(range(len(decoder.begun)))
    assert threading.get_ident() not in decoder.threads


def test_each_picture_is_decoded_once_and_comes_to_who_asked_for_it_in_any_order() -> None:
    decoder = Decoder()
    with Ahead(IMAGES, decoder) as ahead:
        for names in ([7, 3, 5], [0, 60], [59, 1], list(range(10, 50))):
            assert [int(pixels) for pixels in ahead.take([IMAGES[name] for name in names])] == names
    assert len(decoder.begun) == len(set(decoder.begun))


def test_a_stack_is_the_plain_one_where_no_cuda_device_fetches_it() -> None:
    pictures = [torch.randn(3, 2, 2) for _ in range(3)]
    made = stacked(pictures, torch.device("cpu"))
    assert torch.equal(made, torch.stack(pictures))
    assert not made.is_pinned()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_a_stack_for_a_cuda_device_is_in_pinned_memory_and_the_same() -> None:
    pictures = [torch.randn(3, 2, 2) for _ in range(3)]
    made = stacked(pictures, torch.device("cuda"))
    assert made.is_pinned()
    assert torch.equal(made, torch.stack(pictures))
