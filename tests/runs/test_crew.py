"""One process leads others: together they measure what one alone would, whatever becomes of some of them."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from processes import assert_equal

import compbench
import fakes
from compbench.core.errors import RunError, UnreadableImages, UsageError
from compbench.core.examples import Example, Image, Task
from compbench.core.measurements import Measurement
from compbench.core.models import Runtime, Source
from compbench.core.packages import Package
from compbench.runs import _blocks, _crew, _storing, _workers, harness
from compbench.runs._messages import Message, Order
from compbench.runs._workers import tell_idle
from compbench.runs.request import RunRequest
from compbench.schedules.racing import Racing
from compbench.store import _compaction
from compbench.store.lock import HeldRun
from compbench.store.run import Run
from compbench.store.writer import RunWriter
from crews import Heard, ThreadCrew, led
from noisy import N_BANK, NoisySpec, classes

N = 60


@dataclass(frozen=True)
class TroubledSpec(fakes.HashSpec):
    """Scores as HashSpec does, until it comes to the example `trouble`."""

    trouble: str = ""
    kind: type[Exception] = ValueError

    def build(self, source: Source | None, runtime: Runtime) -> fakes.HashScorer:
        return _Troubled(self.draws, seconds=self.seconds, trouble=self.trouble, kind=self.kind)


@dataclass
class _Troubled(fakes.HashScorer):
    trouble: str = ""
    kind: type[Exception] = ValueError

    def score(self, examples: Sequence[Example], known: Mapping[str, Measurement]) -> Iterator[Measurement]:
        for example in examples:
            if example.id == self.trouble:
                raise self.kind("the driver of the device has a fault")
            yield from super().score([example], known)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run of one process."""
    return harness.run(fakes.task(N), model=fakes.HashSpec(), runs=tmp_path_factory.mktemp("alone"))


@pytest.mark.parametrize("n", [1, 3])
def test_a_crew_measures_bit_for_bit_what_one_process_does(n: int, alone: Run, tmp_path: Path) -> None:
    reporter = Heard()
    run = led(ThreadCrew(n), fakes.task(N), fakes.HashSpec(), tmp_path, reporter)
    assert_equal(run, alone)
    assert run.key.digest == alone.key.digest
    assert (reporter.started, reporter.examples, reporter.pairs) == ([(N, 0)], N, 4 * N)


def test_the_time_that_workers_take_to_start_is_not_told_as_time_of_the_run(tmp_path: Path) -> None:
    class Late(ThreadCrew):
        n_heard = 0

        def heard(self, seconds: float) -> list[tuple[str, Message]]:
            self.n_heard += 1
            return super().heard(seconds) if self.n_heard > 3 else []

    class Starting(Heard):
        def start(self, *counts: Any) -> None:
            super().start(*counts)
            starts.append(crew.n_heard)

    crew, starts = Late(2), list[int]()
    led(crew, fakes.task(N), fakes.HashSpec(), tmp_path, Starting())
    assert len(starts) == 1
    assert starts[0] > 3


def test_a_crew_goes_on_from_what_is_stored(alone: Run, tmp_path: Path) -> None:
    harness.run(fakes.task(N), model=fakes.HashSpec(), runs=tmp_path, limit=20)
    reporter, crew = Heard(), ThreadCrew(2)
    assert_equal(led(crew, fakes.task(N), fakes.HashSpec(), tmp_path, reporter), alone)
    assert reporter.started == [(N, 20)]
    assert sum(len(ids) for _, ids in crew.given) == 40
    crew = ThreadCrew(2)
    led(crew, fakes.task(N), fakes.HashSpec(), tmp_path)
    assert crew.n_started == 0  # nothing lacks


def test_a_crew_raises_the_draws_of_what_is_stored(tmp_path: Path) -> None:
    harness.run(fakes.task(20), model=fakes.HashSpec(draws=4), runs=tmp_path / "raised")
    run = led(ThreadCrew(2), fakes.task(20), fakes.HashSpec(draws=9), tmp_path / "raised")
    whole = harness.run(fakes.task(20), model=fakes.HashSpec(draws=9), runs=tmp_path / "whole")
    np.testing.assert_array_equal(run.table().scores, whole.table().scores)
    assert sum(int(str(part["n_errors"])) for part in run.parts()) == 20 * 4 * 9


