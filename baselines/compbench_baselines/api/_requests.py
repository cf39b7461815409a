"""A question to a service, repeated where it is put off or not answered; waits are shared by all threads.

Redirects are not followed: they could take a key and a picture to another host.
"""

from __future__ import annotations

import http.client
import json
import math
import random
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import CancelledError
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.error import HTTPError, URLError

from compbench.core.errors import RunError
from compbench.core.printable import printable
from compbench_baselines.api._deadline import HANDLERS, within

__all__ = ["Endpoint"]

_PATH = "/chat/completions"
_LATER = (408, 409, 425, 429)  # and all from 500 on
_LONGEST = 300.0  # seconds: a service that asks for more is left for another time
_MOST_DOUBLINGS = 60
_MOST_BYTES = 10_000_000  # of an answer
_MOST_SHOWN = 300  # letters of an error
_NO_KEY = (401, 403)


class _Later(Exception):
    """The question may be answered later, in so many seconds where the service says so."""

    def __init__(self, why: str, seconds: float | None = None) -> None:
        super().__init__(why)
        self.seconds = seconds


class _Direct(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: Any) -> None:
        return None  # a redirect is then an error like others


class Endpoint:
    """A service at an address, for several threads at a time."""

    def __init__(
        self,
        address: str,
        key: str,
        retries: int,
        backoff: float,
        timeout: float,
        say: Callable[[str], None],
        is_this_machine: bool = False,
    ) -> None:
        self.address = address.rstrip("/")
        self._key, self._retries, self._backoff, self._timeout, self._say = key, retries, backoff, timeout, say
        # a proxy is another machine
        no_proxy = [urllib.request.ProxyHandler({})] if is_this_machine else []
        self._opener = urllib.request.build_opener(_Direct, *HANDLERS, *no_proxy)
        self._lock = threading.Lock()
        self._not_before = 0.0  # by the monotonic clock

    def post(self, body: bytes, stopping: threading.Event) -> dict[str, Any]:
        """The answer; RunError where there is none to be had, CancelledError once nobody waits for it."""
        for attempt in range(self._retries + 1):
            self._wait(stopping)
            try:
                return self._answer(body)
            except _Later as later:
                self._put_off(later, attempt)
        raise AssertionError("the last attempt returns or raises")

    def _wait(self, stopping: threading.Event) -> None:
        while True:
            seconds = self._not_before - time.monotonic()
            if stopping.wait(max(seconds, 0)):
                raise CancelledError
            if seconds <= 0:
                return

    def _put_off(self, later: _Later, attempt: int) -> None:
        """Let nobody ask for a while; RunError where that was often enough."""
        asked = later.seconds
        if asked is not None and asked > _LONGEST:
            raise RunError(f"{self.address}: {later}, and asks to wait {asked:,.0f} s. {_RERUN}") from later
        if attempt == self._retries:
            often = f", {attempt + 1} times in a row" if attempt else ""
            raise RunError(f"{self.address}: {later}{often}. {_RERUN}") from later
        waited = min(self._backoff * 2.0 ** min(attempt, _MOST_DOUBLINGS), _LONGEST)
        seconds = waited * random.uniform(0.75, 1.25) if asked is None else asked
        with self._lock:
            until = time.monotonic() + seconds
            is_news = until - self._not_before > 0.5
            self._not_before = max(self._not_before, until)
        if is_news:
            self._say(f"{self.address}: {later}; trying again in {seconds:,.1f} s")

    def _answer(self, body: bytes) -> dict[str, Any]:
        headers = {"Content-Type": "application/json", "User-Agent": "compbench"}
        headers |= {"Authorization": f"Bearer {self._key}"} if self._key else {}
        request = urllib.request.Request(self.address + _PATH, body, headers)
        try:
            with within(self._timeout):
                content = self._content(request)
        except URLError as error:
            if isinstance(error.reason, ssl.SSLCertVerificationError):
                raise RunError(f"{self.address}: {error.reason}") from error
            raise _Later(f"no answer ({self._shown(str(error.reason))})") from error
        except (OSError, http.client.HTTPException) as error:
            raise _Later(f"no answer ({self._shown(str(error) or type(error).__name__)})") from error
        return self._read(content)

    def _content(self, request: urllib.request.Request) -> bytes:
        try:
            with self._opener.open(request, timeout=self._timeout) as answer:
                content: bytes = answer.read(_MOST_BYTES)
                if answer.length:  # bytes that were promised
                    raise _Later("its answer breaks off")
                return content
        except HTTPError as error:
            with error:
                raise self._refusal(error) from error

    def _refusal(self, error: HTTPError) -> Exception:
        """The meaning of a status other than 200."""
        try:
            content = error.read(_MOST_BYTES)
        except (OSError, http.client.HTTPException):
            content = b""
        said = self._shown(content.decode(errors="replace"))
        why = f"it answers {error.code}" + (f" ({said})" if said else "")
        is_spent = error.code == 429 and "insufficient_quota" in said
        if (error.code in _LATER or error.code >= 500) and not is_spent:
            return _Later(why, _seconds(error.headers.get("Retry-After")))
        advice = ""
        if error.code in _NO_KEY:
            advice = "; expected a key that it accepts: -o key_from=VARIABLE names the environment variable"
        if error.code == 404:
            advice = f"; {_EXPECTED}, and a model it knows"
        if 300 <= error.code < 400:
            to = self._shown(error.headers.get("Location") or "another address")
            advice = f"; a redirect to {to} is not followed: give the address that answers by -o endpoint="
        return RunError(f"{self.address}: {why}{advice}")

    def _read(self, content: bytes) -> dict[str, Any]:
        try:
            answer: Any = json.loads(content)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict) or not answer.get("choices"):  # pyright: ignore[reportUnknownMemberType]
            shown = self._shown(content.decode(errors="replace"))
            raise RunError(f"{self.address}: its answer is not a chat completion: {shown!r}; {_EXPECTED}")
        return answer  # pyright: ignore[reportUnknownVariableType]

    def _shown(self, text: str) -> str:
        """The beginning of what a service says, without the key, which some repeat."""
        text = text.replace(self._key, "***") if self._key else text
        text = " ".join(printable(text).split())
        return text[:_MOST_SHOWN] + ("..." if len(text) > _MOST_SHOWN else "")


_EXPECTED = "expected an address up to the version, such as https://api.openai.com/v1"
_RERUN = "What was answered is kept: rerun the same command to go on"


def _seconds(text: str | None) -> float | None:
    """The seconds of a Retry-After header, which may be a date.

    >>> _seconds("1.5"), _seconds("Thu, 01 Jan 1970 00:00:00 GMT"), _seconds("soon"), _seconds(None)
    (1.5, 0.0, None, None)
    """
    if text is None:
        return None
    try:
        seconds = float(text)
        return None if math.isnan(seconds) else max(seconds, 0.0)
    except ValueError:
        pass
    try:
        then = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return max((then.replace(tzinfo=then.tzinfo or UTC) - datetime.now(UTC)).total_seconds(), 0.0)
