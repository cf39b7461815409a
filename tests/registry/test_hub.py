import errno
import os
from importlib import import_module

import pytest
from huggingface_hub import errors

from compbench.core.errors import DataError
from compbench.core.models import Source
from compbench.registry import hub, model_files

COMMIT = "a" * 40


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """No token, and a cache folder of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "none"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.delenv("HUGGING_FACE_HUB_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))


def http_error(kind, status, text="refused"):
    http = import_module(errors.Response.__module__.partition(".")[0])  # httpx, under the name that the hub uses
    request = http.Request("GET", "https://huggingface.co/x")
    return kind(text, response=errors.Response(status, request=request))


def wrapped(cause, outer):
    try:
        raise outer from cause
    except type(outer) as error:
        return error


def test_a_gated_repository_without_a_token_says_accept_and_log_in():
    message = str(hub.explain(http_error(errors.GatedRepoError, 401), "org/data", "dataset"))
    assert message.startswith("data set 'org/data' is gated and no Hugging Face token was found")
    assert "https://huggingface.co/datasets/org/data" in message
    assert "hf auth login" in message


def test_a_gated_repository_with_a_token_says_accept_the_terms(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_x")
    message = str(hub.explain(http_error(errors.GatedRepoError, 403), "org/name"))
    assert "your account has not been given access: open https://huggingface.co/org/name" in message


def test_a_token_that_may_not_read_gated_repositories_is_told_apart(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_x")
    error = http_error(
        errors.GatedRepoError, 403, "enable access to public gated repositories in your fine-grained token"
    )
    assert "your token may not read gated repositories" in str(hub.explain(error, "org/name"))


def test_an_unknown_repository_and_an_unknown_revision_are_told_apart():
    missing = hub.explain(http_error(errors.RepositoryNotFoundError, 404), "org/nmae")
    revision = hub.explain(http_error(errors.RevisionNotFoundError, 404), "org/name")
    assert "was not found on the hub, or it is private" in str(missing)
    assert "has no such revision" in str(revision)


def test_no_network_is_found_behind_other_libraries_errors():
    error = wrapped(ConnectionError("name not known"), errors.LocalEntryNotFoundError("cannot find the files"))
    assert "there is no network or the hub is down" in str(hub.explain(error, "org/name"))
    assert "there is no network" in str(hub.explain(wrapped(error, RuntimeError("outer")), "org/name"))


def test_offline_without_a_copy_says_how_to_get_one():
    error = errors.LocalEntryNotFoundError("outgoing traffic has been disabled")
    for fault in (error, errors.OfflineModeIsEnabled("offline")):
        message = str(hub.explain(fault, "org/data", "dataset"))
        assert "run once without --offline" in message
        assert "--data PATH" in message


def test_a_full_disk_and_an_error_nobody_knows():
    assert "does not fit on the disk" in str(hub.explain(OSError(errno.ENOSPC, "full"), "org/name"))
    assert "(KeyError: 'strange')" in str(hub.explain(KeyError("strange"), "org/name"))


def test_fetching_offline_from_an_empty_cache_is_explained(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(DataError, match="model 'org/absent' is not in the local cache and --offline"):
        hub.fetch(Source("org/absent", COMMIT), ["*.json"], is_offline=True)
    with pytest.raises(DataError, match="is not in the local cache"):
        hub.resolve(Source("org/absent"), is_offline=True, say=print)


def test_a_commit_needs_no_network():
    said = []
    source, weights = hub.resolve(Source("org/name", COMMIT), is_offline=False, say=said.append)
    assert (source.revision, weights, said) == (COMMIT, f"hf:org/name@{COMMIT}", [])


def test_offline_a_branch_is_the_commit_in_the_cache(tmp_path, monkeypatch):
    repo = tmp_path / "hub" / "models--org--name"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(COMMIT)
    (repo / "snapshots" / COMMIT).mkdir(parents=True)
    (repo / "snapshots" / COMMIT / "model_index.json").write_text("{}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    said = []
    source, _ = hub.resolve(Source("org/name"), is_offline=True, say=said.append)
    assert source.revision == COMMIT
    assert said == [f"org/name: main is commit {COMMIT}"]


def test_a_local_folder_is_known_by_the_contents_of_its_files(tmp_path):
    folder = tmp_path / "model"
    (folder / "unet").mkdir(parents=True)
    (folder / "unet" / "weights.safetensors").write_bytes(b"one")
    source = Source(str(folder), is_local=True)
    before = hub.resolve(source, is_offline=True, say=print)[1]
    assert before.startswith("sha256:")
    (folder / "README.md").write_text("notes")
    (folder / ".git").mkdir()
    (folder / ".git" / "HEAD").write_text("x")
    assert hub.resolve(source, is_offline=True, say=print)[1] == before
    (folder / "unet" / "weights.safetensors").write_bytes(b"two")
    os.utime(folder / "unet" / "weights.safetensors", ns=(1, 1))
    assert hub.resolve(source, is_offline=True, say=print)[1] != before
    assert hub.missing_bytes(source, ["*"], is_offline=False) == 0


def test_a_moved_copy_has_the_same_digest(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights").write_bytes(b"same")
    assert model_files.folder_digest(tmp_path / "a") == model_files.folder_digest(tmp_path / "b")


def test_a_file_replaced_at_the_same_size_and_time_has_another_digest(tmp_path):
    file = tmp_path / "weights"
    file.write_bytes(b"one")
    first = model_files.file_digest(file)
    stamp = file.stat()
    file.write_bytes(b"two")
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert model_files.file_digest(file) != first


def test_a_cache_that_cannot_be_written_or_read_only_costs_time(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    (tmp_path / "weights").write_bytes(b"one")
    assert len(model_files.file_digest(tmp_path / "weights")) == 64


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(DataError, match=r"no folder '.*absent'"):
        hub.fetch(Source(str(tmp_path / "absent"), is_local=True), [], is_offline=True)
