"""A checkpoint is loaded whole or refused: file, tensors and what to do in one line, for every kind of model."""

import json
import re
import shutil
import struct
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from compbench import registry
from compbench.cli.app import main
from compbench.core.errors import DataError, nan_advice
from compbench.core.file_list import FileList
from compbench.core.models import Runtime
from compbench.diffusion.families import dit_transformer, sd_unet
from compbench.diffusion.families.addresses import stable_diffusion_at
from compbench.diffusion.families.dit import TINY_DIT
from compbench.diffusion.families.stable_diffusion import TINY_SD
from compbench.diffusion.weights import check_finite
from compbench.registry import checkpoints
from compbench_baselines.classifiers.torchvision import RESNET18
from compbench_baselines.clip.models import TINY_CLIP

UNET = "unet/diffusion_pytorch_model.safetensors"
VAE = "vae/diffusion_pytorch_model.safetensors"
TEXT = "text_encoder/model.safetensors"
TRANSFORMER = "transformer/diffusion_pytorch_model.safetensors"
CLIP = "open_clip_model.safetensors"
ATTENTION = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q.weight"


def copy(spec, tmp_path):
    return shutil.copytree(spec.repo, tmp_path / "model")


def change(file, edit):
    state = load_file(file)
    edit(state)
    save_file(state, file)


def load(folder):
    """What a run loads of a folder."""
    if (folder / "transformer").is_dir():
        return dit_transformer.load(folder, "mine", print)
    if (folder / "open_clip_config.json").is_file():
        _, spec = registry.model(f"open-clip:{folder}")
        return spec.build(spec.source(), Runtime("cpu"))
    return sd_unet.load(folder)


def refused(folder):
    with pytest.raises(DataError) as caught:
        load(folder)
    message = str(caught.value)
    assert "\n" not in message
    assert "weights_only" not in message
    return message


def test_a_network_without_one_weight_is_never_scored(tmp_path, capsys):
    folder = copy(TINY_SD, tmp_path)
    change(folder / UNET, lambda state: state.pop(ATTENTION))
    code = main(["run", "shapes", "-m", f"sd:{folder}", "-o", "draws=1", "--limit", "1", "--runs", str(tmp_path / "r")])
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert code == 1
    assert "unet/diffusion_pytorch_model.safetensors' does not hold the network" in told
    assert f"1 missing ({ATTENTION})" in told


