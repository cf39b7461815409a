"""Explains a hub's errors and what to do about each, in one line.

The errors are told apart by the names of their classes: an error that is raised proves that its library is there, and
libraries move their classes. Nothing of huggingface_hub is imported before it is needed.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Iterator
from typing import Any, Literal

from compbench.core.errors import DataError

__all__ = ["NotAHub", "RepoType", "explain", "is_broken_off"]

RepoType = Literal["model", "dataset"]
_HUB = "https://huggingface.co"
_NETWORK = (
    "ConnectError",
    "ConnectionError",
    "TransportError",
    "TimeoutException",
    "Timeout",
    "ProxyError",
    "SSLError",
)
# errors when something other than a hub answers: a web page instead of JSON or of a file's headers, looping redirects
_NOT_A_HUB = ("NotAHub", "JSONDecodeError", "FileMetadataError", "TooManyRedirects", "DecodingError")
# a transfer that broke off
_BROKEN_OFF = ("ReadError", "ProtocolError", "ReadTimeout", "ChunkedEncodingError", "IncompleteRead", "ConnectionError")
_INCONSISTENT = "Consistency check failed"
_MISSING_FILES = re.compile(r"(\d+) file\(s\) are missing")


class NotAHub(ValueError):
    """The server's answer holds nothing of what a hub answers."""


def explain(error: BaseException, repo: str, repo_type: RepoType = "model", instead: str | None = None) -> DataError:
    """A DataError that says what went wrong at the hub and what to do about it.

    Libraries wrap each other's errors; the first cause that is understood decides. An error that is none of these
    is returned as a DataError with its own words. `instead` says how a local copy is given; None: as every data set
    takes one, and no model.
    """
    what = f"data set {repo!r}" if repo_type == "dataset" else f"model {repo!r}"
    page = f"{_HUB}/{'datasets/' if repo_type == 'dataset' else ''}{repo}"
    if instead is None:
        instead = "a local copy with --data PATH" if repo_type == "dataset" else ""
    for cause in _chain(error):
        if (reason := _reason(cause, page, instead)) is not None:
            return DataError(f"{what} {reason}")
    first = str(error).strip().splitlines()[0] if str(error).strip() else ""
    return DataError(f"{what} could not be fetched ({type(error).__name__}: {first}){_or_give(instead, '; or')}")


def is_broken_off(error: BaseException) -> bool:
    """Whether a transfer ended in the middle, so that it is worth going on with it."""
    return any(not _names(cause).isdisjoint(_BROKEN_OFF) or _INCONSISTENT in str(cause) for cause in _chain(error))


