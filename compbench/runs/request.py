"""What a user asks for, settled: names become a task, a model, the commit of its weights, a key, the examples."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from compbench import registry
from compbench.core import disk, image_files
from compbench.core.aliases import Json
from compbench.core.captions import caption_fault
from compbench.core.errors import DataError, UsageError
from compbench.core.examples import Example, Task, unread
from compbench.core.models import DependsOnFiles, DependsOnTask, HalfPrecision, Learns, ModelSpec, Source
from compbench.core.plain_text import half_character
from compbench.core.rules import Rule
from compbench.core.subsets import subset, subset_per_class
from compbench.diffusion import emulation
from compbench.registry import hub, model_files, repositories
from compbench.registry.options import options
from compbench.registry.plugins import blamed, owner
from compbench.runs import _links
from compbench.store import run_file, unreadable
from compbench.store.key import RunKey
from compbench.store.lock import WAIT_SECONDS
from compbench.store.pilots import Pilot
from compbench.store.run import Run
from compbench.store.shards import Shard
from compbench.store.store import Store

__all__ = ["Asked", "Request", "check_is_here", "check_where", "model_spec", "settle"]

_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")


@dataclass(frozen=True, slots=True)
class Request:
    """All that a user asks for with `run` or `plan`."""

    task: str | Path | Task
    model: str | ModelSpec
    options: Mapping[str, object] = field(default_factory=dict[str, object])
    data: Path | str | None = None
    limit: int | None = None
    seed: int | None = None
    dtype: str | None = None
    runs: Path | str | None = None
    is_offline: bool = False
    refresh: bool = False
    shard: Shard | None = None
    keep: str = "errors"
    images_per_class: int | None = None
    skip_unreadable: bool = False
    device: str | None = None  # half precision that it emulates is replaced or refused; None: nothing will be computed
    wait: float | None = None  # seconds, for another process that is writing to the run; None: an hour


@dataclass(frozen=True, slots=True)
class Asked:
    """A request with nothing left open."""

    task: Task
    label: str
    spec: ModelSpec
    source: Source | None  # at a commit
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
        """How the run is to be read."""
        return dict(self.spec.view())

    @property
    def rule(self) -> Rule:
        """The rule that the view stands for."""
        return Rule.of_view(self.view)

    @property
    def n_asked(self) -> int | None:
        """How many examples; None for all of the task's."""
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
        """Of the examples that this process is to measure, whatever is stored already."""
        return list(self.ids) if self.shard is None else self.shard.of(self.ids)

    def missing(self, stored: Run | None) -> list[Example]:
        """What this process is asked for and is not stored yet."""
        lacking = set(self.own_ids) - self._done(stored) - self.skipped(stored)
        return [each for each in self.task.examples if each.id in lacking]

    def is_complete(self, stored: Run) -> bool:
        """Whether all that is asked for is stored, by whichever process, or to be skipped."""
        return (self._done(stored) | self.skipped(stored)).issuperset(self.ids)

    def skipped(self, stored: Run | None) -> set[str]:
        """The examples known to be unreadable, where they are to be left out; not those another limit may allow."""
        if stored is None or not self.skip_unreadable:
            return set()
        found = unreadable.read(stored.path)
        return set(found.examples) if found.max_pixels == image_files.limits().max_pixels else set()

    def is_settled(self, stored: Run) -> bool:
        """Whether it is also derived and said: nothing is left to do."""
        return self.is_complete(stored) and stored.is_settled(self.view)

    def open(self) -> Run:
        """The run on disk, made if there is none."""
        return self.store.open(self.key, self.task, view=self.view, model=self.described)

    def _done(self, stored: Run | None) -> set[str]:
        return set() if stored is None else stored.done(self.rule.draws, unconditional=self.rule.unconditional)


