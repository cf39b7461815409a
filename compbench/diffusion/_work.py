"""An example being measured: what it still wants, what has come back, what was handed on. numpy only."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from compbench.core.aliases import Floats, Ints
from compbench.core.examples import Example
from compbench.core.measurements import Measurement
from compbench.core.rules import Rule
from compbench.schedules.policies import Policy

__all__ = ["Fault", "PolicyOf", "Work"]

_SQUARED = Rule()
Fault = tuple[float, int, int, int]  # an error that is not finite: value, image, caption, draw


PolicyOf = Callable[[Example], Policy]


class Work:
    """An example; its jobs are ordered by draw, then image, then caption, and come back in that order.

    `captions` are what the network is given; one more than the example has where the last stands for no caption.
    """

    def __init__(
        self,
        example: Example,
        captions: Sequence[str],
        losses: Sequence[str],
        n_draws: int,
        policy: Policy | None,
        known: Measurement | None,
        rule: Rule = _SQUARED,
    ) -> None:
        """`rule` makes what the policy is given of the errors, before its weights."""
        self.example, self.captions = example, tuple(captions)
        self._losses, self._policy = tuple(losses), policy
        self._rule = rule
        self._deciding = [self._losses.index(name) for name in rule.losses] if policy is not None else []
        shape = len(example.images), len(captions), n_draws
        self._errors = np.zeros((len(losses), *shape), np.float32)  # [R, I, C, D]
        self._measured = np.zeros(shape, bool)  # also on their way back
        self._news = np.zeros(shape, bool)  # of draws that may be handed on
        self._last_news = time.monotonic()
        if known is not None:
            self._remember(known)
        self._ask()

    @property
    def n_left(self) -> int:
        """Jobs of this round that are not on their way."""
        return len(self._jobs) - self._n_taken

    @property
    def is_finished(self) -> bool:
        """Whether nothing more is wanted."""
        return not len(self._jobs)

    @property
    def seconds_since_news(self) -> float:
        """Since it was begun, or anything of it was handed on."""
        return time.monotonic() - self._last_news

    def place(self, image_rows: Sequence[int], caption_rows: Sequence[int]) -> None:
        """Set where the engine finds its latents and conditioning."""
        self._image_rows, self._caption_rows = np.array(image_rows), np.array(caption_rows)

    def coming(self, n: int) -> Ints:
        """[n, 2]: the image's number and the draw of the next jobs, which `take_jobs` will give."""
        return self._jobs[self._n_taken : self._n_taken + n, [0, 2]]

    def take_jobs(self, n: int) -> Ints:
        """[n, 3]: rows of image and caption, and the draw, of the next jobs."""
        image, caption, draw = self._jobs[self._n_taken : self._n_taken + n].T
        self._n_taken += n
        return np.stack([self._image_rows[image], self._caption_rows[caption], draw], axis=1)

    def put(self, errors: Floats) -> Fault | None:
        """Keep the errors [R, n] of the next jobs that come back; when the round is over the next is begun.

        An error that is not finite is returned, and nothing is kept from there on.
        """
        jobs = self._jobs[self._n_back : self._n_back + errors.shape[1]]
        bad = np.flatnonzero(~np.isfinite(errors).all(0))
        if len(bad):
            jobs, errors = jobs[: bad[0] + 1], errors[:, : bad[0] + 1]
        self._errors[:, *jobs.T] = errors
        n_good = len(jobs) - bool(len(bad))
        ends = np.flatnonzero(self._ends_draw[: self._n_back + n_good])
        whole = self._jobs[: ends[-1] + 1] if len(ends) else self._jobs[:0]
        fresh = whole[self._n_marked :]
        self._n_back, self._n_marked = self._n_back + n_good, max(len(whole), self._n_marked)
        self._measured[tuple(fresh.T)] = self._news[tuple(fresh.T)] = True
        if len(bad):
            image, caption, draw = (int(job) for job in jobs[-1])
            value = errors[:, -1]
            return float(value[~np.isfinite(value)][0]), image, caption, draw
        if self._n_back == len(self._jobs):
            self._ask()
        return None

    def news(self, *, with_parts: bool = False) -> Measurement | None:
        """The draws that are whole and were not handed on; now they are. `with_parts`: else what there is of one."""
        if with_parts and not self._news.any():
            parts = self._jobs[self._n_marked : self._n_back]
            self._measured[tuple(parts.T)] = self._news[tuple(parts.T)] = True
            self._n_marked = max(self._n_back, self._n_marked)
        draws = np.flatnonzero(self._news.any((0, 1)))
        if not len(draws):
            return None
        self._last_news = time.monotonic()
        fresh = np.ascontiguousarray(self._news[..., draws])
        self._news[:] = False
        return Measurement(
            self.example.id,
            draws.astype(np.int32),
            {loss: np.ascontiguousarray(self._errors[n][..., draws]) for n, loss in enumerate(self._losses)},
            fresh,
            has_null_caption=len(self.captions) > len(self.example.captions),
            is_last=self.is_finished,
        )

    def _ask(self) -> None:
        """Begin the next round; it has no jobs when nothing more is wanted."""
        if self._policy is None:
            wanted = ~self._measured
        else:
            errors = self._rule.of_stored(self._errors[self._deciding])  # pyright: ignore[reportArgumentType]
            wanted = self._policy.wanted(errors, self._measured) & ~self._measured
        draw, image, caption = np.nonzero(np.moveaxis(wanted, -1, 0))
        self._jobs = np.stack([image, caption, draw], axis=1)  # [J, 3]
        self._ends_draw = np.append(np.diff(draw) != 0, True)[: len(draw)]  # [J]
        self._n_taken = self._n_back = self._n_marked = 0  # marked: measured, and handed on when asked for

    def _remember(self, known: Measurement) -> None:
        """Take over the stored errors of the draws that are asked for."""
        kept = known.draw_ids < self._measured.shape[-1]
        n_captions = min(known.measured.shape[1], len(self.captions))  # both or either may have the empty caption
        draws = known.draw_ids[kept]
        self._measured[:, :n_captions, draws] = known.measured[:, :n_captions, kept]
        for n, loss in enumerate(self._losses):
            self._errors[n][:, :n_captions, draws] = known.errors[loss][:, :n_captions, kept]
