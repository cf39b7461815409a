"""SDXL: Stable Diffusion's U-Net, told by two CLIPs, a pooled embedding, and the size and crop of the picture.

Podell et al., "SDXL: Improving Latent Diffusion Models for High-Resolution Image Synthesis", ICLR 2024.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from compbench.core.errors import DataError
from compbench.core.file_list import FileList
from compbench.diffusion.families import _citations
from compbench.diffusion.families.text_to_image import TextToImage
from compbench.diffusion.pipeline import PipelineFamily, Trained
from compbench.registry.checkpoints import TEXT_ENCODER, UNET, Part
from compbench.registry.layouts import CLIP, Layout, TextPart, n_tokens_of

if TYPE_CHECKING:
    from torch import Tensor

    from compbench.diffusion.denoiser import Conditioning
    from compbench.diffusion.parts import Parts

__all__ = ["FAMILY", "READS", "SDXL"]

_SECOND = Part("text_encoder_2", "model", ("CLIPTextModelWithProjection",), prefers_shards=False)


class SDXLFamily(PipelineFamily):
    """It predicts eps, v or x_0, as its scheduler's configuration says."""

    name = "sdxl"
    layout = Layout(
        ("StableDiffusionXLPipeline", "StableDiffusionXLImg2ImgPipeline", "StableDiffusionXLInpaintPipeline"),
        "SDXL",
        UNET,
        (TextPart(TEXT_ENCODER, "tokenizer", CLIP), TextPart(_SECOND, "tokenizer_2", CLIP)),
    )
    bibtex = _citations.SDXL
    lora_loader = "StableDiffusionXLLoraLoaderMixin"

    def check(self, parts: Parts) -> None:
        from compbench.diffusion.parts import check_channels, check_vocabularies, check_width

        name, unet = parts.name, parts.network.config
        check_channels(parts)
        if unet["addition_embed_type"] != "text_time" or unet["time_cond_proj_dim"] is not None:
            raise DataError(
                f"model {name!r} has a U-Net that takes {unet['addition_embed_type'] or 'nothing'} besides the "
                "caption, or a guidance scale; expected SDXL's own conditioning (text_time)"
            )
        first, second = (text.encoder.config for text in parts.texts)
        check_width(parts, first.hidden_size + second.hidden_size, unet["cross_attention_dim"])
        told = second.projection_dim + 6 * unet["addition_time_embed_dim"]
        check_width(parts, told, unet["projection_class_embeddings_input_dim"], "pooled width with sizes")
        check_vocabularies(parts)

    def conditioning(self, parts: Parts, captions: Sequence[str]) -> Conditioning:
        """The last hidden states but one of both encoders side by side, the second's pooled embedding, the sizes.

        The picture is told to be whole and as large as it is measured. No caption is zeros where the pipeline says so.
        """
        import torch

        encoded = [text.encoded(text.tokens(captions).input_ids, output_hidden_states=True) for text in parts.texts]
        states = torch.cat([torch.cat([output.hidden_states[-2] for output in of_text]) for of_text in encoded], dim=-1)
        pooled = torch.cat([output[0] for output in encoded[-1]])
        if parts.index.get("force_zeros_for_empty_prompt", True):
            is_empty = torch.tensor([not caption for caption in captions], device=states.device)
            states, pooled = states.masked_fill(is_empty[:, None, None], 0), pooled.masked_fill(is_empty[:, None], 0)
        sizes = [parts.size_px, parts.size_px, 0, 0, parts.size_px, parts.size_px]  # original, crop, target
        time_ids = torch.tensor([sizes] * len(captions), dtype=torch.float32)
        return {"encoder_hidden_states": states, "text_embeds": pooled, "time_ids": time_ids}

    def shapes(self, config: Mapping[str, Any], files: FileList) -> Mapping[str, tuple[int, ...]]:
        n_tokens, pooled = n_tokens_of(files, TEXT_ENCODER), config["projection_class_embeddings_input_dim"]
        return {
            "encoder_hidden_states": (n_tokens, config["cross_attention_dim"]),
            "text_embeds": (pooled - 6 * config["addition_time_embed_dim"],),
            "time_ids": (6,),
        }

    def predict(
        self, network: Callable[..., Any], noised: Tensor, timesteps: Tensor, conditioning: Conditioning
    ) -> Tensor:
        states = conditioning["encoder_hidden_states"]
        added = {name: conditioning[name] for name in ("text_embeds", "time_ids")}
        return network(noised, timesteps, encoder_hidden_states=states, added_cond_kwargs=added, return_dict=False)[0]


FAMILY = SDXLFamily()
READS = ((TextToImage, FAMILY),)  # what makes the model of an address
SDXL = TextToImage(
    "sdxl",
    "stabilityai/stable-diffusion-xl-base-1.0",
    "462165984030d82259a11f4367a4eed129e94a7b",
    family=FAMILY,
    known=Trained(1024, "eps", "0-999"),
)
