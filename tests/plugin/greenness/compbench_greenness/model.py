"""A model that knows one word: how green a picture is, for captions that say so."""

from dataclasses import dataclass

import numpy as np

from compbench import ModelSpec, ScoreMatrix


@dataclass(frozen=True)
class Greenness(ModelSpec):
    weight: float = 1.0  # a field is an option: -o weight=2

    def identity(self):
        return {"scorer": "greenness", "version": 1, "weight": self.weight}

    def build(self, source, runtime):
        return self

    def prepare(self, task): ...

    def score(self, examples, known):
        for example in examples:
            pixels = [np.asarray(image.decode().convert("RGB"), float).mean((0, 1)) for image in example.images]
            green = [2 * g - r - b for r, g, b in pixels]
            wanted = [1.0 if "green" in caption else -1.0 for caption in example.captions]
            yield ScoreMatrix(example.id, self.weight * np.outer(green, wanted))
