"""What the benchmarks of speed measure, a model with pictures and captions, and how all of them measure it."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from compbench import registry
from compbench.core.examples import Example, Image, ScoreTable, Task
from compbench.core.measurements import joined
from compbench.core.metrics import MATCHING
from compbench.core.models import Runtime
from compbench.core.rules import Rule, score
from compbench.diffusion import _protocols
from compbench.diffusion.families import sd_unet, stable_diffusion
from compbench.diffusion.family import Family
from compbench.diffusion.parts import Parts
from compbench.schedules.schedule import Full
from tests import literal
from tests.benchmarks import architectures

Loop = Callable[[Sequence[Example]], np.ndarray]  # -> mean errors [N, I, C]
CEILING_SECONDS = 1.0
SMALL = {"sdxl": "sdxl", "sd3": "sd3", "flux": "flux-dev", "pixart": "pixart-sigma", "sana": "sana"}
_SMALL_PX = 32  # of what has no size in its configuration


@dataclass(frozen=True, slots=True)
class Subject:
    """A model and what to measure with it."""

    name: str
    family: Family
    parts: Parts
    examples: Sequence[Example]
    n_draws: int
    dtype: str
    device: str
    batch_size: int | None
    pipeline: Any = None  # unet, vae, text_encoder, tokenizer, scheduler: for the loops over Stable Diffusion
    size_px: int | None = None


def tiny(n_examples: int, n_draws: int, batch_size: int | None = None) -> Subject:
    """tiny-sd as it ships; an untrained one of the same architecture where it is not built yet."""
    folder = Path(stable_diffusion.TINY_SD.repo)
    examples = registry.task("shapes").examples[:n_examples]
    with tempfile.TemporaryDirectory() as scratch:
        name = "tiny-sd"
        if not (folder / "unet").is_dir():
            from tests.conftest import _save_pipeline

            name = "tiny-sd's architecture, untrained"
            folder = _save_pipeline(Path(scratch) / "tiny", "v_prediction")
        pipeline = literal.load(folder)
    parts = sd_unet.of_pipeline(pipeline, name)
    return Subject(name, sd_unet.UNetFamily(), parts, examples, n_draws, "float32", "cpu", batch_size, pipeline)


def real(name: str, n_examples: int, n_draws: int, batch_size: int | None = None) -> Subject:
    """The real architecture of a family with random weights in bfloat16, on a CUDA device."""
    if not torch.cuda.is_available():
        sys.exit("this needs a CUDA device and there is none here; with --small a tiny pipeline is measured on the CPU")
    parts, half = architectures.parts_of(name, "cuda", torch.bfloat16), torch.bfloat16
    architecture, pipeline = architectures.ARCHITECTURES[name], None
    if name == "sd2":  # for the loops of others, in the layout and the dtype that they have
        text = parts.texts[0]
        pipeline = SimpleNamespace(
            unet=_copied(parts.network, half),
            vae=_copied(parts.vae, half),
            text_encoder=_copied(text.encoder, half),
            tokenizer=text.tokenizer,
            scheduler=parts.scheduler,
        )
    if parts.kind == "U-Net":  # as a run places it, which leaves what is in memory already as it is
        parts.network.to(memory_format=torch.channels_last)
    words = f"{architecture.words}'s architecture, random weights, {architecture.size_px} px"
    examples = resized(n_examples, architecture.size_px)
    family = architecture.family
    return Subject(words, family, parts, examples, n_draws, "bfloat16", "cuda", batch_size, pipeline)


def small(name: str, n_examples: int, n_draws: int, batch_size: int | None = None) -> Subject:
    """The family's tiny untrained pipeline, loaded as a run loads it, on the CPU."""
    from tests import small_sd, tiny_pipelines

    with tempfile.TemporaryDirectory() as scratch:
        folder, family = Path(scratch) / name, architectures.ARCHITECTURES[name].family
        if name == "sd2":
            parts, size_px = sd_unet.load(small_sd.save(folder)), None
        else:
            tiny_pipelines.MADE[SMALL[name]](folder)
            parts, size_px = family.load(folder, name, lambda message: None), _SMALL_PX  # type: ignore[attr-defined]
    examples = registry.task("shapes").examples[:n_examples]
    words = f"{architectures.ARCHITECTURES[name].words}, tiny and untrained"
    parts = replace(parts, is_borrowed=True)  # several classifiers have them, each in its own dtypes
    return Subject(words, family, parts, examples, n_draws, "float32", "cpu", batch_size, size_px=size_px)