def test_what_a_lost_worker_had_not_stored_is_measured_by_others(alone: Run, tmp_path: Path) -> None:
    reporter = Heard()
    deaths: list[str] = []

    def dies(worker: str, ids: Sequence[str]) -> bool:
        if len(deaths) == 2:
            return False
        deaths.append(worker)
        return True

    run = led(ThreadCrew(3, dies=dies), fakes.task(N), fakes.HashSpec(), tmp_path, reporter)
    assert_equal(run, alone)
    assert sum("(it was killed): " in message for message in reporter.said) == 2
    assert reporter.examples == N


def test_an_example_that_kills_three_workers_is_set_aside_and_named_and_all_else_is_measured(tmp_path: Path) -> None:
    crew = ThreadCrew(2, dies=lambda worker, ids: "0007" in ids)
    with pytest.raises(RunError, match="1 example is set aside, since three workers died of it: '0007'"):
        led(crew, fakes.task(N), fakes.HashSpec(), tmp_path)
    assert sum("0007" in ids for _, ids in crew.given) == 3
    (run,) = compbench.Store(tmp_path).runs()
    assert run.done() == {example.id for example in fakes.task(N).examples} - {"0007"}
    led(ThreadCrew(2), fakes.task(N), fakes.HashSpec(), tmp_path)  # the same command tries it again
    assert run.status == "done"


def test_a_library_s_fault_costs_the_worker_and_not_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append = RunWriter.append

    def appended(writer: RunWriter, results: Sequence[Measurement], **record: object) -> Path:
        if any(result.example_id == "0007" for result in results):
            raise ValueError("the driver of the device has a fault")
        return append(writer, results, **record)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(RunWriter, "append", appended)
    crew, reporter = ThreadCrew(2), Heard()
    with pytest.raises(RunError, match=r"set aside.*'0007'"):
        led(crew, fakes.task(N), fakes.HashSpec(), tmp_path, reporter)
    (run,) = compbench.Store(tmp_path).runs()
    assert len(run.done()) == N - 1
    assert crew.n_started == 2 + 3
    assert any("ValueError: the driver of the device has a fault" in message for message in reporter.said)


def test_workers_that_all_die_end_the_run(tmp_path: Path) -> None:
    crew = ThreadCrew(2, dies=lambda worker, ids: True)
    with pytest.raises(RunError, match=r"^10 workers in a row died before any .* finished a block: it was killed$"):
        led(crew, fakes.task(N), fakes.HashSpec(), tmp_path)


def test_what_is_wrong_with_the_run_ends_it_in_the_words_of_one_process(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"^the driver of the device has a fault$"):
        led(ThreadCrew(2), fakes.task(N), TroubledSpec(trouble="0007", kind=RunError), tmp_path)
    (run,) = compbench.Store(tmp_path).runs()
    assert run.status == "failed"


