"""Models of a service: scored by its log-probabilities or choices, asked once, and told for what they are."""

from __future__ import annotations

import json
import math
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

import compbench
from compbench import registry
from compbench.cli.app import main
from compbench.core.errors import RunError, UsageError
from compbench.core.examples import Example, Image, Task
from compbench.core.metrics import MATCHING
from compbench.core.models import Runtime
from compbench_analysis.frames.signature import signature
from compbench_baselines.api.models import ApiVQAScore
from loopback_api import Answer, LoopbackApi, loopback_api, probability

pytestmark = pytest.mark.usefixtures("own_cache")
MODEL, CHOICE = "api-vqascore:m", "api-choice:m"
QUESTION = 'Does this figure show "{}"? Please answer yes or no.'
BUSY = Answer(429, {"error": {"message": "slow down"}}, {"Retry-After": "0.6"})


@pytest.fixture(autouse=True)
def _no_proxy_and_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture
def api() -> Iterator[LoopbackApi]:
    with loopback_api() as service:
        yield service


def run(api: LoopbackApi, tmp_path: Path, model: str = MODEL, task: Any = "shapes", **settings: Any) -> Any:
    given = {"limit": 6, "runs": tmp_path / "runs", "endpoint": api.address, "backoff": 0.02} | settings
    return compbench.run(task, model=model, **given)


def examples(n: int) -> list[Example]:
    return list(registry.task("shapes").examples[:n])


def scored(api: LoopbackApi, n: int, say: Callable[[str], None] = print, **options: Any) -> list[Any]:
    """The scores of examples by the scorer alone."""
    spec = replace(ApiVQAScore.at("m"), endpoint=api.address, **{"backoff": 0.02, **options})
    return list(spec.build(None, Runtime(say=say)).score(examples(n), {}))


def expected(example: Example) -> Any:
    """[I, C] by the service's own probabilities of Yes."""
    pictures = [image.decode().convert("RGB") for image in example.images]
    asked = [QUESTION.replace("{}", caption) for caption in example.captions]
    return np.log([[probability(picture, question) for question in asked] for picture in pictures])


