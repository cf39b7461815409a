"""Arrow's columns as numpy's arrays, without a copy.

pyarrow's own `to_numpy`, `flatten` and `value_lengths` import pandas or pyarrow.compute, a third of what a small table
takes.
"""

# pyright: reportUnknownParameterType=false, reportUnknownMemberType=false
# pyarrow has no types

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from compbench.core.aliases import Ints

__all__ = ["lists", "numbers"]

_WHOLE = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
_DTYPES = {getattr(pa, name)(): np.dtype(name) for name in (*_WHOLE, "float32", "float64")}


def numbers(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """[n] the numbers or truth values of a column, which cannot be written to; ValueError where one is missing.

    >>> numbers(pa.array([1.5, 2.5])).tolist(), numbers(pa.array([False, True, True])[1:]).tolist()
    ([1.5, 2.5], [True, True])
    """
    array = _whole(column)
    if array.null_count:
        raise ValueError(f"{array.null_count} of {len(array)} values are missing")
    content, start, end = array.buffers()[1], array.offset, array.offset + len(array)
    if pa.types.is_boolean(array.type):
        bits = np.frombuffer(content or b"", np.uint8)
        return np.unpackbits(bits, bitorder="little")[start:end].view(bool)
    if array.type not in _DTYPES:
        raise ValueError(f"expected numbers, got {array.type}")
    return np.frombuffer(content or b"", _DTYPES[array.type])[start:end]


def lists(column: pa.Array | pa.ChunkedArray) -> tuple[pa.Array, Ints]:
    """The values of a column's lists, one after the other, and the length of each list.

    >>> values, lengths = lists(pa.array([[1, 2], [], [3]]))
    >>> values.to_pylist(), lengths.tolist()
    ([1, 2, 3], [2, 0, 1])
    """
    array = _whole(column)
    if not pa.types.is_list(array.type):
        raise ValueError(f"expected lists, got {array.type}")
    offsets = numbers(array.offsets)
    return array.values[int(offsets[0]) : int(offsets[-1])], np.diff(offsets)


def _whole(column: Any) -> Any:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