def test_images_that_cannot_be_read_are_named_together_and_all_else_is_measured(tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_text("no picture")
    examples = tuple(
        replace(example, images=(example.images[0], Image(f"broken {number}", broken)))
        if number in (3, 40)
        else example
        for number, example in enumerate(fakes.task(N).examples)
    )

    @dataclass(frozen=True)
    class Decoding(fakes.HashSpec):
        def build(self, source: Source | None, runtime: Runtime) -> fakes.HashScorer:
            return _Decoding(self.draws)

    task = Task("fake", examples, fakes.task().metrics)
    with pytest.raises(UnreadableImages) as found:
        led(ThreadCrew(2), task, Decoding(), tmp_path / "runs")
    assert sorted(error.name for error in found.value.errors) == ["broken 3", "broken 40"]
    assert found.value.n_examples == 2
    run = led(ThreadCrew(2), task, Decoding(), tmp_path / "runs", skip_unreadable=True)
    assert len(run.done()) == N - 2


@dataclass
class _Decoding(fakes.HashScorer):
    def score(self, examples: Sequence[Example], known: Mapping[str, Measurement]) -> Iterator[Measurement]:
        for example in examples:
            for image in example.images:
                image.decode()
            yield from super().score([example], known)


@pytest.mark.parametrize("n_killed", [0, 2])
def test_a_race_with_a_first_wave_is_measured_as_by_one_process_also_when_workers_die_in_it(
    n_killed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec, killed = NoisySpec(Racing(N_BANK, bound="pooled", n_wave=4)), list[str]()

    def dies(worker: str, ids: Sequence[str]) -> bool:
        if len(killed) == n_killed:
            return False
        killed.append(worker)
        return True

    reporter = Heard()
    run = led(ThreadCrew(3, dies=dies), classes(), spec, tmp_path / "crew", reporter)
    assert "outdated" not in " ".join(reporter.said) + capsys.readouterr().err  # nothing was concluded too soon
    whole = compbench.run(classes(), model=spec, runs=tmp_path / "whole")
    assert len(killed) == n_killed
    np.testing.assert_array_equal(run.table().scores, whole.table().scores)
    assert run.info.wave == whole.info.wave
    assert str(run.verdicts()) == str(whole.verdicts())


def test_a_stop_is_for_what_a_worker_was_doing_and_not_for_what_it_does_next(alone: Run, tmp_path: Path) -> None:
    class Stopping(ThreadCrew):
        def begin(self, order: Order) -> None:
            super().begin(order)
            for worker in self.workers.values():
                worker.stop()  # while it joins

        def measure(self, worker: str, ids: Sequence[str]) -> None:
            super().measure(worker, ids)
            if len(self.given) == 2:
                self.workers[worker].stop()  # whoever did that: what it leaves is handed out again

    assert_equal(led(Stopping(2), fakes.task(N), fakes.HashSpec(seconds=0.005), tmp_path), alone)


def test_workers_that_see_another_folder_than_the_driver_are_told(tmp_path: Path) -> None:
    def order_of(worker: str, order: Order) -> Order:
        return replace(order, request=replace(order.request, runs=tmp_path / "elsewhere"))

    words = rf"workers have measured {N} examples, '0000' the first, .* does every worker see the folder"
    with pytest.raises(RunError, match=words):
        led(ThreadCrew(2, order_of), fakes.task(N), fakes.HashSpec(), tmp_path / "here")


def test_one_crew_measures_one_run_after_another(alone: Run, tmp_path: Path) -> None:
    crew = ThreadCrew(2)
    assert_equal(led(crew, fakes.task(N), fakes.HashSpec(), tmp_path), alone)
    spec = fakes.HashSpec(draws=12)
    raised = led(crew, fakes.task(N), spec, tmp_path)
    other = led(crew, fakes.task(20, "other"), fakes.Spec(), tmp_path)
    assert crew.n_started == 2
    whole = harness.run(fakes.task(N), model=spec, runs=tmp_path / "whole")
    np.testing.assert_array_equal(raised.table().scores, whole.table().scores)
    assert other.table().scores.tolist() == [np.eye(2).tolist()] * 20


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"compbench": "0.0.1"}, r"compbench \S+ is installed there, and 0\.0\.1 here: install the same version"),
        ({"digest": "0123456789ab"}, "its run would be .*, not 0123456789ab"),
    ],
)
def test_a_worker_that_would_measure_something_else_is_refused(
    change: dict[str, str], words: str, alone: Run, tmp_path: Path
) -> None:
    def order_of(worker: str, order: Order) -> Order:
        return replace(order, **change) if worker == "worker 1" else order

    reporter, crew = Heard(), ThreadCrew(2, order_of)
    assert_equal(led(crew, fakes.task(N), fakes.HashSpec(), tmp_path / "one", reporter), alone)
    assert any(re.search(f"cannot be used: {words}", message) for message in reporter.said)
    assert {worker for worker, _ in crew.given} == {"worker 2"}
    with pytest.raises(RunError, match=words):
        led(ThreadCrew(2, lambda worker, order: replace(order, **change)), fakes.task(N), fakes.HashSpec(), tmp_path)


def test_workers_on_unlike_devices_are_told(tmp_path: Path) -> None:
    @dataclass
    class Placed(fakes.HashScorer):
        device: str = ""

    names = iter(["cuda:0", "cpu"])

    @dataclass(frozen=True)
    class PlacedSpec(fakes.HashSpec):
        def build(self, source: Source | None, runtime: Runtime) -> fakes.HashScorer:
            return Placed(self.draws, seconds=0.02, device=next(names))

    reporter = Heard()
    import sys

    torch = sys.modules.pop("torch", None)  # else the card is asked for its name
    try:
        run = led(ThreadCrew(2), fakes.task(N), PlacedSpec(), tmp_path, reporter)
    finally:
        if torch is not None:
            sys.modules["torch"] = torch
    assert any("compute on unlike devices (cpu, cuda)" in message for message in reporter.said)
    assert {part["device"] for part in run.parts()} == {"cpu", "cuda:0"}


