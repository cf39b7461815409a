"""The plan of a run and its cost, before it begins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from compbench.core.errors import DataError, MissingPictures
from compbench.core.examples import Example, Task
from compbench.core.file_list import FileList
from compbench.core.models import (
    Cost,
    Costed,
    ModelSpec,
    Preparation,
    Price,
    Priced,
    PricesLearning,
    ResolvedModel,
    Scorer,
    Sends,
)
from compbench.core.rules import Rule, n_known
from compbench.registry import hub, repositories
from compbench.registry.plugins import blamed
from compbench.runs import _links
from compbench.runs._scorer_cache import ScorerCache
from compbench.runs.reporter import QuietReporter, Reporter
from compbench.runs.request import RunRequest, takes_settings
from compbench.runs.resolve import ResolvedRun, model_spec, read_task, resolve, resolved_model
from compbench.schedules.racing import Racing
from compbench.schedules.schedule import schedule_in
from compbench.schedules.wave import wave_ids
from compbench.store.run import Run
from compbench.store.run_file import DamagedRun

__all__ = ["Plan", "plan", "planned", "task_here", "unread", "warn_if_long"]

Told = TypeVar("Told", int, float)

_DAY = 86_400.0
_BYTES_PER_SCORE = 32  # a row of a scores part, uncompressed
_BYTES_PER_ERROR = 4
# below this no run takes a day, at one evaluation in four seconds; the probe is spared
_EVALUATIONS_WORTH_A_PROBE = 20_000


@dataclass(frozen=True, slots=True)
class Plan:
    """The work left to do and its price; None where that is unknown before weights or data are here."""

    task: str
    model: str
    examples: int | None  # to measure; what is stored is not counted
    pairs: int | None
    evaluations: int | None  # of the network, each input once; 0 for an embedding model
    tflops: float | None  # in all
    seconds: float | None  # from a short probe
    fetch_bytes: int | None  # of weights
    store_bytes: int | None
    folder: Path | None  # None also where the training split was not read, which is a part of its name
    is_done: bool  # nothing is to be measured
    # of a model that learns, at most: what the cache folder lacks
    preparing_evaluations: int = 0  # those of `evaluations` that make pictures or features, which are kept
    generated_pictures: int = 0
    trained_inputs: int = 0  # that the classifier is trained on, each counted once per epoch
    kept_bytes: int | None = 0  # in the cache folder, beside `store_bytes` in the run's
    raced_at_least: float | None = None  # the share of `evaluations` that a race takes at best
    has_draws: bool = False  # fewer of which would make it cheaper
    fewer_by: str | None = None  # the option that narrows what it learns from
    # of a model that asks a service
    requests: int = 0  # at most
    sent_bytes: int = 0  # about, in all of them
    sent_to: str = ""
    sent: str = ""  # in words
    device_bytes: int | None = None  # of memory that its weights take at the least


@takes_settings
def plan(
    task: str | Path | Task, *, model: str | ModelSpec | Any, reporter: Reporter | None = None, **settings: Any
) -> Plan:
    """The plan of `run` with the same arguments. Nothing is fetched or written; weights at hand are probed."""
    request = RunRequest.of_keywords(task, model, settings)
    cache = ScorerCache(request, reporter or QuietReporter())
    with request.reading_images():
        if isinstance(task, str | Path):
            known = task_here(request)
            if known is None:
                return unread(request, task, cache)
            _links.tell(known, request.data, cache.reporter.say)
            request = replace(request, task=known, data=None, images=None, prompts=())
        return planned(resolve(request, cache.reporter.say, is_price=True), cache)


def task_here(request: RunRequest) -> Task | None:
    """The task of a request that names it, nothing fetched for it; None where its data have to be fetched first."""
    if request.data is not None or request.is_offline:
        return read_task(request)
    try:
        return read_task(replace(request, is_offline=True))
    except MissingPictures:  # which nothing fetches
        raise
    except DataError:  # a run fetches them, and says what is wrong if it cannot
        return None


def unread(request: RunRequest, task: str | Path, cache: ScorerCache) -> Plan:
    """The plan without the data: the bytes to fetch of the model, and errors if it cannot be run at all."""
    label, spec = model_spec(request, cache.reporter.say)
    model = resolved_model(spec, None)
    if model.source is not None:
        source, _ = hub.resolve(model.source, is_offline=request.is_offline, say=cache.reporter.say)
        model = replace(model, source=source)
    fetch_bytes, device_bytes = _fetch_bytes(model, cache.is_offline), _by_files(model, model.device_bytes, cache)
    return Plan(
        str(task), label, None, None, None, None, None, fetch_bytes, None, None, False, device_bytes=device_bytes
    )


def planned(asked: ResolvedRun, cache: ScorerCache) -> Plan:
    """The plan of what is settled; a scorer that the cache has at hand is probed."""
    try:
        stored = asked.store.get(asked.key)
    except DamagedRun as error:  # a run rewrites it; until then nobody knows which parts are its own
        cache.reporter.say(f"{error}; until then the cost shown is that of the whole run")
        stored = None
    missing = asked.missing(stored)
    fetch_bytes = _fetch_bytes(asked.model, cache.is_offline) if missing else 0
    price = cost = scorer = None
    if missing and (fetch_bytes == 0 or cache.is_offline):
        scorer = cache.scorer(asked)
        price = _price(scorer, missing) if isinstance(scorer, Priced) else None
        cost = _cost(scorer, missing) if isinstance(scorer, Costed) else None
    model = asked.model
    flops = None if price is not None or not missing else _by_files(model, model.flops_per_evaluation, cache)
    made = _planned(asked, missing, _n_measured(asked, stored, missing), fetch_bytes, price, flops)
    made = replace(made, raced_at_least=_raced_at_least(asked, stored, missing))
    learning = asked.model.learning
    made = made if learning is None else replace(made, fewer_by=learning.fewer_by)
    made = replace(made, device_bytes=_by_files(model, model.device_bytes, cache) if missing else 0)
    if cost is not None:
        made = _with_cost(made, cost)
    elif missing and asked.model.evaluations is not None:
        made = replace(made, evaluations=_evaluations(asked, missing, cache.is_offline), tflops=None, seconds=None)
    return _with_sending(_with_preparation(made, _preparation(asked, missing, scorer)), missing, scorer)


def warn_if_long(scorer: Scorer, asked: ResolvedRun, stored: Run, say: Callable[[str], None]) -> None:
    """Say so when what is to be measured takes more than a day, and what would make it cheaper."""
    missing = asked.missing(stored)
    n_draws = asked.view.get("n_draws")
    if not isinstance(scorer, Priced) or not isinstance(n_draws, int):
        return
    n_lacking = n_draws * _n_pairs(asked, missing) - _n_measured(asked, stored, missing)
    if n_lacking < _EVALUATIONS_WORTH_A_PROBE:
        return
    seconds = n_lacking * _price(scorer, missing).seconds_per_evaluation
    if seconds > _DAY:
        say(
            f"{asked.task.name} · {asked.label}: {n_lacking:,} network evaluations at "
            f"{n_lacking / seconds:.3g} per second take about {seconds / _DAY:.1f} days. Cheaper: fewer draws "
            f"(draws={max(1, n_draws // 10)} takes a tenth; more can be added later), fewer examples (limit), "
            "a GPU, or a smaller model. Measurements are kept if you stop"
        )


def _price(scorer: Priced, examples: Sequence[Example]) -> Price:
    with blamed(scorer, "when asked its price"):
        return scorer.price(examples)


def _cost(scorer: Costed, examples: Sequence[Example]) -> Cost:
    with blamed(scorer, "when asked its cost"):
        return scorer.scoring_cost(examples)


def _with_cost(made: Plan, cost: Cost) -> Plan:
    return replace(
        made, evaluations=cost.evaluations, tflops=cost.flops / 1e12, seconds=cost.seconds, store_bytes=cost.bytes
    )


def _evaluations(asked: ResolvedRun, missing: Sequence[Example], is_offline: bool) -> int | None:
    """The evaluations that a model of scores makes; None where that takes a file which is not to be had."""
    model = asked.model
    if model.evaluations is None or model.source is None:
        return None
    try:
        return model.evaluations(missing, partial(repositories.file_list, model.source, is_offline))
    except DataError:
        return None


def _preparation(asked: ResolvedRun, missing: Sequence[Example], scorer: Scorer | None) -> Preparation | None:
    """The work left for a model that learns, with its operations, and its time where the weights are here."""
    if not missing or asked.model.learning is None:
        return None
    with blamed(asked.model.spec, "when asked what it has to make"):
        lacking = asked.model.learning.preparation(asked.task, missing, asked.model.source)
        return scorer.priced(asked.task, lacking) if isinstance(scorer, PricesLearning) else lacking


def _with_preparation(made: Plan, lacking: Preparation | None) -> Plan:
    if lacking is None:
        return made
    return replace(
        made,
        evaluations=None if made.evaluations is None else made.evaluations + lacking.evaluations,
        tflops=None if lacking.flops is None else (made.tflops or 0) + lacking.flops / 1e12,
        seconds=None if lacking.seconds is None else (made.seconds or 0) + lacking.seconds,
        preparing_evaluations=lacking.evaluations,
        generated_pictures=lacking.pictures,
        trained_inputs=lacking.trained,
        kept_bytes=lacking.bytes,
    )


def _with_sending(made: Plan, missing: Sequence[Example], scorer: Scorer | None) -> Plan:
    if not isinstance(scorer, Sends):
        return made
    with blamed(scorer, "when asked what it sends"):
        sent = scorer.sending(missing)
    return replace(made, requests=sent.requests, sent_bytes=sent.bytes, sent_to=sent.to, sent=sent.what)


def _planned(
    asked: ResolvedRun,
    missing: Sequence[Example],
    n_measured: int,
    fetch_bytes: int | None,
    price: Price | None,
    flops: float | None,
) -> Plan:
    n_pairs, n_draws = _n_pairs(asked, missing), asked.view.get("n_draws")
    evaluations = n_draws * n_pairs - n_measured if isinstance(n_draws, int) else None if "n_draws" in asked.view else 0
    tflops = None if flops is None or evaluations is None else evaluations * flops / 1e12
    seconds = None
    store_bytes = _BYTES_PER_ERROR * evaluations if evaluations else n_pairs * _BYTES_PER_SCORE
    if price is not None:
        evaluations = price.evaluations_per_pair * n_pairs - n_measured
        tflops = evaluations * price.flops_per_evaluation / 1e12
        # an embedding model has no evaluations to time
        seconds = evaluations * price.seconds_per_evaluation if evaluations else None
        store_bytes = evaluations * price.bytes_per_pair // max(price.evaluations_per_pair, 1)
    return Plan(
        task=asked.task.name,
        model=asked.label,
        examples=len(missing),
        pairs=n_pairs,
        evaluations=evaluations if missing else 0,
        tflops=tflops if missing else 0.0,
        seconds=seconds if missing else 0.0,
        fetch_bytes=fetch_bytes,
        store_bytes=store_bytes if missing else 0,
        folder=asked.store.root / asked.key.folder if asked.is_read else None,
        is_done=not missing,
        has_draws="n_draws" in asked.view,
    )


def _raced_at_least(asked: ResolvedRun, stored: Run | None, missing: Sequence[Example]) -> float | None:
    """The evaluations that racing takes at best, as a share of those of `missing`; None where nothing is raced.

    The first wave counts, which is of the whole task and measured in full whatever the limit is.
    """
    race = schedule_in(asked.model.identity)
    if not isinstance(race, Racing) or not missing:
        return None
    known = set[str]() if stored is None else stored.done()
    ids = wave_ids((example.id for example in asked.task.examples), race.n_wave, race.seed)
    first = [example for example in asked.task.examples if example.id in set(ids) - known]
    others = [example for example in missing if example.id not in ids]
    least = _n_pairs(asked, first) + _n_pairs(asked, others) * race.least_draws / race.draws
    return least / _n_pairs(asked, missing)


def _fetch_bytes(model: ResolvedModel, is_offline: bool) -> int | None:
    """0 without weights to fetch; None when the hub does not tell, or the model not which files it needs.

    DataError where the repository holds another kind of model, which its file list and configurations tell.
    """
    source = model.source
    if source is None:
        return 0 if model.bytes_to_fetch is None else model.bytes_to_fetch()
    if source.is_local or source.opened is not None:
        return repositories.missing_bytes(source, is_offline)
    return hub.missing_bytes(source, model.files, is_offline) if model.files else None


def _by_files(model: ResolvedModel, told: Callable[[FileList], Told | None] | None, cache: ScorerCache) -> Told | None:
    """A number by the configuration of weights that need not be here; None where it is unknown."""
    if told is None or model.source is None:
        return None
    try:
        return told(repositories.file_list(model.source, cache.is_offline))
    except DataError:
        return None


def _n_pairs(asked: ResolvedRun, examples: Sequence[Example]) -> int:
    """The number of pairs of images and captions; an image without a caption counts where that is measured too."""
    without = bool(asked.view.get("unconditional"))
    return sum(len(example.images) * (len(example.captions) + without) for example in examples)


def _n_measured(asked: ResolvedRun, stored: Run | None, missing: Sequence[Example]) -> int:
    """(pair, draw) errors that are stored of examples which lack some."""
    n_draws = asked.view.get("n_draws")
    if stored is None or not isinstance(n_draws, int):
        return 0
    known = stored.known([example.id for example in missing])
    rule = Rule.of_view(asked.view)
    return sum(n_known(measurement, rule) for measurement in known.values())
