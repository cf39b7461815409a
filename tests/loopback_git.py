"""Files of repositories on GitHub, given by a server on this machine at /OWNER/NAME/COMMIT/PATH."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import pytest

from compbench.registry import git_files


@dataclass
class LoopbackGit:
    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict[str, bytes])  # "/owner/name/commit/path" -> content
    kind: str = "text/plain; charset=utf-8"
    requests: list[str] = field(default_factory=list[str])
    is_cut: bool = False  # whether an answer ends before its end

    def add(self, repository: str, commit: str, files: Mapping[str, bytes]) -> None:
        self.files |= {f"/{repository}/{commit}/{path}": content for path, content in files.items()}


@contextmanager
def loopback_git(patch: pytest.MonkeyPatch) -> Iterator[LoopbackGit]:
    """The server, asked in place of GitHub."""
    git = LoopbackGit()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            git.requests.append(unquote(self.path))
            content = git.files.get(unquote(self.path))
            if content is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Type", git.kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if git.is_cut else content)

        def log_message(self, format: str, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    git.address = f"http://127.0.0.1:{server.server_address[1]}"
    for name in ("http_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY", "HF_HUB_OFFLINE"):
        patch.delenv(name, raising=False)
    patch.setattr(git_files, "ADDRESS", git.address)
    try:
        yield git
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
