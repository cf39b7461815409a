"""Everything that runs of the benchmark have to say, as text: scores, cost, ties, what is partial, signatures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from compbench.core.errors import UsageError
from compbench.schedules.schedule import Full
from compbench_analysis.frames import breakdowns, curves, published, tables
from compbench_analysis.frames.breakdowns import By
from compbench_analysis.frames.seeds import SeedGroup, same_but_seed, singles
from compbench_analysis.frames.signature import labels, partial, signature
from compbench_analysis.frames.stored_errors import has_own_noise
from compbench_analysis.statistics.intervals import METHODS
from compbench_analysis.statistics.resampling import LEAST_UNITS, LEAST_UNITS_OF_OWN_NOISE
from compbench_analysis.text import _racing, _score_tables
from compbench_analysis.text._summary import summary
from compbench_analysis.text.render import Grid, count, duration, records, render

if TYPE_CHECKING:
    from compbench.core.rules import Rule
    from compbench.store.run import Run

__all__ = ["Cost", "cost", "to_text", "too_few_draws", "with_draws"]

_DRAWS = ["draws_se", "draws_low", "draws_high"]
_N_RESAMPLES = 400  # of the draws: the standard error of a standard deviation is then 4 % of it


_COUNTS = ("n_errors", "n_evaluations")  # of a part: the latter where scores are not made of stored errors


@dataclass(frozen=True, slots=True)
class Cost:
    """What a run has cost so far."""

    # of the network: one for each stored error; those for pictures and features of a model that learned; else 0
    n_evaluations: int
    seconds: float
    device: str
    is_counted: bool = True  # False: a model of scores, which evaluates no network, or did not record it


@dataclass(frozen=True)
class _Look:
    """How the runs are read."""

    by: By
    rule: Rule | None
    is_each: bool
    has_draws: bool
    has_published: bool


def to_text(
    runs: Sequence[Run],
    style: str = "table",
    by: By = None,
    rule: Rule | None = None,
    *,
    with_published: bool = False,
    each_seed: bool = False,
    draws: bool = True,
) -> str:
    """The runs in one of render.FORMATS: one table for each task, its runs in the order given, and a summary of all.

    csv and json are `tables.over_seeds` with the signature, the cost and the folder of its run on each row.
    with_published adds what others have published of the task, each row with its source and protocol; each_seed shows
    runs apart that differ by their seed alone; draws adds what other draws would change, where errors are stored.
    """
    look = _Look(by, rule, each_seed, draws, with_published)
    parts = _by_task(runs)
    if style in ("csv", "json"):
        return records((row for part in parts for row in _rows(part, look)), style)
    shown = [render(_grids(part, look), style) for part in parts]
    if len(parts) > 1:
        read = tables.tidy if each_seed else tables.over_seeds
        shown.append(render([summary(pd.concat([read(part, rule=rule) for part in parts]))], style))
    return "\n\n\n".join(shown)


def cost(run: Run) -> Cost:
    """The sum over the run's parts, whoever measured them."""
    return _cost([run])


def with_draws(
    frame: pd.DataFrame, runs: Iterable[Run], by: By = None, rule: Rule | None = None
) -> tuple[pd.DataFrame, list[str]]:
    """A tidy frame with the Monte Carlo columns of `curves.monte_carlo`, and why a run of errors has none.

    They are NaN for runs of scores, and for a row over several seeds, whose `sd` tells of other draws.
    """
    measured: dict[tuple[object, ...], list[float]] = {}
    reasons: list[str] = []
    for run in runs:
        if run.losses():
            try:
                n_draws, n_units, is_unsure = curves.enough_draws(run, rule)
                if is_unsure and n_units > 1:  # of a single one no figure could be made at all
                    reasons.append(too_few_draws(run, n_draws, n_units))
                    continue
                found = curves.monte_carlo(run, by, rule, n_resamples=_N_RESAMPLES)
            except UsageError as error:
                reasons.append(f"No {_score_tables.DRAWS}: {error}.")
                continue
            measured |= {_cell(row): [row[name] for name in _DRAWS] for row in found.to_dict("records")}
    values = [measured.get(_cell(row), [float("nan")] * len(_DRAWS)) for row in frame.to_dict("records")]
    return frame.assign(**{name: [its[n] for its in values] for n, name in enumerate(_DRAWS)}), reasons


