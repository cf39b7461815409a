"""The settings that `auto` stands for on a task: a published protocol where there is one, else compbench's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from compbench.core.weights import UNIFORM, named
from compbench.diffusion.families._sd_rules import N_BANK, STEPS
from compbench.schedules.staged import PUBLISHED

if TYPE_CHECKING:
    from compbench.diffusion.families.stable_diffusion import Dtype, Protocol, StableDiffusion

__all__ = ["settled_options"]

_PAPER_SEED = 42
_PAPER_TASKS = ("winoground", *PUBLISHED, "imagenet-v2", "imagenet-a")
_STAGED_TASKS = _PAPER_TASKS[1:]


def settled_options(spec: StableDiffusion, task: str | None) -> dict[str, Any]:
    """The options that may be `auto` or None, each with the value it has on a task."""
    has_published = spec.has_published_runs and spec.noise != "antithetic"
    is_published = spec.protocol == "auto" and task in _PAPER_TASKS and has_published
    protocol = spec.protocol if spec.protocol != "auto" else "paper" if is_published else "compbench"
    is_ours = protocol == "compbench"
    is_staged = spec.schedule == "auto" and task in _STAGED_TASKS and spec.has_published_runs and not spec.unconditional
    schedule = "paper" if is_staged else "full" if spec.schedule == "auto" else spec.schedule
    published = PUBLISHED.get(task or "") if schedule == "paper" else None
    n_steps = STEPS.get(protocol)
    n_bank = n_steps or (N_BANK if not is_ours or schedule == "paper" else 16 if spec.is_small else 100)
    return {
        "protocol": protocol,
        "schedule": schedule,
        "draws": spec.draws or n_bank,
        "target": spec.target if spec.target != "auto" else _target(spec, protocol),
        "seed": spec.seed if spec.seed is not None else 0 if is_ours or n_steps else _PAPER_SEED,
        "dtype": spec.dtype if spec.dtype != "auto" else _dtype(spec, protocol),
        "bound": _bound(spec) if schedule == "racing" else spec.bound,
        "loss": spec.loss if spec.loss != "auto" else _loss(spec, published.loss if published else "", n_steps),
    }


def _target(spec: StableDiffusion, protocol: Protocol) -> str:
    if spec.weight != UNIFORM:
        return named(spec.weight).target
    is_native = protocol == "compbench" or (protocol == "self-bench" and spec.is_later_family)
    return "native" if is_native else "eps"


def _loss(spec: StableDiffusion, published: str, n_steps: int | None) -> str:
    if spec.weight == UNIFORM and n_steps is not None:
        return "norm"
    return published or "l2"


def _bound(spec: StableDiffusion) -> str:
    if spec.bound != "auto":
        return spec.bound
    return "pooled" if spec.pilot is None else "asymptotic"  # a pilot taught it already


def _dtype(spec: StableDiffusion, protocol: Protocol) -> Dtype:
    if protocol == "published-fp16":
        return "float16"
    if spec.pipeline is not None:
        return str(spec.pipeline.unet.dtype).removeprefix("torch.")  # pyright: ignore[reportReturnType]
    if spec.is_small:
        return "float32"
    return "bfloat16" if protocol == "compbench" else "float16"
