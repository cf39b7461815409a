"""Scores by position: stored beside the scores they add up to, and read back whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import compbench
import fakes
from compbench.core.errors import RunError
from compbench.core.measurements import ScoreMatrix
from compbench.core.models import ModelSpec
from compbench.store import _compaction
from compbench.store.positions import are_stored, by_position


def grids(example_id: str, shape: tuple[int, int]) -> Any:
    """[I, C, 2, 3] other for each example."""
    return np.random.default_rng(len(example_id) + int(example_id[-1])).normal(size=(*shape, 2, 3)).astype(np.float32)


@dataclass(frozen=True)
class Gridded(ModelSpec):
    """Every second example has its scores by position, or every one."""

    is_every: bool = False
    shape: tuple[int, ...] = ()  # of the grids that it gives, where it gives wrong ones

    def identity(self) -> Mapping[str, Any]:
        return {"scorer": "gridded", "version": 1, "shape": list(self.shape), "is_every": self.is_every}

    def build(self, source: Any, runtime: Any) -> Any:
        return self

    def prepare(self, task: Any) -> None: ...

    def score(self, examples: Sequence[Any], known: Any) -> Iterator[ScoreMatrix]:
        for example in examples:
            values = grids(example.id, example.shape)
            scores, without = values.sum((2, 3), dtype=np.float64), np.zeros(len(example.images))
            is_kept = self.is_every or int(example.id[-1]) % 2 == 0
            found = np.zeros(self.shape) if self.shape else values if is_kept else None
            yield ScoreMatrix(example.id, scores, without, found)


def measured(runs: Path, limit: int = 6, **given: Any) -> Any:
    return compbench.run(fakes.task(6), model=Gridded(**given), runs=runs, limit=limit)


def test_what_was_stored_by_position_is_read_back_bit_for_bit_and_nothing_of_other_examples(tmp_path: Path) -> None:
    run = measured(tmp_path)
    assert are_stored(run)
    table = run.table()
    for example_id, scores in zip(table.ids, table.scores, strict=True):
        found = by_position(run, example_id)
        if int(example_id[-1]) % 2:
            assert found is None
        else:
            assert found is not None
            assert np.array_equal(found, grids(example_id, scores.shape))
            np.testing.assert_allclose(found.sum((2, 3)), scores, rtol=1e-5, atol=1e-6)
    assert table.unconditional is not None


def test_compaction_keeps_them(tmp_path: Path) -> None:
    for limit in (2, 4, 6):
        run = measured(tmp_path, limit=limit, is_every=True)
    before = {example_id: by_position(run, example_id) for example_id in sorted(run.done())}
    parts = run.contents.parts
    n_before = len(parts.usable().parts)
    assert n_before == 3
    _compaction.compact(parts)
    assert len(parts.usable().parts) < n_before
    again = compbench.Run(run.path)
    for example_id, values in before.items():
        assert values is not None
        assert np.array_equal(by_position(again, example_id), values)
    assert np.array_equal(again.table().scores, run.table().scores)


@pytest.mark.parametrize("shape", [(2, 2, 4), (2, 2, 0, 3), (2, 1, 2, 3)])
def test_anything_but_a_grid_per_score_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(RunError, match="the model gave scores by position"):
        measured(tmp_path, shape=shape)


def test_a_run_without_them_has_none(tmp_path: Path) -> None:
    run = compbench.run("shapes", model="chance", limit=2, runs=tmp_path)
    assert not are_stored(run)
    assert by_position(run, run.ids()[0]) is None
