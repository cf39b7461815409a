"""What names local weights: the files that a loader opens, as they are now, and nothing beside them."""

import json
import os
import shutil
from pathlib import Path

import pytest

import compbench
from compbench.core.errors import DataError
from compbench.core.file_list import FileList
from compbench.core.models import Source
from compbench.diffusion.families.addresses import stable_diffusion_at
from compbench.diffusion.families.dit import TINY_DIT
from compbench.diffusion.families.stable_diffusion import TINY_SD
from compbench.registry import hub, model_files
from compbench_baselines.clip.models import EMOJI_CLIP, TINY_CLIP
from compbench_baselines.clip.models import from_address as clip_address


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """A cache folder of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def copied(tmp_path):
    return shutil.copytree(TINY_SD.repo, tmp_path / "model")


def word(spec):
    return hub.resolve(spec.source(), is_offline=True, say=print)[1]


def sd(folder):
    return word(stable_diffusion_at(str(folder)))


def flip(path):
    """Other weights of the same size."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "spec", [TINY_SD, TINY_DIT, TINY_CLIP, EMOJI_CLIP], ids=lambda spec: spec.name.rpartition("/")[2]
)
def test_a_clean_folder_keeps_the_name_it_always_had(spec):
    assert word(spec) == f"sha256:{model_files.folder_digest(Path(spec.repo))}"


def test_the_shipped_models_have_the_names_that_readme_prints():
    assert word(TINY_SD).startswith("sha256:5567cd238752")
    assert word(TINY_CLIP).startswith("sha256:56cf097ed1ab")


def test_other_weights_behind_a_linked_folder_are_other_weights(copied):
    first, second = copied.parent / "unet-A", copied.parent / "unet-B"
    (copied / "unet").rename(first)
    shutil.copytree(first, second)
    flip(second / "diffusion_pytorch_model.safetensors")
    (copied / "unet").symlink_to(first)
    before = sd(copied)
    assert before == word(TINY_SD)
    (copied / "unet").unlink()
    (copied / "unet").symlink_to(second)
    assert sd(copied) != before


def test_what_no_loader_opens_changes_nothing(copied):
    before = sd(copied)
    for name in (
        "Thumbs.db",
        "unet/optimizer.bin",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "unet/diffusion_pytorch_model.bin",
        "tokenizer/notes.txt",
        "safety_checker/model.safetensors",
    ):
        (copied / name).parent.mkdir(exist_ok=True)
        (copied / name).write_bytes(b"anything")
    assert sd(copied) == before


@pytest.mark.parametrize(
    "name",
    [
        "model_index.json",
        "unet/config.json",
        "vae/diffusion_pytorch_model.safetensors",
        "text_encoder/model.safetensors",
        "tokenizer/tokenizer.json",
        "scheduler/scheduler_config.json",
    ],
)
def test_whatever_a_loader_opens_is_part_of_the_name(copied, name):
    before = sd(copied)
    content = (copied / name).read_bytes()
    if name.endswith(".json"):
        (copied / name).write_bytes(content + b"\n")
    else:
        flip(copied / name)
    assert sd(copied) != before


def test_an_open_clip_folder_is_known_by_the_files_that_open_clip_opens(tmp_path):
    folder = shutil.copytree(TINY_CLIP.repo, tmp_path / "clip")
    before = word(clip_address(str(folder)))
    (folder / "Thumbs.db").write_bytes(b"x")
    (folder / "open_clip_pytorch_model.bin").write_bytes(b"x")
    assert word(clip_address(str(folder))) == before
    flip(folder / "open_clip_model.safetensors")
    assert word(clip_address(str(folder))) != before


def test_a_model_of_unknown_layout_is_known_by_all_its_files_those_behind_links_too(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "weights").write_bytes(b"one")
    (tmp_path / "model" / "part").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "round").symlink_to(tmp_path / "elsewhere")  # a loop ends
    source = Source(str(tmp_path / "model"), is_local=True)
    before = hub.resolve(source, is_offline=True, say=print)[1]
    (tmp_path / "elsewhere" / "weights").write_bytes(b"two")
    assert hub.resolve(source, is_offline=True, say=print)[1] != before