def _chain(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _names(error: BaseException) -> set[str]:
    return {kind.__name__ for kind in type(error).__mro__}


def _or_give(instead: str, word: str = ", or") -> str:
    return f"{word} give {instead}" if instead else ""


def _reason(error: BaseException, page: str, instead: str) -> str | None:
    names = _names(error)
    if "GatedRepoError" in names:
        return _gated(error, page)
    if "RepositoryNotFoundError" in names:
        return _not_found(page)
    if "RevisionNotFoundError" in names:
        return f"has no such revision: see {page}/commits/main for those it has"
    if "HFValidationError" in names:
        return f"is not a hub name; expected org/name{_or_give(instead)}"
    if not names.isdisjoint(_NOT_A_HUB):
        return _answered_by_another(instead)
    return _refused(error, names, page, instead) or _connection(error, names, instead)


def _refused(error: BaseException, names: set[str], page: str, instead: str) -> str | None:
    """The reason of an answer with an HTTP status of failure."""
    response: Any = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    if not isinstance(status, int) or status < 400:
        return None
    if status == 429:
        more = "" if _has_token() else "; `hf auth login` allows more requests"
        return (
            f"was refused: {_server()} reports too many requests (429). Wait {_wait(response)}, then rerun the "
            f"same command{more}"
        )
    if status >= 500 and status != 511:
        return (
            f"cannot be fetched now: {_server()} reports an internal error ({status}): it is down or overloaded."
            f" Wait a few minutes and rerun the same command, go on from the cache with --offline{_or_give(instead)}"
        )
    if "DisabledRepoError" in names:
        return f"has been disabled on the hub: see {page}{_or_give(instead)}"
    if status in (407, 511) or "html" in response.headers.get("Content-Type", ""):
        return _answered_by_another(instead)
    return _denied(status, page, instead)


def _denied(status: int, page: str, instead: str) -> str | None:
    if status == 401:
        if not _has_token():
            return _not_found(page)
        return (
            "cannot be fetched: the hub does not accept your token (401), it has expired or was revoked: make another "
            f"at {_HUB}/settings/tokens, then `hf auth login` (or set HF_TOKEN)"
        )
    if status == 403:
        return f"may not be read with your token (403): allow it at {_HUB}/settings/tokens, or see {page}"
    if status in (404, 410):
        return f"was not found at {_server()} ({status}): check the name at {page}{_or_give(instead)}"
    return None


def _answered_by_another(instead: str) -> str:
    mirror = "check HF_ENDPOINT, " if _endpoint() != _HUB else ""
    return (
        f"cannot be fetched: the answer for {_endpoint()} does not come from a hub but from something in between, "
        f"such as a network's login page or a proxy: {mirror}log in to the network in a browser or set "
        f"HTTPS_PROXY, then "
        f"rerun the same command, go on from the cache with --offline{_or_give(instead)}"
    )


def _connection(error: BaseException, names: set[str], instead: str) -> str | None:
    if "OfflineModeIsEnabled" in names or ("LocalEntryNotFoundError" in names and "disabled" in str(error)):
        lacking = _MISSING_FILES.search(str(error))
        found = "is not in the local cache"
        if lacking is not None:
            are = "file is" if lacking[1] == "1" else "files are"
            found = f"is only partly in the local cache ({lacking[1]} {are} missing)"
        return (
            f"{found} and --offline (or HF_HUB_OFFLINE) forbids fetching it: run once without --offline, or copy the "
            f"cache and set HF_HOME{_or_give(instead)}"
        )
    if "SSLError" in names or "CERTIFICATE_VERIFY_FAILED" in str(error):
        return (
            f"cannot be fetched: the certificate of what answers for {_endpoint()} is not trusted, so a network's "
            "login page or a proxy stands in between: log in to the network in a browser, or set SSL_CERT_FILE to the "
            f"proxy's certificate{_or_give(instead)}"
        )
    if names.intersection(_NETWORK):
        return (
            f"cannot be reached, there is no network or {_server()} is down: try again, go on from the cache with "
            f"--offline{_or_give(instead)}"
        )
    if _INCONSISTENT in str(error):
        return (
            "did not arrive whole: a file's size is not the one the hub gives. The transfer broke off, or something in "
            f"between, such as a network's login page, answered: rerun the same command{_or_give(instead)}"
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
            f"{_HUB}/settings/tokens, or make a token of type read"
        )
    return f"is gated and your account has not been given access: open {page}, accept its terms, then try again"


def _not_found(page: str) -> str:
    return f"was not found on the hub, or it is private: check the name at {page}" + (
        "" if _has_token() else ", or log in with `hf auth login` if it is yours"
    )


def _wait(response: Any) -> str:
    """The time that the server asks to wait, in words."""
    limits = re.search(r"r\s*=\s*0\s*;\s*t\s*=\s*(\d+)", response.headers.get("ratelimit", ""))
    asked = limits[1] if limits else response.headers.get("Retry-After", "")
    if not asked.isdigit():
        return "a few minutes"
    return f"{asked} seconds" if int(asked) < 120 else f"{-(-int(asked) // 60)} minutes"


def _endpoint() -> str:
    constants: Any = sys.modules.get("huggingface_hub.constants")
    return str(constants.ENDPOINT) if constants else os.environ.get("HF_ENDPOINT", _HUB)


def _server() -> str:
    """The hub, by its address where it is another's."""
    return "the hub" if _endpoint() == _HUB else f"the hub at {_endpoint()}"


def _has_token() -> bool:
    if "huggingface_hub" not in sys.modules and os.environ.get("HF_TOKEN"):
        return True
    from huggingface_hub import get_token

    return get_token() is not None
