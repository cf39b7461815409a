"""Two pictures and three captions that vision-language models are tested on, and a way to take their mask away."""

from __future__ import annotations

from typing import Any

import numpy as np
import PIL.Image
import torch

from compbench import registry
from compbench.core.examples import Example, Image

__all__ = ["CAPTIONS", "PICTURES", "example", "unmasked"]

_NOISE = np.random.default_rng(0).integers(0, 256, (48, 24, 3), np.uint8)
PICTURES = [registry.task("shapes").examples[0].images[0].decode(), PIL.Image.fromarray(_NOISE)]
CAPTIONS = ["a circle", "a red circle to the left of a blue square", "Yes"]


def example() -> Example:
    images = tuple(Image(f"{number}", lambda picture=picture: picture) for number, picture in enumerate(PICTURES))
    return Example("0", images, tuple(CAPTIONS), np.eye(2, 3, dtype=bool))


def unmasked(network: Any) -> None:
    """From now on the network attends to what pads a row."""
    network.register_forward_pre_hook(
        lambda _, inputs, given: (inputs, {**given, "attention_mask": torch.ones_like(given["attention_mask"])}),
        with_kwargs=True,
    )
