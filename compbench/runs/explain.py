"""Explanations of a model's choice of caption: maps of its error over the image, stored for the report to show.

A diffusion model measures its errors by position again. A run that stores its scores by position is read: that takes no
weights.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np

from compbench import registry
from compbench.core import disk
from compbench.core.aliases import Bools, Floats
from compbench.core.errors import UsageError
from compbench.core.examples import Example, Task
from compbench.core.models import ModelSpec, ResolvedModel, Runtime
from compbench.core.packages import named
from compbench.core.rules import Rule
from compbench.diffusion import emulation
from compbench.registry import hub
from compbench.registry.names import of_today, options
from compbench.runs.request import RunRequest
from compbench.runs.resolve import ResolvedRun, resolve
from compbench.store import positions
from compbench.store.run import Run

if TYPE_CHECKING:
    import PIL.Image

    from compbench.diffusion.classifier import DiffusionClassifier

__all__ = ["Explanation", "explain"]

_LONGEST_NAME = 150
_ELSEWHERE = "a copy of the runs: --runs COPY"
Choice = tuple[int, int, int]  # image, caption, other caption


@dataclass(frozen=True, slots=True)
class Explanation:
    """The maps of an example and where they are stored."""

    example_id: str
    choices: tuple[Choice, ...]  # a row a map
    maps: Floats  # [k, h, w] float32: the error under the other caption less that under the caption; of scores, minus
    draws: int | None  # None for a model without draws
    path: Path  # of the picture; the numbers lie beside it as .npz


@named()
def explain(
    run: Run,
    example_id: str,
    *,
    image: int | None = None,
    captions: tuple[int, int] | None = None,
    draws: int | None = None,
    task: Task | None = None,
    model: ModelSpec | None = None,
    data: Path | str | None = None,
    images: Path | str | None = None,
    device: str = "auto",
    batch_size: int | None = None,
    is_offline: bool = False,
    say: Callable[[str], None] = lambda message: None,
) -> Explanation:
    """Find where in the images of an example the model's error tells two captions apart, and store it with the run.

    For each image (or `image` alone, numbered from 0): its true caption against the false one that scores best, or the
    two `captions`. Over the first `draws` draws (None: as many as the run is scored on), or from the log-likelihoods of
    an autoregressive model, which are stored. `task` and `model` are those in memory; without them they are found by
    their names. UsageError where the model or data are no longer the run's.

    >>> import compbench
    >>> run = compbench.run("shapes", model="tiny-sd", limit=2, draws=4)
    >>> explain(run, run.ids()[0]).path.suffix
    '.png'
    """
    rule, path = _rule(run, draws), _path(run, example_id)
    _check_writable(path.parent)
    asked = _asked(run, task, model, (data, images), is_offline, say)
    example = _example(asked.task, example_id)
    choices = _choices(example, run, image, captions)
    if rule is None:
        (maps, pictures), n_draws = _stored(run, asked.model, example, choices), None
    else:
        runtime = Runtime(device, batch_size, is_offline, say)
        maps, n_draws, pictures = _measured(run, rule, draws, asked, example, choices, runtime)
    made = Explanation(example_id, choices, maps, n_draws, path)
    _store(made, run, example, pictures)
    return made


def _check_writable(folder: Path) -> None:
    """RunError, before anything is loaded, where the folder cannot be made or nothing can be written to it."""
    place = folder if folder.exists() else folder.parent
    with disk.writing(folder, _ELSEWHERE):
        if not place.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if not os.access(place, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def _stored(
    run: Run, model: ResolvedModel, example: Example, choices: Sequence[Choice]
) -> tuple[Floats, list[PIL.Image.Image]]:
    """The maps of scores that are stored by position, and the pictures as the network sees them."""
    scores = positions.by_position(run, example.id)  # [I, C, h, w]
    if scores is None:
        where = f"example {example.id!r} of run {str(run.path)!r}"
        if example.id not in run.done():
            raise UsageError(f"{where} is not measured yet: rerun the run's command")
        raise UsageError(f"{where} has so many pairs that its scores by position were not stored, so there is no map")
    maps = np.stack([scores[image, caption] - scores[image, other] for image, caption, other in choices])
    pictures = [example.images[image].decode() for image, _, _ in choices]
    return maps, [picture if model.seen is None else model.seen(picture) for picture in pictures]


def _measured(
    run: Run,
    rule: Rule,
    draws: int | None,
    asked: ResolvedRun,
    example: Example,
    choices: Sequence[Choice],
    runtime: Runtime,
) -> tuple[Floats, int, list[PIL.Image.Image]]:
    """The maps of a diffusion model's errors, over how many draws, and the pictures as the network sees them."""
    from compbench.diffusion.error_map import error_map, seen

    source = asked.model.source
    if source is not None:
        runtime.say(hub.loading(asked.label, source, asked.model.files))
    scorer: Any = _computable(asked, runtime.device, runtime.say).build(source, runtime)
    classifier: DiffusionClassifier = scorer
    bank = classifier.draw_table() if run.keeps_scores else run.draws()
    n_draws = draws or rule.draws or max(1, run.n_common_draws())
    if not 1 <= n_draws <= len(bank.alpha):
        raise UsageError(f"{n_draws} draws were asked for; expected 1 to {len(bank.alpha)}, the bank of this run")
    weights = rule.weights(bank)[:n_draws]
    pictures = [example.images[i].decode() for i, _, _ in choices]
    maps = [
        error_map(
            classifier,
            picture,
            (example.captions[caption], example.captions[other]),
            of=(example.id, image),
            weights=weights,
            loss=rule.loss,
            batch_size=runtime.batch_size,
        )
        for picture, (image, caption, other) in zip(pictures, choices, strict=True)
    ]
    return np.stack(maps), n_draws, [seen(classifier, picture) for picture in pictures]


