"""Our loops beside the literal one and a plain diffusers loop: `python -m tests.benchmarks.engine [--sd2] [--json]`.

The same pictures, captions and draws go through the same network five ways, in turns, so that a busy machine slows
all of them. Evaluations and host synchronisations are counted, in a pass of their own. With --options: what each
lever of speed brings, and how far it moves the errors beside the margins that decide.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import rich.console
import rich.table
import torch
from diffusers.utils import logging as diffusers_logging
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel

from compbench import registry
from compbench.core.examples import Example, Image, ScoreTable, Task
from compbench.core.measurements import joined
from compbench.core.metrics import MATCHING
from compbench.core.models import Runtime
from compbench.core.rules import Rule, score
from compbench.diffusion import _protocols
from compbench.diffusion.families import sd_unet, stable_diffusion
from compbench.runs._online import OnlineScorer
from compbench.schedules.racing import Racing
from compbench.schedules.schedule import Full
from tests import literal
from tests.counting import HostSyncs

_LITERAL_BATCH = 32
_CEILING_SECONDS = 1.0

Loop = Callable[[Sequence[Example]], np.ndarray]  # -> mean eps errors [N, I, C]


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


@dataclass(frozen=True, slots=True)
class Subject:
    """A pipeline and what to measure with it."""

    name: str
    pipeline: Any  # unet, vae, text_encoder, tokenizer, scheduler
    examples: Sequence[Example]
    n_draws: int
    dtype: str
    device: str
    batch_size: int | None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=4)
    parser.add_argument("--draws", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3, help="timed passes of each loop; the fastest counts")
    parser.add_argument("--batch-size", type=int, help="of our loop; found automatically unless given")
    parser.add_argument("--sd2", action="store_true", help="the SD2 architecture with random weights, bf16, on CUDA")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--options", action="store_true", help="a table of options in place of that of loops")
    parser.add_argument("--risk", type=float, default=0.05, help="of the race")
    arguments = parser.parse_args()
    if arguments.sd2 and not torch.cuda.is_available():
        sys.exit(
            "--sd2 needs a CUDA device and there is none here; without --sd2 the tiny model is measured on the CPU"
        )
    diffusers_logging.disable_progress_bar()
    diffusers_logging.set_verbosity_error()
    subject = _sd2(arguments) if arguments.sd2 else _tiny(arguments)
    if arguments.options:
        _print_levers(levers(subject, arguments.repeats), subject)
        return
    rows, where = measure(subject, arguments.repeats, arguments.risk)
    if arguments.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
        print(json.dumps(where, indent=2), file=sys.stderr)
    else:
        _print(rows, where)


def measure(subject: Subject, repeats: int, risk: float = 0.05) -> tuple[list[Row], dict[str, Any]]:
    """The rows, and where they were measured: model, device, ceiling."""
    race = Racing(subject.n_draws, target="eps", risk=risk)
    is_cuda = subject.device == "cuda"
    ours = {
        "eager": _classifier(subject),
        "compiled": _classifier(subject, compile_mode="default"),
        "racing": _classifier(subject, compile_mode="default" if is_cuda else "off", schedule=race),
    }
    bank = ours["eager"].bank
    loops: dict[str, Loop] = {
        "literal": lambda examples: _literal(subject, bank, examples),
        "diffusers": lambda examples: _diffusers(subject, bank, examples),
        "eager": lambda examples: _full(ours["eager"], examples),
        "compiled": lambda examples: _full(ours["compiled"], examples),
        "racing": lambda examples: _raced(ours["racing"], race, examples),
    }
    unets = dict.fromkeys(("literal", "diffusers"), subject.pipeline.unet) | {
        name: classifier.denoiser.parts.network for name, classifier in ours.items()
    }
    warm = ours["eager"].price(subject.examples, probe_seconds=0.1)
    loops["compiled"](subject.examples)  # so that compiling is in no timed or counted pass
    counts = {name: _count(loop, unets[name], subject.examples) for name, loop in loops.items() if name != "compiled"}
    counts["compiled"] = counts["eager"]  # hooks are compiled away; its jobs and chunks are those of eager
    loops["bare"] = _bare(ours["eager"], subject, counts["eager"][0])
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    peaks: dict[str, int | None] = {}
    errors: dict[str, np.ndarray] = {}
    for _ in range(repeats):
        for name, loop in loops.items():
            errors[name], spent, peaks[name] = _timed(loop, subject)
            seconds[name].append(spent)
    ceiling = _ceiling(torch.device(subject.device), getattr(torch, subject.dtype))
    truth = _decisions(errors["literal"], subject.examples)
    rows: list[Row] = []
    for name in ("literal", "diffusers", "eager", "compiled", "racing"):
        n_evaluations, n_syncs = counts[name]
        rate = n_evaluations / min(seconds[name])
        tflops = rate * warm.flops_per_evaluation / 1e12
        changed = int((_decisions(errors[name], subject.examples) != truth).sum())
        rows.append(Row(name, n_evaluations, n_syncs, rate, tflops, tflops / ceiling, peaks[name], changed))
    where = {
        "model": subject.name,
        "device": torch.cuda.get_device_name()
        if subject.device == "cuda"
        else f"cpu, {torch.get_num_threads()} threads",
        "dtype": subject.dtype,
        "torch": torch.__version__,
        "ceiling_tflops": ceiling,
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


def _full(ours: Any, examples: Sequence[Example]) -> np.ndarray:
    draws = ours.draw_table()
    return np.stack([-score(example, draws, Rule("eps")).scores for example in joined(ours.score(examples, {}))])


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


def _classifier(subject: Subject, *, compile_mode: str = "off", **settings: Any) -> Any:
    options = {"dtype": subject.dtype, "schedule": Full(), **settings}
    measuring = _protocols.Measuring(
        protocol="paper", seed=42, draws=subject.n_draws, compile_mode=compile_mode, **options
    )
    classifier = measuring.classifier(
        sd_unet.UNetFamily(),
        sd_unet.of_pipeline(subject.pipeline, subject.name),
        Runtime(subject.device, subject.batch_size, say=lambda message: print(message, file=sys.stderr)),
    )
    classifier.prepare(Task("benchmark", subject.examples, MATCHING))
    return classifier


@dataclass(frozen=True, slots=True)
class Lever:
    name: str
    evaluations_per_second: float
    gain: float  # over eager float32
    deviation: float  # median |change of an example's margin| over the median |margin|
    decisions_changed: int


def levers(subject: Subject, repeats: int) -> list[Lever]:
    """Each lever alone, on float32 eager execution, in turns."""
    plain = Subject(**{**asdict_shallow(subject), "dtype": "float32"})
    classifiers = {
        "float32, eager": _classifier(plain),
        "bfloat16": _classifier(plain, dtype="bfloat16"),
        "channels_last": _classifier(plain),
        "torch.compile": _classifier(plain, compile_mode="default"),
    }
    channels_last = copy.deepcopy(classifiers["channels_last"].denoiser.parts.network)
    classifiers["channels_last"].denoiser._network = channels_last.to(memory_format=torch.channels_last)
    seconds: dict[str, list[float]] = {name: [] for name in classifiers}
    errors: dict[str, np.ndarray] = {}
    for name, classifier in classifiers.items():
        errors[name] = _full(classifier, subject.examples)  # warm, compiled
    for _ in range(repeats):
        for name, classifier in classifiers.items():
            errors[name], spent, _ = _timed(
                lambda examples, classifier=classifier: _full(classifier, examples), subject
            )
            seconds[name].append(spent)
    n = subject.n_draws * sum(len(example.images) * len(example.captions) for example in subject.examples)
    rates = {name: n / min(spent) for name, spent in seconds.items()}
    (first, truth), *_ = errors.items()
    scale = np.median(np.abs(_margins(truth)))
    return [
        Lever(
            name,
            rates[name],
            rates[name] / rates[first],
            float(np.median(np.abs(_margins(found) - _margins(truth))) / scale),
            int((_decisions(found, subject.examples) != _decisions(truth, subject.examples)).sum()),
        )
        for name, found in errors.items()
    ]


def _margins(errors: np.ndarray) -> np.ndarray:
    """The differences that text and image scores hang on, [N, 4]."""
    return np.concatenate([errors[..., 0] - errors[..., 1], errors[:, 0] - errors[:, 1]], axis=1)


def asdict_shallow(subject: Subject) -> dict[str, Any]:
    return {field_.name: getattr(subject, field_.name) for field_ in fields(subject)}


def _print_levers(rows: Sequence[Lever], subject: Subject) -> None:
    table = rich.table.Table(title=f"{subject.name} · {subject.device} · torch {torch.__version__}")
    for heading in ("option", "evaluations/s", "gain", "margins moved by", "decisions changed"):
        table.add_column(heading, justify="left" if heading == "option" else "right")
    for row in rows:
        table.add_row(
            row.name,
            f"{row.evaluations_per_second:,.0f}",
            f"{row.gain:.2f}",
            f"{row.deviation:.2%} of the median margin",
            f"{row.decisions_changed} of {3 * len(subject.examples)}",
        )
    rich.console.Console(width=120).print(table)


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


def _timed(loop: Loop, subject: Subject) -> tuple[np.ndarray, float, int | None]:
    if subject.device != "cuda":
        began = time.perf_counter()
        return loop(subject.examples), time.perf_counter() - began, None
    torch.cuda.reset_peak_memory_stats()
    torch.cuda.synchronize()
    began = time.perf_counter()
    errors = loop(subject.examples)
    torch.cuda.synchronize()
    return errors, time.perf_counter() - began, torch.cuda.max_memory_allocated()


def _ceiling(device: torch.device, dtype: torch.dtype) -> float:
    """TFLOP/s of a large square matrix product, the fastest of a second's worth."""
    n = 8192 if device.type == "cuda" else 1024
    left, right = torch.randn((2, n, n), device=device, dtype=dtype)
    fastest, until = float("inf"), time.perf_counter() + _CEILING_SECONDS
    while time.perf_counter() < until:
        began = time.perf_counter()
        left @ right
        if device.type == "cuda":
            torch.cuda.synchronize()
        fastest = min(fastest, time.perf_counter() - began)
    return 2 * n**3 / fastest / 1e12


