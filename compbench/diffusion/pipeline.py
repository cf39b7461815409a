"""A family that is stored as a pipeline of diffusers: loaded by its layout, noised as its scheduler was trained."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from compbench.core.errors import DataError
from compbench.core.file_list import FileList
from compbench.diffusion.family import Family, Timesteps
from compbench.registry.layouts import Layout

if TYPE_CHECKING:
    import torch

    from compbench.diffusion.denoiser import Noising, Target
    from compbench.diffusion.parts import Parts

__all__ = ["SCHEDULER", "FlowFamily", "PipelineFamily", "Trained", "check_flow", "number_in", "timesteps_in"]

SCHEDULER = "scheduler/scheduler_config.json"
_TARGETS = {"epsilon": "eps", "v_prediction": "v", "sample": "x0"}
_FEW = re.compile(r"(?<![a-z])(turbo|schnell|lightning|lcm|hyper-?sd|dmd2?)(?![a-z])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Trained:
    """The facts from a model's configuration that every result names."""

    size_px: int  # the side of the pictures
    predicts: str  # eps, v, x0 or flow
    timesteps: str  # the grid that draws are taken from, all alike
    step_px: int = 8  # what a side of a picture is a multiple of
    without: tuple[str, ...] = ()  # text encoders that the family could have and the model has not, or is not to use
    told: str = ""  # what the network is told besides the caption and the timestep, where that is a choice


class PipelineFamily(Family):
    """A family whose noising preserves variance, over a table of whole timesteps."""

    name: ClassVar[str]  # in a run's identity
    layout: ClassVar[Layout]
    bibtex: ClassVar[str]
    lora_loader: ClassVar[str] = ""  # the class of diffusers that reads its LoRAs
    packed: ClassVar[int] = 1  # the side of the square of latents whose channels are those of one input of the network

    def load(
        self,
        folder: Path,
        name: str,
        say: Callable[[str], None],
        left_out: Collection[str] = (),
        dtype: str = "float32",
    ) -> Parts:
        """The parts of a folder on the CPU; DataError for what does not fit. `say` hears what is odd.

        They are in float32, or rounded to `dtype` where that is what the network and a T5 are to compute in.
        """
        import torch

        from compbench.diffusion import loading
        from compbench.diffusion.parts import Parts
        from compbench.diffusion.silence import quiet

        files = FileList.of_folder(folder)
        _ = self.layout.opened(files, name, left_out)
        weights = loading.weights_of(files, self.layout.parts_in(files, left_out), name, say)
        network, vae, half = self.layout.network, self.layout.vae, getattr(torch, dtype)
        if (why := self.why_few_steps(files, name)) is not None:
            say(
                f"{name} is distilled to few steps ({why}): its network no longer predicts a mean, so its error is not "
                "a bound on a likelihood; compare it with other such models at most"
            )
        with quiet():
            texts = tuple(
                loading.load_text(text, folder, weights[text.encoder.name], say, half)
                for text in self.layout.texts_in(files, left_out)
            )
            autoencoder = loading.load_part(vae, folder, weights[vae.name], say)
            if autoencoder.config.get("latents_mean") is not None:
                raise DataError(
                    f"model {name!r} scales each channel of its latents for itself (latents_mean in vae/config.json), "
                    f"which {self.layout.words} does not; it is a different model in the same layout"
                )
            return Parts(
                name,
                loading.load_part(network, folder, weights[network.name], say, half),
                autoencoder,
                texts,
                loading.load_scheduler(folder, files),
                files.json("model_index.json"),
            )

    def trained(self, files: FileList, name: str, left_out: Collection[str] = ()) -> Trained:
        """The facts in the configurations of a folder or repository, before any weight is read."""
        network = files.json(f"{self.layout.network.name}/config.json")
        step_px = self.grain(files) * int(network.get("patch_size") or 1) * self.packed
        without = tuple(self.lacks(files, name, left_out))
        predicts, timesteps = self.noised(files.json(SCHEDULER), name)
        return Trained(self.size_px(files, name), predicts, timesteps, step_px, without)

    def lacks(self, files: FileList, name: str, left_out: Collection[str] = ()) -> dict[str, str]:
        """A sentence on each text encoder that the family could have and that reads no captions here, by its name."""
        there = self.layout.texts_in(files, left_out)
        return {
            text.encoder.name: f"{name}: its {text.encoder.name} ({text.encoder.classes[0]}) is not "
            + ("used" if text.encoder.name in left_out else "there")
            + ": captions are read without it, and such a run is separate"
            for text in self.layout.texts
            if text not in there
        }

    def why_few_steps(self, files: FileList, name: str) -> str | None:
        """Words on how the model is known to be distilled to few steps; None where nothing says so."""
        return "by its name" if _FEW.search(name.rpartition("/")[2]) else None

    def noised(self, scheduler: Mapping[str, Any], name: str) -> tuple[str, str]:
        """The network's prediction and the grid of timesteps, from the scheduler's configuration."""
        given = scheduler.get("prediction_type", "epsilon")
        if given not in _TARGETS:
            raise DataError(f"model {name!r} predicts {given!r} ({SCHEDULER}); expected one of {', '.join(_TARGETS)}")
        return _TARGETS[given], f"0-{timesteps_in(scheduler, name) - 1}"

    def shapes(self, config: Mapping[str, Any], files: FileList) -> Mapping[str, tuple[int, ...]]:
        """The shapes of one caption's conditioning, from the network's configuration: to price a run in advance."""
        raise NotImplementedError

    def grain(self, files: FileList) -> int:
        """The side in pixels of the square that becomes one latent."""
        config = files.json(f"{self.layout.vae.name}/config.json")
        blocks = config.get("block_out_channels") or config.get("encoder_block_out_channels") or ()
        return 2 ** max(len(blocks) - 1, 0)

    def size_px(self, files: FileList, name: str) -> int:
        """The side of the pictures that the network was trained on last."""
        path = f"{self.layout.network.name}/config.json"
        side = files.json(path).get("sample_size", 128)
        if not isinstance(side, int) or isinstance(side, bool) or not 0 < side <= 512:
            raise DataError(
                f"model {name!r} has sample_size {side!r} in {path} of {files.where!r}; expected a number of latents, "
                "at most 512"
            )
        return side * self.grain(files)


