"""What can stand for a model besides a name: an object of which a spec is made, or a line that says what to do."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import compbench
import fakes
from compbench import registry
from compbench.core.errors import UsageError
from compbench.core.examples import Task
from compbench.core.models import ModelSpec, ResolvedModel
from compbench.tiny import __file__ as tiny_file

TINY = Path(tiny_file).parent


@pytest.mark.parametrize("given", [None, 3, ("tiny-clip",), {"a": 1}, object()])
def test_what_is_no_model_is_refused_with_what_is_known(given: Any) -> None:
    with pytest.raises(UsageError, match=r"model cannot be .*; expected a model's name, .* a function"):
        registry.model(given)


def test_a_class_is_refused() -> None:
    with pytest.raises(UsageError, match="the class 'Spec'; expected one of its objects"):
        registry.model(fakes.Spec)


def test_half_a_spec_is_told_what_it_lacks() -> None:
    class Half:
        def identity(self) -> Any: ...
        def build(self, source: Any, runtime: Any) -> Any: ...

    with pytest.raises(
        UsageError, match=r"'Half' does not inherit from compbench\.ModelSpec; expected a frozen dataclass that"
    ):
        registry.model(Half())

    class Plain(ModelSpec):
        def identity(self) -> Any: ...
        def build(self, source: Any, runtime: Any) -> Any: ...

    with pytest.raises(UsageError, match="'Plain' is not a dataclass"):
        registry.model(Plain())


@pytest.mark.parametrize("former", ["for_task", "on", "why_anew", "preparation"])
def test_a_spec_that_says_something_nobody_asks_any_more_is_refused(former: str) -> None:
    stale = dataclass(frozen=True)(type("Stale", (ModelSpec,), {former: lambda self, task: self}))
    with pytest.raises(UsageError, match=rf"'Stale' has {former}, which is no longer used: its resolve\(task\)"):
        registry.model(stale())


def test_what_a_spec_says_on_a_task_decides_its_run(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Settling(fakes.Spec):
        draws: int | None = None

        def resolve(self, task: Task | None) -> ResolvedModel:
            settled = replace(self, draws=3 if task is not None and task.name == "three" else 2, kind="errors")
            return replace(ModelSpec.resolve(settled, task), citation="@misc{settling}")

    runs = [compbench.run(fakes.task(2, name), model=Settling(), runs=tmp_path) for name in ("two", "three")]
    assert [run.rule.draws for run in runs] == [2, 3]
    assert [run.info.model.options["draws"] for run in runs] == [2, 3]
    assert runs[0].info.model.citation == "@misc{settling}"


def test_a_spec_that_resolves_to_something_else_is_refused(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Odd(fakes.Spec):
        def resolve(self, task: Task | None) -> Any:
            return self

    with pytest.raises(UsageError, match=r"'.*Odd' .* gave a Odd of resolve\(\); expected a compbench\.ResolvedModel"):
        compbench.run(fakes.task(1), model=Odd(), runs=tmp_path)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("lacking", ["identity", "build"])
def test_a_spec_without_a_method_that_it_must_have_is_told_which(lacking: str, tmp_path: Path) -> None:
    methods = {"identity": lambda self: {}, "build": lambda self, source, runtime: fakes.PerfectScorer()}
    del methods[lacking]
    spec = dataclass(frozen=True)(type("Lacking", (ModelSpec,), methods))
    with pytest.raises(UsageError, match=rf"model 'Lacking' has no {lacking}\(\)"):
        compbench.run(fakes.task(1), model=spec(), runs=tmp_path)


def test_a_module_of_ones_own_is_a_function(tmp_path: Path) -> None:
    class Mine(torch.nn.Module):
        def forward(self, images: Any, captions: Any) -> Any:
            return torch.eye(2)

    assert compbench.run(fakes.task(1), model=Mine(), runs=tmp_path).key.model == "Mine"


def test_a_raw_open_clip_model_is_told_what_to_call() -> None:
    import open_clip

    model = open_clip.create_model(f"local-dir:{TINY / 'tiny-clip'}")
    with pytest.raises(UsageError, match=r"use compbench\.from_open_clip\(model, preprocess, tokenizer\)"):
        compbench.run(fakes.task(1), model=model)


def test_a_raw_transformers_model_is_told_what_to_call() -> None:
    import transformers

    model = transformers.CLIPTextModel(transformers.CLIPTextConfig(hidden_size=8, num_hidden_layers=1))
    with pytest.raises(UsageError, match=r"use compbench\.from_transformers\(model, processor\)"):
        compbench.run(fakes.task(1), model=model)


def test_a_pipeline_is_a_model_as_it_is(tmp_path: Path) -> None:
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(
        TINY / "tiny-sd", safety_checker=None, requires_safety_checker=False
    )
    task = registry.task("shapes")
    options: dict[str, Any] = {"draws": 2, "limit": 2, "runs": tmp_path, "device": "cpu", "dtype": "float32"}
    run = compbench.run(task, model=pipeline, **options)
    same = compbench.run(task, model=compbench.from_pipeline(pipeline), **options)
    assert run.key.model == "my-pipeline"
    assert run.path == same.path


def test_a_pipeline_with_two_text_encoders_is_refused() -> None:
    parts = ("unet", "vae", "text_encoder", "text_encoder_2", "tokenizer", "scheduler")
    pipeline = SimpleNamespace(**dict.fromkeys(parts, object()))
    said = (
        r"has two text encoders; expected one, as StableDiffusionPipeline has: save .*\(PATH\)`, then model='diffusion:"
    )
    with pytest.raises(UsageError, match=said):
        compbench.from_pipeline(pipeline)


def test_another_pipeline_is_refused_with_those_that_are_known() -> None:
    from diffusers import DiffusionPipeline

    with pytest.raises(
        UsageError, match="model cannot be a DiffusionPipeline of diffusers; known are StableDiffusionPipe"
    ):
        compbench.run(fakes.task(1), model=DiffusionPipeline())
