"""Which weights a run is of: the commit of a hub repository, and the stored run that this goes on with."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from compbench.core.errors import DataError
from compbench.core.models import ResolvedModel, Source
from compbench.registry import hub, model_files, repositories
from compbench.runs.request import RunRequest
from compbench.store import run_file
from compbench.store.key import RunKey
from compbench.store.run import Run
from compbench.store.store import Store

__all__ = ["alike", "at_commit", "recognised", "with_files"]


def at_commit(
    source: Source | None, stored: Run | None, request: RunRequest, say: Callable[[str], None], files: Sequence[str]
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
            f"{source.repo} has moved on to {newest[:12]}; this run stays at {commit[:12]} (--refresh uses the new one)"
        )
    branch = (source.revision or "main") if newest == commit else None
    return dataclasses.replace(source, revision=commit, branch=branch), weights


def with_files(model: ResolvedModel, source: Source, request: RunRequest, *, is_stored: bool) -> ResolvedModel:
    """The model with what its weights' configuration decides; a stored run is found without the weights too."""
    if model.with_files is None:
        return model
    try:
        return model.with_files(lambda: repositories.file_list(source, request.is_offline))
    except DataError:
        if is_stored and not source.is_local:
            return model
        raise


def recognised(store: Store, key: RunKey, source: Source | None, say: Callable[[str], None]) -> RunKey:
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
        f"{former[:19]}; it continues under that name"
    )
    return dataclasses.replace(key, weights=former)


def _newest(source: Source) -> str | None:
    """The commit that the hub has now; None where it cannot be asked, which does not stop the run."""
    try:
        return hub.resolve(source, is_offline=False, say=lambda message: None)[0].revision
    except DataError:
        return None


def alike(store: Store, key: RunKey, source: Source | None) -> Run | None:
    """The latest run that differs from `key` in nothing but the commit, where the source leaves that open."""
    if source is None or hub.is_pinned(source):
        return None
    siblings = [
        run
        for run in store.of_model(key)
        if str(run.key.weights).startswith(f"hf:{source.repo}@")
        and _without_size(dataclasses.replace(run.key, weights=None)) == _without_size(key)
        and run.info.model.revision == source.revision
    ]
    return max(siblings, key=lambda run: run.info.updated, default=None)


def _without_size(key: RunKey) -> RunKey:
    """The size of the pictures may follow from the weights, and is then known only when these are."""
    measurement = {name: value for name, value in key.measurement.items() if name != "size_px"}
    return dataclasses.replace(key, measurement=measurement)
