"""FLUX.1: a transformer over packed latents and captions together, trained by flow matching and then distilled.

Black Forest Labs, "Announcing Black Forest Labs", 2024; the flow and its shift as in Esser et al., ICML 2024.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from compbench.core.aliases import Json
from compbench.core.errors import DataError, UsageError
from compbench.core.file_list import FileList
from compbench.diffusion.families import _citations
from compbench.diffusion.families.text_to_image import TextToImage
from compbench.diffusion.family import Timesteps
from compbench.diffusion.pipeline import SCHEDULER, FlowFamily, Trained, check_flow, number_in, timesteps_in
from compbench.registry.checkpoints import TEXT_ENCODER, Part
from compbench.registry.layouts import CLIP, T5, Layout, TextPart

if TYPE_CHECKING:
    from collections.abc import Collection

    from torch import Tensor

    from compbench.diffusion.denoiser import Conditioning
    from compbench.diffusion.parts import Parts

__all__ = ["FLUX_DEV", "FLUX_SCHNELL", "READS", "Flux", "FluxFamily"]

_NETWORK = Part("transformer", "diffusion_pytorch_model", ("FluxTransformer2DModel",))
_T5 = Part("text_encoder_2", "model", ("T5EncoderModel",), prefers_shards=False)
_DEV_TOKENS, _SCHNELL_TOKENS = 512, 256
_SIDE = 128  # latents: no configuration has it, and the pipeline takes it
_PLAIN = 1.0  # the guidance that stands for a plain conditional prediction


@dataclass(frozen=True)
class FluxFamily(FlowFamily):
    """It predicts the velocity eps - x_0 of latents that are packed two by two.

    `guidance` is what a network distilled from a guided one is told; 1 is none.
    """

    name: ClassVar[str] = "flux"
    layout: ClassVar[Layout] = Layout(
        ("FluxPipeline", "FluxImg2ImgPipeline", "FluxInpaintPipeline"),
        "FLUX",
        _NETWORK,
        (TextPart(TEXT_ENCODER, "tokenizer", CLIP), TextPart(_T5, "tokenizer_2", T5, _DEV_TOKENS)),
    )
    bibtex: ClassVar[str] = _citations.FLUX
    lora_loader: ClassVar[str] = "FluxLoraLoaderMixin"
    packed: ClassVar[int] = 2

    guidance: float = _PLAIN

    def load(
        self,
        folder: Path,
        name: str,
        say: Callable[[str], None],
        left_out: Collection[str] = (),
        dtype: str = "float32",
    ) -> Parts:
        parts = super().load(folder, name, say, left_out, dtype)
        clip, t5 = parts.texts
        return replace(parts, texts=(clip, replace(t5, length=_n_tokens(parts.network.config, parts.scheduler.config))))

    def trained(self, files: FileList, name: str, left_out: Collection[str] = ()) -> Trained:
        config = files.json(f"{_NETWORK.name}/config.json")
        told = f"guidance {_PLAIN:g}" if config.get("guidance_embeds") else ""
        return replace(super().trained(files, name, left_out), told=told)

    def why_few_steps(self, files: FileList, name: str) -> str | None:
        if _is_schnell(files.json(f"{_NETWORK.name}/config.json"), files.json(SCHEDULER)):
            return "by its configuration, which is schnell's"
        return super().why_few_steps(files, name)

    def check(self, parts: Parts) -> None:
        from compbench.diffusion.parts import check_channels, check_vocabularies, check_width

        network = parts.network.config
        check_channels(parts, out=(None, 1), packed=self.packed)
        clip, t5 = (text.encoder.config for text in parts.texts)
        check_width(parts, t5.d_model, network["joint_attention_dim"])
        check_width(parts, clip.hidden_size, network["pooled_projection_dim"], "pooled width")
        check_vocabularies(parts)

    def conditioning(self, parts: Parts, captions: Sequence[str]) -> Conditioning:
        """The T5's hidden states, the CLIP's pooled state, and the guidance where the network is told one."""
        import torch

        clip, t5 = parts.texts
        pooled = torch.cat([some.pooler_output for some in clip.encoded(clip.tokens(captions).input_ids)])
        states = torch.cat([some[0] for some in t5.encoded(t5.tokens(captions).input_ids)])
        told = {"encoder_hidden_states": states, "pooled_projections": pooled}
        if parts.network.config["guidance_embeds"]:
            told["guidance"] = torch.full((len(captions),), self.guidance)
        return told

    def shapes(self, config: Mapping[str, Any], files: FileList) -> Mapping[str, tuple[int, ...]]:
        told: dict[str, tuple[int, ...]] = {"guidance": ()} if config["guidance_embeds"] else {}
        states = (_n_tokens(config, files.json(SCHEDULER)), config["joint_attention_dim"])
        return {"encoder_hidden_states": states, "pooled_projections": (config["pooled_projection_dim"],), **told}

    def predict(
        self, network: Callable[..., Any], noised: Tensor, timesteps: Tensor, conditioning: Conditioning
    ) -> Tensor:
        rows, columns = (side // self.packed for side in noised.shape[-2:])
        velocity = network(
            _packed(noised, self.packed),
            timestep=timesteps / 1000,
            img_ids=_places(rows, columns, noised),
            txt_ids=noised.new_zeros(conditioning["encoder_hidden_states"].shape[1], 3),
            **conditioning,
            return_dict=False,
        )[0]
        return _unpacked(velocity, rows, columns, self.packed)

    def side(self, parts: Parts) -> int:
        return _SIDE

    def noised(self, scheduler: Mapping[str, Any], name: str) -> tuple[str, str]:
        """The network's prediction and the grid; how far that is shifted depends on the number of packed latents."""
        if not scheduler.get("use_dynamic_shifting"):
            return super().noised(scheduler, name)
        check_flow(scheduler, name, takes_dynamic=True)
        base, most = _ends(scheduler, name)
        ends = [f"{shift:g} at {length:.15g}" for length, shift in (base, most)]
        kind = "" if scheduler.get("time_shift_type", "exponential") == "exponential" else "linear "
        return "flow", f"{kind}shift {' to '.join(ends)} tokens of 1-{timesteps_in(scheduler, name)}"

    def grid(self, parts: Parts) -> Timesteps:
        """As the network sees them: it rounds t to its own dtype twice, before it multiplies by 1000 and after.

        What comes out is rounded to itself, so that x_t is of the very t that the network is told.
        """
        import torch

        timesteps = _shifted(parts) if parts.scheduler.config.get("use_dynamic_shifting") else super().grid(parts)
        dtype: torch.dtype = parts.network.dtype  # that it computes in, whatever its weights are held in
        return ((torch.from_numpy(timesteps) / 1000).to(dtype) * 1000).float().numpy()


