"""The tokenizer of the small models: CLIP's byte-pair encoding over the words of their captions."""

from __future__ import annotations

from collections.abc import Iterable

from transformers import CLIPTokenizer

from compbench.tasks import scenes
from compbench.tasks.drawings import canvases
from compbench.tasks.drawings.sheets import PLURALS

__all__ = ["CONTEXT_LENGTH", "EMOJI_WORDS", "SCENE_WORDS", "make_tokenizer"]

CONTEXT_LENGTH = 16
_START, _END, _PAD = "<|startoftext|>", "<|endoftext|>", "<|pad|>"
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
_PLACES = ["on", "at", "in", "to", "of", "left", "right", "top", "bottom", "above", "below"]
_FILLERS = ["a", "an", "the", "and", "nothing", *_PLACES]
SCENE_WORDS = (*scenes.COLOURS, *scenes.SHAPES)
_EMOJI_COLOURS = [colour for colours in canvases.COLOURS_OF.values() for colour in colours]
# the nouns that training never shows are words too: they have a token each, which training never moves
EMOJI_WORDS = (*_EMOJI_COLOURS, *canvases.SIZES, *canvases.COUNTS, *PLURALS, *PLURALS.values())


def make_tokenizer(words: Iterable[str] = SCENE_WORDS) -> CLIPTokenizer:
    """A tokenizer with a token for each of `words` and of those that say where; other words are split into letters.

    The end token has the highest id, as in CLIP, whose text tower finds it by argmax.
    """
    known = sorted({*_FILLERS, *words})
    merges = list(dict.fromkeys(pair for word in known for pair in _merges_of(word)))
    pieces = [*_LETTERS, *(f"{letter}</w>" for letter in _LETTERS), *("".join(pair) for pair in merges)]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys([_PAD, *pieces, _START, _END]))}
    return CLIPTokenizer(
        vocab=vocabulary,
        merges=merges,  # pyright: ignore[reportArgumentType]  # pairs, as the tokenizers library takes them
        pad_token=_PAD,
        model_max_length=CONTEXT_LENGTH,
    )


def _merges_of(word: str) -> list[tuple[str, str]]:
    """The merges that build `word` letter by letter, from its end, so that words do not steal each other's."""
    letters = [*word[:-1], f"{word[-1]}</w>"]
    merges: list[tuple[str, str]] = []
    tail = letters[-1]
    for letter in reversed(letters[:-1]):
        merges.append((letter, tail))
        tail = letter + tail
    return merges
