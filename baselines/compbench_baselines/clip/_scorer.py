"""Scores by cosine similarity of image and caption embeddings.

Each distinct image (by its content, where that is known) and each distinct caption of a run is embedded once, in full
batches across examples; embeddings are float32 whatever the towers are, cosines float64.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from itertools import islice
from typing import Any, Generic, TypeVar

import numpy as np
import PIL.Image
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compbench.core.aliases import Floats
from compbench.core.errors import DataError, RunError, nan_advice
from compbench.core.examples import Example, Image, Task, Written
from compbench.core.image_transforms import opaque, trimmed
from compbench.core.measurements import Measurement, ScoreMatrix
from compbench.core.models import Runtime
from compbench.core.shared_images import one_per_content
from compbench.diffusion.devices import fitting, pick_device
from compbench_baselines.clip._templates import class_embeddings, templates_for
from compbench_baselines.decoding import Decoders, decoders

__all__ = ["ClipScorer", "default_batch_size"]

_BATCH_SIZE = {"cpu": 64}  # pictures of 224 px; elsewhere 256, halved where memory does not suffice
_SMALL_PICTURES = 8  # of them up to so many times as many make a batch
_CAPTIONS_A_PICTURE = 4  # in a batch: the text tower is the smaller one
_MAX_CAPTIONS = 65_536  # remembered from one call to the next

Key = TypeVar("Key", bound=Hashable)


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
        self._forget_what_was_read()

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
        batch_size = runtime.batch_size or default_batch_size(model, device)
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
        self._forget_what_was_read()
        self._ensembles = class_embeddings(task, chosen, self._embed_texts) if chosen else {}
        self._say_what_was_read("prompts")

    def overlooked(self) -> frozenset[str]:
        """The transform that the model was evaluated with by its authors does not look at either."""
        return frozenset({"orientation", "transparency"})

    def scale(self) -> Mapping[str, float]:
        """The scale and bias that the model applies to a cosine in its own loss."""
        scale, bias = (getattr(self.model, name, None) for name in ("logit_scale", "logit_bias"))
        told = {} if scale is None else {"logit_scale": float(scale.detach().float().exp())}
        return told if bias is None else {**told, "logit_bias": float(bias.detach().float())}

    def score(self, examples: Sequence[Example], known: Mapping[str, Measurement]) -> Iterator[ScoreMatrix]:
        """The cosines of each example as soon as it is embedded; an empty caption is found before anything runs."""
        examples = one_per_content(examples)
        _refuse_empty_captions(examples)
        if len(self._captions) > _MAX_CAPTIONS:
            self._captions.clear()
        self._captions.update(self._ensembles)
        self._forget_what_was_read()
        with decoders(self._say, is_cpu=self.device.type == "cpu") as decoding:
            written = [_written(example) for example in examples]
            pictures = [example.images for example, texts in zip(examples, written, strict=True) if not texts]
            images = _Embeddings(pictures, lambda keys: self._embed_images(keys, decoding))
            texts_of = [*(example.captions for example in examples), *filter(None, written)]
            captions = _Embeddings(texts_of, self._embed_captions, self._captions)
            for example, texts in zip(examples, written, strict=True):
                left = captions.of(texts) if texts else images.of(example.images)
                yield ScoreMatrix(example.id, _cosines(example, left, captions.of(example.captions), self.dtype))
        self._say_what_was_read("captions")

    def _forget_what_was_read(self) -> None:
        self._n_read = self._n_long = 0
        self._cut: Counter[bytes] = Counter()  # tokens of the captions that were cut -> how many
        self._special: list[str] = []  # captions that spell a special token

    def _read(self, captions: list[str]) -> Tensor:
        """The tokens of captions, or of the prompts of classes; how they are read is kept, to be said."""
        tokens, long = self._tokens(captions)
        self._n_read += len(captions)
        self._n_long += len(long)
        self._cut.update(tokens[n].numpy().tobytes() for n in long)
        self._special += [caption for caption in captions if self._spells_special(caption)]
        return tokens

    def _say_what_was_read(self, what: str) -> None:
        """Say how many captions or prompts were cut, and how many spell a special token of the tokenizer."""
        if self._n_long:
            n_alike = sum(n for n in self._cut.values() if n > 1)
            alike = f", and {n_alike} of them differ only after that: such {what} score the same" if n_alike else ""
            self._say(
                f"{self._n_long} of {self._n_read} {what} are longer than the text encoder's context "
                f"({self._context_length} tokens); it reads their beginning{alike}"
            )
        if self._special:
            self._say(
                f"{len(self._special)} of {self._n_read} {what} spell a special token of the tokenizer, which "
                f"reads it as that token, not as text: {self._special[0][:80]!r} the first"
            )

    def _embed_images(self, images: Iterable[Image], decoding: Decoders) -> Iterator[tuple[Sequence[Image], Floats]]:
        for batch, pixels in decoding.decoded(_batches(images, lambda: self.batch_size), self._pixels):
            yield batch, self._embed(self.model.encode_image, pixels)

    def _embed_captions(self, captions: Iterable[str]) -> Iterator[tuple[Sequence[str], Floats]]:
        for batch in _batches(captions, lambda: _CAPTIONS_A_PICTURE * self.batch_size):
            yield batch, self._embed(self.model.encode_text, self._read(batch), _CAPTIONS_A_PICTURE)

    def _embed_texts(self, texts: Sequence[str]) -> Floats:
        """[n, d] of unit length, for the prompts of classes."""
        return self._embed(self.model.encode_text, self._read(list(texts)), _CAPTIONS_A_PICTURE)

    def _pixels(self, image: Image) -> Tensor:
        return self.transform(opaque(trimmed(image.decode(), self._size_px))).to(self.dtype)

    @cached_property
    def _size_px(self) -> int:
        return _size_px(self.model)

    @torch.inference_mode()
    def _embed(self, encode: Callable[[Tensor], Tensor], inputs: Tensor, times: int = 1) -> Floats:
        """[n, d] float32 of unit length, `times` batch sizes at once; the size is halved when memory runs out."""
        embedded: list[Tensor] = []
        start = 0
        while start < len(inputs):
            batch = partial(_embedded, encode, inputs[start:], times, self.device)
            features, self.batch_size = fitting(batch, self.batch_size, self.device, self._say)
            embedded.append(features)
            start += len(features)
        return torch.cat(embedded).cpu().numpy()

    def _tokens(self, captions: list[str]) -> tuple[Tensor, list[int]]:
        """[n, context_length], and which captions have more tokens than that: those it cuts off."""
        length = self._context_length
        roomy = self._tokenized(captions, length + 1)
        used, tokens = self._n_used(roomy), roomy[:, :length].clone()
        # a tokenizer pads at the end, so only captions that fill the context have to be tokenized for it again
        near = (
            list(range(len(captions)))
            if self._is_closed_at_the_end
            else torch.nonzero(used >= length - 2)[:, 0].tolist()
        )
        if not near:
            return tokens, []
        tokens[near] = self._tokenized([captions[n] for n in near], length)
        is_cut = used[near] > self._n_used(tokens[near])
        return tokens, [n for n, cut in zip(near, is_cut.tolist(), strict=True) if cut]

    def _tokenized(self, captions: list[str], length: int) -> Tensor:
        return self.tokenize(captions, context_length=length)

    def _n_used(self, tokens: Tensor) -> Tensor:
        """[n]: up to where each row holds other tokens than padding."""
        padding = getattr(getattr(self.tokenize, "tokenizer", None), "pad_token_id", None) or 0
        return ((tokens != padding) * torch.arange(1, tokens.shape[1] + 1)).amax(1)

    def _spells_special(self, caption: str) -> bool:
        tokens, is_any_case = self._special_tokens
        text = caption.lower() if is_any_case else caption
        return any(token in text for token in tokens)

    @cached_property
    def _special_tokens(self) -> tuple[tuple[str, ...], bool]:
        """The texts that are read as the start or the end of a caption, and whether in capitals as well."""
        within = getattr(self.tokenize, "tokenizer", None)  # of transformers
        if within is not None:
            ends = (getattr(within, name, None) for name in ("bos_token", "eos_token", "cls_token", "sep_token"))
            return tuple(dict.fromkeys(end for end in ends if isinstance(end, str) and len(end) > 1)), False
        decoder = getattr(self.tokenize, "decoder", {})  # of open_clip
        return tuple(decoder[token] for token in getattr(self.tokenize, "all_special_ids", ())), True

    @cached_property
    def _context_length(self) -> int:
        return int(getattr(self.tokenize, "context_length", None) or self.model.context_length)

    @cached_property
    def _is_closed_at_the_end(self) -> bool:
        """Whether the last place of a row is taken even by a short caption: then more room moves it."""
        tight, roomy = (self._tokenized(["a"], self._context_length + room) for room in (0, 1))
        return not torch.equal(tight, roomy[:, :-1])


class _Embeddings(Generic[Key]):
    """Embeds each distinct item once, in full batches and in the order in which groups of them are asked for.

    What no group needs any more is forgotten, unless the caller's `kept` has room for all.
    """

    def __init__(
        self,
        groups: Sequence[tuple[Key, ...]],
        embed: Callable[[Iterable[Key]], Iterator[tuple[Sequence[Key], Floats]]],
        kept: dict[Key, Floats] | None = None,
    ) -> None:
        # one tuple is often shared by many examples: it is looked through once
        self._groups_left = Counter(map(id, groups))
        distinct = {id(group): group for group in groups}.values()
        self._uses_left = Counter(key for group in distinct for key in group)
        self._embedded: dict[Key, Floats] = {} if kept is None else kept
        self._batches = embed([key for key in self._uses_left if key not in self._embedded])
        self._is_kept = kept is not None and len(self._uses_left) <= _MAX_CAPTIONS
        self._last: tuple[tuple[Key, ...], Floats] | None = None

    def of(self, group: tuple[Key, ...]) -> Floats:
        """[n, d] float64 of a group, which is then done with."""
        if self._last is None or self._last[0] is not group:
            while any(key not in self._embedded for key in group):
                items, embedded = next(self._batches)
                self._embedded.update(zip(items, embedded, strict=True))
            self._last = group, np.stack([self._embedded[key] for key in group]).astype(np.float64)
        self._groups_left[id(group)] -= 1
        if not self._is_kept and not self._groups_left[id(group)]:
            self._uses_left.subtract(group)
            for key in dict.fromkeys(group):
                if not self._uses_left[key]:
                    del self._embedded[key]
        return self._last[1]


def _cosines(example: Example, images: Floats, captions: Floats, dtype: torch.dtype) -> Floats:
    """[I, C] float64; RunError where one is not a number."""
    # summed row by row, not by a matrix product: equal captions then get equal bits, whatever their place
    if images.ndim == 3:  # [I, queries, d]: the best query speaks for its image
        scores = np.stack([(captions[:, None] * queries).sum(-1).max(-1) for queries in images])
    else:
        scores = np.stack([(captions * image).sum(-1) for image in images])
    for i, c in np.argwhere(~np.isfinite(scores)):
        raise RunError(
            f"example {example.id!r}: the score of image {example.images[i].name!r} and caption "
            f"{example.captions[c]!r} is {scores[i, c]}; expected a number: "
            f"{nan_advice(dtype)}"
        )
    return scores


def _written(example: Example) -> tuple[str, ...]:
    """The captions that stand in its pictures' place."""
    return tuple(image.source.text for image in example.images if isinstance(image.source, Written))


