"""Signatures: a run in one line that can be pasted into a paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from compbench.core.errors import RunError
from compbench.store.told_apart import flat, told_apart

if TYPE_CHECKING:
    from compbench.core.rules import Rule
    from compbench.store.run import Run

__all__ = ["answered", "labels", "partial", "scored_by", "signature"]


def signature(run: Run, rule: Rule | None = None) -> str:
    """Task and revision, n, model and weights, all that identifies the measurement, its view, run and version."""
    rule = rule or run.rule
    n_done, n_all = len(run.done(rule.draws)), run.info.n_task_examples
    parts = {
        "task": f"{run.key.task}@{run.key.task_revision}",
        "n": f"{n_done}" if n_done == n_all else f"{n_done}/{n_all}",
        "model": run.key.model + (f"@{_short(run.key.weights)}" if run.key.weights else ""),
        **_flat(run.key.measurement),
        **(_flat(_rule_words(run, rule)) if run.info.has_rule else {}),
        **_skipped(run),
        **_answered(run),
        "run": run.key.digest,
        "compbench": run.info.compbench,
    }
    return "|".join(f"{name}:{value}" for name, value in parts.items())


def _rule_words(run: Run, rule: Rule) -> dict[str, str]:
    """The rule by name: draws, target, weighting and grid of timesteps always, the rest where it is not the default."""
    words: dict[str, str] = {"draws": str(rule.draws), **rule.words(), "weighting": rule.weight}
    if "timesteps" in words:
        words["window"] = words.pop("timesteps")
    if "timesteps" not in run.key.measurement and (grid := _grid_of(run)):  # that the identity names
        words["timesteps"] = grid
    return {name: word for name, word in words.items() if name != "weight" and (name, word) != ("loss", "l2")}


def _grid_of(run: Run) -> str:
    """The timesteps of a run's bank: 0-999 for each of them, else how many from where to where; "" of no bank."""
    if "timesteps" in run.key.measurement:
        return str(run.key.measurement["timesteps"])
    try:
        timesteps = np.unique(run.draws().timesteps)
    except RunError:
        return ""
    first, last = timesteps[0], timesteps[-1]
    is_whole = len(timesteps) == last - first + 1
    return f"{first:g}-{last:g}" if is_whole else f"{len(timesteps)} of {first:g}-{last:g}"


def scored_by(run: Run, rule: Rule) -> str:
    """The rule in words: whose error, by which weight, on which timesteps."""
    losses = {"l2": "squared error", "l1": "absolute error", "norm": "root of each squared error"}
    target = "the network's own target" if rule.target == "native" else rule.target
    more = [f"guidance {rule.guidance:g}"] if rule.guidance is not None else []
    more += [f"timesteps {rule.timesteps} of these{_n_within(run, rule)}"] if rule.timesteps else []
    more += ["images compared by what a caption gains over none"] if rule.unconditional else []
    more += ["images compared less their mean over the captions"] if rule.normalise else []
    n_draws = "all draws" if rule.draws is None else _draws(rule.draws)
    grid = _grid_of(run)
    said = f"{losses.get(rule.loss, rule.loss)} in {target}, {rule.weight} weight, {n_draws}"
    return ", ".join([said + (f" of timesteps {grid}" if grid else ""), *more])


def _n_within(run: Run, rule: Rule) -> str:
    """' (1 draw)', those within a rule's window; nothing where the bank is lost."""
    try:
        return f" ({_draws(len(rule.read_draws(run.draws())))})"
    except RunError:
        return ""


def _draws(n: int) -> str:
    return f"{n} draw{'s' * (n != 1)}"


def partial(run: Run, rule: Rule | None = None) -> str:
    """'partial: 24 of 400 examples', and why where it is known; '' for a whole run."""
    n_done, n_all = len(run.done((rule or run.rule).draws)), run.info.n_task_examples
    if n_done == n_all:
        return ""
    lost = run.unreadable()
    if run.left_out and n_done == n_all - len(run.left_out):
        return f"{n_done} of {n_all} examples: the weights were learned from the other {len(run.left_out)}"
    why = run.status if run.status in ("running", "interrupted", "failed") else ""
    if lost.examples and not why:
        why = f"{len(lost.examples):,} unreadable" + (" and skipped" if lost.is_skipped else "")
    return f"partial: {n_done} of {n_all} examples" + (f" ({why})" if why else "")


def _skipped(run: Run) -> dict[str, str]:
    """The number of examples skipped for unreadable images, with eight hex digits that stand for which."""
    found = run.unreadable()
    return {"skipped": f"{len(found.examples)}@{found.digest}"} if found.is_skipped and found.examples else {}


def _answered(run: Run) -> dict[str, str]:
    """The days on which a service answered."""
    return {"answered": days} if (days := answered(run)) else {}


def answered(run: Run) -> str:
    """'2026-11-26', or from which day to which; "" for a model that asks no service."""
    told = [part.get("answers") for part in run.parts()] if "service" in run.key.measurement else []
    known = [answers for answers in told if isinstance(answers, Mapping)]
    days = sorted(str(answers[end]) for answers in known for end in ("first", "last") if end in answers)
    return "" if not days else days[0] if days[0] == days[-1] else f"{days[0]}..{days[-1]}"


def labels(runs: Sequence[Run], n_seeds: Sequence[int] = ()) -> list[str]:
    """The model names, followed by what tells apart two runs of the same model on the same task, in words.

    `n_seeds`: of how many seeds each run stands for all; then that number is said in place of its own seed.
    """
    counts = n_seeds or [1] * len(runs)
    told = [_told(run, n) for run, n in zip(runs, counts, strict=True)]
    twins = [[place for place, other in enumerate(runs) if _model(other) == _model(run)] for run in runs]
    shown: list[str] = []
    for place, (run, beside, n) in enumerate(zip(runs, twins, counts, strict=True)):
        words = told_apart([told[other] for other in beside])
        own, seeds = words[beside.index(place)], [f"{n} seeds"] if n > 1 else []
        if len(beside) > 1 and (words.count(own) > 1 or not own + seeds):
            own = [run.key.digest[:6]]  # words are not enough
        said = ", ".join(own + seeds)
        shown.append(run.key.model + (f" ({said})" if said else ""))
    return shown


def _model(run: Run) -> tuple[str, str]:
    return run.key.task, run.key.model


def _told(run: Run, n_seeds: int) -> dict[str, object]:
    """The settings that identify the measurement, without the seed where a run stands for several."""
    return {name: value for name, value in run.key.measurement.items() if name != "seed" or n_seeds == 1}


def _flat(values: Mapping[str, object]) -> dict[str, str]:
    """Nested names joined by a dot; spaces out, so that a signature is one word."""
    return {name: str(value).replace(" ", "").replace("|", "/") for name, value in flat(values).items()}


def _short(weights: str) -> str:
    """A commit or digest down to twelve letters."""
    before, _, last = weights.rpartition("@" if "@" in weights else ":")
    return f"{before}@{last[:12]}" if "@" in weights else f"{before}:{last[:12]}"
