"""--offline works on the cache that compbench filled itself, through the product, whatever was asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import compbench
from compbench import registry
from compbench.cli.app import main
from compbench.core.errors import DataError
from compbench.core.models import Source
from compbench.registry import hub as our_hub
from loopback_hub import LoopbackHub, loopback_hub, used_here

OPEN_CLIP, STABLE = "org/clip", "org/diffusion"


@pytest.fixture
def hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_clip_folder: Path, tiny_pipeline_folder: Path
) -> Iterator[LoopbackHub]:
    """Two models whose commits compbench does not know."""
    with loopback_hub() as hub:
        hub.add("models", OPEN_CLIP, contents(tiny_clip_folder))
        hub.add("models", STABLE, contents(tiny_pipeline_folder))
        with used_here(hub, tmp_path, monkeypatch):
            yield hub


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setenv("HF_HUB_OFFLINE", "")
    more = ["--limit", "2", "--device", "cpu", "-o", "draws=2"] if "sd:" in " ".join(arguments) else ["--limit", "2"]
    return main(["run", *arguments, *more, "--device", "cpu", "--runs", str(tmp_path)])


@pytest.mark.parametrize("model", [f"open-clip:hf-hub:{OPEN_CLIP}", f"sd:{STABLE}"])
def test_offline_works_in_another_folder_task_and_option(
    hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    assert run(tmp_path / "one", monkeypatch, "shapes", "-m", model) == 0
    hub.forget()
    assert run(tmp_path / "one", monkeypatch, "shapes", "-m", model, "--offline") == 0
    assert run(tmp_path / "other", monkeypatch, "shapes", "-m", model, "--offline") == 0
    assert run(tmp_path / "other", monkeypatch, "digits", "-m", model, "--offline") == 0
    assert run(tmp_path / "other", monkeypatch, "shapes", "-m", model, "--offline", "--dtype", "bfloat16") == 0
    assert hub.requests == []


def test_a_dry_run_is_no_use_and_writes_no_record(
    hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(tmp_path / "one", monkeypatch, "shapes", "-m", f"sd:{STABLE}", "--dry-run") == 0
    assert not list((tmp_path / "hub").rglob("refs/main"))
    assert run(tmp_path / "one", monkeypatch, "shapes", "-m", f"sd:{STABLE}", "--offline") == 1
    assert not (tmp_path / "one").exists()


def test_the_environment_forbids_as_the_option_does(
    hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a notebook, where huggingface_hub has read HF_HUB_OFFLINE=1."""
    model = f"open-clip:hf-hub:{OPEN_CLIP}"
    online = compbench.run("shapes", model=model, runs=tmp_path / "one", limit=2, device="cpu")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    hub.forget()
    offline = compbench.run("shapes", model=model, runs=tmp_path / "two", limit=2, device="cpu")
    assert hub.requests == []
    assert offline.key == online.key


def test_the_record_is_huggingface_hubs_own(hub: LoopbackHub) -> None:
    from huggingface_hub import snapshot_download

    source, _ = our_hub.resolve(Source(OPEN_CLIP), is_offline=False, say=lambda message: None)
    folder = our_hub.fetch(source, ["*.json"], False)
    assert Path(snapshot_download(OPEN_CLIP, local_files_only=True, allow_patterns=["*.json"])) == folder


def test_a_commit_that_is_not_whole_does_not_hide_the_one_that_is(
    hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The hub has moved on, and another program has fetched a part of what is new."""
    from huggingface_hub import hf_hub_download

    model = f"sd:{STABLE}"
    assert run(tmp_path / "one", monkeypatch, "shapes", "-m", model) == 0
    repository = hub.repositories["models", STABLE]
    old = repository.main
    repository.commit(dict(repository.commits[old]) | {"README.md": b"new"})
    hf_hub_download(STABLE, "model_index.json")
    capsys.readouterr()
    assert run(tmp_path / "other", monkeypatch, "shapes", "-m", model, "--offline") == 0
    said = capsys.readouterr().err
    assert f"{STABLE}: the cache has no whole copy of main as last recorded; using commit {old}" in said


def test_a_run_that_stays_at_its_commit_records_no_other(
    hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = f"open-clip:hf-hub:{OPEN_CLIP}"
    assert run(tmp_path / "one", monkeypatch, "shapes", "-m", model) == 0
    repository = hub.repositories["models", OPEN_CLIP]
    old = repository.main
    repository.commit(dict(repository.commits[old]) | {"README.md": b"new"})
    assert main(["run", "shapes", "-m", model, "--limit", "3", "--device", "cpu", "--runs", str(tmp_path / "one")]) == 0
    (record,) = (tmp_path / "hub").rglob("refs/main")
    assert record.read_text() == old
    hub.forget()
    assert run(tmp_path / "other", monkeypatch, "shapes", "-m", model, "--offline") == 0
    assert hub.requests == []


def test_a_diffusion_transformer_is_found_offline(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    from compbench.diffusion import loading
    from compbench.diffusion.families.dit import DIT_256, TINY_DIT
    from compbench.registry import checkpoints

    hub.add("models", DIT_256.repo, contents(Path(TINY_DIT.repo)))
    folders: list[Path] = []
    for is_offline in (False, True):
        hub.forget()
        wanted = DIT_256.resolve(None)
        assert wanted.source is not None
        source, _ = our_hub.resolve(wanted.source, is_offline=is_offline, say=lambda message: None, files=wanted.files)
        folders.append(loading.fetch_folder(source, checkpoints.dit, is_offline, "dit-256"))
    assert folders[0] == folders[1]
    assert hub.requests == []


def test_a_tokenizer_that_is_on_the_hub_alone_is_told_like_a_model(
    hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """open_clip's multilingual models name one, which transformers fetches."""
    from compbench_baselines.clip import _weights

    config = {"model_cfg": {"text_cfg": {"hf_tokenizer_name": "org/tokenizer"}}}
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match=r"model 'org/tokenizer' (is not in the local cache|could not be fetched)"):
        _weights._tokenizer(tmp_path, config, is_offline=True)


def test_another_revision_than_main_is_not_guessed(hub: LoopbackHub) -> None:
    source, _ = our_hub.resolve(Source(OPEN_CLIP), is_offline=False, say=lambda message: None)
    our_hub.fetch(source, ["*"], False)
    with pytest.raises(DataError, match=r"has no whole copy of revision 'v1' in the local cache and --offline"):
        our_hub.resolve(Source(OPEN_CLIP, "v1"), is_offline=True, say=print)


def test_a_data_set_without_a_pinned_commit_is_read_offline(
    hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import layouts_on_disk as layouts
    from compbench.tasks.classification._prompt_files import shipped

    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")
    names = [name.lower().replace(" ", "_") for name in shipped("pets").names]
    pictures = [layouts.picture(tmp_path / f"{n}.png", n).read_bytes() for n in range(len(names))]
    paths = " ".join(f"{name}_{n}.jpg" for n, name in enumerate(names))
    copy = layouts.parquet(tmp_path / "pets", "test", pictures, list(range(len(names))), names, paths=paths)
    hub.add("datasets", "timm/oxford-iiit-pet", contents(copy))
    online = registry.task("pets")
    assert hub.fetched() == ["timm/oxford-iiit-pet/data/test-00000-of-00001.parquet"]
    hub.forget()
    assert registry.task("pets", is_offline=True).revision == online.revision
    assert hub.requests == []
