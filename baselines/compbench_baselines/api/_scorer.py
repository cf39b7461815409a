"""Examples scored by a service: their questions asked a few at a time, every answer kept as it comes."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol

from compbench.core.aliases import Json
from compbench.core.digests import digest_of
from compbench.core.errors import DataError, RunError, UnreadableImage
from compbench.core.examples import Example, Image, Task
from compbench.core.measurements import Measurement, ScoreMatrix
from compbench.core.models import Runtime, Sending
from compbench_baselines.api._answers import Answers, Reply, reply_of
from compbench_baselines.api._pictures import Sent, sent
from compbench_baselines.api._requests import Endpoint

__all__ = ["ApiScorer", "Query", "Reading"]

_AHEAD = 8  # questions that wait for each of those under way
_MOST_PICTURES = 32  # encoded ones in memory
_MOST_WEIGHED = 8  # pictures that the bytes of all are judged by


@dataclass(frozen=True)
class Query:
    """A question to the service."""

    parts: tuple[str | Image, ...]
    about: str = field(compare=False)  # for a message


class Reading(Protocol):
    """The questions about an example, and how their answers become scores."""

    @property
    def doubtful(self) -> str:
        """The name of what `result` counts."""
        ...

    @property
    def settings(self) -> Mapping[str, Json]:
        """The fields of a request besides the model and the messages."""
        ...

    def queries(self, example: Example) -> list[Query]: ...

    def lack(self, reply: Reply) -> str:
        """Words on what a reply lacks to be read, "" where that is nothing."""
        ...

    def result(self, example: Example, replies: Sequence[Reply]) -> tuple[ScoreMatrix, int]: ...


class ApiScorer:
    """Each distinct question once."""

    device = "a service"

    def __init__(
        self, endpoint: Endpoint, model: str, reading: Reading, longest_side: int, concurrency: int, runtime: Runtime
    ) -> None:
        self._endpoint, self._model, self._reading, self._concurrency = endpoint, model, reading, concurrency
        self._say = runtime.say
        self._answers = Answers(endpoint.address, model)

        @lru_cache(_MOST_PICTURES)
        def of_image(image: Image) -> Sent:
            return sent(image, longest_side)

        self._sent = of_image
        self._asked: dict[Query, Future[Reply]] = {}
        self._fault: RunError | None = None  # the first one
        self._days: set[str] = set()  # of the results given since they were told
        self._served_by: set[str] = set()
        self._doubtful: dict[str, int] = {}

    def prepare(self, task: Task) -> None: ...

    def sending(self, examples: Sequence[Example]) -> Sending:
        """At most: what earlier processes were answered is not asked again."""
        queries = dict.fromkeys(query for example in examples for query in self._reading.queries(example))
        n_pictures = sum(isinstance(part, Image) for query in queries for part in query.parts)
        words = sum(len(part.encode()) for query in queries for part in query.parts if isinstance(part, str))
        images = dict.fromkeys(part for query in queries for part in query.parts if isinstance(part, Image))
        return Sending(
            requests=len(queries),
            bytes=round(n_pictures * self._weight(list(images))) + words,
            to=self._endpoint.address,
            what=f"pictures as PNG ({len(images):,} different ones) and captions, with the question",
        )

    def score(self, examples: Sequence[Example], known: Mapping[str, Measurement]) -> Iterator[ScoreMatrix]:
        """Each example in turn, while the questions of the next ones are under way."""
        stopping, pool = threading.Event(), ThreadPoolExecutor(self._concurrency)
        waiting: deque[tuple[Example, list[Future[Reply]]]] = deque()
        self._fault = None
        self._asked = {query: future for query, future in self._asked.items() if _is_answered(future)}
        try:
            for example in examples:
                _check_captions(example)
                queries = self._reading.queries(example)
                waiting.append((example, [self._future(query, pool, stopping) for query in queries]))
                while sum(len(futures) for _, futures in waiting) > self._concurrency * _AHEAD:
                    yield self._result(*waiting.popleft())
            while waiting:
                yield self._result(*waiting.popleft())
        finally:
            stopping.set()
            pool.shutdown(cancel_futures=True)  # answers under way are waited for, and kept

    def answered(self) -> Mapping[str, Json]:
        """Days and models of the answers behind the results given since this was last asked, and what is doubtful."""
        days = sorted(self._days)
        told: dict[str, Json] = {"first": days[0], "last": days[-1]} if days else {}
        told |= {"served_by": sorted(self._served_by)} if self._served_by else {}
        told |= {self._reading.doubtful: dict(self._doubtful)} if self._doubtful else {}
        self._days, self._served_by, self._doubtful = set(), set(), {}
        return told

    def _future(self, query: Query, pool: ThreadPoolExecutor, stopping: threading.Event) -> Future[Reply]:
        if query not in self._asked:
            self._asked[query] = pool.submit(self._reply, query, stopping)
        return self._asked[query]

    def _reply(self, query: Query, stopping: threading.Event) -> Reply:
        parts = [self._sent(part) if isinstance(part, Image) else part for part in query.parts]
        told = [part.digest if isinstance(part, Sent) else {"text": part} for part in parts]
        question = digest_of([told, dict(self._reading.settings)], 32)
        reply = self._answers.get(question)
        if reply is None or self._reading.lack(reply):
            try:
                reply = reply_of(self._endpoint.post(self._body(parts), stopping), self._endpoint.address)
                if lack := self._reading.lack(reply):  # not kept: a service that was fixed is asked again
                    raise RunError(f"{self._endpoint.address}: {lack}")
            except RunError as error:
                fault = RunError(f"{query.about}: {error}")
                self._fault = self._fault or fault
                stopping.set()  # nothing more is asked, and paid for
                raise fault from error
            self._answers.keep(question, reply)
        return reply

    def _body(self, parts: Sequence[str | Sent]) -> bytes:
        content = [
            {"type": "image_url", "image_url": {"url": part.url}}
            if isinstance(part, Sent)
            else {"type": "text", "text": part}
            for part in parts
        ]
        messages = [{"role": "user", "content": content}]
        request = {"model": self._model, "messages": messages, **self._reading.settings}
        return json.dumps(request).encode()

    def _result(self, example: Example, futures: Sequence[Future[Reply]]) -> ScoreMatrix:
        try:
            replies = [future.result() for future in futures]
        except CancelledError:
            raise self._fault or CancelledError from None
        scores, n_doubtful = self._reading.result(example, replies)
        self._days |= {reply.time[:10] for reply in replies}
        self._served_by |= {reply.model for reply in replies if reply.model}
        if n_doubtful:
            self._doubtful[example.id] = n_doubtful
        return scores

    def _weight(self, images: Sequence[Image]) -> float:
        """Mean bytes of a picture in a request, by some that are spread over all; 0 where none can be read."""
        weights: list[int] = []
        for image in images[:: max(1, len(images) // _MOST_WEIGHED)][:_MOST_WEIGHED]:
            with suppress(UnreadableImage):
                weights.append(len(self._sent(image).url))
        return sum(weights) / len(weights) if weights else 0.0


def _check_captions(example: Example) -> None:
    if any(not caption.strip() for caption in example.captions):
        raise DataError(f"example {example.id!r} has an empty caption; expected words to ask about")


def _is_answered(future: Future[Any]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None
