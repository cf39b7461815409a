"""A model's repository seen through its file list: which files are fetched, and how many bytes, before any weight.

What the hub once told about a commit is remembered: a commit never changes, and offline the list says whether weights
that are not in the cache exist.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from compbench.core.errors import DataError
from compbench.core.file_list import FileList
from compbench.core.models import Source
from compbench.core.remembered import recalled, remember
from compbench.registry import hub
from compbench.registry.model_files import existing, file_digest

__all__ = ["fetch_opened", "file_list", "missing_bytes", "verify"]


def fetch_opened(source: Source, is_offline: bool, say: Callable[[str], None] | None = None) -> Path:
    """The folder with the files that a loader opens; DataError, before any weight, for another kind of model.

    The hub is not asked for a commit that is whole in the cache.
    """
    assert source.opened is not None  # the loader's own list
    names = list(source.opened(file_list(source, is_offline)))

    def checked(folder: Path) -> Path:
        if lacking := [name for name in names if not (folder / name).is_file()]:
            raise DataError(f"{source.repo!r} has no {lacking[0]} in {str(folder)!r}; fetch or copy it again")
        return folder

    folder = hub.fetch_whole(source, names, is_offline, checked, say)
    if not source.is_local:
        verify(folder, names)
    return folder


def missing_bytes(source: Source, is_offline: bool) -> int | None:
    """The number of bytes that `fetch_opened` would download; 0 for a local folder, None when unknown.

    DataError where the repository holds another kind of model: its file list and configurations tell that.
    """
    if source.is_local or source.opened is None:
        return 0 if source.is_local else None
    from huggingface_hub import try_to_load_from_cache

    try:
        files = file_list(source, is_offline)
    except DataError:  # the fetch itself will say why
        return None
    lacking = [
        name
        for name in source.opened(files)
        if not isinstance(try_to_load_from_cache(source.repo, name, revision=source.revision), str)
    ]
    if not lacking:
        return 0
    return None if files.sizes is None else sum(files.sizes.get(name, 0) for name in lacking)


def file_list(source: Source, is_offline: bool) -> FileList:
    """The files of a repository at a commit, or of a local folder.

    Where the hub was never asked and may not be, they are those that the cache holds, which may be less.
    """
    if source.is_local:
        return FileList.of_folder(existing(Path(source.repo)))

    source = replace(source, branch=None)  # reading configurations does not count as a use of the branch

    def read(name: str) -> bytes:
        with suppress(DataError, OSError):
            return (hub.fetch(source, [name], is_offline=True) / name).read_bytes()
        folder = hub.fetch(source, [name], is_offline)
        try:
            return (folder / name).read_bytes()
        except OSError as error:
            raise DataError(f"{source.repo!r} has no readable {name} ({error.strerror}); fetch it again") from error

    sizes = _sizes(source, is_offline)
    if sizes is not None:
        return FileList(source.repo, frozenset(sizes), read, sizes)
    cached = FileList.of_folder(hub.fetch(source, ["*config.json"], is_offline=True))
    return FileList(source.repo, cached.names, read, is_whole=False)


def verify(folder: Path, names: Sequence[str]) -> None:
    """DataError for a file of the hub's cache whose contents are not those that it is named by.

    The cache names a file of weights by its SHA-256 and a small one as git does; on systems without links, by neither.
    """
    for name in names:
        blob = (folder / name).resolve()
        if blob.parent.name != "blobs":
            continue
        is_large, is_small = re.fullmatch(r"[0-9a-f]{64}", blob.name), re.fullmatch(r"[0-9a-f]{40}", blob.name)
        if (is_large and file_digest(blob) != blob.name) or (is_small and _git_name(blob) != blob.name):
            raise DataError(
                f"{name} in the hub's cache is damaged or was changed: the contents of {str(blob)!r} are not those of "
                "its name; delete that file and rerun the command, which fetches it again"
            )


def _git_name(path: Path) -> str:
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _sizes(source: Source, is_offline: bool) -> dict[str, int] | None:
    """Bytes by name of the files at a commit; None where they were never told and cannot be asked for."""
    key = hashlib.sha256(f"{source.repo}@{source.revision}".encode()).hexdigest()[:32]
    memory = f"file-lists/{key}.json"
    with suppress(ValueError, TypeError):
        if stored := recalled(memory):
            return {name: int(size) for name, size in stored.items()}
    if is_offline:
        return None
    from huggingface_hub import HfApi

    try:
        told = HfApi().model_info(source.repo, revision=source.revision, files_metadata=True, timeout=10)
    except Exception as error:
        with suppress(DataError):  # the cache may do
            hub.fetch(source, ["*config.json"], is_offline=True)
            return None
        raise hub.explain(error, source.repo) from error
    sizes = {sibling.rfilename: sibling.size or 0 for sibling in told.siblings or []}
    if hub.is_pinned(source):
        remember(memory, sizes)
    return sizes