@pytest.mark.parametrize("n_full", [1, 2])
def test_a_full_disk_of_one_worker_costs_that_worker_and_of_all_the_run(
    n_full: int, alone: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append, full = RunWriter.append, dict[int, bool]()

    def appended(writer: RunWriter, results: Sequence[Measurement], **record: object) -> Path:
        if full.setdefault(id(writer), len(full) < n_full):
            raise RunError("cannot write to 'there' (No space left on device)") from OSError(errno.ENOSPC, "full")
        return append(writer, results, **record)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(RunWriter, "append", appended)
    reporter = Heard()
    if n_full == 1:
        assert_equal(led(ThreadCrew(2), fakes.task(N), fakes.HashSpec(), tmp_path, reporter), alone)
        assert sum("cannot be used: cannot write to 'there'" in message for message in reporter.said) == 1
    else:
        with pytest.raises(RunError, match="No space left on device"):
            led(ThreadCrew(2), fakes.task(N), fakes.HashSpec(), tmp_path, reporter)


def test_a_worker_far_slower_than_the_others_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_crew, "_SECONDS_BETWEEN_LOOKS", 0.0)
    monkeypatch.setattr(_blocks, "_COMPARED_SECONDS", 0.2)
    paces = iter([0.001, 0.001, 0.05])

    @dataclass(frozen=True)
    class Paced(fakes.HashSpec):
        def build(self, source: Source | None, runtime: Runtime) -> fakes.HashScorer:
            return fakes.HashScorer(self.draws, seconds=next(paces))

    reporter = Heard()
    led(ThreadCrew(3), fakes.task(200), Paced(), tmp_path, reporter)
    slow = rf"worker process {os.getpid()} on \S+ is slow: (\S+) times the usual pace"
    told = [found for message in reporter.said if (found := re.fullmatch(slow, message))]
    assert min(float(found[1]) for found in told) < 0.4
    assert len(told) < 3  # each once, and never all


def test_two_drivers_of_one_run_do_not_meet(tmp_path: Path) -> None:
    run, crew = led(ThreadCrew(1), fakes.task(), fakes.HashSpec(), tmp_path), ThreadCrew(1)
    with RunWriter(run), pytest.raises(HeldRun, match=f"is being measured by process {os.getpid()} on host"):
        led(crew, fakes.task(), fakes.HashSpec(draws=9), tmp_path)
    assert crew.n_started == 0


