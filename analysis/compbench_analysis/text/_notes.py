"""Notes below a table of scores: what is missing, ignored or pooled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from compbench_analysis.frames import breakdowns
from compbench_analysis.frames.breakdowns import By
from compbench_analysis.frames.seeds import SeedGroup
from compbench_analysis.frames.signature import answered, partial, scored_by
from compbench_analysis.statistics.intervals import METHODS
from compbench_analysis.text._look import Look

if TYPE_CHECKING:
    from compbench.core.rules import Rule
    from compbench.store.run import Run

__all__ = ["answers", "methods", "overlooked", "partials", "repeats", "scored", "unmatched"]


def partials(members: Sequence[SeedGroup], look: Look) -> Iterator[str]:
    """Notes on incomplete runs, once for models that share one."""
    labels_of: dict[str, list[str]] = {}
    for member in members:
        if what := partial(member.runs[0], look.rule):
            labels_of.setdefault(what, []).append(member.label)
    for what, names in labels_of.items():
        yield what if len(names) == len(members) else f"{', '.join(names)}: {what}"
    if len(labels_of) > 1 or 0 < sum(map(len, labels_of.values())) < len(members):
        yield "The models did not see the same examples: n has its own table."


def scored(runs: Mapping[str, Run], rule: Rule | None) -> Iterator[str]:
    """The reading of stored errors: whose, with which weight, on which timesteps; once for models read alike."""
    labels_of: dict[str, list[str]] = {}
    for label, run in runs.items():
        if run.info.has_rule:
            labels_of.setdefault(scored_by(run, rule or run.rule), []).append(label)
    for said, names in labels_of.items():
        yield f"{', '.join(names)}: {said}."


def unmatched(run: Run, by: By) -> Iterator[str]:
    """The examples that a file of tags says nothing of."""
    ids = run.task_examples.ids
    if lacking := breakdowns.unmatched(by, ids):
        some = ", ".join(map(repr, lacking[:5])) + (", ..." if len(lacking) > 5 else "")
        yield f"{len(lacking)} of {len(ids)} examples are not in the file of tags and count only overall: {some}."


def overlooked(members: Sequence[SeedGroup]) -> Iterator[str]:
    """A sentence for each model that ignores orientation or transparency of some images, which others may not."""
    of_trait = {"orientation": "the EXIF orientation", "transparency": "the transparency"}
    for member in members:
        counts: Counter[str] = Counter()
        for part in member.runs[0].parts():
            found = part.get("overlooked")
            counts.update({str(k): int(str(n)) for k, n in found.items()} if isinstance(found, Mapping) else {})
        if words := [f"{of_trait.get(k, k)} of {n:,} image{'s' * (n != 1)}" for k, n in sorted(counts.items())]:
            yield f"{member.label} ignores {' and '.join(words)}; models that do not may see the images differently."


def answers(members: Sequence[SeedGroup]) -> Iterator[str]:
    """The days and models by which a service answered and what it did not tell, for each model that asks one."""
    for member in members:
        run = member.runs[0]
        if not (days := answered(run)):
            continue
        yield f"{member.label}: a service's answers of {days}; nobody can reproduce them."
        if len(names := _served_by(run)) > 1:
            yield (
                f"{member.label}: the service answered by {len(names)} models, {', '.join(names)}; their scores are "
                "not one measurement."
            )
        ids, n_scores = set(run.ids()), sum(table.scores.size for table in run.tables().values())
        if n := _n_doubtful(run, "upper_bounds", ids):
            told = run.key.measurement.get("top_logprobs")
            yield (
                f"{member.label}: {n:,} of {n_scores:,} scores are upper bounds: {run.key.measurement.get('answer')!r} "
                f"was not among the likeliest tokens that the service tells, at most {told}."
            )
        if n := _n_doubtful(run, "abstentions", ids):
            yield f"{member.label}: {n:,} answers name none of the options; they count as wrong, as ties."


def _served_by(run: Run) -> list[str]:
    """The models behind a service's answers, as it names them."""
    names: set[str] = set()
    for part in run.parts():
        found = part.get("answers")
        told = found.get("served_by") if isinstance(found, Mapping) else None
        names.update(map(str, told) if isinstance(told, list) else ())
    return sorted(names)


def _n_doubtful(run: Run, what: str, ids: Collection[str]) -> int:
    n = 0
    for part in run.parts():
        found = part.get("answers")
        counts = found.get(what) if isinstance(found, Mapping) else None
        n += sum(int(str(n)) for k, n in counts.items() if k in ids) if isinstance(counts, Mapping) else 0
    return n


def methods(methods: Sequence[str]) -> Iterator[str]:
    """A sentence on the interval, where it is not everywhere that of a plain proportion."""
    for method in methods if methods != ["wilson"] else []:
        said = " and ".join(METHODS[kind] for kind in method.split("+"))
        yield f"{method.replace('wilson', 'Wilson')} interval: {said}." if len(methods) > 1 else f"Interval: {said}."


def repeats(members: Sequence[SeedGroup]) -> Iterator[str]:
    """The meaning of ± where a row stands for several seeds."""
    if any(len(member.runs) > 1 for member in members):
        yield (
            "Several seeds: mean ± standard deviation over the seeds; --each shows them separately; csv and json "
            "hold the interval of the mean over the sampling of examples."
        )
