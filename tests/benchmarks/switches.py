"""Each switch of speed on and off, in turns against the published loop, on the real architecture of a family.

The published loop measures a pair at a time, 32 draws at a time, and copies each batch to the host; here it goes over
the family's own network. A ratio is that of its seconds to ours, the geometric mean over turns with its 95 % interval.
Every loop has a thread of its own on a CUDA device: what cuDNN chose is known to its thread alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import rich.console
import rich.table
import torch

from compbench.core.examples import Example
from compbench.diffusion._break_even import Speeds
from compbench.diffusion.devices import has_tf32
from compbench.diffusion.engine import stacked
from tests.benchmarks.subjects import Loop, Subject, ceiling, classifier, full, in_threads, timed, where
from tests.benchmarks.turns import interval

__all__ = ["SWITCHES", "Row", "measured", "show"]

_PUBLISHED_BATCH = 32


@dataclass(frozen=True, slots=True)
class Switch:
    """One setting that differs from ours by default, under which everything else is as it is."""

    name: str
    settings: dict[str, Any] = field(default_factory=dict[str, Any])
    has_uneven_batches: bool = False  # pictures and captions encoded in batches of as many as come


SWITCHES = (
    Switch("as it is by default, eager"),
    Switch("autotuner off", {"autotune": False}),
    Switch("autoencoder in TF32", {"vae_dtype": "tf32"}),
    Switch("autoencoder in bfloat16", {"vae_dtype": "bfloat16"}),
    Switch("encoders in uneven batches", has_uneven_batches=True),
    Switch("compiled", {"compile_mode": "default"}),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One loop: the published one, or ours with one switch the other way."""

    name: str
    evaluations_per_second: float
    tflops: float
    ceiling_share: float
    peak_memory_bytes: int | None  # of a CUDA device; not known elsewhere
    ratio: float  # of the published loop's seconds to its own
    low: float
    high: float


def measured(subject: Subject, n_turns: int) -> tuple[list[Row], dict[str, Any]]:
    """The rows, and where they were measured, with what compiling took and from how many evaluations on it pays."""
    made = {switch.name: _classifier(subject, switch) for switch in SWITCHES if _is_possible(switch, subject)}
    plain = next(iter(made.values()))
    loops: dict[str, Loop] = {"published": partial(_one_pair_at_a_time, plain, subject)}
    loops |= {name: partial(full, ours, target="native") for name, ours in made.items()}
    run = in_threads(loops, tuned="published") if subject.device == "cuda" else loops
    flops = plain.price(subject.examples, probe_seconds=0).flops_per_evaluation
    warm = {name: timed(loop, subject)[1] for name, loop in run.items()}
    spent: dict[str, list[float]] = {name: [] for name in run}
    peaks: dict[str, int | None] = {}
    for _ in range(n_turns):
        for name, loop in run.items():
            _, seconds, peaks[name] = timed(loop, subject)
            spent[name].append(seconds)
    top = ceiling(torch.device(subject.device), getattr(torch, subject.dtype))
    n = subject.n_draws * sum(example.matches.size for example in subject.examples)
    rows: list[Row] = []
    for name, seconds in spent.items():
        rate = n / min(seconds)
        tflops = rate * flops / 1e12
        ratio = interval([math.log(theirs / ours) for theirs, ours in zip(spent["published"], seconds, strict=True)])
        rows.append(Row(name, rate, tflops, tflops / top, peaks[name], *ratio))
    eager, compiled = (median(spent[name]) for name in (SWITCHES[0].name, SWITCHES[-1].name))
    speeds = Speeds(eager / n, compiled / n, max(warm[SWITCHES[-1].name] - compiled, 0.0))
    return rows, {
        "model": subject.name,
        "device": where(subject),
        "dtype": subject.dtype,
        "torch": torch.__version__,
        "ceiling_tflops": top,
        "flops_per_evaluation": flops,
        "batch_size": plain._batch_size,
        "compiling_seconds": speeds.compiling,
        "break_even_evaluations": speeds.break_even if math.isfinite(speeds.break_even) else None,
    }


def _classifier(subject: Subject, switch: Switch) -> Any:
    ours = classifier(subject, protocol="compbench", seed=0, keeps_encoders=True, **switch.settings)
    if switch.has_uneven_batches:
        denoiser = ours.denoiser
        ours._encoders = (
            lambda pixels: {"latents": denoiser.encode_pixels(stacked(pixels, ours.device))},
            denoiser.encode_captions,
        )
    return ours


def _is_possible(switch: Switch, subject: Subject) -> bool:
    return switch.settings.get("vae_dtype") != "tf32" or has_tf32(torch.device(subject.device))


@torch.inference_mode()
def _one_pair_at_a_time(ours: Any, subject: Subject, examples: Sequence[Example]) -> np.ndarray:
    """[N, I, C]: as the published script does it, over the family's own network."""
    denoiser, device = ours.denoiser, ours.device
    noise = ours.bank.noise(range(subject.n_draws), denoiser.latent_shape)
    timesteps = torch.from_numpy(ours.bank.timesteps[: subject.n_draws])
    means: list[float] = []
    for example in examples:
        latents = [denoiser.encode_pixels(denoiser.pixels(image.decode())[None]) for image in example.images]
        states = [denoiser.encode_captions([caption]) for caption in example.captions]
        for latent in latents:
            for state in states:
                errors: list[torch.Tensor] = []
                for t, eps in zip(timesteps.split(_PUBLISHED_BATCH), noise.split(_PUBLISHED_BATCH), strict=True):
                    told = {name: tensor.expand(len(t), *tensor.shape[1:]) for name, tensor in state.items()}
                    pictures = latent.expand(len(t), *latent.shape[1:])
                    found = denoiser.errors(pictures, eps.to(device), t.to(device), told, ("l2",))
                    errors.append(found[0].cpu())
                means.append(float(torch.cat(errors).mean()))
    return np.array(means).reshape(len(examples), *examples[0].shape)


def show(rows: Sequence[Row], told: dict[str, Any], print_: Callable[[Any], None] | None = None) -> None:
    """The rows as a table, and what compiling took."""
    print_ = print_ or rich.console.Console(width=120).print
    table = rich.table.Table(title=f"{told['model']} · {told['dtype']} · {told['device']} · torch {told['torch']}")
    for heading in ("loop", "evaluations/s", "TFLOP/s", "of ceiling", "peak memory", "× the published loop [95 %]"):
        table.add_column(heading, justify="left" if heading == "loop" else "right")
    for row in rows:
        table.add_row(
            row.name,
            f"{row.evaluations_per_second:,.1f}",
            f"{row.tflops:.3g}",
            f"{row.ceiling_share:.0%}",
            "–" if row.peak_memory_bytes is None else f"{row.peak_memory_bytes / 2**30:.1f} GiB",
            f"{row.ratio:.2f} [{row.low:.2f}, {row.high:.2f}]",
        )
    print_(table)
    pays = told["break_even_evaluations"]
    paid = "it never pays here" if pays is None else f"it pays from {pays:,.0f} evaluations on"
    print_(f"ceiling: {told['ceiling_tflops']:.3g} TFLOP/s, a matrix product; our batch {told['batch_size']}")
    print_(f"compiling took {told['compiling_seconds']:.0f} s: {paid}")