TEXT_CONFIG = {
    "hidden_size": 64,
    "num_attention_heads": 4,
    "num_hidden_layers": 1,
    "intermediate_size": 64,
    "vocab_size": 100,
}
FAULTS = {
    "missing": (lambda state: state.pop(sorted(state)[-1]), "1 missing"),
    "empty": (lambda state: state.clear(), "holds no tensor"),
    "unknown": (lambda state: state.update(foo=torch.zeros(3)), r"1 unknown \(foo\)|unexpected foo"),
    "shape": (
        lambda state: state.update({sorted(state)[-1]: torch.zeros(5)}),
        r"1 of another shape \(.* \(5,\) for|size mismatch for",
    ),
    "whole numbers": (
        lambda state: state.update({sorted(state)[-1]: state[sorted(state)[-1]].int()}),
        r"1 of \d+ tensors that are not floating point: .* \(I32\)",
    ),
    "not finite": (
        lambda state: state[sorted(state)[-1]].view(-1)[0].fill_(float("nan")),
        r"1 of \d+ tensors with NaN or infinity: .* \(1 of",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(
    ("spec", "file"),
    [(TINY_SD, UNET), (TINY_SD, VAE), (TINY_SD, TEXT), (TINY_DIT, TRANSFORMER), (TINY_DIT, VAE), (TINY_CLIP, CLIP)],
    ids=["unet", "vae", "text", "transformer", "dit-vae", "clip"],
)
def test_weights_that_do_not_fit_are_named(spec, file, fault, tmp_path):
    folder = copy(spec, tmp_path)
    edit, words = FAULTS[fault]
    change(folder / file, edit)
    message = refused(folder)
    assert Path(file).name in message or "open_clip" in message
    if fault == "missing" and spec is TINY_CLIP:
        words = "missing "
    assert re.search(words, message), message


@pytest.mark.parametrize(("spec", "file"), [(TINY_SD, UNET), (TINY_DIT, TRANSFORMER), (TINY_CLIP, CLIP)])
def test_truncated_weights_are_named_with_their_size(spec, file, tmp_path):
    folder = copy(spec, tmp_path)
    whole = (folder / file).read_bytes()
    (folder / file).write_bytes(whole[:-7])
    assert f"it has {len(whole) - 7:,} of {len(whole):,} bytes" in refused(folder)
    for content in (b"", b"\x00" * 8, whole[:100], struct.pack("<Q", 1 << 62) + b"{}", b"no safetensors at all"):
        (folder / file).write_bytes(content)
        assert "truncated or not a safetensors file" in refused(folder) or content == b"\x00" * 8


def test_old_names_and_needless_tensors_of_real_checkpoints_are_no_fault(tmp_path):
    """Text encoders used to keep the numbers of their positions; autoencoders called their attention otherwise."""
    folder = copy(TINY_SD, tmp_path)
    change(
        folder / TEXT,
        lambda state: state.update(
            {"text_model.embeddings.position_ids": torch.arange(16)[None]}
            | {f"text_model.{name}": state.pop(name) for name in list(state)}
        ),
    )
    expected = sd_unet.load(Path(TINY_SD.repo)).texts[0].encoder.state_dict()
    loaded = sd_unet.load(folder).texts[0].encoder.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in expected.items())


def test_an_autoencoder_of_old_names_is_loaded(tmp_path):
    from diffusers import AutoencoderKL

    vae = AutoencoderKL(
        block_out_channels=(8, 16), norm_num_groups=4, latent_channels=4, down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip
    folder = copy(TINY_DIT, tmp_path)
    vae.save_pretrained(folder / "vae")
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

    def rename(state):
        for name in list(state):
            for new, former in old.items():
                if f".attentions.0.{new}." in name:
                    state[name.replace(f".{new}.", f".{former}.")] = state.pop(name)

    change(folder / VAE, rename)
    assert any(".proj_attn." in name for name in load_file(folder / VAE))
    loaded = dit_transformer.load(folder, "mine", print).vae.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in vae.state_dict().items())


@pytest.mark.parametrize(
    ("spec", "file", "changes"),
    [
        (TINY_SD, "unet/config.json", {"block_out_channels": [48_000_000, 96_000_000]}),
        (TINY_SD, "unet/config.json", {"layers_per_block": 10_000_000}),
        (TINY_SD, "vae/config.json", {"layers_per_block": 10_000_000}),
        (TINY_SD, "text_encoder/config.json", {"num_hidden_layers": 10_000_000}),
        (TINY_SD, "text_encoder/config.json", {"vocab_size": 100_000_000_000}),
        (TINY_DIT, "transformer/config.json", {"num_layers": 10_000_000}),
        (TINY_DIT, "transformer/config.json", {"sample_size": 1_000_000}),
        (TINY_DIT, "transformer/config.json", {"num_embeds_ada_norm": 100_000_000_000}),
    ],
)
def test_an_absurd_network_is_refused_before_it_is_built(spec, file, changes, tmp_path):
    folder = copy(spec, tmp_path)
    config = json.loads((folder / file).read_text()) | changes
    (folder / file).write_text(json.dumps(config))
    assert "config.json" in refused(folder)


@pytest.mark.parametrize(
    ("tower", "changes"),
    [
        ("vision_cfg", {"width": 128_000_000, "head_width": 32_000_000}),
        ("vision_cfg", {"layers": 10_000_000}),
        ("vision_cfg", {"image_size": 10_000_000}),
        ("text_cfg", {"layers": 10_000_000}),
        ("text_cfg", {"vocab_size": 100_000_000_000}),
        ("text_cfg", {"context_length": 10_000_000}),
        ("text_cfg", {"context_length": 24}),  # open_clip would resize the table without a word
        ("vision_cfg", {"image_size": 96}),
    ],
)
def test_an_open_clip_configuration_of_another_network_is_refused(tower, changes, tmp_path):
    folder = copy(TINY_CLIP, tmp_path)
    file = folder / "open_clip_config.json"
    config = json.loads(file.read_text())
    config["model_cfg"][tower] |= changes
    file.write_text(json.dumps(config))
    refused(folder)


def test_loading_an_open_clip_folder_says_nothing(caplog, capfd):
    load(Path(TINY_CLIP.repo))
    assert [record for record in caplog.records if record.levelname != "INFO"] == []
    assert capfd.readouterr() == ("", "")


def test_a_pickle_is_never_answered_with_advice_to_run_its_code(tmp_path):
    folder = copy(TINY_CLIP, tmp_path)
    (folder / CLIP).unlink()
    torch.save({"weight": Path("x")}, folder / "open_clip_pytorch_model.bin")
    assert "convert it to safetensors" in refused(folder)
    (folder / "open_clip_pytorch_model.bin").write_bytes(b"PK\x03\x04 truncated")
    assert "convert it to safetensors" in refused(folder)


def test_a_pickle_of_weights_alone_is_read(tmp_path):
    folder = copy(TINY_CLIP, tmp_path)
    torch.save(load_file(folder / CLIP), folder / "open_clip_pytorch_model.bin")
    (folder / CLIP).unlink()
    load(folder)


@pytest.mark.parametrize("value", [1, float("inf")])
def test_torchvision_weights_of_whole_numbers_or_none_are_refused(value, tmp_path):
    import torchvision

    state = torchvision.models.resnet18().state_dict()
    bias = state["fc.bias"]
    state["fc.bias"] = bias.int() if value == 1 else torch.full_like(bias, value)
    torch.save(state, tmp_path / "weights.pth")
    spec = replace(RESNET18, weights=tmp_path / "weights.pth")
    with pytest.raises(
        DataError, match=r"weights\.pth' has 1 of \d+ tensors (that are not floating|with NaN).*fc\.bias"
    ):
        spec.build(spec.source(), Runtime("cpu"))


def test_a_sum_that_overflows_is_no_fault():
    check_finite([("large", torch.full((4,), 3e38))], "the file")


def test_other_components_than_those_that_are_loaded_are_refused(tmp_path):
    folder = copy(TINY_SD, tmp_path)
    file = folder / "model_index.json"
    index = json.loads(file.read_text())
    for part, kind in (
        ("unet", "UNet3DConditionModel"),
        ("vae", "VQModel"),
        ("text_encoder", "RobertaSeriesModelWithTransformation"),
        ("controlnet", "ControlNetModel"),
    ):
        file.write_text(json.dumps(index | {part: ["diffusers", kind]}))
        assert kind in refused(folder)
    file.write_text(json.dumps(index))
    config = json.loads((folder / "unet/config.json").read_text())
    (folder / "unet/config.json").write_text(json.dumps(config | {"_class_name": "UNet3DConditionModel"}))
    assert "unet/config.json" in refused(folder)


def test_two_names_of_one_schedule_are_no_fault_and_of_two_are(tmp_path):
    folder = copy(TINY_SD, tmp_path)
    file = folder / "model_index.json"
    index = json.loads(file.read_text())
    file.write_text(json.dumps(index | {"scheduler": ["diffusers", "PNDMScheduler"]}))
    load(folder)
    file.write_text(json.dumps(index | {"scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"]}))
    assert "whose noise differs" in refused(folder)


