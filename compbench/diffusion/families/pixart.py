"""PixArt-α and PixArt-Σ: a transformer that attends to a T5's hidden states, and predicts its own variance.

Chen et al., "PixArt-α: Fast Training of Diffusion Transformer for Photorealistic Text-to-Image Synthesis", ICLR 2024,
and "PixArt-Σ: Weak-to-Strong Training of Diffusion Transformer for 4K Text-to-Image Generation", ECCV 2024.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from compbench.core.file_list import FileList
from compbench.diffusion.families import _citations
from compbench.diffusion.families.text_to_image import TextToImage
from compbench.diffusion.pipeline import PipelineFamily, Trained
from compbench.registry.checkpoints import Part
from compbench.registry.layouts import T5, Layout, TextPart

if TYPE_CHECKING:
    from torch import Tensor

    from compbench.diffusion.denoiser import Conditioning
    from compbench.diffusion.parts import Parts

__all__ = ["PIXART_ALPHA", "PIXART_SIGMA", "READS"]

_NETWORK = Part("transformer", "diffusion_pytorch_model", ("PixArtTransformer2DModel", "Transformer2DModel"))
_T5 = Part("text_encoder", "model", ("T5EncoderModel",), prefers_shards=False)


def _layout(pipeline: str, words: str, n_tokens: int) -> Layout:
    return Layout((pipeline,), words, _NETWORK, (TextPart(_T5, "tokenizer", T5, n_tokens, is_lowered=True),))


class PixArtAlpha(PipelineFamily):
    """120 tokens; the network of 1024 px is told the size and the shape of the picture too."""

    name = "pixart-alpha"
    layout = _layout("PixArtAlphaPipeline", "PixArt-α", 120)
    bibtex = _citations.PIXART_ALPHA

    def check(self, parts: Parts) -> None:
        from compbench.diffusion.parts import check_channels, check_vocabularies, check_width

        check_channels(parts, out=(None, 1, 2))
        check_width(parts, parts.texts[0].encoder.config.d_model, parts.network.config["caption_channels"])
        check_vocabularies(parts)

    def conditioning(self, parts: Parts, captions: Sequence[str]) -> Conditioning:
        """The hidden states of the padded captions with their mask, and the picture's size where it is asked for."""
        import torch

        (text,) = parts.texts
        tokens = text.tokens(captions)
        states = torch.cat([tensor[0] for tensor in text.encoded(tokens.input_ids, tokens.attention_mask)])
        told = {"encoder_hidden_states": states, "encoder_attention_mask": tokens.attention_mask}
        if _is_told_sizes(parts.network.config):
            told["resolution"] = torch.full((len(captions), 2), float(parts.size_px))
            told["aspect_ratio"] = torch.ones(len(captions), 1)
        return told

    def shapes(self, config: Mapping[str, Any], files: FileList) -> Mapping[str, tuple[int, ...]]:
        n_tokens = self.layout.texts[0].length or 0
        sizes = {"resolution": (2,), "aspect_ratio": (1,)} if _is_told_sizes(config) else {}
        states = {"encoder_hidden_states": (n_tokens, config["caption_channels"])}
        return {**states, "encoder_attention_mask": (n_tokens,), **sizes}

    def predict(
        self, network: Callable[..., Any], noised: Tensor, timesteps: Tensor, conditioning: Conditioning
    ) -> Tensor:
        sizes = {name: conditioning.get(name) for name in ("resolution", "aspect_ratio")}
        texts = {name: conditioning[name] for name in ("encoder_hidden_states", "encoder_attention_mask")}
        return network(noised, timestep=timesteps, **texts, added_cond_kwargs=sizes, return_dict=False)[0]


class PixArtSigma(PixArtAlpha):
    """300 tokens, SDXL's autoencoder, and nothing besides the caption."""

    name = "pixart-sigma"
    layout = _layout("PixArtSigmaPipeline", "PixArt-Σ", 300)
    bibtex = _citations.PIXART_SIGMA


def _is_told_sizes(config: Any) -> bool:
    """As diffusers' network decides where its configuration leaves it open."""
    given = config.get("use_additional_conditions")
    return config["sample_size"] == 128 if given is None else bool(given)


READS = ((TextToImage, PixArtAlpha()), (TextToImage, PixArtSigma()))  # what makes the model of an address
PIXART_ALPHA = TextToImage(
    "pixart-alpha",
    "PixArt-alpha/PixArt-XL-2-1024-MS",
    "b89adadeccd9ead2adcb9fa2825d3fabec48d404",
    family=PixArtAlpha(),
    known=Trained(1024, "eps", "0-999", step_px=16),
)
PIXART_SIGMA = TextToImage(
    "pixart-sigma",
    "PixArt-alpha/PixArt-Sigma-XL-2-1024-MS",
    "e102b3591cc82e97071b8b4cb90d834d0c487207",
    family=PixArtSigma(),
    known=Trained(1024, "eps", "0-999", step_px=16),
)
