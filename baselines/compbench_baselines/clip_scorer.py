"""Scores by cosine similarity of image and caption embeddings.

Each image of a run and each distinct caption is embedded once; embeddings are float32, cosines float64.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL.Image
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compbench.engine.devices import full_float32, halved, is_out_of_memory, pick_device
from compbench.types import (
    DataError,
    Example,
    Floats,
    Image,
    Measurement,
    RunError,
    Runtime,
    ScoreMatrix,
    Task,
)
from compbench_baselines.templates import class_embeddings, templates_for

__all__ = ["ClipScorer"]

_FIRST_BATCH_SIZE = {"cpu": 32}  # a batch fills the cores; elsewhere 256, halved where memory does not suffice
_MAX_DECODERS = 8
_MAX_CAPTIONS = 65_536  # remembered from one call to the next


@dataclass(frozen=True, slots=True)
class _Group:
    """Consecutive examples whose images, where not seen before, fill a batch."""

    examples: Sequence[Example]
    new_images: Sequence[Image]


class ClipScorer:
    """A model with `encode_image` and `encode_text`, and the transform and tokenizer it was trained with."""

    def __init__(
        self,
        model: nn.Module,
        transform: Callable[[PIL.Image.Image], Tensor],
        tokenize: Callable[..., Tensor],
        dtype: torch.dtype = torch.float32,
        *,
        device: torch.device,
        batch_size: int,
        say: Callable[[str], None] = lambda message: None,
        templates: str = "none",
    ) -> None:
        self.model: Any = model.to(device).eval()
        self.transform, self.tokenize, self.dtype = transform, tokenize, dtype
        self.device, self.batch_size = device, batch_size
        self._say = say
        self._captions: dict[str, Floats] = {}  # -> [d] float32 of unit length
        self._templates = templates
        self._ensembles: Mapping[str, Floats] = {}  # captions of a classification task, by what their class stands for

    @classmethod
    def on_device(
        cls,
        model: nn.Module,
        transform: Callable[[PIL.Image.Image], Tensor],
        tokenize: Callable[..., Tensor],
        dtype: str,
        runtime: Runtime,
        *,
        templates: str = "none",
    ) -> ClipScorer:
        """The scorer on the runtime's device."""
        device = pick_device(runtime.device)
        batch_size = runtime.batch_size or _FIRST_BATCH_SIZE.get(device.type, 256)
        return cls(
            model,
            transform,
            tokenize,
            getattr(torch, dtype),
            device=device,
            batch_size=batch_size,
            say=runtime.say,
            templates=templates,
        )

    def prepare(self, task: Task) -> None:
        """Embed the classes of a classification task where templates are used."""
        for caption in self._ensembles:  # of another task: there it stood for a class
            self._captions.pop(caption, None)
        chosen = templates_for(self._templates, task)
        self._ensembles = class_embeddings(task, chosen, self._embed_texts) if chosen else {}

    def score(self, examples: Sequence[Example], known: Mapping[str, Measurement]) -> Iterator[ScoreMatrix]:
        """The cosines of each example, group by group; an empty caption is found before anything runs."""
        _refuse_empty_captions(examples)
        if len(self._captions) > _MAX_CAPTIONS:
            self._captions.clear()
        self._captions.update(self._ensembles)
        self._note_long_captions(_distinct(caption for example in examples for caption in example.captions))
        images: dict[Image, Floats] = {}  # -> [d] float32 of unit length
        with ThreadPoolExecutor(min(_MAX_DECODERS, os.cpu_count() or 1)) as pool:
            for group, pixels in _decoded_ahead(_group(examples, self.batch_size), self.transform, pool):
                if pixels:
                    embedded = self._embed(self.model.encode_image, torch.stack(pixels).to(self.dtype))
                    images.update(zip(group.new_images, embedded, strict=True))
                self._embed_captions(group.examples)
                for example in group.examples:
                    yield ScoreMatrix(example.id, self._cosines(example, images))

    def _embed_captions(self, examples: Sequence[Example]) -> None:
        captions = _distinct(caption for example in examples for caption in example.captions)
        if new := [caption for caption in captions if caption not in self._captions]:
            self._captions.update(zip(new, self._embed_texts(new), strict=True))

    def _embed_texts(self, texts: Sequence[str]) -> Floats:
        return self._embed(self.model.encode_text, self.tokenize(list(texts)))

    @torch.inference_mode()
    def _embed(self, encode: Callable[[Tensor], Tensor], inputs: Tensor) -> Floats:
        """[n, d] float32 of unit length, in batches that are halved when memory runs out."""
        embedded: list[Tensor] = []
        start = 0
        with full_float32():
            while start < len(inputs):
                features = _try(encode, inputs[start : start + self.batch_size].to(self.device))
                if features is None:
                    self.batch_size = halved(self.batch_size, self.device, self._say)
                    continue
                embedded.append(features)
                start += len(features)
        return torch.cat(embedded).cpu().numpy()

    def _cosines(self, example: Example, images: Mapping[Image, Floats]) -> Floats:
        """[I, C] float64; RunError where one is not a number."""
        captions = np.stack([self._captions[caption] for caption in example.captions]).astype(np.float64)
        # summed row by row, not by a matrix product: equal captions then get equal bits, whatever their place
        scores = np.stack([(captions * images[image]).sum(-1) for image in example.images])
        for i, c in np.argwhere(~np.isfinite(scores)):
            raise RunError(
                f"example {example.id!r}: the score of image {example.images[i].name!r} and caption "
                f"{example.captions[c]!r} is {scores[i, c]}; expected a number: try --dtype float32, or fetch the "
                "weights again"
            )
        return scores

    def _note_long_captions(self, captions: Sequence[str]) -> None:
        fresh = [caption for caption in captions if caption not in self._captions]
        n_long, length = self._count_long(fresh)
        if n_long:
            self._say(
                f"{n_long} of {len(fresh)} captions are longer than the text encoder's context "
                f"({length} tokens); it reads their beginning"
            )

    def _count_long(self, captions: Sequence[str]) -> tuple[int, int]:
        """How many captions have more tokens than the context holds, and how many it holds."""
        length = int(getattr(self.tokenize, "context_length", None) or self.model.context_length)
        if not captions:
            return 0, length
        padding = getattr(getattr(self.tokenize, "tokenizer", None), "pad_token_id", None) or 0
        n_tokens, n_with_room = (
            (self.tokenize(list(captions), context_length=room) != padding).sum(1) for room in (length, length + 1)
        )
        return int((n_with_room > n_tokens).sum()), length