def _decisions(errors: np.ndarray, examples: Sequence[Example]) -> np.ndarray:
    """Text, image and group of each example, right or wrong, [3, N]."""
    table = ScoreTable(
        tuple(example.id for example in examples), -errors, np.stack([example.matches for example in examples])
    )
    return np.stack([metric.outcome(table) for metric in MATCHING.values()])


def _latent_shape(pipeline: Any) -> tuple[int, int, int]:
    config = pipeline.unet.config
    return config.in_channels, config.sample_size, config.sample_size


def _tiny(arguments: argparse.Namespace) -> Subject:
    """tiny-sd as it ships; an untrained one of the same architecture where it is not built yet."""
    folder = Path(stable_diffusion.TINY_SD.repo)
    examples = registry.task("shapes").examples[: arguments.examples]
    with tempfile.TemporaryDirectory() as scratch:
        name = "tiny-sd"
        if not (folder / "unet").is_dir():
            from tests.conftest import _save_pipeline

            name = "tiny-sd's architecture, untrained"
            folder = _save_pipeline(Path(scratch) / "tiny", "v_prediction")
        pipeline = literal.load(folder)
    return Subject(name, pipeline, examples, arguments.draws, "float32", "cpu", arguments.batch_size)


def _sd2(arguments: argparse.Namespace) -> Subject:
    """Stable Diffusion 2 base with random weights: its speed is that of the trained one."""
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel

    from compbench.tiny.tokenizer import make_tokenizer

    with torch.random.fork_rng(), torch.device("cuda"):
        torch.manual_seed(0)
        unet = UNet2DConditionModel(
            sample_size=64,
            block_out_channels=(320, 640, 1280, 1280),
            cross_attention_dim=1024,
            attention_head_dim=(5, 10, 20, 20),
            use_linear_projection=True,
        )
        vae = AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
            latent_channels=4,
            sample_size=512,
        )
        text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=49_408,
                hidden_size=1024,
                intermediate_size=4096,
                num_hidden_layers=23,
                num_attention_heads=16,
                max_position_embeddings=77,
                hidden_act="gelu",
            )
        )
    tokenizer = make_tokenizer()
    tokenizer.model_max_length = 77
    pipeline = SimpleNamespace(
        unet=unet.to(torch.bfloat16).eval(),
        vae=vae.to(torch.bfloat16).eval(),
        text_encoder=text_encoder.to(torch.bfloat16).eval(),
        tokenizer=tokenizer,
        scheduler=DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"),
    )
    shapes = registry.task("shapes").examples[: arguments.examples]
    examples = [
        Example(
            shape.id,
            tuple(
                Image(image.name, lambda image=image: image.decode().resize((512, 512)))  # pyright: ignore
                for image in shape.images
            ),
            shape.captions,
            shape.matches,
        )
        for shape in shapes
    ]
    name = "SD2 base architecture, random weights, 64x64 latents"
    return Subject(name, pipeline, examples, arguments.draws, "bfloat16", "cuda", arguments.batch_size)


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
        console.print("no CUDA device was used: peak memory is not measured, and --sd2 needs one")


if __name__ == "__main__":
    main()
