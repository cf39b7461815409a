"""The task `shape-classes`: one coloured shape in each picture, 24 classes, so that there is nothing to download.

The classes are all pairs of six colours and four shapes. The shape stands on the left and the prompts say so, "a red
circle on the left": the tiny models learned from captions that say where a thing is. (`--prompts FILE` takes others.)
An example is `unseen` when no training scene of the tiny models shows its combination: what they know of it they know
from its parts. The training split, 40 pictures a class, is for models that learn from one, and shows all 24.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from itertools import product
from pathlib import Path

import numpy as np
import PIL.Image

from compbench.core.examples import Classes, Example, Task
from compbench.core.metrics import CLASSIFYING
from compbench.tasks import places, scenes
from compbench.tasks._reading.digests import with_digests
from compbench.tasks.classification._data_sets import PromptFiles, chosen_prompts, examples_of
from compbench.tasks.classification._prompt_files import Prompts
from compbench.tasks.classification._splits import Picture, Split

__all__ = ["shape_classes"]

_CLASSES = tuple(scenes.Shape(colour, shape) for colour, shape in product(scenes.COLOURS, scenes.SHAPES))
_NAMES = tuple(f"{kind.colour} {kind.shape}" for kind in _CLASSES)
_N_EACH = {"test": 10, "train": 40}
_PLACE = "on the left"
_SEED = 0
# training scenes of the tiny models come from the streams 0 to 99 of their seed, those of `shapes` from 100 and 101
_STREAMS = {"test": 102, "train": 103}


def shape_classes(prompts: PromptFiles = None) -> Task:
    """The 240 examples; pictures are drawn when asked for."""
    own = Prompts(_NAMES, tuple(f"{kind} {_PLACE}" for kind in _CLASSES), tuple(range(len(_NAMES))))
    return _task(chosen_prompts(own, [(name,) for name in _NAMES], prompts))


@lru_cache(maxsize=4)
def _task(prompts: Prompts) -> Task:
    return Task(
        name="shape-classes",
        examples=with_digests(_examples("test", prompts), _origin()),
        metrics=CLASSIFYING,
        description=__doc__ or "",
        tag_order={"seen": ("seen", "unseen"), "class": _NAMES},
        classes=Classes(_NAMES, prompts.of_caption),
        training=lambda: _examples("train", prompts),
    )


def _examples(split: str, prompts: Prompts) -> Sequence[Example]:
    pictures = tuple(_pictures(split))
    made = examples_of(Split(pictures, None, ()), [f"{split}/{picture.name}" for picture in pictures], prompts)
    unseen = {name for name, kind in zip(_NAMES, _CLASSES, strict=True) if scenes.is_held_out(kind)}
    return tuple(
        replace(example, tags={"seen": ("unseen" if example.tags["class"][0] in unseen else "seen",), **example.tags})
        for example in made
    )


def _pictures(split: str) -> Iterator[Picture]:
    for label, shape in enumerate(_CLASSES):
        for number in range(_N_EACH[split]):
            name = f"{shape.colour}-{shape.shape}-{number:02d}.png"
            yield Picture(name, label, partial(_draw, shape, _SEED, _STREAMS[split], label, number))


def _draw(shape: scenes.Shape, *seed: int) -> PIL.Image.Image:
    return scenes.draw_alone(shape, np.random.default_rng(seed), _PLACE)


def _origin() -> list[str]:
    """All that the pixels come from: this code and the libraries that draw."""
    code = [Path(file).read_text(encoding="utf-8") for file in (__file__, scenes.__file__, places.__file__)]
    return [*code, PIL.__version__, np.__version__, platform.machine()]
