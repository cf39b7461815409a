"""What a GPU would do wrong, shown without one: rounding that leaks in, memory that runs out, names of devices."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_diffusion import EXAMPLES, expected

import fakes
from compbench.core.errors import RunError
from compbench.core.measurements import joined
from compbench.core.models import Runtime
from compbench.diffusion._compiled import Compiled
from compbench.diffusion.classifier import DiffusionClassifier
from compbench.diffusion.devices import fitting, full_float32, is_out_of_memory, lost_device
from compbench.diffusion.draws import seeded_bank
from compbench.diffusion.error_map import error_map
from compbench.runs import harness
from compbench.runs.reporter import QuietReporter

CPU = torch.device("cpu")
MESSAGES = [
    "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "CUDA error: out of memory",
    "FIND was unable to find an engine to execute this computation",
    "GET was unable to find an engine to execute this computation",
    "HIP out of memory. Tried to allocate 2.00 GiB",
    "MPS backend out of memory (MPS allocated: 1.00 GB)",
    "[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes",
]


@contextmanager
def notebook(how: str) -> Iterator[None]:
    """What a user may have set before."""
    matmul, convolutions = torch.backends.mkldnn.matmul, torch.backends.mkldnn.conv
    before = torch.get_float32_matmul_precision(), matmul.fp32_precision, convolutions.fp32_precision
    try:
        if how == "new":
            matmul.fp32_precision = convolutions.fp32_precision = "bf16"
        else:
            torch.set_float32_matmul_precision(how)
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        matmul.fp32_precision, convolutions.fp32_precision = before[1:]


def switches() -> list[str]:
    backends: Any = torch.backends
    return [backend.fp32_precision for backend in (backends.cuda.matmul, backends.cudnn.conv, backends.mkldnn.matmul)]


needs_switches = pytest.mark.skipif(
    not hasattr(torch.backends.cuda.matmul, "fp32_precision"), reason="torch below 2.9 has other switches"
)


@needs_switches
@pytest.mark.parametrize("how", ["high", "medium", "new"])
def test_float32_is_float32_inside_whatever_a_notebook_has_set_and_its_setting_comes_back(how: str) -> None:
    with notebook(how):
        before = switches()
        with full_float32():
            assert switches() == ["ieee"] * 3
        assert switches() == before


@needs_switches
def test_pictures_captions_and_errors_are_all_computed_in_full_float32() -> None:
    class Looking(fakes.RecordingDenoiser):
        def __init__(self) -> None:
            super().__init__()
            self.seen: dict[str, set[str]] = {}

        def encode_pixels(self, pixels: Any) -> Any:
            self.seen["pixels"] = set(switches())
            return super().encode_pixels(pixels)

        def encode_captions(self, captions: Any) -> Any:
            self.seen["captions"] = set(switches())
            return super().encode_captions(captions)

        def residual(self, *inputs: Any) -> Any:
            self.seen["residual"] = set(switches())
            return super().residual(*inputs)

    denoiser = Looking()
    scorer = DiffusionClassifier(denoiser, seeded_bank(0), 2, Runtime("cpu"))
    with notebook("high"):
        list(scorer.score(EXAMPLES, {}))
        assert denoiser.seen == {word: {"ieee"} for word in ("pixels", "captions", "residual")}
        denoiser.seen.clear()
        scorer.price(EXAMPLES, probe_seconds=0)
        assert denoiser.seen["pixels"] == denoiser.seen["captions"] == {"ieee"}
        denoiser.seen.clear()
        error_map(scorer, EXAMPLES[0].images[0].decode(), EXAMPLES[0].captions[:2], weights=[1.0])  # type: ignore[arg-type]
        assert denoiser.seen == {word: {"ieee"} for word in ("pixels", "captions", "residual")}


@pytest.mark.parametrize("how", ["medium", "new"])
@needs_switches
def test_a_notebook_s_setting_moves_no_error(how: str, tmp_path: Path) -> None:
    plain = harness.run("shapes", model="tiny-sd", limit=1, draws=2, runs=tmp_path / "plain")
    with notebook(how):
        other = harness.run("shapes", model="tiny-sd", limit=1, draws=2, runs=tmp_path / "other")
    for name, measurement in plain.measurements().items():
        assert np.array_equal(measurement.errors["l2"], other.measurements()[name].errors["l2"])


@pytest.mark.parametrize("message", MESSAGES)
def test_a_full_memory_is_known_by_whatever_it_is_called(message: str) -> None:
    said: list[str] = []

    def run(size: int) -> int:
        if size > 2:
            raise RuntimeError(message)
        return size

    assert fitting(run, 8, CPU, said.append) == (2, 2)
    assert said == ["out of memory: batch size 8 → 4", "out of memory: batch size 4 → 2"]


def test_what_did_not_fit_is_freed_before_the_next_try() -> None:
    import gc
    import weakref

    held: list[weakref.ref[torch.Tensor]] = []

    def run(size: int) -> bool:
        if held:
            return held[0]() is None
        large = torch.zeros(9)
        held.append(weakref.ref(large))
        raise torch.OutOfMemoryError("out of memory")

    gc.disable()
    try:
        assert fitting(run, 2, CPU, lambda message: None) == (True, 1)
    finally:
        gc.enable()


def test_our_own_refusal_is_no_reason_to_halve() -> None:
    assert not is_out_of_memory(RunError("out of memory on cpu at batch size 1"))


def test_memory_that_runs_out_between_batches_is_one_line() -> None:
    line = r"out of memory on cpu \(CUDA out of memory\): stop other programs"
    with pytest.raises(RunError, match=line), lost_device(CPU):
        raise torch.OutOfMemoryError("CUDA out of memory\nand a page of advice")


@pytest.mark.parametrize("what", ["encode_pixels", "encode_captions"])
def test_pictures_and_captions_that_do_not_fit_together_are_encoded_one_by_one(what: str) -> None:
    denoiser, said = fakes.RecordingDenoiser(), list[str]()
    encode: Callable[[Any], Any] = getattr(denoiser, what)

    def cramped(items: Any) -> Any:
        if len(items) > 1:
            raise RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED")
        return encode(items)

    setattr(denoiser, what, cramped)
    scorer = DiffusionClassifier(denoiser, seeded_bank(0), 3, Runtime("cpu", say=said.append))
    results = joined(scorer.score(EXAMPLES, {}))
    for example, result in zip(EXAMPLES, results, strict=True):
        np.testing.assert_allclose(result.errors["l2"], expected(example, scorer.bank.timesteps[:3]), rtol=1e-5)
    assert said == ["out of memory: batch size 2 → 1"]


def test_one_picture_that_does_not_fit_is_told_with_what_to_do() -> None:
    denoiser = fakes.RecordingDenoiser()

    def full(pixels: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    denoiser.encode_pixels = full  # type: ignore[method-assign]
    scorer = DiffusionClassifier(denoiser, seeded_bank(0), 3, Runtime("cpu", say=lambda message: None))
    with pytest.raises(RunError, match="out of memory on cpu at batch size 1: stop other programs"):
        list(scorer.score(EXAMPLES, {}))


class Heard(QuietReporter):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)


def test_each_part_of_a_run_names_engine_and_batch_size_and_a_change_of_them_is_said(tmp_path: Path) -> None:
    heard = Heard()
    for batch_size, draws in ((8, 1), (8, 2), (4, 3)):
        run = harness.run(
            "shapes", model="tiny-sd", limit=1, draws=draws, batch_size=batch_size, runs=tmp_path, reporter=heard
        )
    assert [(part["engine"], part["batch_size"]) for part in run.parts()] == [("eager", 8), ("eager", 8), ("eager", 4)]
    mixed = [message for message in heard.said if "computed with" in message]
    assert len(mixed) == 1
    assert "before were computed with engine eager, batch size 8, these with engine eager, batch size 4" in mixed[0]


def test_a_network_says_whether_it_is_compiled() -> None:
    assert Compiled(torch.nn.Linear(2, 2), "default", lambda message: None).engine == "compiled: default"


@needs_switches
def test_old_switches_and_new_ones_may_both_have_been_used_and_cudnn_may_be_bound_to_repeat() -> None:
    cudnn: Any = torch.backends.cudnn
    before = cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision
    try:
        cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision = "tf32", "ieee"
        with pytest.raises(RuntimeError, match="allow_tf32"), cudnn.flags(allow_tf32=False):
            pass
        with full_float32(is_deterministic=True):
            assert cudnn.deterministic
            assert switches() == ["ieee"] * 3
        assert not cudnn.deterministic
        assert cudnn.conv.fp32_precision == "tf32"
    finally:
        cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision = before
