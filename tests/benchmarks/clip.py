"""Our CLIP scorer beside a plain open_clip loop: `python -m tests.benchmarks.clip [--json]`.

The plain loop is the one that is usually written, CLIP_benchmark's among them: a batch of examples at a time, every
image and every caption of each encoded where it stands. Both go over the same pictures with the same weights, in
turns, so that a busy machine slows both; the best of their times counts. Encodings are rows through each tower.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import open_clip
import rich.console
import rich.table
import torch
import torch.nn.functional as F
from torch import Tensor

from compbench import registry
from compbench.core.examples import Example, Task
from compbench.core.models import Runtime
from compbench_baselines.clip import _weights as clip_weights
from compbench_baselines.clip._scorer import ClipScorer
from compbench_baselines.clip.models import TINY_CLIP

__all__ = ["Row", "load", "one_by_its_own", "one_by_n", "repeated", "rows", "two_by_two"]

_PLAIN_BATCH = 64  # examples; CLIP_benchmark's own default


@dataclass(frozen=True, slots=True)
class Row:
    """One loop over one set with one model."""

    model: str
    examples: str
    loop: str
    image_encodings: int
    text_encodings: int
    seconds: float
    ratio: float  # the plain loop's seconds to this one's


class Counted:
    """A model whose encoded rows are counted; else as it was."""

    def __init__(self, model: Any) -> None:
        self.model, self.images, self.captions = model, 0, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def to(self, device: torch.device) -> Counted:
        self.model.to(device)
        return self

    def eval(self) -> Counted:
        self.model.eval()
        return self

    def encode_image(self, pixels: Tensor) -> Tensor:
        self.images += len(pixels)
        return self.model.encode_image(pixels)

    def encode_text(self, tokens: Tensor) -> Tensor:
        self.captions += len(tokens)
        return self.model.encode_text(tokens)


Loop = Callable[[clip_weights.Loaded, Sequence[Example], str], list[np.ndarray]]


@torch.inference_mode()
def plain(loaded: clip_weights.Loaded, examples: Sequence[Example], device: str) -> list[np.ndarray]:
    """[I, C] of each example."""
    model, scores = loaded.model, list[np.ndarray]()
    for start in range(0, len(examples), _PLAIN_BATCH):
        batch = examples[start : start + _PLAIN_BATCH]
        pixels = torch.stack([loaded.transform(image.decode()) for example in batch for image in example.images])
        images = F.normalize(model.encode_image(pixels.to(device)).float(), dim=-1)
        tokens = loaded.tokenize([caption for example in batch for caption in example.captions])
        captions = F.normalize(model.encode_text(tokens.to(device)).float(), dim=-1)
        for example in batch:
            n_images, n_captions = example.shape
            scores.append((images[:n_images] @ captions[:n_captions].T).cpu().numpy())
            images, captions = images[n_images:], captions[n_captions:]
    return scores


def ours(loaded: clip_weights.Loaded, examples: Sequence[Example], device: str) -> list[np.ndarray]:
    """[I, C] of each example."""
    scorer = ClipScorer.on_device(*loaded, Runtime(device))
    scorer.prepare(Task("benchmark", examples, {}))
    return [matrix.scores for matrix in scorer.score(examples, {})]


def two_by_two(n: int) -> list[Example]:
    """The first examples of shapes."""
    return list(registry.task("shapes").examples[:n])


def repeated(n: int, times: int) -> list[Example]:
    """The first examples of shapes, `times` times: the pictures are other objects of the same content."""
    return [
        replace(
            example,
            id=f"{example.id}-{time}",
            images=tuple(replace(image, name=f"{image.name}-{time}") for image in example.images),
        )
        for time in range(times)
        for example in two_by_two(n)
    ]


def one_by_its_own(n: int) -> list[Example]:
    """One image of each example and its own two captions."""
    return [replace(example, images=example.images[:1], matches=example.matches[:1]) for example in two_by_two(n)]


def one_by_n(n: int, n_captions: int) -> list[Example]:
    """One image of each example and the same captions for all, as for classes."""
    examples = two_by_two(n)
    distinct = dict.fromkeys(caption for example in registry.task("shapes").examples for caption in example.captions)
    captions = tuple(distinct)[:n_captions]
    matches = np.eye(1, n_captions, dtype=bool)
    return [replace(example, images=example.images[:1], captions=captions, matches=matches) for example in examples]


def rows(name: str, loaded: clip_weights.Loaded, sets: dict[str, list[Example]], device: str, n: int) -> list[Row]:
    """Both loops over each set, `n` times in turns."""
    made: list[Row] = []
    loops: dict[str, Loop] = {"plain open_clip": plain, "compbench": ours}
    for title, examples in sets.items():
        counted = {loop: Counted(loaded.model) for loop in loops}
        seconds: dict[str, list[float]] = {loop: [] for loop in loops}
        results: dict[str, list[np.ndarray]] = {}
        for _ in range(n):
            for loop, run in loops.items():
                counted[loop].images = counted[loop].captions = 0
                began = time.perf_counter()
                results[loop] = run(loaded._replace(model=counted[loop]), examples, device)  # pyright: ignore
                seconds[loop].append(time.perf_counter() - began)
        for first, other in zip(*results.values(), strict=True):
            np.testing.assert_allclose(first, other, atol=1e-4)
        best = {loop: min(times) for loop, times in seconds.items()}
        plain_seconds = best[next(iter(loops))]
        made += [
            Row(name, title, loop, counted[loop].images, counted[loop].captions, best[loop], plain_seconds / best[loop])
            for loop in loops
        ]
    return made


def load(architecture: str) -> clip_weights.Loaded:
    """tiny-clip as it ships, or an architecture of open_clip with random weights: nothing is downloaded."""
    if architecture == "tiny-clip":
        source = TINY_CLIP.source()
        assert source is not None
        return clip_weights.load_repository(source, "float32", is_offline=True)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: Any = open_clip.create_model(architecture, pretrained=None, load_weights=False)
    transform: Any = open_clip.image_transform(model.visual.image_size, is_train=False)
    return clip_weights.Loaded(model.eval(), transform, open_clip.get_tokenizer(architecture), "float32")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=["tiny-clip", "ViT-B-32"])
    parser.add_argument("--examples", type=int, nargs="+", default=[200, 24], help="one number a model")
    parser.add_argument("--captions", type=int, default=10, help="of each example of the 1xN set")
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    made: list[Row] = []
    for name, n in zip(arguments.models, arguments.examples, strict=True):
        n_captions = arguments.captions
        sets = {
            f"2x2, {n} of shapes": two_by_two(n),
            f"1x{n_captions}, {n} images": one_by_n(n, n_captions),
            f"2x2, {n // 2} of shapes, each twice": repeated(n // 2, 2),
        }
        made += rows(name, load(name), sets, arguments.device, arguments.times)
    if arguments.json:
        print(json.dumps([asdict(row) for row in made], indent=1))
    else:
        _print(made, arguments.device)


def _print(made: Iterable[Row], device: str) -> None:
    where = torch.cuda.get_device_name() if device.startswith("cuda") else f"{platform.machine()} CPU"
    table = rich.table.Table(title=f"{where}, {torch.get_num_threads()} threads · float32 · torch {torch.__version__}")
    for heading in ("model", "examples", "loop", "image encodings", "text encodings", "seconds", "ratio"):
        table.add_column(heading, justify="left" if heading in ("model", "examples", "loop") else "right")
    for row in made:
        table.add_row(
            row.model,
            row.examples,
            row.loop,
            f"{row.image_encodings:,}",
            f"{row.text_encodings:,}",
            f"{row.seconds:.2f}",
            f"{row.ratio:.2f}",
        )
    rich.console.Console().print(table)


if __name__ == "__main__":
    main()
