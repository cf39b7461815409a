"""Facts that a scorer tells of the results of a part, stored beside them."""

from __future__ import annotations

from compbench.core.aliases import Json
from compbench.core.models import Scorer, TellsAnswers, TellsLesson, TellsScale

__all__ = ["told"]


def told(scorer: Scorer) -> dict[str, Json]:
    """The lesson it learned, by a digest; the scale that makes probabilities of its scores; a service's answers."""
    found: dict[str, Json] = {}
    if isinstance(scorer, TellsLesson) and (lesson := scorer.learned_from()):
        found["learned_from"] = lesson
    if isinstance(scorer, TellsScale):
        found |= scorer.scale()
    if isinstance(scorer, TellsAnswers) and (answers := scorer.answered()):
        found["answers"] = dict(answers)
    return found