def test_the_clocks_of_workers_do_not_matter(alone: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from compbench.store import provenance

    times = iter(f"{year}-01-01T00:00:00+00:00" for year in (2031, *range(2000, 2400)))
    monkeypatch.setattr(provenance, "now", lambda: next(times))
    run = led(ThreadCrew(2), fakes.task(N), fakes.HashSpec(), tmp_path)
    np.testing.assert_array_equal(run.table().scores, alone.table().scores)
    assert run.status == "done"


def test_an_interrupted_driver_has_its_workers_store_what_they_measured(tmp_path: Path) -> None:
    class Interrupting(Heard):
        def advance(self, examples: int = 0, pairs: int = 0, evaluations: int = 0) -> None:
            super().advance(examples, pairs, evaluations)
            if self.examples:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        led(ThreadCrew(2), fakes.task(N), fakes.HashSpec(seconds=0.02), tmp_path, Interrupting())
    (run,) = compbench.Store(tmp_path).runs()
    assert run.status == "interrupted"
    assert len(run.done()) > 16  # one block, and what the other worker was at


def test_a_led_worker_writes_a_part_per_block(tmp_path: Path) -> None:
    assert _storing._SECONDS_OF_THE_LED >= 60
    crew = ThreadCrew(2)
    run = led(crew, fakes.task(N), fakes.HashSpec(), tmp_path)
    assert len(run.parts()) <= len(crew.given)


def test_a_driver_puts_small_parts_together_while_its_workers_write_more(
    alone: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_blocks, "_FIRST_EXAMPLES", 1)
    monkeypatch.setattr(_blocks, "_SECONDS", (0.0, 0.0))  # an example in each part
    monkeypatch.setattr(_blocks, "_FIRST_SECONDS", 0.0)
    monkeypatch.setattr(_compaction, "_LEAST_PARTS", 12)
    monkeypatch.setattr(_crew, "_SECONDS_BETWEEN_COMPACTIONS", 0.0)
    counts: list[int] = []

    class Counting(Heard):
        def advance(self, examples: int = 0, pairs: int = 0, evaluations: int = 0) -> None:
            super().advance(examples, pairs, evaluations)
            counts.append(len(list(tmp_path.rglob("errors/*.parquet"))))

    run = led(ThreadCrew(3), fakes.task(N), fakes.HashSpec(), tmp_path, Counting())
    assert_equal(run, alone)
    assert len(run.parts()) == N  # each is recorded as it was written
    assert max(counts) < N / 2


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"workers": "dask"}, "workers cannot be 'dask'; expected ray, ray:N"),
        ({"workers": "ray:0"}, "workers cannot be 'ray:0'"),
        ({"workers": "ray", "shard": "1/2"}, "leave out shard, or leave out workers"),
        ({"workers": "ray", "device": "cuda:1"}, "each worker has a GPU of its own; expected cuda"),
        ({"ray_address": "auto"}, "ray_address='auto' is for workers=ray"),
    ],
)
def test_settings_of_workers_that_cannot_be_are_refused(settings: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        RunRequest(task="shapes", model="chance", **settings)  # pyright: ignore[reportArgumentType]


def test_a_worker_takes_what_it_is_given_whatever_a_launcher_says_where_it_runs(
    alone: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def order_of(worker: str, order: Order) -> Order:  # as of a node that srun started
        for name, value in {"SLURM_STEP_ID": "0", "SLURM_PROCID": "1", "SLURM_NTASKS": "3"}.items():
            monkeypatch.setenv(name, value)
        return order

    assert_equal(led(ThreadCrew(2, order_of), fakes.task(N), fakes.HashSpec(), tmp_path), alone)


def test_gpus_that_have_nothing_to_do_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    said: list[str] = []
    tell_idle(said.append)
    assert said[0].startswith("this machine has 8 GPUs, and this process uses one: --workers ray uses all")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "8")
    tell_idle(said.append)
    assert len(said) == 1


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> ThreadCrew:
    """The crew that measures where this machine has two GPUs, and Ray is installed."""
    from compbench.runs import _ray

    crew = ThreadCrew(2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setattr(_workers, "_RAY", Package("click", "", "click"))  # one that is installed
    monkeypatch.setattr(_ray, "RayCrew", lambda *asked: crew)  # pyright: ignore[reportUnknownLambdaType]
    return crew


def test_all_gpus_of_this_machine_are_used_by_default(tmp_path: Path, two_gpus: ThreadCrew) -> None:
    heard = Heard()
    found = harness.run("shapes", model="tiny-clip", runs=tmp_path / "two", limit=16, reporter=heard)
    assert {worker for worker, _ in two_gpus.given} == {"worker 1", "worker 2"}
    assert "using the 2 GPUs of this machine (--workers none: one of them)" in heard.said
    alone = harness.run("shapes", model="tiny-clip", runs=tmp_path / "one", limit=16, workers="none")
    assert len(two_gpus.workers) == 2
    assert found.to_frame()["text"].equals(alone.to_frame()["text"])


@pytest.mark.parametrize(
    "settings",
    [
        {"workers": "none"},
        {"device": "cpu"},
        {"shard": "1/1"},
        {"limit": 15},  # less than eight for each GPU
        {"model": "chance"},  # computes nothing
        {"task": fakes.task(N), "model": fakes.HashSpec()},  # objects in memory stay there
    ],
)
def test_one_process_measures_what_it_was_told_to_and_what_is_not_worth_more(
    settings: dict[str, object], tmp_path: Path, two_gpus: ThreadCrew
) -> None:
    asked: dict[str, Any] = {"task": "shapes", "model": "tiny-clip", "limit": 16, "runs": tmp_path, **settings}
    assert harness.run(asked.pop("task"), **asked).done()
    assert two_gpus.given == []


@pytest.mark.parametrize(("visible", "n_gpus"), [("", 0), ("-1", 0), ("3", 1), ("0,2,5", 3), ("GPU-8f,MIG-2a", 2)])
def test_the_gpus_that_are_visible_are_counted_without_torch(
    visible: str, n_gpus: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert _workers.gpus_here() == n_gpus


def test_workers_are_not_started_by_each_process_of_a_launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(UsageError, match="run the command once, not under torchrun or srun"):
        harness.run("shapes", model="chance", runs=tmp_path, workers="ray")
