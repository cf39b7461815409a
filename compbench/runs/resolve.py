"""A request with nothing left open: names become a task, a model, the commit of its weights, a key, the examples."""

from __future__ import annotations

import dataclasses
import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compbench import registry
from compbench.core import disk, image_files
from compbench.core.aliases import Json
from compbench.core.errors import UsageError
from compbench.core.examples import Example, Task, unread
from compbench.core.models import ModelSpec, ResolvedModel, Source
from compbench.core.rules import VIEW_KEYS, Rule, is_alone, why_alone
from compbench.core.subsets import subset, subset_per_class
from compbench.diffusion import emulation
from compbench.registry import hub
from compbench.registry.names import options
from compbench.registry.plugins import blamed, owner
from compbench.runs import _links, _weights
from compbench.runs._choices import FORM_OF, answerable
from compbench.runs._task_checks import check_written, checked_task, classes_of, labelled
from compbench.runs.request import RunRequest
from compbench.schedules.racing import Racing
from compbench.schedules.schedule import schedule_in
from compbench.store.key import RunKey
from compbench.store.lock import WAIT_SECONDS
from compbench.store.run import Run
from compbench.store.shards import Shard, shard_here
from compbench.store.store import Store

__all__ = ["ResolvedRun", "Settled", "check_is_here", "model_spec", "read_task", "resolve", "resolved_model"]


# label, model, device, say -> the model as that device can compute it
Settled = Callable[[str, ResolvedModel, str, Callable[[str], None]], ResolvedModel]


@dataclass(frozen=True, slots=True)
class ResolvedRun:
    """A request with nothing left open."""

    task: Task
    label: str
    model: ResolvedModel  # its source at a commit
    key: RunKey
    limit: int | None  # None where it leaves nothing out
    images_per_class: int | None  # likewise
    ids: list[str]  # of the examples asked for, in the task's order
    store: Store
    described: Mapping[str, Json]  # the model, as run.json holds it
    shard: Shard | None = None  # None: all of it is this process's
    skip_unreadable: bool = False  # whether the examples of images that cannot be read are left out
    is_read: bool = True  # False: only its price is asked for, and the key does not say which training split it is

    @property
    def view(self) -> dict[str, Json]:
        """The reading of the run, in the words of run.json."""
        return dict(self.model.view)

    @property
    def rule(self) -> Rule:
        """The rule that the view stands for."""
        return self.model.rule

    @property
    def n_asked(self) -> int | None:
        """The number of examples asked for; None for all of the task's."""
        return len(self.ids) if len(self.ids) < len(self.task.examples) else None

    def narrowed(self, stored: Run) -> Run:
        """The run, of which only what is asked for is read."""
        return stored.under(self.rule).limited(self.limit, self.images_per_class)

    @property
    def shared_words(self) -> dict[str, Json]:
        """The settings, beside its key, that must be the same for all shards of a run."""
        limits: dict[str, Json] = {"limit": self.limit, "images_per_class": self.images_per_class}
        return {**self.view, **limits}

    @property
    def own_ids(self) -> list[str]:
        """The ids of the examples that this process is to measure, whatever is already stored."""
        return list(self.ids) if self.shard is None else self.shard.of(self.ids)

    def missing(self, stored: Run | None) -> list[Example]:
        """The examples that this process was asked for and that are not stored yet."""
        own = self.own_ids
        lacking = set(own) - self._done(stored, own) - self.skipped(stored)
        return [example for example in self.task.examples if example.id in lacking]

    def is_complete(self, stored: Run) -> bool:
        """Whether all that is asked for is stored, by whichever process, or to be skipped."""
        wanted = set(self.ids) - self.skipped(stored)
        if not wanted <= stored.seen():  # sooner known than what a schedule concludes of those that are there
            return False
        return wanted <= self._done(stored, self.ids)

    def skipped(self, stored: Run | None) -> set[str]:
        """The examples known to be unreadable, where they are to be left out; not those another limit may allow."""
        if stored is None or not self.skip_unreadable:
            return set()
        found = stored.unreadable()
        return set(found.examples) if found.max_pixels == image_files.limits().max_pixels else set()

    def is_settled(self, stored: Run) -> bool:
        """Whether it is also derived and said: nothing is left to do."""
        return self.is_complete(stored) and stored.is_settled(self.view)

    def open(self) -> Run:
        """The run on disk, made if there is none."""
        return self.store.open(self.key, self.task, view=self.view, model=self.described)

    def _done(self, stored: Run | None, ids: Sequence[str]) -> set[str]:
        rule = self.rule
        return set() if stored is None else stored.done_of(ids, rule.draws, unconditional=rule.unconditional)


