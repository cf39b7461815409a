"""The Parquet files of one split: where copies of the hub's data sets keep them, all of them and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from compbench.core.errors import DataError
from compbench.tasks._reading.scan import is_junk
from compbench.tasks._reading.texts import is_lfs_pointer

__all__ = ["files_of_split", "first_there", "not_data", "whole"]

_PART = re.compile(r"-(\d+)-of-(\d+)\.parquet$")


def _patterns_of(split: str) -> tuple[str, ...]:
    """Patterns of a split's files, the likeliest first; the first that matches any is read alone."""
    own = (f"{split}-*.parquet", f"{split}.parquet", f"{split}/*.parquet", f"*-{split}-*.parquet", f"*-{split}.parquet")
    return (*own, *(f"data/{pattern}" for pattern in own), *(f"*/{pattern}" for pattern in own), *_in_snapshot(own))


def _in_snapshot(own: Sequence[str]) -> list[str]:
    return [f"snapshots/*/{folder}{pattern}" for folder in ("", "data/", "*/") for pattern in own]


def files_of_split(place: Path, split: str) -> list[Path]:
    """The files of a split; none where there are none. DataError for several copies, or for one that is not whole."""
    return whole(first_there(place, _patterns_of(split)))


def first_there(place: Path, patterns: Iterable[str]) -> list[Path]:
    """The files of the first pattern that has any, by name; DataError unless all are regular and lie in one folder."""
    for pattern in patterns:
        if files := sorted(file for file in place.glob(pattern) if not is_junk(file.name)):
            folders = sorted({str(file.parent) for file in files})
            if len(folders) > 1:
                raise DataError(f"{str(place)!r} holds several copies: {', '.join(folders)}; name one of them")
            if other := [file for file in files if not file.is_file()]:
                raise DataError(f"{str(other[0])!r} is not a regular file; copy or fetch it again")
            return files
    return []


def whole(files: Sequence[Path]) -> list[Path]:
    """The files, of which none is missing: `test-00000-of-00002.parquet` promises a second one."""
    numbered = {file: (int(match[1]), int(match[2])) for file in files if (match := _PART.search(file.name))}
    if not numbered:
        return list(files)
    totals = sorted({total for _, total in numbered.values()})
    folder = str(files[0].parent)
    if len(totals) > 1:
        raise DataError(
            f"{folder!r} holds the Parquet files of several copies, of {' and of '.join(map(str, totals))} files; "
            "keep those of one"
        )
    first, (_, total) = next(iter(numbered.items()))
    there = {number for number, _ in numbered.values()}
    if lacking := [number for number in range(total) if number not in there]:
        names = [_PART.sub(f"-{number:05d}-of-{total:05d}.parquet", first.name) for number in lacking]
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        raise DataError(
            f"found {total - len(lacking)} of {total} Parquet files in {folder!r}: {', '.join(names[:3])}{more} missing"
            "; give the folder that holds all of them, or fetch it again"
        )
    strange = [file.name for file in files if file not in numbered]
    if strange or len(numbered) > total:
        what = ", ".join(strange[:3]) or "two files of one number"
        raise DataError(f"{folder!r} holds {what} beside the {total} Parquet files of the split; keep one copy of each")
    return list(files)


def not_data(path: Path) -> str:
    """The reason why a file that should hold data does not, and what to do."""
    with path.open("rb") as file:
        if is_lfs_pointer(file.read(40)):
            return "is a Git LFS pointer, not the data: run `git lfs pull` there"
    return "is damaged: fetch or copy it again"
