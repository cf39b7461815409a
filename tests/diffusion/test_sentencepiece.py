"""A T5's tokenizer from `spiece.model` alone, as PixArt's repositories have it."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import PixArtSigmaPipeline

import tiny_pipelines
from compbench import registry
from compbench.core.errors import DataError
from compbench.core.models import Runtime
from compbench.diffusion import _sentencepiece
from compbench.diffusion._tokenizers import load_t5_tokenizer
from compbench.diffusion.parts import Precision, Text

CAPTIONS = ["a red circle to the left of a square", "a zebra", "", "a  cross  "]


def _field(number: int, content: bytes) -> bytes:
    """A field of bytes in protocol buffers' wire format, written by hand."""
    length, n = b"", len(content)
    while n > 0x7F:
        length, n = length + bytes([n & 0x7F | 0x80]), n >> 7
    return bytes([number << 3 | 2]) + length + bytes([n]) + content


def spiece(pieces: list[tuple[str, float]], charsmap: bytes = b"") -> bytes:
    """A sentencepiece model: a trainer's settings of other kinds of fields stand between, to be passed over."""
    kind = bytes([3 << 3, 1])  # type: NORMAL, a whole number
    listed = b"".join(
        _field(1, _field(1, text.encode()) + bytes([2 << 3 | 5]) + struct.pack("<f", score) + kind)
        for text, score in pieces
    )
    trainer = _field(2, bytes([4 << 3, 0x80, 0x7D]) + bytes([5 << 3 | 1]) + bytes(8))  # a long number, a double
    return listed + trainer + _field(3, _field(1, b"nmt_nfkc") + _field(2, charsmap))


def test_the_pieces_by_hand(tmp_path: Path) -> None:
    (tmp_path / "spiece.model").write_bytes(spiece([("<pad>", 0.0), ("▁red", -1.5)], b"table"))
    assert _sentencepiece.read(tmp_path / "spiece.model") == ([("<pad>", 0.0), ("▁red", -1.5)], b"table")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "holds no vocabulary"),
        (b"\x0a\x7fabc", "is damaged"),
        (b"\x0b", "is damaged"),
        (b"\x80" * 12, "is damaged"),
        (b"\x0a\x04\x0a\x02\xff\xff", "is damaged"),
    ],
)
def test_what_is_no_sentencepiece_model_is_told(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "spiece.model").write_bytes(content)
    with pytest.raises(DataError, match=words):
        load_t5_tokenizer(tmp_path)


def test_a_folder_without_either_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"neither tokenizer.json nor spiece.model"):
        load_t5_tokenizer(tmp_path)


def test_it_reads_captions_as_the_same_vocabulary_in_tokenizer_json(tmp_path: Path) -> None:
    (tmp_path / "spiece.model").write_bytes(spiece(tiny_pipelines.t5_pieces()))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 99, "extra_ids": 100}))
    ours, its = load_t5_tokenizer(tmp_path), tiny_pipelines.t5_tokenizer()
    assert ours(CAPTIONS).input_ids == its(CAPTIONS).input_ids
    assert (ours.model_max_length, len(ours)) == (99, len(its))


def test_a_pipeline_with_the_model_alone_has_the_same_errors(tmp_path: Path) -> None:
    folder = tiny_pipelines.pixart(tmp_path / "model", PixArtSigmaPipeline)

    def errors() -> np.ndarray:
        _, spec = registry.model(f"diffusion:{folder}", {"dtype": "float32"})
        denoiser = spec.build(spec.source(), Runtime("cpu", 2)).denoiser  # type: ignore[attr-defined]
        latents = torch.ones(1, *denoiser.latent_shape)
        with torch.inference_mode():
            told = denoiser.encode_captions(CAPTIONS[:1])
            return denoiser.errors(latents, -latents, torch.tensor([500]), told, ("l2",)).numpy()

    before = errors()
    (folder / "tokenizer" / "tokenizer.json").unlink()
    (folder / "tokenizer" / "spiece.model").write_bytes(spiece(tiny_pipelines.t5_pieces()))
    assert np.array_equal(errors(), before)


def test_case_and_space_around_a_caption_are_not_read_by_a_pipeline_that_lowers_them() -> None:
    text = Text(tiny_pipelines.t5_tokenizer(), None, 20, spelled=lambda caption: caption.lower().strip())
    assert text.read([" A RED circle"]) == text.read(["a red circle"])


def test_a_t5_is_in_bfloat16_where_its_network_is_in_half_precision() -> None:
    large, small = (Text(None, None, 20, is_large=is_large) for is_large in (True, False))
    for network, expected in ((torch.float32,) * 2, (torch.float16, torch.bfloat16), (torch.bfloat16,) * 2):
        precision = Precision(network, encoders=torch.float32)
        assert (large.dtype(precision), small.dtype(precision)) == (expected, torch.float32)