def test_the_command_asks_each_pair_once_stores_its_log_probability_and_prints_the_table(
    api: LoopbackApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["run", "shapes", "-m", MODEL, "-m", "chance", "-o", f"endpoint={api.address}", "--limit", "6"]
    command += ["--runs", str(tmp_path / "runs")]
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert MODEL in shown
    assert "nobody can reproduce them" in shown
    assert "upper bound" not in shown
    assert (len(api.requests), len(set(api.questions())), set(api.paths)) == (24, 24, {"/v1/chat/completions"})
    stored = compbench.load_run(f"shapes/{MODEL}", runs=tmp_path / "runs")
    table = stored.table()
    by_id = {example.id: example for example in registry.task("shapes").examples}
    for number, example_id in enumerate(table.ids):
        np.testing.assert_allclose(table.scores[number], expected(by_id[example_id]), atol=1e-6)
    assert main(command) == 0
    assert len(api.requests) == 24


def test_the_signature_says_service_model_and_day_and_that_it_is_not_reproducible(
    api: LoopbackApi, tmp_path: Path
) -> None:
    stored = run(api, tmp_path)
    said = signature(stored)
    day = time.strftime("%Y-%m-%d", time.gmtime())
    for words in (f"service.endpoint:{api.address}", "service.model:m", "reproducible:False", f"answered:{day}"):
        assert words in said
    (answers,) = {json.dumps(part["answers"], sort_keys=True) for part in stored.parts()}
    assert json.loads(answers) == {"first": day, "last": day, "served_by": ["m-2026-01-01"]}


def test_a_request_holds_the_picture_unharmed_the_question_and_what_is_asked_of_the_answer(
    api: LoopbackApi, tmp_path: Path
) -> None:
    run(api, tmp_path, limit=1)
    body = api.requests[0]
    settings = {key: value for key, value in body.items() if key != "messages"}
    told = {"max_tokens": 1, "temperature": 1, "top_p": 1, "logprobs": True, "top_logprobs": 20}
    assert settings == {"model": "m", **told}
    kinds = [part["type"] for part in body["messages"][0]["content"]]
    assert kinds == ["image_url", "text"]
    assert api.keys == [None] * len(api.requests)  # a key is sent to nobody who was not named


def test_an_endpoint_that_fails_half_way_is_resumed_and_nothing_is_asked_twice(
    api: LoopbackApi, tmp_path: Path
) -> None:
    api.instead = lambda number: Answer(400, {"error": {"message": "out of credit"}}) if number >= 10 else None
    with pytest.raises(RunError, match=r"image '.*' and caption '.*': http.*answers 400 .*out of credit"):
        run(api, tmp_path, concurrency=3)
    answered = api.n_answered
    assert answered == 10  # of 24: two examples, and half of the third
    api.instead = lambda number: None
    resumed = run(api, tmp_path, concurrency=3)
    assert api.n_answered == 24
    whole = run(api, tmp_path / "another", concurrency=1)  # all answers are kept already
    assert api.n_answered == 24
    np.testing.assert_array_equal(resumed.table().scores, whole.table().scores)


def test_another_reading_of_the_same_answers_asks_nothing(api: LoopbackApi, tmp_path: Path) -> None:
    run(api, tmp_path)
    table = run(api, tmp_path, answer="No").table()
    assert len(api.requests) == 24
    one = {example.id: example for example in registry.task("shapes").examples}[table.ids[0]]
    np.testing.assert_allclose(table.scores[0], np.log(0.75 * (1 - np.exp(expected(one)))), atol=1e-6)


def test_a_yes_that_is_not_told_is_an_upper_bound_counted_and_printed(
    api: LoopbackApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = compbench.run("shapes", model="chance", limit=6, runs=tmp_path / "runs").ids()
    by_id = {example.id: example for example in registry.task("shapes").examples}
    hidden = by_id[ids[0]].captions[0]
    api.hides_yes = lambda question: f'"{hidden}"' in question
    n_hidden = 2 * sum(hidden == caption for example_id in ids for caption in by_id[example_id].captions)
    stored = run(api, tmp_path)
    for example_id, scores in zip(stored.table().ids, stored.table().scores, strict=True):
        example = by_id[example_id]
        for number, caption in enumerate(example.captions):
            exact = expected(example)[:, number]
            if caption == hidden:  # the least likely token that is told is Maybe
                np.testing.assert_allclose(
                    np.exp(scores[:, number]), np.minimum(0.25 * (1 - np.exp(exact)), np.exp(exact)), rtol=1e-3
                )
            else:
                np.testing.assert_allclose(scores[:, number], exact, atol=1e-6)
    assert main(["show", f"shapes/{MODEL}", "--runs", str(tmp_path / "runs")]) == 0
    assert f"{n_hidden} of 24 scores are upper bounds" in " ".join(capsys.readouterr().out.split())
    assert main(["show", f"shapes/{MODEL}", "--full", "--runs", str(tmp_path / "runs")]) == 0
    assert f"{n_hidden} of 24 scores are upper bounds" in " ".join(capsys.readouterr().out.split())


def test_a_bound_is_never_below_the_truth() -> None:
    from compbench_baselines.api._answers import Reply
    from compbench_baselines.api._log_probabilities import log_probability

    for seed in range(200):
        chances = np.random.default_rng(seed).dirichlet(np.full(30, 0.3)).astype(np.float32)
        order = np.argsort(-chances)
        for place in (0, 4, 19, 20, 29):
            names = {int(token): f"t{token}" for token in order} | {int(order[place]): "Yes"}
            top = tuple((names[int(token)], math.log(max(chances[token], 1e-30))) for token in order[:20])
            score, is_bound = log_probability(Reply("", top, "", ""), "Yes")
            truth = math.log(max(float(chances[order[place]]), 1e-30))
            assert is_bound == (place >= 20)
            assert score >= truth - 1e-6
            assert is_bound or score == pytest.approx(truth)


def test_a_service_that_is_busy_is_asked_again_when_it_says_and_not_before_and_that_is_said(api: LoopbackApi) -> None:
    api.instead = lambda number: BUSY if number == 0 else None
    said, began = list[str](), time.monotonic()
    scored(api, 1, said.append)
    assert time.monotonic() - began >= 0.6
    assert len(api.requests) == 5
    assert len(said) == 1
    assert "it answers 429 (" in said[0]
    assert said[0].endswith("trying again in 0.6 s")


@pytest.mark.parametrize(
    "fault", [Answer(500), Answer(503, b"<html>busy</html>"), Answer(200, {"choices": []}, is_cut=True), BUSY]
)
def test_faults_that_pass_are_sat_out(api: LoopbackApi, fault: Answer) -> None:
    fault = replace(fault, headers={"Retry-After": "0"} if fault.headers else {})
    api.instead = lambda number: fault if number % 2 == 0 else None
    assert (len(scored(api, 2, concurrency=1)), api.n_answered) == (2, 8)


def test_an_answer_that_does_not_come_is_asked_for_again(api: LoopbackApi) -> None:
    def late(number: int) -> None:
        if number == 0:
            time.sleep(0.5)

    api.instead = late
    assert len(scored(api, 1, timeout=0.2, concurrency=1)) == 1
    assert len(api.requests) == 5


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Answer(401, {"error": "no"}), "key_from"),
        (Answer(404), "up to the version"),
        (Answer(302, headers={"Location": "http://127.0.0.1:1/v1"}), "answers 302"),
        (Answer(429, {"error": {"code": "insufficient_quota"}}), "insufficient_quota"),
        (Answer(429, headers={"Retry-After": "7200"}), "asks to wait 7,200 s"),
        (Answer(200, b"<html>hello</html>"), "not a chat completion"),
        (Answer(200, {"choices": []}), "not a chat completion"),
        (Answer(500), "3 times in a row"),
    ],
)
def test_faults_that_stay_end_the_run_and_say_what_they_are(api: LoopbackApi, fault: Answer, said: str) -> None:
    api.instead = lambda number: fault
    with pytest.raises(RunError, match=said):
        scored(api, 1, retries=2, concurrency=1)
    assert len(api.requests) == (3 if fault.status == 500 else 1)


