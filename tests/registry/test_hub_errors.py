"""Every way in which a hub refuses, fails or is not there, asked of a real server: one line that says what to do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from compbench.cli.app import main
from compbench.core.errors import DataError
from compbench.core.models import Source
from compbench.registry import hub as our_hub
from loopback_hub import Answer, LoopbackHub, loopback_hub, used_here

FILES = {
    "README.md": b"# a model\n",
    "config.json": b'{"a": 1}',
    "model.safetensors": bytes(range(256)) * 40,
    "part/model-00001.safetensors": b"x" * 5000,
}
NAME = "org/name"
PORTAL = b"<html><body>Welcome to the hotel. Please log in.</body></html>"
HTML = {"Content-Type": "text/html; charset=utf-8"}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    with loopback_hub() as hub:
        hub.add("models", NAME, FILES)
        hub.add("datasets", NAME, FILES)
        with used_here(hub, tmp_path, monkeypatch):
            yield hub


def fetched(source: Source | None = None, patterns: tuple[str, ...] = ("*",), *, is_offline: bool = False) -> Path:
    """Look a model up and fetch it."""
    found, _ = our_hub.resolve(source or Source(NAME), is_offline=is_offline, say=lambda message: None)
    return our_hub.fetch(found, patterns, is_offline)


def told(source: Source | None = None, *, is_offline: bool = False) -> str:
    """The message of the DataError of that."""
    with pytest.raises(DataError) as raised:
        fetched(source, is_offline=is_offline)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Answer(429, b"{}", {"Retry-After": "45"}), "too many requests (429). Wait 45 seconds, then rerun"),
        (
            Answer(
                429, b"{}", {"RateLimit": '"api";r=0;t=250', "RateLimit-Policy": '"fixed window";"api";q=500;w=300'}
            ),
            "Wait 5 minutes, then rerun the same command; `hf auth login` allows more requests",
        ),
        (Answer(429, b"slow down"), "Wait a few minutes"),
        (Answer(500, b"{}"), "reports an internal error (500): it is down or overloaded. Wait a few minutes"),
        (Answer(503, PORTAL, HTML), "reports an internal error (503)"),
        (Answer(504, b""), "go on from the cache with --offline"),
        (
            Answer(200, PORTAL, HTML),
            "does not come from a hub but from something in between, such as a network's login page",
        ),
        (Answer(200, b"{}"), "does not come from a hub but from something in between"),
        (Answer(200, b"[]"), "does not come from a hub but from something in between"),
        (Answer(511, PORTAL, HTML), "log in to the network in a browser"),
        (Answer(403, PORTAL, HTML), "such as a network's login page or a proxy: check HF_ENDPOINT"),
        (Answer(403, b'{"error": "no"}'), "may not be read with your token (403)"),
        (Answer(401, b'{"error": "no"}'), "was not found on the hub, or it is private"),
    ],
)
def test_a_refusal_is_one_line_that_says_what_to_do(hub: LoopbackHub, answer: Answer, expected: str) -> None:
    hub.instead = lambda method, path: answer
    message = told()
    assert message.startswith(f"model {NAME!r} ")
    assert expected in message


def test_a_redirect_to_a_login_page_is_not_taken_for_the_hub(hub: LoopbackHub) -> None:
    def portal(method: str, path: str) -> Answer:
        if path.startswith("/login"):
            return Answer(200, PORTAL, HTML)
        return Answer(302, b"", {"Location": "/login?from=hub"})

    hub.instead = portal
    assert "such as a network's login page" in told()


def test_a_circle_of_redirects_is_told(hub: LoopbackHub) -> None:
    hub.instead = lambda method, path: Answer(302, b"", {"Location": path})
    assert "does not come from a hub" in told()


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_a_login_page_in_place_of_a_file_is_not_kept(hub: LoopbackHub, tmp_path: Path, method: str) -> None:
    def portal(asked: str, path: str) -> Answer | None:
        is_file = "/resolve" in path and path.endswith("config.json")
        return Answer(200, PORTAL, HTML) if is_file and asked == method else None

    hub.instead = portal
    message = told()
    expected = {"HEAD": "does not come from a hub but from something in between", "GET": "did not arrive whole"}
    assert expected[method] in message
    assert not [file for file in tmp_path.rglob("*") if file.is_file() and file.read_bytes() == PORTAL]
    hub.instead = None
    assert (fetched() / "config.json").read_bytes() == FILES["config.json"]


def test_a_token_that_has_expired_is_told(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_old")
    headers = {"X-Error-Message": "Invalid credentials in Authorization header"}
    hub.instead = lambda method, path: Answer(401, b'{"error": "Invalid"}', headers)
    assert "the hub does not accept your token (401), it has expired or was revoked" in told()


def test_a_repository_that_is_not_there_a_private_one_and_a_revision_are_told_apart(hub: LoopbackHub) -> None:
    assert "was not found on the hub, or it is private" in told(Source("org/other"))
    assert "has no such revision" in told(Source(NAME, "v2"))


def test_a_disabled_repository_is_told(hub: LoopbackHub) -> None:
    headers = {"X-Error-Message": "Access to this resource is disabled."}
    hub.instead = lambda method, path: Answer(403, b"{}", headers)
    assert "has been disabled on the hub" in told()


def test_a_model_that_takes_no_folder_is_not_given_one_as_advice(hub: LoopbackHub) -> None:
    hub.instead = lambda method, path: Answer(503, b"")
    assert "give" not in told()
    assert told(Source(NAME, instead="a local copy with -o folder=PATH")).endswith(
        "give a local copy with -o folder=PATH"
    )


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("sd2.1", "-o folder=PATH"),
        ("dit-256", "-o folder=PATH"),
        ("sd:org/other", "-o folder=PATH"),
        ("clip-vit-b-32", "--model open-clip:PATH"),
        ("open-clip:hf-hub:org/other", "--model open-clip:PATH"),
    ],
)
def test_the_advice_is_one_that_the_model_takes(
    hub: LoopbackHub, tmp_path: Path, capsys: pytest.CaptureFixture[str], model: str, expected: str
) -> None:
    hub.instead = lambda method, path: Answer(503, b"")
    task = "digits" if model.startswith("dit") else "shapes"
    assert main(["run", task, "-m", model, "--runs", str(tmp_path / "runs"), "--limit", "2"]) in (1, 2)
    printed = capsys.readouterr().err
    if "knows the labels" not in printed:  # a transformer of another data set's labels, told before the hub is asked
        assert "give a local copy" in printed
        assert expected in printed
    assert not (tmp_path / "runs").exists()


def test_an_empty_repository_and_one_without_the_files_are_told(hub: LoopbackHub) -> None:
    hub.add("models", "org/empty", {})
    hub.add("models", "org/begun", {".gitattributes": b"", "README.md": b"soon"})
    for name, holds in (("org/empty", "is empty"), ("org/begun", "holds only .gitattributes, README.md")):
        source, _ = our_hub.resolve(Source(name), is_offline=False, say=lambda message: None)
        with pytest.raises(DataError, match=f"model '{name}' {holds}; expected unet/\\*, vae/\\*: check the name"):
            our_hub.fetch_whole(source, ("unet/*", "vae/*"), False, lambda folder: folder)
        with pytest.raises(DataError, match=f"model '{name}' {holds}; expected a.bin, b.bin"):
            our_hub.fetch_first(source, [["a.bin"], ["b.bin"]], False)


def test_the_first_alternative_that_is_there_is_fetched(hub: LoopbackHub) -> None:
    source, _ = our_hub.resolve(Source(NAME), is_offline=False, say=lambda message: None)
    folder = our_hub.fetch_first(source, [["none.bin"], ["model.safetensors"], ["config.json"]], False)
    assert [file.name for file in folder.iterdir()] == ["model.safetensors"]
    hub.forget()
    assert our_hub.fetch_first(source, [["none.bin"], ["model.safetensors"]], False) == folder
    assert hub.requests == []


@pytest.mark.parametrize("is_reset", [False, True])
def test_a_download_that_breaks_in_the_middle_goes_on(
    hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, is_reset: bool
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1024)  # of 10 MB: ours are small files
    hub.cuts, hub.is_reset = {"model.safetensors": 1}, is_reset
    folder = fetched()
    assert (folder / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert is_reset or hub.ranges == ["model.safetensors bytes=5120-"]


def test_what_has_arrived_is_not_fetched_again_by_the_next_command(hub: LoopbackHub) -> None:
    hub.cuts, hub.is_reset = {"model.safetensors": 99}, True
    message = told()
    assert "there is no network or the hub at http://127.0.0.1" in message
    assert fetched(patterns=("config.json", "part/*")).is_dir()
    assert "only partly in the local cache (1 file is missing)" in told(is_offline=True)
    hub.cuts.clear()
    hub.forget()
    fetched()
    assert not any("config.json" in file or "part/" in file for file in hub.fetched())


def test_the_cache_is_read_when_the_hub_fails(hub: LoopbackHub) -> None:
    source, _ = our_hub.resolve(Source(NAME), is_offline=False, say=lambda message: None)
    folder = our_hub.fetch(source, ("config.json",), False)
    hub.instead = lambda method, path: Answer(503, b"")
    assert our_hub.fetch(source, ("config.json",), False) == folder


def test_a_cache_that_cannot_be_written_is_still_read(hub: LoopbackHub) -> None:
    folder = fetched()
    for file in (folder.parents[1] / "refs").iterdir():
        file.unlink()
    (folder.parents[1] / "refs").rmdir()
    (folder.parents[1] / "refs").write_text("a file in the way")
    assert fetched() == folder
