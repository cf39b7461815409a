"""Class posteriors of a classification, p(class | picture): Eq. 3 of "Your Diffusion Model is Secretly a Classifier".

The softmax of the class scores, which are minus the errors, over a temperature. Unless one is given it is the one that
`calibrate` fits, on a fifth of the examples; where none fits best it is 1, as the paper writes the equation, and that
is said. A class that a schedule gave up early has the least posterior that it may have, in `..._high` the most.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from compbench.core.aliases import Bools
from compbench.core.errors import UsageError
from compbench.schedules.schedule import Full
from compbench_analysis.frames.calibration import (
    SHARE_FITTED,
    ClassScores,
    class_scores,
    fit_temperature,
    held_out,
    probabilities,
)

if TYPE_CHECKING:
    from compbench.core.rules import Rule
    from compbench.store.run import Run

__all__ = ["columns", "posteriors"]

_NAMES = ("posterior_true", "posterior_prediction")


def posteriors(run: Run, rule: Rule | None = None, temperature: float | None = None) -> pd.DataFrame:
    """[N, K]: a row for each measured example, by id, and a column for each class; `.attrs["temperature"]` names it.

    Rows add up to 1 where every class was measured on every draw; else each is the least that it may be.
    """
    scores = class_scores(run, rule)
    used, _ = _tempered(run, scores, temperature)
    low, _ = probabilities(scores, used)
    names = [] if run.classes is None else list(run.classes.names)
    frame = pd.DataFrame(low, index=pd.Index(scores.ids, name="id"), columns=pd.Index(names, name="class"))
    frame.attrs["temperature"] = used
    return frame


def columns(run: Run, rule: Rule | None = None, temperature: float | None = None) -> pd.DataFrame:
    """By id the posterior of the true class and of the predicted one, the temperature, and who it was fitted on.

    `is_fitted_on` is false for all where the temperature was given, or is 1 because none fits best.
    """
    if run.keeps_scores and not isinstance(run.schedule, Full):
        run.say_once(
            f"run {str(run.path)!r} keeps scores alone, and its schedule gave classes up early: there are no errors "
            "to tell their posteriors from"
        )
        return _unknown(list(run.done()))
    if not run.done():
        return _unknown([])
    scores = class_scores(run, rule)
    used, is_fitted_on = _tempered(run, scores, temperature)
    low, high = probabilities(scores, used)
    rows, ends = np.arange(len(scores.ids)), {"": low}
    if not scores.is_whole.all():
        ends["_high"] = high
    found = {
        f"{name}{end}": values[rows, places]
        for end, values in ends.items()
        for name, places in zip(_NAMES, (scores.labels, scores.chosen), strict=True)
    }
    told = {"temperature": used, "is_fitted_on": is_fitted_on}
    return pd.DataFrame(found | told, index=pd.Index(scores.ids, name="id"))


def _tempered(run: Run, scores: ClassScores, temperature: float | None) -> tuple[float, Bools]:
    """The temperature, and [N] whether it was fitted on an example; says why where it is 1 since none fits."""
    is_fitted_on = np.zeros(len(scores.ids), bool)
    if temperature is not None:
        if not temperature > 0:
            raise UsageError(f"temperature={temperature} was asked for; expected more than 0")
        return temperature, is_fitted_on
    fitted, _ = held_out(scores.groups, SHARE_FITTED, seed=0)
    if not len(fitted):
        why = f"{len(scores.ids)} measured examples are too few to fit a temperature on"
    else:
        found, is_at_edge = fit_temperature(scores.of(fitted))
        if not is_at_edge:
            is_fitted_on[fitted] = True
            return found, is_fitted_on
        why = f"no temperature fits best: scores are perfect, or say nothing, on the {len(fitted)} examples to fit on"
    run.say_once(f"run {str(run.path)!r}: {why}; its posteriors have temperature 1")
    return 1.0, is_fitted_on


def _unknown(ids: list[str]) -> pd.DataFrame:
    frame = pd.DataFrame(np.nan, index=pd.Index(ids, name="id"), columns=[*_NAMES, "temperature"])
    return frame.assign(is_fitted_on=False)
