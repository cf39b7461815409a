"""Reading costs time linear in what is read, and fast paths give the bits of the slow one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

import fakes
from compbench.core import rules
from compbench.core.examples import Example, Task
from compbench.core.measurements import DrawTable, Measurement
from compbench.core.rules import Rule
from compbench.store._parts import PartList, Parts
from compbench.store._rows import Rows
from compbench.store.key import RunKey
from compbench.store.run import Run
from compbench.store.store import Store
from compbench.store.writer import RunWriter

N_DRAWS = 9
BANK = DrawTable(
    np.arange(N_DRAWS, dtype=np.float32) * 100,
    np.linspace(0.9, 0.2, N_DRAWS).astype(np.float32),
    np.sqrt(1 - np.linspace(0.9, 0.2, N_DRAWS) ** 2).astype(np.float32),
    "v",
)


def _run(root: Path, task: Task, per_part: int) -> Run:
    key = RunKey(task.name, task.revision, "model", None, {"kind": "fake"})
    rng = np.random.default_rng(0)
    with Store(root).writer(key, task, view={"n_draws": N_DRAWS, "target": "eps"}) as writer:
        writer.write_draws(BANK)
        for start in range(0, len(task.examples), per_part):
            writer.append([_measured(example, rng) for example in task.examples[start : start + per_part]])
        writer.settle(None)
    return Run(writer.run.path)


def _measured(example: Example, rng: np.random.Generator) -> Measurement:
    errors = rng.random((*example.shape, N_DRAWS), dtype=np.float32)
    return Measurement(example.id, np.arange(N_DRAWS, dtype=np.int32), {"l2": errors}, np.ones(errors.shape, bool))


@pytest.mark.parametrize("rule", [Rule("eps", N_DRAWS), Rule("native", 4), Rule("x0", N_DRAWS, "norm")])
def test_many_examples_at_once_score_as_each_alone_bit_for_bit(tmp_path: Path, rule: Rule) -> None:
    task = fakes.task(30)
    run = _run(tmp_path, task, 7)
    table, known = run.table(rule), run.measurements()
    for name, row in zip(table.ids, table.scores, strict=True):
        np.testing.assert_array_equal(row, rules.score(known[name], BANK, rule).scores)


OPENED: list[str] = []


def _note(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and "errors" in str(arguments[0]) and str(arguments[0]).endswith(".parquet"):
        OPENED.append(str(arguments[0]))


def test_each_small_part_is_opened_once_however_often_a_run_is_asked(tmp_path: Path) -> None:
    run = _run(tmp_path, fakes.task(24), 2)
    sys.addaudithook(_note)
    OPENED.clear()
    for _ in range(3):
        run.done()
        run.table()
        list(run.error_tables())
        run.parts()
    assert len(OPENED) == len(set(OPENED)) == 12


def test_whether_a_few_examples_are_done_is_read_from_their_own_parts_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, read, looked_at = fakes.task(40), Parts.read_each, set[str]()

    def noting(parts: Parts, seen: PartList, ids: Sequence[str], take: Callable[[Rows], None]) -> None:
        looked_at.update(part.name for part in seen.holding(ids))
        read(parts, seen, ids, take)

    run = Run(_run(tmp_path, task, 2).path)
    monkeypatch.setattr(Parts, "read_each", noting)
    ids = [example.id for example in task.examples[7:9]]
    assert run.done_of(ids, N_DRAWS) == run.done_of(ids) == set(ids)
    assert len(looked_at) == 2
    assert run.done_of([*ids, "nobody"], N_DRAWS) == set(ids)
    RunWriter(run).append([_measured(task.examples[0], np.random.default_rng(1))])
    assert run.done() == {example.id for example in task.examples}


def test_a_new_part_is_seen_and_the_others_are_not_read_again(tmp_path: Path) -> None:
    task = fakes.task(6)
    run = _run(tmp_path, task, 2)
    before = run.table().scores.copy()
    RunWriter(Run(run.path)).append([_measured(task.examples[0], np.random.default_rng(1))])
    after = run.table().scores
    assert (after[0] != before[0]).all()
    np.testing.assert_array_equal(after[1:], before[1:])


def test_a_table_that_readers_share_cannot_be_changed(tmp_path: Path) -> None:
    table = _run(tmp_path, fakes.task(4), 2).table()
    with pytest.raises(ValueError, match="read-only"):
        table.scores[0] = 0
