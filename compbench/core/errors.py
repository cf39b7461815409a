"""The ways to fail that a user can do something about. Nothing heavy is imported: listing names must stay instant."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = [
    "DataError",
    "MissingPackage",
    "MissingPictures",
    "RunError",
    "UnreadableImage",
    "UnreadableImages",
    "UsageError",
    "nan_advice",
]

_MOST_NAMED = 20


class UsageError(ValueError):
    """The user asked for something that does not exist or does not fit; the command exits with 2."""


class DataError(ValueError):
    """An input cannot be used: it is missing, damaged, gated or of the wrong form; the command exits with 1."""


class MissingPictures(DataError):
    """The captions of a task are there, and pictures are not that its reader was told to find."""


class MissingPackage(ImportError):
    """A package is not installed, or cannot be imported; the command exits with 1."""


class UnreadableImage(DataError):
    """An image cannot be read or decoded: what is measured of the other examples still counts."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


class UnreadableImages(DataError):
    """All the images of a run that could not be read, after everything else was measured and stored."""

    def __init__(self, errors: Sequence[UnreadableImage], n_examples: int) -> None:
        more = [f"and {len(errors) - _MOST_NAMED:,} more"] if len(errors) > _MOST_NAMED else []
        named = [str(error) for error in errors[:_MOST_NAMED]] + more
        what = "1 image" if len(errors) == 1 else f"{len(errors):,} images"
        so = "1 example is" if n_examples == 1 else f"{n_examples:,} examples are"
        summary = (
            f"{what} could not be read, so {so} not measured; all others are measured and stored. Repair what is named "
            "here and rerun the same command, or add --skip-unreadable"
        )
        super().__init__(f"{summary}: {'; '.join(named)}")
        self.errors, self.n_examples = tuple(errors), n_examples
        self.lines = (summary, *named)  # the same, a line for each image


class RunError(RuntimeError):
    """A run cannot start or go on (locked, disk full, NaN from the network); what was stored stays."""


def nan_advice(dtype: object) -> str:
    """Advice for a score or an error that is not finite, measured by a network in `dtype` (None: by no network).

    >>> nan_advice("float16")
    'a wider dtype (--dtype float32) is the usual cure'
    """
    if str(dtype).removeprefix("torch.") in ("float16", "bfloat16"):
        return "a wider dtype (--dtype float32) is the usual cure"
    if dtype is None:
        return "check the image, and how the model computes its scores"
    return "check the image, and that the weights are the published ones: fetch or copy them again"
