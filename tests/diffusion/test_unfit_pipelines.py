"""A pipeline that cannot be measured says what it is and what to do, whatever its family."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import tiny_pipelines
from compbench import registry
from compbench.cli.app import main
from compbench.core.errors import DataError, UsageError
from compbench.core.file_list import FileList
from compbench.core.models import Runtime
from compbench.diffusion.families.flux import FLUX_DEV
from compbench.diffusion.families.stable_diffusion import SD2
from compbench.registry import plugins
from compbench.registry.plugins import Entry
from edits import edit
from loopback_hub import LoopbackHub, loopback_hub, used_here

NETWORK = {
    "sdxl": "unet",
    "pixart-sigma": "transformer",
    "sd3": "transformer",
    "flux-dev": "transformer",
    "sana": "transformer",
}
FILE = "diffusion_pytorch_model.safetensors"


@pytest.fixture(params=NETWORK)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def copied(family: str, folder_of: Callable[[str], Path], tmp_path: Path) -> Path:
    return shutil.copytree(folder_of(family), tmp_path / "model")


def build(folder: Path) -> Any:
    _, spec = registry.model(f"diffusion:{folder}", {"dtype": "float32", "size_px": 32})
    return spec.build(spec.source(), Runtime("cpu", 2))


def refused(folder: Path) -> str:
    with pytest.raises((DataError, UsageError)) as caught:
        build(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def change(file: Path, how: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    state = load_file(file)
    how(state)
    save_file(state, file)


def test_a_folder_that_is_no_pipeline_is_told(tmp_path: Path) -> None:
    assert "has no model_index.json; expected" in refused(tmp_path)
    (tmp_path / "dreamshaper.safetensors").touch()
    assert "single-file checkpoint" in refused(tmp_path)


def test_a_pipeline_of_no_family_here_is_named_with_those_that_are(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text('{"_class_name": "WuerstchenPriorPipeline"}')
    message = refused(tmp_path)
    assert "is a WuerstchenPriorPipeline, which is not supported; expected StableDiffusionPipeline" in message
    assert "StableDiffusionXLPipeline" in message
    (tmp_path / "model_index.json").write_text("{}")
    assert "names no pipeline" in refused(tmp_path)


def test_neither_a_folder_nor_a_name_of_the_hub_is_told() -> None:
    with pytest.raises(UsageError, match="expected PATH or org/name@revision"):
        registry.model("diffusion:./nowhere")


@pytest.mark.parametrize("part", ["vae", "scheduler", "tokenizer", "text_encoder"])
def test_a_missing_component_is_named(copied: Path, part: str) -> None:
    shutil.rmtree(copied / part)
    assert f"has no {part}/ in" in refused(copied)


def test_an_sd3_without_the_files_of_its_t5_is_told_how_to_do_without(
    folder_of: Callable[[str], Path], tmp_path: Path
) -> None:
    copied = shutil.copytree(folder_of("sd3"), tmp_path / "model")
    shutil.rmtree(copied / "text_encoder_3")
    assert "or do without text_encoder_3: -o t5=off" in refused(copied)
    _, spec = registry.model(f"diffusion:{copied}", {"dtype": "float32", "t5": "off"})
    assert spec.build(spec.source(), Runtime("cpu", 2))


def test_tensors_that_lack_or_exceed_are_named(copied: Path, family: str) -> None:
    file = copied / NETWORK[family] / FILE
    change(file, lambda state: state.pop(sorted(state)[-1]))
    assert f"{FILE}' does not hold the network" in refused(copied)
    assert "1 missing" in refused(copied)
    change(file, lambda state: state.update(foo=torch.zeros(3)))
    assert "1 unknown (foo)" in refused(copied)


def test_pickled_weights_are_refused_with_the_way_to_convert_them(copied: Path, family: str) -> None:
    file = copied / NETWORK[family] / FILE
    file.rename(file.with_suffix(".bin"))
    message = refused(copied)
    assert f"diffusion_pytorch_model.bin in {NETWORK[family]}/" in message
    assert "safe_serialization=True" in message


def test_a_wrong_number_of_channels_is_told(copied: Path) -> None:
    edit(copied / "vae" / "config.json", latent_channels=5)
    assert "5" in refused(copied)


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("sdxl", {"num_train_timesteps": "1000"}),
        ("sd3", {"num_train_timesteps": 0}),
        ("sd3", {"shift": None}),
        ("flux-dev", {"base_image_seq_len": None}),
        ("flux-dev", {"max_shift": "1.15"}),
        ("flux-dev", {"max_image_seq_len": 256}),
        ("sana", {"flow_shift": -3.0}),
    ],
)
def test_a_schedule_whose_numbers_are_none_is_told(copied: Path, settings: dict[str, Any]) -> None:
    edit(copied / "scheduler" / "scheduler_config.json", **settings)
    _, model = registry.model(f"diffusion:{copied}", {"dtype": "float32"})
    with pytest.raises(DataError, match=rf"{next(iter(settings))} .*scheduler_config.json; expected"):
        model.with_files(lambda: FileList.of_folder(copied))  # type: ignore[attr-defined]


def test_latents_that_are_scaled_channel_by_channel_are_refused(copied: Path) -> None:
    """As Playground 2.5's are, which names SDXL's own pipeline."""
    edit(copied / "vae" / "config.json", latents_mean=[0.0], latents_std=[1.0])
    assert "latents_mean in vae/config.json" in refused(copied)


def test_a_repository_of_the_hub_without_a_pipeline_is_told(hub: LoopbackHub) -> None:
    hub.add("models", "org/plain", {"README.md": b"nothing"})
    with pytest.raises(DataError, match=r"'org/plain' has no model_index.json"):
        registry.model("diffusion:org/plain")


def test_a_family_of_another_package_is_found_by_its_pipeline(
    copied: Path, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (make, known), *_ = [pair for pair in plugins.load(plugins.find("family", family.partition("-")[0]))][-1:]

    class Other(type(known)):  # type: ignore[misc]
        name = "other"
        layout = replace(known.layout, pipelines=("OtherPipeline",))

    edit(copied / "model_index.json", _class_name="OtherPipeline")
    broken = Entry("broken", "family", "bad 0.1", "bad:READS", None, lambda: 1 / 0)
    monkeypatch.setitem(plugins._registered, ("family", "broken"), broken)
    assert "is a OtherPipeline, which is not supported" in refused(copied)
    assert "bad 0.1" in refused(copied)  # which might have read it
    other = Entry("other", "family", "good 0.1", "good:READS", None, lambda: [(make, Other())])
    monkeypatch.setitem(plugins._registered, ("family", "other"), other)
    assert build(copied).denoiser.family.name == "other"


def test_another_network_under_the_family_s_name_is_told(copied: Path, family: str) -> None:
    edit(copied / "model_index.json", **{NETWORK[family]: ["diffusers", "MyNetwork"]})
    assert f"names 'MyNetwork' as {NETWORK[family]}" in refused(copied)


def halve(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def lead_nowhere(file: Path) -> None:
    file.unlink()
    file.symlink_to(file)


def index_of_other_shards(file: Path) -> None:
    file.unlink()
    index = {"weight_map": {"a": "diffusion_pytorch_model-00001-of-00002.safetensors"}}
    file.with_name(f"{FILE}.index.json").write_text(json.dumps(index))


def more_tokens(file: Path) -> None:
    tokenizer = json.loads(file.read_text())
    vocabulary = tokenizer["model"]["vocab"]
    if isinstance(vocabulary, list):
        vocabulary += [[f"piece-{number}", -9.0] for number in range(200)]
    else:
        vocabulary |= {f"piece-{number}": len(vocabulary) + 2 + number for number in range(200)}
    file.write_text(json.dumps(tokenizer))


def schedule_of_another_family(file: Path) -> None:
    is_flow = "FlowMatch" in file.read_text() or "flow_prediction" in file.read_text()
    other = {"_class_name": "DDPMScheduler" if is_flow else "FlowMatchEulerDiscreteScheduler"}
    file.write_text(json.dumps(other))


def test_a_damaged_folder_is_told_in_one_sentence_and_nothing_is_stored(
    family: str, folder_of: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damages: list[tuple[str, Callable[[Path], None], str]] = [
        (f"{NETWORK[family]}/{FILE}", halve, "is truncated or not a safetensors file"),
        (f"{NETWORK[family]}/{FILE}", lead_nowhere, "is a link that leads to no file; fetch or copy it again"),
        (f"{NETWORK[family]}/{FILE}", index_of_other_shards, "-00001-of-00002.safetensors, not there"),
        (f"{NETWORK[family]}/config.json", halve, "is not JSON"),
        ("model_index.json", halve, "is not JSON"),
        ("tokenizer/tokenizer.json", halve, "tokenizer' cannot be loaded"),
        ("tokenizer/tokenizer.json", more_tokens, "tokens and a text encoder that knows"),
        ("scheduler/scheduler_config.json", schedule_of_another_family, "expected"),
    ]
    for number, (file, damage, words) in enumerate(damages):
        folder = shutil.copytree(folder_of(family), tmp_path / f"model-{number}")
        damage(folder / file)
        command = ["run", "shapes", "-m", f"diffusion:{folder}", "-o", "size_px=32", "-o", "draws=1", "--limit", "1"]
        assert main([*command, "--device", "cpu", "--runs", str(tmp_path / "runs")]) == 1, damage
        *_, told = capsys.readouterr().err.strip().splitlines()
        assert told.startswith("error: "), told
        assert words in told
        assert not [path for path in tmp_path.glob("runs/**/*") if path.is_file()]


def test_a_size_that_the_autoencoder_cannot_shrink_is_told(copied: Path, tmp_path: Path, capsys: Any) -> None:
    options = ["-o", "size_px=30", "-o", "draws=1", "--limit", "1", "--runs", str(tmp_path / "runs")]
    assert main(["run", "shapes", "-m", f"diffusion:{copied}", *options]) == 2
    assert "expected a multiple of" in capsys.readouterr().err


# the hub's own file sets


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    with loopback_hub() as hub, used_here(hub, tmp_path, monkeypatch):
        yield hub


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_sharded_files_of_the_fp16_variant_are_fetched_and_loaded(
    hub: LoopbackHub, family: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tiny_pipelines.MADE[family](tmp_path / "saved", sharded="20KB", variant="fp16")
    files = contents(folder)
    assert sum(".fp16-0000" in name for name in files) > 2
    files["README.md"] = files["unused.safetensors"] = b"not to be fetched"
    hub.add("models", "org/tiny", files)
    options = ["-o", "draws=1", "-o", "size_px=32", "--limit", "1", "--device", "cpu", "--runs", str(tmp_path / "runs")]
    command = ["run", "shapes", "-m", "diffusion:org/tiny", *options]
    assert main(command) == 0
    assert "from the fp16 weights" in capsys.readouterr().err
    assert not any("unused" in name or "README" in name for name in hub.fetched())
    hub.forget()
    assert main([*command, "--offline"]) == 0  # answered from the store
    assert hub.requests == []


@pytest.mark.parametrize("name", ["flux-dev", "flux-schnell"])
def test_a_flux_by_its_name_is_fetched_at_its_commit_measured_and_found_again(
    hub: LoopbackHub, name: str, tmp_path: Path
) -> None:
    folder = tiny_pipelines.flux(tmp_path / "saved", is_dev=name == "flux-dev", n_blocks=4)
    spec = registry.model(name).spec
    hub.add("models", spec.repo, contents(folder), spec.revision)
    options = ["-o", "draws=1", "-o", "size_px=32", "--limit", "1", "--device", "cpu", "--runs", str(tmp_path / "runs")]
    command = ["run", "shapes", "-m", name, *options]
    assert main(command) == 0
    hub.forget()
    assert main([*command, "--offline"]) == 0  # answered from the store
    assert hub.requests == []
    (place,) = (tmp_path / "runs").glob("shapes/*/*")
    identity = json.loads((place / "run.json").read_text())["key"]["measurement"]
    assert identity.get("told") == ("guidance 1" if name == "flux-dev" else None)
    assert identity["predicts"] == "flow"
    assert spec.known.timesteps == identity["timesteps"]


def test_a_name_whose_repository_holds_another_model_is_refused(
    hub: LoopbackHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its runs would be found under facts that are not those of its weights."""
    folder = tiny_pipelines.flux(tmp_path / "saved")  # whose autoencoder shrinks by 4
    hub.add("models", FLUX_DEV.repo, contents(folder), FLUX_DEV.revision)
    command = ["run", "shapes", "-m", "flux-dev", "-o", "draws=1", "--limit", "1", "--device", "cpu"]
    assert main([*command, "--runs", str(tmp_path / "runs")]) == 1
    assert "says size_px 512 for 1024, step_px 8 for 16" in capsys.readouterr().err


def test_a_stable_diffusion_of_another_size_under_a_known_name_is_refused(
    hub: LoopbackHub, small_sd_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.add("models", SD2.repo, contents(small_sd_folder), SD2.revision)
    command = ["run", "shapes", "-m", "sd2", "-o", "draws=1", "--limit", "1", "--device", "cpu"]
    assert main([*command, "--runs", str(tmp_path / "runs")]) == 1
    assert "for 512; it is not the model that the name stands for" in capsys.readouterr().err
