"""A raced run measures its first wave before all else, whoever does it, and freezes what that taught."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_scheduled import Stopping, stored

import compbench
from compbench.cli.listing import plans
from compbench.core.errors import RunError, UnreadableImage, UnreadableImages, UsageError
from compbench.core.examples import Image, Task
from compbench.runs._scorer_cache import ScorerCache
from compbench.runs._storing import Led
from compbench.runs._wave import measure_first
from compbench.runs.harness import QuietReporter, evaluate, finish
from compbench.runs.interrupts import Interrupts
from compbench.runs.plan import plan
from compbench.runs.request import RunRequest
from compbench.runs.resolve import ResolvedRun, resolve
from compbench.schedules.racing import Racing
from compbench.schedules.wave import N_WAVE, wave_ids
from compbench.store import run_file
from compbench.store.run import Run
from compbench.store.writer import RunWriter
from compbench_analysis.text import show
from noisy import N_BANK, NoisySpec, classes, pairs

POOLED = Racing(N_BANK, bound="pooled", n_wave=4)
GUARANTEED = Racing(N_BANK, bound="guaranteed", n_wave=4)
TOLERANT = Racing(N_BANK, bound="pooled", n_wave=4, tolerance=0.02)


def raced(root: Path, task: Task | None = None, schedule: Racing = POOLED, **settings: Any) -> Run:
    return compbench.run(task or pairs(), model=NoisySpec(schedule), runs=root, **settings)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return raced(tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize("task", [pairs(), classes()], ids=["pairs", "classes"])
@pytest.mark.parametrize("schedule", [POOLED, GUARANTEED, TOLERANT], ids=["pooled", "guaranteed", "tolerance"])
def test_the_wave_is_measured_in_full_and_the_others_by_what_it_taught(
    task: Task, schedule: Racing, tmp_path: Path
) -> None:
    run = raced(tmp_path, task, schedule)
    wave = run.info.wave
    assert wave is not None
    assert wave.lesson is not None
    assert len(wave.digest) == 12
    verdicts = run.verdicts()
    assert {name for name, verdict in verdicts.items() if verdict.bound == "wave"} == wave.ids
    assert all(verdicts[name].is_full for name in wave.ids)
    assert (run.status, len(verdicts)) == ("done", len(task.examples))


def test_an_interrupted_run_ends_as_one_that_was_not_inside_the_wave_and_after_it(whole: Run, tmp_path: Path) -> None:
    seen: set[bool] = set()
    for n_stops in range(40):
        try:
            again = raced(tmp_path, reporter=Stopping(150 * 2**n_stops))
            break
        except KeyboardInterrupt:
            (run,) = compbench.store.store.Store(tmp_path).runs()
            seen.add(run.info.wave is not None and run.info.wave.lesson is not None)
            assert {verdict.bound for verdict in run.verdicts().values()} <= {"wave", "pooled", "beyond"}
    else:
        raise AssertionError("it never ended")
    assert False in seen  # once at least before the wave was frozen
    assert stored(again) == stored(whole)
    assert again.info.wave == whole.info.wave
    assert np.array_equal(again.table().scores, whole.table().scores)


def test_a_race_with_a_tolerance_ends_alike_in_shards_interrupted_and_with_its_lesson_lost(tmp_path: Path) -> None:
    whole = raced(tmp_path / "whole", schedule=TOLERANT)
    assert whole.info.wave is not None
    with suppress(KeyboardInterrupt):
        raced(tmp_path / "parts", schedule=TOLERANT, shard="2/2", reporter=Stopping(600))
    for shard in ("2/2", "1/2"):
        run = raced(tmp_path / "parts", schedule=TOLERANT, shard=shard)
    words = run_file.words(run.path)
    run_file.write(run.path, {name: value for name, value in words.items() if name != "wave"})
    again = raced(tmp_path / "parts", schedule=TOLERANT)
    assert again.info.wave == whole.info.wave
    assert stored(again) == stored(whole)
    assert np.array_equal(again.table().scores, whole.table().scores)
    assert not all(verdict.is_full for verdict in again.verdicts().values())
    text = " ".join(show.to_text([again], full=True).split())
    assert "raced at tolerance 0.02, pooled bound" in text
    assert "estimated (and allowed by the tolerance)" in text
    assert "first wave, and examples held out of it did not make them larger." in text


def test_what_a_wave_teaches_does_not_depend_on_what_was_stored_first(tmp_path: Path) -> None:
    request = RunRequest(task=pairs(), model=NoisySpec(TOLERANT), runs=tmp_path / "backwards")
    cache = ScorerCache(request, QuietReporter())

    def backwards(asked: ResolvedRun, writer: RunWriter, interrupts: Interrupts, skipped: set[str]) -> None:
        def one_by_one(ids: Sequence[str]) -> None:
            for example_id in reversed(ids):
                evaluate(asked.task, cache.scorer(asked), writer, [example_id], led=Led())

        measure_first(asked.task, writer, one_by_one, print)
        one_by_one(asked.own_ids)

    run = finish(resolve(request, print), QuietReporter(), backwards).run
    whole = raced(tmp_path / "whole", schedule=TOLERANT)
    assert list(run.measurements()) != list(whole.measurements())
    assert run.info.wave == whole.info.wave
    assert stored(run) == stored(whole)


def test_the_examples_that_break_the_assumption_of_the_guarantee_are_counted(tmp_path: Path) -> None:
    run = raced(tmp_path, schedule=GUARANTEED)
    n_few = sum(verdict.bound == "violated" for verdict in run.verdicts().values())
    assert f"{n_few} of these had fewer than 10 such draws" in " ".join(show.to_text([run], full=True).split())


def test_shards_share_one_wave_and_measure_what_one_process_does(whole: Run, tmp_path: Path) -> None:
    for shard in ("2/2", "1/2"):
        run = raced(tmp_path, shard=shard)
    assert run.status == "done"
    assert run.info.wave == whole.info.wave
    assert stored(run) == stored(whole)


def test_a_part_of_the_task_has_the_wave_of_the_whole_and_can_be_extended(whole: Run, tmp_path: Path) -> None:
    some = raced(tmp_path, limit=2)
    assert some.info.wave == whole.info.wave
    assert stored(raced(tmp_path)) == stored(whole)


def test_what_was_taught_is_learned_again_from_the_errors_where_it_is_lost(whole: Run, tmp_path: Path) -> None:
    run = raced(tmp_path)
    words = run_file.words(run.path)
    run_file.write(run.path, {name: value for name, value in words.items() if name != "wave"})
    lost = Run(run.path)
    assert lost.done() == set()  # nothing is guessed
    again = raced(tmp_path)
    assert again.info.wave == whole.info.wave
    assert stored(again) == stored(whole)
    assert np.array_equal(again.table().scores, whole.table().scores)


def test_a_wave_that_cannot_be_is_named_and_not_believed(tmp_path: Path) -> None:
    run = raced(tmp_path)
    run_file.write(run.path, {**run_file.words(run.path), "wave": {"ids": [], "lesson": None, "digest": ""}})
    with pytest.raises(RunError, match="wave cannot be"):
        _ = Run(run.path).info


def test_a_picture_of_the_wave_that_cannot_be_read_is_left_out_and_told(tmp_path: Path) -> None:
    task, (first, *_) = pairs(), wave_ids([example.id for example in pairs().examples], 4, 0)

    def torn() -> Any:
        raise UnreadableImage("torn.png", "torn.png cannot be read")

    examples = [
        replace(example, images=(Image("torn.png", torn, sha256="0" * 64), example.images[1]))
        if example.id == first
        else example
        for example in task.examples
    ]
    task = replace(task, examples=examples)
    with pytest.raises(UnreadableImages, match=r"torn\.png"):
        raced(tmp_path, task)
    run = raced(tmp_path, task, skip_unreadable=True)
    assert run.done() == {example.id for example in task.examples} - {first}
    assert run.info.wave is not None
    assert run.info.wave.lesson is not None


def test_scores_alone_cannot_teach_and_the_refusal_says_what_can(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--keep scores does not store; add -o bound=asymptotic"):
        raced(tmp_path, keep="scores")
    assert not any(tmp_path.iterdir())


def test_a_scorer_that_cannot_be_told_is_refused(tmp_path: Path) -> None:
    class Deaf(NoisySpec):
        def build(self, source: Any, runtime: Any) -> Any:
            scorer = super().build(source, runtime)
            return type(
                "Scorer", (), {"prepare": scorer.prepare, "score": scorer.score, "draw_table": scorer.draw_table}
            )()

    with pytest.raises(RunError, match=r"needs a scorer with a method follow\(schedule\)"):
        compbench.run(pairs(), model=Deaf(POOLED), runs=tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("bound", ["pooled", "guaranteed"])
def test_tiny_sd_is_raced_from_the_option_to_the_printed_table(bound: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"draws": 40, "limit": 20}
    full = compbench.run("shapes", model="tiny-sd", runs=tmp_path, **options)
    run = compbench.run("shapes", model="tiny-sd", schedule="racing", bound=bound, runs=tmp_path, **options)
    assert run.info.wave is not None
    assert len(run.info.wave.ids) == N_WAVE
    ours, theirs = (table.to_frame().set_index("id") for table in (run, full))
    assert (ours.loc[theirs.index, "group"] == theirs["group"]).mean() >= 0.95
    text = " ".join(show.to_text([run], full=True).split())
    assert f"raced at risk 0.05 per outcome, {bound} bound" in text
    assert f"A first wave of {N_WAVE} examples was measured in full" in text
    assert "had a draw beyond the wave's limits and were measured in full" in text
    assert f"schedule.bound:{bound}" in text.replace(" ", "")
    assert json.loads((run.path / "run.json").read_text(encoding="utf-8"))["wave"]["digest"]


def test_a_plan_says_what_racing_takes_at_best_with_the_wave_counted_and_where_it_hardly_pays(tmp_path: Path) -> None:
    whole, part = (plan(pairs(12), model=NoisySpec(POOLED), runs=tmp_path, limit=limit) for limit in (None, 2))
    assert whole.raced_at_least == (4 + 8 * 16 / N_BANK) / 12
    assert part.raced_at_least is not None
    assert part.raced_at_least >= 4 / 2  # the wave is of the whole task
    assert plan(pairs(12), model=NoisySpec(), runs=tmp_path).raced_at_least is None
    assert "racing takes at least 50 % of the evaluations, and more where" in plans([whole], "markdown")
    cheap = replace(whole, raced_at_least=0.12)
    assert "racing takes at least 12 % of the evaluations, more where" in plans([cheap], "markdown")
    assert GUARANTEED.least_draws >= POOLED.least_draws
    far = replace(GUARANTEED, draws=1000)
    assert far.least_draws >= 0.25 * far.draws  # no decision before few decisive draws would have been met
    assert replace(POOLED, risk=0.0).least_draws == N_BANK
