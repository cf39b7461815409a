"""RunInfo: what a run says of itself in run.json, typed; nothing else looks into that file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from compbench.core.aliases import Json
from compbench.core.examples import Classes
from compbench.core.rules import Rule
from compbench.schedules.wave import Wave
from compbench.store.key import RunKey

__all__ = ["ModelInfo", "PilotInfo", "RunInfo", "TaskInfo"]


@dataclass(frozen=True, slots=True)
class TaskInfo:
    """The task, as it was when the run was made; its tags may have been refreshed."""

    metrics: tuple[str, ...]
    is_gated: bool
    description: str = ""
    citation: str = ""
    origin: str = ""  # the commit that its data were fetched at
    tag_order: Mapping[str, tuple[str, ...]] | None = None
    classes: Classes | None = None  # what the captions of a classification stand for

    def order_of(self) -> dict[str, tuple[str, ...]]:
        """Column -> its tags in the task's order."""
        return dict(self.tag_order or {})


@dataclass(frozen=True, slots=True)
class PilotInfo:
    """The full run that a race learned from."""

    run: str
    n_examples: int
    n_evaluations: int
    n_raced: int  # of its examples, again


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """The model, as its command named it."""

    options: Mapping[str, Json]
    citation: str = ""
    revision: str | None = None  # of its weights, as it was asked for
    pilot: PilotInfo | None = None
    form: tuple[str, ...] = ("score",)  # of imported scores: the columns that were read


@dataclass(frozen=True, slots=True)
class RunInfo:
    """A run's description of itself."""

    format: int
    key: RunKey
    status: str  # as written: a process that has died since still stands there as running
    view: Mapping[str, Json]  # the words of `rule`, as they are stored; none for a model that gives scores
    n_task_examples: int
    limit: int | None
    created: str
    updated: str
    compbench: str  # the version that made it
    task: TaskInfo
    model: ModelInfo
    files: Mapping[str, str]  # digests of the files beside the parts
    sharded: Mapping[str, Json] | None  # what its shards were asked for, until it is settled
    wave: Wave | None  # the first wave of a race

    @property
    def has_rule(self) -> bool:
        """Whether scores are made of errors, by a rule."""
        return bool(self.view)

    @property
    def rule(self) -> Rule:
        """The rule by which the run is read by default."""
        return Rule.of_view(self.view)

    @classmethod
    def of(cls, words: Mapping[str, Any]) -> RunInfo:
        """The description in run.json, after it was checked."""
        return cls(
            words["format"],
            RunKey(**words["key"]),
            words["status"],
            words["view"],
            words["n_task_examples"],
            words.get("limit"),
            words.get("created", ""),
            words["updated"],
            words["compbench"],
            _task(words["task"]),
            _model(words["model"]),
            words.get("files") or {},
            words.get("sharded"),
            None if words.get("wave") is None else Wave.of_json(words["wave"]),
        )


def _task(words: Mapping[str, Any]) -> TaskInfo:
    order = {name: tuple(tags) for name, tags in (words.get("tag_order") or {}).items()}
    stored = words.get("classes")
    classes = None
    if stored is not None:
        labels = None if stored["labels"] is None else tuple(stored["labels"])
        classes = Classes(tuple(stored["names"]), tuple(stored["of_caption"]), stored["label_space"], labels)
    told = {name: words[name] for name in ("description", "citation", "origin") if name in words}
    return TaskInfo(tuple(words["metrics"]), words["is_gated"], tag_order=order, classes=classes, **told)


def _model(words: Mapping[str, Any]) -> ModelInfo:
    pilot = words.get("pilot")
    return ModelInfo(
        words.get("options") or {},
        str(words.get("citation") or ""),
        (words.get("source") or {}).get("revision"),
        None if pilot is None else PilotInfo(**pilot),
        tuple(words.get("form", ("score",))),
    )
