"""The calibration of runs, as text and as a reliability diagram."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from compbench_analysis.frames import tables
from compbench_analysis.frames.calibration import Calibration
from compbench_analysis.text.format import percent
from compbench_analysis.text.render import Grid, count, records, render

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["reliability_diagram", "to_text"]

_HEADER = ("model", "temperature", "fitted on", "judged", "right", "confidence", "ECE", "at T = 1", "NLL")


def to_text(found: Mapping[str, Calibration], style: str = "table", *, with_examples: bool = False) -> str:
    """The calibrations of models on one task in one of render.FORMATS.

    csv and json hold a row for each model and bin, or with_examples for each model and example.
    """
    if style in ("csv", "json"):
        return records(
            (row for label, calibration in found.items() for row in _rows(label, calibration, with_examples)), style
        )
    rows = tuple(_row(label, calibration) for label, calibration in found.items())
    grids = [
        Grid(
            (),
            (),
            title="Class probabilities, at a temperature fitted on some examples and tested on the others",
        ),
        Grid(_HEADER, rows, notes=tuple(_notes(found)), align="l" + "r" * 8),
        *(_bins(label, calibration) for label, calibration in found.items()),
    ]
    return render(grids, style)


def reliability_diagram(found: Mapping[str, Calibration]) -> Figure:
    """Accuracy against confidence, a panel for each model, with the interval of each bin and its share of examples."""
    from compbench_analysis.figures.style import CHANCE_LINE, Picture, colour

    figure = Picture(figsize=(3.6 * len(found), 4.2), layout="constrained")
    axes = figure.subplots(2, len(found), sharex=True, squeeze=False, height_ratios=(4, 1))
    for column, (label, calibration) in enumerate(found.items()):
        upper, lower = axes[:, column]
        bins = calibration.bins
        upper.plot([0, 1], [0, 1], **CHANCE_LINE)
        below = (bins["accuracy"] - bins["accuracy_low"]).clip(0)  # rounding may take an end past the point
        above = (bins["accuracy_high"] - bins["accuracy"]).clip(0)
        upper.errorbar(
            bins["confidence"], bins["accuracy"], [below, above], color=colour(column), marker="o", capsize=2
        )
        upper.set(title=f"{label}: ECE {percent(calibration.ece)} %", xlim=(0, 1), ylim=(0, 1))
        width, share = bins["high"] - bins["low"], bins["n"] / bins["n"].sum()
        lower.bar(bins["low"], share, width, color=colour(column), align="edge", edgecolor="white")
        lower.set(xlabel="probability of the prediction")
    axes[0, 0].set_ylabel("share that is right")
    axes[1, 0].set_ylabel("examples")
    return figure


def _row(label: str, one: Calibration) -> tuple[str, ...]:
    ece = percent(one.ece) if not one.n_pruned else f"{percent(one.ece)} or {percent(one.ece_high)}"
    return (
        label,
        f"{one.temperature:.3g}{' *' if one.is_at_edge else ''}",
        count(one.n_fitted),
        count(one.n_judged),
        f"{percent(one.accuracy)} %",
        f"{percent(one.confidence)} %",
        ece,
        percent(one.ece_untempered),
        f"{one.nll:.3f}",
    )


def _notes(found: Mapping[str, Calibration]) -> Sequence[str]:
    chances = dict.fromkeys(f"{calibration.nll_of_chance:.3f}" for calibration in found.values())
    notes = [
        "ECE: mean distance between how sure and how often right, in points; beside it at temperature 1, as in the "
        "paper's equation.",
        f"NLL: nats per example; with 1 / K for each class it is {' or '.join(chances)}.",
    ]
    if any(calibration.is_at_edge for calibration in found.values()):
        notes.append(
            "* the likelihood has no maximum: on the examples used for the fit the scores are perfect, or say nothing."
        )
    for label, calibration in found.items():
        if calibration.n_pruned:
            notes.append(
                f"{label}: {count(calibration.n_pruned)} of {count(calibration.n_judged)} examples have classes "
                f"that were dropped early. Their probabilities are intervals; confidence and NLL are lower "
                f"bounds, and ECE is given for the lower and the upper ends."
            )
    return notes


def _bins(label: str, one: Calibration) -> Grid:
    rows = tuple(
        (
            f"{row['low']:.2f} to {row['high']:.2f}",
            count(row["n"]),
            percent(row["confidence"]),
            percent(row["accuracy"], row["accuracy_low"], row["accuracy_high"]),
        )
        for row in tables.plain_rows(one.bins)
    )
    return Grid((label, "n", "confidence, %", "right, % [95 %]"), rows, align="lrrr")


def _rows(label: str, one: Calibration, with_examples: bool) -> Sequence[Mapping[str, Any]]:
    frame = one.examples if with_examples else one.bins
    about = {
        field_.name: getattr(one, field_.name) for field_ in fields(one) if field_.name not in ("bins", "examples")
    }
    more = {"model": label} if with_examples else {"model": label, **about}
    return [{**more, **row} for row in tables.plain_rows(frame)]
