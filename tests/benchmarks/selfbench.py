"""Self-Bench at home: `python -m tests.benchmarks.selfbench --model tiny-sd --model diffusion:PATH [--task emoji]`.

Each diffusion model makes a picture for every caption of a task, with its own pipeline in diffusers, and then scores
its own pictures, those of the others and the drawn ones: a diffusion classifier is best on what its own model made
(Jeong et al., 2025). Every set of pictures is a folder like any user's own set, TASK-by-MODEL and TASK-drawn in
--folder, and every score an ordinary run in its runs/. Nobody looks at the pictures, and some do not show their
caption; so the share is also told of those examples alone whose pictures another model, the --judge, tells apart. What
is made and measured already is not made again. `--to` writes the rows with the weights that gave them, of which
`python .ci/tables.py` makes a table of the manual.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import PIL.Image
import rich.console
import rich.table
import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline

import compbench
from compbench import registry
from compbench.core import subsets
from compbench.core.examples import Example
from compbench.diffusion.draws import generator_of
from compbench.diffusion.loading import fetch_folder
from compbench.diffusion.silence import quiet
from compbench.registry import checkpoints, hub
from compbench_analysis.statistics.intervals import wilson

__all__ = ["Making", "Row", "by_captions", "drawn_set", "made_set", "measure", "weights_of"]


@dataclass(frozen=True, slots=True)
class Making:
    """How pictures are made."""

    steps: int
    guidance: float
    seed: int


@dataclass(frozen=True, slots=True)
class Row:
    """One model on one set of pictures: the share of examples in which each picture is given its own caption."""

    pictures: str  # "drawn", or a tag's value of them, or the model that made them
    model: str
    n: int
    text: float
    low: float  # of its 95 % interval
    high: float
    n_told: int  # examples whose pictures the judge tells apart
    text_of_told: float | None  # the share of these alone


def measure(
    task: str, models: Sequence[str], judge: str, folder: Path, making: Making, limit: int | None, draws: int | None
) -> list[Row]:
    """All sets of pictures, made and scored by all models."""
    captioned = by_captions(registry.task(task).examples, limit)
    sets = {"drawn": drawn_set(captioned, folder / f"{task}-drawn")}
    for model in models:
        place = folder / f"{task}-by-{re.sub(r'[^a-z0-9.]+', '-', model.lower()).strip('-')}"
        sets[model] = made_set(captioned, model, place, making)
    options: dict[str, Any] = {"draws": draws} if draws else {}
    rows: list[Row] = []
    for pictures, place in sets.items():
        told = _text(compbench.run(place, model=judge, runs=folder / "runs"))
        parts = {pictures: told.index, **(_apart(captioned) if pictures == "drawn" else {})}
        for model in models:
            text = _text(compbench.run(place, model=model, runs=folder / "runs", **options))
            rows += [_row(name, model, text.loc[ids], told.loc[ids]) for name, ids in parts.items()]
    return rows


def by_captions(examples: Sequence[Example], limit: int | None) -> list[list[Example]]:
    """`limit` of the distinct pairs of captions, each with all examples that ask about it."""
    alike: dict[tuple[str, ...], list[Example]] = {}
    for example in examples:
        if example.shape != (2, 2) or not example.matches.diagonal().all() or example.matches.sum() != 2:
            raise SystemExit(f"example {example.id!r} is not of two pictures with a caption each, as in Winoground")
        alike.setdefault(example.captions, []).append(example)
    firsts = {same[0].id: same for same in alike.values()}
    return [firsts[name] for name in subsets.subset(list(firsts), limit)]


def drawn_set(captioned: Sequence[Sequence[Example]], folder: Path) -> Path:
    """The task's own pictures as a folder."""
    examples = [example for alike in captioned for example in alike]
    pictures = {f"{example.id}-{k}.png": image for example in examples for k, image in enumerate(example.images)}

    def save(names: Sequence[str]) -> None:
        for name in names:
            pictures[name].decode().convert("RGB").save(folder / name)

    return _filled(folder, examples, {"pictures": "the task's own"}, save)


@torch.inference_mode()
def made_set(captioned: Sequence[Sequence[Example]], model: str, folder: Path, making: Making) -> Path:
    """A model's pictures of the captions as a folder; each is seeded by the pair of captions and the seed alone."""
    source: Any = registry.model(model).spec.source()
    place = fetch_folder(source, checkpoints.stable_diffusion, is_offline=False, name=model)
    common = [_common(alike) for alike in captioned]
    prompts = {
        f"{example.id}-{k}.png": (caption, _generator(making.seed, example, k))
        for example in common
        for k, caption in enumerate(example.captions)
    }
    pipeline: Any = None

    def save(names: Sequence[str]) -> None:
        nonlocal pipeline
        pipeline = pipeline or _pipeline(place)
        captions, generators = zip(*(prompts[name] for name in names), strict=True)
        told = {"num_inference_steps": making.steps, "guidance_scale": making.guidance, "generator": [*generators]}
        if (n_tokens := pipeline.config.get("_max_sequence_length")) is not None:
            told["max_sequence_length"] = n_tokens
        made: Sequence[PIL.Image.Image] = pipeline([*captions], **told).images
        for name, picture in zip(names, made, strict=True):
            picture.save(folder / name)

    return _filled(folder, common, {"model": model, "weights": weights_of(model), **asdict(making)}, save)


