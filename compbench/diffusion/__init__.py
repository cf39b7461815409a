"""How the errors of a diffusion model are measured: the engine, the classifier, the families."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compbench.core.faces import lazily

if TYPE_CHECKING:
    from compbench.diffusion.classifier import DiffusionClassifier
    from compbench.diffusion.components import Components
    from compbench.diffusion.devices import fitting, pick_device
    from compbench.diffusion.draws import balanced_timesteps
    from compbench.diffusion.error_map import seen
    from compbench.diffusion.families import stable_diffusion
    from compbench.diffusion.families.stable_diffusion import Dtype, StableDiffusion, from_pipeline
    from compbench.diffusion.images import whole_picture
    from compbench.diffusion.silence import quiet
    from compbench.diffusion.unet import Precision, StableDiffusionDenoiser
    from compbench.diffusion.vlb import Bound
    from compbench.diffusion.weights import LOADING_ERRORS, check_finite, check_size, tensors_in

__all__ = [
    "Bound",
    "Components",
    "DiffusionClassifier",
    "Dtype",
    "LOADING_ERRORS",
    "Precision",
    "StableDiffusion",
    "StableDiffusionDenoiser",
    "balanced_timesteps",
    "check_finite",
    "check_size",
    "fitting",
    "from_pipeline",
    "pick_device",
    "quiet",
    "seen",
    "stable_diffusion",
    "tensors_in",
    "whole_picture",
]

__getattr__ = lazily(
    __name__,
    {
        ".classifier": ["DiffusionClassifier"],
        ".components": ["Components"],
        ".devices": ["fitting", "pick_device"],
        ".draws": ["balanced_timesteps"],
        ".error_map": ["seen"],
        ".families": ["stable_diffusion"],
        ".families.stable_diffusion": ["Dtype", "StableDiffusion", "from_pipeline"],
        ".images": ["whole_picture"],
        ".silence": ["quiet"],
        ".unet": ["Precision", "StableDiffusionDenoiser"],
        ".vlb": ["Bound"],
        ".weights": ["LOADING_ERRORS", "check_finite", "check_size", "tensors_in"],
    },
)
