"""Whether compiling a network pays: what it saves in the evaluations to come, and what it takes.

Both are measured: a few batches before the first one that counts tell how long an evaluation takes as it is, and what
compiling took and brought is remembered for the next run of such a network. Until then a rule of thumb stands for it.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from compbench.core.remembered import recalled, remember
from compbench.diffusion.denoiser import Denoiser

__all__ = ["FOLDER", "Compiling", "Speeds"]

FOLDER = "compiling"  # in the cache folder
_MODE = "default"  # of torch.compile, where it is left to us
_THUMB_SECONDS, _THUMB_SHARE = 120.0, 0.2  # that compiling takes, and of an evaluation's time that it saves
_BATCHES_WORTH_A_LOOK = 20  # fewer are over before anything is gained
_TIMED_BATCHES = 3


@dataclass(frozen=True, slots=True)
class Speeds:
    """The seconds that compiling takes, and those of an evaluation before and after it.

    >>> speeds = Speeds(eager=0.002, compiled=0.0015, compiling=100)
    >>> speeds.break_even, speeds.pays(150_000), speeds.pays(250_000)
    (200000.0, False, True)
    """

    eager: float
    compiled: float
    compiling: float

    @classmethod
    def by_rule_of_thumb(cls, eager: float) -> Speeds:
        """For a network that nobody has compiled here yet."""
        return cls(eager, eager * (1 - _THUMB_SHARE), _THUMB_SECONDS)

    @property
    def break_even(self) -> float:
        """The number of evaluations that save as much as compiling takes; inf where they save nothing."""
        saved = self.eager - self.compiled
        return self.compiling / saved if saved > 0 else math.inf

    def pays(self, n_evaluations: int) -> bool:
        """Whether so many evaluations save more than compiling takes."""
        return n_evaluations > self.break_even


class Compiling:
    """Compiles a denoiser's network when that is asked for, or once it pays.

    `mode` is off, auto, or a mode of torch.compile. Who measures in several calls does not say how many are to come:
    as many more are expected as there have been, so that waiting costs at most as much again as compiling at once.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        mode: str,
        say: Callable[[str], None],
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._denoiser, self._mode, self._say, self._now = denoiser, mode, say, now
        self._n_planned = 0
        self._speeds: Speeds | None = None
        self._is_told = False

    def before(self, n_evaluations: int, size: int, run_batch: Callable[[int], object]) -> None:
        """Decide before so many evaluations in batches of `size`; `run_batch` runs one whose result is not kept."""
        if self._mode == "off":
            return
        if self._mode != "auto":
            self._denoiser.compile(self._mode, self._say)
            self._mode = "off"  # done once
            return
        self._n_planned += n_evaluations
        if self._n_planned < _BATCHES_WORTH_A_LOOK * size:
            return
        if self._speeds is None:
            self._speeds = self._expected(size, run_batch)
        if self._speeds.pays(self._n_planned):
            self._mode = "off"
            self._compile(self._speeds, size, run_batch)
        elif not self._is_told:
            self._is_told = True
            self._say(_why_not(self._speeds, self._n_planned))

    def _expected(self, size: int, run_batch: Callable[[int], object]) -> Speeds:
        eager, known = self._timed(size, run_batch), recalled(self._place(size))
        try:
            return Speeds(eager, eager * float(known["compiled"]) / float(known["eager"]), float(known["compiling"]))
        except (KeyError, TypeError, ValueError, ZeroDivisionError):  # nothing is known, or nothing readable
            return Speeds.by_rule_of_thumb(eager)

    def _compile(self, expected: Speeds, size: int, run_batch: Callable[[int], object]) -> None:
        self._say(
            f"the network is compiled: {self._n_planned:,} evaluations pay for it, which takes about "
            f"{expected.compiling:.0f} s and pays from {expected.break_even:,.0f} on"
        )
        self._denoiser.compile(_MODE, self._say)
        began = self._now()
        run_batch(size)
        compiling = max(self._now() - began - expected.eager * size, 0.0)
        if self._denoiser.engine == "eager":  # it could not be compiled, which is said
            return
        found = Speeds(expected.eager, self._timed(size, run_batch), compiling)
        if self._denoiser.architecture:
            remember(self._place(size), asdict(found))
        times = f"{found.compiled * 1000:.3g} ms for an evaluation instead of {found.eager * 1000:.3g}"
        if found.compiled < found.eager:
            self._say(f"the compiled network takes {times}")
            return
        self._denoiser.compile("off", self._say)
        self._say(f"the compiled network is no faster ({times}): it runs uncompiled")

    def _timed(self, size: int, run_batch: Callable[[int], object]) -> float:
        """Seconds of an evaluation, after a batch that loads what is needed."""
        run_batch(size)
        began = self._now()
        for _ in range(_TIMED_BATCHES):
            run_batch(size)
        return (self._now() - began) / (_TIMED_BATCHES * size)

    def _place(self, size: int) -> str:
        named = hashlib.sha256(f"{self._denoiser.architecture} {size} {_MODE}".encode()).hexdigest()
        return f"{FOLDER}/{named[:32]}.json"


def _why_not(speeds: Speeds, n_evaluations: int) -> str:
    if math.isinf(speeds.break_even):
        return (
            "the network runs uncompiled: compiled it was no faster in an earlier run (-o compile=default tries again)"
        )
    return (
        f"the network runs uncompiled: its {n_evaluations:,} evaluations take about {n_evaluations * speeds.eager:.0f} "
        f"s, and compiling, about {speeds.compiling:.0f} s, pays from {speeds.break_even:,.0f} on (-o compile=default "
        "compiles it anyway)"
    )