def _distinct(captions: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(captions))


def _refuse_empty_captions(examples: Iterable[Example]) -> None:
    for example in examples:
        for number, caption in enumerate(example.captions):
            if not caption.strip():
                raise DataError(f"example {example.id!r}: caption {number} is empty; expected words to score")


def _group(examples: Iterable[Example], n_images: int) -> Iterator[_Group]:
    """Groups of whole examples; an image is new in the first group that shows it."""
    seen: set[Image] = set()
    held: list[Example] = []
    new_images: dict[Image, None] = {}
    for example in examples:
        held.append(example)
        new_images.update((image, None) for image in example.images if image not in seen)
        if len(new_images) >= n_images:
            yield _Group(held, list(new_images))
            seen.update(new_images)
            held, new_images = [], {}
    if held:
        yield _Group(held, list(new_images))


def _decoded_ahead(
    groups: Iterable[_Group], transform: Callable[[PIL.Image.Image], Tensor], pool: ThreadPoolExecutor
) -> Iterator[tuple[_Group, list[Tensor]]]:
    """Each group and its pixels, while the next group is being decoded."""
    waiting: tuple[_Group, list[Future[Tensor]]] | None = None
    for group in groups:
        started = group, [pool.submit(_pixels, image, transform) for image in group.new_images]
        if waiting:
            yield waiting[0], [future.result() for future in waiting[1]]
        waiting = started
    if waiting:
        yield waiting[0], [future.result() for future in waiting[1]]


def _pixels(image: Image, transform: Callable[[PIL.Image.Image], Tensor]) -> Tensor:
    return transform(image.decode())


def _try(encode: Callable[[Tensor], Tensor], batch: Tensor) -> Tensor | None:
    """[b, d] float32 of unit length; None when memory ran out."""
    try:
        return F.normalize(encode(batch).float(), dim=-1)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return None
