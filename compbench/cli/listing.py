"""Small tables that the command prints: what is on offer, what is stored, a plan, the examples of a task."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from compbench.core.errors import UsageError
from compbench.core.printable import screen_width, width, wrapped
from compbench_analysis.text.render import Grid, count, duration, records, render, size

if TYPE_CHECKING:
    from compbench.cli.doctor import Check
    from compbench.core.examples import Example
    from compbench.runs.plan import Plan
    from compbench.store.run import Run

__all__ = ["checks", "examples", "plans", "stored", "task_sheet", "where"]

_DAY = 86_400
_HARDLY = 0.4  # of the evaluations at best: from here on racing hardly pays
_WORTH_A_WORD = 1_000_000_000  # bytes of a device's memory

_IN_COLUMNS = ("draws", "target", "loss")  # of a rule


def task_sheet(name: str) -> list[Grid]:
    """The protocols of a suite, and the sources of its captions and pictures; UsageError for any other task."""
    from compbench.core.sheets import HasSheet
    from compbench.registry import plugins

    suite = plugins.load(plugins.find("task", name.partition("+")[0]))
    if not isinstance(suite, HasSheet):
        raise UsageError(f"task {name!r} has no protocols to list; for its examples, run compbench show-task {name}")
    sheet = suite.sheet()
    rows = tuple((task, ", ".join(metrics), about) for task, (metrics, about) in sheet.protocols.items())
    return [
        Grid(("task", "scores", "how it is judged"), rows, sheet.about, align="lww"),
        Grid(("what", "is"), tuple(sheet.facts.items()), align="lw"),
    ]


def stored(runs: Iterable[Run]) -> Grid:
    """Runs, the latest of a model last, with what tells runs of one model apart."""
    header = ("run", "digest", "schedule", "draws", "seed", "noise", "target/loss", "protocol", "status", "examples")
    rows = tuple(_stored(run) for run in runs)
    return Grid((*header, "updated (UTC)"), rows, align="lllrrllllrl")


def _stored(run: Run) -> tuple[str, ...]:
    """The row of one run; – where its model has no such setting."""
    info, measurement = run.info, run.key.measurement
    told = {name: str(measurement.get(name, "–")) for name in ("seed", "noise", "protocol")}
    schedule, draws, error = "–", "–", "–"
    if info.has_rule:
        rule = run.own_rule
        schedule = run.schedule.name
        draws = "all" if rule.draws is None else str(rule.draws)
        words = rule.words()
        further = [name if name == "unconditional" else word for name, word in words.items() if name not in _IN_COLUMNS]
        error = ", ".join([f"{rule.target}/{rule.loss}", *further])
    n_all = info.n_task_examples
    n_done = n_all if info.status == "done" else len(run.done())
    return (
        f"{run.key.task}/{run.key.model}",
        run.key.digest,
        schedule,
        draws,
        told["seed"],
        told["noise"],
        error,
        told["protocol"],
        "whole" if n_done == n_all and run.status == "done" else run.state,
        f"{n_done} of {n_all}",
        info.updated[:16].replace("T", " "),
    )


def plans(made: Sequence[Plan], style: str) -> str:
    """A table of the work and cost of planned runs; csv and json give plain numbers."""
    if style in ("csv", "json"):
        return records(
            ({**asdict(plan), "folder": None if plan.folder is None else str(plan.folder)} for plan in made), style
        )
    header = ("task", "model", "examples", "pairs", "evaluations", "TFLOPs", "time", "to fetch", "to store")
    rows = tuple(
        (
            plan.task,
            plan.model,
            _known(plan.examples, count),
            _known(plan.pairs, count),
            _known(plan.evaluations, count),
            "–" if plan.evaluations == 0 and not plan.tflops else _known(plan.tflops, "{:,.3g}".format),
            "–" if plan.evaluations == 0 and not plan.seconds else _known(plan.seconds, duration),
            _known(plan.fetch_bytes, size),
            _known(plan.store_bytes, size),
        )
        for plan in made
    )
    is_open = any(cell == "?" for row in rows for cell in row)
    notes = (
        *(f"{plan.task}/{plan.model}: {_what_happens(plan)}" for plan in made),
        *(f"{plan.task}/{plan.model}: {said}" for plan in made if (said := _what_is_learned(plan))),
        *(f"{plan.task}/{plan.model}: {said}" for plan in made if (said := _what_is_raced(plan))),
        *(f"{plan.task}/{plan.model}: {said}" for plan in made if (said := _what_is_sent(plan))),
        *(f"{plan.task}/{plan.model}: {said}" for plan in made if (said := _what_is_held(plan))),
        "Nothing was measured or written.",
        *(("? is unknown until the weights and data are here, or while the hub does not answer.",) if is_open else ()),
    )
    return render([Grid(header, rows, notes=notes, align="ll" + "r" * 7)], style)


def checks(made: Sequence[Check]) -> Grid:
    """The findings of doctor, with advice below."""
    notes = tuple(f"{check.name}: {check.advice}" for check in made if check.advice)
    header, rows = ("what", "state", "found"), tuple((check.name, check.state, check.found) for check in made)
    return Grid(header, rows, notes=notes, align="llw")


def examples(chosen: Sequence[Example]) -> Grid:
    """A row for each caption: which images it matches, by number. Of more than ten captions only those that match."""
    rows: list[tuple[str, ...]] = []
    for example in chosen:
        tags = ", ".join(value for values in example.tags.values() for value in values)
        for number, caption in enumerate(example.captions):
            images = ", ".join(str(i) for i in example.matches[:, number].nonzero()[0])
            if images or len(example.captions) <= 10:
                rows.append((example.id, tags, images or "none", caption))
    return Grid(("example", "tags", "image", "caption"), tuple(rows), align="lwlw")


def where(runs: Sequence[Run], root: Path | None) -> str:
    """The place where runs are stored, and the commands that show them."""
    from compbench.store.store import Store

    store = Store(root, say=lambda message: None)
    names = [f"{run.key.task}/{run.key.model}" for run in runs]
    latest = [store.find(name).path == run.path for name, run in zip(names, runs, strict=True)]
    asked = [name if is_latest else run.key.digest for name, is_latest, run in zip(names, latest, runs, strict=True)]
    command = [
        "compbench",
        "show",
        *asked,
        *_reading(runs),
        *_narrowing(runs),
        *(["--runs", str(root)] if root else []),
    ]
    columns_of = [run.task_examples.columns for run in runs]
    columns = sorted(set.intersection(*columns_of) - {"tag"})  # one that another task lacks would be refused
    by = [word for column in columns for word in ("--by", column)]
    return "\n".join(
        [
            "Stored in",
            *(line for run in runs for line in wrapped(f"  {run.path}", screen_width(), "  ")),
            f"Show them again, {'by other tags, ' if by else ''}or everything: cost, ties, signatures",
            *in_lines(command),
            *(in_lines([*command, *by]) if by else []),
            *in_lines([*command, "--full"]),
        ]
    )


def in_lines(words: Sequence[str], indent: str = "  ") -> list[str]:
    """A command as a shell reads it, on as many lines as the screen needs."""
    parts: list[str] = []
    for before, word in pairwise(["", *words]):
        is_value = before.startswith("-") and not word.startswith("-")
        parts = [*parts[:-1], f"{parts[-1]} {shlex.quote(word)}"] if is_value else [*parts, shlex.quote(word)]
    lines, line = list[str](), indent + parts[0]
    for word in parts[1:]:
        if width(line) + 1 + width(word) + 2 > screen_width():
            lines.append(f"{line} \\")
            line = f"{indent}    {word}"
        else:
            line += f" {word}"
    return [*lines, line]


def _reading(runs: Sequence[Run]) -> list[str]:
    """The options that read runs as their command did, where a plain reader would not and all were read one way."""
    unlike = [run for run in runs if run.rule != run.own_rule]
    words = {tuple(f"{name}={word}" for name, word in run.rule.words().items()) for run in unlike}
    return [word for option in words.pop() for word in ("-o", option)] if len(words) == 1 else []


def _narrowing(runs: Sequence[Run]) -> list[str]:
    """The option that shows no more examples than the command asked for, where more of them are stored."""
    limits = {run.limit for run in runs if run.images_per_class is None}
    if len(limits) != 1 or (limit := limits.pop()) is None:
        return []
    has_more = any(len(run.limited(None).done()) > len(run.done()) for run in runs)
    return ["--limit", str(limit)] if has_more else []


def _known(value: float | None, said: Callable[[float], str]) -> str:
    return "?" if value is None else said(value)


def _what_is_held(plan: Plan) -> str:
    """The memory of its weights, where that is worth a word."""
    if plan.device_bytes is None or plan.device_bytes < _WORTH_A_WORD:
        return ""
    return f"its weights take {size(plan.device_bytes)} of the device's memory, and what a batch computes more"


def _what_is_learned(plan: Plan) -> str:
    """The work a model does before it scores (what it makes and learns), kept for later runs."""
    from compbench.core.remembered import cache_folder

    if not plan.preparing_evaluations and not plan.trained_inputs:
        return ""
    if plan.generated_pictures:
        makes = f"{count(plan.preparing_evaluations)} evaluations make {count(plan.generated_pictures)} pictures"
    else:
        # test pictures among those to learn from are left out, as far as a run finds
        makes = f"at most {count(plan.preparing_evaluations)} evaluations of half a network read features of pictures"
    trains = f"{count(plan.trained_inputs)} inputs are trained on, each counted once per epoch"
    does = [*([makes] if plan.preparing_evaluations else []), *([trains] if plan.trained_inputs else [])]
    kept = "size not known yet" if plan.kept_bytes is None else f"at most {size(plan.kept_bytes)}"
    return f"{'; '.join(does)}; the cache folder {cache_folder()} keeps what is made for later runs, {kept}"


def _what_is_raced(plan: Plan) -> str:
    """The least that racing takes, and whether it can pay."""
    if plan.raced_at_least is None:
        return ""
    least = f"racing takes at least {100 * plan.raced_at_least:.0f} % of the evaluations"
    if plan.raced_at_least < _HARDLY:
        return f"{least}, more where examples are hard to tell"
    return (
        f"{least}, and more where examples are hard to tell, which hardly pays with so few draws or examples; without "
        "schedule=racing nothing is left in doubt"
    )


def _what_is_sent(plan: Plan) -> str:
    if not plan.requests:
        return ""
    return (
        f"sends {plan.sent} to {plan.sent_to}: at most {count(plan.requests)} requests, about {size(plan.sent_bytes)}"
    )


def _what_happens(plan: Plan) -> str:
    if plan.examples is None:
        return "its data is not here and a dry run fetches none; a run fetches it first (or give a copy with --data)"
    if plan.is_done:
        return f"all of it is stored in {plan.folder}"
    said = "nothing is stored yet" if plan.folder is None else f"to be stored in {plan.folder}"
    if plan.seconds is not None and plan.seconds > _DAY:
        fewer = "fewer draws (-o draws=N, more can be added later), --limit N" if plan.has_draws else "--limit N"
        if plan.fewer_by is not None:
            fewer = f"fewer pictures to learn from (-o {plan.fewer_by}=N)"
        said += f"; more than a day: {fewer} or a GPU would make it cheaper"
    return said
