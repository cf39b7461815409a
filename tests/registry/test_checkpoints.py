"""What a repository holds is told by its file list and its configurations, before any weight."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from compbench.core.errors import DataError, UsageError
from compbench.core.file_list import FileList
from compbench.diffusion.families import stable_diffusion
from compbench.diffusion.families.addresses import stable_diffusion_at
from compbench.diffusion.families.stable_diffusion import SD1_4, SD2, SD2_1, TINY_SD, StableDiffusion
from compbench.registry import checkpoints

INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": "0.8.0",
    "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
    "feature_extractor": ["transformers", "CLIPImageProcessor"],
    "requires_safety_checker": True,
    "scheduler": ["diffusers", "PNDMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}
UNET = {"_class_name": "UNet2DConditionModel", "_diffusers_version": "0.8.0", "in_channels": 4, "sample_size": 64}
VAE = {"_class_name": "AutoencoderKL", "latent_channels": 4, "block_out_channels": [128, 256, 512, 512]}
WEIGHTS = (
    "unet/diffusion_pytorch_model.safetensors",
    "vae/diffusion_pytorch_model.safetensors",
    "text_encoder/model.safetensors",
)


def listed(jsons, others=()):
    """A repository of some JSON files, and of others that must not be read."""

    def read(name):
        assert name in jsons, f"{name} was read"
        return json.dumps(jsons[name]).encode()

    return FileList("org/name", frozenset([*jsons, *others]), read)


def sd_like(index=None, unet=None, vae=None, weights=WEIGHTS, **more):
    jsons = {
        "model_index.json": INDEX | (index or {}),
        "unet/config.json": UNET | (unet or {}),
        "vae/config.json": VAE | (vae or {}),
        "text_encoder/config.json": {"architectures": ["CLIPTextModel"]},
        "scheduler/scheduler_config.json": {},
    }
    others = ("tokenizer/vocab.json", "tokenizer/merges.txt", "README.md", "v1-5.ckpt", "safety_checker/config.json")
    return listed(jsons | more, (*others, *weights))


def refused(files, of=checkpoints.stable_diffusion):
    with pytest.raises(DataError) as caught:
        of(files, "mine")
    return str(caught.value)


def test_the_files_of_stable_diffusion_are_those_that_are_opened():
    opened = checkpoints.stable_diffusion(sd_like(), "mine")
    assert set(WEIGHTS) < set(opened)
    assert not any(name.startswith("safety_checker") or name in ("README.md", "v1-5.ckpt") for name in opened)


@pytest.mark.parametrize(
    ("pipeline", "words"),
    [
        ("StableDiffusionXLPipeline", "is a StableDiffusionXLPipeline: SDXL, which --model diffusion:org/name runs"),
        ("StableDiffusionXLImg2ImgPipeline", "SDXL, which"),
        ("StableDiffusion3Pipeline", "Stable Diffusion 3, which --model diffusion:org/name runs"),
        ("FluxPipeline", "FLUX, which --model diffusion:org/name runs"),
        ("FluxKontextPipeline", "FLUX for editing pictures is not supported"),
        ("PixArtSigmaPipeline", "PixArt, which --model diffusion:org/name runs"),
        ("IFPipeline", "DeepFloyd IF is not supported"),
        ("DiTPipeline", "a DiT here"),
        (["latent_consistency_txt2img", "LatentConsistencyModelPipeline"], "latent consistency model"),
    ],
)
def test_another_family_is_called_by_its_name(pipeline, words):
    parts = {"transformer": ["diffusers", "X"], "text_encoder_2": ["transformers", "Y"]}
    message = refused(listed({"model_index.json": {"_class_name": pipeline} | parts}, ["transformer/weights.bin"]))
    assert words in message
    assert "Stable Diffusion 1 or 2" in message or "LCM" in message


def test_a_family_that_nobody_has_heard_of_is_called_by_its_pipeline():
    index = {"_class_name": "MyPipeline", "transformer": ["diffusers", "X"]}
    assert "is a MyPipeline and has no unet/" in refused(listed({"model_index.json": index}, ["transformer/w.bin"]))


def test_sdxl_in_the_clothes_of_stable_diffusion_is_told_by_its_second_text_encoder():
    index = {"text_encoder_2": ["transformers", "CLIPTextModelWithProjection"]}
    assert "has a text_encoder_2" in refused(sd_like(index))
    assert "as SDXL is; expected" in refused(sd_like(unet={"addition_embed_type": "text_time"}))


def test_networks_that_take_more_than_a_caption_are_told_by_their_configuration():
    assert "U-Net of 9 input channels on latents of 4" in refused(sd_like(unet={"in_channels": 9}))
    assert "latent consistency model (LCM)" in refused(sd_like(unet={"time_cond_proj_dim": 256}))
    assert "quantized" in refused(sd_like(unet={"quantization_config": {"load_in_8bit": True}}))


def test_a_pipeline_for_other_uses_of_the_same_networks_is_no_other_family():
    for pipeline in ("StableDiffusionImg2ImgPipeline", "StableDiffusionInpaintPipeline", "StableDiffusionPipelineSafe"):
        assert checkpoints.stable_diffusion(sd_like({"_class_name": pipeline}), "mine")


def test_pickles_alone_are_refused_before_they_are_fetched():
    bins = [name.replace(".safetensors", ".bin") for name in WEIGHTS]
    message = refused(sd_like(weights=bins))
    assert "diffusion_pytorch_model.bin in unet/" in message
    assert "safe_serialization=True" in message


def test_fp16_weights_alone_are_used_and_plain_ones_preferred():
    halves = [name.replace(".safetensors", ".fp16.safetensors") for name in WEIGHTS]
    opened = checkpoints.stable_diffusion(sd_like(weights=halves), "mine")
    assert set(halves) < set(opened)
    both = checkpoints.stable_diffusion(sd_like(weights=[*WEIGHTS, *halves]), "mine")
    assert not set(halves) & set(both)
    some = checkpoints.stable_diffusion(sd_like(weights=[halves[0], *WEIGHTS[1:]]), "mine")
    assert {halves[0], *WEIGHTS[1:]} < set(some)


def test_what_a_cache_happens_to_hold_does_not_decide_for_fp16():
    halves = [name.replace(".safetensors", ".fp16.safetensors") for name in WEIGHTS]
    assert "run once without --offline" in refused(replace(sd_like(weights=halves), is_whole=False))
    assert checkpoints.stable_diffusion(replace(sd_like(), is_whole=False), "mine")


SHARDS = "unet/diffusion_pytorch_model.safetensors.index.json"


@pytest.mark.parametrize(
    ("placed", "words"),
    [
        ({"a": "../../secret.safetensors"}, "names no files beside it (weight_map)"),
        (["a"], "names no files beside it (weight_map)"),
        ({"a": "x-00001-of-00002.safetensors"}, "names unet/x-00001-of-00002.safetensors, not there; fetch or copy"),
    ],
)
def test_an_index_whose_shards_are_elsewhere_or_nowhere_is_told_as_such(placed, words):
    message = refused(sd_like(weights=WEIGHTS[1:], **{SHARDS: {"weight_map": placed}}))
    assert "no whole unet/diffusion_pytorch_model.safetensors" in message
    assert words in message
    assert "other files can run code" not in message


def test_a_link_that_leads_to_no_file_is_told_as_such(tmp_path):
    """As in a cache that was pruned, or a folder that was copied without what its links lead to."""
    for file in (WEIGHTS[0], "vae/config.json"):
        folder = shutil.copytree(TINY_SD.repo, tmp_path / Path(file).parent.name)
        (folder / file).unlink()
        (folder / file).symlink_to(folder / file)
        assert f"{file}" in refused(FileList.of_folder(folder))
        assert "is a link that leads to no file" in refused(FileList.of_folder(folder))


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["v1-5-pruned-emaonly.safetensors"], "holds a single-file checkpoint (v1-5-pruned-emaonly.safetensors)"),
        (["model.ckpt", "README.md"], "from_single_file"),
        (
            ["pytorch_lora_weights.safetensors"],
            "holds a LoRA (pytorch_lora_weights.safetensors); a LoRA modifies another model",
        ),
        (["adapter_model.safetensors", "adapter_config.json"], "fuse_lora"),
        (["my-style-lora.safetensors"], "holds a LoRA"),
        (["README.md"], "has no unet/"),
        ([], "has no unet/"),
    ],
)
def test_what_is_no_pipeline_gets_a_sentence_of_its_own(names, words):
    assert words in refused(listed({}, names))


def test_a_folder_that_is_no_pipeline_gets_the_same_sentence_before_anything_is_loaded(tmp_path):
    (tmp_path / "v1-5.safetensors").write_bytes(b"x")
    with pytest.raises(UsageError, match="single-file checkpoint"):
        stable_diffusion_at(str(tmp_path)).source()
    with pytest.raises(UsageError, match="single-file checkpoint"):
        stable_diffusion_at(str(tmp_path / "v1-5.safetensors"))


def test_a_lora_in_one_file_is_told_by_its_tensors(tmp_path):
    save_file(
        {"lora_unet_down_blocks_0.lora_down.weight": np.zeros((2, 2), np.float32)}, tmp_path / "style.safetensors"
    )
    for address in (tmp_path, tmp_path / "style.safetensors"):
        with pytest.raises(UsageError, match=r"LoRA.*fuse_lora"):
            stable_diffusion_at(str(address)).source()


def test_a_dit_is_told_from_other_pipelines():
    assert "a Stable Diffusion here" in refused(sd_like(), checkpoints.dit)
    assert "has no transformer/config.json" in refused(listed({}), checkpoints.dit)


# the size of the pictures


def test_old_configurations_of_half_the_size_are_corrected_as_diffusers_does():
    sizes = {
        (32, "0.6.0"): (256, 512, 8),
        (32, "0.8.1.dev0"): (256, 512, 8),
        (32, "0.9.0"): (256, 256, 8),
        (32, None): (256, 256, 8),
        (64, "0.6.0"): (512, 512, 8),
        (96, "0.8.0"): (768, 768, 8),
    }
    for (side, version), expected in sizes.items():
        files = sd_like(unet={"sample_size": side, "_diffusers_version": version})
        assert checkpoints.sizes_px(files, "mine") == expected, (side, version)


@pytest.mark.parametrize("side", [None, "64", [64, 64], 0, -8, True, 1_000_000, 10**30])
def test_a_size_that_is_none_is_refused(side):
    with pytest.raises(DataError, match="has sample_size"):
        checkpoints.sizes_px(sd_like(unet={"sample_size": side}), "mine")


def settled(files, **options):
    return StableDiffusion("mine", "org/name", **options).with_files(lambda: files)


def test_the_size_is_part_of_the_identity_where_it_is_not_the_configured_one():
    old = sd_like(unet={"sample_size": 32, "_diffusers_version": "0.6.0"})
    assert settled(old).identity()["size_px"] == 512
    assert "size_px" not in settled(old, size_px=256).identity()  # what was measured before sizes were corrected
    assert "size_px" not in settled(sd_like()).identity()
    assert "size_px" not in settled(sd_like(), size_px=512).identity()
    assert settled(sd_like(), size_px=384).identity()["size_px"] == 384


def test_the_size_of_a_preset_is_known_without_its_files():
    def asked():
        raise AssertionError("the hub was asked")

    for spec, px in ((SD1_4, 512), (SD2, 512), (SD2_1, 768), (TINY_SD, 64)):
        assert spec.with_files(asked).identity() == spec.identity()
        assert replace(spec, size_px=px).with_files(asked).identity() == spec.identity()
        assert replace(spec, size_px=px * 2).with_files(asked).identity()["size_px"] == px * 2


@pytest.mark.parametrize("px", [0, -8, 5000, 10**12])
def test_an_absurd_size_is_refused_at_once(px):
    with pytest.raises(UsageError, match=f"size_px={px}; expected at most 4096"):
        replace(stable_diffusion.SD2, size_px=px)


def test_a_size_that_the_autoencoder_cannot_make_is_refused():
    with pytest.raises(UsageError, match="size_px=500; expected a multiple of 8"):
        settled(sd_like(), size_px=500)
