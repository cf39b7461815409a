"""The combinations of options that a Stable Diffusion model allows, checked before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from compbench.core import disk
from compbench.core.aliases import Json
from compbench.core.errors import UsageError
from compbench.core.rules import INNER, NO_GUIDANCE, WITHOUT, Rule, stored_loss
from compbench.core.weights import UNIFORM, named
from compbench.diffusion.families._sd_precision import check_precision, encoders_dtype
from compbench.registry import checkpoints
from compbench.schedules.pairs import OUTCOMES
from compbench.schedules.policies import checked_risk
from compbench.schedules.racing import Racing, n_wave
from compbench.schedules.schedule import Full, Schedule, entry_of
from compbench.schedules.staged import published

if TYPE_CHECKING:
    from compbench.diffusion.families.stable_diffusion import StableDiffusion

__all__ = ["N_BANK", "STEPS", "check_options", "identity_of", "losses_of", "schedule_of", "view_of"]

N_BANK = 1000  # draws
# before, an antithetic bank began with other timesteps, and its runs are called antithetic
_NOISES = {"antithetic": "antithetic-2"}
STEPS = {"diffusion-itm": 10, "self-bench": 30}  # draws of the protocols that take few timesteps


def check_options(spec: StableDiffusion) -> None:
    """UsageError for a value out of its range, or for two options that exclude each other."""
    _check_values(spec)
    check_precision(spec)
    _check_schedule(spec)
    _check_rule(spec)
    _check_steps(spec)
    if spec.folder is not None and not disk.expanded(spec.folder).is_dir():
        raise UsageError(f"model {spec.name!r}: no folder {str(spec.folder)!r}; expected one in the diffusers layout")
    if spec.lora is not None and spec.pipeline is not None:
        raise UsageError(f"model {spec.name!r} is in memory; add its LoRA there: pipeline.load_lora_weights, fuse_lora")
    if spec.lora is not None and not spec.lora_loader:
        raise UsageError(f"model {spec.name!r} cannot take a LoRA: diffusers has no loader for those of its family")


def schedule_of(spec: StableDiffusion) -> Schedule:
    """The schedule that its options stand for; UsageError for options that do not fit together."""
    settled = spec.for_task(None)
    draws = settled.draws or N_BANK
    if settled.schedule == "full":
        return Full()
    if settled.schedule == "paper":
        stages = settled.stages or published("", N_BANK)  # of a task that is not known yet
        return replace(stages, draws=draws, target=settled.target, loss=settled.loss)
    return Racing(
        draws,
        settled.target,
        settled.loss,
        risk=settled.risk,
        bound=settled.bound,
        max_difference=settled.max_difference,
        outcomes=OUTCOMES if settled.outcomes == "all" else ("text",),
        seed=settled.seed or 0,
        allocation=settled.allocation,
        together=2 if settled.noise == "antithetic" else 1,
        n_wave=n_wave(settled.bound),
        tolerance=settled.tolerance,
    )


def losses_of(spec: StableDiffusion) -> tuple[str, ...]:
    """The errors that are stored: the squared one, what is asked for, and for guidance what it is read from."""
    asked = {spec.loss, *spec.also.split("+")}
    further = tuple(name for name in ("l1", "huber") if name in asked)
    return ("l2", *further, *((INNER, WITHOUT) if spec.guidance is not None else ()))


def identity_of(spec: StableDiffusion) -> Mapping[str, Json]:
    """All that changes a settled spec's errors, apart from the weights."""
    identity: dict[str, Json] = {"family": "stable-diffusion", "protocol": spec.protocol}
    identity |= {"seed": spec.seed, "dtype": spec.dtype}
    if len(spec.losses) > 1:
        identity["reductions"] = [stored_loss(loss) for loss in spec.losses]
    if spec.vae_dtype not in ("auto", encoders_dtype(spec)):
        identity["vae_dtype"] = spec.vae_dtype
    if spec.measured_px is not None:
        identity["size_px"] = spec.measured_px
    if spec.noise != "independent":
        identity["noise"] = _NOISES.get(spec.noise, spec.noise)
    if spec.is_rgb_first:
        identity["rgb"] = "first"
    identity |= entry_of(schedule_of(spec)) | ({"lora": spec.added} if spec.added else {})
    return identity | ({"weights": spec.weights} if spec.weights else {})


def view_of(spec: StableDiffusion) -> Mapping[str, Json]:
    """The reading of a settled spec's errors, in the words of run.json: the target and all that is not the default."""
    further: dict[str, Json] = {
        "reduction": stored_loss(spec.loss) if spec.loss != "l2" else None,
        "unconditional": spec.unconditional or None,
        "weight": spec.weight if spec.weight != UNIFORM else None,
        "timesteps": spec.timesteps or None,
        "normalise": spec.normalise if spec.normalise != "none" else None,
        "guidance": spec.guidance,
    }
    view: dict[str, Json] = {"n_draws": spec.draws, "target": spec.target}
    return view | {name: value for name, value in further.items() if value is not None}


