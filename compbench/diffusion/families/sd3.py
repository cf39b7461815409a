"""Stable Diffusion 3 and 3.5: a transformer over latents and captions together, trained by flow matching.

Esser et al., "Scaling Rectified Flow Transformers for High-Resolution Image Synthesis", ICML 2024.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from compbench.core.errors import DataError
from compbench.core.file_list import FileList
from compbench.diffusion.families import _citations
from compbench.diffusion.families.text_to_image import TextToImage
from compbench.diffusion.pipeline import FlowFamily, Trained
from compbench.registry.checkpoints import Part
from compbench.registry.layouts import CLIP, T5, Layout, TextPart, n_tokens_of

if TYPE_CHECKING:
    from compbench.diffusion.denoiser import Conditioning
    from compbench.diffusion.parts import Parts, Text

__all__ = ["EMOJI_FLOW", "READS", "SD3_5_MEDIUM", "SD3_MEDIUM", "StableDiffusion3"]

_NETWORK = Part("transformer", "diffusion_pytorch_model", ("SD3Transformer2DModel",))
_WITH_PROJECTION = ("CLIPTextModelWithProjection",)
_FIRST = Part("text_encoder", "model", _WITH_PROJECTION, prefers_shards=False)
_SECOND = Part("text_encoder_2", "model", _WITH_PROJECTION, prefers_shards=False)
_T5 = Part("text_encoder_3", "model", ("T5EncoderModel",), prefers_shards=False)
_T5_TOKENS = 256  # of its part of a caption, zeros without it, unless model_index.json says otherwise
_T5_LENGTH = "_max_sequence_length"  # there: the pipeline's argument, under a name that diffusers passes over
_MOST_T5_TOKENS = 512


class SD3Family(FlowFamily):
    """It predicts the velocity eps - x_0."""

    name = "sd3"
    layout = Layout(
        ("StableDiffusion3Pipeline", "StableDiffusion3Img2ImgPipeline", "StableDiffusion3InpaintPipeline"),
        "Stable Diffusion 3",
        _NETWORK,
        (
            TextPart(_FIRST, "tokenizer", CLIP),
            TextPart(_SECOND, "tokenizer_2", CLIP),
            TextPart(_T5, "tokenizer_3", T5, _T5_TOKENS, left_out_by="t5=off"),
        ),
    )
    bibtex = _citations.SD3
    lora_loader = "SD3LoraLoaderMixin"

    def trained(self, files: FileList, name: str, left_out: Collection[str] = ()) -> Trained:
        _ = _t5_tokens(files.json("model_index.json"), name)  # DataError before anything of a grid is measured
        return super().trained(files, name, left_out)

    def load(
        self,
        folder: Path,
        name: str,
        say: Callable[[str], None],
        left_out: Collection[str] = (),
        dtype: str = "float32",
    ) -> Parts:
        parts = super().load(folder, name, say, left_out, dtype)
        n_tokens = _t5_tokens(parts.index, name)
        if n_tokens == 0 and any(text.is_large for text in parts.texts):
            raise DataError(f"model {name!r} has a T5, of which it reads 0 tokens ({_T5_LENGTH} in model_index.json)")
        texts = tuple(replace(text, length=n_tokens) if text.is_large else text for text in parts.texts)
        return replace(parts, texts=texts)

    def check(self, parts: Parts) -> None:
        from compbench.diffusion.parts import check_channels, check_vocabularies, check_width

        network = parts.network.config
        check_channels(parts, out=(1,))
        first, second, *rest = (text.encoder.config for text in parts.texts)
        given, taken = first.hidden_size + second.hidden_size, network["joint_attention_dim"]
        for t5 in rest:
            check_width(parts, max(given, t5.d_model), taken)
        if given > taken:  # a narrower one is filled up with zeros
            check_width(parts, given, taken)
        check_width(
            parts, first.projection_dim + second.projection_dim, network["pooled_projection_dim"], "pooled width"
        )
        check_vocabularies(parts)

    def conditioning(self, parts: Parts, captions: Sequence[str]) -> Conditioning:
        """The last hidden states but one of both CLIPs side by side, then the T5's, zeros without it; both pooled."""
        import torch

        def encoded(text: Text, **options: Any) -> list[Any]:
            return text.encoded(text.tokens(captions).input_ids, **options)

        first, second, *rest = parts.texts
        clips = [encoded(text, output_hidden_states=True) for text in (first, second)]
        states = torch.cat([torch.cat([some.hidden_states[-2] for some in clip]) for clip in clips], dim=-1)
        pooled = torch.cat([torch.cat([some[0] for some in clip]) for clip in clips], dim=-1)
        width = int(parts.network.config["joint_attention_dim"])
        of_t5 = [torch.cat([some[0] for some in encoded(text)]).to(states) for text in rest]
        of_t5 = of_t5 or [states.new_zeros(len(captions), _t5_tokens(parts.index, parts.name), width)]
        padded = torch.nn.functional.pad(states, (0, width - states.shape[-1]))
        return {"encoder_hidden_states": torch.cat([padded, *of_t5], dim=1), "pooled_projections": pooled}

    def shapes(self, config: Mapping[str, Any], files: FileList) -> Mapping[str, tuple[int, ...]]:
        n_tokens = n_tokens_of(files, _FIRST) + _t5_tokens(files.json("model_index.json"), files.where)
        states = (n_tokens, config["joint_attention_dim"])
        return {"encoder_hidden_states": states, "pooled_projections": (config["pooled_projection_dim"],)}


