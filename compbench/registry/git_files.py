"""Small files of a public repository on GitHub, at a commit: fetched once each, and kept in the user's cache folder."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from compbench.core import disk
from compbench.core.errors import DataError
from compbench.core.remembered import cache_folder
from compbench.registry.hub import stays_offline

__all__ = ["ADDRESS", "GitFiles"]

ADDRESS = "https://raw.githubusercontent.com"
_SECONDS = 10.0  # without a word from the server


@dataclass(frozen=True, slots=True)
class GitFiles:
    """A commit never changes, so what was fetched of one is never asked for again."""

    repository: str  # "owner/name"
    commit: str  # forty hex digits
    files: tuple[str, ...]  # paths within the repository

    def fetch(self, is_offline: bool) -> Path:
        """The folder that holds the files; DataError says what to do where they cannot be had."""
        folder = cache_folder() / "github" / self.repository.replace("/", "--") / self.commit
        lacking = [file for file in self.files if not disk.is_file(folder / file)]
        if lacking and stays_offline(is_offline):
            raise DataError(
                f"{self._name} is not in the local cache and --offline (or HF_HUB_OFFLINE) forbids fetching it: run "
                "once without --offline, or give a clone of it with --data PATH"
            )
        for file in lacking:
            content = self._content(file)
            with disk.writing(folder, "XDG_CACHE_HOME"):
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                disk.write(folder / file, content)
        return folder

    @property
    def _name(self) -> str:
        return f"github.com/{self.repository} at {self.commit[:7]}"

    def _content(self, file: str) -> bytes:
        address = f"{ADDRESS}/{self.repository}/{self.commit}/{quote(file)}"
        request = urllib.request.Request(address, headers={"User-Agent": "compbench"})
        try:
            with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
                kind, content = answer.headers.get_content_type(), answer.read()
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise DataError(
                f"{file} of {self._name} could not be fetched ({_why(error)}): try again, or give a clone of it with "
                "--data PATH"
            ) from error
        if kind == "text/html":  # GitHub gives files as plain text
            raise DataError(
                f"{file} of {self._name} could not be fetched: a web page came instead, perhaps this network's "
                f"login page; log in, or give a clone of it with --data PATH"
            )
        return content


def _why(error: BaseException) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answered {error.code} {error.reason}"
    reason = getattr(error, "reason", None) or error
    return f"{type(reason).__name__}: {reason}" if isinstance(reason, BaseException) else str(reason)
