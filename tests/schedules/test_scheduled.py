"""Staged and raced runs: stored, continued, read and refused; the published stages on a real model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import compbench
from compbench import registry
from compbench.core.errors import UsageError
from compbench.core.examples import Classes, Example, Task
from compbench.core.measurements import joined
from compbench.core.metrics import CLASSIFYING
from compbench.core.models import Runtime
from compbench.core.rules import Rule
from compbench.diffusion.classifier import DiffusionClassifier
from compbench.diffusion.families import stable_diffusion
from compbench.diffusion.families._sd_rules import schedule_of
from compbench.schedules.racing import Racing
from compbench.schedules.schedule import Full, Schedule, schedule_in
from compbench.schedules.staged import PUBLISHED
from compbench.store.run import Run
from literal import by_the_paper, encode_caption, encode_image, load, pair_errors, published_noise
from noisy import N_BANK, NoisySpec, classes, pairs

RACE = Racing(N_BANK)


def stored(run: Run) -> dict[str, tuple[Any, ...]]:
    its = run.measurements()
    return {
        name: (measurement.draw_ids.tolist(), measurement.errors["l2"].tolist(), measurement.measured.tolist())
        for name, measurement in its.items()
    }


@pytest.mark.parametrize("task", [pairs(), classes()], ids=["pairs", "classes"])
def test_a_race_measures_less_and_its_scores_say_what_it_decided(task: Task, tmp_path: Path) -> None:
    full = compbench.run(task, model=NoisySpec(), runs=tmp_path)
    raced = compbench.run(task, model=NoisySpec(RACE), runs=tmp_path)
    assert raced.path != full.path
    assert raced.status == "done"
    n_errors = [sum(int(str(part["n_errors"])) for part in run.parts()) for run in (full, raced)]
    assert n_errors[1] < n_errors[0]
    frame = raced.to_frame().set_index("id")
    for example_id, verdict in raced.verdicts().items():
        for outcome, found in verdict.outcomes.items():
            assert frame.loc[example_id, outcome.replace("top-1", "top1")] == found.is_right


def test_draws_that_are_raced_together_are_measured_together(tmp_path: Path) -> None:
    raced = compbench.run(pairs(), model=NoisySpec(replace(RACE, together=2)), runs=tmp_path)
    for measurement in raced.measurements().values():
        dense = np.zeros((2, 2, N_BANK), bool)
        dense[..., measurement.draw_ids] = measurement.measured
        assert np.array_equal(dense[..., ::2], dense[..., 1::2])
    with pytest.raises(UsageError, match="expected an even number of draws"):
        Racing(15, together=2)


@pytest.mark.parametrize("task", [pairs(), classes()], ids=["pairs", "classes"])
def test_without_risk_every_outcome_is_the_full_budget_s(task: Task, tmp_path: Path) -> None:
    full = compbench.run(task, model=NoisySpec(), runs=tmp_path).to_frame()
    exact = compbench.run(task, model=NoisySpec(replace(RACE, risk=0.0)), runs=tmp_path).to_frame()
    names = [name for name in ("text", "image", "group", "top1", "prediction") if name in full]
    assert full[names].equals(exact[names])


class Stopping:
    """A reporter that interrupts after some evaluations."""

    def __init__(self, n_evaluations: int) -> None:
        self.n_left = n_evaluations

    def start(self, *arguments: Any) -> None: ...
    def say(self, message: str) -> None: ...
    def stop(self) -> None: ...

    def advance(self, examples: int = 0, pairs: int = 0, evaluations: int = 0) -> None:
        self.n_left -= evaluations
        if self.n_left < 0:
            raise KeyboardInterrupt


def test_an_interrupted_race_ends_as_one_that_was_not(tmp_path: Path) -> None:
    whole = compbench.run(pairs(), model=NoisySpec(RACE), runs=tmp_path / "whole")
    n_stops = 0
    while True:
        try:
            again = compbench.run(
                pairs(), model=NoisySpec(RACE), runs=tmp_path / "again", reporter=Stopping(150 * 2**n_stops)
            )  # less than a second of work is lost
            break
        except KeyboardInterrupt:
            n_stops += 1
    assert n_stops >= 2
    assert stored(again) == stored(whole)


def test_what_needs_every_draw_is_refused_with_what_to_do(tmp_path: Path) -> None:
    raced = compbench.run(pairs(4), model=NoisySpec(RACE), runs=tmp_path)
    with pytest.raises(UsageError, match="schedule=full"):
        list(raced.error_tables())
    with pytest.raises(UsageError, match="run it with schedule=full"):
        raced.table(Rule("eps", N_BANK))


def test_a_finished_race_builds_no_model(tmp_path: Path) -> None:
    spec = NoisySpec(RACE)
    compbench.run(pairs(4), model=spec, runs=tmp_path)
    compbench.run(pairs(4), model=spec, runs=tmp_path)
    assert len(spec.built) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"risk": 0.1},
        {"bound": "anytime", "max_difference": 2.0},
        {"outcomes": "text"},
        {"draws": 50},
        {"target": "eps"},
        {"noise": "antithetic"},
    ],
)
def test_what_decides_a_race_is_part_of_its_identity(change: dict[str, Any]) -> None:
    race = replace(stable_diffusion.TINY_SD, schedule="racing")
    identity, other = (spec.for_task("shapes").identity() for spec in (race, replace(race, **change)))
    assert identity != other
    assert schedule_in(identity) == schedule_of(race.for_task("shapes"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schedule": "racing", "risk": 1.0}, "risk must be between 0 and 0.5, got 1.0"),
        ({"schedule": "racing", "bound": "anytime"}, "needs the largest difference of a draw: max_difference=NUMBER"),
        ({"schedule": "racing", "unconditional": True}, "unconditional needs full"),
        ({"schedule": "paper", "draws": 100}, "leave draws=100 out"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        replace(stable_diffusion.TINY_SD, **change)


def test_the_published_data_sets_have_the_published_schedule_and_loss() -> None:
    for task, known in PUBLISHED.items():
        spec = stable_diffusion.SD2.for_task(task)
        assert (spec.schedule, spec.protocol, spec.target, spec.draws) == ("paper", "paper", "eps", 1000)
        assert spec.loss == known.loss
    assert stable_diffusion.SD2.for_task("winoground").schedule == "full"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pets", "stl10"])
def test_the_published_stages_on_tiny_sd_are_those_of_a_literal_loop(name: str, tmp_path: Path) -> None:
    """Every class, timestep by timestep, as published; one image, the first captions of shape-classes."""
    known, folder = PUBLISHED[name], Path(stable_diffusion.TINY_SD.repo)
    whole = registry.task("shape-classes")
    captions = whole.examples[0].captions[:7]
    picture = whole.examples[37].images[0]
    example = Example("one", (picture,), captions, np.eye(1, 7, dtype=bool))
    task = Task("one", [example], CLASSIFYING, classes=Classes(captions, tuple(range(7))))
    staged = replace(known, target="eps", loss="l1")
    spec = replace(stable_diffusion.TINY_SD, protocol="paper", target="eps", loss="l1")
    scorer = spec.build(spec.for_task(None).source(), Runtime("cpu"))
    scorer = DiffusionClassifier(
        scorer.denoiser, scorer.bank, 1000, Runtime("cpu"), losses=("l2", "l1"), schedule=staged
    )
    scorer.prepare(task)
    (found,) = joined(scorer.score(task.examples, {}))

    pipeline = load(folder)
    latent = encode_image(pipeline, picture.decode())
    texts, noise = [encode_caption(pipeline, caption) for caption in captions], published_noise(tuple(latent.shape[1:]))
    errors: dict[tuple[int, int], float] = {}

    def error_of(c: int, t: int) -> float:
        if (c, t) not in errors:
            (stage,) = (stage for stage in published_stages if t in stage)
            its = pair_errors(pipeline, latent, texts[c], noise, stage, loss="l1")
            errors.update({(c, index): float(value) for index, value in zip(stage, its, strict=True)})
        return errors[c, t]

    published_stages = [list(stage) for stage in known.stages()]  # how the loop's calls are grouped, not which they are
    predicted, stages = by_the_paper(error_of, 7, known.to_keep, known.n_samples)
    timesteps = scorer.bank.timesteps[found.draw_ids]
    ours = {(int(c), int(timesteps[d])) for _, c, d in np.argwhere(found.measured)}
    assert ours == set().union(*stages)
    policy = staged.policy("one", example.matches, scorer.draw_table(), task.classes)
    dense, measured = np.zeros((1, 7, 1000)), np.zeros((1, 7, 1000), bool)
    dense[..., found.draw_ids], measured[..., found.draw_ids] = found.errors["l1"], found.measured
    assert policy.verdict(dense, measured).predictions == (predicted,)


@pytest.mark.parametrize("schedule", [Full(), RACE], ids=["full", "raced"])
@pytest.mark.parametrize("task", [pairs(6), classes()], ids=["pairs", "classes"])
def test_a_run_that_keeps_scores_alone_has_the_same_scores_and_no_errors(
    task: Task, schedule: Schedule, tmp_path: Path
) -> None:
    whole = compbench.run(task, model=NoisySpec(schedule), runs=tmp_path)
    small = compbench.run(task, model=NoisySpec(schedule), runs=tmp_path, keep="scores")
    assert small.path != whole.path
    assert not (small.path / "errors").exists()
    assert np.array_equal(small.table().scores, whole.table().scores)
    counts = [sum(int(str(part["n_errors"])) for part in run.parts()) for run in (whole, small)]
    assert counts[0] == counts[1]
    with pytest.raises(UsageError, match="run it without keep=scores"):
        small.table(Rule("eps", N_BANK))


def test_a_race_for_text_alone_shows_nothing_else(tmp_path: Path) -> None:
    raced = compbench.run(pairs(), model=NoisySpec(replace(RACE, outcomes=("text",))), runs=tmp_path)
    assert {"text", "image", "group"} & set(raced.to_frame()) == {"text"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"risk": 0.2}, "risk=0.2 only applies to schedule=racing, not schedule=auto"),
        ({"schedule": "racing", "max_difference": float("nan")}, "cannot take max_difference=nan"),
        ({"unconditional": True, "loss": "l1"}, "leave loss=l1 out"),
    ],
)
def test_options_that_do_not_fit_together_are_refused_at_once(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        replace(stable_diffusion.TINY_SD, **change)


@pytest.mark.parametrize("change", [{"risk": 0.7}, {"max_difference": 2.0}, {"noise": "antithetic", "draws": 15}])
def test_rules_of_a_race_that_do_not_fit_are_refused_before_anything_is_stored(
    change: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(UsageError):
        compbench.run(
            "shapes", model=replace(stable_diffusion.TINY_SD, schedule="racing", **change), limit=2, runs=tmp_path
        )
    assert not any(tmp_path.iterdir())


def test_what_a_pilot_taught_stays_when_the_pilot_grows(tmp_path: Path) -> None:
    from compbench.store.pilots import learned

    pilot = compbench.run(pairs(6), model=NoisySpec(), runs=tmp_path, limit=3)
    taught = learned(pilot.path, RACE, {}).shares
    assert len(taught) == 6
    compbench.run(pairs(6), model=NoisySpec(), runs=tmp_path)
    assert learned(pilot.path, RACE, {}).shares == taught
    with pytest.raises(UsageError, match="is not the folder of a run"):
        learned(tmp_path / "nothing", RACE, {})
