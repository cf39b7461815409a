"""Texts that no text encoder can take: checked before anything is measured."""

from __future__ import annotations

from compbench.core.plain_text import half_character

__all__ = ["caption_fault"]

_LONGEST_CAPTION, _LONGEST_WORD = 100_000, 10_000  # characters: tokenizers take minutes over longer ones


def caption_fault(text: str) -> str:
    """Why a text cannot be a caption, as the end of a sentence about it; "" where it can.

    >>> caption_fault("a red hat"), caption_fault("  ")
    ('', 'is empty; expected words that describe an image')
    """
    if not text.strip():
        return "is empty; expected words that describe an image"
    if len(text) > _LONGEST_CAPTION:
        return (
            f"has {len(text):,} characters; expected at most {_LONGEST_CAPTION:,}, a text encoder reads only the "
            f"first few hundred: shorten it"
        )
    if len(text) > _LONGEST_WORD and len(longest := max(text.split(), key=len)) > _LONGEST_WORD:
        return f"has a word of {len(longest):,} characters, {longest[:20]!r}...; expected at most {_LONGEST_WORD:,}"
    if half := half_character(text):
        return f"holds half of a surrogate pair ({half}); expected whole characters"
    return ""
