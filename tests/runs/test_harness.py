from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

import fakes
from compbench.core.errors import DataError, RunError, UsageError
from compbench.core.examples import Example, Task
from compbench.core.measurements import Measurement, ScoreMatrix
from compbench.core.models import Price, Source
from compbench.core.rules import Rule
from compbench.runs import harness
from compbench.runs.reporter import QuietReporter
from compbench.store.key import RunKey
from compbench.store.run import Run
from compbench.store.store import Store
from compbench.store.writer import RunWriter

VIEW = {"n_draws": 4, "target": "native"}
LOCKS = ("lock", "write.lock")
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Notebook(QuietReporter):
    """Writes down what a run tells."""

    said: list[str] = field(default_factory=list[str])
    started: list[tuple[object, ...]] = field(default_factory=list[tuple[object, ...]])
    done: dict[str, int] = field(default_factory=lambda: {"examples": 0, "pairs": 0, "evaluations": 0})

    def start(self, *counts: object) -> None:
        self.started.append(counts)

    def advance(self, examples: int = 0, pairs: int = 0, evaluations: int = 0) -> None:
        self.done["examples"] += examples
        self.done["pairs"] += pairs
        self.done["evaluations"] += evaluations

    def say(self, message: str) -> None:
        self.said.append(message)


@dataclass
class OneBadScorer(fakes.ErrorScorer):
    """Gives NaN for the second caption of one example at draw 2."""

    bad: str = "0007"

    def score(self, examples: Sequence[Example], known: Mapping[str, Measurement]) -> Iterator[Measurement]:
        for result in super().score(examples, known):
            if result.example_id == self.bad:
                result.errors["l2"][1, 1, 2] = np.nan
            yield result


@dataclass
class FixedScorer(fakes.PerfectScorer):
    """Gives what it was made with."""

    results: tuple[ScoreMatrix, ...] = ()

    def score(self, examples: Sequence[Example], known: Mapping[str, Measurement]) -> Iterator[ScoreMatrix]:
        yield from self.results


@dataclass
class PricedScorer(fakes.ErrorScorer):
    """Costs a second for each evaluation, it says."""

    def price(self, examples: Sequence[Example]) -> Price:
        return Price(self.n_draws, 2e12, 1.0, 100)


def test_a_finished_run_is_answered_without_building_the_model(tmp_path: Path) -> None:
    task = fakes.task()
    first = harness.run(task, model=fakes.GivenSpec(fakes.PerfectScorer()), runs=tmp_path)
    assert first.status == "done"
    assert not first.is_partial
    before = _state(tmp_path)
    again = harness.run(task, model=fakes.GivenSpec(None), runs=tmp_path)
    assert again.path == first.path
    assert again.to_frame()["group"].all()
    assert _state(tmp_path) == before  # nothing was written either: a finished run may lie where none may write


def test_answering_a_finished_run_imports_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys, fakes; from compbench.runs import harness\n"
        "run = harness.run(fakes.task(), model=fakes.HashSpec(), runs=sys.argv[1])\n"
        "assert len(run.to_frame()) == 12\n"
        "assert 'torch' not in sys.modules and 'diffusers' not in sys.modules"
    )
    harness.run(fakes.task(), model=fakes.HashSpec(), runs=tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(Path(fakes.__file__).parent)}
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=environment, check=True)


def test_more_draws_measure_only_the_new_ones_and_fewer_none(tmp_path: Path) -> None:
    task, scorer = fakes.task(3), fakes.ErrorScorer(4)
    few = harness.run(task, model=fakes.GivenSpec(scorer, VIEW), runs=tmp_path)
    assert sorted(scorer.measured_draws) == [(f"{n:04d}", d) for n in range(3) for d in range(4)]
    assert few.table().scores[0, 0].tolist() == [-1.5, -2.5]
    more = fakes.ErrorScorer(10)
    notebook = Notebook()
    many = harness.run(task, model=fakes.GivenSpec(more, {**VIEW, "n_draws": 10}), runs=tmp_path, reporter=notebook)
    assert sorted(more.measured_draws) == [(f"{n:04d}", d) for n in range(3) for d in range(4, 10)]
    assert notebook.started == [("fake · GivenSpec", 3, 0, 12, 72)]
    assert many.path == few.path
    assert many.table().scores[0, 0].tolist() == [-4.5, -5.5]
    fewer = harness.run(task, model=fakes.GivenSpec(None, {**VIEW, "n_draws": 2}), runs=tmp_path)
    assert fewer.table().scores[0, 0].tolist() == [-0.5, -1.5]
    assert fewer.table(Rule(draws=10)).scores[0, 0].tolist() == [-4.5, -5.5]


