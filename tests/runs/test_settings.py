"""One list of settings: the command, a grid file, `run` and `plan` take the same, and refuse the words of before."""

from __future__ import annotations

import inspect
from dataclasses import fields
from pathlib import Path

import pytest

import compbench
import fakes
from compbench.cli.measuring import run as command
from compbench.core.errors import DataError, UsageError
from compbench.runs.plan import plan
from compbench.runs.request import RunRequest
from compbench.schedules.racing import Racing
from compbench.schedules.schedule import entry_of, schedule_in
from compbench_analysis.frames.signature import signature

SETTINGS = {named.name for named in fields(RunRequest)}


@pytest.mark.parametrize("function", [compbench.run, plan])
def test_a_notebook_shows_every_setting_as_a_keyword(function: object) -> None:
    shown = inspect.signature(function).parameters  # type: ignore[arg-type]
    assert shown.keys() >= SETTINGS
    assert shown["limit"].default is None
    assert shown["keep"].default == "errors"


def test_the_command_has_an_option_for_every_setting() -> None:
    assert {parameter.name for parameter in command.params} >= SETTINGS - {"task", "model", "options", "name"}
    assert "name" not in {parameter.name for parameter in command.params}  # its models have names


def test_an_object_gets_the_name_that_it_is_given(tmp_path: Path) -> None:
    def bright(images: object, captions: list[str]) -> object:
        return [[float(len(caption)) for caption in captions]] * 2

    for number, model in enumerate((bright, fakes.Spec())):
        run = compbench.run("shapes", model=model, name="mine", limit=3, runs=tmp_path / str(number))
        assert run.key.model == "mine"
        assert run.path.parent.name == "mine"
        assert signature(run).split("|")[2].startswith("model:mine")
    plain = compbench.run(fakes.task(), model=fakes.Spec(), runs=tmp_path)
    assert (
        plain.key.measurement
        == compbench.run(fakes.task(), model=fakes.Spec(), name="x", runs=tmp_path).key.measurement
    )


@pytest.mark.parametrize(
    ("model", "name", "said"),
    [
        ("chance", "mine", "name='mine' is for a model of your own; 'chance' has a name already"),
        (fakes.Spec(), " ", "a model's name cannot be empty"),
        (fakes.Spec(), "a\x1bb", "it holds control characters; expected plain text"),
        (fakes.Spec(), 3, "name cannot be 3; expected the model's name in tables"),
    ],
)
def test_a_name_that_cannot_be_is_refused(model: object, name: object, said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        compbench.run("shapes", model=model, name=name, runs=tmp_path)  # pyright: ignore[reportArgumentType]


def test_prompts_can_be_given_in_python_as_on_the_command_line() -> None:
    with pytest.raises(UsageError, match=r"has prompts of its own; leave out --prompts other\.csv"):
        compbench.run("shapes", model="chance", prompts=["other.csv"])


@pytest.mark.parametrize("setting", ["data", "prompts"])
def test_what_a_task_in_memory_would_ignore_is_refused(setting: str) -> None:
    with pytest.raises(UsageError, match=f"{setting} cannot be given for a task in memory"):
        compbench.run(fakes.task(), model=fakes.Spec(), **{setting: ["here"]})


@pytest.mark.parametrize(
    ("model", "given", "message"),
    [
        ("tiny-dit", {"rule": "l1"}, "rule is now loss: -o loss=l1"),
        ("tiny-sd", {"rule": "eps"}, "rule is now target: -o target=eps"),
        ("tiny-sd", {"rule": "l1"}, "rule is now loss: -o loss=l1"),
        ("tiny-sd", {"n_draws": 8}, "n_draws is now draws: -o draws=8"),
        ("tiny-sd", {"options": {"limit": 0.5}}, "limit is now max_difference: -o max_difference=0.5"),
        ("tiny-sd", {"limit": 0.5, "bound": "anytime"}, "the largest difference of one draw is max_difference"),
    ],
)
def test_a_retired_word_is_refused_with_its_new_spelling(
    model: str, given: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        compbench.run("digits" if model == "tiny-dit" else "shapes", model=model, runs=tmp_path, **given)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(("task", "model"), [("digits", "tiny-dit"), ("shapes", "tiny-sd")])
def test_a_risk_that_cannot_be_is_refused_before_anything_is_loaded(task: str, model: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"risk must be between 0 and 0\.5, got 0\.7"):
        compbench.run(task, model=model, schedule="racing", risk=0.7, runs=tmp_path)
    assert not any(tmp_path.iterdir())


def test_the_largest_difference_keeps_its_word_in_a_run_s_identity() -> None:
    race = Racing(100, bound="anytime", max_difference=0.5)
    stored = entry_of(race)
    assert stored == {"schedule": {"kind": "racing", "n_draws": 100, "bound": "anytime", "limit": 0.5}}
    assert schedule_in(stored) == race


def test_an_unknown_entry_of_a_stored_schedule_is_named_with_the_known_ones() -> None:
    with pytest.raises(DataError, match=r"unknown entry 'speed'; expected some of kind, n_draws, target"):
        schedule_in({"schedule": {"kind": "racing", "n_draws": 4, "speed": 2}})


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"kind": "sieve", "n_draws": 4}, "unknown kind 'sieve'; expected one of paper, racing"),
        ({"kind": "racing"}, "lacks the entry 'n_draws'"),
        ({"kind": "paper", "n_draws": 1000, "risk": 0.1}, "unknown entry 'risk'; expected some of kind, n_draws"),
        ({"kind": "racing", "n_draws": 4, "risk": 0.7}, "is invalid: risk must be between 0 and 0.5"),
    ],
)
def test_a_stored_schedule_that_cannot_be_is_refused_with_what_is_known(entries: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        schedule_in({"schedule": entries})


def test_a_view_with_an_unknown_key_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    spec = fakes.GivenSpec(None, {"draws": 8})
    with pytest.raises(UsageError, match="unknown key 'draws'; expected n_draws, target, reduction, unconditional"):
        compbench.run(fakes.task(), model=spec, runs=tmp_path)
