"""What each option of speed brings alone, and how far it moves the errors beside the margins that decide."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import rich.console
import rich.table
import torch

from tests.benchmarks.subjects import Subject, classifier, decisions, full, timed

__all__ = ["Lever", "levers", "show"]


@dataclass(frozen=True, slots=True)
class Lever:
    """One option."""

    name: str
    evaluations_per_second: float
    gain: float  # over eager float32
    deviation: float  # median |change of an example's margin| over the median |margin|
    decisions_changed: int


def levers(subject: Subject, repeats: int) -> list[Lever]:
    """Each lever alone, on float32 eager execution, in turns."""
    plain = replace(subject, dtype="float32")
    classifiers = {
        "float32, eager": classifier(plain),
        "bfloat16": classifier(plain, dtype="bfloat16"),
        "channels_last": classifier(plain),
        "torch.compile": classifier(plain, compile_mode="default"),
    }
    channels_last = copy.deepcopy(classifiers["channels_last"].denoiser.parts.network)
    classifiers["channels_last"].denoiser._network = channels_last.to(memory_format=torch.channels_last)
    seconds: dict[str, list[float]] = {name: [] for name in classifiers}
    errors: dict[str, np.ndarray] = {}
    for name, ours in classifiers.items():
        errors[name] = full(ours, subject.examples)  # warm, compiled
    for _ in range(repeats):
        for name, ours in classifiers.items():
            errors[name], spent, _ = timed(partial(full, ours), subject)
            seconds[name].append(spent)
    n = subject.n_draws * sum(len(example.images) * len(example.captions) for example in subject.examples)
    rates = {name: n / min(spent) for name, spent in seconds.items()}
    (first, truth), *_ = errors.items()
    scale = np.median(np.abs(_margins(truth)))
    return [
        Lever(
            name,
            rates[name],
            rates[name] / rates[first],
            float(np.median(np.abs(_margins(found) - _margins(truth))) / scale),
            int((decisions(found, subject.examples) != decisions(truth, subject.examples)).sum()),
        )
        for name, found in errors.items()
    ]


def _margins(errors: np.ndarray) -> np.ndarray:
    """The differences that text and image scores hang on, [N, 4]."""
    return np.concatenate([errors[..., 0] - errors[..., 1], errors[:, 0] - errors[:, 1]], axis=1)


def show(rows: Sequence[Lever], subject: Subject) -> None:
    """Print them as a table."""
    table = rich.table.Table(title=f"{subject.name} · {subject.device} · torch {torch.__version__}")
    for heading in ("option", "evaluations/s", "gain", "margins moved by", "decisions changed"):
        table.add_column(heading, justify="left" if heading == "option" else "right")
    for row in rows:
        table.add_row(
            row.name,
            f"{row.evaluations_per_second:,.0f}",
            f"{row.gain:.2f}",
            f"{row.deviation:.2%} of the median margin",
            f"{row.decisions_changed} of {3 * len(subject.examples)}",
        )
    rich.console.Console(width=120).print(table)
