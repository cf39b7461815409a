"""The identity of a model is the address of its stored runs: it stays what it was, for each model that ships."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

import colours
import fakes
from compbench import registry
from compbench.core.errors import UsageError
from compbench.core.examples import Classes, Task
from compbench.core.models import ModelSpec, ResolvedModel
from compbench.runs._task_checks import labelled

# by model and options: one digest per task, of the identity and the view, as the model is
# resolved and as it is in float32; "-" where the model cannot score the task
STORED: dict[str, list[str]] = json.loads(Path(__file__).with_name("identities.json").read_text(encoding="utf-8"))


def _labelled(name: str, space: str) -> Task:
    task = colours.colours(name=name)
    assert task.classes is not None
    labels = tuple(range(len(task.classes.of_caption)))
    return replace(task, classes=Classes(task.classes.names, task.classes.of_caption, space, labels))


TASKS = (
    fakes.task(name="winoground"),
    fakes.task(name="shapes"),
    _labelled("cifar10", "digits"),
    _labelled("imagenet", "imagenet"),
)


def spec_of(name: str) -> ModelSpec:
    """The model with options as on a command line: `sd2 loss=l1`."""
    model, *given = name.split()
    return registry.model(model, dict(option.split("=") for option in given)).spec


def resolved(name: str, task: Task) -> ResolvedModel:
    """As a run is resolved: a model of labels is given a task of its own labels."""
    model = spec_of(name).resolve(task)
    if model.label_space:
        labelled(task, name, model.label_space)
    return model


def digests(name: str, task: Task) -> str:
    try:
        model = resolved(name, task)
    except UsageError:
        return "-"
    if model.precision is None:
        return digest(model)
    in_float32 = model.precision.in_float32
    return f"{digest(model)} {'-' if in_float32 is None else digest(in_float32())}"


def digest(model: ResolvedModel) -> str:
    text = json.dumps([model.identity, model.view], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_the_identity_of_each_model_is_what_it_was(task: Task) -> None:
    number = TASKS.index(task)
    assert {name: digests(name, task) for name in STORED} == {name: stored[number] for name, stored in STORED.items()}


def test_each_model_that_ships_has_its_identity_stored() -> None:
    ours = (entry for entry in registry.models() if entry.package.startswith("compbench "))
    assert {entry.name for entry in ours if entry.kind == "model"} <= STORED.keys()