def _rule(run: Run, draws: int | None) -> Rule | None:
    """The run's rule, when its errors can be told by position; None for a run that stores its scores by position.

    A diffusion model's run that keeps only scores is measured again too.
    """
    if positions.are_stored(run):
        if draws is not None:
            raise UsageError(f"run {str(run.path)!r} has no draws: a likelihood is exact; leave out draws={draws}")
        return None
    if not run.info.has_rule:
        raise UsageError(
            f"{run.described} has no maps: its model gives one score per picture and caption. Maps are made of the "
            "errors of a diffusion model ('tiny-sd'), and of scores that a model stores by position ('janus-pro-1b')"
        )
    if not run.keeps_scores:
        run.check_errors()
    if run.rule.loss not in ("l2", "l1"):
        raise UsageError(f"the error {run.rule.loss!r} has no form by position; expected l2 or l1")
    return run.rule


def _asked(
    run: Run,
    task: Task | None,
    model: ModelSpec | None,
    folders: tuple[Path | str | None, Path | str | None],  # of its data and of its pictures
    is_offline: bool,
    say: Callable[[str], None],
) -> ResolvedRun:
    """The request that made the run; UsageError where the same words now mean something else."""
    stored = {name: value for name, value in run.info.model.options.items() if value is not None}
    given = {} if model is not None else of_today(stored, options(registry.model(run.key.model).spec))
    request = RunRequest(
        task=task or run.key.task,
        model=model or run.key.model,
        options=given,
        data=folders[0],
        images=folders[1],
        skip_unreadable=True,
        runs=run.path.parents[2],
        is_offline=is_offline,
        keep="scores" if run.keeps_scores else "errors",
    )
    asked = resolve(request, say, is_computed=False)
    now, then = replace(asked.key, model=run.key.model).to_json(), run.key.to_json()
    if unlike := [name for name, value in then.items() if now[name] != value]:
        raise UsageError(
            f"run {str(run.path)!r} was made with another {' and '.join(unlike)}: {then[unlike[0]]!r}, now "
            f"{now[unlike[0]]!r}; a map of another model or of other data would not explain it"
        )
    return asked


