"""Tags that have changed since a run was stored: they are not part of the measurement, so the run takes the new ones.

Captions, pictures and matches make a task's revision and so another run; tags, groups, the order of tags and the
names of classes do not.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from compbench.core.aliases import Json
from compbench.core.examples import Example, Task

if TYPE_CHECKING:
    from compbench.store.run import Run

__all__ = ["refresh_tags"]

_DESCRIBING = ("tag_order", "classes")  # of run.json's task: what may change with the tags


def refresh_tags(run: Run, task: Task, described: Mapping[str, Json], say: Callable[[str], None]) -> None:
    """Store the task's tags and groups with the run where they differ from those stored, and say so.

    `described` is what run.json says of the task.
    """
    from compbench.store import _parquet, run_file
    from compbench.store.writer import RunWriter

    table = _parquet.read(run.path / "examples.parquet")
    new, n_changed = _retagged(table, {example.id: example for example in task.examples})
    stored: Mapping[str, Any] = run_file.words(run.path)["task"]
    changed = {name: described[name] for name in _DESCRIBING if stored.get(name) != described[name]}
    if not n_changed and not changed:
        return  # most often: then nothing is locked or written
    RunWriter(run).write_examples(_parquet.encode(new), **changed)
    if n_changed:
        say(
            f"{run.key.task}/{run.key.model}: the tags of {n_changed} of {len(table)} examples have changed since they "
            "were stored; the run now has the new ones, and its scores are unchanged"
        )


def _retagged(table: Any, examples: Mapping[str, Example]) -> tuple[Any, int]:
    """The table with the examples' tags and groups, and in how many rows that changed something."""
    import pyarrow as pa

    ids = table.column("id").to_pylist()
    tags, groups = (table.column(name).to_pylist() for name in ("tags", "group"))
    known = dict(zip(ids, zip(tags, groups, strict=True), strict=True))
    wanted = {
        example_id: _stored(examples[example_id]) if example_id in examples else known[example_id] for example_id in ids
    }
    n_changed = sum(
        known[example_id] != wanted[example_id] and _parsed(known[example_id]) != _parsed(wanted[example_id])
        for example_id in ids
    )
    if not n_changed:
        return table, 0
    for place, name in enumerate(("tags", "group")):
        column = pa.array([wanted[example_id][place] for example_id in ids], pa.string())
        table = table.set_column(table.schema.get_field_index(name), table.schema.field(name), column)
    return table, n_changed


def _stored(example: Example) -> tuple[str, str]:
    tags = {name: list(values) for name, values in example.tags.items()}
    return json.dumps(tags, ensure_ascii=False), example.group or example.id


def _parsed(stored: tuple[str, str]) -> tuple[object, str]:
    return json.loads(stored[0]), stored[1]
