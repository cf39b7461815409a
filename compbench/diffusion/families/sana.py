"""Sana: a transformer of linear attention over latents that are shrunk by 32, told by a language model, Gemma 2.

Xie et al., "SANA: Efficient High-Resolution Image Synthesis with Linear Diffusion Transformers", ICLR 2025.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compbench.core.errors import DataError
from compbench.core.file_list import FileList
from compbench.diffusion.families import _citations
from compbench.diffusion.families.text_to_image import TextToImage
from compbench.diffusion.family import Timesteps
from compbench.diffusion.pipeline import SCHEDULER, FlowFamily, Trained, number_in, timesteps_in
from compbench.registry.checkpoints import Part
from compbench.registry.layouts import GEMMA, Layout, TextPart

if TYPE_CHECKING:
    from compbench.diffusion.denoiser import Conditioning
    from compbench.diffusion.parts import Parts

__all__ = ["FAMILY", "READS", "SANA"]

_NETWORK = Part("transformer", "diffusion_pytorch_model", ("SanaTransformer2DModel",))
_GEMMA = Part("text_encoder", "model", ("Gemma2Model",), prefers_shards=False)
_TOKENS = 300


class SanaFamily(FlowFamily):
    """It predicts the velocity eps - x_0; its scheduler is a solver that is told to take a flow's sigmas."""

    name = "sana"
    layout = Layout(
        ("SanaPipeline",),
        "Sana",
        _NETWORK,
        (TextPart(_GEMMA, "tokenizer", GEMMA, _TOKENS, is_lowered=True),),
        vae=Part("vae", "diffusion_pytorch_model", ("AutoencoderDC",)),
    )
    bibtex = _citations.SANA
    lora_loader = "SanaLoraLoaderMixin"

    def load(
        self,
        folder: Path,
        name: str,
        say: Callable[[str], None],
        left_out: Collection[str] = (),
        dtype: str = "float32",
    ) -> Parts:
        say(f"{name}: captions are read as they are, without the instruction that its pipeline puts before a prompt")
        return super().load(folder, name, say, left_out, dtype)

    def check(self, parts: Parts) -> None:
        from compbench.diffusion.parts import check_channels, check_vocabularies, check_width

        network = parts.network.config
        check_channels(parts, out=(None, 1, 2))
        check_width(parts, parts.texts[0].encoder.config.hidden_size, network["caption_channels"])
        check_vocabularies(parts)
        if network.get("guidance_embeds") or network.get("timestep_scale", 1.0) != 1.0:
            raise DataError(
                f"model {parts.name!r} has a transformer that is told a guidance, or timesteps of another scale, as "
                "SANA-Sprint is; expected Sana's own conditioning"
            )

    def conditioning(self, parts: Parts, captions: Sequence[str]) -> Conditioning:
        """The hidden states of the padded captions with their mask."""
        import torch

        (text,) = parts.texts
        tokens = text.tokens(captions)
        outputs = text.encoded(tokens.input_ids, tokens.attention_mask, use_cache=False)
        states = torch.cat([output[0] for output in outputs])
        return {"encoder_hidden_states": states, "encoder_attention_mask": tokens.attention_mask}

    def shapes(self, config: Mapping[str, Any], files: FileList) -> Mapping[str, tuple[int, ...]]:
        states = (_TOKENS, config["caption_channels"])
        return {"encoder_hidden_states": states, "encoder_attention_mask": states[:1]}

    def noised(self, scheduler: Mapping[str, Any], name: str) -> tuple[str, str]:
        if scheduler.get("prediction_type") != "flow_prediction" or not scheduler.get("use_flow_sigmas"):
            raise DataError(
                f"model {name!r} predicts {scheduler.get('prediction_type')!r} by {SCHEDULER}; expected Sana's "
                "flow_prediction, with use_flow_sigmas"
            )
        return "flow", f"shift {number_in(scheduler, 'flow_shift', 1.0, name):g} of 1-{timesteps_in(scheduler, name)}"

    def grid(self, parts: Parts) -> Timesteps:
        """The solver's sigmas of as many steps as the training had, times their number."""
        n, shift = parts.scheduler.config["num_train_timesteps"], parts.scheduler.config["flow_shift"]
        sigma = np.arange(1, n + 1) / n
        return (n * shift * sigma / (1 + (shift - 1) * sigma)).astype(np.float32)


FAMILY = SanaFamily()
READS = ((TextToImage, FAMILY),)  # what makes the model of an address
SANA = TextToImage(
    "sana-1.6b",
    "Efficient-Large-Model/SANA1.5_1.6B_1024px_diffusers",
    "caa51e5ea874be07d3a9c7c2d0fd800570b18440",
    family=FAMILY,
    known=Trained(1024, "flow", "shift 3 of 1-1000", step_px=32),
)