def _computable(asked: ResolvedRun, device: str, say: Callable[[str], None]) -> ResolvedModel:
    """The model in float32 where the device emulates the dtype of the run, and that is said."""
    precision = asked.model.precision
    reason = None if precision is None else emulation.why_slow(precision.dtype, device)
    if precision is None or reason is None:
        return asked.model
    if precision.in_float32 is None:
        raise UsageError(f"{asked.label}: {reason}; this run is {precision.dtype} throughout: explain it on a GPU")
    say(f"{asked.label}: {reason}; the map is made in float32, and may differ from the run's errors by rounding")
    return precision.in_float32()


def _example(task: Task, example_id: str) -> Example:
    found = next((example for example in task.examples if example.id == example_id), None)
    if found is None:
        from compbench.core.suggestions import unknown

        raise unknown("example", example_id, [example.id for example in task.examples])
    return found


def _choices(example: Example, run: Run, image: int | None, captions: tuple[int, int] | None) -> tuple[Choice, ...]:
    """The images and captions to explain."""
    n_images, n_captions = example.shape
    if image is not None and not 0 <= image < n_images:
        raise UsageError(f"no image {image} in example {example.id!r}; expected 0 to {n_images - 1}")
    images = range(n_images) if image is None else [image]
    if captions is not None:
        if captions[0] == captions[1] or not all(0 <= caption < n_captions for caption in captions):
            raise UsageError(
                f"captions {captions[0]} and {captions[1]} of example {example.id!r} cannot be compared; "
                f"expected two different ones, 0 to {n_captions - 1}"
            )
        return tuple((i, *captions) for i in images)
    scores = _scores(run, example)
    found = [_true_and_false(example.matches[i], scores[i]) for i in images]
    chosen = tuple((i, *pair) for i, pair in zip(images, found, strict=True) if pair is not None)
    if not chosen:
        raise UsageError(f"example {example.id!r} has no image with a true and a false caption; name two of them")
    return chosen


def _scores(run: Run, example: Example) -> Floats:
    """[I, C], all equal where the example is not measured."""
    if example.id not in run.done():
        return np.zeros(example.shape)
    return next(table.scores[0] for table in run.tables(ids=[example.id]).values() if table.ids)


def _true_and_false(matches: Bools, scores: Floats) -> tuple[int, int] | None:
    """The best true and the best false caption of an image."""
    if matches.all() or not matches.any():
        return None
    return int(np.where(matches, scores, -np.inf).argmax()), int(np.where(matches, -np.inf, scores).argmax())


def _path(run: Run, example_id: str) -> Path:
    name = quote(example_id, safe="")
    if len(name) > _LONGEST_NAME:  # no file system takes more than 255 bytes
        name = f"{name[:_LONGEST_NAME]}-{hashlib.sha256(example_id.encode()).hexdigest()[:12]}"
    return run.path / "explain" / f"{name}.png"


def _store(made: Explanation, run: Run, example: Example, seen: Sequence[PIL.Image.Image]) -> None:
    """The numbers and the picture, each whole or not at all; the numbers last, since they make it an explanation."""
    from compbench.runs._overlays import Overlay, overlays

    shown = [
        Overlay(picture, difference, example.captions[caption], example.captions[other])
        for picture, difference, (_, caption, other) in zip(seen, made.maps, made.choices, strict=True)
    ]
    if made.draws is None:
        what, measured, over, draws = "likelihood of the picture's tokens", "log-likelihoods", "", ""
    else:
        what, measured, over, draws = "error", "errors", f", mean of {made.draws} draws", f", {made.draws} draws"
    about = (
        f"where the {what} tells two captions apart{over}; purple speaks for the caption named first, orange for the "
        "other"
    )
    title = f"{run.key.model}, example {example.id}{draws}"
    picture, numbers = io.BytesIO(), io.BytesIO()
    overlays(shown, title, f"difference of the {measured}").savefig(picture, dpi=150)
    np.savez_compressed(
        numbers,
        maps=made.maps,
        choices=np.array(made.choices),
        n_draws=made.draws or 0,  # 0: a model without draws
        example=example.id,
        about=about,
    )
    with disk.writing(run.path, _ELSEWHERE):
        made.path.parent.mkdir(exist_ok=True)
        disk.write(made.path, picture.getvalue())
        disk.write(made.path.with_suffix(".npz"), numbers.getvalue())
