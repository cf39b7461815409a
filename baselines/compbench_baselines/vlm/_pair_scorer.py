"""Pairs of a picture and a text by a vision-language model that looks at each picture once.

What a prompt has up to the end of its picture goes through the model once for each picture, and its keys and values
serve all captions: that is exact since no token looks ahead in the models listed. Each distinct pair is computed once;
pairs whose texts are of similar length share a batch, padded on the left under a mask.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from compbench.core.errors import DataError, RunError, UnreadableImage, nan_advice
from compbench.core.examples import Example, Image, Task
from compbench.core.image_transforms import opaque
from compbench.core.measurements import Measurement, ScoreMatrix
from compbench.core.models import Cost, Runtime, Source
from compbench.diffusion.devices import fitting, pick_device
from compbench_baselines import hub_loading
from compbench_baselines.captions import check_words, quoted
from compbench_baselines.evaluations import of_images_by_window, of_pairs
from compbench_baselines.probing import Probe, first_readable, probed
from compbench_baselines.windows import windows

__all__ = ["Pair", "PairScorer", "load", "padded_left"]

_BATCH_SIZE = {"cpu": 4}  # pairs; elsewhere 16
_BATCHES_A_WINDOW = 8  # of pairs, among which those of similar length are found
_BYTES_PER_SCORE = 32

Pair = tuple[Image, str]


def load(source: Source, dtype: str, runtime: Runtime) -> tuple[Any, Any]:
    """The network and the processor."""
    folder, _ = hub_loading.fetched(source, runtime)
    network = hub_loading.load_network(transformers.AutoModelForImageTextToText, folder, dtype, runtime.say)
    return network, hub_loading.processor(folder)


@dataclass(frozen=True)
class _Seen:
    """Pictures that went through the model."""

    row_of: Mapping[Image, int]
    cache: Any  # their keys and values, a picture a row
    mask: Tensor  # [pictures, longest] 0 where a row is padded
    behind: Tensor | None  # [pictures, 1]

    def keys_and_values(self, rows: Tensor) -> Any:
        """Those of some pictures, which a question may be added to."""
        chosen = transformers.DynamicCache()
        for number, layer in enumerate(self.cache.layers):
            chosen.update(layer.keys[rows], layer.values[rows], number)
        return chosen


class PairScorer:
    """Reads texts after pictures; subclasses say which texts, and the score by the logits there.

    The chat template is asked once, when the scorer is built, whether it lets the model see the picture.
    """

    _has_prefix = True  # whether a picture goes through the network by itself

    def __init__(self, network: Any, processor: Any, question: str, runtime: Runtime) -> None:
        self.device = pick_device(runtime.device)
        self._network, self._processor, self._question = network.to(self.device), processor, question
        self._advance = runtime.advance
        self._say, self._batch_size = runtime.say, runtime.batch_size or _BATCH_SIZE.get(self.device.type, 16)
        self._longest = getattr(network.config.get_text_config(), "max_position_embeddings", None)
        self._picture = processor.tokenizer.convert_tokens_to_ids(processor.image_token)
        # transformers renames it within its major version 5
        self._cache = "cache" if "cache" in inspect.signature(network.forward).parameters else "past_key_values"
        # Qwen's, of time, height and width
        self._has_own_positions = hasattr(getattr(network, "model", None), "rope_deltas")
        self._texts: dict[str, Tensor] = {}  # of the captions met
        self._check_template()

    def text(self, caption: str) -> Tensor:
        """[n] the tokens that follow the picture."""
        raise NotImplementedError

    def n_logits(self, captions: Sequence[str]) -> int:
        """Number of tokens at the end of these captions' texts whose logits are read."""
        raise NotImplementedError

    def by_logits(self, captions: Sequence[str], logits: Tensor) -> list[float]:
        """The scores of captions by logits [captions, n_logits, vocabulary]."""
        raise NotImplementedError

    def prepare(self, task: Task) -> None: ...

    def scoring_cost(self, examples: Sequence[Example]) -> Cost:
        """Each picture and each distinct pair once, as the first readable ones take."""
        example, image = first_readable(examples)
        caption = example.captions[0]
        self._texts |= {caption: self._checked(caption)}
        seen = self._look_at([image], 1)
        of_image = self._probed(lambda n: self._look_at([image] * n, n))
        of_pair = self._probed(lambda n: self._scores([(image, caption)] * n, seen, n))
        window = self._batch_size * _BATCHES_A_WINDOW
        n_images = of_images_by_window(examples, window) if self._has_prefix else 0
        n_pairs = of_pairs(examples, window)
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
        """Each example in turn, a window of them at a time."""
        for example in examples:
            if any(not caption.strip() for caption in example.captions):
                raise DataError(f"example {example.id!r} has an empty caption; expected words to score")
        for window in windows(examples, self._batch_size * _BATCHES_A_WINDOW):
            yield from self._scored(window)

    def _scored(self, window: Sequence[Example]) -> Iterator[ScoreMatrix]:
        images = list(dict.fromkeys(image for example in window for image in example.images))
        pairs = dict.fromkeys(
            (image, caption) for example in window for image in example.images for caption in example.captions
        )
        new = dict.fromkeys(caption for _, caption in pairs if caption not in self._texts)
        self._texts |= {caption: self._checked(caption) for caption in new}
        scores: dict[Pair, float] = {}
        while images:
            seen, self._batch_size = fitting(partial(self._look_at, images), self._batch_size, self.device, self._say)
            self._advance(len(seen.row_of) if self._has_prefix else 0)
            images = images[len(seen.row_of) :]
            own = [pair for pair in pairs if pair[0] in seen.row_of]
            scores |= self._answered(sorted(own, key=lambda pair: len(self._texts[pair[1]])), seen)
        for example in window:
            matrix = [[scores[image, caption] for caption in example.captions] for image in example.images]
            yield ScoreMatrix(example.id, np.array(matrix))

    def _answered(self, pairs: Sequence[Pair], seen: Any) -> dict[Pair, float]:
        scores: dict[Pair, float] = {}
        while len(scores) < len(pairs):
            batch = partial(self._scores, pairs[len(scores) :], seen)
            found, self._batch_size = fitting(batch, self._batch_size, self.device, self._say)
            self._advance(len(found))
            scores.update(zip(pairs[len(scores) :], found, strict=False))
        return scores

    def _probed(self, run: Callable[[int], object]) -> Probe:
        probe = probed(run, self._batch_size, self.device, self._say)
        self._batch_size = probe.batch_size
        return probe

    @torch.inference_mode()
    def _look_at(self, images: Sequence[Image], n: int) -> Any:
        """The first `n` images, each at the end of what all prompts begin with."""
        images = images[:n]
        prompt = self._rendered(self._question)
        inputs = self._processed(prompt, images)
        shape, n_after = inputs["input_ids"].shape, len(self._after_picture(prompt))
        if not n_after:
            raise DataError(
                f"the chat template ends with the picture, {prompt!r}; expected a turn for the answer after it"
            )
        before = {name: value[:, :-n_after] if value.shape == shape else value for name, value in inputs.items()}
        if not self._has_own_positions:  # else what pads a row would count
            before["position_ids"] = (before["attention_mask"].cumsum(1) - 1).clamp(min=0)
        cache = transformers.DynamicCache()
        self._network(**self._placed(before), **{self._cache: cache}, use_cache=True, logits_to_keep=1)
        # by how much the positions of text fall behind its count, since a picture takes few of them
        behind = self._network.model.rope_deltas if self._has_own_positions else None
        row_of = {image: row for row, image in enumerate(images)}
        return _Seen(row_of, cache, before["attention_mask"].to(self.device), behind)

    def _processed(self, prompt: str, images: Sequence[Image]) -> Any:
        """A prompt with each of the images; UnreadableImage for one that the model's image processor refuses."""
        try:
            return self._processor(
                text=[prompt] * len(images),
                images=[[opaque(image.decode()).convert("RGB")] for image in images],
                padding=True,
                padding_side="left",
                add_special_tokens=not self._is_begun(prompt),
                return_tensors="pt",
            )
        except ValueError as error:
            if isinstance(error, UnreadableImage):
                raise
            if len(images) > 1:
                for image in images:
                    self._processed(prompt, [image])
                raise
            (image,) = images
            width, height = image.decode().size
            raise UnreadableImage(
                image.name,
                f"image {image.name!r} of {width}x{height} pixels is refused by the model's image processor ({error})",
            ) from error

    @torch.inference_mode()
    def _scores(self, pairs: Sequence[Pair], seen: Any, batch_size: int) -> list[float]:
        pairs = pairs[:batch_size]
        captions = [caption for _, caption in pairs]
        logits = self._read(pairs, seen, [self._texts[caption] for caption in captions])
        found = self.by_logits(captions, logits)
        for (image, caption), score in zip(pairs, found, strict=True):
            if not np.isfinite(score):
                raise RunError(
                    f"the score of image {image.name!r} and caption {caption!r} is {score}; expected a number: "
                    f"{nan_advice(self._network.dtype)}"
                )
        return found

    def _read(self, pairs: Sequence[Pair], seen: Any, texts: Sequence[Tensor]) -> Tensor:
        """[n, n_logits, vocabulary] at the end of the texts of pairs."""
        rows = torch.tensor([seen.row_of[image] for image, _ in pairs], device=self.device)
        words, is_word = padded_left(texts, self.device)
        mask = torch.cat([seen.mask[rows], is_word], dim=1)
        self._check_lengths(pairs, mask)
        behind = None if seen.behind is None else seen.behind[rows]
        n_logits = self.n_logits([caption for _, caption in pairs])
        return self._logits(words, mask, behind, n_logits, seen.keys_and_values(rows))

    def _logits(
        self, words: Tensor, mask: Tensor, behind: Tensor | None, n_logits: int, cache: Any | None = None
    ) -> Tensor:
        """[n, n_logits, vocabulary] at the end of rows of words, after what the cache keeps."""
        positions = (mask.cumsum(1) - 1)[:, -words.shape[1] :].clamp(min=0)
        if self._has_own_positions:
            positions = positions if behind is None else positions + behind
            positions = positions[None].expand(3, -1, -1)  # time, height and width alike
        return self._network(
            input_ids=words,
            attention_mask=mask,
            position_ids=positions,
            logits_to_keep=n_logits,
            **({} if cache is None else {self._cache: cache}),
        ).logits

    def _after_picture(self, prompt: str) -> Tensor:
        """[n] the tokens of a prompt that follow its picture."""
        tokens = self._tokenized(prompt)
        (last,) = (tokens == self._picture).nonzero()[-1].tolist()
        return tokens[last + 1 :]

    def _tokenized(self, prompt: str) -> Tensor:
        """[n] all tokens of a prompt."""
        found = self._processor.tokenizer(prompt, add_special_tokens=not self._is_begun(prompt))
        return torch.tensor(found["input_ids"])

    def _is_begun(self, prompt: str) -> bool:
        """Whether the chat template wrote the beginning of a text, which the tokenizer would add once more."""
        beginning = self._processor.tokenizer.bos_token
        return bool(beginning) and prompt.startswith(beginning)

    def _placed(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """On the device, pixels in the dtype of the network."""
        return {
            name: value.to(self.device, self._network.dtype if value.is_floating_point() else value.dtype)
            for name, value in inputs.items()
        }

    def _checked(self, caption: str) -> Tensor:
        if self._processor.image_token in caption:
            raise DataError(f"caption {caption!r} spells the token of a picture, {self._processor.image_token}")
        check_words(caption, self._processor.tokenizer)
        return self.text(caption)

    def _rendered(self, question: str, is_seen: bool = True) -> str:
        """The prompt up to where the model answers; without a picture where it is not to see one."""
        content = [{"type": "image"}] if is_seen else []
        if question or not is_seen:
            content.append({"type": "text", "text": question})
        # a template that lets the model think first would move the answer to a later token
        thinking = {"enable_thinking": False} if "enable_thinking" in str(self._processor.chat_template) else {}
        return self._processor.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True, **thinking
        )

    def _check_template(self) -> None:
        """DataError for a chat template that drops the picture or the question."""
        if not getattr(self._processor, "chat_template", None):
            raise DataError(
                "the model has no chat template, so it cannot be asked a question; expected an instruction-tuned model"
            )
        question = self._question.replace("{}", "a red circle")
        prompt, token = self._rendered(question), self._processor.image_token
        if prompt.count(token) != 1:
            raise DataError(
                f"the chat template puts {prompt.count(token)} pictures ({token}) into a question about one, so "
                f"the model would answer without looking at it; expected the template that belongs to the model"
            )
        if question not in prompt:
            raise DataError(f"the chat template changes or drops the question {question!r}; it made {prompt[:200]!r}")

    def _check_lengths(self, pairs: Sequence[Pair], mask: Tensor) -> None:
        lengths = mask.sum(1).tolist()
        for (image, caption), length in zip(pairs, lengths, strict=True):
            if self._longest is not None and length > self._longest:
                raise DataError(
                    f"image {image.name!r} and caption {quoted(caption)} make {length:,} tokens, and the context holds "
                    f"{self._longest:,}; expected a model with a longer one, or smaller pictures by its image processor"
                )


def padded_left(rows: Sequence[Tensor], device: torch.device) -> tuple[Tensor, Tensor]:
    """[n, longest] rows padded on the left, and 1 where they are not."""
    backwards = [row.flip(0) for row in rows]
    words, is_word = (
        pad_sequence(padded, batch_first=True).flip(1).to(device)
        for padded in (backwards, [torch.ones_like(row) for row in backwards])
    )
    return words, is_word
