"""A text-to-image model of any family that is stored as a pipeline of diffusers. No torch until `build`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from compbench.core import disk
from compbench.core.aliases import Json
from compbench.core.citations import DIFFUSION_CLASSIFIER
from compbench.core.errors import UsageError
from compbench.core.file_list import FileList
from compbench.core.models import Runtime, Source
from compbench.diffusion.families._facts import check_facts
from compbench.diffusion.families._sd_precision import held_in
from compbench.diffusion.families.stable_diffusion import StableDiffusion
from compbench.diffusion.pipeline import PipelineFamily, Trained

if TYPE_CHECKING:
    from compbench.diffusion._protocols import Measuring
    from compbench.diffusion.family import Family
    from compbench.diffusion.parts import Parts

__all__ = ["TextToImage"]

_FIXED = {"option": False}


@dataclass(frozen=True)
class TextToImage(StableDiffusion):
    """A text-to-image diffusion or flow model of a later family, scored by the Diffusion Classifier.

    Options are those of Stable Diffusion. No published run is imitated, so protocol=auto is compbench's own on every
    task; protocol=paper gives it the draws and the crop of the paper's runs, but no precision other than that of its
    network: the encoders stay in float32.
    """

    is_later_family: ClassVar[bool] = True
    family: Any = field(default=None, repr=False, metadata=_FIXED)  # a PipelineFamily
    known: Trained | None = field(default=None, repr=False, metadata=_FIXED)  # of the weights at `repo`
    found: Trained | None = field(default=None, repr=False, metadata=_FIXED)  # of the weights that are measured

    quantize: Literal["none", "fp8"] = field(
        default="none",
        metadata={"help": "fp8: hold the network's weights in a byte each, half of bfloat16; such a run is separate"},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.protocol not in self.protocols:
            _, *known = self.protocols
            raise UsageError(
                f"model {self.name!r}: protocol={self.protocol} is that of published runs of other models; expected "
                f"{', '.join(known[:-1])} or {known[-1]}"
            )

    @property
    def has_published_runs(self) -> bool:
        return False

    @property
    def protocols(self) -> tuple[str, ...]:
        """Those that all later families take; a family adds those of its own published runs."""
        return ("auto", "compbench", "paper")

    @property
    def left_out(self) -> tuple[str, ...]:
        """The text encoders that are not to be used."""
        return ()

    @property
    def lora_loader(self) -> str:
        return self._family.lora_loader

    @property
    def files(self) -> tuple[str, ...]:
        """The files fetched from a hub repository."""
        return self._family.layout.patterns

    @property
    def citation(self) -> str:
        """BibTeX of the model and of the method that scores with it."""
        return DIFFUSION_CLASSIFIER if self.is_small else f"{self._family.bibtex}\n\n{DIFFUSION_CLASSIFIER}"

    @property
    def _family(self) -> PipelineFamily:
        return self.family

    def with_files(self, files: Callable[[], FileList]) -> TextToImage:
        """With what the weights' configuration says of the model; the presets' is known without asking a hub."""
        if self.known is not None and self.folder is None:
            found = self.known
        else:
            listed = files()
            _ = self._opened(listed)  # before anything of a grid is measured
            found = self._family.trained(listed, self.name, self.left_out)
        found = replace(found, without=found.without or self.left_out)
        return replace(self, found=found, measured_px=self._other_px(found.size_px, found.size_px, found.step_px))

    def flops_per_evaluation(self, files: FileList) -> float | None:
        """Counted on the configuration, before the weights are here; imports torch."""
        from compbench.diffusion import _counted

        size_px = self.size_px or self._family.trained(files, self.name).size_px
        return _counted.pipeline_flops(self._family, files, size_px)

    def device_bytes(self, files: FileList) -> int | None:
        """The memory of network and autoencoder, or of the text encoders, which may leave before the network comes."""
        from compbench.diffusion import _counted

        layout, half = self._family.layout, "float32" if self.dtype == "float32" else "bfloat16"
        texts = layout.texts_in(files, self.left_out)
        readers = [(text.encoder, "float32" if text.length is None else half) for text in texts]
        network = self.dtype if self.quantize == "none" else self.quantize
        staying = [(layout.network, network), (layout.vae, held_in(self.vae_dtype, "float32"))]
        found = [_counted.weight_bytes(files, parts) for parts in (staying, [*readers, staying[-1]])]
        return None if None in found else max(n_bytes or 0 for n_bytes in found)

    def source(self) -> Source | None:
        if self.folder is not None or self.is_local:
            place = disk.expanded(self.folder or self.repo)
            if self.is_small and not place.is_dir():
                raise UsageError(
                    f"model {self.name!r} has no folder {str(place)!r}; `compbench doctor` says what makes it"
                )
            return Source(str(place), is_local=True, opened=self._opened)
        return Source(self.repo, self.revision, instead="a local copy with -o folder=PATH", opened=self._opened)

    def identity(self) -> Mapping[str, Json]:
        trained: dict[str, Json] = {}
        if (found := self.found or self.known) is not None:
            trained = {"predicts": found.predicts, "timesteps": found.timesteps}
            without = found.without or self.left_out
            trained |= {"without": ", ".join(without)} if without else {}
            trained |= {"told": found.told} if found.told else {}
        trained |= {} if self.quantize == "none" else {"quantized": self.quantize}
        return {**super().identity(), "family": self._family.name, **trained}

    def loaded(self, source: Source | None, runtime: Runtime) -> tuple[Family, Parts]:
        import torch

        from compbench.diffusion import loading
        from compbench.diffusion.quantized import in_fp8

        assert source is not None  # all have weights
        family = self._family
        folder = loading.fetch_folder(source, family.layout.opened, runtime.is_offline, self.name, runtime.say)
        files, own = FileList.of_folder(folder), self.known if self.folder is None else None
        if own is not None:  # its runs are named by these facts
            found = family.trained(files, self.name, self.left_out)
            check_facts(self.name, self.repo, asdict(replace(own, without=own.without or self.left_out)), asdict(found))
        key = (family.name, str(folder), self.dtype, self.left_out, self.added, self.quantize)

        def load() -> Parts:
            for encoder, sentence in family.lacks(files, self.name, self.left_out).items():
                if own is None or encoder not in own.without:  # the name says it
                    runtime.say(sentence)
            dtype = self.dtype if self.lora is None else "float32"  # in which a LoRA is added
            parts = self.with_lora(family.load(folder, self.name, runtime.say, self.left_out, dtype))
            return parts if self.quantize == "none" else in_fp8(parts, getattr(torch, self.dtype))

        return family, runtime.kept(key, load)

    def measuring(self) -> Measuring:
        compiles = "off" if self.quantize != "none" and self.compile == "auto" else self.compile
        return replace(super().measuring(), keeps_encoders=True, compile_mode=compiles)

    def _opened(self, files: FileList) -> tuple[str, ...]:
        return self._family.layout.opened(files, self.name, self.left_out)