def too_few_draws(run: Run, n_draws: int, n_units: int) -> str:
    """Why a run of so many draws, so many of which are independent, has no ±draws; see `curves.enough_draws`."""
    size = round(n_draws / max(n_units, 1))
    least = LEAST_UNITS_OF_OWN_NOISE if has_own_noise(run) else LEAST_UNITS
    what = f"{n_units} antithetic pairs" if size > 1 else f"{n_units} draws"
    return (
        f"No {_score_tables.DRAWS} for {run.key.model}: from {what} the figure could be off by a factor of two; "
        f"-o draws={least * size} is enough."
    )


def _cell(row: dict[Any, Any]) -> tuple[object, ...]:
    return row["run"], row["column"], row["tag"], row["metric"]


def _cost(runs: Sequence[Run]) -> Cost:
    parts = [part for run in runs for part in run.parts()]
    devices = dict.fromkeys(str(each["device"]) for each in parts if each.get("device"))
    return Cost(
        n_evaluations=sum(int(str(each.get(name) or 0)) for each in parts for name in _COUNTS),
        seconds=sum(float(str(each.get("seconds") or 0)) for each in parts),
        device=", ".join(devices),
        is_counted=any(each.get("n_errors") or "n_evaluations" in each for each in parts),
    )


def _by_task(runs: Sequence[Run]) -> list[list[Run]]:
    """Runs that can stand in one table: of the same task at the same revision."""
    runs = list({run.path: run for run in runs}.values())
    order = list(dict.fromkeys((run.key.task, run.key.task_revision) for run in runs))
    return [[run for run in runs if (run.key.task, run.key.task_revision) == each] for each in order]


def _read(runs: Sequence[Run], look: _Look) -> tuple[list[SeedGroup], pd.DataFrame, list[str]]:
    """The rows of the table, which runs they are of, and why a run has no Monte Carlo part."""
    if look.is_each:
        members = singles(runs)
        frame = tables.tidy(runs, look.by, look.rule).assign(seeds=1, sd=float("nan"))
    else:
        members = same_but_seed(runs, look.rule)
        frame = tables.over_seeds(runs, look.by, look.rule)
    single = [each.runs[0] for each in members if len(each.runs) == 1 and look.has_draws]
    frame, reasons = with_draws(frame, single, look.by, look.rule)
    return members, frame, reasons


def _rows(runs: Sequence[Run], look: _Look) -> Iterator[dict[str, Any]]:
    members, frame, _ = _read(runs, look)
    more = {
        each.digest: {
            **asdict(_cost(each.runs)),
            "signature": " ".join(signature(run, look.rule) for run in each.runs),
            "folder": ";".join(str(run.path) for run in each.runs),
        }
        for each in members
    }
    for row in tables.plain_rows(frame):
        yield {**row, **more[row["run"]]}
    yield from _published(runs, look)


def _published(runs: Sequence[Run], look: _Look) -> list[dict[str, Any]]:
    names = breakdowns.breakdown(look.by).names
    return published.rows(runs[0].key.task, names) if look.has_published else []


def _grids(runs: Sequence[Run], look: _Look) -> list[Grid]:
    members, frame, reasons = _read(runs, look)
    more = _published(runs, look)
    beside = pd.DataFrame([*frame.to_dict("records"), *more]) if more else frame
    methods = list(dict.fromkeys(frame["method"]))
    notes = [
        *_partials(members, look),
        *_unmatched(runs[0], look.by),
        *_overlooked(members),
        *_methods(methods),
        *_repeats(members, frame),
        *reasons,
    ]
    n_all = count(runs[0].info["n_task_examples"])
    kind = {0: "Wilson ", 1: f"{(methods or [''])[0]} ".replace("wilson", "Wilson")}.get(len(methods), "")
    title = f"{runs[0].key.task}, {n_all} examples: percent right [{kind}95 % interval]; n in parentheses"
    signatures = tuple(signature(run, look.rule) for run in runs)
    savings = [words for run, label in zip(runs, labels(runs), strict=True) if (words := _racing.saved(run, label))]
    return [
        Grid((), (), title=title, notes=tuple(notes)),
        *_score_tables.grids(beside),
        Grid((), (), notes=tuple([*_draws(members, frame), *_score_tables.few(tables.plain_rows(beside))])),
        *([Grid((), (), title=published.NOTE, notes=tuple(published.sources(more)))] if more else []),
        _costs(members, frame),
        *([Grid((), (), notes=tuple(savings))] if savings else []),
        Grid((), (), title="Signature for a paper" if len(runs) == 1 else "Signatures for a paper", notes=signatures),
    ]


