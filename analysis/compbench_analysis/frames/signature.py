"""Signatures: a run in one line that can be pasted into a paper. Imports no package but ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compbench.core.rules import Rule
    from compbench.store.run import Run

__all__ = ["labels", "partial", "signature"]


def signature(run: Run, rule: Rule | None = None) -> str:
    """Task and revision, n, model and weights, all that identifies the measurement, its view, run and version."""
    rule = rule or run.rule
    n_done, n_all = len(run.done(rule.draws)), run.info.n_task_examples
    view = {"draws": rule.draws, "target": rule.target} if run.info.has_rule else {}
    # beside the target and the grid of timesteps that the identity names
    view |= {"weighting": "uniform"} if "predicts" in run.key.measurement else {}
    view |= {"loss": rule.loss} if rule.loss != "l2" else {}
    view |= {"unconditional": "true"} if rule.unconditional else {}
    parts = {
        "task": f"{run.key.task}@{run.key.task_revision}",
        "n": f"{n_done}" if n_done == n_all else f"{n_done}/{n_all}",
        "model": run.key.model + (f"@{_short(run.key.weights)}" if run.key.weights else ""),
        **_flat(run.key.measurement),
        **_flat(view),
        **_skipped(run),
        "run": run.key.digest,
        "compbench": run.info.compbench,
    }
    return "|".join(f"{name}:{value}" for name, value in parts.items())


def partial(run: Run, rule: Rule | None = None) -> str:
    """'partial: 24 of 400 examples', and why where it is known; '' for a whole run."""
    n_done, n_all = len(run.done((rule or run.rule).draws)), run.info.n_task_examples
    if n_done == n_all:
        return ""
    lost = run.unreadable()
    why = run.status if run.status in ("running", "interrupted", "failed") else ""
    if lost.examples and not why:
        why = f"{len(lost.examples):,} unreadable" + (" and skipped" if lost.is_skipped else "")
    return f"partial: {n_done} of {n_all} examples" + (f" ({why})" if why else "")


def _skipped(run: Run) -> dict[str, str]:
    """The number of examples skipped for unreadable images, with eight hex digits that stand for which."""
    found = run.unreadable()
    return {"skipped": f"{len(found.examples)}@{found.digest}"} if found.is_skipped and found.examples else {}


def labels(runs: Sequence[Run], n_seeds: Sequence[int] = ()) -> list[str]:
    """The model names, followed by what tells apart two runs of the same model on the same task.

    `n_seeds`: of how many seeds each run stands for all; then that number is said in place of its own seed.
    """
    counts = n_seeds or [1] * len(runs)
    told = [_told(run, n) for run, n in zip(runs, counts, strict=True)]
    twins = [[words for other, words in zip(runs, told, strict=True) if _model(other) == _model(run)] for run in runs]
    return [
        run.key.model + _difference(run, own, twin_words, n)
        for run, own, twin_words, n in zip(runs, told, twins, counts, strict=True)
    ]


def _model(run: Run) -> tuple[str, str]:
    return run.key.task, run.key.model


def _told(run: Run, n_seeds: int) -> dict[str, str]:
    """The words that identify the measurement, without the seed where a run stands for several."""
    own = _flat(run.key.measurement)
    return {name: value for name, value in own.items() if name != "seed" or n_seeds == 1}


def _difference(run: Run, own: Mapping[str, str], twins: Sequence[Mapping[str, str]], n_seeds: int) -> str:
    """In parentheses, '' for the only run of its model over one seed; the digest where words are not enough."""
    names = list(dict.fromkeys(name for words in (own, *twins) for name in words))
    unlike = [name for name in names if len({twin.get(name) for twin in twins}) > 1]
    words = [f"{name}={own[name]}" for name in unlike if name in own]
    seeds = [f"{n_seeds} seeds"] if n_seeds > 1 else []
    is_alone = [_values(twin, unlike) for twin in twins].count(_values(own, unlike)) == 1
    if len(twins) > 1 and not (is_alone and (words or seeds)):
        words = [run.key.digest[:6]]
    said = ", ".join([*words, *seeds])
    return f" ({said})" if said else ""


def _values(own: Mapping[str, str], names: Sequence[str]) -> tuple[str | None, ...]:
    return tuple(own.get(name) for name in names)


def _flat(values: Mapping[str, object]) -> dict[str, str]:
    """Nested names joined by a dot; spaces out, so that a signature is one word."""
    flat: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}.{inner}": word for inner, word in _flat(value).items()}  # pyright: ignore[reportUnknownArgumentType]
        else:
            flat[name] = str(value).replace(" ", "").replace("|", "/")
    return flat


def _short(weights: str) -> str:
    """A commit or digest down to twelve letters."""
    before, _, last = weights.rpartition("@" if "@" in weights else ":")
    return f"{before}@{last[:12]}" if "@" in weights else f"{before}:{last[:12]}"
