"""cuDNN's autotuner is on where shapes stay, off where the same bits are wanted, and never left on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch

import fakes
from compbench.core.models import Runtime
from compbench.diffusion.classifier import DiffusionClassifier
from compbench.diffusion.devices import autotunes_on, fitting, full_float32, in_tf32
from compbench.diffusion.draws import seeded_bank
from compbench.diffusion.engine import ErrorEngine

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
CUDNN: Any = torch.backends.cudnn
needs_switches = pytest.mark.skipif(
    not hasattr(torch.backends.cuda.matmul, "fp32_precision"), reason="torch below 2.9 has other switches"
)


@contextmanager
def wanting_the_same_bits(how: str) -> Iterator[None]:
    """A process that asks for them, as torch's page on reproducibility says."""
    if how == "cudnn":
        CUDNN.deterministic = True
    else:
        torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        CUDNN.deterministic = False
        torch.use_deterministic_algorithms(False)


def test_it_is_on_inside_alone_and_only_where_it_is_asked_for() -> None:
    with full_float32(autotunes=True):
        assert CUDNN.benchmark
    assert not CUDNN.benchmark
    with full_float32():
        assert not CUDNN.benchmark
    assert fitting(lambda size: CUDNN.benchmark, 2, CPU, print, autotunes=True) == (True, 2)
    assert fitting(lambda size: CUDNN.benchmark, 2, CPU, print) == (False, 2)


def test_a_process_that_has_it_on_finds_it_on_afterwards() -> None:
    CUDNN.benchmark = True
    try:
        with full_float32():
            assert not CUDNN.benchmark
        assert CUDNN.benchmark
    finally:
        CUDNN.benchmark = False


def test_a_network_that_is_trained_is_never_tuned() -> None:
    with full_float32(is_deterministic=True, autotunes=True):
        assert (CUDNN.benchmark, CUDNN.deterministic) == (False, True)


@pytest.mark.parametrize("how", ["cudnn", "torch"])
def test_a_process_that_wants_the_same_bits_again_is_not_tuned_and_keeps_its_setting(how: str) -> None:
    with wanting_the_same_bits(how):
        assert not autotunes_on(CUDA)
        with full_float32(autotunes=True):
            assert not CUDNN.benchmark
            assert CUDNN.deterministic == (how == "cudnn")
    assert autotunes_on(CUDA)
    assert not autotunes_on(CPU)


@needs_switches
def test_tf32_is_on_in_an_autoencoder_that_asks_for_it_and_for_nothing_else() -> None:
    def switches() -> list[str]:
        backends: Any = torch.backends
        return [backends.cuda.matmul.fp32_precision, backends.cudnn.conv.fp32_precision]

    with full_float32(autotunes=True):
        with in_tf32():
            assert switches() == ["tf32", "tf32"]
            assert CUDNN.benchmark
        assert switches() == ["ieee", "ieee"]


def test_the_engine_tunes_every_batch_and_the_parts_of_a_run_say_so() -> None:
    seen: list[bool] = []

    class Looking(fakes.RecordingDenoiser):
        def residual(self, *inputs: Any) -> Any:
            seen.append(CUDNN.benchmark)
            return super().residual(*inputs)

    denoiser = Looking()
    timesteps, noise = torch.arange(4), torch.zeros(4, 1, 2, 2)
    for autotunes in (True, False):
        engine = ErrorEngine(denoiser, noise, timesteps, 2, autotunes=autotunes)
        engine.errors(
            torch.zeros(1, 1, 2, 2), {"number": torch.zeros(1)}, np.array([[0, 0, draw] for draw in range(4)])
        )
    assert seen == [True, True, False, False]
    for device, autotunes, engine_name in (
        (CUDA, True, "eager, autotuned"),
        (CUDA, False, "eager"),
        (CPU, True, "eager"),
    ):
        denoiser.device = device
        scorer = DiffusionClassifier(denoiser, seeded_bank(0), 2, Runtime("cpu", 4), autotunes=autotunes)
        assert scorer.computed_with() == {"engine": engine_name, "batch_size": 4}
