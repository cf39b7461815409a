"""Measurement of a diffusion model's errors: the engine, the classifier, the families."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compbench.core.faces import lazily

if TYPE_CHECKING:
    from compbench.diffusion.classifier import DiffusionClassifier
    from compbench.diffusion.devices import fitting, pick_device
    from compbench.diffusion.draws import balanced_timesteps
    from compbench.diffusion.error_map import seen
    from compbench.diffusion.families import stable_diffusion
    from compbench.diffusion.families.in_memory import from_pipeline
    from compbench.diffusion.families.stable_diffusion import Dtype, StableDiffusion
    from compbench.diffusion.family import Family
    from compbench.diffusion.images import whole_picture
    from compbench.diffusion.latent import LatentDenoiser
    from compbench.diffusion.parts import Parts, Precision
    from compbench.diffusion.silence import quiet
    from compbench.diffusion.vlb import Bound
    from compbench.diffusion.weights import LOADING_ERRORS, check_finite, check_size, tensors_in

__all__ = [
    "Bound",
    "DiffusionClassifier",
    "Dtype",
    "Family",
    "LOADING_ERRORS",
    "LatentDenoiser",
    "Parts",
    "Precision",
    "StableDiffusion",
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
        ".devices": ["fitting", "pick_device"],
        ".draws": ["balanced_timesteps"],
        ".error_map": ["seen"],
        ".families": ["stable_diffusion"],
        ".families.in_memory": ["from_pipeline"],
        ".families.stable_diffusion": ["Dtype", "StableDiffusion"],
        ".family": ["Family"],
        ".images": ["whole_picture"],
        ".latent": ["LatentDenoiser"],
        ".parts": ["Parts", "Precision"],
        ".silence": ["quiet"],
        ".vlb": ["Bound"],
        ".weights": ["LOADING_ERRORS", "check_finite", "check_size", "tensors_in"],
    },
)