@pytest.mark.parametrize(
    ("file", "changes", "words"),
    [
        ("scheduler/scheduler_config.json", {"num_train_timesteps": 10**12}, "num_train_timesteps"),
        ("scheduler/scheduler_config.json", {"num_train_timesteps": "many"}, "num_train_timesteps"),
        ("scheduler/scheduler_config.json", {"beta_start": "0.1"}, "has beta_start '0.1'"),
        ("unet/config.json", {"time_cond_proj_dim": 32}, "latent consistency model"),
    ],
)
def test_configurations_that_no_run_could_use_are_refused(file, changes, words, tmp_path):
    folder = copy(TINY_SD, tmp_path)
    (folder / file).write_text(json.dumps(json.loads((folder / file).read_text()) | changes))
    assert words in refused(folder)


def with_encoder(parts, encoder):
    return replace(parts, texts=(replace(parts.texts[0], encoder=encoder),))


def test_parts_that_do_not_belong_together_are_told_before_a_caption_is_encoded(tmp_path):
    parts = sd_unet.load(Path(TINY_SD.repo))
    encoder = parts.texts[0].encoder
    wider = type(encoder)(type(encoder.config)(**TEXT_CONFIG))
    with pytest.raises(DataError, match="text encoder of width 64 and a U-Net that attends to width 96"):
        sd_unet._check_is_supported(with_encoder(parts, wider))
    fewer = type(encoder)(type(encoder.config)(**TEXT_CONFIG | {"hidden_size": 96}))
    with pytest.raises(DataError, match="tokenizer of 153 tokens and a text encoder that knows 100"):
        sd_unet._check_is_supported(with_encoder(parts, fewer))


