"""A model hub on this machine that answers as huggingface_hub's own source expects of the real one.

What is imitated, and where huggingface_hub reads it: the description of a repository and the pages of its tree
(hf_api.py), the headers of `resolve` (file_download.get_hf_file_metadata), the redirect of a small file to the hub
itself and of a large one to another host, which must not see the token (utils/_http.py), ranges (http_get), and the
codes of errors (hf_raise_for_status). Of a gated repository the description is public and each file is refused.
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

import pytest

_LARGE = (".safetensors", ".bin", ".ckpt", ".parquet", ".zip")  # as .gitattributes has it; the rest lies in git
_PAGE = 5  # files on a page of a tree: the hub's are longer, ours are to be several
_API = re.compile(r"/api/(models|datasets)/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+)|/(auth-check))?$")
_RESOLVE = re.compile(r"/(?:(datasets)/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)$")
_CACHED = re.compile(r"/api/resolve-cache/(models|datasets)/([^/]+/[^/]+)/([^/]+)/(.+)$")


@dataclass
class Repository:
    """The commits of a repository, the last of which is `main`."""

    kind: str  # models or datasets
    name: str
    is_gated: bool = False
    commits: dict[str, Mapping[str, bytes]] = field(default_factory=dict[str, Mapping[str, bytes]])

    @property
    def main(self) -> str:
        return list(self.commits)[-1]

    def commit(self, files: Mapping[str, bytes], name: str | None = None) -> str:
        """Put `files` on main; the name of the commit is the given one, or made of what is in it."""
        listed = "".join(f"{path} {hashlib.sha1(content).hexdigest()}" for path, content in sorted(files.items()))
        name = name or hashlib.sha1(f"{len(self.commits)} {listed}".encode()).hexdigest()
        self.commits[name] = files
        return name


@dataclass
class Answer:
    """What is answered in place of the hub."""

    status: int = 200
    content: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass
class LoopbackHub:
    """The repositories, who may read the gated ones, and all that was asked."""

    address: str = ""
    storage: str = ""  # the address of the large files
    repositories: dict[tuple[str, str], Repository] = field(
        default_factory=dict[tuple[str, str], Repository], repr=False
    )
    readers: set[str] = field(default_factory=set[str])  # tokens with access to what is gated
    strangers: set[str] = field(default_factory=set[str])  # tokens without
    requests: list[str] = field(default_factory=list[str])  # "GET /path", in the order in which they came
    ranges: list[str] = field(default_factory=list[str])  # that were asked of the storage
    tokens_at_storage: list[str] = field(default_factory=list[str])  # which must stay empty
    instead: Callable[[str, str], Answer | None] | None = None  # (method, path) -> another answer
    cuts: dict[str, int] = field(default_factory=dict[str, int])  # suffix of a file -> transfers still to break off
    is_reset: bool = False  # whether they end with a reset, and not with an early end

    def add(
        self, kind: str, name: str, files: Mapping[str, bytes], commit: str | None = None, *, is_gated: bool = False
    ) -> Repository:
        repository = Repository(kind, name, is_gated)
        repository.commit(files, commit)
        self.repositories[kind, name] = repository
        return repository

    def fetched(self) -> list[str]:
        """The files that were asked for, "org/name/file", each once."""
        found = (_RESOLVE.search(unquote(request.partition(" ")[2])) for request in self.requests)
        return sorted({f"{match[2]}/{match[4]}" for match in found if match})

    def forget(self) -> None:
        self.requests.clear()
        self.ranges.clear()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: LoopbackHub

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.hub.requests.append(f"{self.command} {self.path}")
        other = self.hub.instead(self.command, self.path) if self.hub.instead is not None else None
        if other is not None:
            self.answer(other.content, other.headers, other.status)
            return
        path = unquote(urlsplit(self.path).path)
        for pattern, method in ((_CACHED, self.small_file), (_API, self.api), (_RESOLVE, self.resolve)):
            if (found := pattern.match(urlsplit(self.path).path)) is not None:
                method(*(None if group is None else unquote(group) for group in found.groups()))
                return
        self.refuse(404, "RepoNotFound", f"nothing at {path}")

    def api(self, kind: str, name: str, what: str | None, revision: str | None, check: str | None) -> None:
        """The description of a repository, or a page of its tree."""
        if (found := self.commit(kind, name, revision or "main")) is None:
            return
        repository, commit = found
        query = parse_qs(urlsplit(self.path).query)
        if check:
            _ = self.is_refused(repository) or self.answer(b"{}")
        elif what == "tree":
            self.tree(repository, commit, int(query.get("cursor", ["0"])[0]))
        else:
            self.answer(json.dumps(_described(repository, commit, has_sizes="blobs" in query)).encode())

    def tree(self, repository: Repository, commit: str, start: int) -> None:
        entries = _tree(repository.commits[commit])
        headers = {"Content-Type": "application/json; charset=utf-8"}
        if start + _PAGE < len(entries):
            path = urlsplit(self.path).path
            headers["Link"] = f'<{self.hub.address}{path}?recursive=true&cursor={start + _PAGE}>; rel="next"'
        self.answer(json.dumps(entries[start : start + _PAGE]).encode(), headers)

    def resolve(self, dataset: str | None, name: str, revision: str, file: str) -> None:
        """Where a file is: a redirect that says its size, its ETag and the commit."""
        kind = dataset or "models"
        if (found := self.commit(kind, name, revision)) is None:
            return
        repository, commit = found
        if self.is_refused(repository):
            return
        content = repository.commits[commit].get(file)
        if content is None:
            self.refuse(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": commit})
            return
        headers = {
            "X-Repo-Commit": commit,
            "X-Linked-Size": str(len(content)),
            "X-Linked-ETag": f'"{_etag(file, content)}"',
        }
        if file.endswith(_LARGE):
            place = f"{self.hub.storage}/{kind}/{name}/{commit}/{quote(file)}?Expires=1&Signature=x"
            self.answer(b"", headers | {"Location": place, "Accept-Ranges": "bytes"}, 302)
        else:
            place = f"/api/resolve-cache/{kind}/{name}/{commit}/{quote(file)}"
            self.answer(b"", headers | {"Location": place}, 307)

    def small_file(self, kind: str, name: str, commit: str, file: str) -> None:
        content = self.hub.repositories[kind, name].commits[commit][file]
        self.answer(content, {"ETag": f'"{_etag(file, content)}"', "X-Repo-Commit": commit})

    def commit(self, kind: str, name: str, revision: str) -> tuple[Repository, str] | None:
        """The repository and the commit; None, and the refusal is sent, where there is none."""
        repository = self.hub.repositories.get((kind, name))
        if repository is None:
            is_known = self.token in self.hub.readers | self.hub.strangers
            self.refuse(404 if is_known else 401, "RepoNotFound", "Repository not found")
            return None
        commit = repository.main if revision == "main" else revision
        if commit not in repository.commits:
            self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return None
        return repository, commit

    @property
    def token(self) -> str:
        return self.headers.get("Authorization", "").removeprefix("Bearer ")

    def is_refused(self, repository: Repository) -> bool:
        if not repository.is_gated or self.token in self.hub.readers:
            return False
        if self.token in self.hub.strangers:
            what = f"Access to {repository.name} is restricted and you are not in the authorized list."
            self.refuse(403, "GatedRepo", what)
        else:
            what = f"Access to {repository.name} is restricted. You must be authenticated to access it."
            self.refuse(401, "GatedRepo", what)
        return True

    def refuse(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        content = json.dumps({"error": message}).encode()
        self.answer(content, {"X-Error-Code": code, "X-Error-Message": message, **(headers or {})}, status)

    def answer(self, content: bytes, headers: Mapping[str, str] | None = None, status: int = 200) -> None:
        self.send_response(status)
        sent = {"Content-Type": "application/json; charset=utf-8", "Content-Length": str(len(content))}
        for name, value in (sent | dict(headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None: ...


class _Storage(_Handler):
    """The host of the large files."""

    def do_GET(self) -> None:
        self.hub.tokens_at_storage += [self.token] if self.token else []
        kind, owner, name, commit, file = unquote(urlsplit(self.path).path).lstrip("/").split("/", 4)
        content = self.hub.repositories[kind, f"{owner}/{name}"].commits[commit][file]
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(asked[1]) if asked else 0
        self.hub.ranges += [f"{file} {asked[0]}"] if asked else []
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("ETag", f'"{_etag(file, content)}"')
        self.end_headers()
        cut = next((suffix for suffix, left in self.hub.cuts.items() if file.endswith(suffix) and left), None)
        if cut is None:
            self.wfile.write(content[start:])
            return
        self.hub.cuts[cut] -= 1
        self.wfile.write(content[start : start + (len(content) - start) // 2])
        self.wfile.flush()
        if self.hub.is_reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        self.close_connection = True


def _etag(file: str, content: bytes) -> str:
    """Git's name of a file in git, and SHA-256 of one that is not."""
    if file.endswith(_LARGE):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _large(file: str, content: bytes, digest: str) -> dict[str, Any]:
    if not file.endswith(_LARGE):
        return {}
    return {"lfs": {digest: _etag(file, content), "size": len(content), "pointerSize": 134}}


