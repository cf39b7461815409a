"""Which options of a Stable Diffusion model go together; all is checked before anything is loaded."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from compbench.core import disk
from compbench.core.errors import UsageError
from compbench.registry import checkpoints
from compbench.schedules.pairs import OUTCOMES
from compbench.schedules.policies import checked_risk
from compbench.schedules.racing import Racing, n_wave
from compbench.schedules.schedule import Full, Schedule
from compbench.schedules.staged import published

if TYPE_CHECKING:
    from compbench.diffusion.families.stable_diffusion import StableDiffusion

__all__ = ["N_BANK", "check_options", "schedule_of"]

N_BANK = 1000  # draws


def check_options(spec: StableDiffusion) -> None:
    """UsageError for a value out of its range, or for two options that exclude each other."""
    _check_values(spec)
    _check_schedule(spec)
    if spec.folder is not None and not disk.expanded(spec.folder).is_dir():
        raise UsageError(f"model {spec.name!r}: no folder {str(spec.folder)!r}; expected one in the diffusers layout")


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
    )


def _check_values(spec: StableDiffusion) -> None:
    if spec.draws is not None and not 1 <= spec.draws <= N_BANK:
        raise UsageError(f"model {spec.name!r} cannot take draws={spec.draws}; expected 1 to {N_BANK}, its bank")
    if spec.seed is not None and spec.seed < 0:
        raise UsageError(f"model {spec.name!r} cannot take seed={spec.seed}; expected 0 or more")
    if spec.protocol == "published-fp16" and spec.dtype not in ("auto", "float16"):
        raise UsageError(
            f"model {spec.name!r}: protocol=published-fp16 is float16 throughout and cannot be {spec.dtype}; "
            "protocol=paper allows any dtype"
        )
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
    if spec.schedule == "paper" and spec.draws not in (None, N_BANK):
        raise UsageError(f"{what} uses its own timesteps out of all {N_BANK}; leave draws={spec.draws} out")
    if spec.schedule == "racing" and spec.bound == "anytime" and spec.max_difference is None:
        raise UsageError(f"{what} with bound=anytime needs the largest difference of a draw: max_difference=NUMBER")
    if spec.noise == "antithetic" and spec.protocol not in ("auto", "compbench"):
        raise UsageError(f"model {spec.name!r}: protocol={spec.protocol} has its own noise; leave noise out")


def _check_that_racing_is_asked_for(spec: StableDiffusion) -> None:
    plain = {"risk": 0.05, "bound": "auto", "max_difference": None, "outcomes": "all", "pilot": None}
    given = [name for name, default in plain.items() if getattr(spec, name) != default]
    if given and spec.schedule != "racing":
        raise UsageError(
            f"model {spec.name!r}: {given[0]}={getattr(spec, given[0])} only applies to schedule=racing, not "
            f"schedule={spec.schedule}; add -o schedule=racing, or leave it out"
        )
