"""A function of one's own as a model: it gets the pictures and captions of one example, and gives scores.

Pictures are PIL images in RGB, turned upright, what is transparent over white. Scores are [images, captions], a list,
an array or a tensor; higher is a better match.
"""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compbench.core.aliases import Json
from compbench.core.errors import RunError, UsageError
from compbench.core.examples import Example, Task
from compbench.core.image_transforms import on_white, upright
from compbench.core.measurements import Measurement, ScoreMatrix
from compbench.core.models import ModelSpec, ResolvedModel, Runtime, Source

__all__ = ["Function", "from_function"]

_FIXED = {"option": False}


def from_function(function: Callable[..., Any], *, name: str | None = None, identity: str | None = None) -> Function:
    """`function(images, captions) -> scores` as a model to run; it is called once per example.

    Without `identity` it is measured every time, since nobody can tell whether it is what it was. `identity` is your
    own word for all that decides its scores, a version say: what is stored under it is not measured again.

    >>> from_function(lambda images, captions: [[0.0] * len(captions)] * len(images)).name
    'function'
    """
    if not callable(function):
        raise UsageError(f"function cannot be {function!r}; expected a function (images, captions) -> scores")
    for what, text in (("name", name), ("identity", identity)):
        if text is not None and (not isinstance(text, str) or not text.strip()):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UsageError(f"{what} of a function cannot be {text!r}; expected text that is not empty")
    return Function(name or _name(function), function, identity_given=identity)


@dataclass(frozen=True)
class Function(ModelSpec):
    """A function as a spec; `from_function` makes it."""

    name: str = field(metadata=_FIXED)
    function: Callable[..., Any] = field(repr=False, metadata=_FIXED)
    identity_given: str | None = field(default=None, metadata=_FIXED)

    def resolve(self, task: Task | None) -> ResolvedModel:
        why = "" if self.identity_given is not None else "a function without an identity may have changed"
        return replace(super().resolve(task), why_anew=why)

    def identity(self) -> Mapping[str, Json]:
        identity: dict[str, Json] = {"scorer": "function", "version": 1}
        return identity | ({} if self.identity_given is None else {"identity": self.identity_given})

    def build(self, source: Source | None, runtime: Runtime) -> FunctionScorer:
        given = {"batch_size": runtime.batch_size}
        given |= {} if runtime.device.startswith("auto") else {"device": runtime.device}
        for setting, value in given.items():
            if value is not None:
                runtime.say(f"{self.name} is a function of your own: {setting}={value} changes nothing for it")
        return FunctionScorer(self.name, self.function)


class FunctionScorer:
    """Calls the function for each example; what it raises is told as its own fault, with the example."""

    device = "chosen by the function"

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self._name, self._function = name, function

    def prepare(self, task: Task) -> None: ...

    def score(self, examples: Sequence[Example], known: Mapping[str, Measurement]) -> Iterator[ScoreMatrix]:
        for example in examples:
            images = [on_white(upright(image.decode())) for image in example.images]
            yield ScoreMatrix(example.id, self._scores(example, images))

    def _scores(self, example: Example, images: list[Any]) -> NDArray[Any]:
        try:
            return _array(self._function(images, list(example.captions)))
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # SystemExit is not an Exception
            raised = f"{type(error).__name__} ({error})" if str(error) else type(error).__name__
            raise RunError(
                f"the function {self._name!r} raised {raised} for example {example.id!r}{_where(error)}"
            ) from error


def _array(scores: Any) -> NDArray[Any]:
    """The scores as a numpy array, unchecked except for what numpy would misread."""
    if isinstance(scores, np.ndarray):
        return scores  # pyright: ignore[reportUnknownVariableType]
    if isinstance(scores, list | tuple):
        rows: list[Any] = [_array(row) for row in scores]  # pyright: ignore[reportUnknownVariableType]
        if len({row.shape for row in rows}) > 1:
            raise ValueError(f"its rows of scores have the shapes {', '.join(str(row.shape) for row in rows)}")
        return np.ma.stack(rows) if any(map(np.ma.isMaskedArray, rows)) else np.stack(rows) if rows else np.zeros(0)
    if hasattr(scores, "detach"):  # a tensor
        floats = scores.double() if scores.is_floating_point() else scores  # bfloat16 is none of numpy's
        return floats.detach().cpu().numpy()
    return np.asarray(scores)


def _name(function: Callable[..., Any]) -> str:
    if isinstance(function, functools.partial):
        return _name(function.func)  # pyright: ignore[reportUnknownMemberType]
    name = str(getattr(function, "__name__", type(function).__name__))
    return "function" if name == "<lambda>" else name


def _where(error: BaseException) -> str:
    """The last line that was reached; nothing where that is not the function's."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != __file__]
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
