"""The built-in class-conditional diffusion transformers: names, hub ids, options. No torch until `build`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from compbench.core import disk
from compbench.core.aliases import Json
from compbench.core.citations import DIFFUSION_CLASSIFIER
from compbench.core.errors import UsageError
from compbench.core.examples import Task
from compbench.core.file_list import FileList
from compbench.core.models import ModelSpec, ResolvedModel, Runtime, Source, in_precision
from compbench.core.rules import stored_loss
from compbench.diffusion.families import _citations
from compbench.registry import checkpoints
from compbench.schedules.policies import checked_risk
from compbench.schedules.racing import Racing, n_wave
from compbench.schedules.schedule import Full, entry_of

if TYPE_CHECKING:
    from compbench.diffusion._protocols import Measuring
    from compbench.diffusion.classifier import DiffusionClassifier

__all__ = ["DIT_256", "DIT_512", "TINY_DIT", "DiT"]

_N_BANK = 250  # timesteps 2, 6, ..., 998
_OF_RACES = ("risk", "tolerance", "bound")
_SEED_OF = {"paper": 42, "compbench": 0}
_FIXED = {"option": False}
# what is fetched of a hub repository; the published ones hold pickles, which are read as weights alone
_FILES = (
    *(f"{part}/config.json" for part in ("transformer", "vae")),
    *(
        f"{part}/diffusion_pytorch_model{suffix}"
        for part in ("transformer", "vae")
        for suffix in (".safetensors", ".bin")
    ),
    "scheduler/scheduler_config.json",
    "model_index.json",
)


@dataclass(frozen=True)
class DiT(ModelSpec):
    """A diffusion transformer conditioned on class labels (Peebles & Xie, 2023), as a classifier of its own classes.

    Only tasks whose classes are labels of the model's training set can be run. The squared error, the absolute error
    and the term of the variational bound are measured in one pass; `loss` chooses among them afterwards.
    """

    name: str = field(default="dit", metadata=_FIXED)
    repo: str = field(default="", metadata=_FIXED)
    revision: str | None = field(default=None, metadata=_FIXED)
    is_local: bool = field(default=False, metadata=_FIXED)
    label_space: str = field(default="imagenet", metadata=_FIXED)
    default_draws: int = field(default=_N_BANK, metadata=_FIXED)

    draws: int | None = field(
        default=None, metadata={"help": "draws that a score averages, 1 to 250; more can be added later"}
    )
    loss: Literal["l2", "l1", "vlb", "l2+vlb"] = field(
        default="l2", metadata={"help": "the error to average: squared, absolute, the variational bound, or a sum"}
    )
    protocol: Literal["paper", "compbench"] = field(
        default="paper", metadata={"help": "the published noise and centre crop, or compbench's and the whole picture"}
    )
    seed: int | None = field(
        default=None, metadata={"help": "seed for the noise; 42 as published, 0 under compbench's own"}
    )
    dtype: Literal["float32", "bfloat16", "float16"] = field(
        default="float32", metadata={"help": "dtype of the transformer; all else is float32"}
    )
    compile: Literal["auto", "off", "default", "reduce-overhead", "max-autotune"] = field(
        default="auto",
        metadata={"help": "torch.compile's mode; auto: default, on a CUDA device, where it saves more than it takes"},
    )
    schedule: Literal["full", "racing"] = field(
        default="full", metadata={"help": "racing: classes are dropped once they have lost, at `risk`"}
    )
    risk: float = field(
        default=0.05,
        metadata={"help": "racing: probability that a prediction may differ from the full budget's, if `bound` holds"},
    )
    tolerance: float | None = field(
        default=None,
        metadata={
            "help": "racing: in place of `risk`, the share of predictions expected to differ, as estimated: 0.01"
        },
    )
    bound: Literal["pooled", "guaranteed", "asymptotic"] = field(
        default="pooled",
        metadata={
            "help": "racing: pooled measures the draws that a first wave finds heavy for every image; guaranteed also "
            "keeps `risk` where an image has 10 or more heavy draws of its own; asymptotic is a plain studentised test"
        },
    )
    folder: Path | None = field(
        default=None, metadata={"help": "a local copy in the layout of diffusers' DiTPipeline, instead of the hub's"}
    )

    def __post_init__(self) -> None:
        if self.draws is not None and not 1 <= self.draws <= _N_BANK:
            raise UsageError(f"model {self.name!r} cannot take draws={self.draws}; expected 1 to {_N_BANK}")
        if self.seed is not None and self.seed < 0:
            raise UsageError(f"model {self.name!r} cannot take seed={self.seed}; expected 0 or more")
        checked_risk(self.risk)
        for option in fields(self) if self.schedule != "racing" else ():
            if option.name in _OF_RACES and (value := getattr(self, option.name)) != option.default:
                raise UsageError(
                    f"model {self.name!r}: {option.name}={value} only applies to schedule=racing; add "
                    "-o schedule=racing, or leave it out"
                )
        if self.folder is not None and not disk.expanded(self.folder).is_dir():
            raise UsageError(
                f"model {self.name!r}: no folder {str(self.folder)!r}; expected one in the layout of DiTPipeline"
            )

    @property
    def citation(self) -> str:
        """BibTeX of the model and of the method that scores with it."""
        return f"{_citations.DIT}\n\n{DIFFUSION_CLASSIFIER}"

    def for_task(self, task: str | None) -> DiT:
        """Every None filled in; nothing depends on the task."""
        seed = self.seed if self.seed is not None else _SEED_OF[self.protocol]
        return replace(self, draws=self.draws or self.default_draws, seed=seed)

    def resolve(self, task: Task | None) -> ResolvedModel:
        return in_precision(self.for_task(None), True, DiT._resolved)  # no dtype is left to the model

    def _resolved(self) -> ResolvedModel:
        return replace(
            super().resolve(None),
            files=_FILES,
            label_space=self.label_space,
            flops_per_evaluation=self.flops_per_evaluation,
            device_bytes=self.device_bytes,
        )

    def source(self) -> Source | None:
        if self.folder is None and not self.is_local:
            return Source(
                self.repo,
                self.revision,
                instead="a local copy with -o folder=PATH",
                opened=partial(checkpoints.dit, name=self.name),
            )
        folder = disk.expanded(self.folder or self.repo)
        if not (folder / "transformer").is_dir():
            hint = "; `python -m compbench.tiny.train_dit` trains it" if self.folder is None else ""
            raise UsageError(
                f"model {self.name!r} has no transformer/ in {str(folder)!r}; expected the layout of diffusers' "
                f"DiTPipeline (transformer, vae, scheduler, model_index.json){hint}"
            )
        return Source(str(folder), is_local=True, opened=partial(checkpoints.dit, name=self.name))

    def identity(self) -> Mapping[str, Json]:
        settled = self.for_task(None)
        identity: dict[str, Json] = {"family": "dit", "protocol": settled.protocol}
        identity |= {"seed": settled.seed, "dtype": settled.dtype}
        return identity | entry_of(settled._schedule())

    def flops_per_evaluation(self, files: FileList) -> float | None:
        """Counted on the configuration, before the weights are here; imports torch."""
        from compbench.diffusion import _counted

        return _counted.dit_flops(files)

    def device_bytes(self, files: FileList) -> int | None:
        """The memory of the weights, by the configuration; imports torch."""
        from compbench.diffusion import _counted

        return _counted.weight_bytes(files, ((checkpoints.TRANSFORMER, self.dtype), (checkpoints.VAE, "float32")))

    def _schedule(self) -> Full | Racing:
        if self.schedule == "full":
            return Full()
        return Racing(
            self.draws or self.default_draws,
            loss=self.loss,
            risk=self.risk,
            bound=self.bound,
            seed=self.seed or 0,
            n_wave=n_wave(self.bound),
            tolerance=self.tolerance,
        )

    def view(self) -> Mapping[str, Json]:
        settled = self.for_task(None)
        return {"n_draws": settled.draws, "target": "native", "reduction": stored_loss(settled.loss)}

    def build(self, source: Source | None, runtime: Runtime) -> DiffusionClassifier:
        from compbench.diffusion import loading
        from compbench.diffusion.families import dit_transformer as network

        assert source is not None  # every DiT has weights
        folder = loading.fetch_folder(source, checkpoints.dit, runtime.is_offline, self.name, runtime.say)
        parts = network.load(folder, self.name, runtime.say)
        return self.for_task(None)._measuring().classifier(network.DiTFamily(self.label_space), parts, runtime)

    def _measuring(self) -> Measuring:
        """The settings by which a settled model measures."""
        from compbench.diffusion._protocols import Measuring
        from compbench.diffusion.images import adm_centre_crop

        return Measuring(
            protocol=self.protocol,
            seed=self.seed or 0,
            dtype=self.dtype,
            draws=self.draws or _N_BANK,
            schedule=self._schedule(),
            losses=("l2", "l1", "vlb"),
            compile_mode=self.compile,
            crop=adm_centre_crop,
            keeps_encoders=True,
            autotune=False,  # a transformer has no convolutions worth it
        )


# no commit of either is known to us, so main is looked up when a run starts
DIT_256 = DiT("dit-256", "facebook/DiT-XL-2-256")
DIT_512 = DiT("dit-512", "facebook/DiT-XL-2-512")
TINY_DIT = DiT(
    "tiny-dit",
    str(Path(__file__).parents[2] / "tiny" / "tiny-dit"),
    is_local=True,
    label_space="digits",
    default_draws=25,
)
