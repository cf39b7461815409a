"""A comparison of runs as text: outcomes, margins and interactions of each pair, then how to read them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from compbench.core.errors import UsageError
from compbench.store.run import Run
from compbench.store.told_apart import told_apart
from compbench_analysis.frames import tables
from compbench_analysis.frames.compare import CELLS, Comparison
from compbench_analysis.frames.leaders import SURE, Standings, standings
from compbench_analysis.frames.seeds import singles
from compbench_analysis.frames.signature import partial, signature
from compbench_analysis.text._notes import scored
from compbench_analysis.text.format import MISSING, metric_heading, p_value, percent, points
from compbench_analysis.text.render import Grid, count, records, render
from compbench_analysis.text.verdict import verdict

if TYPE_CHECKING:
    from compbench.core.rules import Rule

__all__ = ["left_out", "marks", "notes", "to_text"]

Row = dict[str, Any]
_N_NAMED = 3  # of the examples that are left out
_FEW = f"{tables.SMALL} fewer than {tables.FEW} examples; one of them is more than {100 / tables.FEW:.0f} points."
_NO_PROTOCOL = {"seed", "weights", "family", "predicts", "timesteps"}  # the last three are the model's own


def to_text(
    comparison: Comparison,
    style: str = "table",
    *,
    with_ids: bool = False,
    full: bool = False,
    n_columns: int | None = None,
) -> str:
    """The comparison in one of render.FORMATS: who leads, then each pair; `full` has every test and how it was made.

    csv and json hold the rows of all frames, each with its `test`; with_ids adds the ids in each cell of the agreement.
    """
    if style in ("csv", "json"):
        return records(_rows(comparison, style, with_ids), style)
    if with_ids:
        raise UsageError(f"ids are not part of the format {style!r}; expected csv or json beside --ids")
    return render(list(_full(comparison) if full else _brief(comparison)), style, n_columns)


def marks(comparison: Comparison) -> list[str]:
    """Notes on incomplete runs, and on settings besides the model that differ."""
    return [*_partials(comparison), *left_out(comparison), *_protocols(comparison)]


def left_out(comparison: Comparison) -> list[str]:
    """The examples that are not compared: how many of which run."""
    return [
        f"LEFT OUT: {count(len(ids))} of the {count(comparison.n_examples + len(ids))} examples that {label} has "
        f"measured, because another run could not read their images: {', '.join(map(repr, ids[:_N_NAMED]))}"
        + (", ..." if len(ids) > _N_NAMED else "")
        for label, ids in comparison.left_out.items()
    ]


def notes(comparison: Comparison) -> list[str]:
    """Notes on the tests and how to read the table."""
    return list(_notes(comparison))


def _rows(comparison: Comparison, style: str, with_ids: bool) -> Iterator[Row]:
    frames = {"outcome": comparison.outcomes, "margin": comparison.margins, "interaction": comparison.interactions}
    folders = {label: str(run.path) for label, run in zip(comparison.labels, comparison.runs, strict=True)}
    signatures = dict(zip(comparison.labels, _signatures(comparison), strict=True))
    for test, frame in frames.items():
        for row in tables.plain_rows(frame):
            row = {"test": test, **row}
            row |= {f"signature_{side}": signatures[row[side]] for side in "ab"}
            row |= {f"folder_{side}": folders[row[side]] for side in "ab"}
            for name in (f"ids_{cell}" for cell in CELLS if f"ids_{cell}" in row):
                ids = row.pop(name)
                row |= {name: ids if style == "json" else ";".join(ids)} if with_ids else {}
            yield row


def _brief(comparison: Comparison) -> Iterator[Grid]:
    """The verdict and the outcomes of each pair."""
    members = singles(comparison.runs)
    found = standings(members, rule=comparison.rule)
    rows = tables.plain(row for member in members for row in tables.rows(member, rule=comparison.rule))
    said = verdict(rows, _as_tested(found, comparison), comparison.n_examples, is_corrected=True)
    yield Grid((), (), title=said[0], notes=(*said[1:], *marks(comparison)))
    n_all = count(comparison.n_examples)
    for (a, b), rows in _by_pair(comparison.outcomes).items():
        title = f"{comparison.runs[0].key.task}, {n_all} examples: A = {a}, B = {b}"
        yield _outcomes_in_brief(title, rows)
    yield Grid((), (), notes=tuple(_brief_notes(comparison)))


def _as_tested(found: Standings, comparison: Comparison) -> Standings:
    """The standings with the p of the table below them, which is corrected over all its pairs and scores."""
    outcomes = [row for row in tables.plain_rows(comparison.outcomes) if row["tag"] == tables.OVERALL]
    p_of = {(frozenset((row["a"], row["b"])), row["metric"]): row["p_holm"] for row in outcomes}
    rows = [row for row in found.rows if row["tag"] == tables.OVERALL]
    leader_of = {row["metric"]: row["model"] for row in rows if row["p"] is None}
    tested: list[Row] = []
    for row in rows:
        p_holm = p_of.get((frozenset((row["model"], leader_of.get(row["metric"]))), row["metric"]))
        tested.append({**row, "p_holm": p_holm, "is_level": p_holm is None or not p_holm <= SURE})
    return Standings(tested, found.reason)


def _outcomes_in_brief(title: str, rows: Sequence[Row]) -> Grid:
    header = ("score", "tag (n)", "A, %", "B, %", "A − B [95 %]", "p, Holm")
    tags = [tables.OVERALL, *(row["tag"] for row in rows)]
    first = sorted(rows, key=lambda row: tags.index(row["tag"]) > 0)  # all examples of each score, then by tag
    cells = tuple(
        (
            metric_heading(row["metric"]),
            _tag(row["tag"], row["n"], row, rows),
            percent(row["value_a"]),
            percent(row["value_b"]),
            _difference(row),
            p_value(row["p_holm"]),
        )
        for row in first
    )
    is_sure = [row["p_holm"] is not None and row["p_holm"] <= SURE for row in first]
    strong = frozenset((n, 5) for n, sure in enumerate(is_sure) if sure)
    return Grid(header, cells, title=title, align="llrrrr", n_names=2, strong=strong)


def _brief_notes(comparison: Comparison) -> Iterator[str]:
    yield from scored(dict(zip(comparison.labels, comparison.runs, strict=True)), comparison.rule)
    how = "sign flips of whole groups" if comparison.n_shared_groups else "the exact McNemar test"
    yield f"p: {how}, Holm-corrected over all pairs and scores of the whole set, or of a column's tags."
    if min(comparison.outcomes["n"]) < tables.FEW:
        yield _FEW
    yield "--full adds who is right where, margins, tag interactions, detectable differences and signatures."


def _full(comparison: Comparison) -> Iterator[Grid]:
    task = comparison.runs[0].key.task
    title = f"{task}, {count(comparison.n_examples)} examples measured by all"
    yield Grid((), (), title=title, notes=tuple(marks(comparison)))
    outcomes, margins, interactions = map(_by_pair, (comparison.outcomes, comparison.margins, comparison.interactions))
    for (a, b), rows in outcomes.items():
        yield _outcomes(f"A = {a}, B = {b}: percent right, difference in points [95 % interval]", rows)
        if margins:
            yield _margins("Margins, A − B", margins[a, b])
        if interactions.get((a, b)):
            yield _interactions(
                "Is the gain larger in one than in the other? (A − B) − (A − B), points", interactions[a, b]
            )
    yield Grid((), (), title="How it was tested", notes=tuple(_notes(comparison)))
    yield Grid((), (), title="Signatures for a paper", notes=tuple(_signatures(comparison)))


def _signatures(comparison: Comparison) -> list[str]:
    return [signature(run, comparison.rule) for run in comparison.runs]


def _by_pair(frame: pd.DataFrame) -> dict[tuple[str, str], list[Row]]:
    pairs: dict[tuple[str, str], list[Row]] = {}
    for row in tables.plain_rows(frame):
        pairs.setdefault((row["a"], row["b"]), []).append(row)
    return pairs


def _outcomes(title: str, rows: Sequence[Row]) -> Grid:
    header = ("score", "tag (n)", "A", "B", "A − B", "both", "only A", "only B", "neither", "p", "Holm", "detectable")
    return Grid(
        header,
        tuple(
            (
                metric_heading(row["metric"]),
                _tag(row["tag"], row["n"], row, rows),
                percent(row["value_a"]),
                percent(row["value_b"]),
                _difference(row),
                *(count(row[cell]) for cell in CELLS),
                p_value(row["p"]),
                p_value(row["p_holm"]),
                percent(row["detectable"]),
            )
            for row in rows
        ),
        title=title,
        align="llrrrrrrrrrr",
        n_names=2,
    )


def _margins(title: str, rows: Sequence[Row]) -> Grid:
    cells = tuple(
        (
            metric_heading(row["metric"]),
            _tag(row["tag"], row["n"], row, rows),
            MISSING if row["difference"] is None else f"{row['difference']:+.3f}",
            p_value(row["p"]),
            p_value(row["p_holm"]),
        )
        for row in rows
    )
    return Grid(("margin", "tag (n)", "mean", "p", "Holm"), cells, title=title, align="llrrr", n_names=2)


def _interactions(title: str, rows: Sequence[Row]) -> Grid:
    cells = tuple(
        (
            metric_heading(row["metric"]),
            f"{_tag(row['tag'], row['n'], row, rows)} - {_tag(row['other_tag'], row['other_n'], row, rows)}",
            _difference(row),
            p_value(row["p"]),
            p_value(row["p_holm"]),
        )
        for row in rows
    )
    return Grid(("score", "gains", "difference", "p", "Holm"), cells, title=title, align="llrrr", n_names=2)


def _partials(comparison: Comparison) -> Iterator[str]:
    said = {what for run in comparison.runs if (what := partial(run, comparison.rule))}
    yield from sorted(said)


def _protocols(comparison: Comparison) -> Iterator[str]:
    """The settings that differ between runs that offer a choice."""
    chosen = {
        label: {name: value for name, value in run.key.measurement.items() if name not in _NO_PROTOCOL}
        | _read_by(run, comparison.rule)
        for label, run in zip(comparison.labels, comparison.runs, strict=True)
        if "protocol" in run.key.measurement
    }
    words = told_apart(list(chosen.values()))
    if any(words):
        said = "; ".join(f"{label}: {', '.join(own) or 'neither'}" for label, own in zip(chosen, words, strict=True))
        yield f"DIFFERENT PROTOCOLS: {said}. The difference mixes models and protocols."


def _read_by(run: Run, rule: Rule | None) -> dict[str, object]:
    if not run.info.has_rule:
        return {}
    rule = rule or run.rule
    always: dict[str, object] = {"draws": rule.draws, "target": rule.target, "loss": rule.loss}
    always["unconditional"] = rule.unconditional
    return always | rule.words() | always


def _notes(comparison: Comparison) -> Iterator[str]:
    if n_shared := comparison.n_shared_groups:
        yield f"{n_shared} groups have several examples of one image or source: p is from sign flips of whole groups."
        yield "Interval: Newcombe's for paired proportions, at the groups' effective sample size (Rao & Scott, 1992)."
        yield "Interaction tests and detectable differences need independent examples, and are left out."
    else:
        yield (
            "p: exact McNemar test; a tie counts as wrong. Interval: Newcombe's for paired proportions (1998, "
            "method 10)."
        )
        yield (
            "detectable: the difference in points that this test finds 4 times in 5 (p <= 0.05, uncorrected), given "
            "how often the two disagree; fewer than 6 disagreements can show nothing (–)."
        )
    yield from _families(comparison.outcomes, comparison.margins, comparison.interactions)
    yield (
        "Margin: lowest true minus highest false score. Models have different scales: the margins of each are divided "
        "by their root mean square over all examples, and zero stays zero. p: sign flips, with a fixed seed."
    )
    if len(comparison.interactions):
        yield "Gains in two tags: exact permutation of examples between them; interval by MOVER (Zou & Donner, 2008)."
        yield "A small p in one tag but not in another does not show that they differ; a small p here does."
    if min(comparison.outcomes["n"]) < tables.FEW:
        yield _FEW


def _families(*frames: pd.DataFrame) -> Iterator[str]:
    for frame, what in zip(frames, ("scores", "margins", "gains"), strict=True):
        sizes = {row["family"]: row["n_tests"] for row in frame.to_dict("records")}
        said = [f"{n} {_family(family)}" for family, n in sizes.items() if n]
        if said:
            yield f"Holm, {what}: p corrected over all pairs and {what} of a family; {', '.join(said)}."


def _family(name: str) -> str:
    return "overall" if name == tables.OVERALL else f"by {name}"


def _tag(tag: str, n: int, row: Row, rows: Sequence[Row]) -> str:
    """A tag with n; with its column where two columns are shown, and marked where examples are few."""
    columns = {row["column"] for row in rows if row["column"]}
    name = f"{row['column']}: {tag}" if row["column"] and len(columns) > 1 else tag
    return f"{name} ({n})" + (tables.SMALL if n < tables.FEW else "")


def _difference(row: Row) -> str:
    return points(row["difference"], row["low"], row["high"], width=5)
