"""The model hub and local folders: which commit, which files, and what to do when they cannot be had.

huggingface_hub is imported inside functions: it reads HF_HUB_OFFLINE when it is imported, and listing models must not
wait for it.
"""

from __future__ import annotations

import fnmatch
import re
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from compbench.core import disk, stages
from compbench.core.errors import DataError
from compbench.core.models import Source
from compbench.registry._hub_errors import NotAHub, RepoType, explain, is_broken_off
from compbench.registry.model_files import existing, local_digest

__all__ = [
    "explain",
    "fetch",
    "fetch_first",
    "fetch_whole",
    "is_pinned",
    "loading",
    "missing_bytes",
    "present_bytes",
    "resolve",
    "size_of",
    "stays_offline",
]

_COMMIT = re.compile(r"[0-9a-f]{40}")
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")
_ATTEMPTS = 3  # at a transfer that breaks off; what has arrived is kept from one to the next


def resolve(
    source: Source, *, is_offline: bool, say: Callable[[str], None], files: Sequence[str] = ()
) -> tuple[Source, str]:
    """The source at a fixed commit, and a word for its weights: "hf:org/name@commit" or "sha256:...".

    A commit needs no network; a branch, or none, is looked up once and the commit is said. Offline it is the commit
    that the cache has of the branch, whole as far as `files` tell.
    """
    if source.is_local:
        return source, f"sha256:{local_digest(source)}"
    if not is_pinned(source):
        branch = source.revision or "main"
        if stays_offline(is_offline):
            source = replace(source, revision=_cached_commit(source, branch, files, say))
        else:
            source = replace(source, revision=_newest_commit(source, branch), branch=branch)
        say(f"{source.repo}: {branch} is commit {source.revision}")
    return source, f"hf:{source.repo}@{source.revision}"


def is_pinned(source: Source) -> bool:
    """Whether the source names a commit, or is a folder: neither moves on."""
    return source.is_local or _COMMIT.fullmatch(source.revision or "") is not None


def fetch(
    source: Source,
    allow_patterns: Sequence[str],
    is_offline: bool,
    repo_type: RepoType = "model",
    say: Callable[[str], None] | None = None,
) -> Path:
    """The folder that holds the files which match; a local source is its own folder. DataError says what to do.

    Where the repository has none of them the folder need not be there. The hub is not asked for a commit whose files
    are all known to be in the cache. What has to be fetched is said.
    """
    if source.is_local:
        return existing(Path(source.repo))
    from huggingface_hub import snapshot_download  # pyright: ignore[reportUnknownVariableType]

    snapshot: Callable[..., str] = partial(
        snapshot_download,
        source.repo,
        repo_type=repo_type,
        revision=source.revision,
        allow_patterns=list(allow_patterns),
    )
    is_offline = stays_offline(is_offline)
    try:
        if is_offline or _is_whole(source, allow_patterns, repo_type):
            folder = Path(snapshot(local_files_only=True))
        else:
            # a hub that does not answer is told at once: the download alone would try for half a minute
            info = _info(source.repo, repo_type, source.revision, has_sizes=say is not None)
            if not any(_matches(file.rfilename, allow_patterns) for file in info.siblings or []):
                return _cache_of(source.repo, repo_type) / "snapshots" / str(info.sha or source.revision)
            if say is not None:
                _say_what_is_fetched(info, source, allow_patterns, repo_type, say)
            if stages.tell(f"fetching {source.repo}"):
                from compbench.registry._fetching import bar_class

                bars: Any = bar_class(f"fetching {source.repo}")
                snapshot = partial(snapshot, tqdm_class=bars)
            with _bars_on_a_terminal():
                folder = Path(_downloaded(snapshot))
    except Exception as error:
        if not is_offline:
            with suppress(Exception):
                return Path(snapshot(local_files_only=True))
        raise explain(error, source.repo, repo_type, source.instead or None) from error
    _record_branch(source, folder, repo_type)
    return folder


def fetch_first(
    source: Source,
    alternatives: Sequence[Sequence[str]],
    is_offline: bool,
    repo_type: RepoType = "model",
    say: Callable[[str], None] | None = None,
) -> Path:
    """The folder with the files of the first of the alternatives that the source has; DataError where it has none."""
    for patterns in alternatives:
        folder = fetch(source, patterns, is_offline, repo_type, say)
        if _has_any(folder, patterns):
            return folder
    raise _without_files(source, [pattern for patterns in alternatives for pattern in patterns], repo_type)


def missing_bytes(source: Source, allow_patterns: Sequence[str], is_offline: bool) -> int | None:
    """The number of bytes that `fetch` would download; 0 for a local folder, None when unknown."""
    if source.is_local:
        return 0
    if stays_offline(is_offline):
        return None
    try:
        info = _info(source.repo, "model", source.revision, has_sizes=True)
    except Exception:  # the fetch itself will say why
        return None
    return sum(size for _, size in _lacking(info, source, allow_patterns, "model"))


