"""Scorers of models in memory, which belong to the user and are left as they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from compbench.core.aliases import Json
from compbench.core.digests import digest_of
from compbench.core.examples import Task
from compbench.core.models import Runtime, Scorer
from compbench_baselines.clip._borrowed import Borrowed
from compbench_baselines.clip._scorer import ClipScorer, default_batch_size
from compbench_baselines.clip._settings import Untold, settings, weights_digest

__all__ = ["Lent", "Told", "scorer", "told"]


@dataclass(frozen=True, slots=True)
class Lent:
    """A user's model, and what belongs to it."""

    name: str
    model: Any
    preprocess: Any
    tokenizer: Any


@dataclass(frozen=True, slots=True)
class Told:
    """The facts that identify a model in memory; None for each that is unknown, of which `unknown` names the first."""

    weights: str | None
    preprocessing: str | None
    tokenizer: str | None
    dtype: str
    unknown: str

    def to_json(self) -> dict[str, Json]:
        found: dict[str, Json] = {
            "weights": self.weights,
            "preprocessing": self.preprocessing,
            "tokenizer": self.tokenizer,
            "dtype": self.dtype,
        }
        return {name: value for name, value in found.items() if value is not None}


def told(model: Any, preprocess: Any, tokenizer: Any) -> Told:
    """The identity of the model as it is now."""
    unknown: list[str] = []

    def tell(what: str, make: Callable[[], str]) -> str | None:
        try:
            return make()
        except Untold as error:
            unknown.append(f"{what} ({error})")
            return None

    return Told(
        tell("the model", lambda: f"sha256:{weights_digest(model)}"),
        tell("its preprocessing", lambda: digest_of([settings(preprocess)])),
        tell("its tokenizer", lambda: digest_of([settings(tokenizer)])),
        str(_image_dtype(model)).removeprefix("torch."),
        unknown[0] if unknown else "",
    )


def scorer(family: str, lent: Lent, templates: str, runtime: Runtime) -> Scorer:
    """The scorer, on the device on which the model lies."""
    device = next(lent.model.parameters()).device
    if not runtime.device.startswith("auto") and torch.device(runtime.device).type != device.type:
        runtime.say(f"{lent.name} runs where it is, on {device}: device={runtime.device} changes nothing for it")
    if family.endswith("-itm"):
        from compbench_baselines.clip._matching import MatchingScorer, matcher
        from compbench_baselines.clip._transformers import Transform

        return MatchingScorer(matcher(lent.model), Transform(lent.preprocess), lent.tokenizer, device, runtime)
    if family == "open-clip":
        model, transform, tokenize = Borrowed.of_open_clip(lent.model), lent.preprocess, lent.tokenizer
    else:
        from compbench_baselines.clip import _transformers

        model = _transformers.borrowed(lent.model)
        transform, tokenize = (
            _transformers.Transform(lent.preprocess),
            _tokenize(family, lent),
        )
    given: Any = model  # it is used like the module of which it is the face
    return _LentScorer(
        given,
        transform,
        tokenize,
        _image_dtype(lent.model),
        device=device,
        batch_size=runtime.batch_size or default_batch_size(given, device),
        say=runtime.say,
        templates=templates,
    )


def _tokenize(family: str, lent: Lent) -> Any:
    """As the user's tokenizer pads; of a SigLIP 2 in lower case and on the right, as it was trained."""
    from compbench_baselines.clip._transformers import Tokenize

    if family == "siglip2":
        return Tokenize(lent.model, lent.tokenizer, padding_side="right", is_lower_case=True)
    return Tokenize(lent.model, lent.tokenizer)


class _LentScorer(ClipScorer):
    """Remembers no caption from one task to the next: the user may train the model in between."""

    def prepare(self, task: Task) -> None:
        self._captions.clear()
        super().prepare(task)


def _image_dtype(model: nn.Module) -> torch.dtype:
    """Of what the image tower takes: its first convolution's, since norms may be of another dtype."""
    floats = [parameter for parameter in model.parameters() if parameter.is_floating_point()]
    return next((number.dtype for number in floats if number.ndim == 4), floats[0].dtype)