def settle(request: Request, say: Callable[[str], None], *, is_price: bool = False) -> Asked:
    """Everything that can be wrong with a request is told here, before torch is imported.

    `is_price`: a training split is not read where no run of the task and the model is stored that could be of it.
    """
    for name in ("limit", "images_per_class"):
        if getattr(request, name) is not None:
            _check_count(name, getattr(request, name))
    label, spec = model_spec(request, say)
    task = _task(request, say)
    if space := str(getattr(spec, "label_space", "")):  # a model that knows labels, not words
        task = _labelled(task, label, space)
    given = spec
    with blamed(spec, "when asked what it measures"):
        has_all = isinstance(spec, Learns) and getattr(spec, spec.fewer_by) is None  # of what it can learn from
        spec = spec.for_task(task.name)
        store = Store(request.runs, say=say, wait=_wait(request.wait))
        is_read = not is_price or not hasattr(spec, "training") or store.has_runs(task.name, label)
        task = task if is_read else unread(task)
        spec = spec.on(task) if isinstance(spec, DependsOnTask) else spec
    spec, source, key = _keyed(task, label, spec, store, request, say)
    limit, images_per_class, ids = _selected(task, request, say)
    if len(ids) < len(task.examples) and isinstance(spec, Learns) and has_all:
        say(
            f"{label}: --limit and --images-per-class narrow what is scored, not what it learns from; "
            f"-o {label}.{spec.fewer_by}=N lets it learn from N pictures per class"
        )
    described = _described(label, spec, spec.source())
    pilot: Pilot | None = getattr(spec, "taught", None)
    if pilot is not None:
        say(f"{task.name} · {label}: {pilot.said(task, ids)}")
        described["pilot"] = pilot.to_json(task, ids)
    asked = Asked(
        task,
        label,
        spec,
        source,
        key,
        limit,
        images_per_class,
        ids,
        store,
        described,
        request.shard,
        request.skip_unreadable,
        is_read,
    )
    return _computable(asked, given, request, say)


def _keyed(
    task: Task, label: str, spec: ModelSpec, store: Store, request: Request, say: Callable[[str], None]
) -> tuple[ModelSpec, Source | None, RunKey]:
    """The spec with what its weights' files say, the source at a commit, and the key of the run."""
    with blamed(spec, "when asked what it measures"):
        identity, view, wanted = spec.identity(), spec.view(), spec.source()
    _ = _as_json(spec, "a view", view)
    identity = _as_json(spec, "an identity", identity) | _kept(request, spec)
    unpinned = RunKey(task.name, task.revision, label, None, identity)
    files: Sequence[str] = getattr(spec, "files", ())
    source, weights = _resolved(wanted, _alike(store, unpinned, wanted), request, say, files)
    key = dataclasses.replace(unpinned, weights=weights)
    if source is not None and isinstance(spec, DependsOnFiles):
        with blamed(spec, "when asked what it measures"):
            spec = _with_files(spec, source, request, is_stored=store.has(key))
            identity = spec.identity()
        identity = _as_json(spec, "an identity", identity) | _kept(request, spec)
        key = dataclasses.replace(key, measurement=identity)
    return spec, source, _recognised(store, key, source, say)


def _computable(asked: Asked, given: ModelSpec, request: Request, say: Callable[[str], None]) -> Asked:
    """In a dtype that the device does not emulate; as it is where all of it is stored, since nothing is computed."""
    spec = asked.spec
    if request.device is None or not isinstance(spec, HalfPrecision) or not isinstance(given, HalfPrecision):
        return asked
    stored = asked.store.known(asked.key)
    if stored is not None and asked.is_complete(stored):
        return asked
    placed = cast(ModelSpec, emulation.settled(asked.label, spec, given, request.device, say))
    if placed is spec:
        return asked
    if stored is not None:
        say(
            f"{str(stored.path)!r} holds a part of this in {spec.dtype}: resume it with --dtype {spec.dtype} --device "
            f"{emulation.kind_of(request.device)}"
        )
    placed, source, key = _keyed(asked.task, asked.label, placed, asked.store, request, say)
    described = _described(asked.label, placed, placed.source())
    described |= {name: value for name, value in asked.described.items() if name == "pilot"}
    return dataclasses.replace(asked, spec=placed, source=source, key=key, described=described)


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


def _kept(request: Request, spec: ModelSpec) -> dict[str, Json]:
    """With scores alone a run cannot be read another way, so how it was read is part of what it is."""
    if request.keep not in ("errors", "scores"):
        raise UsageError(f"keep cannot be {request.keep!r}; expected errors or scores")
    view = dict(spec.view())
    return {"kept": view} if request.keep == "scores" and view else {}


def check_where(device: str, batch_size: int | None) -> None:
    """UsageError for a device that cannot be, or a batch size that is no count."""
    if batch_size is not None:
        _check_count("batch_size", batch_size)
    if not _DEVICE.fullmatch(device):
        raise UsageError(f"no device named {device!r}; expected auto, cpu, cuda, cuda:1 or mps")


