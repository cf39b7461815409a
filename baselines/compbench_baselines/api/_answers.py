"""Answers of a service, on disk as they come: no question is asked twice, whatever happens to a run.

They are kept in the user's cache folder by a digest of all that was sent, so that another reading of the same answers
asks nothing. Each process writes a file of its own.
"""

from __future__ import annotations

import json
import math
import os
import secrets
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from compbench.core import disk
from compbench.core.aliases import Json
from compbench.core.errors import RunError
from compbench_baselines.training import cache

__all__ = ["Answers", "Reply", "reply_of"]

_UNTOLD = -9000.0  # OpenAI writes -9999 for a log-probability that it does not tell
_LOG_ROUNDING = 1e-3  # of a log-probability
_MOST_LIKELY = 1.05  # the sum of the probabilities told, which services round


@dataclass(frozen=True, slots=True)
class Reply:
    """The part of an answer that is kept."""

    text: str
    top: tuple[tuple[str, float], ...]  # tokens that it could begin with and their log-probabilities, the likeliest few
    model: str  # as the service names it
    time: str  # ISO 8601 in UTC


class Answers:
    """The answers of a model of a service, those of earlier processes too."""

    def __init__(self, endpoint: str, model: str) -> None:
        self._about: dict[str, Json] = {"endpoint": endpoint, "model": model}
        self._own: Path | None = None  # made with the first answer
        self._lock = threading.Lock()
        self._known: dict[str, Reply] = {}
        for path in sorted(cache.place("answers", self._about).glob("*.jsonl")):
            self._known |= _read(path)

    def get(self, question: str) -> Reply | None:
        """The answer to the question of this digest."""
        return self._known.get(question)

    def keep(self, question: str, reply: Reply) -> None:
        """Write it down before anything else happens."""
        with self._lock:
            if self._own is None:
                folder = cache.folder("answers", self._about)
                self._own = folder / f"{os.getpid()}-{secrets.token_hex(4)}.jsonl"
            with cache.writing(self._own.parent):
                disk.append_line(self._own, {"question": question, **asdict(reply)})
            self._known[question] = reply


def _read(path: Path) -> dict[str, Reply]:
    """The answers of a file, but for a line that a crash has torn."""
    found: dict[str, Reply] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
            top = tuple((str(token), float(value)) for token, value in row["top"])
            found[row["question"]] = Reply(str(row["text"]), top, str(row["model"]), str(row["time"]))
        except (ValueError, KeyError, TypeError):
            continue
    return found


def reply_of(answer: Mapping[str, Any], endpoint: str) -> Reply:
    """The reply in a chat completion; RunError where it is not one."""
    try:
        choice = answer["choices"][0]
        text = choice["message"].get("content") or ""
        told = ((choice.get("logprobs") or {}).get("content") or [{}])[0].get("top_logprobs") or []
        top = tuple((entry["token"], entry["logprob"]) for entry in told)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise RunError(f"{endpoint}: its answer is not a chat completion ({type(error).__name__}: {error})") from error
    if not isinstance(text, str):
        raise RunError(f"{endpoint}: the text of its answer is a {type(text).__name__}; expected a string")
    top = _checked(top, endpoint)
    return Reply(text, top, str(answer.get("model") or ""), datetime.now(UTC).isoformat(timespec="seconds"))


def _checked(top: Sequence[tuple[Any, Any]], endpoint: str) -> tuple[tuple[str, float], ...]:
    """The tokens and log-probabilities that are told; RunError for any that cannot be a model's own."""
    for token, value in top:
        if not isinstance(token, str):
            raise RunError(f"{endpoint}: a token of its answer is a {type(token).__name__}; expected a string")
        if isinstance(value, bool) or not isinstance(value, int | float) or not value <= _LOG_ROUNDING:  # NaN too
            raise RunError(f"{endpoint}: the log-probability of {token!r} is {value!r}; expected a number up to 0")
    told = tuple((token, min(float(value), 0.0)) for token, value in top if value > _UNTOLD)
    if (total := sum(math.exp(value) for _, value in told)) > _MOST_LIKELY:
        raise RunError(
            f"{endpoint}: the probabilities of the tokens that it tells sum to {total:.3g}; expected at most 1: these "
            "are not the model's own"
        )
    return told
