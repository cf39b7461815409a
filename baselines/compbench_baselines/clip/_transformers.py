"""Models of transformers with two towers, behind the face of open_clip's models, transforms and tokenizers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import PIL.Image
import torch
from torch import Tensor

from compbench_baselines.clip._borrowed import Borrowed

__all__ = ["Tokenize", "Transform", "borrowed"]


def borrowed(model: Any, padding: int | None = None) -> Borrowed:
    """A CLIP or SigLIP; a BLIP's or BLIP-2's contrastive half, where `padding` is the token to mask.

    A CLIP does not look at what follows its end of text, and SigLIPs were trained on padded captions without a mask.
    """
    encode_image, encode_text = _encoders(model, padding)
    size = getattr(model.config.vision_config, "image_size", 224)
    return Borrowed(model, encode_image, encode_text, SimpleNamespace(image_size=size), _context_length(model))


class Transform:
    """PIL image -> CHW, by an image processor of transformers; NaFlex: [patches, 3 · side² + 3], see `_unpacked`."""

    def __init__(self, image_processor: Any) -> None:
        self._image_processor = image_processor

    def __call__(self, image: PIL.Image.Image) -> Tensor:
        made = self._image_processor(images=image.convert("RGB"), return_tensors="pt")
        pixels: Tensor = made["pixel_values"][0]
        return _packed(pixels, made) if "spatial_shapes" in made else pixels


class Tokenize:
    """Captions -> [n, context_length] int64, padded to the whole context as SigLIP needs it and CLIP does not mind."""

    def __init__(
        self, model: Any, tokenizer: Any, *, padding_side: str | None = None, is_lower_case: bool = False
    ) -> None:
        self.tokenizer, self.context_length = tokenizer, _context_length(model)
        self._padding_side, self._is_lower_case = padding_side, is_lower_case

    def __call__(self, captions: Sequence[str], context_length: int) -> Tensor:
        texts = [caption.lower() for caption in captions] if self._is_lower_case else list(captions)
        side = {} if self._padding_side is None else {"padding_side": self._padding_side}
        tokens = self.tokenizer(
            texts, padding="max_length", truncation=True, max_length=context_length, return_tensors="pt", **side
        )
        return tokens["input_ids"]


def _encoders(model: Any, padding: int | None) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    kind = type(model).__name__
    if kind == "BlipForImageTextRetrieval":
        return partial(_blip_images, model), partial(_blip_texts, model, padding)
    if kind == "Blip2ForImageTextRetrieval":
        return partial(_blip2_images, model), partial(_blip2_texts, model, padding)
    if kind == "Siglip2Model":
        return lambda packed: _features(model.get_image_features(**_unpacked(packed))), partial(_texts, model)
    return lambda pixels: _features(model.get_image_features(pixel_values=pixels)), partial(_texts, model)


def _texts(model: Any, tokens: Tensor) -> Tensor:
    return _features(model.get_text_features(input_ids=tokens))


def _blip_images(model: Any, pixels: Tensor) -> Tensor:
    return model.vision_proj(model.vision_model(pixel_values=pixels).last_hidden_state[:, 0])


def _blip_texts(model: Any, padding: int | None, tokens: Tensor) -> Tensor:
    tokens, mask = _masked(tokens, padding)
    return model.text_proj(model.text_encoder(input_ids=tokens, attention_mask=mask).last_hidden_state[:, 0])


def _blip2_images(model: Any, pixels: Tensor) -> Tensor:
    """[n, queries, d]: the best query speaks for the image."""
    states = model.vision_model(pixel_values=pixels).last_hidden_state
    queries = model.query_tokens.expand(len(states), -1, -1)
    mask = torch.ones(states.shape[:-1], dtype=torch.long, device=states.device)
    found = model.qformer(query_embeds=queries, encoder_hidden_states=states, encoder_attention_mask=mask)
    return model.vision_projection(found.last_hidden_state.to(model.vision_projection.weight.dtype))


def _blip2_texts(model: Any, padding: int | None, tokens: Tensor) -> Tensor:
    tokens, mask = _masked(tokens, padding)
    found = model.qformer(query_embeds=model.embeddings(input_ids=tokens), query_length=0, attention_mask=mask)
    return model.text_projection(found.last_hidden_state[:, 0].to(model.text_projection.weight.dtype))


def _masked(tokens: Tensor, padding: int | None) -> tuple[Tensor, Tensor]:
    """[n, longest] twice: the tokens up to the longest caption, and 1 where a caption has one."""
    mask = tokens != padding
    longest = int(mask.any(0).nonzero().max()) + 1
    return tokens[:, :longest], mask[:, :longest].long()


def _packed(pixels: Tensor, made: Any) -> Tensor:
    """Patches, their mask and the grid's height and width side by side, since a picture is one tensor in a batch."""
    mask, grid = made["pixel_attention_mask"][0], made["spatial_shapes"][0]
    return torch.cat([pixels, mask[:, None].to(pixels.dtype), grid.to(pixels.dtype).expand(len(pixels), 2)], dim=1)


def _unpacked(packed: Tensor) -> dict[str, Tensor]:
    return {
        "pixel_values": packed[..., :-3],
        "pixel_attention_mask": packed[..., -3].round().long(),
        "spatial_shapes": packed[:, 0, -2:].round().long(),
    }


def _features(found: Any) -> Tensor:
    """The features: transformers before version 5 returns them as they are, later ones in an output."""
    return found if isinstance(found, Tensor) else found.pooler_output


def _context_length(model: Any) -> int:
    """The context length; in BLIP-2 the Q-Former's, which reads the captions (the language model does not)."""
    text = model.config.qformer_config if hasattr(model.config, "qformer_config") else model.config.text_config
    return int(text.max_position_embeddings)
