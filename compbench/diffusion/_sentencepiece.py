"""The vocabulary of a sentencepiece model (`spiece.model`), in which T5's repositories keep their tokenizer.

transformers reads it only with two more packages; the three fields that its T5Tokenizer takes are a message of protocol
buffers: pieces with their scores, and the table by which text is normalised.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from compbench.core.errors import DataError

__all__ = ["Vocabulary", "read"]

# fields of sentencepiece_model.proto, ModelProto and what is within it
_PIECES, _NORMALIZER = 1, 3
_PIECE, _SCORE = 1, 2
_CHARSMAP = 2
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class Vocabulary(NamedTuple):
    """The parts of a tokenizer."""

    pieces: list[tuple[str, float]]  # in the order of their ids
    charsmap: bytes | None  # None: text is taken as it is


def read(path: Path) -> Vocabulary:
    """The vocabulary in a file; DataError where it is none."""
    try:
        content = path.read_bytes()
        fields = list(_fields(content))
        pieces = [_piece(value) for number, value in fields if number == _PIECES and isinstance(value, bytes)]
        tables = [
            inner
            for number, value in fields
            if number == _NORMALIZER and isinstance(value, bytes)
            for field, inner in _fields(value)
            if field == _CHARSMAP and isinstance(inner, bytes)
        ]
    except OSError as error:
        raise DataError(f"{str(path)!r} cannot be read ({error.strerror}); fetch or copy it again") from error
    except (ValueError, IndexError, struct.error) as error:
        raise DataError(f"{str(path)!r} is damaged or not a sentencepiece model; fetch or copy it again") from error
    if not pieces:
        raise DataError(f"{str(path)!r} holds no vocabulary; expected a sentencepiece model: fetch or copy it again")
    return Vocabulary(pieces, next((table for table in tables if table), None))


def _piece(message: bytes) -> tuple[str, float]:
    text, score = "", 0.0
    for number, value in _fields(message):
        if number == _PIECE and isinstance(value, bytes):
            text = value.decode("utf-8")
        elif number == _SCORE and isinstance(value, bytes):
            (score,) = struct.unpack("<f", value)
    return text, score


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a message in their order: a whole number, or the bytes of anything else."""
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, place = _varint(message, place)
            yield number, value
            continue
        if kind == _BYTES:
            length, place = _varint(message, place)
        else:
            length = {_FIXED64: 8, _FIXED32: 4}.get(kind, -1)
        if not 0 <= length <= len(message) - place:
            raise ValueError(f"field {number} is cut off")
        yield number, message[place : place + length]
        place += length


def _varint(message: bytes, place: int) -> tuple[int, int]:
    """A whole number in groups of seven bits, the lowest first, and the place after it."""
    value = shift = 0
    while True:
        byte = message[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if not byte & 0x80:
            return value, place
        if shift > 63:
            raise ValueError("a number of more than 64 bits")
