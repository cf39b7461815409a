"""What only a CUDA device can show: no wait in the loop over batches, and the same errors as elsewhere."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import compbench
from compbench import registry
from compbench.core.models import Runtime
from compbench.diffusion.families import stable_diffusion

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]


def classifier(device: str) -> Any:
    spec = replace(stable_diffusion.TINY_SD, draws=64)
    return spec.build(spec.for_task(None).source(), Runtime(device, batch_size=16))


def test_the_loop_over_batches_never_waits_for_the_device() -> None:
    scorer = classifier("cuda")
    example = registry.task("shapes").examples[0]
    engine = scorer._engine(64, example, lambda evaluations: None)
    latents, states = scorer._first_pair(example)
    jobs = np.zeros((64, 3), dtype=np.int64)
    jobs[:, 2] = np.arange(64)
    engine.errors(latents, states, jobs)  # loads kernels
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        pending = engine.start(latents, states, jobs)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert np.isfinite(pending.result()).all()


def test_a_gpu_s_errors_are_the_cpu_s(tmp_path: Path) -> None:
    runs = [
        compbench.run("shapes", model="tiny-sd", limit=4, draws=16, device=device, runs=tmp_path / device)
        for device in ("cpu", "cuda")
    ]
    assert runs[0].key.digest == runs[1].key.digest
    for example_id, errors in runs[0].measurements().items():
        np.testing.assert_allclose(runs[1].measurements()[example_id].errors["l2"], errors.errors["l2"], rtol=1e-4)


def test_the_autotuner_is_on_is_recorded_and_leaves_no_trace(tmp_path: Path) -> None:
    before = torch.backends.cudnn.benchmark
    for autotune, engine in ((True, "eager, autotuned"), (False, "eager")):
        run = compbench.run(
            "shapes", model="tiny-sd", limit=2, device="cuda", runs=tmp_path / str(autotune), autotune=autotune
        )
        assert {part["engine"] for part in run.parts()} == {engine}
        assert torch.backends.cudnn.benchmark == before
    plain, tuned = (
        compbench.load_run("shapes/tiny-sd", runs=tmp_path / name).measurements() for name in ("False", "True")
    )
    for example_id, measured in plain.items():
        np.testing.assert_allclose(tuned[example_id].errors["l2"], measured.errors["l2"], rtol=1e-4)


def test_without_the_autotuner_every_run_has_the_same_bits(tmp_path: Path) -> None:
    first, second = (
        compbench.run("shapes", model="tiny-sd", limit=2, device="cuda", runs=tmp_path / name, autotune=False)
        for name in ("first", "second")
    )
    for example_id, measured in first.measurements().items():
        assert np.array_equal(second.measurements()[example_id].errors["l2"], measured.errors["l2"])


@pytest.mark.parametrize("vae_dtype", ["tf32", "bfloat16"])
def test_an_autoencoder_of_fewer_bits_moves_errors_a_little_and_decides_the_same(
    tmp_path: Path, vae_dtype: str
) -> None:
    if vae_dtype == "tf32" and torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("this GPU has no TF32")
    plain, other = (
        compbench.run("shapes", model="tiny-sd", limit=4, device="cuda", runs=tmp_path, vae_dtype=name)
        for name in ("auto", vae_dtype)
    )
    assert plain.key.digest != other.key.digest
    for example_id, measured in plain.measurements().items():
        np.testing.assert_allclose(other.measurements()[example_id].errors["l2"], measured.errors["l2"], rtol=0.1)
