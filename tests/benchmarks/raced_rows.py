"""The rows of docs/racing.csv: what races were measured to save and to change, and the code that decided them.

`.ci/tables.py` makes the tables of docs/racing.md from them; `tests/house/test_measured_tables.py` fails where those
are not the tables of the rows, or where the code that decides has changed since a row was measured.
"""

from __future__ import annotations

import csv
import os
import runpy
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from scipy import special

from compbench_analysis.statistics.intervals import Sample, interval, wilson
from tests.benchmarks.raced import Raced

__all__ = ["DECIDING", "ROWS", "Asked", "Row", "deciding", "read", "row_of", "write"]

ROOT = Path(__file__).parents[2]
ROWS = ROOT / "docs" / "racing.csv"
DECIDING = (
    "compbench/schedules/_[behlp]*.py",  # bets, bounds, expected, held_out, learned_way, pattern
    "compbench/schedules/_race_captions.py",
    "compbench/schedules/[prw]*.py",  # pairs, policies, racing, wave
    "compbench/schedules/strata.py",
    "tests/benchmarks/populations.py",
)


@dataclass(frozen=True)
class Asked:
    """What a row is about; no two rows are about the same."""

    differences: str  # a population, or a stored run
    form: str  # shared, private, either; stored
    margin: str  # of a population in its own measure; of a stored run the share of its own that margins are set to
    draws: int  # of the bank
    raced_for: str  # text; all: text, image and group
    bound: str
    allowed: float  # the risk; of bound=tolerance the share of outcomes


@dataclass(frozen=True)
class Row(Asked):
    """Shares, with intervals of 95 %."""

    examples: int  # the first wave's are among those of a stored run
    orders: int  # of a population banks; each has a first wave of its own
    evaluations: float  # of the full budget; of a stored run the wave is counted in
    evaluations_low: float
    evaluations_high: float
    changed: float  # of the outcome that changed most often
    changed_low: float
    changed_high: float
    changed_by_order: str  # counts
    expected: float  # by the races themselves, of the outcome with the most
    by_prefix: float | None  # changed where every example stops when races stop on average; of stored runs
    to_the_end: float  # share of the examples that were raced and measured in full
    probe: str  # of the decisions on a few examples
    code: str  # of the files that decide

    @property
    def asked(self) -> Asked:
        return Asked(*(getattr(self, field.name) for field in fields(Asked)))


def row_of(asked: Asked, found: Raced, by_prefix: float | None = None) -> Row:
    """Intervals are over examples; of a stored run, whose examples are the same, those of evaluations over orders."""
    n_orders, n = found.evaluations.shape
    changed = found.of_worst.astype(float)
    if asked.form == "stored":
        low, high = interval(changed.ravel(), Sample.of([str(k) for _ in range(n_orders) for k in range(n)]))
        shares = found.evaluations.mean(1)
    else:
        low, high = wilson(float(changed.sum()), found.n)
        shares = found.evaluations.ravel()
    evaluations = float(shares.mean())
    reach = special.stdtrit(len(shares) - 1, 0.975) * shares.std(ddof=1) / np.sqrt(len(shares))
    return Row(
        **asdict(asked),
        examples=n if asked.form == "stored" else found.n,
        orders=n_orders,
        evaluations=_rounded(evaluations),
        evaluations_low=_rounded(max(evaluations - reach, 0)),
        evaluations_high=_rounded(min(evaluations + reach, 1)),
        changed=_rounded(changed.mean()),
        changed_low=_rounded(float(low)),
        changed_high=_rounded(float(high)),
        changed_by_order=" ".join(map(str, changed.sum(1).astype(int).tolist())),
        expected=_rounded(found.doubts.mean((0, 1)).max()),
        by_prefix=None if by_prefix is None else _rounded(by_prefix),
        to_the_end=_rounded(found.is_full.mean()),
        probe=found.probe,
        code=deciding(),
    )


def deciding() -> str:
    """The digest of the code that decides a race, and of the populations."""
    return runpy.run_path(str(ROOT / ".ci" / "sources.py"))["digest_of"](DECIDING, with_refusals=False)


def read(path: Path) -> dict[Asked, Row]:
    if not path.exists():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        rows = [Row(**{name: _KINDS[name](text) for name, text in row.items()}) for row in csv.DictReader(file)]
    return {row.asked: row for row in rows}


def write(path: Path, rows: Mapping[Asked, Row]) -> None:
    """All rows, whole or not at all."""
    partial = path.with_suffix(".partial")
    with partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows.values())
    os.replace(partial, path)


def _rounded(share: float) -> float:
    return round(float(share), 5)


def _share(text: str) -> float | None:
    return float(text) if text else None


_KINDS: Mapping[str, Callable[[str], Any]] = {
    field.name: {"str": str, "int": int, "float": float, "float | None": _share}[str(field.type)]
    for field in fields(Row)
}