def present_bytes(source: Source, allow_patterns: Sequence[str] = ()) -> int | None:
    """The size of the weights that lie in the folder or in the cache, of those that match if any is named.

    None where there are none, or not all of them as far as the cache tells. The hub is not asked.
    """
    if source.is_local:
        folder = disk.expanded(source.repo)
    elif not is_pinned(source) or (allow_patterns and not _is_whole(source, allow_patterns, "model")):
        return None
    else:
        folder = _cache_of(source.repo, "model") / "snapshots" / str(source.revision)
    weights = (file for file in folder.rglob("*") if file.suffix in _WEIGHTS and file.is_file())
    wanted = allow_patterns or ["*"]
    return (
        sum(weight.stat().st_size for weight in weights if _matches(weight.relative_to(folder).as_posix(), wanted))
        or None
    )


def loading(label: str, source: Source, files: Sequence[str] = ()) -> str:
    """A line to say before weights are loaded, which takes a minute and more where they are large."""
    n_bytes = present_bytes(source, files)
    return f"loading {label}{f' ({size_of(n_bytes)})' if n_bytes else ''} ..."


def size_of(n_bytes: int) -> str:
    """In GB, or in MB where that is less than one.

    >>> size_of(3_460_000_000), size_of(13_400_000)
    ('3.5 GB', '13.4 MB')
    """
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.1f} MB"


def fetch_whole(
    source: Source,
    files: Sequence[str],
    is_offline: bool,
    checked: Callable[[Path], Path],
    say: Callable[[str], None] | None = None,
) -> Path:
    """The folder with a model's files, which `checked` finds whole or raises DataError.

    The hub is not asked for a commit that is whole in the cache.
    """
    if not source.is_local and not stays_offline(is_offline):
        with suppress(DataError):
            return checked(fetch(source, files, is_offline=True))
    folder = fetch(source, files, is_offline, say=say)
    if not source.is_local and not _has_any(folder, files):
        raise _without_files(source, files, "model")
    return checked(folder)


def stays_offline(is_offline: bool) -> bool:
    """Whether the hub must not be asked: by --offline, or by HF_HUB_OFFLINE as huggingface_hub has read it."""
    if is_offline:
        return True
    from huggingface_hub import constants

    return constants.HF_HUB_OFFLINE


def _info(repo: str, repo_type: RepoType, revision: str | None, *, has_sizes: bool = False) -> Any:
    """The hub's answer on a repository: `sha`, and in `siblings` its files."""
    from huggingface_hub import HfApi

    try:
        return HfApi().repo_info(repo, repo_type=repo_type, revision=revision, timeout=10, files_metadata=has_sizes)
    except (KeyError, TypeError, AttributeError) as error:  # JSON, but not what a hub writes
        raise NotAHub(f"the answer for {repo!r} is not a hub's ({type(error).__name__}: {error})") from error


def _newest_commit(source: Source, branch: str) -> str:
    try:
        commit = _info(source.repo, "model", branch).sha
    except Exception as error:
        raise explain(error, source.repo, instead=source.instead) from error
    if commit is None:
        raise DataError(f"model {source.repo!r} has no commit at {branch!r}; name one with {source.repo}@COMMIT")
    return commit


def _cached_commit(source: Source, branch: str, files: Sequence[str], say: Callable[[str], None]) -> str:
    """The commit that the cache has of the branch.

    Where the cache does not say which that is, or another program fetched only a part of it, it is the commit of
    `main` that was fetched last, and that is said.
    """
    cache = _cache_of(source.repo, "model")
    reference = cache / "refs" / branch
    recorded = reference.read_text(encoding="utf-8").strip() if reference.is_file() else None
    if recorded is not None and _holds(source, recorded, files):
        return recorded
    snapshots = sorted(cache.glob("snapshots/*"), key=lambda each: each.stat().st_mtime, reverse=True)
    is_main = branch == "main"  # of another branch or tag no other commit is a likely one
    whole = [snapshot.name for snapshot in snapshots if is_main and _holds(source, snapshot.name, files)]
    if not whole and recorded in [snapshot.name for snapshot in snapshots]:
        return str(recorded)  # fetching from it says what it lacks
    if not whole:
        at = f" of revision {branch!r}" if branch != "main" else ""
        found = f"has no whole copy{at} in the local cache" if snapshots else "is not in the local cache"
        instead = f", or give {source.instead}" if source.instead else ""
        raise DataError(
            f"model {source.repo!r} {found} and --offline (or HF_HUB_OFFLINE) forbids fetching it: run once without "
            f"--offline, or copy the cache and set HF_HOME{instead}"
        )
    say(
        f"{source.repo}: the cache has no whole copy of {branch} as last recorded; using commit {whole[0]}, "
        "which was fetched last"
    )
    return whole[0]


