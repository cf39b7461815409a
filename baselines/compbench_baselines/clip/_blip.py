"""BLIP's matching head: scores are log-odds of a match, of each image and caption together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from compbench.core.aliases import Floats
from compbench.core.errors import DataError
from compbench.core.examples import Example, Task
from compbench.core.measurements import Measurement, ScoreMatrix
from compbench.core.models import Runtime
from compbench.diffusion import fitting
from compbench_baselines.clip._borrowed import evaluating
from compbench_baselines.clip._transformers import Transform

__all__ = ["BlipScorer"]

_BATCH_SIZE = {"cpu": 16}  # pairs; elsewhere 64


class BlipScorer:
    """A BlipForImageTextRetrieval with its matching head; an image is encoded once per example."""

    def __init__(
        self, model: Any, image_processor: Any, tokenizer: Any, device: torch.device, runtime: Runtime
    ) -> None:
        self._model, self._tokenizer, self._transform = model, tokenizer, Transform(image_processor)
        self.device, self._say = device, runtime.say
        self._batch_size = runtime.batch_size or _BATCH_SIZE.get(device.type, 64)
        self._longest = int(model.config.text_config.max_position_embeddings)

    def prepare(self, task: Task) -> None: ...

    def overlooked(self) -> frozenset[str]:
        """Its image processor does not look at either."""
        return frozenset({"orientation", "transparency"})

    def score(self, examples: Sequence[Example], known: Mapping[str, Measurement]) -> Iterator[ScoreMatrix]:
        """The log-odds of each example in turn."""
        n_cut = 0
        for example in examples:
            if any(not caption.strip() for caption in example.captions):
                raise DataError(f"example {example.id!r} has an empty caption; expected words to score")
            n_cut += self._n_cut(example.captions)
            yield ScoreMatrix(example.id, self._log_odds(example))
        if n_cut:
            self._say(f"{n_cut} captions are longer than the {self._longest} tokens that the model reads of each")

    def _n_cut(self, captions: Sequence[str]) -> int:
        return sum(len(tokens) > self._longest for tokens in self._tokenizer(list(captions))["input_ids"])

    @torch.inference_mode()
    def _log_odds(self, example: Example) -> Floats:
        """[I, C] float64."""
        tokens = self._tokenizer(
            list(example.captions), padding=True, truncation=True, max_length=self._longest, return_tensors="pt"
        ).to(self.device)
        dtype = next(self._model.vision_model.parameters()).dtype
        rows: list[Tensor] = []
        with evaluating(self._model):
            for image in example.images:
                pixels = self._transform(image.decode())[None].to(self.device, dtype)
                seen = self._model.vision_model(pixel_values=pixels).last_hidden_state  # [1, patches, d]
                rows.append(self._row(seen, tokens["input_ids"], tokens["attention_mask"]))
        return torch.stack(rows).cpu().numpy().astype(np.float64)

    def _row(self, seen: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        """[C] float32, of one image and all captions, a batch at a time."""
        found: list[Tensor] = []
        start = 0
        while start < len(tokens):
            batch = partial(self._matched, seen, tokens[start:], mask[start:])
            odds, self._batch_size = fitting(batch, self._batch_size, self.device, self._say)
            found.append(odds)
            start += len(odds)
        return torch.cat(found)

    def _matched(self, seen: Tensor, tokens: Tensor, mask: Tensor, batch_size: int) -> Tensor:
        tokens, mask = tokens[:batch_size], mask[:batch_size]
        patches = seen.expand(len(tokens), -1, -1)
        words = self._model.text_encoder(
            input_ids=tokens,
            attention_mask=mask,
            encoder_hidden_states=patches,
            encoder_attention_mask=torch.ones(patches.shape[:-1], dtype=torch.long, device=self.device),
        ).last_hidden_state
        no, yes = self._model.itm_head(words[:, 0, :]).float().unbind(-1)
        return yes - no