def test_a_file_renamed_over_another_at_equal_size_and_time_is_read_again(tmp_path):
    file, other = tmp_path / "weights", tmp_path / "other"
    file.write_bytes(b"one")
    other.write_bytes(b"two")
    os.utime(other, ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns))
    first = model_files.file_digest(file)
    other.rename(file)
    assert model_files.file_digest(file) != first


def test_a_file_that_lies_still_is_hashed_once(tmp_path):
    cache = tmp_path / "cache" / "compbench" / "file-digests.json"
    shipped = Path(TINY_SD.repo) / "unet" / "diffusion_pytorch_model.safetensors"
    before = model_files.file_digest(shipped)
    stored = json.loads(cache.read_text())
    assert stored[str(shipped)][-1] == before
    stored[str(shipped)][-1] = "what was remembered"
    cache.write_text(json.dumps(stored))
    assert model_files.file_digest(shipped) == "what was remembered"


def test_a_file_just_written_is_not_remembered(tmp_path):
    (tmp_path / "weights").write_bytes(b"one")
    model_files.file_digest(tmp_path / "weights")
    assert not (tmp_path / "cache" / "compbench" / "file-digests.json").exists()


@pytest.mark.parametrize("content", ["", "[1]", '{"/x": 3}', '{"/x": [1, 2]}', "[" * 100_000])
def test_a_damaged_memory_only_costs_time(tmp_path, content):
    cache = tmp_path / "cache" / "compbench" / "file-digests.json"
    cache.parent.mkdir(parents=True)
    cache.write_text(content)
    assert word(TINY_SD).startswith("sha256:5567cd238752")


def test_a_pipe_in_place_of_weights_is_refused_and_not_waited_for(copied):
    weights = copied / "unet" / "diffusion_pytorch_model.safetensors"
    weights.unlink()
    os.mkfifo(weights)
    with pytest.raises(DataError, match=r"no weights in unet/|diffusion_pytorch_model"):
        sd(copied)


def test_json_that_is_none_is_named(tmp_path):
    for content in ("{", "[1]", "[" * 100_000, "9" * 5000):
        (tmp_path / "model_index.json").write_text(content)
        with pytest.raises(DataError, match=r"model_index\.json of .*(not JSON|expected a JSON object)"):
            FileList.of_folder(tmp_path).json("model_index.json")


@pytest.mark.slow
def test_a_run_stored_under_the_digest_of_all_files_goes_on(copied, tmp_path, capsys):
    """As compbench 0.1 stored it, which took unused files for weights."""
    (copied / "Thumbs.db").write_bytes(b"x")
    spec = stable_diffusion_at(str(copied))
    run = compbench.run("shapes", model=spec, draws=1, limit=1, runs=tmp_path / "runs")
    former = f"sha256:{model_files.former_digest(spec.source())}"
    assert former != run.key.weights
    info = json.loads((run.path / "run.json").read_text())
    info["key"]["weights"] = former
    del info["check"]  # that version wrote none
    (run.path / "run.json").write_text(json.dumps(info))
    key = compbench.store.key.RunKey(**info["key"])
    shutil.move(run.path, tmp_path / "runs" / key.folder)
    capsys.readouterr()
    again = compbench.run("shapes", model=spec, draws=1, limit=1, runs=tmp_path / "runs")
    assert again.key.weights == former
    assert "it continues under that name" in capsys.readouterr().err
    assert len(list((tmp_path / "runs").glob("*/*/*/run.json"))) == 1


def test_a_run_whose_digest_left_a_linked_folder_out_is_not_taken_for_the_same(copied):
    (copied / "unet").rename(copied.parent / "unet")
    (copied / "unet").symlink_to(copied.parent / "unet")
    assert model_files.former_digest(stable_diffusion_at(str(copied)).source()) is None
