"""The tokenizers of a pipeline's folder: CLIP's, padding with the token of its publisher, T5's and Gemma's.

Stable Diffusion 2 names two: "<|endoftext|>" in tokenizer_config.json, and "!" (id 0), which its text encoder was
trained with, in special_tokens_map.json. transformers takes the second for folders as old as that, and calls it a
legacy reading. All tokens of a padded caption are attended to, so another padding is another error.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transformers import CLIPTokenizer, GemmaTokenizer, T5Tokenizer

from compbench.core.errors import DataError
from compbench.diffusion import _sentencepiece

__all__ = ["load_gemma_tokenizer", "load_t5_tokenizer", "load_tokenizer", "padding_with", "published_pad_token"]


def load_tokenizer(folder: Path) -> CLIPTokenizer:
    """The tokenizer in `folder`; DataError where its padding cannot be the published one."""
    tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    token = published_pad_token(folder)
    return tokenizer if token is None else padding_with(tokenizer, token, str(folder))


def load_t5_tokenizer(folder: Path) -> T5Tokenizer:
    """The tokenizer in `folder`, of tokenizer.json, or of the sentencepiece model that most repositories have alone."""
    if (folder / "tokenizer.json").is_file():
        return T5Tokenizer.from_pretrained(folder, local_files_only=True)
    if not (folder / "spiece.model").is_file():
        raise DataError(f"{str(folder)!r} has neither tokenizer.json nor spiece.model; fetch or copy it again")
    config = _json(folder / "tokenizer_config.json")
    pieces, charsmap = _sentencepiece.read(folder / "spiece.model")
    n_extra = int(config.get("extra_ids", 100))
    extra = [(f"<extra_id_{number}>", 0.0) for number in range(n_extra - 1, -1, -1)]
    return T5Tokenizer(
        vocab=[*pieces, *extra],
        _spm_precompiled_charsmap=charsmap,
        extra_ids=n_extra,
        model_max_length=config.get("model_max_length", 512),
    )


def load_gemma_tokenizer(folder: Path) -> GemmaTokenizer:
    """The tokenizer in `folder`, of tokenizer.json; padded on the right, as pipelines of pictures pad."""
    if not (folder / "tokenizer.json").is_file():
        raise DataError(f"{str(folder)!r} has no tokenizer.json; fetch or copy it again")
    return GemmaTokenizer.from_pretrained(folder, local_files_only=True, padding_side="right")


def published_pad_token(folder: Path) -> str | None:
    """The token that the folder's files pad with; None where they name none.

    Files that list their added tokens were written by a version that reads no other file; before that
    special_tokens_map.json had the last word.
    """
    config, special = (_json(folder / name) for name in ("tokenizer_config.json", "special_tokens_map.json"))
    named = config.get("pad_token")
    if "added_tokens_decoder" not in config:
        named = special.get("pad_token", named)
    return named.get("content") if isinstance(named, dict) else named


def padding_with(tokenizer: CLIPTokenizer, token: str, where: str) -> CLIPTokenizer:
    """The tokenizer, set to pad with `token` if it does not; DataError where `token` is not in its vocabulary."""
    if tokenizer.pad_token != token:
        tokenizer.pad_token = token
    number = tokenizer.get_vocab().get(token)
    if number is None or tokenizer.pad_token_id != number:
        raise DataError(
            f"{where!r} pads captions with {token!r}, whose id is {number} in its vocabulary, and this version of "
            f"transformers pads with id {tokenizer.pad_token_id}: expected the same; copy or fetch the model again, or "
            "install another version of transformers"
        )
    return tokenizer


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    content = json.loads(path.read_text(encoding="utf-8"))
    return content if isinstance(content, dict) else {}