def _partials(members: Sequence[SeedGroup], look: _Look) -> Iterator[str]:
    """What is not whole, once for models of which the same can be said."""
    labels_of: dict[str, list[str]] = {}
    for each in members:
        if what := partial(each.runs[0], look.rule):
            labels_of.setdefault(what, []).append(each.label)
    for what, names in labels_of.items():
        yield what if len(names) == len(members) else f"{', '.join(names)}: {what}"
    if len(labels_of) > 1 or 0 < sum(map(len, labels_of.values())) < len(members):
        yield "The models did not see the same examples: n stands in a table of its own."


def _unmatched(run: Run, by: By) -> Iterator[str]:
    ids = [str(each) for each in run.examples()["id"]]
    if lacking := breakdowns.unmatched(by, ids):
        some = ", ".join(map(repr, lacking[:5])) + (", ..." if len(lacking) > 5 else "")
        yield f"{len(lacking)} of {len(ids)} examples are not in the file of tags and count overall alone: {some}."


def _overlooked(members: Sequence[SeedGroup]) -> Iterator[str]:
    """A sentence for each model that ignores orientation or transparency of some images, which others may not."""
    of_trait = {"orientation": "the EXIF orientation", "transparency": "the transparency"}
    for each in members:
        counts: Counter[str] = Counter()
        for part in each.runs[0].parts():
            found = part.get("overlooked")
            counts.update({str(k): int(str(n)) for k, n in found.items()} if isinstance(found, Mapping) else {})
        if words := [f"{of_trait.get(k, k)} of {n:,} image{'s' * (n != 1)}" for k, n in sorted(counts.items())]:
            yield f"{each.label} does not look at {' and '.join(words)}; models that do may see them differently."


def _methods(methods: Sequence[str]) -> Iterator[str]:
    """Which interval it is, where it is not everywhere that of a plain proportion."""
    for method in methods if methods != ["wilson"] else []:
        said = " and ".join(METHODS[kind] for kind in method.split("+"))
        yield f"{method} interval: {said}." if len(methods) > 1 else f"Interval: {said}."


def _repeats(members: Sequence[SeedGroup], frame: pd.DataFrame) -> Iterator[str]:
    if any(len(each.runs) > 1 for each in members):
        yield "Of several seeds: mean ± standard deviation over the seeds; --each shows them apart, and csv and json"
        yield "hold the interval of the mean over the sampling of examples."


def _draws(members: Sequence[SeedGroup], frame: pd.DataFrame) -> Iterator[str]:
    """The note on ±draws: its meaning, and whether more examples make it smaller."""
    shown = set(frame.loc[frame["draws_se"].notna(), "run"])
    own = {each.label: has_own_noise(each.runs[0]) for each in members if each.digest in shown}
    if own:
        told = "one standard deviation over other draws (timesteps and noise), from the stored errors;"
        yield f"{_score_tables.DRAWS}: {told}"
    if own and not all(own.values()):
        yield "  all examples share the draws, so that more examples do not make it smaller."
    if some := [label for label, is_own in own.items() if is_own]:
        yield f"  {', '.join(some)}: each image has noise of its own, so that more examples make it smaller, and the"
        yield "  interval over examples holds it already."
    staged = [each.label for each in members if each.label in own and not isinstance(each.runs[0].schedule, Full)]
    if staged:
        yield f"  {', '.join(staged)}: the published stages are gone through again under resampled errors; a class that"
        yield "  was given up early is taken to keep its distance."


def _costs(members: Sequence[SeedGroup], frame: pd.DataFrame) -> Grid:
    """Network evaluations and time of each model, and the ties of each metric where there are any."""
    overall = [row for row in tables.plain_rows(frame) if row["tag"] == tables.OVERALL]
    ties = {(row["run"], row["metric"]): row["ties"] for row in overall}
    tied = list(dict.fromkeys(row["metric"] for row in overall if row["ties"]))
    rows: list[tuple[str, ...]] = []
    notes: list[str] = []
    for each in members:
        spent = _cost(each.runs)
        n_evaluations = count(spent.n_evaluations) if spent.is_counted else "–"
        if spent.is_counted and not spent.n_evaluations:
            notes.append(
                f"{each.label}: 0 evaluations, since the pictures or features it needs were kept from earlier runs."
            )
        n_ties = (f"{ties.get((each.digest, metric)) or 0:,.3g}" for metric in tied)
        rows.append((each.label, n_evaluations, duration(spent.seconds), spent.device, *n_ties))
    header = ("model", "network evaluations", "time spent", "device", *(f"ties, {metric}" for metric in tied))
    if tied:
        notes.append("A tie is wrong: no model is right about two equal scores.")
    return Grid(header, tuple(rows), notes=tuple(notes), align="lrrl" + "r" * len(tied))
