"""The scorers of one command: built where they are to compute, and kept for the next task that asks for the same."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Hashable
from typing import Any, TypeVar, cast

from compbench.core import stages
from compbench.core.models import ModelSpec, Runtime, Scorer, Source, TellsDevice
from compbench.registry import hub
from compbench.registry.plugins import blamed
from compbench.runs.reporter import Reporter
from compbench.runs.request import RunRequest
from compbench.runs.resolve import ResolvedRun, check_is_here
from compbench.store.shards import device_here

__all__ = ["ScorerCache"]

Made = TypeVar("Made")


class ScorerCache:
    """Builds scorers. The last one is in memory, and returned again when spec and source are the same.

    A spec that differs from task to task may keep what does not, its weights above all, by `Runtime.kept`.
    """

    def __init__(self, request: RunRequest, reporter: Reporter) -> None:
        self.reporter, self.is_offline, self.asked_device = reporter, request.is_offline, request.device
        self.is_told_where = request.is_told_where
        self.n_evaluations = 0  # of networks so far, whoever asked for them
        self._runtime = Runtime(
            device_here(request.device),
            request.batch_size,
            request.is_offline,
            reporter.say,
            self._advance,
            self._keep,
        )
        self._last: tuple[ModelSpec, Source | None, Scorer] | None = None
        self._kept: dict[Hashable, Any] = {}
        self._has_built = False  # a scorer, or a part of one
        self._said: set[str] = set()  # what is said to be loading

    def scorer(self, asked: ResolvedRun) -> Scorer:
        """The scorer of what is asked, its weights loaded."""
        model = asked.model
        if self._last is None or self._last[:2] != (model.spec, model.source):
            self._last = None  # before the next is loaded: two may not fit
            if self.is_offline:
                check_is_here(asked)
            stages.tell(f"importing what {asked.label} needs")
            self._say_what_is_loaded(asked)
            self._has_built = True
            with blamed(model.spec, "while it was built"):
                self._last = model.spec, model.source, model.build(model.source, self._runtime)
        return self._last[2]

    def device_of(self, scorer: Scorer) -> str:
        """The device it computes on, in words."""
        if isinstance(scorer, TellsDevice):
            return str(scorer.device)
        return "cpu" if self.asked_device == "auto" else self.asked_device

    def forget(self) -> None:
        """Free the memory for another model."""
        self._kept.clear()
        self._said.clear()
        if not self._has_built:
            return  # a collection takes a tenth of a second: not after what was read from the store
        self._last, self._has_built = None, False
        gc.collect()
        torch: Any = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_initialized():
            torch.cuda.empty_cache()

    def _advance(self, evaluations: int) -> None:
        self.n_evaluations += evaluations
        self.reporter.advance(evaluations=evaluations)

    def _say_what_is_loaded(self, asked: ResolvedRun) -> None:
        """Once for all tasks of a model: it takes a minute and more where the weights are large."""
        if asked.model.source is None or asked.label in self._said:
            return
        self._said.add(asked.label)
        loading = hub.loading(asked.label, asked.model.source, asked.model.files)
        if not stages.tell(loading.removesuffix(" ...")):
            self.reporter.say(loading)

    def _keep(self, key: Hashable, make: Callable[[], Made]) -> Made:
        if key not in self._kept:
            self._kept[key] = make()
        return cast(Made, self._kept[key])
