"""CLIP and SigLIP of transformers behind the face of open_clip's models, transforms and tokenizers."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import PIL.Image
from torch import Tensor

from compbench_baselines.clip._borrowed import Borrowed

__all__ = ["Tokenize", "Transform", "borrowed"]


def borrowed(model: Any) -> Borrowed:
    """A CLIPModel or SiglipModel; neither was trained with a mask over the padding that its captions need."""
    return Borrowed(
        model,
        lambda pixels: _features(model.get_image_features(pixel_values=pixels)),
        lambda tokens: _features(model.get_text_features(input_ids=tokens)),
        SimpleNamespace(image_size=model.config.vision_config.image_size),
        _context_length(model),
    )


class Transform:
    """PIL image -> CHW, by an image processor of transformers."""

    def __init__(self, image_processor: Any) -> None:
        self._image_processor = image_processor

    def __call__(self, image: PIL.Image.Image) -> Tensor:
        pixels: Tensor = self._image_processor(images=image.convert("RGB"), return_tensors="pt")["pixel_values"]
        return pixels[0]


class Tokenize:
    """Captions -> [n, context_length] int64, padded to the whole context as SigLIP needs it and CLIP does not mind."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.tokenizer, self.context_length = tokenizer, _context_length(model)

    def __call__(self, captions: Sequence[str], context_length: int) -> Tensor:
        tokens = self.tokenizer(
            list(captions), padding="max_length", truncation=True, max_length=context_length, return_tensors="pt"
        )
        return tokens["input_ids"]


def _features(found: Any) -> Tensor:
    """Of transformers before version 5 the features themselves, since then an output that holds them."""
    return found if isinstance(found, Tensor) else found.pooler_output


def _context_length(model: Any) -> int:
    return int(model.config.text_config.max_position_embeddings)
