"""Vision-language models behind an OpenAI-compatible service, which pictures and captions are sent to. Torch-free.

`--model api-vqascore:MODEL -o endpoint=URL` is VQAScore (Lin et al., ECCV 2024) where the service tells the
log-probabilities of the likeliest first tokens. `api-choice:MODEL` lets a model that tells none choose, and stores its
choices. MODEL is the service's own word for it. Nobody but the service can run such a model again.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import TYPE_CHECKING, ClassVar, Literal, Self
from urllib.parse import urlsplit

from compbench.core.aliases import Json
from compbench.core.errors import UsageError
from compbench.core.examples import Task
from compbench.core.models import ModelSpec, ResolvedModel, Runtime, Scorer, Source
from compbench_baselines.vlm.vqascore import ANSWER, QUESTION, VQAScore, check_question

if TYPE_CHECKING:
    from compbench_baselines.api._scorer import Reading

__all__ = ["ApiChoice", "ApiModel", "ApiVQAScore", "choice_at", "vqascore_at"]

_FIXED = {"option": False}
_OPENAI, _OPENAI_KEY = "api.openai.com", "OPENAI_API_KEY"


@dataclass(frozen=True)
class ApiModel(ModelSpec):
    """A model at a service. What inherits from it says what is asked and how answers are read."""

    scheme: ClassVar[str]  # what its address begins with

    model: str = field(default="", metadata=_FIXED)
    endpoint: str = field(
        default="",
        metadata={"help": "address of the service, up to its version: http://localhost:8000/v1"},
    )
    key_from: str = field(
        default="",
        metadata={"help": f"environment variable that holds the key; empty: {_OPENAI_KEY} for {_OPENAI}, else no key"},
    )
    send_gated: bool = field(
        default=False, metadata={"help": "true: pictures and captions of gated data sets may be sent too"}
    )
    longest_side: int = field(
        default=1024, metadata={"help": "longest side of a picture in pixels; larger ones are scaled down; 0: none is"}
    )
    concurrency: int = field(default=4, metadata={"help": "most requests at a time; it changes no score"})
    retries: int = field(
        default=6, metadata={"help": "how often a request is repeated that is put off or not answered"}
    )
    backoff: float = field(
        default=1.0, metadata={"help": "seconds before a request is first repeated, then twice as long each time"}
    )
    timeout: float = field(
        default=120.0,
        metadata={"help": "seconds that a request may take, from the connection to the last byte of the answer"},
    )

    def __post_init__(self) -> None:
        least = {"longest_side": 0, "concurrency": 1, "retries": 0, "backoff": 0, "timeout": 0.001}
        for name, smallest in least.items():
            if not getattr(self, name) >= smallest:
                raise UsageError(f"option {name!r} cannot be {getattr(self, name)!r}; expected at least {smallest}")
        for name, largest in {"concurrency": 1000, "backoff": 300, "timeout": 86_400}.items():
            if getattr(self, name) > largest:
                raise UsageError(f"option {name!r} cannot be {getattr(self, name)!r}; expected at most {largest}")

    @classmethod
    def at(cls, address: str) -> Self:
        """The model of what follows the scheme."""
        if not address.strip():
            raise UsageError(f"model '{cls.scheme}:{address}' lacks its address; expected {cls.scheme}:MODEL")
        return cls(model=address)

    @property
    def name(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The address of this model."""
        return f"{self.scheme}:{self.model}"

    def resolve(self, task: Task | None) -> ResolvedModel:
        _check_endpoint(self.name, self.endpoint)
        if task is not None and task.is_gated and not self.send_gated:
            raise UsageError(
                f"{task.name}: its pictures are gated, and {self.name!r} would send them to {self.endpoint}; where the "
                f"terms that you agreed to allow that, add -o send_gated=true"
            )
        return super().resolve(task)

    def identity(self) -> Mapping[str, Json]:
        return {
            "scorer": self.scheme,
            "version": 1,
            "service": {"endpoint": self.endpoint.rstrip("/"), "model": self.model},
            "reproducible": False,
            "longest_side": self.longest_side,
        }

    def reading(self) -> Reading:
        """The questions, and how their answers become scores."""
        raise NotImplementedError

    def build(self, source: Source | None, runtime: Runtime) -> Scorer:
        from compbench_baselines.api._requests import Endpoint
        from compbench_baselines.api._scorer import ApiScorer

        if runtime.is_offline:
            raise UsageError(f"{self.name!r} is asked over the network; leave out --offline, or read what is stored")
        given = {"batch_size": runtime.batch_size, "device": runtime.device}
        for setting, value in given.items():
            if value is not None and not str(value).startswith("auto"):
                runtime.say(f"{self.name} is computed by a service: {setting}={value} changes nothing for it")
        is_near = _is_this_machine(self.endpoint)
        endpoint = Endpoint(self.endpoint, self.key(), self.retries, self.backoff, self.timeout, runtime.say, is_near)
        return ApiScorer(endpoint, self.model, self.reading(), self.longest_side, self.concurrency, runtime)

    def key(self) -> str:
        """The key of the service, "" where none is sent; UsageError where it is not in the environment."""
        is_openai = urlsplit(self.endpoint).hostname == _OPENAI
        name = self.key_from or (_OPENAI_KEY if is_openai else "")
        if not name:
            return ""
        if not (key := os.environ.get(name, "").strip()):
            raise UsageError(f"environment variable {name} is not set; export the key of {self.endpoint} under it")
        if not (key.isascii() and key.isprintable()):
            raise UsageError(
                f"the key in environment variable {name} cannot be sent: it holds a line break, another control "
                f"character or a letter outside ASCII; export it again, as the service gave it"
            )
        if urlsplit(self.endpoint).scheme == "http" and not _is_this_machine(self.endpoint):
            raise UsageError(f"the key in {name} would go to {self.endpoint} unencrypted; expected an https address")
        return key


