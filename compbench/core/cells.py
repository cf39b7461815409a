"""Tables that users give: csv, tsv, json, jsonl or parquet, as editors and spreadsheets save them."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compbench.core import disk
from compbench.core.errors import DataError, MissingPackage
from compbench.core.packages import named
from compbench.core.plain_text import decoded
from compbench.core.printable import from_cell

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DELIMITERS", "delimiter", "read_table", "read_text", "unique_keys"]

DELIMITERS = {".csv": ",", ".tsv": "\t"}  # of the kinds of text files
_LARGEST_BYTES = 2**31
_ALL = (*DELIMITERS, ".json", ".jsonl", ".parquet")


def read_table(path: Path) -> pd.DataFrame:
    """The rows of a file; cells of csv and tsv are text, those of json and parquet what the file holds.

    Names of columns are stripped of spaces and, where they are text, lower case. DataError names the file, and the
    line where one is at fault.
    """
    suffix, is_gzipped = _suffix(path)
    if not path.is_file():
        raise DataError(f"{str(path)!r} is not a file; check the path")
    if suffix == ".parquet":
        frame = _parquet(path)
    elif suffix in DELIMITERS:
        frame = _delimited(read_text(path, is_gzipped=is_gzipped), DELIMITERS[suffix], path)
    else:
        frame = _objects(read_text(path, is_gzipped=is_gzipped), suffix, path)
    frame.columns = [str(name).strip().lower() for name in frame.columns]
    names = list(frame.columns)
    if twice := sorted({name for name in names if name and names.count(name) > 1}):
        raise DataError(f"{str(path)!r} has the column {twice[0]!r} twice; expected each column once")
    return frame


def read_text(path: Path, *, is_gzipped: bool = False) -> str:
    """The text of a file; DataError for one that is too large, damaged, or holds a NUL character."""
    try:
        with gzip.open(path) if is_gzipped else path.open("rb") as file:
            content = disk.read_at_most(file.read, _LARGEST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"cannot read {str(path)!r} ({error}); copy it again") from error
    if len(content) > _LARGEST_BYTES:
        raise DataError(f"{str(path)!r} holds more than {_LARGEST_BYTES:,} bytes; expected a table, perhaps as parquet")
    text = decoded(content, str(path))
    if (nul := text.find("\0")) >= 0:
        line = text.count("\n", 0, nul) + 1
        raise DataError(f"{str(path)!r} holds a NUL character (line {line}); expected a text file")
    return text


def delimiter(text: str, usual: str) -> str:
    """The delimiter between the cells of a table: the usual one, or ";" where a spreadsheet writes decimal commas."""
    header = text.lstrip().split("\n", 1)[0]
    return ";" if usual == "," and usual not in header and ";" in header else usual


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The JSON object with these keys and values, for `json.loads`; ValueError where a key occurs twice."""
    if len(made := dict(pairs)) < len(pairs):
        raise ValueError("a key occurs twice")
    return made


def _suffix(path: Path) -> tuple[str, bool]:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    is_gzipped = suffixes[-1:] == [".gz"]
    suffix = next(iter(suffixes[-2:-1] if is_gzipped else suffixes[-1:]), "")
    if suffix not in _ALL or (is_gzipped and suffix == ".parquet"):
        raise DataError(f"cannot read {path.name!r}; expected one of {', '.join(_ALL)}")
    return suffix, is_gzipped


def _parquet(path: Path) -> pd.DataFrame:
    with named():
        import pandas as pd

    frame = _tried(lambda: pd.read_parquet(path), path)
    return frame.reset_index() if any(frame.index.names) else frame


def _delimited(text: str, separator: str, path: Path) -> pd.DataFrame:
    with named():
        import pandas as pd

    separator = delimiter(text, separator)

    def read() -> pd.DataFrame:
        return pd.read_csv(
            io.StringIO(text), sep=separator, dtype=str, header=None, keep_default_na=False, skipinitialspace=True
        )

    frame = _tried(read, path).map(from_cell)
    frame.columns = list(frame.iloc[0])
    rows = frame.iloc[1:].reset_index(drop=True)
    return _with_points(rows) if separator == ";" else rows


def _with_points(rows: pd.DataFrame) -> pd.DataFrame:
    """Columns of numbers with decimal commas, with points instead."""
    for name in rows.columns:
        column = rows[name]
        if getattr(column, "ndim", 2) == 1 and len(column) and column.str.fullmatch(r"\s*[+-]?\d+(,\d+)?\s*").all():
            rows[name] = column.str.replace(",", ".", regex=False)
    return rows


def _objects(text: str, suffix: str, path: Path) -> pd.DataFrame:
    with named():
        import pandas as pd

    if suffix == ".json":
        rows = _json(text, f"{str(path)!r}")
        lines = list(enumerate(rows, 1)) if isinstance(rows, list) else [(1, None)]
    else:
        numbered = enumerate(text.split("\n"), 1)  # not splitlines: U+2028 may stand in a JSON text
        lines = [(n, _json(line, f"line {n} of {str(path)!r}")) for n, line in numbered if line.strip()]
    if wrong := [n for n, row in lines if not isinstance(row, dict)]:
        raise DataError(f"row {wrong[0]} of {str(path)!r} is not a JSON object; expected {{...}} for each row")
    return pd.DataFrame([row for _, row in lines], dtype=object)


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=unique_keys)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is not JSON ({error}); write it again") from error


def _tried(read: Callable[[], pd.DataFrame], path: Path) -> pd.DataFrame:
    try:
        with named():
            return read()
    except MissingPackage:
        raise
    except Exception as error:  # pandas and pyarrow raise of every kind for files that are not what they seem
        reason = " ".join(str(error).split())
        what = f"expected a {path.suffix[1:].lower()} file with a header"
        raise DataError(f"cannot read {str(path)!r} ({reason}); {what}") from error