def _holds(source: Source, commit: str, files: Sequence[str]) -> bool:
    """Whether the cache has weights of the commit, and all that is asked for as far as it knows."""
    folder = _cache_of(source.repo, "model") / "snapshots" / commit
    has_weights = any(file.suffix in _WEIGHTS and file.is_file() for file in folder.rglob("*"))
    return has_weights and (not files or _is_whole(replace(source, revision=commit), files, "model") is not False)


def _record_branch(source: Source, folder: Path, repo_type: RepoType) -> None:
    """Write down which commit the branch is, as huggingface_hub does for what is fetched by a branch's name.

    Only now that the commit is there: a record of a commit that is not would hide an older one that is.
    """
    if source.branch is None or source.revision is None or not folder.is_dir():
        return
    reference = _cache_of(source.repo, repo_type) / "refs" / source.branch
    with suppress(OSError):  # a cache that cannot be written is still read
        if reference.is_file() and reference.read_text(encoding="utf-8") == source.revision:
            return
        reference.parent.mkdir(parents=True, exist_ok=True)
        disk.write(reference, source.revision.encode())


def _cache_of(repo: str, repo_type: RepoType) -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / "--".join([f"{repo_type}s", *repo.split("/")])


def _is_whole(source: Source, allow_patterns: Sequence[str], repo_type: RepoType) -> bool | None:
    """Whether the cache holds all files of the commit that match; None where it does not know which those are."""
    files = _listed(source, repo_type) if is_pinned(source) else None
    if files is None:
        return None
    folder = _cache_of(source.repo, repo_type) / "snapshots" / str(source.revision)
    return folder.is_dir() and all((folder / file).is_file() for file in files if _matches(file, allow_patterns))


def _listed(source: Source, repo_type: RepoType) -> list[str] | None:
    """The files of a commit by the list that newer versions of huggingface_hub keep in the cache."""
    try:
        from huggingface_hub import get_cached_repo_tree
    except ImportError:
        return None
    try:
        tree = get_cached_repo_tree(source.repo, repo_type=repo_type, revision=source.revision)
    except Exception:  # not kept
        return None
    return [file.path for file in tree]


def _matches(file: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatch(file, pattern) for pattern in patterns)


def _has_any(folder: Path, patterns: Sequence[str]) -> bool:
    return any(_matches(file.relative_to(folder).as_posix(), patterns) for file in folder.rglob("*") if file.is_file())


def _lacking(info: Any, source: Source, allow_patterns: Sequence[str], repo_type: RepoType) -> list[tuple[str, int]]:
    """Name and size of each file that matches and is not in the cache."""
    from huggingface_hub import try_to_load_from_cache

    revision = info.sha or source.revision
    return [
        (file.rfilename, file.size or 0)
        for file in info.siblings or []
        if _matches(file.rfilename, allow_patterns)
        and not isinstance(
            try_to_load_from_cache(source.repo, file.rfilename, revision=revision, repo_type=repo_type), str
        )
    ]


def _say_what_is_fetched(
    info: Any, source: Source, allow_patterns: Sequence[str], repo_type: RepoType, say: Callable[[str], None]
) -> None:
    if lacking := _lacking(info, source, allow_patterns, repo_type):
        files = f"{len(lacking)} files" if len(lacking) > 1 else lacking[0][0]
        say(f"fetching {source.repo}: {files}, {size_of(sum(n_bytes for _, n_bytes in lacking))}")


@contextmanager
def _bars_on_a_terminal() -> Generator[None]:
    """huggingface_hub's progress bars only where somebody sees them move."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    if sys.stderr.isatty() or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


def _downloaded(snapshot: Callable[..., str]) -> str:
    """The folder; a transfer that breaks off is taken up again."""
    for _ in range(_ATTEMPTS - 1):
        try:
            return snapshot(local_files_only=False)
        except Exception as error:
            if not is_broken_off(error):
                raise
    return snapshot(local_files_only=False)


def _without_files(source: Source, patterns: Sequence[str], repo_type: RepoType) -> DataError:
    """The error for a repository or folder that has none of the files."""
    what = f"data set {source.repo!r}" if repo_type == "dataset" else f"model {source.repo!r}"
    if source.is_local:
        found = sorted(file.name for file in disk.expanded(source.repo).glob("*"))
    else:
        found = sorted(_listed(source, repo_type) or [])
        with suppress(Exception):
            found = found or sorted(file.rfilename for file in _info(source.repo, repo_type, source.revision).siblings)
    more = f" and {len(found) - 5} more" if len(found) > 5 else ""
    holds = f"holds only {', '.join(found[:5])}{more}" if found else "is empty"
    wanted = ", ".join(patterns[:3]) + (", ..." if len(patterns) > 3 else "")
    return DataError(f"{what} {holds}; expected {wanted}: check the name, or whether it is still being uploaded")
