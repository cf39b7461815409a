"""Our loops beside the literal one and a plain diffusers loop: `python -m tests.benchmarks.engine [--sd2] [--json]`.

The same pictures, captions and draws go through the same network five ways, in turns, so that a busy machine slows
all of them. Evaluations and host synchronisations are counted, in a pass of their own. With --options: what each
lever of speed brings, and how far it moves the errors beside the margins that decide. With --family: a family's real
architecture with random weights on a CUDA device, each switch of speed on and off beside the published loop; with
--small too, its tiny pipeline on the CPU. --sd2 prints both tables for Stable Diffusion 2.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import rich.console
import rich.table
import torch
from diffusers.utils import logging as diffusers_logging
from torch import nn

from compbench.core.examples import Example, Task
from compbench.core.metrics import MATCHING
from compbench.runs._online import OnlineScorer
from compbench.schedules.racing import Racing
from tests import literal
from tests.benchmarks import levers, subjects, switches
from tests.benchmarks.architectures import ARCHITECTURES
from tests.benchmarks.subjects import Loop, Subject, ceiling, classifier, decisions, full, in_threads, timed
from tests.counting import HostSyncs

_LITERAL_BATCH = 32


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    network_evaluations: int
    host_syncs: int
    evaluations_per_second: float
    tflops: float
    ceiling_share: float
    peak_memory_bytes: int | None  # of a CUDA device; not known elsewhere
    decisions_changed: int  # of the literal loop's: text, image and group, right or wrong, of each example


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=4)
    parser.add_argument("--draws", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3, help="timed passes of each loop; the fastest counts")
    parser.add_argument("--batch-size", type=int, help="of our loop; found automatically unless given")
    parser.add_argument("--sd2", action="store_true", help="the SD2 architecture with random weights, bf16, on CUDA")
    parser.add_argument("--family", choices=list(ARCHITECTURES), help="the switches on its real architecture, on CUDA")
    parser.add_argument("--small", action="store_true", help="--family's tiny pipeline on the CPU instead")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--options", action="store_true", help="a table of options in place of that of loops")
    parser.add_argument("--risk", type=float, default=0.05, help="of the race")
    arguments = parser.parse_args()
    diffusers_logging.disable_progress_bar()
    diffusers_logging.set_verbosity_error()
    sizes = arguments.examples, arguments.draws, arguments.batch_size
    if arguments.family is not None:
        make = subjects.small if arguments.small else subjects.real
        _switch(make(arguments.family, *sizes), arguments)
        return
    subject = subjects.real("sd2", *sizes) if arguments.sd2 else subjects.tiny(*sizes)
    if arguments.options:
        levers.show(levers.levers(subject, arguments.repeats), subject)
        return
    rows, where = measure(subject, arguments.repeats, arguments.risk)
    if arguments.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
        print(json.dumps(where, indent=2), file=sys.stderr)
    else:
        _print(rows, where)
        if arguments.sd2:
            _switch(subject, arguments)


def _switch(subject: Subject, arguments: argparse.Namespace) -> None:
    rows, where = switches.measured(subject, arguments.repeats)
    if arguments.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
        print(json.dumps(where, indent=2), file=sys.stderr)
    else:
        switches.show(rows, where)


def measure(subject: Subject, repeats: int, risk: float = 0.05) -> tuple[list[Row], dict[str, Any]]:
    """The rows, and where they were measured: model, device, ceiling."""
    race = Racing(subject.n_draws, target="eps", risk=risk)
    is_cuda = subject.device == "cuda"
    ours = {
        "eager": classifier(subject),
        "compiled": classifier(subject, compile_mode="default"),
        "racing": classifier(subject, compile_mode="default" if is_cuda else "off", schedule=race),
    }
    bank = ours["eager"].bank
    loops: dict[str, Loop] = {
        "literal": lambda examples: _literal(subject, bank, examples),
        "diffusers": lambda examples: _diffusers(subject, bank, examples),
        "eager": lambda examples: full(ours["eager"], examples),
        "compiled": lambda examples: full(ours["compiled"], examples),
        "racing": lambda examples: _raced(ours["racing"], race, examples),
    }
    unets = dict.fromkeys(("literal", "diffusers"), subject.pipeline.unet) | {
        name: made.denoiser.parts.network for name, made in ours.items()
    }
    warm = ours["eager"].price(subject.examples, probe_seconds=0.1)
    loops["compiled"](subject.examples)  # so that compiling is in no timed or counted pass
    counts = {name: _count(loop, unets[name], subject.examples) for name, loop in loops.items() if name != "compiled"}
    counts["compiled"] = counts["eager"]  # hooks are compiled away; its jobs and chunks are those of eager
    loops["bare"] = _bare(ours["eager"], subject, counts["eager"][0])
    if is_cuda:
        loops = in_threads(loops, tuned="literal")
        for loop in loops.values():  # what cuDNN chooses is known to a thread alone
            loop(subject.examples)
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    peaks: dict[str, int | None] = {}
    errors: dict[str, np.ndarray] = {}
    for _ in range(repeats):
        for name, loop in loops.items():
            errors[name], spent, peaks[name] = timed(loop, subject)
            seconds[name].append(spent)
    top = ceiling(torch.device(subject.device), getattr(torch, subject.dtype))
    truth = decisions(errors["literal"], subject.examples)
    rows: list[Row] = []
    for name in ("literal", "diffusers", "eager", "compiled", "racing"):
        n_evaluations, n_syncs = counts[name]
        rate = n_evaluations / min(seconds[name])
        tflops = rate * warm.flops_per_evaluation / 1e12
        changed = int((decisions(errors[name], subject.examples) != truth).sum())
        rows.append(Row(name, n_evaluations, n_syncs, rate, tflops, tflops / top, peaks[name], changed))
    where = {
        "model": subject.name,
        "device": subjects.where(subject),
        "dtype": subject.dtype,
        "torch": torch.__version__,
        "ceiling_tflops": top,
        "batch_size": ours["eager"]._batch_size,
        "n_decisions": truth.size,
        "bare_evaluations_per_second": counts["eager"][0] / min(seconds["bare"]),
    }
    return rows, where


def _literal(subject: Subject, bank: Any, examples: Sequence[Example]) -> np.ndarray:
    """One pair at a time, 32 timesteps at a time, each batch copied to the host."""
    pipeline, timesteps = subject.pipeline, bank.timesteps[: subject.n_draws].tolist()
    noise = literal.published_noise(_latent_shape(pipeline))
    means: list[Any] = []
    for example in examples:
        latents = [literal.encode_image(pipeline, image.decode()) for image in example.images]
        texts = [literal.encode_caption(pipeline, caption) for caption in example.captions]
        means.append(
            [
                [literal.pair_errors(pipeline, latent, text, noise, timesteps, _LITERAL_BATCH).mean() for text in texts]
                for latent in latents
            ]
        )
    return np.array(means)


@torch.inference_mode()
def _diffusers(subject: Subject, bank: Any, examples: Sequence[Example]) -> np.ndarray:
    """As one would write it with diffusers' own functions: a pair's draws in batches, one host copy a pair."""
    pipeline, device = subject.pipeline, torch.device(subject.device)
    scheduler = pipeline.scheduler
    timesteps = torch.from_numpy(bank.timesteps[: subject.n_draws])
    noise = literal.published_noise(_latent_shape(pipeline))[timesteps].to(device, pipeline.unet.dtype)
    timesteps = timesteps.to(device)
    is_v = scheduler.config.prediction_type == "v_prediction"
    weights = scheduler.alphas_cumprod.to(device)[timesteps] if is_v else torch.ones(len(timesteps), device=device)
    means: list[float] = []
    for example in examples:
        latents = [literal.encode_image(pipeline, image.decode()) for image in example.images]
        texts = [literal.encode_caption(pipeline, caption) for caption in example.captions]
        for latent in latents:
            for text in texts:
                errors: list[torch.Tensor] = []
                for t, eps in zip(timesteps.split(_LITERAL_BATCH), noise.split(_LITERAL_BATCH), strict=True):
                    x0 = latent.expand(len(t), -1, -1, -1)
                    target = scheduler.get_velocity(x0, eps, t) if is_v else eps
                    states = text.expand(len(t), -1, -1)
                    predicted = pipeline.unet(scheduler.add_noise(x0, eps, t), t, encoder_hidden_states=states).sample
                    errors.append((target - predicted).float().square().mean((1, 2, 3)))
                means.append((torch.cat(errors) * weights).mean().cpu().item())
    return np.array(means).reshape(len(examples), *examples[0].shape)


def _raced(ours: Any, race: Racing, examples: Sequence[Example]) -> np.ndarray:
    reduction = OnlineScorer(race.rule, race, ours.draw_table(), Task("benchmark", examples, MATCHING))
    found = {result.example_id: -result.scores for result in reduction.scores(ours.score(examples, {}))}
    return np.stack([found[example.id] for example in examples])


def _bare(ours: Any, subject: Subject, n_evaluations: int) -> Loop:
    """The network alone, on one batch again and again: what no engine can beat."""
    denoiser, size = ours.denoiser, ours._batch_size
    example = subject.examples[0]
    latents, states = ours._first_pair(example)
    timesteps = torch.arange(size, device=latents.device) % 1000
    network_input = torch.randn((size, *latents.shape[1:])).to(latents.device, denoiser._precision.network)
    states = {name: tensor.expand(size, *tensor.shape[1:]) for name, tensor in states.items()}

    @torch.inference_mode()
    def run(examples: Sequence[Example]) -> np.ndarray:
        output = network_input
        for _ in range(-(-n_evaluations // size)):
            output = denoiser.parts.network(network_input, timesteps, **states, return_dict=False)[0]
        return output[:1, :1, :1, :1].float().cpu().numpy()

    return run


def _count(loop: Loop, unet: nn.Module, examples: Sequence[Example]) -> tuple[int, int]:
    """Network evaluations (batch entries, padding too) and host synchronisations of one pass."""
    n = 0

    def add(module: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        nonlocal n
        n += len(args[0])

    handle = unet.register_forward_pre_hook(add)
    try:
        with HostSyncs() as syncs:
            loop(examples)
    finally:
        handle.remove()
    return n, syncs.n


def _latent_shape(pipeline: Any) -> tuple[int, int, int]:
    config = pipeline.unet.config
    return config.in_channels, config.sample_size, config.sample_size


def _print(rows: Sequence[Row], where: dict[str, Any]) -> None:
    table = rich.table.Table(title=f"{where['model']} · {where['dtype']} · {where['device']} · torch {where['torch']}")
    for heading in (
        "loop",
        "evaluations",
        "host syncs",
        "evaluations/s",
        "TFLOP/s",
        "of ceiling",
        "peak memory",
        "changed",
    ):
        table.add_column(heading, justify="left" if heading == "loop" else "right")
    for row in rows:
        table.add_row(
            row.name,
            f"{row.network_evaluations:,}",
            f"{row.host_syncs:,}",
            f"{row.evaluations_per_second:,.1f}",
            f"{row.tflops:.3g}",
            f"{row.ceiling_share:.0%}",
            "–" if row.peak_memory_bytes is None else f"{row.peak_memory_bytes / 2**30:.1f} GiB",
            f"{row.decisions_changed} of {where['n_decisions']}",
        )
    console = rich.console.Console()
    console.print(table)
    eager = next(row for row in rows if row.name == "eager").evaluations_per_second
    bare = where["bare_evaluations_per_second"]
    console.print(f"the bare network: {bare:,.1f} evaluations/s; eager overhead {bare / eager - 1:.1%}")
    console.print(f"ceiling: {where['ceiling_tflops']:.3g} TFLOP/s, a matrix product; our batch {where['batch_size']}")
    if where["device"].startswith("cpu"):
        console.print("no CUDA device was used: peak memory is not measured; --sd2 and --family need one")


if __name__ == "__main__":
    main()