def test_float32_is_no_cure_for_what_is_float32():
    assert "float32" in nan_advice("float16")
    assert "float32" in nan_advice("bfloat16")
    assert "float32" not in nan_advice("float32")
    assert "float32" not in nan_advice(None)


# fp16 weights


def halved_folder(tmp_path):
    """A repository that has fp16 files alone."""
    folder = copy(TINY_SD, tmp_path)
    for name in (UNET, VAE, TEXT):
        file = folder / name
        save_file({key: tensor.half() for key, tensor in load_file(file).items()}, file)
        file.rename(file.with_name(file.name.replace(".safetensors", ".fp16.safetensors")))
    return folder


def test_fp16_weights_are_used_where_there_are_no_others_and_that_is_said(tmp_path):
    folder = halved_folder(tmp_path)
    said = []
    parts = sd_unet.load(folder, said.append)
    assert "unet, vae, text_encoder from the fp16 weights" in said[0]
    whole = sd_unet.load(Path(TINY_SD.repo))
    one, other = (network.network.state_dict() for network in (parts, whole))
    assert all(torch.equal(one[name], tensor) for name, tensor in other.items())  # tiny-sd is float16 on disk


def test_fp16_weights_are_not_opened_where_there_are_others(tmp_path):
    folder = copy(TINY_SD, tmp_path)
    (folder / UNET.replace(".safetensors", ".fp16.safetensors")).write_bytes(b"twin")
    opened = checkpoints.stable_diffusion(FileList.of_folder(folder), "mine")
    assert not any("fp16" in name for name in opened)
    load(folder)


def test_sharded_weights_are_opened_by_their_index(tmp_path):
    folder = copy(TINY_SD, tmp_path)
    loaded = sd_unet.load(folder).network
    shutil.rmtree(folder / "unet")
    loaded.save_pretrained(folder / "unet", max_shard_size="4MB")
    opened = checkpoints.stable_diffusion(FileList.of_folder(folder), "mine")
    assert sum("-of-" in name for name in opened) > 1
    assert "unet/diffusion_pytorch_model.safetensors.index.json" in opened
    one, other = (network.state_dict() for network in (sd_unet.load(folder).network, loaded))
    assert all(torch.equal(one[name], tensor) for name, tensor in other.items())
    assert stable_diffusion_at(str(folder)).source() is not None
