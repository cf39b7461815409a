"""A model for one's own loop: images and captions in, scores out, nothing stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from compbench import registry
from compbench.core import rules
from compbench.core.aliases import Floats, Json
from compbench.core.errors import DataError, UsageError
from compbench.core.examples import Example, Image, Task
from compbench.core.measurements import Measurement, ScoreMatrix, joined
from compbench.core.models import HalfPrecision, MeasuresErrors, ModelSpec, Runtime, Scorer
from compbench.core.rules import Rule
from compbench.diffusion import emulation
from compbench.registry import hub
from compbench.registry.plugins import blamed
from compbench.runs._result_checks import check_result
from compbench.runs.reporter import QuietReporter

if TYPE_CHECKING:
    import PIL.Image

__all__ = ["LoadedModel", "load_model"]


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A scorer with its weights in memory."""

    label: str
    scorer: Scorer
    view: Mapping[str, Json]

    def score_pairs(self, images: Sequence[PIL.Image.Image | Path | str], captions: Sequence[str]) -> Floats:
        """[I, C] float64, the score of every caption for every image; higher is a better match."""
        if isinstance(captions, str):
            raise UsageError(f"captions cannot be one string, {captions!r}; expected a list of captions")
        if (empty := next((n for n, text in enumerate(captions) if not text.strip()), None)) is not None:
            raise DataError(f"caption {empty} is empty; expected words that describe an image")
        matches = np.zeros((len(images), len(captions)), bool)
        example = Example("pairs", tuple(map(_image, images, range(len(images)))), tuple(captions), matches)
        if not matches.size:
            return np.zeros(matches.shape)
        with blamed(self.scorer, "while it scored"):
            self.scorer.prepare(Task("pairs", (example,), {}))
            results = list(self.scorer.score([example], {}))
        for result in results:
            check_result(result, {example.id: example}, None)
        if isinstance(results[0], ScoreMatrix):
            return results[0].scores.astype(np.float64)
        (result,) = joined(each for each in results if isinstance(each, Measurement))
        rule = Rule.of_view(self.view)
        return rules.score(result, cast(MeasuresErrors, self.scorer).draw_table(), rule).scores


def load_model(
    model: str | ModelSpec,
    *,
    device: str = "auto",
    batch_size: int | None = None,
    is_offline: bool = False,
    **options: object,
) -> LoadedModel:
    """The model with its weights in memory; options as after `-o`, e.g. `draws=100`."""
    say = QuietReporter().say
    label, spec = registry.model(model, options)
    given, spec = spec, spec.for_task(None)
    if isinstance(spec, HalfPrecision) and isinstance(given, HalfPrecision):
        spec = cast(ModelSpec, emulation.settled(label, spec, given, device, say))
    if "schedule" in spec.identity():
        raise UsageError(
            f"model {label!r}: score_pairs measures every draw, for it does not know which captions are true; leave "
            "schedule out"
        )
    source = spec.source()
    if source is not None:
        files: Sequence[str] = getattr(spec, "files", ())
        source, _ = hub.resolve(source, is_offline=is_offline, say=say, files=files)
        say(hub.loading(label, source, files))
    with blamed(spec, "while it was built"):
        scorer = spec.build(source, Runtime(device, batch_size, is_offline, say))
    return LoadedModel(label, scorer, spec.view())


def _image(image: PIL.Image.Image | Path | str, number: int) -> Image:
    if isinstance(image, str | Path):
        return Image(str(image), Path(image))
    image.load()  # here, since several threads may look at it
    return Image(f"image {number}", lambda: image)
