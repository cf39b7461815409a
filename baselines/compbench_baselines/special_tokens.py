"""Captions that spell a token of no words, such as the end of a turn, which a tokenizer would take them for."""

from __future__ import annotations

from typing import Any

from compbench.core.errors import DataError

__all__ = ["check_words"]


def check_words(caption: str, tokenizer: Any) -> None:
    """DataError for a caption that a tokenizer of transformers does not read as words alone."""
    added: dict[int, Any] = tokenizer.added_tokens_decoder
    for token in added.values():
        if token.special and str(token) in caption:
            raise DataError(
                f"caption {caption!r} spells {str(token)!r}, which this model does not read as words; expected a "
                f"caption without it"
            )
