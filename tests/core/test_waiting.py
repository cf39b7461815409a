"""Waiting for pictures is said where it takes a good part of the time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from compbench import registry
from compbench.core import waiting
from compbench.core.examples import Example, Task
from compbench.core.models import Runtime

MODELS = {"tiny-sd": {"draws": 1}, "tiny-clip": {}}


def said_by(name: str, examples: list[Example]) -> list[str]:
    said: list[str] = []
    _, model = registry.model(name, MODELS[name])
    resolved = model.resolve(Task("pictures", examples, {}))
    scorer = resolved.build(resolved.source, Runtime("cpu", say=said.append))
    scorer.prepare(Task("pictures", examples, {}))
    assert len({result.example_id for result in scorer.score(examples, {})}) == len(examples)
    return [line for line in said if "waiting for pictures" in line]


@pytest.mark.parametrize("name", MODELS)
def test_pictures_that_come_late_are_said(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_LEAST_SECONDS", 0.2)
    examples = list(registry.task("shapes").examples[:2])

    def late(decode: Callable[[], object]) -> Callable[[], object]:
        def source() -> object:
            time.sleep(0.5)
            return decode()

        return source

    slow = [
        replace(
            example, images=tuple(replace(image, source=late(image.source), sha256=None) for image in example.images)
        )  # pyright: ignore[reportArgumentType]
        for example in examples
    ]
    (line,) = said_by(name, slow)
    assert int(line.split("%")[0]) > 10
    monkeypatch.setattr(waiting, "_LEAST_SECONDS", 60.0)
    assert said_by(name, examples) == []