def _refuse_empty_captions(examples: Iterable[Example]) -> None:
    seen: set[int] = set()
    for example in examples:
        if id(example.captions) in seen:
            continue
        seen.add(id(example.captions))
        for number, caption in enumerate(example.captions):
            if not caption.strip():
                raise DataError(f"example {example.id!r}: caption {number} is empty; expected words to score")


def default_batch_size(model: nn.Module, device: torch.device) -> int:
    """Pictures that keep the device busy: so many of 224 px, and more of small ones."""
    times = min(max((224 / _size_px(model)) ** 2, 1), _SMALL_PICTURES)
    return int(_BATCH_SIZE.get(device.type, 256) * times)


def _size_px(model: nn.Module) -> int:
    """The longer side of what the image tower takes."""
    size: Any = getattr(getattr(model, "visual", None), "image_size", 224)
    return max(size) if isinstance(size, tuple) else int(size)


def _batches(items: Iterable[Key], size: Callable[[], int]) -> Iterator[list[Key]]:
    """Batches as large as `size` says when each is begun."""
    left = iter(items)
    while batch := list(islice(left, size())):
        yield batch


def _embedded(
    encode: Callable[[Tensor], Tensor], inputs: Tensor, times: int, device: torch.device, batch_size: int
) -> Tensor:
    """[b, d] float32 of unit length, of the first `times` batch sizes of inputs."""
    return F.normalize(encode(inputs[: times * batch_size].to(device)).float(), dim=-1)