def check_is_here(asked: Asked) -> None:
    """DataError, without importing torch, where the hub must not be asked and the weights are not in its cache."""
    files = getattr(asked.spec, "files", None)
    if asked.source is not None and not asked.source.is_local and files is not None:
        hub.fetch(asked.source, files, is_offline=True)


def _wait(seconds: float | None) -> float:
    if seconds is None:
        return WAIT_SECONDS
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:  # pyright: ignore[reportUnnecessaryIsInstance]  # a notebook has no type checker
        raise UsageError(f"wait cannot be {seconds!r}; expected seconds, 0 or more")
    return float(seconds)


def _check_count(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UsageError(f"{name} cannot be {value!r}; expected a whole number, at least 1")


def model_spec(request: Request, say: Callable[[str], None]) -> tuple[str, ModelSpec]:
    """The label and the spec with its options; seed and dtype go to models that have them."""
    label, spec = registry.model(request.model, request.options)
    known = options(spec)
    general = {"seed": request.seed, "dtype": request.dtype}
    asked = {name: value for name, value in general.items() if value is not None}
    for name in asked.keys() - known.keys():
        say(f"{label} has no {name}: {name}={asked[name]} changes nothing for it")
    _, spec = registry.model(spec, {name: value for name, value in asked.items() if name in known})
    return label, spec


def _selected(task: Task, request: Request, say: Callable[[str], None]) -> tuple[int | None, int | None, list[str]]:
    """What of limit and images_per_class leaves something out, and the examples that both leave."""
    ids, words = [each.id for each in task.examples], ""
    images_per_class = request.images_per_class
    if images_per_class is not None:
        ids, words = subset_per_class(_classes(task), images_per_class), f"at most {images_per_class} of each class, "
        images_per_class = images_per_class if len(ids) < len(task.examples) else None
    limit = request.limit if request.limit is not None and request.limit < len(ids) else None
    ids = subset(ids, limit)
    if len(ids) < len(task.examples):
        say(f"{task.name}: {len(task.examples)} → {len(ids)} examples, {words}the same for every model")
    return limit, images_per_class, ids


def _classes(task: Task) -> dict[str, tuple[str, ...]]:
    """Example id -> its class; UsageError where the task has none."""
    class_of = {each.id: each.tags.get("class", ()) for each in task.examples}
    if lacking := [each for each, its_class in class_of.items() if not its_class]:
        raise UsageError(
            f"images_per_class cannot be had of task {task.name!r}: it has no classes (example {lacking[0]!r} has no "
            "tag 'class'); use limit"
        )
    return class_of


def _labelled(task: Task, label: str, space: str) -> Task:
    """The task as a model of labels takes it; UsageError, before any weights are fetched, where it knows others."""
    task = task.labelled or task
    its = None if task.classes is None or task.classes.labels is None else task.classes.label_space
    if its != space:
        has = f"has classes of {its!r}" if its else "has no classes with such labels"
        raise UsageError(f"{label} knows the labels of {space!r} alone; task {task.name!r} {has}: choose another model")
    return task


def _task(request: Request, say: Callable[[str], None]) -> Task:
    task = request.task
    if isinstance(task, str | Path):
        data = None if request.data is None else disk.expanded(request.data)
        task = registry.task(task, data=data, is_offline=request.is_offline, skip_unreadable=request.skip_unreadable)
        _links.tell(task, data, say)
    if not isinstance(task, Task):  # pyright: ignore[reportUnnecessaryIsInstance]  # a notebook has no type checker
        raise UsageError(f"task cannot be {task!r}; expected a name, a folder or a Task")
    _check(task)
    return task


def _check(task: Task) -> None:
    seen: set[str] = set()
    if not task.examples:
        raise DataError(f"task {task.name!r} has no examples")
    shared = task.examples[0].captions
    for example in task.examples:
        what = f"example {example.id!r} of task {task.name!r}"
        for name in (example.id, *(image.name for image in example.images)):
            if half_character(name):
                raise DataError(
                    f"{name!r} of task {task.name!r} is not the name of a file in UTF-8; rename the file (convmv -f "
                    "latin1 -t utf8 does a folder) and rerun the command"
                )
        if example.id in seen:
            raise DataError(f"{what} occurs twice; expected every id once")
        if example.matches.shape != example.shape:
            raise DataError(f"{what} has matches {example.matches.shape}; expected {example.shape}, images by captions")
        if not seen or example.captions is not shared:  # a thousand shared captions are looked at once
            _check_captions(task, example, shared, what)
        seen.add(example.id)


def _check_captions(task: Task, example: Example, shared: tuple[str, ...], what: str) -> None:
    for number, text in enumerate(example.captions):
        if fault := caption_fault(text):
            raise DataError(f"caption {number} of {what} {fault}")
    if task.classes is not None and example.captions != shared:
        raise DataError(
            f"{what} has other captions than the first example; the examples of a classification share them"
        )


def _resolved(
    source: Source | None, stored: Run | None, request: Request, say: Callable[[str], None], files: Sequence[str]
) -> tuple[Source | None, str | None]:
    """The source at a commit and the word for its weights: those of `stored` where a run is to be continued."""
    if source is None:
        return None, None
    if stored is None or request.refresh:
        return hub.resolve(source, is_offline=request.is_offline, say=say, files=files)
    weights = str(stored.key.weights)
    commit = weights.rpartition("@")[2]
    newest = None if request.is_offline else _newest(source)
    if newest is not None and newest != commit:
        say(
            f"{source.repo} has moved on to {newest[:12]}; this run goes on at {commit[:12]} "
            "(--refresh takes the new one)"
        )
    branch = (source.revision or "main") if newest == commit else None
    return dataclasses.replace(source, revision=commit, branch=branch), weights


def _with_files(spec: DependsOnFiles, source: Source, request: Request, *, is_stored: bool) -> ModelSpec:
    """The spec with what its weights' configuration decides; a stored run is found without the weights too."""
    try:
        return spec.with_files(lambda: repositories.file_list(source, request.is_offline))
    except DataError:
        if is_stored and not source.is_local:
            return cast(ModelSpec, spec)
        raise


def _recognised(store: Store, key: RunKey, source: Source | None, say: Callable[[str], None]) -> RunKey:
    """The key, or the one under which compbench 0.1 stored a run of the same weights: it digested unused files too."""
    if source is None or not source.is_local or (store.root / key.folder / run_file.NAME).exists():
        return key
    others = {
        str(run.key.weights)
        for run in store.of_model(key)
        if str(run.key.weights).startswith("sha256:") and dataclasses.replace(run.key, weights=key.weights) == key
    }
    former = f"sha256:{model_files.former_digest(source)}" if others else None
    if former is None or former not in others:
        return key
    say(
        f"{key.model}: the run of these weights is stored under the digest of all files of their folder, "
        f"{former[:19]}; it goes on under that name"
    )
    return dataclasses.replace(key, weights=former)


def _newest(source: Source) -> str | None:
    """The commit that the hub has now; None where it cannot be asked, which is no reason not to go on."""
    try:
        return hub.resolve(source, is_offline=False, say=lambda message: None)[0].revision
    except DataError:
        return None


def _alike(store: Store, key: RunKey, source: Source | None) -> Run | None:
    """The latest run that differs from `key` in nothing but the commit, where the source leaves that open."""
    if source is None or hub.is_pinned(source):
        return None
    siblings = [
        run
        for run in store.of_model(key)
        if str(run.key.weights).startswith(f"hf:{source.repo}@")
        and _without_size(dataclasses.replace(run.key, weights=None)) == _without_size(key)
        and (run.info["model"].get("source") or {}).get("revision") == source.revision
    ]
    return max(siblings, key=lambda run: str(run.info["updated"]), default=None)


def _without_size(key: RunKey) -> RunKey:
    """The size of the pictures may follow from the weights, and is then known only when these are."""
    measurement = {name: value for name, value in key.measurement.items() if name != "size_px"}
    return dataclasses.replace(key, measurement=measurement)


def _described(label: str, spec: ModelSpec, source: Source | None) -> dict[str, Json]:
    defaults = {name: _plain(option.default) for name, option in options(spec).items()}
    described: dict[str, Json] = {"label": label, "options": defaults, "citation": str(getattr(spec, "citation", ""))}
    if source is not None:
        described["source"] = {"repo": source.repo, "revision": source.revision, "is_local": source.is_local}
    return described


def _plain(value: object) -> Json:
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)
