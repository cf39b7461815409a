"""Weights over the timesteps that are learned from some examples of a run, to score the others.

Jeong et al., "Diffusion Classifiers Understand Compositionality, but Conditions Apply" (NeurIPS 2025), learn a weight
for each timestep by the cross-entropy of the right caption, and find that Stable Diffusion 3 needs it. Here weights are
not negative, as few as the examples can tell (one for each bin of timesteps), and the examples they were learned from
are left out of the score.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from compbench.core.aliases import Bools, Floats, Ints
from compbench.core.digests import digest_of
from compbench.core.errors import UsageError
from compbench.core.examples import ErrorTable
from compbench.core.rules import Rule

if TYPE_CHECKING:
    from compbench.store.run import Run

__all__ = ["learned"]

_MOST_BINS = 10
_PENALTY = 0.01  # on the spread of the weights: what tells nothing stays as it is
_DIGITS = 6


def learned(run: Run, rule: Rule, split: str) -> tuple[Rule, frozenset[str]]:
    """`rule` with weights learned on a `split` of the run's examples, and these; UsageError where nothing is left.

    `split` is a share of the groups of examples, such as 0.2, or COLUMN=TAG. `run` hears what was learned.
    """
    chosen = _chosen(run, split)
    done = run.done(rule.draws, unconditional=rule.unconditional)
    taught, judged = chosen & done, done - chosen
    if not taught or not judged:
        raise UsageError(
            f"weight=learned:{split} would learn from {len(taught)} measured examples and score {len(judged)}; "
            "expected some of both"
        )
    bank = run.draws()
    read = rule.read_draws(bank)
    bins = _bins(read, bank.timesteps)
    rows = list(_rows(run, rule, sorted(taught), bins, rule.weights(bank)))
    if not rows:
        raise UsageError(
            f"weight=learned:{split}: none of the {len(taught)} examples compares a right pair with a wrong"
        )
    weights = _fitted(rows)
    table = _table(bank.timesteps, bins, weights)
    name = f"learned:{split}@{digest_of(table, 8)}"
    said = ", ".join(f"t {_span(bank.timesteps[bin])}: {weight:.2g}" for bin, weight in zip(bins, weights, strict=True))
    run.say(
        f"{run.key.task}/{run.key.model}: weights learned from {len(taught)} example{'s' * (len(taught) != 1)} "
        f"({split}), left out of the score, which is that of the other {len(judged)}. Weights by timestep: {said}"
    )
    return replace(rule, weight=name, table=table), frozenset(chosen)


def _bins(read: Ints, timesteps: Floats) -> list[Ints]:
    """The draws `read` of a bank in the order of their timesteps, in bins that part no draws of one timestep."""
    ordered = read[np.argsort(timesteps[read], kind="stable")]
    distinct = np.unique(timesteps[read])
    parts = np.array_split(distinct, min(_MOST_BINS, len(distinct)))
    return np.split(ordered, np.searchsorted(timesteps[ordered], [part[0] for part in parts[1:]]))


def _span(timesteps: Floats) -> str:
    first, last = timesteps.min(), timesteps.max()
    return f"{first:g}" if first == last else f"{first:g}-{last:g}"


def _chosen(run: Run, split: str) -> frozenset[str]:
    """The examples of a split, the same for every model."""
    examples = run.task_examples
    column, equals, tag = split.partition("=")
    if equals:
        found = [name for name, tags in zip(examples.ids, examples.tags, strict=True) if tag in tags.get(column, ())]
        if not found:
            columns = sorted(examples.columns)
            raise UsageError(f"no example has {column}={tag}; the columns of tags are {', '.join(columns) or 'none'}")
        return frozenset(found)
    try:
        share = float(split)
    except ValueError:
        share = 0.0
    if not 0 < share < 1:
        raise UsageError(
            f"weight=learned:{split} names no split; expected a share of the examples between 0 and 1, such as "
            "learned:0.2, or the examples of a tag, such as learned:axis=vertical"
        )
    group_of = dict(zip(examples.ids, examples.groups, strict=True))
    ranked = sorted(set(group_of.values()), key=lambda group: hashlib.sha256(f"learned:{group}".encode()).digest())
    groups = set(ranked[: max(1, round(share * len(ranked)))])
    return frozenset(name for name, group in group_of.items() if group in groups)


def _rows(run: Run, rule: Rule, ids: list[str], bins: list[Ints], weights: Floats) -> Iterator[tuple[Floats, Bools]]:
    """(errors [R, A, bins], matches [R, A]): rows of alternatives, of which one at least is right and one is wrong."""
    wanted = set(ids)
    for table in run.error_tables(rule.draws, rule):
        kept = [number for number, name in enumerate(table.ids) if name in wanted]
        errors, matches = _compared(table, kept)
        binned = np.stack([(errors[..., some] * weights[some]).mean(-1) for some in bins], axis=-1)
        by_row, right = binned.reshape(-1, *binned.shape[2:]), matches.reshape(-1, matches.shape[-1])
        told = right.any(1) & ~right.all(1)
        if told.any():
            yield by_row[told], right[told]


def _compared(table: ErrorTable, kept: list[int]) -> tuple[Floats, Bools]:
    """Captions of an image where there are several, else images of a caption; [n, rows, alternatives, D]."""
    errors, matches = table.errors[kept].astype(np.float64), table.matches[kept]
    if matches.shape[2] > 1:
        return errors, matches
    if table.unconditional is not None:
        errors = errors - table.unconditional[kept][:, :, None]
    return errors.swapaxes(1, 2), matches.swapaxes(1, 2)


def _fitted(rows: list[tuple[Floats, Bools]]) -> Floats:
    """[bins], their mean 1: of the greatest likelihood of the right alternatives under a softmax of the scores."""
    from scipy.optimize import minimize
    from scipy.special import logsumexp

    centred = [(errors - errors.mean(1, keepdims=True), right) for errors, right in rows]
    n_rows, n_bins = sum(len(right) for _, right in centred), centred[0][0].shape[-1]
    scale = np.sqrt(sum((errors**2).sum() for errors, _ in centred) / sum(errors.size for errors, _ in centred)) or 1.0
    scaled = [(errors / scale, right) for errors, right in centred]

    def loss(weights: Floats) -> tuple[float, Floats]:
        apart = weights - weights.mean()
        value = _PENALTY * float(apart @ apart + 0.01 * weights @ weights)
        slope = 2 * _PENALTY * (apart + 0.01 * weights)
        for errors, right in scaled:
            scores = -errors @ weights  # [R, A]
            of_right: Floats = np.asarray(logsumexp(np.where(right, scores, -np.inf), axis=1, keepdims=True))
            of_all: Floats = np.asarray(logsumexp(scores, axis=1, keepdims=True))
            value += float((of_all - of_right).sum()) / n_rows
            pulled = np.exp(scores - of_all) - np.where(right, np.exp(scores - of_right), 0.0)
            slope = slope - np.einsum("ra,rak->k", pulled, errors) / n_rows
        return value, slope

    found = minimize(loss, np.ones(n_bins), jac=True, method="L-BFGS-B", bounds=[(0, None)] * n_bins).x
    if not found.sum() > 0:
        raise UsageError("no timestep tells right pairs from wrong ones in the examples that weights are learned from")
    return np.round(found / found.mean(), _DIGITS)


def _table(timesteps: Floats, bins: list[Ints], weights: Floats) -> tuple[tuple[float, float], ...]:
    of_each = {float(t): float(w) for some, w in zip(bins, weights, strict=True) for t in timesteps[some].tolist()}
    return tuple(sorted(of_each.items()))