@dataclass(frozen=True)
class ApiVQAScore(ApiModel):
    """A model that is asked about each picture and caption, by the log-probability of its answer."""

    scheme: ClassVar[str] = "api-vqascore"

    question: str = field(default=QUESTION, metadata={"help": "the question about a picture, with {} for the caption"})
    answer: str = field(default=ANSWER, metadata={"help": "the first token of the answer that is scored"})
    top_logprobs: int = field(
        default=20, metadata={"help": "how many of the likeliest tokens the service is asked to tell; most allow 20"}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_question(self.question, self.answer)
        if self.top_logprobs < 1:
            raise UsageError(f"option 'top_logprobs' cannot be {self.top_logprobs}; expected at least 1")

    @property
    def citation(self) -> str:
        """BibTeX of the method."""
        return VQAScore().citation

    def identity(self) -> Mapping[str, Json]:
        asked = {"question": self.question, "answer": self.answer, "top_logprobs": self.top_logprobs}
        return {**super().identity(), **asked}

    def reading(self) -> Reading:
        from compbench_baselines.api._log_probabilities import YesNo

        return YesNo(self.question, self.answer, self.top_logprobs)


@dataclass(frozen=True)
class ApiChoice(ApiModel):
    """A model that chooses among captions of a picture, or among pictures of a caption."""

    scheme: ClassVar[str] = "api-choice"

    among: Literal["captions", "images"] = field(
        default="captions",
        metadata={"help": "captions: which one describes the picture; images: which one the caption describes"},
    )
    seed: int = field(default=0, metadata={"help": "seed for the order in which options are listed"})

    def resolve(self, task: Task | None) -> ResolvedModel:
        return replace(super().resolve(task), chooses=self.among)

    def identity(self) -> Mapping[str, Json]:
        return {**super().identity(), "among": self.among, "seed": self.seed}

    def reading(self) -> Reading:
        from compbench_baselines.api._choices import AmongCaptions, AmongImages

        return AmongCaptions(self.seed) if self.among == "captions" else AmongImages(self.seed)


def vqascore_at(address: str) -> ApiVQAScore:
    """The model of `api-vqascore:ADDRESS`.

    >>> vqascore_at("gpt-4.1").name
    'api-vqascore:gpt-4.1'
    """
    return ApiVQAScore.at(address)


def choice_at(address: str) -> ApiChoice:
    """The model of `api-choice:ADDRESS`.

    >>> choice_at("gpt-4.1").name
    'api-choice:gpt-4.1'
    """
    return ApiChoice.at(address)


def _check_endpoint(name: str, endpoint: str) -> None:
    """UsageError for anything but a plain address, since it is stored and printed."""
    if not endpoint:
        raise UsageError(
            f"model {name!r} does not say which service to ask; add -o endpoint=URL, such as http://localhost:8000/v1 "
            f"or https://{_OPENAI}/v1"
        )
    try:
        parts = urlsplit(endpoint)
        is_plain = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        (parts.hostname or "").encode("idna")  # a part of a name is 1 to 63 letters
    except ValueError:
        is_plain, parts = False, urlsplit("")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise UsageError(
            "option 'endpoint' holds more than an address, and it would be stored; give the key by -o key_from=VARIABLE"
        )
    if not is_plain or not endpoint.isascii() or not endpoint.isprintable() or " " in endpoint:
        raise UsageError(
            f"option 'endpoint' cannot be {endpoint!r}; expected an address such as https://{_OPENAI}/v1, in ASCII"
        )


def _is_this_machine(endpoint: str) -> bool:
    host = urlsplit(endpoint).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