def test_a_limit_is_the_same_nested_subset_for_every_model(tmp_path: Path) -> None:
    task, notebook = fakes.task(12), Notebook()
    small = harness.run(task, model=fakes.Spec("perfect"), limit=3, runs=tmp_path, reporter=notebook)
    other = harness.run(task, model=fakes.Spec("errors"), limit=3, runs=tmp_path)
    assert notebook.said == ["fake: 12 → 3 examples, the same for every model"]
    assert small.table().ids == other.table().ids
    assert (small.status, small.info.limit, small.is_partial) == ("partial", 3, True)
    scorer = fakes.PerfectScorer()
    larger = Run(small.path)
    with RunWriter(larger) as writer:
        harness.evaluate(task, scorer, writer, larger.limited(5).ids())
    assert len(scorer.asked) == 2  # the three are part of the five


def test_a_limit_on_a_whole_run_measures_nothing_and_hides_nothing(tmp_path: Path) -> None:
    whole = harness.run(fakes.task(), model=fakes.Spec("errors"), runs=tmp_path)
    limited = harness.run(fakes.task(), model=fakes.Spec("errors"), limit=3, runs=tmp_path)
    assert limited.path == whole.path
    assert (len(limited.table().ids), len(limited.done()), limited.is_partial) == (3, 3, True)
    again = Run(whole.path)
    assert (len(again.table().ids), again.is_partial, again.status) == (12, False, "done")


def test_a_limit_as_large_as_the_task_is_none(tmp_path: Path) -> None:
    run = harness.run(fakes.task(3), model=fakes.Spec("perfect"), limit=3, runs=tmp_path)
    assert (run.status, run.info.limit, run.is_partial) == ("done", None, False)


def test_progress_counts_what_is_left(tmp_path: Path) -> None:
    notebook = Notebook()
    harness.run(fakes.task(), model=fakes.Spec("perfect"), limit=5, runs=tmp_path)
    harness.run(fakes.task(), model=fakes.Spec("perfect"), runs=tmp_path, reporter=notebook)
    assert notebook.started == [("fake · Spec", 12, 5, 28, None)]
    assert notebook.done == {"examples": 7, "pairs": 28, "evaluations": 0}


def test_nan_stops_the_run_and_names_example_caption_and_draw(tmp_path: Path) -> None:
    task, model = fakes.task(), fakes.GivenSpec(OneBadScorer(), VIEW)
    with pytest.raises(RunError, match=r"nan for example '0007'.*caption 1 \('caption one of 7'\), draw 2"):
        harness.run(task, model=model, runs=tmp_path)
    stored = harness.load_run("fake/GivenSpec", tmp_path)
    assert stored.status == "failed"
    assert stored.table().ids == tuple(f"{n:04d}" for n in range(7))
    rest = fakes.ErrorScorer()
    assert harness.run(task, model=fakes.GivenSpec(rest, VIEW), runs=tmp_path).status == "done"
    assert {example_id for example_id, _ in rest.measured_draws} == {f"{n:04d}" for n in range(7, 12)}