def _check_rule(spec: StableDiffusion) -> None:
    """UsageError for a way of reading that no errors answer, or that only a finished run can be read by."""
    if spec.weight.startswith("learned:") or spec.weight.lower().endswith(".csv"):
        raise UsageError(
            f"model {spec.name!r}: weight={spec.weight} reads a run that is measured; run the model without it, then "
            f"compbench show RUN -o weight={spec.weight}"
        )
    weighed = spec.target
    if weighed == "auto":
        weighed = "native" if spec.weight == UNIFORM else named(spec.weight).target
    loss = "l2" if spec.loss == "auto" else spec.loss
    normalise = "" if spec.normalise == "none" else spec.normalise
    rule = Rule(
        weighed,
        loss=loss,
        unconditional=spec.unconditional,
        weight=spec.weight,
        timesteps=spec.timesteps,
        normalise=normalise,
        guidance=spec.guidance,
    )
    if spec.guidance == 0:
        raise UsageError(f"model {spec.name!r}: {NO_GUIDANCE}")
    plain = Rule(weighed, loss=loss, unconditional=spec.unconditional).words()
    further = [f"{name}={word}" for name, word in rule.words().items() if name not in plain]
    if further and spec.schedule in ("paper", "racing"):
        raise UsageError(
            f"model {spec.name!r}: schedule={spec.schedule} stops measuring by the plain error; {', '.join(further)} "
            "needs schedule=full"
        )


def _check_steps(spec: StableDiffusion) -> None:
    """UsageError for an option that a protocol of few timesteps pins itself."""
    if (n_steps := STEPS.get(spec.protocol)) is None:
        return
    what = f"model {spec.name!r}: protocol={spec.protocol}"
    if spec.draws is not None and spec.draws > n_steps:
        raise UsageError(f"{what} has {n_steps} timesteps and cannot take draws={spec.draws}")
    if spec.schedule in ("paper", "racing"):
        raise UsageError(f"{what} measures all of its {n_steps} timesteps; leave schedule={spec.schedule} out")
    if spec.noise != "independent":
        raise UsageError(f"{what} has its own noise; leave noise={spec.noise} out")


def _check_values(spec: StableDiffusion) -> None:
    if spec.draws is not None and not 1 <= spec.draws <= N_BANK:
        raise UsageError(f"model {spec.name!r} cannot take draws={spec.draws}; expected 1 to {N_BANK}")
    if spec.seed is not None and spec.seed < 0:
        raise UsageError(f"model {spec.name!r} cannot take seed={spec.seed}; expected 0 or more")
    if spec.size_px is not None and not 0 < spec.size_px <= checkpoints.MAX_PX:
        raise UsageError(
            f"model {spec.name!r} cannot take size_px={spec.size_px}; expected at most {checkpoints.MAX_PX}, and "
            f"a multiple of its networks' downsampling factor (8 for Stable Diffusion)"
        )


def _check_schedule(spec: StableDiffusion) -> None:
    what = f"model {spec.name!r}: schedule={spec.schedule}"
    checked_risk(spec.risk)
    if spec.schedule in ("paper", "racing") and spec.unconditional:
        raise UsageError(f"{what} stops before image scores are complete; unconditional needs full")
    if spec.unconditional and spec.loss == "l1":
        raise UsageError(f"model {spec.name!r}: the error without a caption is the squared one; leave loss=l1 out")
    if spec.max_difference is not None and not spec.max_difference > 0:
        raise UsageError(f"model {spec.name!r} cannot take max_difference={spec.max_difference}; expected more than 0")
    _check_that_racing_is_asked_for(spec)
    if spec.tolerance is not None and spec.pilot is not None:
        raise UsageError(f"{what} with a tolerance learns from a first wave of its own; leave pilot={spec.pilot} out")
    if spec.schedule == "paper" and spec.draws not in (None, N_BANK):
        raise UsageError(f"{what} uses its own timesteps out of all {N_BANK}; leave draws={spec.draws} out")
    if spec.schedule == "racing" and spec.bound == "anytime" and spec.max_difference is None:
        raise UsageError(f"{what} with bound=anytime needs the largest difference of a draw: max_difference=NUMBER")
    if spec.noise == "antithetic" and spec.protocol not in ("auto", "compbench"):
        raise UsageError(f"model {spec.name!r}: protocol={spec.protocol} has its own noise; leave noise out")


def _check_that_racing_is_asked_for(spec: StableDiffusion) -> None:
    plain = {"risk": 0.05, "bound": "auto", "max_difference": None, "outcomes": "all", "pilot": None, "tolerance": None}
    given = [name for name, default in plain.items() if getattr(spec, name) != default]
    if given and spec.schedule != "racing":
        raise UsageError(
            f"model {spec.name!r}: {given[0]}={getattr(spec, given[0])} only applies to schedule=racing, not "
            f"schedule={spec.schedule}; add -o schedule=racing, or leave it out"
        )