def _t5_tokens(index: Mapping[str, Any], name: str) -> int:
    """The number of tokens that the T5, or the zeros in its place, add to a caption; DataError for no such number."""
    given = index.get(_T5_LENGTH, _T5_TOKENS)
    if not isinstance(given, int) or isinstance(given, bool) or not 0 <= given <= _MOST_T5_TOKENS:
        raise DataError(
            f"model {name!r} has {_T5_LENGTH} {given!r} in model_index.json; expected a whole number from 0 to "
            f"{_MOST_T5_TOKENS}"
        )
    return given


@dataclass(frozen=True)
class StableDiffusion3(TextToImage):
    """Stable Diffusion 3 or 3.5, scored by the Diffusion Classifier; `t5` says whether its largest encoder is used.

    Options are those of Stable Diffusion, as for every later family.
    """

    t5: Literal["auto", "off"] = field(
        default="auto",
        metadata={
            "help": "off: only the two CLIPs read captions and the T5 is not fetched; such a run is separate. "
            "auto: used where the model has one"
        },
    )

    @property
    def protocols(self) -> tuple[str, ...]:
        return (*super().protocols, "self-bench")

    @property
    def left_out(self) -> tuple[str, ...]:
        return (_T5.name,) if self.t5 == "off" else ()


READS = ((StableDiffusion3, SD3Family()),)  # what makes the model of an address
SD3_MEDIUM = StableDiffusion3(
    "sd3-medium",
    "stabilityai/stable-diffusion-3-medium-diffusers",
    "ea42f8cef0f178587cf766dc8129abd379c90671",
    family=SD3Family(),
    known=Trained(1024, "flow", "shift 3 of 1-1000", step_px=16),
)
SD3_5_MEDIUM = StableDiffusion3(
    "sd3.5-medium",
    "stabilityai/stable-diffusion-3.5-medium",
    "b940f670f0eda2d07fbb75229e779da1ad11eb80",
    family=SD3Family(),
    known=Trained(1024, "flow", "shift 3 of 1-1000", step_px=16),
)
EMOJI_FLOW = StableDiffusion3(
    "emoji-flow",
    str(Path(__file__).parents[2] / "tiny" / "emoji-flow"),
    is_local=True,
    is_small=True,
    family=SD3Family(),
    known=Trained(64, "flow", "shift 3 of 1-1000", step_px=16, without=("text_encoder_3",)),
)
