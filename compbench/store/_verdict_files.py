"""The Parquet files of what a schedule concluded: scores and verdict of each example, one row per example.

A file carries the digest of its bytes in its name, as a part does, and in its metadata what all of its rows rest on;
each row says on which parts. The comparisons of a verdict, which are many, are read apart from the rest.
"""

# pyright: reportUnknownParameterType=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyarrow has no types

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from compbench.core.aliases import Floats
from compbench.schedules.policies import Comparison, Outcome, Verdict
from compbench.store import _parquet
from compbench.store._arrays import lists, numbers
from compbench.store._damage import Damaged, check_digest

__all__ = ["Concluded", "Stored", "comparisons", "encoded", "read", "with_comparisons"]

KINDS = ("text", "image", "class")  # of comparisons; stored as a place in here
COMPARED = np.dtype(
    [
        ("kind", "i1"),
        ("better", "i4"),  # image * C + caption
        ("worse", "i4"),
        ("sign", "i1"),
        ("n_draws", "i4"),
        ("margin", "f8"),
        ("standard_error", "f8"),
        ("is_exact", "?"),
        ("doubt", "f8"),
    ]
)
_BASIS = b"basis"
_ALONE = {
    "id": pa.string(),
    "parts": pa.string(),
    "n_captions": pa.int32(),
    "bound": pa.string(),
    "risk": pa.float64(),
    "n_bank": pa.int32(),
    "outcomes": pa.string(),  # a JSON object of Outcomes
}
_LISTS = {"scores": pa.float64(), "n_draws": pa.int32(), "predictions": pa.int32()}  # [I * C], [I * C], [I]
_COMPARED = {f"compared_{name}": pa.from_numpy_dtype(COMPARED[name]) for name in COMPARED.names or ()}
_ROWS_IN_GROUP = 128  # 6 MB of comparisons of a thousand classes


@dataclass(frozen=True, slots=True, eq=False)
class Concluded:
    """The conclusion on one example; its verdict is without comparisons, which `compared` holds where it is known."""

    scores: Floats  # [I, C]
    verdict: Verdict
    compared: np.ndarray | None = None  # [comparisons] of COMPARED

    @classmethod
    def of(cls, scores: Floats, verdict: Verdict) -> Concluded:
        """A conclusion from the scores and the verdict of a policy."""
        n_captions = scores.shape[1]
        rows = [
            (
                KINDS.index(comparison.kind),
                comparison.better[0] * n_captions + comparison.better[1],
                comparison.worse[0] * n_captions + comparison.worse[1],
                *comparison[3:],
            )
            for comparison in verdict.comparisons
        ]
        return cls(scores, replace(verdict, comparisons=()), np.array(rows, COMPARED))


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """A file as it was read; one that cannot be believed has no rows."""

    path: Path
    stamp: tuple[int, ...]
    basis: str | None = None
    damage: str | None = None
    parts: Mapping[str, str] = field(default_factory=dict[str, str])  # example id -> digest of the parts it rests on
    concluded: Mapping[str, Concluded] = field(default_factory=dict[str, Concluded])


def encoded(concluded: Mapping[str, Concluded], parts: Mapping[str, str], basis: str) -> memoryview:
    """The bytes of a file of `concluded`, all of them with their comparisons."""
    rows = list(concluded.values())
    verdicts = [row.verdict for row in rows]
    alone: dict[str, list[Any]] = {
        "id": list(concluded),
        "parts": [parts[name] for name in concluded],
        "n_captions": [row.scores.shape[1] for row in rows],
        "bound": [verdict.bound for verdict in verdicts],
        "risk": [verdict.risk for verdict in verdicts],
        "n_bank": [verdict.n_bank for verdict in verdicts],
        "outcomes": [
            json.dumps({name: [*map(_plain, outcome)] for name, outcome in verdict.outcomes.items()})
            for verdict in verdicts
        ],
    }
    columns = {name: pa.array(values, _ALONE[name]) for name, values in alone.items()}
    columns["scores"] = _lists([row.scores.ravel() for row in rows], pa.float64())
    columns["n_draws"] = _lists([verdict.n_draws.ravel() for verdict in verdicts], pa.int32())
    columns["predictions"] = _lists([np.array(verdict.predictions, np.int32) for verdict in verdicts], pa.int32())
    compared = [_known(row) for row in rows]
    for name in COMPARED.names or ():
        columns[f"compared_{name}"] = _lists([row[name] for row in compared], _COMPARED[f"compared_{name}"])
    table = pa.table(columns).replace_schema_metadata({_BASIS: basis})
    return _parquet.encode(table, rows_in_group=_ROWS_IN_GROUP)