def resized(n: int, size_px: int) -> list[Example]:
    """Examples of `shapes` of two pictures and two captions, as large as Winoground's are for the model."""

    def large(image: Image) -> Image:
        return Image(image.name, lambda: image.decode().resize((size_px, size_px)))

    return [
        Example(shape.id, tuple(large(image) for image in shape.images), shape.captions, shape.matches)
        for shape in registry.task("shapes").examples[:n]
    ]


def classifier(subject: Subject, *, compile_mode: str = "off", **settings: Any) -> Any:
    """The Diffusion Classifier of a subject, prepared; under the paper's protocol unless told otherwise."""
    options: dict[str, Any] = {"protocol": "paper", "seed": 42, "dtype": subject.dtype, "schedule": Full()} | settings
    measuring = _protocols.Measuring(
        draws=subject.n_draws, compile_mode=compile_mode, size_px=subject.size_px, **options
    )
    runtime = Runtime(subject.device, subject.batch_size, say=lambda message: print(message, file=sys.stderr))
    made = measuring.classifier(subject.family, subject.parts, runtime)
    made.prepare(Task("benchmark", tuple(subject.examples), MATCHING))
    return made


def full(ours: Any, examples: Sequence[Example], target: str = "eps") -> np.ndarray:
    """The mean errors that our engine finds, [N, I, C]."""
    draws = ours.draw_table()
    return np.stack([-score(example, draws, Rule(target)).scores for example in joined(ours.score(examples, {}))])


def timed(loop: Loop, subject: Subject) -> tuple[np.ndarray, float, int | None]:
    """The errors of a loop, its seconds, and the peak memory of a CUDA device."""
    if subject.device != "cuda":
        began = time.perf_counter()
        return loop(subject.examples), time.perf_counter() - began, None
    torch.cuda.reset_peak_memory_stats()
    torch.cuda.synchronize()
    began = time.perf_counter()
    errors = loop(subject.examples)
    torch.cuda.synchronize()
    return errors, time.perf_counter() - began, torch.cuda.max_memory_allocated()


def ceiling(device: torch.device, dtype: torch.dtype) -> float:
    """TFLOP/s of a large square matrix product, the fastest of a second's worth."""
    n = 8192 if device.type == "cuda" else 1024
    left, right = torch.randn((2, n, n), device=device, dtype=dtype)
    fastest, until = float("inf"), time.perf_counter() + CEILING_SECONDS
    while time.perf_counter() < until:
        began = time.perf_counter()
        left @ right
        if device.type == "cuda":
            torch.cuda.synchronize()
        fastest = min(fastest, time.perf_counter() - began)
    return 2 * n**3 / fastest / 1e12


def in_threads(loops: Mapping[str, Loop], tuned: str) -> dict[str, Loop]:
    """The loops, each in a thread of its own, which alone knows what cuDNN chose in it.

    `tuned`: the one that runs with the autotuner as its script turns it on; ours says so by itself.
    """

    def threaded(loop: Loop, *, is_tuned: bool) -> Loop:
        thread, run = ThreadPoolExecutor(1), partial(_tuned, loop) if is_tuned else loop
        return lambda examples: thread.submit(run, examples).result()

    return {name: threaded(loop, is_tuned=name == tuned) for name, loop in loops.items()}


def _tuned(loop: Loop, examples: Sequence[Example]) -> np.ndarray:
    cudnn = torch.backends.cudnn
    before, cudnn.benchmark = cudnn.benchmark, True
    try:
        return loop(examples)
    finally:
        cudnn.benchmark = before


def where(subject: Subject) -> str:
    """The device, in words."""
    return torch.cuda.get_device_name() if subject.device == "cuda" else f"cpu, {torch.get_num_threads()} threads"


def decisions(errors: np.ndarray, examples: Sequence[Example]) -> np.ndarray:
    """Text, image and group of each example, right or wrong, [3, N]."""
    table = ScoreTable(
        tuple(example.id for example in examples), -errors, np.stack([example.matches for example in examples])
    )
    return np.stack([metric.outcome(table) for metric in MATCHING.values()])


def _copied(module: Any, dtype: torch.dtype) -> Any:
    import copy

    return copy.deepcopy(module).to(dtype).eval()
