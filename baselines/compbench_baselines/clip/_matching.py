"""Image-text matching heads: a score is the log-odds that image and caption match, by one soft-max over the head.

The head looks at both together, so each pair is a pass through the text side; an image goes through the vision tower
once. Pairs of several examples share a batch, ordered by the length of their captions. The probability that the head
gives is 1 / (1 + exp(-score)).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from compbench.core.aliases import Floats
from compbench.core.errors import DataError, RunError, nan_advice
from compbench.core.examples import Example, Image, Task
from compbench.core.image_transforms import opaque, trimmed
from compbench.core.measurements import Measurement, ScoreMatrix
from compbench.core.models import Cost, Runtime
from compbench.diffusion.devices import fitting
from compbench_baselines.clip._borrowed import evaluating
from compbench_baselines.clip._templates import templates_for
from compbench_baselines.clip._transformers import Transform
from compbench_baselines.decoding import Decoders, decoders
from compbench_baselines.evaluations import of_images, of_pairs
from compbench_baselines.probing import Probe, first_readable, probed
from compbench_baselines.windows import windows

__all__ = ["Matcher", "MatchingScorer", "matcher"]

_BATCH_SIZE = {"cpu": 16}  # pairs; elsewhere 64
_BATCHES_A_WINDOW = 8  # of pairs, among which those of similar length are found
_BYTES_PER_SCORE = 32

Pair = tuple[Image, str]


class Matcher(Protocol):
    """A network with an image-text matching head."""

    network: Any
    longest: int  # tokens of a caption

    def seen(self, pixels: Tensor) -> Tensor:
        """[n, patches, d] of pixels [n, c, h, w]."""
        ...

    def log_odds(self, seen: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        """[n] float32 of n images and n captions [n, longest], pair by pair."""
        ...


def matcher(network: Any) -> Matcher:
    """The matcher of a BLIP or a BLIP-2 of transformers."""
    return _Blip2(network) if hasattr(network, "qformer") else _Blip(network)


class MatchingScorer:
    """Log-odds of each pair, each image and each pair computed once within what is looked ahead."""

    def __init__(
        self,
        matcher: Matcher,
        transform: Transform,
        tokenizer: Any,
        device: torch.device,
        runtime: Runtime,
        templates: str = "none",
    ) -> None:
        self._matcher, self._transform, self._tokenizer = matcher, transform, tokenizer
        self.device, self._say, self._templates = device, runtime.say, templates
        self._advance = runtime.advance
        self._batch_size = runtime.batch_size or _BATCH_SIZE.get(device.type, 64)

    def prepare(self, task: Task) -> None:
        """Say that templates, where a data set has some, are for embeddings."""
        if templates_for(self._templates, task):
            self._say(f"{task.name}: a matching head cannot average over templates; it reads the task's own captions")

    def scoring_cost(self, examples: Sequence[Example]) -> Cost:
        """Each image and each distinct pair once, as the first readable ones take."""
        example, image = first_readable(examples)
        _refuse_empty_captions([example])
        tokens, _ = self._tokens([example])
        pixels = self._pixels(image)[None]
        with torch.inference_mode():
            seen = {image: self._seen(pixels, slice(0, 1))[0]}
            of_image = self._probed(lambda n: self._seen(pixels.expand(n, -1, -1, -1), slice(0, n)))
            pair = image, example.captions[0]
            of_pair = self._probed(lambda n: self._odds([pair] * n, seen, tokens, slice(0, n)))
        n_images, n_pairs = of_images(examples), of_pairs(examples, self._batch_size * _BATCHES_A_WINDOW)
        return Cost(
            evaluations=n_images + n_pairs,
            flops=n_images * of_image.flops + n_pairs * of_pair.flops,
            seconds=n_images * of_image.seconds + n_pairs * of_pair.seconds,
            bytes=_BYTES_PER_SCORE * sum(len(example.images) * len(example.captions) for example in examples),
        )

    def overlooked(self) -> frozenset[str]:
        """Its image processor does not look at either."""
        return frozenset({"orientation", "transparency"})

    def score(self, examples: Sequence[Example], known: Mapping[str, Measurement]) -> Iterator[ScoreMatrix]:
        """The log-odds of each example, a window of examples at a time."""
        _refuse_empty_captions(examples)
        n_cut = 0
        uses = Counter(image for example in examples for image in set(example.images))
        seen: dict[Image, Tensor] = {}  # -> [patches, d], until no later example needs it
        with decoders(self._say) as decoding:
            for window in windows(examples, self._batch_size * _BATCHES_A_WINDOW):
                self._look_at(window, seen, decoding)
                tokens, n_long = self._tokens(window)
                n_cut += n_long
                scores = self._scores(window, seen, tokens)
                for example in window:
                    uses.subtract(set(example.images))
                    yield ScoreMatrix(example.id, self._matrix(example, scores))
                for image in [image for image in seen if not uses[image]]:
                    del seen[image]
        if n_cut:
            are = "1 caption is" if n_cut == 1 else f"{n_cut:,} captions are"
            longest = self._matcher.longest
            self._say(f"{are} longer than the {longest} tokens that the model reads, and cut there")

    def _look_at(self, window: Sequence[Example], seen: dict[Image, Tensor], decoding: Decoders) -> None:
        """Put the images that are not among the seen ones there."""
        images = dict.fromkeys(image for example in window for image in example.images)
        new = [image for image in images if image not in seen]
        batches = [new[start : start + self._batch_size] for start in range(0, len(new), self._batch_size)]
        for batch, pixels in decoding.decoded(batches, self._pixels):
            seen.update(zip(batch, self._computed(len(batch), partial(self._seen, pixels)), strict=True))

    def _tokens(self, window: Sequence[Example]) -> tuple[dict[str, list[int]], int]:
        """The tokens of each caption, and how many captions were cut."""
        captions = list(dict.fromkeys(caption for example in window for caption in example.captions))
        found: list[list[int]] = self._tokenizer(captions)["input_ids"]
        longest = self._matcher.longest
        whole = {caption: row for caption, row in zip(captions, found, strict=True) if len(row) <= longest}
        long = [caption for caption in captions if caption not in whole]
        if long:
            cut: list[list[int]] = self._tokenizer(long, truncation=True, max_length=longest)["input_ids"]
            whole |= dict(zip(long, cut, strict=True))
        return whole, len(long)

    def _scores(
        self, window: Sequence[Example], seen: Mapping[Image, Tensor], tokens: Mapping[str, list[int]]
    ) -> dict[Pair, float]:
        """The log-odds of each distinct pair; captions of similar length share a batch."""
        pairs = list(
            dict.fromkeys(
                (image, caption) for example in window for image in example.images for caption in example.captions
            )
        )
        pairs.sort(key=lambda pair: len(tokens[pair[1]]))
        odds = self._computed(len(pairs), partial(self._odds, pairs, seen, tokens))
        return dict(zip(pairs, torch.stack(odds).tolist() if odds else [], strict=True))

    def _probed(self, run: Callable[[int], object]) -> Probe:
        with evaluating(self._matcher.network):
            probe = probed(run, self._batch_size, self.device, self._say)
        self._batch_size = probe.batch_size
        return probe

    @torch.inference_mode()
    def _computed(self, n: int, compute: Callable[[slice], Tensor]) -> list[Tensor]:
        """The rows of n items, a batch at a time; its size is halved when memory runs out."""
        rows: list[Tensor] = []
        with evaluating(self._matcher.network):
            while len(rows) < n:
                start = len(rows)
                batch, self._batch_size = fitting(
                    lambda size: compute(slice(start, start + size)),  # noqa: B023, called within the iteration
                    self._batch_size,
                    self.device,
                    self._say,
                )
                rows += list(batch)
                self._advance(len(batch))
        return rows

    def _pixels(self, image: Image) -> Tensor:
        size = self._matcher.network.config.vision_config.image_size
        return self._transform(opaque(trimmed(image.decode(), size)))

    def _seen(self, pixels: Tensor, batch: slice) -> Tensor:
        dtype = next(self._matcher.network.vision_model.parameters()).dtype
        return self._matcher.seen(pixels[batch].to(self.device, dtype))

    def _odds(
        self, pairs: Sequence[Pair], seen: Mapping[Image, Tensor], tokens: Mapping[str, list[int]], batch: slice
    ) -> Tensor:
        chosen = pairs[batch]
        rows = [torch.tensor(tokens[caption]) for _, caption in chosen]
        padded = pad_sequence(rows, batch_first=True, padding_value=self._tokenizer.pad_token_id or 0)
        mask = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)  # 0 where there is no caption
        images = torch.stack([seen[image] for image, _ in chosen])
        return self._matcher.log_odds(images, padded.to(self.device), mask.to(self.device))

    def _matrix(self, example: Example, scores: Mapping[Pair, float]) -> Floats:
        """[I, C] float64; RunError where one is not a number."""
        matrix = np.array([[scores[image, caption] for caption in example.captions] for image in example.images])
        for i, c in np.argwhere(~np.isfinite(matrix)):
            dtype = next(self._matcher.network.parameters()).dtype
            raise RunError(
                f"example {example.id!r}: the score of image {example.images[i].name!r} and caption "
                f"{example.captions[c]!r} is {matrix[i, c]}; expected a number: "
                f"{nan_advice(dtype)}"
            )
        return matrix


class _Blip:
    def __init__(self, network: Any) -> None:
        self.network = network
        self.longest = int(network.config.text_config.max_position_embeddings)

    def seen(self, pixels: Tensor) -> Tensor:
        return self.network.vision_model(pixel_values=pixels).last_hidden_state

    def log_odds(self, seen: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        words = self.network.text_encoder(
            input_ids=tokens,
            attention_mask=mask,
            encoder_hidden_states=seen,
            encoder_attention_mask=_all_of(seen),
        ).last_hidden_state
        return _log_odds(self.network.itm_head(words[:, 0]))


class _Blip2:
    """Each query has a head's answer of its own; they are averaged before the soft-max."""

    def __init__(self, network: Any) -> None:
        self.network = network
        self.longest = int(network.config.qformer_config.max_position_embeddings)

    def seen(self, pixels: Tensor) -> Tensor:
        return self.network.vision_model(pixel_values=pixels).last_hidden_state

    def log_odds(self, seen: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        queries = self.network.query_tokens.expand(len(seen), -1, -1)
        n_queries = queries.shape[1]
        words = self.network.qformer(
            query_embeds=self.network.embeddings(input_ids=tokens, query_embeds=queries),
            query_length=n_queries,
            attention_mask=torch.cat([_all_of(queries), mask], dim=1),
            encoder_hidden_states=seen,
            encoder_attention_mask=_all_of(seen),
        ).last_hidden_state
        head = self.network.itm_head
        return _log_odds(head(words[:, :n_queries].to(head.weight.dtype)).mean(1))


def _all_of(states: Tensor) -> Tensor:
    """A mask that hides none of [n, positions, d]."""
    return torch.ones(states.shape[:-1], dtype=torch.long, device=states.device)


def _log_odds(head: Tensor) -> Tensor:
    """[n] float32 of [n, 2], no match and match."""
    no, yes = head.float().unbind(-1)
    return yes - no


def _refuse_empty_captions(examples: Sequence[Example]) -> None:
    for example in examples:
        for number, caption in enumerate(example.captions):
            if not caption.strip():
                raise DataError(f"example {example.id!r}: caption {number} is empty; expected words to score")