def resolve(
    request: RunRequest,
    say: Callable[[str], None],
    *,
    is_price: bool = False,
    is_computed: bool = True,
    settled: Settled = emulation.settled,
) -> ResolvedRun:
    """Everything that can be wrong with a request is told here, before torch is imported.

    `is_computed`: False where nothing will be measured, so that it does not matter what the device can compute.
    `settled` gives the model in the dtype that whoever computes can compute in.
    `is_price`: a training split is not read where no run of the task and the model is stored that could be of it.
    """
    label, spec = model_spec(request, say)
    task = _task(request, say)
    store = Store(request.runs, say=say, wait=WAIT_SECONDS if request.wait is None else float(request.wait))
    is_read = not is_price or store.has_runs(task.name, label)
    model = resolved_model(spec, task if is_read else unread(task))
    learning = model.learning
    is_read = is_read or learning is None or not learning.has_split
    task = task if is_read else unread(task)
    if model.label_space:
        task = labelled(task, label, model.label_space)
    if model.chooses:
        task = answerable(task, FORM_OF[model.chooses])
    check_written(task, label, embeds_text=model.embeds_text)
    _check_normalised(task, model, label)
    address = _Address(task, label, store, request, say, _mark(label, model, request, say))
    model, key, described = address.of(model)
    limit, images_per_class, ids = _selected(task, request, say)
    if len(ids) < len(task.examples) and learning is not None and not learning.is_narrowed:
        say(
            f"{label}: --limit and --images-per-class narrow what is scored, not what it learns from; "
            f"-o {label}.{learning.fewer_by}=N lets it learn from N pictures per class"
        )
    if model.taught is not None:
        say(f"{task.name} · {label}: {model.taught.said(task, ids)}")
        described["pilot"] = model.taught.to_json(task, ids)
    resolved = ResolvedRun(
        task,
        label,
        model,
        key,
        limit,
        images_per_class,
        ids,
        store,
        described,
        shard_here(request.shard),
        request.skip_unreadable,
        is_read,
    )
    return _computable(resolved, address, settled) if is_computed else resolved


def _check_normalised(task: Task, model: ResolvedModel, label: str) -> None:
    """UsageError, before anything is loaded, where normalising images by their captions leaves nothing to compare."""
    normalise = model.view.get("normalise")
    if normalise and (alone := [example.id for example in task.examples if is_alone(example.shape)]):
        raise UsageError(f"{label} cannot take normalise={normalise} on task {task.name!r}: {why_alone(alone)}")


def check_is_here(asked: ResolvedRun) -> None:
    """DataError, without importing torch, where the hub must not be asked and the weights are not in its cache."""
    model = asked.model
    if model.source is not None and not model.source.is_local and model.files:
        hub.fetch(model.source, model.files, is_offline=True)


def model_spec(request: RunRequest, say: Callable[[str], None]) -> tuple[str, ModelSpec]:
    """The label and the spec with its options; seed and dtype go to models that have them."""
    label, spec = registry.model(request.model, request.options)
    label = label if request.name is None else registry.checked_label(request.name)
    known = options(spec)
    general = {"seed": request.seed, "dtype": request.dtype}
    asked = {name: value for name, value in general.items() if value is not None}
    for name in asked.keys() - known.keys():
        say(f"{label} has no {name}: {name}={asked[name]} changes nothing for it")
    _, spec = registry.model(spec, {name: value for name, value in asked.items() if name in known})
    return label, spec


def resolved_model(spec: ModelSpec, task: Task | None) -> ResolvedModel:
    """The model on a task, looked through; what its `resolve` raises or gives is blamed on who offers it."""
    with blamed(spec, "when asked what it measures"):
        model = spec.resolve(task)
    return _checked(spec, model)


def _checked(spec: ModelSpec, model: ResolvedModel) -> ResolvedModel:
    if not isinstance(model, ResolvedModel):  # pyright: ignore[reportUnnecessaryIsInstance]  # of a plugin
        raise UsageError(
            f"{owner(spec)} gave a {type(model).__name__} of resolve(); expected a compbench.ResolvedModel"
        )
    view, identity = _as_json(spec, "a view", model.view), _as_json(spec, "an identity", model.identity)
    if unknown := sorted(view.keys() - set(VIEW_KEYS)):
        raise UsageError(
            f"{owner(spec)} gave a view with the unknown key {unknown[0]!r}; expected {', '.join(VIEW_KEYS)}"
        )
    return dataclasses.replace(model, view=view, identity=identity)


def _mark(label: str, model: ResolvedModel, request: RunRequest, say: Callable[[str], None]) -> dict[str, Json]:
    """The mark of this one measurement, which no other run has, where no stored run can be known to be of the model."""
    if not (why := model.why_anew):
        return {}
    if shard_here(request.shard) is not None:
        raise UsageError(f"{label}: {why}, and shards could not be recognised as one run; expected identity='...'")
    say(
        f"{label}: {why}, so it is measured every time and never read from the store; for its runs to be found "
        f"again, give compbench.from_function and the like an identity='...'"
    )
    return {"measurement": uuid.uuid4().hex[:12]}


