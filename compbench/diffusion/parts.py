"""The parts of a diffusion pipeline that an error needs: a network, an autoencoder, what reads captions, a schedule."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self, TypeVar

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn

from compbench.core.errors import DataError
from compbench.diffusion.silence import quiet

__all__ = [
    "FP8",
    "Parts",
    "Precision",
    "Text",
    "check_channels",
    "check_vocabularies",
    "check_width",
    "dtype_name",
    "placed_on",
]

FP8 = torch.float8_e4m3fn
_CAPTIONS_AT_ONCE = 64

Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class Precision:
    """The dtype of each stage; what is not named is float32."""

    network: torch.dtype
    encoders: torch.dtype  # of the text encoders, and of the autoencoder unless it has its own
    arithmetic: torch.dtype = torch.float32  # schedule, noise, latents, x_t and errors
    own: torch.dtype | None = field(default=None, repr=False)  # of the autoencoder, where it has one
    is_tf32: bool = field(default=False, repr=False)  # whether the autoencoder multiplies float32 in TF32

    @property
    def autoencoder(self) -> torch.dtype:
        """The dtype of the autoencoder."""
        return self.encoders if self.own is None else self.own


@dataclass(frozen=True, slots=True)
class Text:
    """A text encoder and its tokenizer."""

    tokenizer: Any
    encoder: Any  # a network of transformers
    length: int  # of a padded caption in tokens, start and end among them
    is_large: bool = False  # a T5: in half precision where the network is
    spelled: Callable[[str], str] = str  # a caption as the tokenizer is given it
    name: str = "text_encoder"  # in model_index.json

    def tokens(self, captions: Sequence[str]) -> Any:
        """`input_ids` and `attention_mask` [C, length], padded, on the CPU."""
        return self.tokenizer(
            self._spelled(captions),
            padding="max_length",
            truncation=True,
            max_length=self.length,
            return_tensors="pt",
        )

    def encoded(self, ids: Tensor, mask: Tensor | None = None, **options: Any) -> list[Any]:
        """The encoder's outputs for rows of token ids, at most 64 rows each."""
        device = next(self.encoder.parameters()).device
        masks = [None] * len(ids) if mask is None else mask.to(device).split(_CAPTIONS_AT_ONCE)
        rows = zip(ids.to(device).split(_CAPTIONS_AT_ONCE), masks, strict=False)
        return [
            self.encoder(some, **({} if attention is None else {"attention_mask": attention}), **options)
            for some, attention in rows
        ]

    def read(self, captions: Sequence[str]) -> list[tuple[int, ...]]:
        """The tokens of each caption that the encoder sees, without padding."""
        with quiet():
            ids = self.tokenizer(self._spelled(captions), truncation=True, max_length=self.length).input_ids
        return [tuple(example_id) for example_id in ids]

    def is_too_long(self, captions: Sequence[str]) -> list[bool]:
        """Whether each caption has more tokens than the encoder takes, its start and end tokens included."""
        with quiet():  # the tokenizer warns of each
            ids = self.tokenizer(self._spelled(captions), truncation=False).input_ids
        return [len(example_id) > self.length for example_id in ids]

    def dtype(self, precision: Precision) -> torch.dtype:
        """Half precision is bfloat16 for a T5, whose numbers are too large for float16."""
        if not self.is_large or precision.network == torch.float32:
            return precision.encoders
        return torch.bfloat16

    def _spelled(self, captions: Sequence[str]) -> list[str]:
        return [self.spelled(caption) for caption in captions]

    @property
    def special(self) -> set[str]:
        """The tokens of a start and an end, as a caption could spell them."""
        ends: tuple[object, ...] = (self.tokenizer.bos_token, self.tokenizer.eos_token)
        return {end for end in ends if isinstance(end, str) and end}


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a pipeline that an error needs; on the CPU in float32 when loaded."""

    name: str  # of the model, for messages
    network: Any
    vae: Any
    texts: tuple[Text, ...] = ()  # none where a label takes the caption's place
    scheduler: Any = None  # of diffusers: only its configuration and its table are read
    index: Mapping[str, Any] = field(default_factory=dict[str, Any])  # model_index.json
    size_px: int = 0  # the side of the pictures that are measured, once that is known
    is_borrowed: bool = False  # they belong to the user: moved or cast copies are used, never themselves

    @property
    def grain(self) -> int:
        """The side in pixels of the square that becomes one latent."""
        config = self.vae.config  # of a KL autoencoder, or of a deep-compression one
        return 2 ** (len(config.get("block_out_channels") or config["encoder_block_out_channels"]) - 1)

    @property
    def kind(self) -> str:
        """A word for the network."""
        return "U-Net" if "UNet" in type(self.network).__name__ else "transformer"

    @property
    def trained(self) -> dict[str, Any]:
        """The network and the text encoders by their names in model_index.json: what fine-tunes change."""
        network = "unet" if self.kind == "U-Net" else "transformer"
        return {network: self.network, **{text.name: text.encoder for text in self.texts}}

    def placed(self, device: torch.device, precision: Precision, *, is_cramped: bool = False) -> Self:
        """The parts in evaluation mode on a device; borrowed ones are copied where they would have to change.

        `is_cramped`: the network and the text encoders are cast where they are, for there is no room for both.
        """

        def placed(module: Module, dtype: torch.dtype, *, stays: bool = is_cramped) -> Module:
            place = next(module.parameters()).device if stays else device
            return placed_on(module, place, dtype, self.is_borrowed)

        return replace(
            self,
            network=placed(self.network, precision.network),
            vae=placed(self.vae, precision.autoencoder, stays=False),
            texts=tuple(replace(text, encoder=placed(text.encoder, text.dtype(precision))) for text in self.texts),
        )

    def bytes_on(self, device: torch.device, precision: Precision) -> int:
        """Bytes that the weights that are not there yet take on a device."""
        sizes = [(self.network, precision.network), (self.vae, precision.autoencoder)]
        sizes += [(text.encoder, text.dtype(precision)) for text in self.texts]
        return sum(
            parameter.numel() * (parameter.dtype if parameter.dtype == FP8 else dtype).itemsize
            for module, dtype in sizes
            for parameter in module.parameters()
            if parameter.device != device
        )

    def read(self, captions: Sequence[str]) -> list[tuple[tuple[int, ...], ...]]:
        """The tokens of each caption that the text encoders see together."""
        return list(zip(*(text.read(captions) for text in self.texts), strict=True))

    def alike(self, captions: Sequence[str]) -> list[str]:
        """The captions that another one equals as far as the text encoders read them."""
        if not captions or not self.texts:
            return []
        read = self.read(captions)
        times = Counter(read)
        return [text for text, tokens in zip(captions, read, strict=True) if times[tokens] > 1]

    def too_long(self, captions: Sequence[str]) -> list[str]:
        """The captions of which one of the text encoders sees only the beginning."""
        if not captions or not self.texts:  # which a tokenizer does not take
            return []
        cut = zip(*(text.is_too_long(captions) for text in self.texts), strict=True)
        return [text for text, is_cut in zip(captions, cut, strict=True) if any(is_cut)]

    def special(self, captions: Sequence[str]) -> list[str]:
        """The captions that spell the token of a start or an end, which is not read as letters."""
        tokens = {token for text in self.texts for token in text.special}
        return [text for text in captions if any(token in text for token in tokens)]


def check_channels(parts: Parts, out: Collection[int | None] = (), packed: int = 1) -> None:
    """DataError where the network takes other latents than the autoencoder gives, as those that edit pictures do.

    `out`: how many times as many channels it may give, None where its configuration may leave that open. `packed`: the
    side of the square of latents that it takes as one.
    """
    config, n_latents = parts.network.config, int(parts.vae.config["latent_channels"]) * packed**2
    n_in, n_out = config["in_channels"], config["out_channels"]
    known = {None if times is None else times * n_latents for times in out}
    if n_in == n_latents and (not out or n_out in known):
        return
    gives, expected = "", f"{n_latents} in"
    if out:
        gives = f" and {n_out} output"
        expected += f" and {' or '.join(str(n) for n in sorted(known - {None}))} out"  # pyright: ignore
    raise DataError(
        f"model {parts.name!r} has a {parts.kind} of {n_in} input{gives} channels on latents of {n_latents}; expected "
        f"{expected}: inpainting, depth and editing models cannot be scored by their captions alone"
    )


def check_width(parts: Parts, given: int, taken: object, what: str = "width") -> None:
    """DataError where the text encoders give the network other than it takes; it may leave that open."""
    if isinstance(taken, int) and given != taken:
        encoders = "a text encoder" if len(parts.texts) == 1 else "text encoders"
        raise DataError(
            f"model {parts.name!r} has {encoders} of {what} {given} and a {parts.kind} that attends to {what} "
            f"{taken}; they do not belong together"
        )


def check_vocabularies(parts: Parts) -> None:
    """DataError where a tokenizer has tokens that its encoder does not know."""
    for text in parts.texts:
        n_tokens, n_known = len(text.tokenizer), int(text.encoder.config.vocab_size)
        if n_tokens > n_known:
            raise DataError(
                f"model {parts.name!r} has a tokenizer of {n_tokens:,} tokens and a text encoder that knows "
                f"{n_known:,}; they do not belong together"
            )


def dtype_name(dtype: torch.dtype) -> str:
    """
    >>> dtype_name(torch.bfloat16)
    'bfloat16'
    """
    return str(dtype).removeprefix("torch.")


def placed_on(module: Module, device: torch.device, dtype: torch.dtype, is_borrowed: bool) -> Module:
    """The module in evaluation mode on `device`; a borrowed one is copied where it would have to change.

    One that is held in fewer bits keeps them: it computes in the dtype that it was told then.
    """
    if any(parameter.dtype == FP8 for parameter in module.parameters()):
        return module.to(device).eval().requires_grad_(False)
    parameter = next(module.parameters())
    is_right = not module.training and parameter.dtype == dtype and parameter.device == device
    if is_borrowed and is_right:
        return module
    with quiet():
        module = (copy.deepcopy(module) if is_borrowed else module).to(device=device, dtype=dtype).eval()
    if device.type == "cuda" and isinstance(module, UNet2DConditionModel):
        module.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    return module.requires_grad_(False)
