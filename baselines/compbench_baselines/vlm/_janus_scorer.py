"""Log-likelihoods of pictures' tokens under captions, each pair by one pass through Janus's language model.

A picture becomes tokens once, in float32 whatever the dtype of the language model. The prompt is the model's own for
generating an image; under the empty prompt its text is padding, as where the model was trained without a caption and as
its guidance does. Rows are padded on the left under a mask, so that the pictures of a batch stand at its end.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import transformers
from torch import Tensor

from compbench.core.aliases import Floats
from compbench.core.errors import DataError, RunError, nan_advice
from compbench.core.examples import Example, Image, Task
from compbench.core.image_transforms import on_white, upright
from compbench.core.measurements import Measurement, ScoreMatrix
from compbench.core.models import Cost, Runtime, Source
from compbench.diffusion.devices import fitting, pick_device
from compbench_baselines import hub_loading
from compbench_baselines.captions import check_words, quoted
from compbench_baselines.decoding import Decoders, decoders
from compbench_baselines.evaluations import of_images, of_pairs
from compbench_baselines.probing import first_readable, probed
from compbench_baselines.vlm._pair_scorer import padded_left
from compbench_baselines.vlm._text_prior_scorer import log_likelihoods
from compbench_baselines.windows import windows

__all__ = ["JanusScorer", "load"]

_BATCH_SIZE = {"cpu": 4}  # pairs; elsewhere 16
_BATCHES_A_WINDOW = 8  # of pairs, among which those of similar length are found
_BYTES_PER_SCORE = 32
_MOST_PAIRS = 4096  # of an example whose scores are stored by position too

Pair = tuple[Image, str]  # the empty caption is that of no example, it stands for the empty prompt


def load(source: Source, dtype: str, runtime: Runtime) -> tuple[Any, Any]:
    """The network, its image tokenizer in float32, and the processor."""
    folder, _ = hub_loading.fetched(source, runtime)
    network = hub_loading.load_network(transformers.JanusForConditionalGeneration, folder, dtype, runtime.say)
    network.model.vqmodel.float()
    return network, hub_loading.processor(folder)


@dataclass
class _Found:
    """The measured values of pairs that are still needed."""

    tokens: dict[Image, Tensor] = field(default_factory=dict[Image, Tensor])  # -> [T]
    scores: dict[Pair, float] = field(default_factory=dict[Pair, float])
    terms: dict[Pair, Tensor] = field(default_factory=dict[Pair, Tensor])  # -> [T], the summands of a score


class JanusScorer:
    """Each picture, each pair of a window and each picture under the empty prompt once."""

    def __init__(self, network: Any, processor: Any, runtime: Runtime) -> None:
        self.device = pick_device(runtime.device)
        self._network, self._processor = network.to(self.device), processor
        self._advance = runtime.advance
        self._say, self._batch_size = runtime.say, runtime.batch_size or _BATCH_SIZE.get(self.device.type, 16)
        self._n_tokens = int(network.config.vision_config.num_image_tokens)
        self._side = math.isqrt(self._n_tokens)
        self._longest = getattr(network.config.get_text_config(), "max_position_embeddings", None)
        self._check_template()
        self._prompts: dict[str, Tensor] = {"": self._empty_prompt()}

    def prepare(self, task: Task) -> None:
        """Say where scores are not stored by position."""
        if n := sum(not _is_by_position(example) for example in task.examples):
            self._say(
                f"{task.name}: {n} examples have more than {_MOST_PAIRS:,} pairs; their log-likelihoods are stored as "
                "sums, without those of each token that explain shows"
            )

    def scoring_cost(self, examples: Sequence[Example]) -> Cost:
        """Each pair and each picture under the empty prompt, as the first readable one takes."""
        example, image = first_readable(examples)
        self._prompts |= self._new_prompts([example])
        found, pair = _Found(), (image, example.captions[0])
        with decoders(self._say) as decoding:
            self._look_at([replace(example, images=(image,))], found, decoding)
        probe = probed(lambda n: self._terms([pair] * n, found.tokens, n), self._batch_size, self.device, self._say)
        self._batch_size = probe.batch_size
        n = of_pairs(examples, self._batch_size * _BATCHES_A_WINDOW, 1) + of_images(examples)
        sizes = [(len(example.images) * len(example.captions), _is_by_position(example)) for example in examples]
        n_bytes = sum(size * (_BYTES_PER_SCORE + 4 * self._n_tokens * is_by_position) for size, is_by_position in sizes)
        return Cost(n, n * probe.flops, n * probe.seconds, n_bytes)

    def score(self, examples: Sequence[Example], known: Mapping[str, Measurement]) -> Iterator[ScoreMatrix]:
        """Each example in turn, a window of them at a time."""
        uses = Counter(image for example in examples for image in set(example.images))
        found = _Found()
        with decoders(self._say) as decoding:
            for window in windows(examples, self._batch_size * _BATCHES_A_WINDOW, 1):
                self._prompts |= self._new_prompts(window)
                self._look_at(window, found, decoding)
                self._measure(window, found)
                for example in window:
                    uses.subtract(set(example.images))
                    yield self._matrix(example, found)
                _forget(found, {image for image in found.tokens if uses[image]})

    def _look_at(self, window: Sequence[Example], found: _Found, decoding: Decoders) -> None:
        """The tokens of the images that have none yet."""
        images = dict.fromkeys(image for example in window for image in example.images)
        new = [image for image in images if image not in found.tokens]
        size = self._batch_size
        batches = [new[start : start + size] for start in range(0, len(new), size)]
        for batch, pixels in decoding.decoded(batches, self._pixels):
            tokens: list[Tensor] = []
            while len(tokens) < len(batch):
                part, size = fitting(partial(self._tokens, pixels[len(tokens) :]), size, self.device, self._say)
                tokens += part
            found.tokens.update(zip(batch, tokens, strict=True))

    def _pixels(self, image: Image) -> Tensor:
        """[3, side, side] in [-1, 1], which is what the image tokenizer reads whatever the other tower's colours."""
        half = [0.5] * 3
        picture = on_white(upright(image.decode()))
        made = self._processor.image_processor(picture, image_mean=half, image_std=half, return_tensors="pt")
        return made["pixel_values"][0]

    @torch.inference_mode()
    def _tokens(self, pixels: Tensor, n: int) -> list[Tensor]:
        """[T] each.

        By the direction of the code, as the image tokenizer was trained and as it decodes; transformers' `encode` takes
        the distance to codes of any length, which gives other tokens.
        """
        vq = self._network.model.vqmodel
        codes = F.normalize(vq.quantize.embedding.weight, dim=-1)  # [vocabulary, d]
        seen = vq.quant_conv(vq.encoder(pixels[:n].to(self.device)))  # [n, d, h, w]
        tokens = (F.normalize(seen, dim=1).flatten(2).transpose(1, 2) @ codes.T).argmax(-1)  # [n, T]
        if tokens.shape[1] != self._n_tokens:
            raise DataError(
                f"a picture becomes {tokens.shape[1]:,} tokens by this model's image tokenizer and processor, and its "
                f"configuration says {self._n_tokens:,}; expected files that belong together"
            )
        return list(tokens.cpu())

    def _measure(self, window: Sequence[Example], found: _Found) -> None:
        """The pairs of a window that are not measured yet, those of similar length together."""
        kept = {pair for example in window if _is_by_position(example) for pair in _pairs(example) if pair[1]}
        pairs = dict.fromkeys(pair for example in window for pair in _pairs(example))
        new = [pair for pair in pairs if pair not in found.scores]
        new.sort(key=lambda pair: len(self._prompts[pair[1]]))
        while new:
            terms, self._batch_size = fitting(
                partial(self._terms, new, found.tokens), self._batch_size, self.device, self._say
            )
            self._advance(len(terms))
            sums = terms.sum(1, dtype=torch.float64).tolist()
            found.scores.update(zip(new, sums, strict=False))
            found.terms.update((pair, row) for pair, row in zip(new, terms, strict=False) if pair in kept)
            new = new[len(terms) :]

    @torch.inference_mode()
    def _terms(self, pairs: Sequence[Pair], tokens: Mapping[Image, Tensor], batch_size: int) -> Tensor:
        """[n, T] float32 on the CPU: the log-likelihood of each token after the prompt and the tokens before it."""
        pairs, network = pairs[:batch_size], self._network
        images = torch.stack([tokens[image] for image, _ in pairs]).to(self.device)
        words, mask = padded_left([self._prompts[caption] for _, caption in pairs], self.device)
        before = network.prepare_embeddings_for_image_generation(images[:, :-1])
        mask = F.pad(mask, (0, before.shape[1]), value=1)
        states = network.model.language_model(
            inputs_embeds=torch.cat([network.get_input_embeddings()(words), before], dim=1),
            attention_mask=mask,
            position_ids=(mask.cumsum(1) - 1).clamp(min=0),
            use_cache=False,
        ).last_hidden_state
        logits = network.model.generation_head(states[:, -self._n_tokens :])  # [n, T, vocabulary]
        return log_likelihoods(logits, images).cpu()

    def _matrix(self, example: Example, found: _Found) -> ScoreMatrix:
        """With the scores under the empty prompt, and by position where these are kept; RunError for NaN."""
        rows = [[found.scores[image, caption] for caption in (*example.captions, "")] for image in example.images]
        scores = np.array(rows)  # [I, C + 1]
        for i, c in np.argwhere(~np.isfinite(scores)):
            under = "the empty prompt" if c == len(example.captions) else f"caption {example.captions[c]!r}"
            raise RunError(
                f"example {example.id!r}: the log-likelihood of image {example.images[i].name!r} under {under} is "
                f"{scores[i, c]}; expected a number: {nan_advice(self._network.dtype)}"
            )
        return ScoreMatrix(example.id, scores[:, :-1], scores[:, -1], self._by_position(example, found))

    def _by_position(self, example: Example, found: _Found) -> Floats | None:
        """[I, C, h, w] float32, or None for an example of too many pairs."""
        if not _is_by_position(example):
            return None
        terms = [found.terms[image, caption] for image in example.images for caption in example.captions]
        return torch.stack(terms).view(*example.shape, self._side, self._side).numpy()

    def _new_prompts(self, window: Sequence[Example]) -> dict[str, Tensor]:
        """The tokens of each caption that was not met before; DataError for one that cannot be read as it is."""
        found: dict[str, Tensor] = {}
        for example in window:
            for caption in example.captions:
                if caption not in self._prompts and caption not in found:
                    found[caption] = self._prompt(example, caption)
        return found

    def _prompt(self, example: Example, caption: str) -> Tensor:
        where, processor = f"example {example.id!r}", self._processor
        if not caption.strip():
            raise DataError(f"{where} has an empty caption; expected words to score")
        marks = (processor.image_token, processor.image_start_token, processor.image_end_token)
        if spelled := [mark for mark in marks if mark in caption]:
            raise DataError(f"{where}: caption {caption!r} spells a token of pictures, {spelled[0]}")
        check_words(caption, processor.tokenizer)
        row = self._row(caption)
        n = len(row) + self._n_tokens - 1
        if self._longest is not None and n > self._longest:
            raise DataError(
                f"{where}: caption {quoted(caption)} and a picture make {n:,} tokens, and the context holds "
                f"{self._longest:,}; expected a model that reads them whole"
            )
        return row

    def _row(self, caption: str) -> Tensor:
        """[n] the tokens of the prompt that the model generates an image by, up to the one that begins an image."""
        made = self._processor(text=[self._rendered(caption)], generation_mode="image", return_tensors="pt")
        return made["input_ids"][0]

    def _rendered(self, caption: str) -> str:
        messages = [{"role": "user", "content": [{"type": "text", "text": caption}]}]
        return self._processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)

    def _empty_prompt(self) -> Tensor:
        """[n] the prompt of an empty caption, all but its beginning and that of the image replaced by padding."""
        tokenizer, row = self._processor.tokenizer, self._row("")
        marks = [tokenizer.bos_token_id, tokenizer.convert_tokens_to_ids(self._processor.image_start_token)]
        if tokenizer.pad_token_id is None:
            raise DataError("the tokenizer has no padding token, which takes the place of words in the empty prompt")
        is_mark = torch.isin(row, torch.tensor([mark for mark in marks if mark is not None]))
        return torch.where(is_mark, row, tokenizer.pad_token_id)

    def _check_template(self) -> None:
        """DataError for a model without a chat template, or with one that drops the caption."""
        if not getattr(self._processor, "chat_template", None):
            raise DataError("the model has no chat template; expected the one that it generates images by")
        caption = "a red circle"
        if caption not in (prompt := self._rendered(caption)):
            raise DataError(f"the chat template changes or drops the caption {caption!r}; it made {prompt[:200]!r}")


def _pairs(example: Example) -> list[Pair]:
    """Image by image under each caption and the empty prompt."""
    return [(image, caption) for image in example.images for caption in (*example.captions, "")]


def _is_by_position(example: Example) -> bool:
    return len(example.images) * len(example.captions) <= _MOST_PAIRS


def _forget(found: _Found, needed: set[Image]) -> None:
    """All but the tokens of images that are still needed, and the scores of these under the empty prompt."""
    found.tokens = {image: tokens for image, tokens in found.tokens.items() if image in needed}
    found.scores = {pair: score for pair, score in found.scores.items() if pair[0] in needed and not pair[1]}
    found.terms = {}