def test_an_infinite_score_is_no_score(tmp_path: Path) -> None:
    scorer = FixedScorer(results=(ScoreMatrix("0000", np.array([[0, np.inf], [0, 0]])),))
    with pytest.raises(RunError, match="inf for example '0000', image 0, caption 1"):
        harness.run(fakes.task(1), model=fakes.GivenSpec(scorer), runs=tmp_path)


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ([], "left 2 of 2 examples without all their scores"),
        ([("0000", np.eye(2))], "left 1 of 2 examples .* '0001'"),
        ([("0000", np.eye(2)), ("0000", np.eye(2))], "'0000' that was not asked for, or gave two"),
        ([("zebra", np.eye(2))], "'zebra' that was not asked for"),
        ([("0000", np.eye(3))], r"gave scores of shape \(3, 3\) for example '0000'; expected \(2, 2\)"),
    ],
)
def test_a_scorer_must_answer_what_it_is_asked(tmp_path: Path, results: list[Any], message: str) -> None:
    scorer = FixedScorer(results=tuple(ScoreMatrix(*result) for result in results))
    with pytest.raises(RunError, match=message):
        harness.run(fakes.task(2), model=fakes.GivenSpec(scorer), runs=tmp_path)


def test_an_unusable_task_is_told_before_anything_is_measured(tmp_path: Path) -> None:
    good = fakes.example(0)
    for bad, message in [
        (dataclasses.replace(good, captions=("a dog", "  ")), "caption 1 of example '0000' of task 'bad' is empty"),
        (
            dataclasses.replace(good, tags={"relation": "left"}),  # pyright: ignore[reportArgumentType]
            "example '0000' of task 'bad' has the text 'left' for its tags 'relation'",
        ),
        (dataclasses.replace(good, matches=np.eye(3, dtype=bool)), r"matches \(3, 3\); expected \(2, 2\)"),
    ]:
        with pytest.raises(DataError, match=message):
            harness.run(Task("bad", (bad,), {}), model=fakes.GivenSpec(None), runs=tmp_path)
    with pytest.raises(DataError, match="'0000' of task 'bad' occurs twice"):
        harness.run(Task("bad", (good, good), {}), model=fakes.GivenSpec(None), runs=tmp_path)
    with pytest.raises(DataError, match="has no examples"):
        harness.run(Task("bad", (), {}), model=fakes.GivenSpec(None), runs=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_misuse_is_told_before_anything_is_measured(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="limit cannot be 0"):
        harness.run(fakes.task(), model=fakes.GivenSpec(None), limit=0, runs=tmp_path)
    with pytest.raises(UsageError, match="batch_size cannot be 0"):
        harness.run(fakes.task(), model=fakes.GivenSpec(None), batch_size=0, runs=tmp_path)
    with pytest.raises(UsageError, match="no option 'drawz'; did you mean 'draws'"):
        harness.run(fakes.task(), model=fakes.HashSpec(), drawz=3, runs=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_options_are_keywords_or_a_mapping(tmp_path: Path) -> None:
    run = harness.run(fakes.task(2), model=fakes.HashSpec(), options={"draws": "3"}, seconds=0, runs=tmp_path)
    assert run.info.view["n_draws"] == 3
    assert run.info.model.options == {"draws": 3, "seconds": 0.0}


def test_a_seed_goes_to_models_that_have_one_and_is_said_to_change_nothing_for_others(tmp_path: Path) -> None:
    notebook = Notebook()
    harness.run(fakes.task(1), model=fakes.Spec(), seed=3, runs=tmp_path, reporter=notebook)
    assert notebook.said == ["Spec has no seed: seed=3 changes nothing for it"]


def test_a_run_works_in_a_thread(tmp_path: Path) -> None:
    """Where signals cannot be handled."""
    thread = threading.Thread(target=lambda: harness.run(fakes.task(), model=fakes.Spec(), runs=tmp_path))
    thread.start()
    thread.join()
    assert harness.load_run("fake/Spec", tmp_path).status == "done"


def test_other_weights_are_another_run(tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    weights.mkdir()
    spec = fakes.GivenSpec(fakes.PerfectScorer(), weights=Source(str(weights), is_local=True))
    (weights / "model.safetensors").write_bytes(b"one")
    first = harness.run(fakes.task(1), model=spec, runs=tmp_path / "runs")
    (weights / "model.safetensors").write_bytes(b"another")
    second = harness.run(fakes.task(1), model=spec, runs=tmp_path / "runs")
    assert first.path != second.path
    assert str(first.key.weights).startswith("sha256:")


def test_another_task_revision_is_another_run(tmp_path: Path) -> None:
    first = harness.run(fakes.task(2), model=fakes.Spec(), runs=tmp_path)
    second = harness.run(fakes.task(3), model=fakes.Spec(), runs=tmp_path)
    assert first.path != second.path


def test_an_open_revision_goes_on_at_the_commit_it_was_begun_with(tmp_path: Path) -> None:
    task = fakes.task(2)
    key = RunKey("fake", task.revision, "GivenSpec", f"hf:org/model@{COMMIT}", {"kind": "given"})
    source = {"repo": "org/model", "revision": None, "is_local": False}
    begun = Store(tmp_path).open(key, task, model={"source": source})
    spec = fakes.GivenSpec(fakes.PerfectScorer(), weights=Source("org/model"))
    run = harness.run(task, model=spec, runs=tmp_path, is_offline=True)
    assert run.path == begun.path
    assert run.status == "done"


def test_a_part_says_who_measured_it(tmp_path: Path) -> None:
    run = harness.run(fakes.task(3), model=fakes.Spec("errors"), runs=tmp_path)
    (part,) = run.parts()
    assert (part["n_examples"], part["n_errors"], part["pid"]) == (3, 48, os.getpid())
    assert {"time", "host", "device", "compbench", "git", "python", "platform", "versions", "seconds"} <= part.keys()
    assert "numpy" in part["versions"]  # pyright: ignore[reportOperatorIssue]


def test_a_plan_counts_what_lacks_and_writes_nothing(tmp_path: Path) -> None:
    task, runs = fakes.task(12), tmp_path / "runs"
    spec = fakes.GivenSpec(PricedScorer(), VIEW)
    fresh = harness.plan(task, model=spec, limit=5, runs=runs)
    assert not runs.exists()
    assert (fresh.examples, fresh.pairs, fresh.evaluations, fresh.is_done) == (5, 20, 80, False)
    assert (fresh.tflops, fresh.seconds, fresh.fetch_bytes, fresh.store_bytes) == (160.0, 80.0, 0, 2000)
    run = harness.run(task, model=spec, limit=5, runs=runs)
    assert fresh.folder == run.path
    before = _state(runs)
    more = fakes.GivenSpec(PricedScorer(10), {**VIEW, "n_draws": 10})
    assert harness.plan(task, model=more, limit=5, runs=runs).evaluations == 120
    done = harness.plan(task, model=fakes.GivenSpec(None, VIEW), limit=5, runs=runs)
    assert (done.is_done, done.examples, done.evaluations, done.seconds, done.fetch_bytes) == (True, 0, 0, 0.0, 0)
    assert _state(runs) == before


def test_a_run_of_more_than_a_day_says_so_and_what_would_make_it_cheaper(tmp_path: Path) -> None:
    notebook = Notebook()
    scorer = PricedScorer(2000, n_bank=2000)
    view = {"n_draws": 2000, "target": "native"}
    harness.run(fakes.task(12), model=fakes.GivenSpec(scorer, view), runs=tmp_path, reporter=notebook)
    (said,) = notebook.said
    assert "96,000 network evaluations at 1 per second take about 1.1 days" in said
    assert "draws=200" in said


def test_a_loaded_model_scores_pairs(tmp_path: Path) -> None:
    file = tmp_path / "grey.png"
    PIL.Image.new("RGB", (8, 8)).save(file)
    images = [PIL.Image.new("RGB", (8, 8)), file, str(file)]
    perfect = harness.load_model(fakes.Spec("perfect"))
    assert perfect.score_pairs(images, ["a", "b"]).tolist() == [[0, 0]] * 3
    errors = harness.load_model(fakes.Spec("errors"), draws=2).score_pairs(images, ["a", "b"])
    assert errors.dtype == np.float64
    assert errors.tolist() == [[-1.5, -1.5]] * 3
    assert perfect.score_pairs([], ["a"]).shape == (0, 1)
    with pytest.raises(DataError, match="caption 1 is empty"):
        perfect.score_pairs(images, ["a", ""])


def test_a_stored_run_is_plain_json_and_parquet(tmp_path: Path) -> None:
    run = harness.run(fakes.task(2), model=fakes.Spec("errors"), runs=tmp_path)
    info = json.loads((run.path / "run.json").read_text())
    assert info["format"] == 2
    assert info["key"] == run.key.to_json()
    assert info["task"]["metrics"] == ["text", "image", "group"]
    names = {path.relative_to(run.path).parts[0] for path in run.path.rglob("*") if path.is_file()}
    assert names == {"run.json", "examples.parquet", "draws.parquet", "errors", "scores", "parts.jsonl", *LOCKS}


def _state(folder: Path) -> dict[Path, tuple[int, int]]:
    return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*") if path.is_file()}


@dataclass
class PiecemealScorer(fakes.ErrorScorer):
    """Gives an example's draws one at a time, and is stopped before the draw `stops_at` of the third example."""

    stops_at: int | None = None

    def score(self, examples: Sequence[Example], known: Mapping[str, Measurement]) -> Iterator[Measurement]:
        for number, whole in enumerate(super().score(examples, known)):
            for d in range(len(whole.draw_ids)):
                if number == 2 and d == self.stops_at:
                    raise KeyboardInterrupt
                one = slice(d, d + 1)
                errors, measured = {"l2": whole.errors["l2"][..., one]}, whole.measured[..., one]
                is_last = d + 1 == len(whole.draw_ids)
                yield Measurement(whole.example_id, whole.draw_ids[one], errors, measured, is_last=is_last)


def test_errors_may_come_in_pieces_and_an_interruption_keeps_each(tmp_path: Path) -> None:
    task = fakes.task(5)
    stopped = PiecemealScorer(stops_at=3)
    with pytest.raises(KeyboardInterrupt):
        harness.run(task, model=fakes.GivenSpec(stopped, VIEW), runs=tmp_path)
    going_on = PiecemealScorer()
    run = harness.run(task, model=fakes.GivenSpec(going_on, VIEW), runs=tmp_path)
    assert run.status == "done"
    assert going_on.measured_draws[0] == ("0002", 3)  # draws 0 to 2 of the third example were kept
    assert len(going_on.measured_draws) == 1 + 2 * 4


def test_damaged_draws_are_said_and_written_anew_and_nothing_is_measured_again(tmp_path: Path) -> None:
    task, book = fakes.task(4), Notebook()
    run = harness.run(task, model=fakes.GivenSpec(fakes.ErrorScorer(), VIEW), runs=tmp_path)
    scores = run.table().scores
    (run.path / "draws.parquet").write_bytes(b"junk")
    assert Store(tmp_path, say=book.say).find(run.path).done() == set()
    assert "the draws of run" in book.said[-1]
    scorer = fakes.ErrorScorer()
    again = harness.run(task, model=fakes.GivenSpec(scorer, VIEW), runs=tmp_path, reporter=book)
    assert scorer.measured_draws == []
    assert again.status == "done"
    assert np.array_equal(again.table().scores, scores)


def test_what_cannot_be_asked_is_told_with_what_is_expected(tmp_path: Path) -> None:
    model: Any = fakes.Spec()
    for wrong, message in [
        ({"limit": "4"}, "limit cannot be '4'; expected a whole number"),
        ({"batch_size": 0}, "batch_size cannot be 0"),
        ({"device": "cda"}, "no device named 'cda'"),
    ]:
        with pytest.raises(UsageError, match=message):
            harness.run(fakes.task(1), model=model, runs=tmp_path, **wrong)
    with pytest.raises(UsageError, match="task cannot be 1"):
        harness.run(1, model=model, runs=tmp_path)  # type: ignore[arg-type]
