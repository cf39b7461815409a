"""The model hub and local folders: which commit, which files, and what to do when they cannot be had.

huggingface_hub is imported inside functions: it reads HF_HUB_OFFLINE when it is imported, and listing models must not
wait for it.
"""

from __future__ import annotations

import errno
import fnmatch
import hashlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Literal

from compbench import disk
from compbench.types import DataError, Source

__all__ = [
    "cache_folder",
    "explain",
    "fetch",
    "fetch_whole",
    "file_digest",
    "folder_digest",
    "is_pinned",
    "missing_bytes",
    "resolve",
]

RepoType = Literal["model", "dataset"]
_COMMIT = re.compile(r"[0-9a-f]{40}")
_NETWORK = (
    "ConnectError",
    "ConnectionError",
    "TransportError",
    "TimeoutException",
    "Timeout",
    "ProxyError",
    "SSLError",
)


def resolve(source: Source, *, is_offline: bool, say: Callable[[str], None]) -> tuple[Source, str]:
    """The source at a fixed commit, and a word for its weights: "hf:org/name@commit" or "sha256:...".

    A commit needs no network; a branch, or none, is looked up once and the commit is said.
    """
    if source.is_local:
        return source, f"sha256:{folder_digest(Path(source.repo))}"
    if not is_pinned(source):
        branch = source.revision or "main"
        source = replace(source, revision=_commit(source.repo, branch, is_offline=is_offline))
        say(f"{source.repo}: {branch} is commit {source.revision}")
    return source, f"hf:{source.repo}@{source.revision}"


def is_pinned(source: Source) -> bool:
    """Whether the source names a commit, or is a folder: neither moves on."""
    return source.is_local or _COMMIT.fullmatch(source.revision or "") is not None


def fetch(source: Source, allow_patterns: Sequence[str], is_offline: bool, repo_type: RepoType = "model") -> Path:
    """The folder that holds the files which match; a local source is its own folder. DataError says what to do."""
    if source.is_local:
        return _existing(Path(source.repo))
    from huggingface_hub import HfApi, snapshot_download  # pyright: ignore[reportUnknownVariableType]

    def snapshot(*, local_files_only: bool) -> Path:
        return Path(
            snapshot_download(
                source.repo,
                repo_type=repo_type,
                revision=source.revision,
                allow_patterns=list(allow_patterns),
                local_files_only=local_files_only,
            )
        )

    try:
        if not is_offline:  # a hub that does not answer is told at once: the download alone would try for half a minute
            HfApi().repo_info(source.repo, repo_type=repo_type, revision=source.revision, timeout=10)
        return snapshot(local_files_only=is_offline)
    except Exception as error:
        with suppress(Exception):
            if not is_offline:
                return snapshot(local_files_only=True)
        raise explain(error, source.repo, repo_type) from error


def missing_bytes(source: Source, allow_patterns: Sequence[str], is_offline: bool) -> int | None:
    """How many bytes `fetch` would bring; 0 for a local folder, None when that cannot be known."""
    if source.is_local:
        return 0
    if is_offline:
        return None
    from huggingface_hub import HfApi, try_to_load_from_cache

    try:
        files = HfApi().model_info(source.repo, revision=source.revision, files_metadata=True).siblings or []
    except Exception:  # the fetch itself will say why
        return None
    wanted = [file for file in files if any(fnmatch.fnmatch(file.rfilename, pattern) for pattern in allow_patterns)]
    lacking = [
        file
        for file in wanted
        if not isinstance(try_to_load_from_cache(source.repo, file.rfilename, revision=source.revision), str)
    ]
    return sum(file.size or 0 for file in lacking)


def fetch_whole(source: Source, files: Sequence[str], is_offline: bool, checked: Callable[[Path], Path]) -> Path:
    """The folder with a model's files, which `checked` finds whole or raises DataError.

    The hub is not asked for a commit that is whole in the cache.
    """
    if not source.is_local and not is_offline:
        with suppress(DataError):
            return checked(fetch(source, files, is_offline=True))
    return checked(fetch(source, files, is_offline))


def explain(error: BaseException, repo: str, repo_type: RepoType = "model") -> DataError:
    """What went wrong at the hub and what to do: gated, no token, no network, offline without a copy, not found.

    Libraries wrap each other's errors; the first cause that is understood decides. An error that is none of these
    is returned as a DataError with its own words.
    """
    what = f"data set {repo!r}" if repo_type == "dataset" else f"model {repo!r}"
    page = f"https://huggingface.co/{'datasets/' if repo_type == 'dataset' else ''}{repo}"
    instead = "a local copy with --data PATH" if repo_type == "dataset" else "a local copy with -o folder=PATH"
    for cause in _chain(error):
        if (reason := _reason(cause, page, instead)) is not None:
            return DataError(f"{what} {reason}")
    first = str(error).strip().splitlines()[0] if str(error).strip() else ""
    return DataError(f"{what} could not be fetched ({type(error).__name__}: {first}); or give {instead}")


