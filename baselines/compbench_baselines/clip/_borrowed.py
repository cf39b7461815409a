"""A user's model, used as it lies: in evaluation mode while a batch is computed, and afterwards as it was."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Borrowed", "evaluating"]


class Borrowed:
    """A user's model behind the face of open_clip's: never moved, and in evaluation mode while it computes alone."""

    def __init__(
        self,
        model: nn.Module,
        encode_image: Callable[[Tensor], Tensor],
        encode_text: Callable[[Tensor], Tensor],
        visual: Any,
        context_length: int | None,
    ) -> None:
        self._model, self._encode_image, self._encode_text = model, encode_image, encode_text
        self.visual, self.context_length = visual, context_length
        self.logit_scale, self.logit_bias = (getattr(model, name, None) for name in ("logit_scale", "logit_bias"))

    @classmethod
    def of_open_clip(cls, model: Any) -> Borrowed:
        return cls(
            model,
            model.encode_image,
            model.encode_text,
            getattr(model, "visual", None),
            getattr(model, "context_length", None),
        )

    def to(self, device: torch.device) -> Borrowed:
        return self

    def eval(self) -> Borrowed:
        return self

    def encode_image(self, pixels: Tensor) -> Tensor:
        with evaluating(self._model):
            return self._encode_image(pixels)

    def encode_text(self, tokens: Tensor) -> Tensor:
        with evaluating(self._model):
            return self._encode_text(tokens)


@contextmanager
def evaluating(model: nn.Module) -> Generator[None]:
    """All modules in evaluation mode and in their own precision, whatever autocast the caller is in; then as before."""
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    device = next(model.parameters()).device.type
    try:
        with torch.autocast(device, enabled=False):
            yield
    finally:
        for module in training:
            module.training = True
