"""The padding of Stable Diffusion 2, on the very files that its hub repositories hold."""

from __future__ import annotations

import json
from pathlib import Path

import open_clip
import pytest
from transformers import CLIPTokenizer

import published_layouts as published
from compbench.core.errors import DataError
from compbench.diffusion._tokenizers import load_tokenizer, padding_with, published_pad_token

START, END, PAD = 49406, 49407, 0  # of the text encoder that Stable Diffusion 2 was trained with, OpenCLIP's ViT-H-14


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    for name, content in published.sd2_tokenizer().items():
        (folder / name).write_bytes(content)
    return folder


def padded(tokenizer: CLIPTokenizer, text: str) -> list[int]:
    """As the denoiser asks for it."""
    ids = tokenizer([text], padding="max_length", truncation=True, max_length=77, return_tensors="pt").input_ids
    return ids[0].tolist()


def test_the_files_are_as_large_as_the_published_ones(folder: Path) -> None:
    sizes = {file.name: file.stat().st_size for file in folder.iterdir()}
    assert (sizes["special_tokens_map.json"], sizes["tokenizer_config.json"]) == (460, 929)
    assert round(sizes["merges.txt"], -3) == 525_000  # the hub's page says 525 kB
    assert len(json.loads((folder / "vocab.json").read_text(encoding="utf-8"))) == 49408


def test_captions_are_padded_with_the_exclamation_mark_whose_id_is_0(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    assert (tokenizer.pad_token, tokenizer.pad_token_id, tokenizer.model_max_length) == ("!", PAD, 77)
    assert padded(tokenizer, "a red circle") == [START, 320, 736, 7117, END, *[PAD] * 72]
    assert padded(tokenizer, "") == [START, END, *[PAD] * 75]


@pytest.mark.parametrize("text", ["an old person kisses a young person", "It's a café; 12 dogs, " * 20])
def test_the_ids_are_those_of_the_text_encoders_own_tokenizer(folder: Path, text: str) -> None:
    assert padded(load_tokenizer(folder), text) == open_clip.tokenize([text])[0].tolist()


def test_a_library_that_reads_another_padding_is_set_right(folder: Path) -> None:
    """As if it had taken tokenizer_config.json's word."""
    other = CLIPTokenizer.from_pretrained(folder, local_files_only=True, pad_token="<|endoftext|>")
    assert padded(other, "a red circle")[-1] == END
    assert padded(padding_with(other, "!", "x"), "a red circle") == [START, 320, 736, 7117, END, *[PAD] * 72]


def test_a_padding_outside_the_vocabulary_is_refused(folder: Path) -> None:
    tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    with pytest.raises(DataError, match=r"pads captions with '<nothing>', whose id is None in its vocabulary"):
        padding_with(tokenizer, "<nothing>", str(folder))


@pytest.mark.parametrize(
    ("config", "special", "token"),
    [
        ({"pad_token": "<|endoftext|>"}, {"pad_token": "!"}, "!"),  # Stable Diffusion 2
        ({"pad_token": "<|endoftext|>"}, {"pad_token": "<|endoftext|>"}, "<|endoftext|>"),  # and 1
        ({"pad_token": "!"}, {}, "!"),
        ({"pad_token": "!", "added_tokens_decoder": {}}, {"pad_token": "x"}, "!"),  # saved by a newer version
        ({}, {"pad_token": {"content": "!", "lstrip": False}}, "!"),
        ({}, {}, None),
    ],
)
def test_the_published_padding_is_read_as_old_and_new_versions_wrote_it(
    tmp_path: Path, config: object, special: object, token: str | None
) -> None:
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    if special:
        (tmp_path / "special_tokens_map.json").write_text(json.dumps(special))
    assert published_pad_token(tmp_path) == token