@dataclass(frozen=True)
class Flux(TextToImage):
    """FLUX.1 dev, schnell, or one in their layout, scored by the Diffusion Classifier.

    Options are those of Stable Diffusion, as for every later family, and the guidance that its network is told.
    """

    embedded_guidance: float | None = field(
        default=None,
        metadata={"help": "guidance that the distilled network is told, where it takes one; none: 1, no guidance"},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.embedded_guidance is not None and not 0 < self.embedded_guidance <= 100:
            raise UsageError(
                f"model {self.name!r}: embedded_guidance must be above 0 and at most 100, got {self.embedded_guidance}"
            )

    @property
    def _family(self) -> FluxFamily:
        return replace(self.family, guidance=self.embedded_guidance or _PLAIN)

    def with_files(self, files: Callable[[], FileList]) -> TextToImage:
        known = super().with_files(files)
        if self.embedded_guidance is not None and known.found is not None and not known.found.told:
            raise UsageError(f"model {self.name!r} is not told a guidance; leave embedded_guidance out")
        return known

    def identity(self) -> Mapping[str, Json]:
        told = {} if self.embedded_guidance is None else {"told": f"guidance {self.embedded_guidance:g}"}
        return {**super().identity(), **told}


def _is_schnell(network: Mapping[str, Any], scheduler: Mapping[str, Any]) -> bool:
    """Whether the network is told no guidance and its grid is not shifted; a dev without its guidance is shifted."""
    return not network.get("guidance_embeds") and not scheduler.get("use_dynamic_shifting")


def _n_tokens(network: Mapping[str, Any], scheduler: Mapping[str, Any]) -> int:
    """The length of a caption for the T5: schnell was trained on half of dev's."""
    return _SCHNELL_TOKENS if _is_schnell(network, scheduler) else _DEV_TOKENS


def _packed(latents: Tensor, by: int) -> Tensor:
    """[b, c, h, w] -> [b, h/by * w/by, c * by * by]: each square of latents is a token."""
    b, c, h, w = latents.shape
    squares = latents.reshape(b, c, h // by, by, w // by, by).permute(0, 2, 4, 1, 3, 5)
    return squares.reshape(b, (h // by) * (w // by), c * by * by)


def _unpacked(tokens: Tensor, rows: int, columns: int, by: int) -> Tensor:
    squares = tokens.reshape(len(tokens), rows, columns, -1, by, by).permute(0, 3, 1, 4, 2, 5)
    return squares.reshape(len(tokens), -1, rows * by, columns * by)


def _places(rows: int, columns: int, like: Tensor) -> Tensor:
    """[rows * columns, 3]: 0, the row and the column of each token."""
    import torch

    grid = torch.cartesian_prod(torch.zeros(1), torch.arange(rows).float(), torch.arange(columns).float())
    return grid.reshape(-1, 3).to(like)


def _ends(scheduler: Mapping[str, Any], name: str) -> tuple[tuple[float, float], tuple[float, float]]:
    """The number of tokens and the shift at either end of the line that the shift lies on."""
    base, most = (
        (number_in(scheduler, f"{end}_image_seq_len", length, name), number_in(scheduler, f"{end}_shift", shift, name))
        for end, length, shift in (("base", 256, 0.5), ("max", 4096, 1.15))
    )
    if base[0] >= most[0]:
        raise DataError(
            f"model {name!r} has base_image_seq_len {base[0]:g} and max_image_seq_len {most[0]:g} in {SCHEDULER}; "
            "expected the second to be larger: fetch or copy it again"
        )
    return base, most


def _shifted(parts: Parts) -> Timesteps:
    """[T] float32, ascending: the scheduler's table as its pipeline has it for pictures of this size."""
    from diffusers.pipelines.flux.pipeline_flux import calculate_shift

    config = parts.scheduler.config
    n, side = config["num_train_timesteps"], parts.size_px // parts.grain // FluxFamily.packed
    (base_length, base_shift), (max_length, max_shift) = _ends(config, parts.name)
    shift = calculate_shift(side**2, base_length, max_length, base_shift, max_shift)  # pyright: ignore[reportArgumentType]
    scheduler = type(parts.scheduler).from_config(config)  # its table is set anew
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / n, n), mu=shift)
    return np.sort(scheduler.timesteps.float().numpy())


READS = ((Flux, FluxFamily()),)  # what makes the model of an address
FLUX_DEV = Flux(
    "flux-dev",
    "black-forest-labs/FLUX.1-dev",
    "3de623fc3c33e44ffbe2bad470d0f45bccf2eb21",
    family=FluxFamily(),
    known=Trained(1024, "flow", "shift 0.5 at 256 to 1.15 at 4096 tokens of 1-1000", step_px=16, told="guidance 1"),
)
FLUX_SCHNELL = Flux(
    "flux-schnell",
    "black-forest-labs/FLUX.1-schnell",
    "741f7c3ce8b383c54771c7003378a50191e9efe9",
    family=FluxFamily(),
    known=Trained(1024, "flow", "shift 1 of 1-1000", step_px=16),
)
