"""Our loop beside the literal one and a plain diffusers loop: `python -m tests.benchmarks.engine [--sd2] [--json]`.

The same pictures, captions and draws go through the same network three ways, in turns, so that a busy machine slows
all of them. Evaluations and host synchronisations are counted, in a pass of their own.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
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

from compbench import models, registry
from compbench.rules import Rule, score
from compbench.scorers import pipelines, protocols
from compbench.types import Example, Image, Runtime, joined
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
    decisions_changed: int  # of the literal loop's, one per image and one per caption


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
    arguments = parser.parse_args()
    if arguments.sd2 and not torch.cuda.is_available():
        sys.exit(
            "--sd2 needs a CUDA device and there is none here; without --sd2 the tiny model is measured on the CPU"
        )
    diffusers_logging.disable_progress_bar()
    diffusers_logging.set_verbosity_error()
    subject = _sd2(arguments) if arguments.sd2 else _tiny(arguments)
    rows, where = measure(subject, arguments.repeats)
    if arguments.json:
        print(json.dumps({**where, "rows": [asdict(row) for row in rows]}, indent=2))
    else:
        _print(rows, where)


def measure(subject: Subject, repeats: int) -> tuple[list[Row], dict[str, Any]]:
    """The rows, and where they were measured: model, device, ceiling."""
    ours = _classifier(subject)
    loops: dict[str, Loop] = {
        "literal": lambda examples: _literal(subject, ours.bank, examples),
        "diffusers": lambda examples: _diffusers(subject, ours.bank, examples),
        "eager": lambda examples: _eager(ours, examples),
    }
    unets = {"literal": subject.pipeline.unet, "diffusers": subject.pipeline.unet, "eager": ours.denoiser._unet}
    warm = ours.price(subject.examples, probe_seconds=0.1)
    counts = {name: _count(loop, unets[name], subject.examples) for name, loop in loops.items()}
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    peaks: dict[str, int | None] = {}
    errors: dict[str, np.ndarray] = {}
    for _ in range(repeats):
        for name, loop in loops.items():
            errors[name], spent, peaks[name] = _timed(loop, subject)
            seconds[name].append(spent)
    ceiling = _ceiling(torch.device(subject.device), getattr(torch, subject.dtype))
    rows: list[Row] = []
    for name, (n_evaluations, n_syncs) in counts.items():
        rate = n_evaluations / min(seconds[name])
        tflops = rate * warm.flops_per_evaluation / 1e12
        changed = int((_decisions(errors[name]) != _decisions(errors["literal"])).sum())
        rows.append(Row(name, n_evaluations, n_syncs, rate, tflops, tflops / ceiling, peaks[name], changed))
    where = {
        "model": subject.name,
        "device": torch.cuda.get_device_name()
        if subject.device == "cuda"
        else f"cpu, {torch.get_num_threads()} threads",
        "dtype": subject.dtype,
        "torch": torch.__version__,
        "ceiling_tflops": ceiling,
        "batch_size": ours._batch_size,
        "n_decisions": int(_decisions(errors["literal"]).size),
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


def _eager(ours: Any, examples: Sequence[Example]) -> np.ndarray:
    draws = ours.draw_table()
    return np.stack([-score(each, draws, Rule("eps")).scores for each in joined(ours.score(examples, {}))])


def _classifier(subject: Subject) -> Any:
    return protocols.classifier(
        pipelines.components_of(subject.pipeline),
        protocol="paper",
        seed=42,
        dtype=subject.dtype,
        n_draws=subject.n_draws,
        runtime=Runtime(subject.device, subject.batch_size, say=lambda message: print(message, file=sys.stderr)),
        name=subject.name,
    )


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


def _decisions(errors: np.ndarray) -> np.ndarray:
    """The caption chosen for each image, and the image chosen for each caption."""
    return np.concatenate([errors.argmin(2), errors.argmin(1)], axis=1)


def _latent_shape(pipeline: Any) -> tuple[int, int, int]:
    config = pipeline.unet.config
    return config.in_channels, config.sample_size, config.sample_size


def _tiny(arguments: argparse.Namespace) -> Subject:
    """tiny-sd as it ships; an untrained one of the same architecture where it is not built yet."""
    folder = Path(models.TINY_SD.repo)
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
            each.id,
            tuple(
                Image(image.name, lambda image=image: image.decode().resize((512, 512)))  # pyright: ignore
                for image in each.images
            ),
            each.captions,
            each.matches,
        )
        for each in shapes
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
    console.print(f"ceiling: {where['ceiling_tflops']:.3g} TFLOP/s, a matrix product; our batch {where['batch_size']}")
    if where["device"].startswith("cpu"):
        console.print("no CUDA device was used: peak memory is not measured, and --sd2 needs one")


if __name__ == "__main__":
    main()