def _described(repository: Repository, commit: str, *, has_sizes: bool) -> dict[str, Any]:
    siblings: list[dict[str, Any]] = []
    for file, content in sorted(repository.commits[commit].items()):
        known = {"size": len(content), "blobId": "0" * 40, **_large(file, content, "sha256")} if has_sizes else {}
        siblings.append({"rfilename": file, **known})
    return {
        "_id": "0" * 24,
        "id": repository.name,
        "sha": commit,
        "private": False,
        "gated": "auto" if repository.is_gated else False,
        "disabled": False,
        "lastModified": "2025-09-01T12:00:00.000Z",
        "createdAt": "2025-09-01T12:00:00.000Z",
        "tags": [],
        "downloads": 0,
        "likes": 0,
        "siblings": siblings,
    }


def _tree(files: Mapping[str, bytes]) -> list[dict[str, Any]]:
    """Folders and files, as a recursive listing has them."""
    folders = sorted({file.rpartition("/")[0] for file in files if "/" in file})
    entries: list[dict[str, Any]] = [
        {"type": "directory", "oid": "1" * 40, "size": 0, "path": folder} for folder in folders
    ]
    for file, content in sorted(files.items()):
        blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        entries.append(
            {"type": "file", "oid": blob, "size": len(content), "path": file, **_large(file, content, "oid")}
        )
    return entries