@dataclass(frozen=True, slots=True)
class _Address:
    """The settings that decide, with the model, where its run is stored."""

    task: Task
    label: str
    store: Store
    request: RunRequest
    say: Callable[[str], None]
    mark: Mapping[str, Json]

    def of(self, model: ResolvedModel) -> tuple[ResolvedModel, RunKey, dict[str, Json]]:
        """The model, its source at a commit and asked what its files say; the run's key; what run.json says of it."""
        wanted, request = model.source, self.request
        unpinned = RunKey(self.task.name, self.task.revision, self.label, None, self._measurement(model))
        alike = _weights.alike(self.store, unpinned, wanted)
        source, weights = _weights.at_commit(wanted, alike, request, self.say, model.files)
        key = dataclasses.replace(unpinned, weights=weights)
        if source is not None and model.with_files is not None:
            with blamed(model.spec, "when asked what it measures"):
                model = _weights.with_files(model, source, request, is_stored=self.store.has(key))
            model = _checked(model.spec, model)
            key = dataclasses.replace(key, measurement=self._measurement(model))
        key = _weights.recognised(self.store, key, source, self.say)
        self.store.tell_damaged(key)
        return dataclasses.replace(model, source=source), key, _described(self.label, model, wanted)

    def _measurement(self, model: ResolvedModel) -> dict[str, Json]:
        """With scores alone a run cannot be read another way, so how it was read is part of what it is."""
        schedule = schedule_in(model.identity)
        if self.request.keep == "scores" and isinstance(schedule, Racing) and schedule.n_wave:
            raise UsageError(
                f"bound={schedule.bound} learns from the errors of a first wave, which --keep scores does not store; "
                f"{'add' if schedule.tolerance is None else 'leave tolerance out and add'} -o bound=asymptotic, or "
                "keep the errors"
            )
        kept = {"kept": dict(model.view)} if self.request.keep == "scores" and model.view else {}
        return {**model.identity, **self.mark, **kept}


def _computable(asked: ResolvedRun, address: _Address, settled: Settled) -> ResolvedRun:
    """The request in a dtype the device does not emulate; unchanged if all is stored, since nothing is computed."""
    if asked.model.precision is None:
        return asked
    stored = asked.store.known(asked.key)
    if stored is not None and asked.is_complete(stored):
        return asked
    device = address.request.device
    placed = settled(asked.label, asked.model, device, address.say)
    if placed is asked.model:
        return asked
    if stored is not None:
        dtype = asked.model.precision.dtype
        address.say(
            f"{str(stored.path)!r} holds part of this in {dtype}: resume it with --dtype {dtype} --device "
            f"{emulation.kind_of(device)}"
        )
    model, key, described = address.of(_checked(placed.spec, placed))
    described |= {name: value for name, value in asked.described.items() if name == "pilot"}
    return dataclasses.replace(asked, model=model, key=key, described=described)


def _as_json(spec: ModelSpec, what: str, given: object) -> dict[str, Json]:
    """`given` as read back from JSON; UsageError names whose spec gave what JSON cannot hold."""
    try:
        text = json.dumps(given, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(
            f"{owner(spec)} gave {what} that JSON cannot hold ({error}); expected text, finite numbers, true, false, "
            "None, and lists and dicts of these"
        ) from error
    if not isinstance(given, Mapping):
        raise UsageError(f"{owner(spec)} gave {what} that is a {type(given).__name__}; expected a dict")
    return json.loads(text)


def _selected(task: Task, request: RunRequest, say: Callable[[str], None]) -> tuple[int | None, int | None, list[str]]:
    """The values of limit and images_per_class that leave something out, and the examples that remain."""
    ids, words = [example.id for example in task.examples], ""
    images_per_class = request.images_per_class
    if images_per_class is not None:
        ids, words = subset_per_class(classes_of(task), images_per_class), f"at most {images_per_class} of each class, "
        images_per_class = images_per_class if len(ids) < len(task.examples) else None
    limit = request.limit if request.limit is not None and request.limit < len(ids) else None
    ids = subset(ids, limit)
    if len(ids) < len(task.examples):
        say(f"{task.name}: {len(task.examples)} → {len(ids)} examples, {words}the same for every model")
    return limit, images_per_class, ids


def read_task(request: RunRequest) -> Task:
    """The task that a request names, its examples read."""
    named: Any = request.task
    return registry.task(
        named,
        data=disk.given(request.data),
        images=disk.given(request.images),
        is_offline=request.is_offline,
        prompts=request.prompts,
        skip_unreadable=request.skip_unreadable,
    )


def _task(request: RunRequest, say: Callable[[str], None]) -> Task:
    task = request.task
    if isinstance(task, str | Path):
        task = read_task(request)
        _links.tell(task, request.data, say)
    if not isinstance(task, Task):  # pyright: ignore[reportUnnecessaryIsInstance]  # a notebook has no type checker
        raise UsageError(f"task cannot be {task!r}; expected a name, a folder or a Task")
    return checked_task(task)


def _described(label: str, model: ResolvedModel, source: Source | None) -> dict[str, Json]:
    given = {name: _plain(option.default) for name, option in options(model.spec).items()}
    described: dict[str, Json] = {"label": label, "options": given, "citation": model.citation}
    if model.chooses:
        described["form"] = list(FORM_OF[model.chooses])
    if source is not None:
        described["source"] = {"repo": source.repo, "revision": source.revision, "is_local": source.is_local}
    return described


def _plain(value: object) -> Json:
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)