def read(path: Path, stamp: tuple[int, ...]) -> Stored:
    """The rows of a file but for their comparisons."""
    try:
        content = path.read_bytes()
        check_digest(hashlib.sha256(content).hexdigest()[:12], path.stem.rpartition("-")[2])
        with pq.ParquetFile(pa.BufferReader(content)) as file:
            basis = (file.schema_arrow.metadata or {})[_BASIS].decode()
            table = file.read(columns=[*_ALONE, *_LISTS])
        rows = table.select(list(_ALONE)).to_pylist()
        lists = zip(*(_arrays(table, name) for name in _LISTS), strict=True)
        found = {row["id"]: _concluded(row, *own) for row, own in zip(rows, lists, strict=True)}
        return Stored(path, stamp, basis, None, {row["id"]: row["parts"] for row in rows}, found)
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:  # Damaged among them
        return Stored(path, stamp, damage=str(error).splitlines()[0])


def comparisons(stored: Stored, ids: Sequence[str]) -> dict[str, np.ndarray]:
    """The comparisons of those of `ids` that are in the file; Damaged where it is not as it was."""
    places = {name: place for place, name in enumerate(stored.concluded)}
    wanted = sorted(places[name] for name in ids if name in places)
    names, found = list(stored.concluded), dict[str, np.ndarray]()
    try:
        with pq.ParquetFile(stored.path, page_checksum_verification=True) as file:
            for group in sorted({place // _ROWS_IN_GROUP for place in wanted}):
                table = file.read_row_group(group, columns=list(_COMPARED))
                columns = [_arrays(table, name) for name in _COMPARED]
                for place in (place for place in wanted if place // _ROWS_IN_GROUP == group):
                    own = [column[place % _ROWS_IN_GROUP] for column in columns]
                    array = np.zeros(len(own[0]), COMPARED)
                    for name, values in zip(COMPARED.names or (), own, strict=True):
                        array[name] = values
                    found[names[place]] = array
    except (pa.ArrowException, OSError, ValueError, KeyError, IndexError) as error:
        raise Damaged(str(error)) from error
    return found


def with_comparisons(concluded: Concluded, compared: np.ndarray) -> Verdict:
    """The whole verdict."""
    n_captions = concluded.scores.shape[1]
    return replace(
        concluded.verdict,
        comparisons=tuple(
            Comparison(KINDS[kind], divmod(better, n_captions), divmod(worse, n_captions), *rest)
            for kind, better, worse, *rest in compared.tolist()
        ),
    )


def _concluded(row: Mapping[str, Any], scores: np.ndarray, n_draws: np.ndarray, predictions: np.ndarray) -> Concluded:
    outcomes = {name: Outcome(*fields) for name, fields in json.loads(row["outcomes"]).items()}
    shape = -1, row["n_captions"]
    verdict = Verdict(
        row["bound"],
        row["risk"],
        n_draws.reshape(shape).astype(np.int64),
        row["n_bank"],
        outcomes,
        (),
        tuple(predictions.tolist()),
    )
    return Concluded(scores.reshape(shape), verdict)


def _known(concluded: Concluded) -> np.ndarray:
    if concluded.compared is None:
        raise ValueError("a conclusion without its comparisons cannot be stored")
    return concluded.compared


def _plain(value: Any) -> Any:
    """A number of numpy's as Python's, which JSON gives back bit for bit."""
    return value.item() if isinstance(value, np.generic) else value


def _lists(arrays: Sequence[np.ndarray], kind: pa.DataType) -> pa.ListArray:
    offsets = np.cumsum([0, *map(len, arrays)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.concatenate(arrays)).cast(kind))


def _arrays(table: pa.Table, name: str) -> list[np.ndarray]:
    """The list of each row."""
    values, lengths = lists(table.column(name))
    return list(_pieces(numbers(values), lengths))


def _pieces(values: np.ndarray, lengths: np.ndarray) -> Iterator[np.ndarray]:
    end = 0
    for length in lengths.tolist():
        start, end = end, end + length
        yield values[start:end]