@contextmanager
def loopback_hub() -> Iterator[LoopbackHub]:
    """A hub without a repository, and its storage on another port."""
    hub = LoopbackHub()
    servers: list[ThreadingHTTPServer] = []
    threads: list[threading.Thread] = []
    for kind in (_Handler, _Storage):
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (kind,), {"hub": hub}))
        server.daemon_threads = True
        threads.append(threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}))
        threads[-1].start()
        servers.append(server)
    hub.address, hub.storage = (f"http://127.0.0.1:{server.server_address[1]}" for server in servers)
    try:
        yield hub
    finally:
        for server, thread in zip(servers, threads, strict=True):
            server.shutdown()
            thread.join()
            server.server_close()


@contextmanager
def used_here(hub: LoopbackHub, home: Any, patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let huggingface_hub, which reads its environment when it is imported, ask `hub` and keep its cache in `home`."""
    import huggingface_hub
    from huggingface_hub import constants

    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE"):
        patch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        patch.delenv(name, raising=False)
    patch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    patch.setattr(constants, "ENDPOINT", hub.address)
    patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.address + "/{repo_id}/resolve/{revision}/{filename}")
    patch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    patch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
    huggingface_hub.close_session()
    try:
        yield
    finally:
        huggingface_hub.close_session()
