"""Half precision where the device only emulates it: replaced and said, or refused; never in silence."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import compbench
import fakes
from compbench.cli.doctor import examine
from compbench.core.errors import UsageError
from compbench.core.models import ModelSpec
from compbench.diffusion import emulation
from compbench.diffusion.families import stable_diffusion
from compbench.runs import explain, harness
from compbench.runs.reporter import QuietReporter
from compbench.runs.request import RunRequest
from compbench.runs.resolve import resolve
from compbench.store.run import Run
from compbench_baselines.clip.models import TINY_CLIP

on_a_cpu = pytest.mark.skipif(emulation.kind_of("auto") != "cpu", reason="there is a GPU")
emulated = pytest.mark.skipif(emulation.why_slow("float16", "cpu") is None, reason="this CPU computes in float16")
WINOGROUND = fakes.task(2, "winoground")  # the protocol follows the name


class Heard(QuietReporter):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)


def run(folder: Path, runs: Path, say: Heard | None = None, task: object = WINOGROUND, **options: object) -> Run:
    options = {"draws": 1, **options}
    return harness.run(task, model=f"sd:{folder}", runs=runs, reporter=say or Heard(), **options)  # type: ignore[arg-type]


@on_a_cpu
@pytest.mark.parametrize(
    ("task", "protocol", "dtype"), [("winoground", "paper", "float16"), ("x", "compbench", "bfloat16")]
)
def test_a_default_of_half_precision_is_float32_on_a_cpu_and_the_identity_says_so(
    task: str, protocol: str, dtype: str, tiny_pipeline_folder: Path, tmp_path: Path
) -> None:
    heard = Heard()
    stored = run(tiny_pipeline_folder, tmp_path, heard, fakes.task(2, task))
    assert stored.key.measurement["protocol"] == protocol
    assert stored.key.measurement["dtype"] == "float32"
    assert len([message for message in heard.said if f"in float32 instead of {dtype}" in message]) == 1
    named = run(tiny_pipeline_folder, tmp_path, task=fakes.task(2, task), dtype="float32")
    assert named.key.digest == stored.key.digest


@on_a_cpu
@emulated
def test_the_published_halves_are_refused_with_the_reason_and_run_when_asked_for_twice(
    tiny_eps_pipeline_folder: Path, tmp_path: Path
) -> None:
    halves = {"protocol": "published-fp16"}
    with pytest.raises(UsageError, match=r"this CPU emulates float16 \(.* GFLOP/s.*-o dtype=float16 --device cpu"):
        run(tiny_eps_pipeline_folder, tmp_path, **halves)
    for once in ({"dtype": "float16"}, {"device": "cpu"}):
        with pytest.raises(UsageError, match="cannot run in float16"):
            run(tiny_eps_pipeline_folder, tmp_path, **halves, **once)
    assert not list(tmp_path.iterdir())
    heard = Heard()
    stored = run(tiny_eps_pipeline_folder, tmp_path, heard, **halves, dtype="float16", device="cpu", limit=1)
    assert stored.key.measurement["dtype"] == "float16"
    assert any("since dtype and device were both named" in message for message in heard.said)


@on_a_cpu
@emulated
@pytest.mark.parametrize(
    "spec",
    [stable_diffusion.SD2, TINY_CLIP, compbench.diffusion.families.stable_diffusion.TINY_SD],
    ids=lambda each: each.name[:9],
)
def test_a_dtype_that_is_emulated_is_refused_whatever_the_model(spec: ModelSpec, tmp_path: Path) -> None:
    asked = replace(spec, dtype="float16")  # type: ignore[type-var]
    with pytest.raises(UsageError, match=r"cannot run in float16: this CPU emulates.*name both: -o dtype=float16"):
        harness.run(WINOGROUND, model=asked, runs=tmp_path)  # before any weights are looked for


@on_a_cpu
@emulated
def test_a_whole_run_in_half_precision_is_found_where_it_could_not_be_measured(
    tiny_pipeline_folder: Path, tmp_path: Path
) -> None:
    whole = run(tiny_pipeline_folder, tmp_path, dtype="float16", device="cpu")  # on another machine, say
    heard = Heard()
    found = run(tiny_pipeline_folder, tmp_path, heard)
    assert found.key.digest == whole.key.digest
    assert heard.said == []
    assert run(tiny_pipeline_folder, tmp_path, heard, draws=2).key.measurement["dtype"] == "float32"  # has to measure
    assert any(
        "holds part of this in float16: resume it with --dtype float16 --device cpu" in message
        for message in heard.said
    )


@on_a_cpu
def test_a_model_in_memory_falls_back_too(tiny_pipeline_folder: Path) -> None:
    model = compbench.load_model(f"sd:{tiny_pipeline_folder}", draws=1)
    assert model.scorer.denoiser.parts.network.dtype == torch.float32  # type: ignore[attr-defined]


@on_a_cpu
@emulated
def test_a_map_of_a_run_in_half_precision_is_made_in_float32_and_that_is_said(
    tiny_pipeline_folder: Path, tmp_path: Path
) -> None:
    stored = run(tiny_pipeline_folder, tmp_path, dtype="float16", device="cpu")
    said: list[str] = []
    made = explain.explain(stored, "0000", task=WINOGROUND, say=said.append)
    assert made.path.is_file()
    assert any("the map is made in float32" in message for message in said)


def test_the_tiny_model_s_identity_asks_no_device(tmp_path: Path) -> None:
    asked = resolve(RunRequest(task=WINOGROUND, model="tiny-sd", runs=tmp_path), _unheard)
    without = resolve(RunRequest(task=WINOGROUND, model="tiny-sd", runs=tmp_path), _unheard, is_computed=False)
    assert asked.key == without.key
    assert asked.key.measurement["dtype"] == "float32"


@pytest.mark.skipif(bool(emulation._gpu_nodes()), reason="torch has to say whether there is a GPU")
def test_on_a_machine_without_a_gpu_a_run_is_named_without_torch(tiny_pipeline_folder: Path, tmp_path: Path) -> None:
    code = (
        "import sys, fakes; from compbench.runs.request import RunRequest; from compbench.runs.resolve import resolve; "
        f"request = RunRequest(task=fakes.task(2, 'winoground'), model='sd:{tiny_pipeline_folder}', "
        f"runs={str(tmp_path)!r}); asked = resolve(request, lambda message: None); "
        "print(asked.key.measurement['dtype'], 'torch' in sys.modules)"
    )
    environment = {"PYTHONPATH": ":".join([str(Path(fakes.__file__).parent), *sys.path])}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert result.stdout.split() == ["float32", "False"]


@on_a_cpu
def test_the_doctor_says_of_each_dtype_what_was_measured(tmp_path: Path) -> None:
    checks = {finding.name: finding for finding in examine(tmp_path)}
    for dtype in ("bfloat16", "float16"):
        reason = emulation.why_slow(dtype, "cpu")
        found = checks[f"{dtype} on cpu"]
        assert found.state == ("ok" if reason is None else "note")
        assert found.found == (reason or found.found)
        assert "GFLOP/s" in found.found


def test_float32_is_never_refused() -> None:
    assert emulation.why_slow("float32", "cpu") is None


def _unheard(message: str) -> None: ...


@on_a_cpu
def test_a_price_is_that_of_the_run_that_would_be_made(tiny_pipeline_folder: Path, tmp_path: Path) -> None:
    plan = harness.plan(WINOGROUND, model=f"sd:{tiny_pipeline_folder}", draws=1, runs=tmp_path, reporter=Heard())
    assert plan.folder == run(tiny_pipeline_folder, tmp_path).path
