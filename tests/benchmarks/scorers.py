"""Scorers of transformers beside the loops of its own pages: `python -m tests.benchmarks.scorers [--json]`.

The plain loop puts one pair (of a text-only prior, one caption; of a CLIP, one example) through the processor and the
network at a time. Both go over the same pictures with the same random weights, in turns; the best of their CPU times
counts. Networks are small, so that times are of Python as much as of arithmetic; what counts for large ones are the
pictures encoded and the positions, tokens that go through the language model or text tower. Janus measures each picture
under the empty prompt besides, which the plain loop does not. Scores are compared as well.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import rich.console
import rich.table
import torch
import torch.nn.functional as F

from compbench import registry
from compbench.core.examples import Example
from compbench.core.models import Runtime
from tests import small_transformers

__all__ = ["KINDS", "Row", "measure"]

_QUESTION = 'Does this figure show "{}"? Please answer yes or no.'
Loop = Callable[[Any, Any, Sequence[Example]], list[np.ndarray]]


@dataclass(frozen=True, slots=True)
class Row:
    """One loop with one kind of scorer."""

    scorer: str
    loop: str
    pictures: int  # encoded
    calls: int  # of the language model or text tower
    positions: int  # that went through it
    seconds: float  # of CPU
    ratio: float  # the plain loop's seconds to this one's


@dataclass(frozen=True, slots=True)
class Kind:
    """A scorer, the family of its small model, the modules of it that are counted, and the plain loop."""

    scheme: str
    family: str
    read: Callable[[Any], Any]  # the side of the text
    looked: Callable[[Any], Any] | None
    plain: Loop


def measure(name: str, n: int, times: int, folder: Path) -> list[Row]:
    """Both loops over the first `n` examples of shapes, in turns."""
    kind, examples = KINDS[name], list(registry.task("shapes").examples[:n])
    place = _saved(folder / kind.family, kind.family)
    network, processor = small_transformers.network_of(place)
    spec, made = registry.model(f"{kind.scheme}:{place}").spec, dict[Any, Any]()

    def kept(key: Any, make: Callable[[], Any]) -> Any:
        return made[key] if key in made else made.setdefault(key, make())

    runtime = Runtime("cpu", kept=kept)
    spec.build(spec.source(), runtime)
    own = next(part for loaded in made.values() for part in loaded if isinstance(part, torch.nn.Module))
    loops: dict[str, tuple[Any, Callable[[], list[np.ndarray]]]] = {
        "plain": (network, lambda: kind.plain(network, processor, examples)),
        "compbench": (own, lambda: [found.scores for found in spec.build(spec.source(), runtime).score(examples, {})]),
    }
    seconds: dict[str, list[float]] = {loop: [] for loop in loops}
    counts: dict[str, tuple[int, int, int]] = {}
    results: dict[str, list[np.ndarray]] = {}
    for _ in range(times):
        for loop, (counted, run) in loops.items():
            with _counting(kind, counted) as (positions, pictures):
                began = time.process_time()
                results[loop] = run()
                seconds[loop].append(time.process_time() - began)
            counts[loop] = sum(pictures), len(positions), sum(positions)
    for plain, ours in zip(*results.values(), strict=True):
        np.testing.assert_allclose(ours, plain, rtol=1e-4, atol=1e-5)
    best = {loop: min(found) for loop, found in seconds.items()}
    return [Row(name, loop, *counts[loop], best[loop], best["plain"] / best[loop]) for loop in loops]


@contextmanager
def _counting(kind: Kind, network: Any) -> Generator[tuple[list[int], list[int]]]:
    """How many positions each call of the side of the text takes, and how many pictures each look."""
    positions, pictures = list[int](), list[int]()

    def read(_: Any, inputs: tuple[Any, ...], given: dict[str, Any]) -> None:
        found = [given.get("inputs_embeds"), given.get("input_ids"), *inputs]
        rows = next(value for value in found if value is not None)
        positions.append(rows.shape[0] * rows.shape[1])

    def looked(_: Any, inputs: tuple[Any, ...], given: dict[str, Any]) -> None:
        found = [given.get("grid_thw"), given.get("pixel_values"), *inputs]
        pictures.append(len(next(value for value in found if value is not None)))

    hooks = [kind.read(network).register_forward_pre_hook(read, with_kwargs=True)]
    if kind.looked is not None:
        hooks.append(kind.looked(network).register_forward_pre_hook(looked, with_kwargs=True))
    yield positions, pictures
    for hook in hooks:
        hook.remove()


def _saved(folder: Path, family: str) -> Path:
    """The small model; one that is asked about pictures sees them in 400 tokens or so, as large ones do."""
    small_transformers.save(folder, family)
    if family == "qwen2.5-vl":
        _edit(folder / "config.json", lambda config: config["text_config"].update(max_position_embeddings=1024))
        size = {"shortest_edge": 320 * 320, "longest_edge": 320 * 320}
        _edit(folder / "processor_config.json", lambda config: config["image_processor"].update(size=size))
    return folder


def _edit(file: Path, change: Callable[[Any], Any]) -> None:
    config = json.loads(file.read_text(encoding="utf-8"))
    change(config)
    file.write_text(json.dumps(config), encoding="utf-8")


def _picture(image: Any) -> PIL.Image.Image:
    return image.decode().convert("RGB")


@torch.inference_mode()
def _cosines(network: Any, processor: Any, examples: Sequence[Example]) -> list[np.ndarray]:
    found: list[np.ndarray] = []
    for example in examples:
        pictures = [_picture(image) for image in example.images]
        inputs = processor(text=list(example.captions), images=pictures, padding=True, return_tensors="pt")
        found.append((network(**inputs).logits_per_image / network.logit_scale.exp()).numpy())
    return found


def _by_pair(score: Callable[[Any, Any, PIL.Image.Image, str], float]) -> Loop:
    @torch.inference_mode()
    def loop(network: Any, processor: Any, examples: Sequence[Example]) -> list[np.ndarray]:
        return [
            np.array(
                [
                    [score(network, processor, _picture(image), caption) for caption in example.captions]
                    for image in example.images
                ]
            )
            for example in examples
        ]

    return loop


def _log_odds(network: Any, processor: Any, picture: PIL.Image.Image, caption: str) -> float:
    no, yes = network(**processor(images=picture, text=caption, return_tensors="pt")).itm_score[0]
    return float(yes - no)


def _yes(network: Any, processor: Any, picture: PIL.Image.Image, caption: str) -> float:
    content = [{"type": "image"}, {"type": "text", "text": _QUESTION.replace("{}", caption)}]
    prompt = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    logits = network(**processor(text=[prompt], images=[picture], return_tensors="pt")).logits[0, -1]
    return float(logits.log_softmax(-1)[processor.tokenizer("Yes")["input_ids"][0]])


def _of_tokens(network: Any, processor: Any, picture: PIL.Image.Image, caption: str) -> float:
    half, model = [0.5] * 3, network.model
    pixels = processor.image_processor(picture, image_mean=half, image_std=half, return_tensors="pt")["pixel_values"]
    seen = F.normalize(model.vqmodel.quant_conv(model.vqmodel.encoder(pixels)), dim=1)[0].flatten(1).T
    tokens = (seen @ F.normalize(model.vqmodel.quantize.embedding.weight, dim=-1).T).argmax(-1)
    messages = [{"role": "user", "content": [{"type": "text", "text": caption}]}]
    prompt = processor.apply_chat_template(messages, add_generation_prompt=True)
    words = processor(text=[prompt], generation_mode="image", return_tensors="pt")["input_ids"]
    before = network.prepare_embeddings_for_image_generation(tokens[None, :-1])
    embedded = torch.cat([network.get_input_embeddings()(words), before], dim=1)
    states = model.language_model(inputs_embeds=embedded, use_cache=False).last_hidden_state[:, -len(tokens) :]
    return float(model.generation_head(states)[0].log_softmax(-1).gather(1, tokens[:, None]).sum())


@torch.inference_mode()
def _of_captions(network: Any, tokenizer: Any, examples: Sequence[Example]) -> list[np.ndarray]:
    found: list[np.ndarray] = []
    for example in examples:
        rows = [tokenizer(tokenizer.eos_token + text, return_tensors="pt")["input_ids"] for text in example.captions]
        scores = [-float(network(row, labels=row).loss) * (row.shape[1] - 1) for row in rows]
        found.append(np.tile(scores, (len(example.images), 1)))
    return found


KINDS = {
    "dual encoder (CLIP)": Kind(
        "transformers", "clip", lambda network: network.text_model, lambda network: network.vision_model, _cosines
    ),
    "cross encoder (BLIP)": Kind(
        "transformers",
        "blip",
        lambda network: network.text_encoder,
        lambda network: network.vision_model,
        _by_pair(_log_odds),
    ),
    "image tokens (Janus)": Kind(
        "janus",
        "janus",
        lambda network: network.model.language_model,
        lambda network: network.model.vqmodel.encoder,
        _by_pair(_of_tokens),
    ),
    "VQAScore (Qwen2.5-VL)": Kind(
        "vqascore",
        "qwen2.5-vl",
        lambda network: network.model.language_model,
        lambda network: network.model.visual,
        _by_pair(_yes),
    ),
    "text-only prior (Qwen3)": Kind("text-prior", "qwen3", lambda network: network.model, None, _of_captions),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=24)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        made = [row for name in KINDS for row in measure(name, arguments.examples, arguments.times, Path(folder))]
    if arguments.json:
        print(json.dumps([asdict(row) for row in made], indent=1))
        return
    table = rich.table.Table(title=f"{arguments.examples} of shapes · CPU · float32 · torch {torch.__version__}")
    for heading in ("scorer", "loop", "pictures", "calls", "positions", "seconds", "ratio"):
        table.add_column(heading, justify="left" if heading in ("scorer", "loop") else "right")
    for row in made:
        table.add_row(
            row.scorer,
            row.loop,
            *(f"{count:,}" for count in (row.pictures, row.calls, row.positions)),
            f"{row.seconds:.2f}",
            f"{row.ratio:.2f}",
        )
    rich.console.Console().print(table)


if __name__ == "__main__":
    main()
