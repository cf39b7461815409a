"""A network of seconds an evaluation: what was measured is stored soon, and a signal is heard between two batches."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from processes import only_run

import fakes
from compbench.core.examples import Task
from compbench.core.measurements import Measurement, joined
from compbench.core.models import Runtime
from compbench.diffusion.classifier import DiffusionClassifier
from compbench.diffusion.draws import seeded_bank
from compbench.runs import harness

# argv: the store, examples, draws, seconds an evaluation, batch size; says "evaluated" after each batch
RUN = """
import sys, time, fakes
from compbench.runs import harness
from compbench.diffusion.draws import seeded_bank
from compbench.diffusion.classifier import DiffusionClassifier
from compbench.core import Runtime, Example, Task

class Slow(fakes.RecordingDenoiser):
    def residual(self, *inputs):
        time.sleep(seconds)
        print("evaluated", flush=True)
        return super().residual(*inputs)

root, n_examples, n_draws, seconds, batch_size = sys.argv[1], *map(float, sys.argv[2:])
plain = fakes.task(int(n_examples))
examples = tuple(Example(each.id, each.images, ("caption 0", "caption 1"), each.matches) for each in plain.examples)
scorer = DiffusionClassifier(Slow(), seeded_bank(0), int(n_draws), Runtime("cpu", int(batch_size)))
spec = fakes.GivenSpec(scorer, {"n_draws": int(n_draws), "target": "native"})
try:
    harness.run(Task("fake", examples, plain.metrics), model=spec, runs=root)
except KeyboardInterrupt:
    sys.exit(130)
"""


EXAMPLE = replace(fakes.example(0), captions=("caption 0", "caption 1"))


def _started(*arguments: object) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": ":".join([str(Path(fakes.__file__).parent), *sys.path])}
    command = [sys.executable, "-c", RUN, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment)


def _wait_for(process: subprocess.Popen[str], n_batches: int) -> None:
    assert process.stdout is not None
    for _ in range(n_batches):
        assert process.stdout.readline() == "evaluated\n"


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_what_a_slow_network_measured_is_stored_before_an_example_or_a_draw_is_whole(
    how: signal.Signals, tmp_path: Path
) -> None:
    process = _started(tmp_path, 1, 2, 1.2, 1)  # 8 evaluations
    _wait_for(process, 3)  # the third is about to be handed on
    process.send_signal(how)
    process.communicate(timeout=30)
    assert process.returncode == (-signal.SIGKILL if how == signal.SIGKILL else 130)
    (measured,) = only_run(tmp_path).measurements().values()
    n_stored = int(measured.measured.sum())
    assert n_stored in (2, 3)
    denoiser = fakes.RecordingDenoiser()
    scorer = DiffusionClassifier(denoiser, seeded_bank(0), 2, Runtime("cpu", 1))
    spec = fakes.GivenSpec(scorer, {"n_draws": 2, "target": "native"})
    run = harness.run(Task("fake", (EXAMPLE,), fakes.task(1).metrics), model=spec, runs=tmp_path)
    assert len(denoiser.jobs) == 8 - n_stored  # nothing is measured twice
    assert run.status == "done"
    (whole,) = run.measurements().values()
    assert whole.measured.all()
    assert whole.errors["l2"].shape == (2, 2, 2)


def test_a_signal_is_heard_while_a_long_run_is_priced(tmp_path: Path) -> None:
    process = _started(tmp_path, 10, 1000, 0.7, 64)  # 40,000 evaluations: worth a probe
    _wait_for(process, 1)
    began = time.monotonic()
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert time.monotonic() - began < 20
    assert only_run(tmp_path).status == "interrupted"


class Timed(fakes.RecordingDenoiser):
    """Half a second a batch, by a clock of its own."""

    now = 0.0

    def residual(self, *inputs):
        self.now += 0.5
        return super().residual(*inputs)


def test_a_slow_network_s_results_come_in_parts_that_make_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    timed = Timed()
    slow, quick = (
        DiffusionClassifier(denoiser, seeded_bank(0), 2, Runtime("cpu", 1), unconditional=True)
        for denoiser in (timed, fakes.RecordingDenoiser())
    )
    for clock in ("monotonic", "perf_counter"):
        monkeypatch.setattr(time, clock, lambda: timed.now)
    pieces = list(slow.score([EXAMPLE], {}))
    assert len(pieces) >= 3
    assert [piece.is_last for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    counted = sum(int(piece.measured.sum()) for piece in pieces)
    assert counted == 2 * 3 * 2
    (whole,), (expected,) = joined(pieces), joined(quick.score([EXAMPLE], {}))
    assert np.array_equal(whole.draw_ids, expected.draw_ids)
    assert np.array_equal(whole.errors["l2"], expected.errors["l2"])
    assert np.array_equal(whole.measured, expected.measured)
    assert whole.has_null_caption


def test_parts_of_one_draw_are_joined_into_one() -> None:
    left, right = (np.array([[[True], [False]]]), np.array([[[False], [True]]]))
    pieces = [
        Measurement(
            "a",
            np.array([3]),
            {"l2": np.array([[[2.0], [0.0]]]), "l1": np.array([[[1.0], [0.0]]])},
            left,
            is_last=False,
        ),
        Measurement("a", np.array([3]), {"l2": np.array([[[0.0], [4.0]]]), "l1": np.array([[[0.0], [5.0]]])}, right),
    ]
    (whole,) = joined(pieces)
    assert whole.draw_ids.tolist() == [3]
    assert whole.errors["l2"].tolist() == [[[2.0], [4.0]]]
    assert whole.errors["l1"].tolist() == [[[1.0], [5.0]]]
    assert whole.measured.all()
    assert whole.is_last
