"""Log-likelihoods of captions under a causal language model, each distinct caption computed once.

A caption follows the token that begins a text and is not ended: neither that token nor an end is part of its score.
Rows are padded on the right, whatever the tokenizer would do, and what pads them is left out of the sum.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import transformers
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from compbench.core.errors import DataError, RunError, nan_advice
from compbench.core.examples import Example, Task
from compbench.core.measurements import Measurement, ScoreMatrix
from compbench.core.models import Cost, Runtime, Source
from compbench.diffusion.devices import fitting, pick_device
from compbench_baselines import hub_loading
from compbench_baselines.captions import check_words
from compbench_baselines.evaluations import of_captions
from compbench_baselines.probing import probed

__all__ = ["TextPriorScorer", "load", "log_likelihoods"]

_BATCH_SIZE = {"cpu": 16}  # captions; elsewhere 64
_BATCHES_A_WINDOW = 16  # of captions, among which those of similar length are found
_BYTES_PER_SCORE = 32


def load(source: Source, dtype: str, runtime: Runtime) -> tuple[Any, Any]:
    """The network and the tokenizer."""
    folder, _ = hub_loading.fetched(source, runtime)
    network = hub_loading.load_network(transformers.AutoModelForCausalLM, folder, dtype, runtime.say)
    return network, hub_loading.tokenizer(folder)


class TextPriorScorer:
    """The same scores for every image of an example."""

    def __init__(self, network: Any, tokenizer: Any, is_mean: bool, runtime: Runtime) -> None:
        self.device = pick_device(runtime.device)
        self._network, self._tokenizer = network.to(self.device), tokenizer
        self._is_mean, self._say, self._advance = is_mean, runtime.say, runtime.advance
        self._batch_size = runtime.batch_size or _BATCH_SIZE.get(self.device.type, 64)
        self._start = _start_of_text(tokenizer, runtime)
        self._longest = getattr(network.config.get_text_config(), "max_position_embeddings", None)
        self._known: dict[str, float] = {}

    def prepare(self, task: Task) -> None:
        if any(len(example.images) > 1 for example in task.examples):
            self._say(
                f"{task.name}: a text prior does not look at pictures, so pictures tie by construction: image and "
                f"group scores "
                "are 0, and so is a text score that asks for another caption with another picture"
            )

    def scoring_cost(self, examples: Sequence[Example]) -> Cost:
        """Each distinct caption once, as the first one takes."""
        row = self._row(examples[0], examples[0].captions[0])
        probe = probed(lambda n: self._log_likelihoods([row] * n, n), self._batch_size, self.device, self._say)
        self._batch_size, n = probe.batch_size, of_captions(examples)
        n_scores = sum(len(example.images) * len(example.captions) for example in examples)
        return Cost(n, n * probe.flops, n * probe.seconds, _BYTES_PER_SCORE * n_scores)

    def overlooked(self) -> frozenset[str]:
        """It looks at no picture."""
        return frozenset({"orientation", "transparency"})

    def score(self, examples: Sequence[Example], known: Mapping[str, Measurement]) -> Iterator[ScoreMatrix]:
        """Each example in turn; new captions wait until they fill some batches."""
        window: list[Example] = []
        new: dict[str, Tensor] = {}
        for example in examples:
            window.append(example)
            new |= {caption: self._row(example, caption) for caption in example.captions if caption not in self._known}
            if len(new) >= self._batch_size * _BATCHES_A_WINDOW:
                yield from self._scored(window, new)
                window, new = [], {}
        yield from self._scored(window, new)

    def _scored(self, window: Sequence[Example], new: Mapping[str, Tensor]) -> Iterator[ScoreMatrix]:
        captions = sorted(new, key=lambda caption: len(new[caption]))
        while captions:
            batch = partial(self._log_likelihoods, [new[caption] for caption in captions])
            found, self._batch_size = fitting(batch, self._batch_size, self.device, self._say)
            self._advance(len(found))
            self._known.update(zip(captions, found, strict=False))
            captions = captions[len(found) :]
        for example in window:
            scores = np.array([self._known[caption] for caption in example.captions])
            for number in np.flatnonzero(~np.isfinite(scores)):
                raise RunError(
                    f"example {example.id!r}: the log-likelihood of {example.captions[number]!r} is {scores[number]}; "
                    f"expected a number: {nan_advice(self._network.dtype)}"
                )
            yield ScoreMatrix(example.id, np.tile(scores, (len(example.images), 1)))

    def _row(self, example: Example, caption: str) -> Tensor:
        """[n] the beginning of a text and the tokens of a caption; DataError for one that is empty or too long."""
        tokens: list[int] = self._tokenizer(caption, add_special_tokens=False)["input_ids"]
        if not caption.strip() or not tokens:
            raise DataError(f"example {example.id!r} has an empty caption; expected words to score")
        check_words(caption, self._tokenizer)
        if self._longest is not None and len(tokens) >= self._longest:
            raise DataError(
                f"example {example.id!r}: a caption of {len(tokens):,} tokens does not fit the context of "
                f"{self._longest:,} tokens after the beginning of a text; expected a model that reads it whole"
            )
        return torch.tensor([self._start, *tokens])

    @torch.inference_mode()
    def _log_likelihoods(self, rows: Sequence[Tensor], batch_size: int) -> list[float]:
        rows = rows[:batch_size]
        tokens = pad_sequence(list(rows), batch_first=True).to(self.device)
        mask = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True).to(self.device)
        logits = self._network(input_ids=tokens, attention_mask=mask).logits
        found = log_likelihoods(logits[:, :-1], tokens[:, 1:])  # [n, longest - 1]
        total = (found * mask[:, 1:]).sum(1, dtype=torch.float64)
        return (total / mask[:, 1:].sum(1) if self._is_mean else total).tolist()


def log_likelihoods(logits: Tensor, tokens: Tensor) -> Tensor:
    """[n, length] float32 of logits [n, length, vocabulary], in whatever precision, and what came [n, length]."""
    return -F.cross_entropy(logits.float().transpose(1, 2), tokens, reduction="none")


def _start_of_text(tokenizer: Any, runtime: Runtime) -> int:
    """The token that every caption follows: that of a beginning, else of an end, which is said."""
    if tokenizer.bos_token_id is not None:
        return int(tokenizer.bos_token_id)
    if tokenizer.eos_token_id is None:
        raise DataError("the tokenizer has no token for the beginning or the end of a text")
    runtime.say(
        f"the tokenizer has no token for the beginning of a text, so captions follow that for the end of one, "
        f"{tokenizer.eos_token!r}"
    )
    return int(tokenizer.eos_token_id)
