"""The scores of one task as a table for a paper: rules of booktabs, numbers set by siunitx, the best in bold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from compbench.core.printable import printable
from compbench_analysis.frames.tables import SMALL
from compbench_analysis.text._compact import AT_RANDOM, Row, Scores
from compbench_analysis.text.format import farther_end, metric_heading, percent
from compbench_analysis.text.render import latex_text

__all__ = ["latex_scores"]

_PREAMBLE = r"\usepackage{booktabs, siunitx} \sisetup{separate-uncertainty=true, detect-weight=true}"


def latex_scores(scores: Scores, title: str, comments: Sequence[str]) -> str:
    """Tags and models down, metrics across; the uncertainty in parentheses is the farther end of the interval."""
    has_tags, has_n = len(scores.tags) > 1, not scores.is_one_n
    names = [*(["tag ($n$)"] if has_tags else []), "model", *(["$n$"] if has_n else [])]
    columns = "l" * has_tags + "l" + "r" * has_n + " S[table-format=3.1(3)]" * len(scores.metrics)
    heading = [*names, *(f"{{{latex_text(metric_heading(metric))}, \\%}}" for metric in scores.metrics)]
    rows = [_joined(row) for row in _rows(scores, has_tags=has_tags, has_n=has_n)]
    return "\n".join(
        [
            f"% {printable(title)}",
            *(f"% {printable(comment)}" for comment in comments),
            f"% needs {_PREAMBLE}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            _joined(heading),
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}",
        ]
    )


def _rows(scores: Scores, *, has_tags: bool, has_n: bool) -> Iterator[list[str]]:
    for tag in scores.tags:
        name = scores.tag_name(tag)
        shown_tag = latex_text(name.removesuffix(SMALL)) + (r"$^\dagger$" if name.endswith(SMALL) else "")
        for model in scores.models:
            cells = [scores.cells.get((tag, model, metric)) for metric in scores.metrics]
            known = [cell for cell in cells if cell is not None]
            if not known:
                continue
            is_best = [(tag, model, metric) in scores.best for metric in scores.metrics]
            numbers = [_number(cell, is_bold=best) for cell, best in zip(cells, is_best, strict=True)]
            n = [scores.sizes(tag, model)] if has_n else []
            yield [*([shown_tag] if has_tags else []), latex_text(model), *n, *numbers]
            shown_tag = ""
        if not scores.is_one_chance or tag == scores.tags[-1]:
            chances = scores.chances(tag)
            values = [percent(chances[metric]) if metric in chances else "" for metric in scores.metrics]
            if any(values):
                yield [*([""] if has_tags else []), AT_RANDOM, *([""] if has_n else []), *values]


def _number(row: Row | None, *, is_bold: bool) -> str:
    """'93.2(28)': siunitx counts the uncertainty in units of the last digit."""
    if row is None or row["value"] is None:
        return ""
    if row.get("sd") is not None:
        end = percent(row["sd"])
    else:
        end = "" if row["low"] is None else farther_end(row["value"], row["low"], row["high"])
    digits = end.replace(".", "").lstrip("0") or "0"
    number = percent(row["value"]) + (f"({digits})" if end else "")
    return rf"\bfseries {number}" if is_bold else number


def _joined(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"
