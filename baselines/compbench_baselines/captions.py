"""Captions as messages quote them, and those that a tokenizer does not read as words alone."""

from __future__ import annotations

from typing import Any

from compbench.core.errors import DataError

__all__ = ["check_words", "quoted"]

_MOST_QUOTED = 80  # letters


def quoted(caption: str) -> str:
    """The caption between quotes; the beginning of a long one.

    >>> quoted("a dog"), len(quoted("a dog " * 1000))
    ("'a dog'", 85)
    """
    return repr(caption if len(caption) <= _MOST_QUOTED else f"{caption[:_MOST_QUOTED]}...")


def check_words(caption: str, tokenizer: Any) -> None:
    """DataError for a caption that spells a token of no words, such as the end of a turn or a text."""
    added: dict[int, Any] = tokenizer.added_tokens_decoder
    for token in added.values():
        if token.special and str(token) in caption:
            raise DataError(
                f"caption {quoted(caption)} spells {str(token)!r}, which this model does not read as words; expected a "
                f"caption without it"
            )