def test_a_service_without_log_probabilities_is_refused_and_told_what_else_there_is(
    api: LoopbackApi, tmp_path: Path
) -> None:
    api.tells = False
    with pytest.raises(RunError, match=r"tells no log-probabilities.*api-choice"):
        run(api, tmp_path)


@pytest.mark.parametrize("value", [math.nan, 0.5])
def test_a_log_probability_that_is_none_is_refused(api: LoopbackApi, tmp_path: Path, value: float) -> None:
    top = {"token": "Yes", "logprob": value}
    choice = {"message": {"content": "Yes"}, "logprobs": {"content": [{"top_logprobs": [top]}]}}
    api.instead = lambda number: Answer(200, {"choices": [choice]})
    with pytest.raises(RunError, match="expected a number up to 0"):
        run(api, tmp_path)


def test_no_more_requests_are_under_way_than_allowed(api: LoopbackApi) -> None:
    api.seconds = 0.2
    scored(api, 3, concurrency=3)
    assert api.most_under_way == 3


def test_the_key_is_sent_and_never_shown(
    api: LoopbackApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-secret")
    api.instead = lambda number: Answer(403, {"error": {"message": "bad key sk-secret"}})
    command = ["run", "shapes", "-m", MODEL, "-o", f"endpoint={api.address}", "-o", "key_from=MY_KEY"]
    assert main([*command, "--limit", "2", "--runs", str(tmp_path / "runs")]) == 1
    assert set(api.keys) == {"Bearer sk-secret"}
    printed = capsys.readouterr()
    assert "bad key ***" in printed.err
    stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert "sk-secret" not in printed.out + printed.err
    assert b"sk-secret" not in stored


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"endpoint": ""}, "add -o endpoint=URL"),
        ({"endpoint": "https://user:pw@host/v1"}, "holds more than an address"),
        ({"endpoint": "ftp://host/v1"}, "expected an address such as"),
        ({"endpoint": "https://api.openai.com/v1"}, "OPENAI_API_KEY is not set"),
        ({"key_from": "NO_SUCH"}, "NO_SUCH is not set"),
        ({"key_from": "PATH", "endpoint": "http://example.com/v1"}, "unencrypted"),
        ({"is_offline": True}, "leave out --offline"),
        ({"question": "Well?"}, "for the caption"),
        ({"concurrency": 0}, "at least 1"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_anything_is_sent(
    api: LoopbackApi, tmp_path: Path, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        run(api, tmp_path, **settings)
    assert not api.requests


def test_pictures_of_gated_sets_are_sent_only_when_that_is_said(api: LoopbackApi, tmp_path: Path) -> None:
    gated = replace(registry.task("shapes"), name="gated", is_gated=True)
    with pytest.raises(UsageError, match=r"gated: its pictures are gated.*send_gated=true"):
        run(api, tmp_path, task=gated)
    assert not api.requests
    run(api, tmp_path, task=gated, send_gated=True)
    assert len(api.requests) == 24


def test_a_dry_run_says_how_much_is_sent_where_and_sends_nothing(
    api: LoopbackApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["run", "shapes", "-m", MODEL, "-o", f"endpoint={api.address}", "--limit", "6", "--dry-run"]
    assert main([*command, "--runs", str(tmp_path / "runs")]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"sends pictures as PNG (12 different ones) and captions, with the question to {api.address}" in shown
    assert "at most 24 requests" in shown
    assert not api.requests
    assert not (tmp_path / "cache" / "compbench" / "answers").exists()
    assert main([*command, "--format", "json", "--runs", str(tmp_path / "runs")]) == 0
    (plan,) = json.loads(capsys.readouterr().out)
    run(api, tmp_path)
    sent = sum(len(json.dumps(body)) for body in api.requests)
    assert plan["requests"] == len(api.requests)
    assert plan["sent_bytes"] == pytest.approx(sent, rel=0.3)


def test_large_pictures_are_scaled_down_turned_upright_and_lose_their_metadata(
    api: LoopbackApi, tmp_path: Path
) -> None:
    from loopback_api import _pictures

    exif = PIL.Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "at home"
    path = tmp_path / "photo.jpg"
    PIL.Image.new("RGB", (400, 100), "red").save(path, exif=exif)
    image = Image("photo", path)
    task = Task("photos", (Example("0", (image,), ("a red wall", "a dog"), np.array([[True, False]])),), MATCHING)
    run(api, tmp_path, task=task, longest_side=200, limit=None)
    (picture,) = _pictures(api.requests[0])
    assert (picture.size, picture.format, dict(picture.getexif())) == ((50, 200), "PNG", {})
    assert "at home" not in json.dumps(api.requests)


def right_letter(example_of: dict[str, Example], question: str) -> str:
    """The letter of the caption that is listed and true of nothing but is first in its example."""
    firsts = {example.captions[0] for example in example_of.values()}
    listed = [line.split(". ", 1) for line in question.splitlines()[1:]]
    return next(letter for letter, caption in listed if caption in firsts)


def test_a_forced_choice_is_stored_as_choices_and_answers_one_metric(
    api: LoopbackApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    by_id = {example.id: example for example in registry.task("shapes").examples}
    api.says = lambda question: right_letter(by_id, question)
    command = ["run", "shapes", "-m", CHOICE, "-o", f"endpoint={api.address}", "--limit", "6"]
    assert main([*command, "--runs", str(tmp_path / "runs")]) == 0
    stored = compbench.load_run(f"shapes/{CHOICE}", runs=tmp_path / "runs")
    assert stored.info.task.metrics == ("text",)
    assert stored.info.model.form == ("example_id", "image", "choice")
    assert (stored.table().scores.sum(2) == 1).all()
    chosen = {
        by_id[i].captions[c]
        for i, s in zip(stored.table().ids, stored.table().scores, strict=True)
        for c in s.argmax(1)
    }
    assert chosen <= {example.captions[0] for example in by_id.values()}
    assert len(api.requests) == 12
    letters = [right_letter(by_id, body["messages"][0]["content"][1]["text"]) for body in api.requests]
    assert set(letters) == {"A", "B"}  # the order is drawn
    assert (
        main(["export", f"shapes/{CHOICE}", "--output", str(tmp_path / "x.jsonl"), "--runs", str(tmp_path / "runs")])
        != 0
    )
    assert "holds choices, not scores" in capsys.readouterr().err


def test_an_answer_that_names_no_option_is_an_abstention_counted_and_printed(
    api: LoopbackApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    api.says = lambda question: "I cannot say"
    stored = run(api, tmp_path, CHOICE)
    assert not stored.table().scores.any()
    assert main(["show", f"shapes/{CHOICE}", "--runs", str(tmp_path / "runs")]) == 0
    assert "12 answers name none of the options" in capsys.readouterr().out


def test_a_choice_among_images_is_of_a_picture_for_each_caption(api: LoopbackApi, tmp_path: Path) -> None:
    api.says = lambda question: "(B)"
    stored = run(api, tmp_path, CHOICE, among="images")
    assert stored.info.task.metrics == ("image",)
    assert (stored.table().scores.sum(1) == 1).all()
    assert {len(body["messages"][0]["content"]) for body in api.requests} == {5}


def test_a_task_that_choices_cannot_answer_is_refused(api: LoopbackApi, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="choices answer 'text' alone"):
        run(api, tmp_path, CHOICE, task="shape-classes")
    assert not api.requests


def test_ctrl_c_keeps_what_is_answered_and_the_same_command_goes_on(api: LoopbackApi, tmp_path: Path) -> None:
    api.seconds = 0.02
    api.instead = lambda number: os.kill(os.getpid(), signal.SIGINT) if number == 6 else None
    with pytest.raises(KeyboardInterrupt):
        run(api, tmp_path, concurrency=2)
    assert 7 <= api.n_answered < 24
    assert len(run(api, tmp_path).done()) == 6
    assert (api.n_answered, len(api.requests)) == (24, 24)


def test_settings_that_a_service_does_not_take_are_said(api: LoopbackApi) -> None:
    said: list[str] = []
    replace(ApiVQAScore.at("m"), endpoint=api.address).build(None, Runtime("cpu", 8, say=said.append))
    assert said == [
        "api-vqascore:m is computed by a service: batch_size=8 changes nothing for it",
        "api-vqascore:m is computed by a service: device=cpu changes nothing for it",
    ]


def test_an_interrupted_run_keeps_the_answers_under_way(api: LoopbackApi) -> None:
    spec = replace(ApiVQAScore.at("m"), endpoint=api.address, concurrency=1)
    results = spec.build(None, Runtime()).score(examples(6), {})
    next(results)
    results.close()  # as an exception in the loop does
    n_before = api.n_answered
    again = spec.build(None, Runtime())
    assert len(list(again.score(examples(6), {}))) == 6
    assert (api.n_answered, len(api.requests)) == (24, 24)
    assert n_before < 24
