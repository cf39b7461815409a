"""Services that answer nonsense, keys and addresses that cannot be sent: said in a sentence, and never scored."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import compbench
from compbench.cli.app import main
from compbench.core.errors import RunError, UsageError
from compbench.core.models import Runtime
from compbench_baselines.api.models import ApiChoice, ApiModel, ApiVQAScore, vqascore_at
from loopback_api import Answer, LoopbackApi, loopback_api

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def api() -> Iterator[LoopbackApi]:
    with loopback_api() as service:
        yield service


def scored(api: LoopbackApi, spec: ApiModel | None = None, **options: Any) -> list[Any]:
    """The scores of one example."""
    spec = replace(spec or ApiVQAScore.at("m"), endpoint=api.address, **{"backoff": 0.01, "concurrency": 1, **options})
    return list(spec.build(None, Runtime(say=print)).score(compbench.registry.task("shapes").examples[:1], {}))


@pytest.mark.parametrize("status", [200, 500])
def test_a_service_that_drips_bytes_is_given_up_in_time(api: LoopbackApi, status: int) -> None:
    api.instead = lambda number: Answer(status, b" " * 10_000, drips=0.05)
    began = time.monotonic()
    with pytest.raises(RunError, match=r"no whole answer in 0\.4 s"):
        scored(api, timeout=0.4, retries=0)
    assert time.monotonic() - began < 10  # 500 seconds of bytes


def completion(content: Any = "Yes", top: Any = None, model: str = "m") -> bytes:
    choice = {"message": {"content": content}, "logprobs": {"content": [{"top_logprobs": top or []}]}}
    return json.dumps({"model": model, "choices": [choice]}).encode()


def told(**logprobs: Any) -> list[dict[str, Any]]:
    return [{"token": token, "logprob": value} for token, value in logprobs.items()]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<html>hello</html>", r"not a chat completion: '<html>hello</html>'; expected an address up to the version"),
        (b"", "not a chat completion: ''"),
        (b'{"error": {"message": "the model is overloaded"}}', "the model is overloaded"),
        (b'{"choices": [{"message": null}]}', "not a chat completion"),
        (completion(top=told(Yes=None)), "the log-probability of 'Yes' is None"),
        (completion(top=told(Yes="-0.5")), "the log-probability of 'Yes' is '-0.5'"),
        (completion(top=told(Yes=False)), "the log-probability of 'Yes' is False"),
        (completion(top=told(Yes=math.nan)), "the log-probability of 'Yes' is nan"),
        (completion(top=[{"token": 5, "logprob": -0.5}]), "a token of its answer is a int"),
        (completion(top={"Yes": -0.5}), "not a chat completion"),
        (completion(top=told(Yes=0.0, No=0.0)), "sum to 2; expected at most 1"),
        (completion(top=told(Yes=-9999.0)), "tells no log-probabilities"),
    ],
)
def test_an_answer_that_makes_no_sense_ends_the_run_and_is_quoted(api: LoopbackApi, content: bytes, said: str) -> None:
    api.instead = lambda number: Answer(200, content)
    with pytest.raises(RunError, match=said):
        scored(api)
    assert len(api.requests) == 1


@pytest.mark.parametrize("content", [5, ["A"], [{"type": "text", "text": "A"}]])
def test_an_answer_whose_text_is_none_is_no_abstention(api: LoopbackApi, content: Any) -> None:
    api.instead = lambda number: Answer(200, completion(content))
    with pytest.raises(RunError, match=r"the text of its answer is a (int|list); expected a string"):
        scored(api, ApiChoice.at("m"))


def test_probabilities_that_a_service_rounds_may_sum_to_a_little_more_than_one(api: LoopbackApi) -> None:
    api.instead = lambda number: Answer(200, completion(top=told(Yes=math.log(0.7), No=math.log(0.32))))
    assert scored(api)[0].scores == pytest.approx(math.log(0.7))


def test_a_service_that_is_mended_is_asked_again(api: LoopbackApi) -> None:
    api.tells = False
    with pytest.raises(RunError, match="tells no log-probabilities"):
        scored(api)
    api.tells = True
    n_asked = len(api.requests)
    scored(api)
    assert len(api.requests) == n_asked + 4


@pytest.mark.parametrize("n_models", [1, 2])
def test_a_service_that_changes_its_model_in_the_middle_is_told(
    api: LoopbackApi, tmp_path: Path, capsys: pytest.CaptureFixture[str], n_models: int
) -> None:
    api.instead = lambda number: Answer(200, completion(top=told(Yes=-0.5), model=f"m-{number // 4 % n_models}"))
    command = ["run", "shapes", "-m", "api-vqascore:m", "-o", f"endpoint={api.address}", "--limit", "4"]
    assert main([*command, "--runs", str(tmp_path / "runs")]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert ("the service answered by 2 models, m-0, m-1; their scores are not one measurement" in shown) == (
        n_models == 2
    )


@pytest.mark.parametrize("when", ["nan", "Thu, 01 Jan 99999999999 00:00:00 GMT", "soon"])
def test_a_time_to_wait_that_is_none_is_passed_over(api: LoopbackApi, when: str) -> None:
    api.instead = lambda number: Answer(429, headers={"Retry-After": when}) if number == 0 else None
    said: list[str] = []
    spec = replace(ApiVQAScore.at("m"), endpoint=api.address, backoff=1.0, concurrency=1)
    scorer = spec.build(None, Runtime(say=said.append))
    assert len(list(scorer.score(compbench.registry.task("shapes").examples[:1], {}))) == 1
    assert [line for line in said if "trying again in" in line]


def test_waits_grow_to_five_minutes_however_often_a_question_is_repeated(api: LoopbackApi) -> None:
    api.instead = lambda number: Answer(503) if number < 1100 else None
    assert len(scored(api, retries=1100, backoff=0.0)) == 1


def test_a_failure_that_is_not_repeated_is_not_counted(api: LoopbackApi) -> None:
    api.instead = lambda number: Answer(503)
    with pytest.raises(RunError, match=r"it answers 503 \(\{\}\)\. What was answered"):
        scored(api, retries=0)


def test_a_redirect_is_named_and_not_followed(api: LoopbackApi) -> None:
    api.instead = lambda number: Answer(301, headers={"Location": "https://elsewhere.example/v1"})
    with pytest.raises(RunError, match=r"a redirect to https://elsewhere.example/v1 is not followed"):
        scored(api)


@pytest.mark.parametrize("key", ["sk-first\nsk-second", "sk-schl\u00fcssel", "sk-\x1b[A"])
def test_a_key_that_no_header_can_hold_is_refused_and_not_shown(
    api: LoopbackApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], key: str
) -> None:
    monkeypatch.setenv("MY_KEY", key)
    command = ["run", "shapes", "-m", "api-vqascore:m", "-o", f"endpoint={api.address}", "-o", "key_from=MY_KEY"]
    assert main([*command, "--limit", "2", "--runs", str(tmp_path / "runs")]) == 2
    printed = capsys.readouterr()
    assert "the key in environment variable MY_KEY cannot be sent" in printed.err
    assert "sk-" not in printed.out + printed.err
    assert not api.requests


@pytest.mark.parametrize(
    "endpoint",
    ["http://127.0.0.1/\u00fc/v1", "http://a..b/v1", f"http://{'a' * 64}.example/v1", "http://b\u00fc.de/v1"],
)
def test_an_address_that_no_request_can_be_sent_to_is_refused(endpoint: str) -> None:
    with pytest.raises(UsageError, match="expected an address such as"):
        replace(ApiVQAScore.at("m"), endpoint=endpoint).resolve(None)


@pytest.mark.parametrize("options", [{"timeout": math.inf}, {"backoff": math.inf}, {"concurrency": 10**6}])
def test_settings_without_end_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="expected at most"):
        replace(ApiVQAScore.at("m"), **options)


def test_a_name_of_spaces_is_none() -> None:
    with pytest.raises(UsageError, match="lacks its address"):
        vqascore_at(" ")


def test_a_service_on_this_machine_is_asked_past_the_proxy(api: LoopbackApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("MY_KEY", "sk-secret")
    assert len(scored(api, retries=0, key_from="MY_KEY")) == 1
    assert set(api.keys) == {"Bearer sk-secret"}
