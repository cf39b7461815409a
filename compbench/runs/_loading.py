"""A model for one's own loop: images and captions in, scores out, nothing stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from compbench import registry
from compbench.core import rules
from compbench.core.aliases import Floats
from compbench.core.errors import DataError, RunError, UsageError
from compbench.core.examples import Example, Task
from compbench.core.measurements import Measurement, ScoreMatrix, joined
from compbench.core.models import MeasuresErrors, ModelSpec, Runtime, Scorer
from compbench.core.packages import named
from compbench.core.rules import Rule
from compbench.diffusion import emulation
from compbench.registry import hub
from compbench.registry.plugins import blamed, each_of
from compbench.runs._pictures import Picture, pictures
from compbench.runs._result_checks import checked_result
from compbench.runs.reporter import QuietReporter
from compbench.runs.resolve import resolved_model

__all__ = ["LoadedModel", "load_model", "score_pairs"]


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A scorer with its weights in memory."""

    label: str
    scorer: Scorer
    rule: Rule  # how its errors are read, where it gives errors

    def score_pairs(self, images: Sequence[Picture], captions: Sequence[str]) -> Floats:
        """[I, C] float64, the score of every caption for every image; higher is a better match.

        Images are PIL images, paths, numpy arrays (height, width, channels) or tensors (channels, height, width); see
        `compbench.score_pairs`.
        """
        if isinstance(captions, str):
            raise UsageError(f"captions cannot be one string, {captions!r}; expected a list of captions")
        captions = list(captions)
        if (odd := next((n for n, text in enumerate(captions) if not isinstance(text, str)), None)) is not None:  # pyright: ignore
            raise UsageError(f"caption {odd} is {captions[odd]!r}; expected text")
        if (empty := next((n for n, text in enumerate(captions) if not text.strip()), None)) is not None:
            raise DataError(f"caption {empty} is empty; expected words that describe an image")
        taken = pictures(images)
        matches = np.zeros((len(taken), len(captions)), bool)
        example = Example("pairs", taken, tuple(captions), matches)
        if not matches.size:
            return np.zeros(matches.shape)
        with blamed(self.scorer, "while it scored"):
            self.scorer.prepare(Task("pairs", (example,), {}))
            given = iter(self.scorer.score([example], {}))
        by_id = {example.id: example}
        results = [checked_result(result, by_id, None) for result in each_of(given, self.scorer, "while it scored")]
        if other := [result.example_id for result in results if result.example_id != example.id]:
            raise RunError(f"the model gave a result for {other[0]!r}, which it was not asked for")
        scores = [result.scores for result in results if isinstance(result, ScoreMatrix)]
        if len(scores) > 1 or not results:
            raise RunError(f"the model gave {len(scores)} arrays of scores for the pairs; expected one")
        if scores:
            return scores[0]
        (result,) = joined(result for result in results if isinstance(result, Measurement))
        return rules.score(result, cast(MeasuresErrors, self.scorer).draw_table(), self.rule).scores


@named()
def load_model(
    model: str | ModelSpec | Any,
    *,
    device: str = "auto",
    batch_size: int | None = None,
    is_offline: bool = False,
    **options: object,
) -> LoadedModel:
    """The model with its weights in memory; options as after `-o`, e.g. `draws=100`.

    >>> import compbench, PIL.Image
    >>> model = compbench.load_model("tiny-clip")
    >>> pictures = [PIL.Image.new("RGB", (64, 64), colour) for colour in ("red", "blue")]
    >>> model.score_pairs(pictures, ["a red square", "a blue square"]).shape
    (2, 2)
    """
    say = QuietReporter().say
    label, spec = registry.model(model, options)
    resolved = emulation.settled(label, resolved_model(spec, None), device, say)
    if "schedule" in resolved.identity:
        raise UsageError(
            f"model {label!r}: score_pairs measures every draw, since it does not know which captions are true; "
            f"leave out schedule"
        )
    source = resolved.source
    if source is not None:
        source, _ = hub.resolve(source, is_offline=is_offline, say=say, files=resolved.files)
        say(hub.loading(label, source, resolved.files))
    with blamed(resolved.spec, "while it was built"):
        scorer = resolved.build(source, Runtime(device, batch_size, is_offline, say))
    return LoadedModel(label, scorer, resolved.rule)


def score_pairs(
    model: str | ModelSpec | Any,
    images: Sequence[Picture],
    captions: Sequence[str],
    *,
    device: str = "auto",
    batch_size: int | None = None,
    is_offline: bool = False,
    **options: object,
) -> Floats:
    """[I, C] float64, the score of every caption for every image; higher is a better match. Nothing is stored.

    `model` is whatever `run` takes. Images are PIL images, paths, numpy arrays (height, width, channels) or tensors
    (channels, height, width), of 1, 3 or 4 channels: uint8, or floating point from 0 to 1, which becomes 0 to 255,
    rounded. For several calls `load_model` keeps the weights in memory.

    >>> import compbench, PIL.Image
    >>> pictures = [PIL.Image.new("RGB", (64, 64), colour) for colour in ("red", "blue")]
    >>> compbench.score_pairs("tiny-sd", pictures, ["a red square", "a blue square"], draws=4).shape
    (2, 2)
    """
    loaded = load_model(model, device=device, batch_size=batch_size, is_offline=is_offline, **options)
    return loaded.score_pairs(images, captions)