def folder_digest(path: Path) -> str:
    """SHA-256 of the names and contents of a folder's files (or of one file), without hidden files and Markdown."""
    path = _existing(path)
    if path.is_file():
        return file_digest(path)
    files = sorted(
        file
        for file in path.rglob("*")
        if file.is_file()
        and file.suffix != ".md"
        and not any(part.startswith(".") for part in file.relative_to(path).parts)
    )
    known = _read_cache()
    lines = [f"{file.relative_to(path).as_posix()} {_remembered(file, known)}" for file in files]
    _write_cache(known)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of one file's contents, remembered by path, size and time of change."""
    known = _read_cache()
    digest = _remembered(path, known)
    _write_cache(known)
    return digest


def cache_folder() -> Path:
    """Where compbench remembers digests: $XDG_CACHE_HOME/compbench, or ~/.cache/compbench.

    For a user without a home, as in some containers, it is a folder that cannot exist, so that nothing is remembered.
    """
    if named := os.environ.get("XDG_CACHE_HOME"):
        return disk.expanded(named) / "compbench"
    try:
        return Path.home() / ".cache" / "compbench"
    except RuntimeError:
        return Path(os.devnull) / "compbench"


def _commit(repo: str, branch: str, *, is_offline: bool) -> str:
    from huggingface_hub import HfApi, snapshot_download  # pyright: ignore[reportUnknownVariableType]

    try:
        if is_offline:  # the snapshot folder is named after the commit
            folder = snapshot_download(
                repo, revision=branch, local_files_only=True, allow_patterns=["model_index.json"]
            )
            return Path(str(folder)).name
        commit = HfApi().model_info(repo, revision=branch).sha
    except Exception as error:
        raise explain(error, repo) from error
    if commit is None:
        raise DataError(f"model {repo!r} has no commit at {branch!r}; name one with {repo}@COMMIT")
    return commit


def _chain(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _reason(error: BaseException, page: str, instead: str) -> str | None:
    # by name, since an error that is raised proves that its library is there, and libraries move their classes
    names = {kind.__name__ for kind in type(error).__mro__}
    if "GatedRepoError" in names:
        return _gated(error, page)
    if "RepositoryNotFoundError" in names:
        return f"was not found on the hub, or it is private: check the name at {page}" + (
            "" if _has_token() else ", or log in with `hf auth login` if it is yours"
        )
    if "RevisionNotFoundError" in names:
        return f"has no such revision: see {page}/commits/main for those it has"
    if "HFValidationError" in names:
        return f"is no hub name; expected org/name, or give {instead}"
    return _connection(error, names, instead)


def _connection(error: BaseException, names: set[str], instead: str) -> str | None:
    if "OfflineModeIsEnabled" in names or ("LocalEntryNotFoundError" in names and "disabled" in str(error)):
        return (
            "is not in the local cache and --offline (or HF_HUB_OFFLINE) forbids fetching it: run once without "
            f"--offline, copy the cache and set HF_HOME, or give {instead}"
        )
    if names.intersection(_NETWORK):
        return (
            "cannot be reached, there is no network or the hub is down: try again, go on from the cache with "
            f"--offline, or give {instead}"
        )
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "does not fit on the disk: free some space or set HF_HOME to a larger disk"
    return None


def _gated(error: BaseException, page: str) -> str:
    if not _has_token():
        return (
            f"is gated and no Hugging Face token was found: accept its terms at {page}, then log in with "
            "`hf auth login` (or set HF_TOKEN)"
        )
    if "fine-grained" in str(error):
        return (
            "is gated and your token may not read gated repositories: allow it at "
            "https://huggingface.co/settings/tokens, or make a token of type read"
        )
    return f"is gated and your account has not been given access: open {page}, accept its terms, then try again"


def _has_token() -> bool:
    if "huggingface_hub" not in sys.modules and os.environ.get("HF_TOKEN"):
        return True
    from huggingface_hub import get_token

    return get_token() is not None


def _existing(path: Path) -> Path:
    path = path.expanduser()
    if not path.exists():
        raise DataError(f"no folder {str(path)!r}; expected a local copy of a model")
    return path.resolve()


def _remembered(path: Path, known: dict[str, list[int | str]]) -> str:
    try:
        status = path.stat()
        stamp: list[int | str] = [status.st_size, status.st_mtime_ns]
        entry = known.get(str(path))
        if entry is not None and entry[:2] == stamp:
            return str(entry[2])
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{str(path)!r} cannot be read ({error.strerror}); copy it again") from error
    known[str(path)] = [*stamp, digest]
    return digest


def _read_cache() -> dict[str, list[int | str]]:
    try:
        return json.loads((cache_folder() / "digests.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _write_cache(known: dict[str, list[int | str]]) -> None:
    if known == _read_cache():
        return
    with suppress(OSError):  # a cache that cannot be written only costs time
        cache_folder().mkdir(parents=True, exist_ok=True)
        partial = cache_folder() / f"digests.{os.getpid()}.partial"
        partial.write_text(json.dumps(known), encoding="utf-8")
        partial.replace(cache_folder() / "digests.json")
