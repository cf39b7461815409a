"""An OpenAI-compatible service on this machine, whose model answers by the picture's pixels and the caption's letters.

What is imitated: a chat completion with the log-probabilities of the likeliest first tokens, the codes and bodies of
errors, Retry-After, and a redirect.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import PIL.Image

__all__ = ["Answer", "LoopbackApi", "loopback_api", "probability"]


@dataclass
class Answer:
    """What is answered in place of a completion."""

    status: int
    content: Any = field(default_factory=dict[str, Any])
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    is_cut: bool = False  # the connection ends before the answer does
    drips: float = 0.0  # seconds between one byte and the next


@dataclass
class LoopbackApi:
    """What was asked, and what is answered instead."""

    address: str = ""
    instead: Callable[[int], Answer | None] = lambda number: None  # of the request of this number, from 0
    says: Callable[[str], str] = lambda question: "Yes"
    hides_yes: Callable[[str], bool] = lambda question: False
    tells: bool = True  # log-probabilities
    seconds: float = 0.0  # for an answer
    requests: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])  # bodies, in the order of arrival
    keys: list[str | None] = field(default_factory=list[str | None])
    paths: list[str] = field(default_factory=list[str])
    n_answered: int = 0
    n_under_way: int = 0
    most_under_way: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def questions(self) -> list[str]:
        """The words of each request with a digest of its pictures."""
        return [json.dumps(_told(body)) for body in self.requests]


def probability(picture: PIL.Image.Image, question: str) -> float:
    """How likely the model answers Yes to a picture and a question."""
    digest = hashlib.sha256(picture.convert("RGB").tobytes() + question.encode()).digest()
    return 0.05 + 0.9 * int.from_bytes(digest[:4]) / 2**32


def _told(body: Mapping[str, Any]) -> list[str]:
    parts = body["messages"][0]["content"]
    return [part["text"] if part["type"] == "text" else part["image_url"]["url"] for part in parts]


def _pictures(body: Mapping[str, Any]) -> list[PIL.Image.Image]:
    urls = [part for part in _told(body) if part.startswith("data:")]
    return [PIL.Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) for url in urls]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    api: LoopbackApi

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        api = self.api
        with api.lock:
            number = len(api.requests)
            api.requests.append(body)
            api.keys.append(self.headers.get("Authorization"))
            api.paths.append(self.path)
            api.n_under_way += 1
            api.most_under_way = max(api.most_under_way, api.n_under_way)
        time.sleep(api.seconds)
        answer = api.instead(number) or Answer(200, self.completion(body))
        with api.lock:
            api.n_under_way -= 1
            api.n_answered += answer.status == 200 and not answer.is_cut
        self.answer(answer)

    def completion(self, body: Mapping[str, Any]) -> dict[str, Any]:
        words = [part for part in _told(body) if not part.startswith("data:")][-1]
        message = {"role": "assistant", "content": self.api.says(words)}
        choice: dict[str, Any] = {"index": 0, "message": message, "finish_reason": "length"}
        if body.get("logprobs") and self.api.tells:
            choice["logprobs"] = {"content": [{"token": "Yes", "top_logprobs": self.top(body, words)}]}
        return {"id": "0", "object": "chat.completion", "model": f"{body['model']}-2026-01-01", "choices": [choice]}

    def top(self, body: Mapping[str, Any], words: str) -> list[dict[str, Any]]:
        yes = probability(*_pictures(body), words)
        chances = {"No": 0.75 * (1 - yes), "Maybe": 0.25 * (1 - yes)}
        if not self.api.hides_yes(words):
            chances |= {"Yes": 0.75 * yes, " Yes": 0.25 * yes}
        likeliest = sorted(chances, key=lambda token: -chances[token])[: body["top_logprobs"]]
        return [{"token": token, "logprob": math.log(chances[token]), "bytes": None} for token in likeliest]

    def answer(self, answer: Answer) -> None:
        content = answer.content if isinstance(answer.content, bytes) else json.dumps(answer.content).encode()
        self.send_response(answer.status)
        headers = {"Content-Type": "application/json", "Content-Length": str(len(content))}
        for name, value in (headers | dict(answer.headers)).items():
            self.send_header(name, value)
        self.end_headers()
        content = content[: len(content) // 2] if answer.is_cut else content
        with suppress(OSError):  # nobody waits any longer
            for start in range(0, len(content), 1 if answer.drips else len(content)):
                self.wfile.write(content[start : start + 1] if answer.drips else content)
                time.sleep(answer.drips)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None: ...


@contextmanager
def loopback_api() -> Iterator[LoopbackApi]:
    """The service on a port of its own."""
    api = LoopbackApi()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (_Handler,), {"api": api}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    api.address = f"http://127.0.0.1:{server.server_address[1]}/v1"
    try:
        yield api
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