class FlowFamily(PipelineFamily):
    """A family trained by flow matching: x_t = (1 - t) x_0 + t eps, and the network is told 1000 t.

    Draws are of the timesteps of the scheduler's own table, shifted as its configuration says: each as often as the
    others, so that t itself is not spread evenly where there is a shift.
    """

    def noised(self, scheduler: Mapping[str, Any], name: str) -> tuple[str, str]:
        check_flow(scheduler, name)
        return "flow", f"shift {number_in(scheduler, 'shift', 1.0, name):g} of 1-{timesteps_in(scheduler, name)}"

    def target(self, parts: Parts) -> Target:
        return "flow"

    def noising(self, parts: Parts, dtype: torch.dtype) -> Noising:
        from compbench.diffusion.denoiser import Flow

        _ = self.noised(parts.scheduler.config, parts.name)  # DataError for a schedule of another kind
        return Flow(float(parts.scheduler.config["num_train_timesteps"]))

    def grid(self, parts: Parts) -> Timesteps:
        return np.sort(parts.scheduler.timesteps.float().numpy())


def timesteps_in(config: Mapping[str, Any], name: str) -> int:
    """The number of timesteps that a scheduler's configuration names; DataError for what is not such a number."""
    n_timesteps = config.get("num_train_timesteps", 1000)
    if not isinstance(n_timesteps, int) or isinstance(n_timesteps, bool) or n_timesteps < 1:
        raise DataError(
            f"model {name!r} has num_train_timesteps {n_timesteps!r} in {SCHEDULER}; expected a whole number above 0: "
            "fetch or copy it again"
        )
    return n_timesteps


def number_in(config: Mapping[str, Any], key: str, default: float, name: str) -> float:
    """A setting of the scheduler's configuration, such as its shift; DataError for what is not a number above 0."""
    given = config.get(key, default)
    if not isinstance(given, int | float) or isinstance(given, bool) or not 0 < given < math.inf:
        raise DataError(
            f"model {name!r} has {key} {given!r} in {SCHEDULER}; expected a number above 0: fetch or copy it again"
        )
    return float(given)


def check_flow(config: Mapping[str, Any], name: str, *, takes_dynamic: bool = False) -> None:
    """DataError for a schedule that is none of a straight flow, or whose grid depends on what is sampled.

    `takes_dynamic`: a family may know how its grid depends on the size of the picture.
    """
    if (given := config.get("_class_name")) not in (None, "FlowMatchEulerDiscreteScheduler"):
        raise DataError(
            f"model {name!r} has a {given} ({SCHEDULER}); expected the FlowMatchEulerDiscreteScheduler that it was "
            "trained with"
        )
    others = ("invert_sigmas", "shift_terminal", "use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas")
    if odd := [key for key in (*others, *(() if takes_dynamic else ("use_dynamic_shifting",))) if config.get(key)]:
        raise DataError(f"model {name!r} has {odd[0]} in {SCHEDULER}; expected a fixed grid of timesteps")