def _filled(
    folder: Path, examples: Sequence[Example], made_by: Mapping[str, object], save: Callable[[Sequence[str]], None]
) -> Path:
    """A folder with two pictures for each example, saved an example at a time, and its table."""
    about = folder / "made.json"
    if about.exists() and json.loads(about.read_text(encoding="utf-8")) != made_by:
        raise SystemExit(f"{about} says that its pictures were made otherwise; give another --folder")
    folder.mkdir(parents=True, exist_ok=True)
    about.write_text(json.dumps(made_by), encoding="utf-8")
    lines: list[str] = []
    for example in examples:
        names = [f"{example.id}-{k}.png" for k in range(2)]
        if not all((folder / name).exists() for name in names):
            save(names)
        row = {"id": example.id, **{f"image_{k}": name for k, name in enumerate(names)}}
        row |= {f"caption_{k}": caption for k, caption in enumerate(example.captions)}
        lines.append(json.dumps(row | {column: "; ".join(values) for column, values in example.tags.items()}))
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def _pipeline(place: Path) -> Any:
    """The model's own pipeline in diffusers, in float32 as it is scored on a CPU."""
    index = json.loads((place / "model_index.json").read_text(encoding="utf-8"))
    absent = {part: None for part, kind in index.items() if kind == [None, None]}
    with quiet():
        pipeline: Any = DiffusionPipeline.from_pretrained(place, low_cpu_mem_usage=False, **absent)
        pipeline.to(torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to("cuda") if torch.cuda.is_available() else pipeline


def _generator(seed: int, example: Example, k: int) -> torch.Generator:
    return generator_of(seed, k, *hashlib.sha256("\n".join(example.captions).encode()).digest())


def _common(alike: Sequence[Example]) -> Example:
    """An example for captions that several ask about, with the tags that these share."""
    first = alike[0]
    tags = {
        column: values for column, values in first.tags.items() if all(other.tags[column] == values for other in alike)
    }
    return replace(first, tags=tags)


def _apart(captioned: Sequence[Sequence[Example]]) -> dict[str, list[str]]:
    """Values of the tags that tell examples of equal captions apart, such as the artist, and the ids of each."""
    found: dict[str, list[str]] = {}
    for alike in captioned:
        for example in alike if len(alike) > 1 else ():
            for column, values in example.tags.items():
                if column not in _common(alike).tags:
                    found.setdefault(f"drawn, {'; '.join(values)}", []).append(example.id)
    return found


def _text(run: compbench.Run) -> pd.Series:
    """[example] bool: whether its text is right, by its id."""
    frame = run.to_frame()
    return pd.Series(frame["text"].to_numpy(bool), frame["id"].to_numpy(str))


def _row(pictures: str, model: str, text: pd.Series, told: pd.Series) -> Row:
    low, high = wilson(text.sum(), len(text))
    share = float(text[told].mean()) if told.any() else None
    return Row(pictures, model, len(text), float(text.mean()), low, high, int(told.sum()), share)


def weights_of(model: str) -> str:
    """The digest or commit of a model's weights."""
    source: Any = registry.model(model).spec.source()
    return hub.resolve(source, is_offline=False, say=lambda message: None)[1]


def _write(rows: Sequence[Row], path: Path) -> None:
    weights = {model: weights_of(model) for model in {row.model for row in rows}}
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [*Row.__annotations__, "weights"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) | {"weights": weights[row.model]} for row in rows)


def _print(rows: Sequence[Row], judge: str) -> None:
    table = rich.table.Table(
        "pictures of", "scored by", "n", "text, %", "95 %", f"{judge} tells apart", "text of these, %"
    )
    for row in rows:
        told = "" if row.text_of_told is None else f"{100 * row.text_of_told:.1f}"
        between = f"{100 * row.low:.1f} to {100 * row.high:.1f}"
        table.add_row(row.pictures, row.model, str(row.n), f"{100 * row.text:.1f}", between, str(row.n_told), told)
    rich.console.Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", default="shapes", help="pairs of pictures and captions, as in Winoground")
    parser.add_argument("--model", action="append", dest="models", help="a diffusion model; repeat it")
    parser.add_argument("--judge", default="tiny-clip", help="the model that says which pictures show their captions")
    parser.add_argument("--folder", type=Path, default=Path("selfbench"), help="pictures and runs; kept between calls")
    parser.add_argument("--limit", type=int, help="of the pairs of captions")
    parser.add_argument("--draws", type=int, help="of each score; none: as the models are measured anyway")
    parser.add_argument("--steps", type=int, default=25, help="of the sampler")
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--to", type=Path, help="a .csv file for the rows, such as docs/selfbench.csv")
    given = parser.parse_args()
    making = Making(given.steps, given.guidance, given.seed)
    models = given.models or ["tiny-sd"]
    rows = measure(given.task, models, given.judge, given.folder, making, given.limit, given.draws)
    if given.to is not None:
        _write(rows, given.to)
    if given.json:
        print(json.dumps([asdict(row) for row in rows]))
    else:
        _print(rows, given.judge)


if __name__ == "__main__":
    main()
