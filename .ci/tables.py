"""Make the measured tables of the pages: `python .ci/tables.py [--runs DIR] [--stored]`.

A table stands below a line that names its task and its model, `<!-- measured: emoji, emoji-clip -->`, and ends at the
first empty line. Below `<!-- raced: NAME -->` it is made of the rows of docs/racing.csv, which
`python -m tests.benchmarks.racing` measured, and below `<!-- ruled: NAME -->` of those of docs/rules.csv, which
`python -m tests.benchmarks.rules` measured. That below `<!-- selfbench: NAME -->` is made of docs/selfbench.csv; with
`--stored` only these three kinds are made.
`tests/house/test_measured_tables.py` fails once a model measures something else, once the rows give another table, and
once the code that decides a race has changed since they were measured.
"""

from __future__ import annotations

import argparse
import csv
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

ROOT = Path(__file__).parents[1]
COMMAND = "python .ci/tables.py"
PAGES = ("compbench/tiny/README.md",)
MARKED = re.compile(r"(?P<mark><!-- measured: (?P<task>\S+), (?P<model>\S+) -->\n\n)(?P<table>(?:\|.*\n)+)")
_SCORES = ("text", "image", "group")

_BOUNDS = ("tolerance", "pooled", "guaranteed", "asymptotic")
_MARGINS = {"1": "as measured", "0.25": "divided by 4", "0.125": "divided by 8"}
_RACED_FOR = {"text": "text alone", "all": "text, image and group"}
_HEAVY_FOR = {"either": "", "shared": "all examples", "private": "one's own"}


def tables_of(page: str) -> dict[tuple[str, str], str]:
    """The tables that stand on a page, by task and model."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return {(found["task"], found["model"]): found["table"] for found in MARKED.finditer(text)}


def table(task: str, model: str, runs: Path) -> str:
    """The three scores in percent, overall and by every tag of the task; what is missing is measured."""
    import compbench
    from compbench import registry

    frame = compbench.run(task, model=model, runs=runs).to_frame()
    lines = ["| examples | n | text | image | group |", "|---|---|---|---|---|", _row("overall", frame)]
    for column, values in registry.task(task).tag_order.items():
        lines += [_row(f"{column}: {value}", frame[frame[column] == value]) for value in values]
    return "\n".join(lines) + "\n"


def _row(name: str, frame: pd.DataFrame) -> str:
    scores = (f"{100 * frame[score].mean():.1f}" for score in _SCORES)
    return f"| {' | '.join([name, str(len(frame)), *scores])} |"


def raced_table(name: str, rows: Sequence[dict[str, str]]) -> str:
    """One of the tables of races, from rows of docs/racing.csv."""
    lines = {"savings": _savings, "populations": _populations}[name](rows)
    return _written(lines)


def ruled_table(name: str, rows: Sequence[dict[str, str]]) -> str:
    """One of the tables of scoring rules, from rows of docs/rules.csv: a column for each diffusion model."""
    rows = [row for row in rows if row["table"] == name]
    clips = {row["task"]: row for row in rows if not row["measured"]}
    tasks = {row["model"]: row["task"] for row in rows if row["measured"]}
    cells: dict[str, dict[str, str]] = {}
    for row in rows:
        if row["measured"]:
            shares = _shares(row, ("image", "group") if name == "gain" else _SCORES)
            cells.setdefault(_ruled_label(row), {})[row["model"]] = shares
    heading = ["protocol" if name == "protocols" else "rule", *(f"{model} on {task}" for model, task in tasks.items())]
    lines = [heading, ["---"] * len(heading)]
    lines += [[label, *(of.get(model, "–") for model in tasks)] for label, of in cells.items()]
    if clips:
        of_clips = (clips[task] for task in tasks.values())
        lines.append(["a CLIP's cosine", *(f"{row['model']}: {_shares(row)}" for row in of_clips)])
    return _written(lines)


def _ruled_label(row: dict[str, str]) -> str:
    options = [option for option in row["read"].split() if option not in ("guidance=none", "unconditional=false")]
    if row["table"] == "gain":
        options.remove("unconditional=true")  # as the whole table
    if row["table"] == "protocols":
        protocol = re.match(r"protocol=(\S+)", row["measured"])
        options.insert(0, protocol[1] if protocol else "compbench")
    return ", ".join(f"`{option}`" for option in options) or "native, uniform"


def selfbench_table(name: str, rows: Sequence[dict[str, str]]) -> str:
    """What each model has on each set of pictures, and on those that the judge tells apart."""
    heading = ["pictures of", "scored by", "n", "text, %", "95 %", f"{name}-clip tells apart", "text of these, %"]
    lines = [heading, ["---"] * len(heading)]
    for row in rows:
        between = f"{_percent(row['low'])} to {_percent(row['high'])}"
        told = [row["n_told"], _percent(row["text_of_told"]) if row["text_of_told"] else ""]
        lines.append([row["pictures"], row["model"], row["n"], _percent(row["text"]), between, *told])
    return _written(lines)


def _written(lines: Sequence[Sequence[str]]) -> str:
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _shares(row: dict[str, str], scores: Sequence[str] = _SCORES) -> str:
    return " / ".join(f"{float(row[score]):.1f}" for score in scores)


def _savings(rows: Sequence[dict[str, str]]) -> list[list[str]]:
    """The evaluations of races on a stored run, and what a tolerance and a prefix change."""
    stored = {(row["margin"], row["raced_for"], row["bound"]): row for row in rows if row["form"] == "stored"}
    bounds = _BOUNDS[1:3]
    heading = ["margins", "raced for", "`tolerance=0.01`", "outcomes changed", "changed by a prefix"]
    lines = [[*heading, *(f"`{bound}`" for bound in bounds), "orders"], ["---"] * 8]
    for margin, said in _MARGINS.items():
        for raced_for, told in _RACED_FOR.items():
            row = stored[margin, raced_for, "tolerance"]
            changed = f"{_percent(row['changed'])} [{_percent(row['changed_low'])}, {_percent(row['changed_high'])}]"
            others = [_percent(stored[margin, raced_for, bound]["evaluations"]) for bound in bounds]
            figures = [_percent(row["evaluations"]), changed, _percent(row["by_prefix"])]
            lines.append([said, told, *figures, *others, row["orders"]])
    return lines


def _populations(rows: Sequence[dict[str, str]]) -> list[list[str]]:
    """The outcomes that each bound changes at its worst margin, and the evaluations there."""
    lines = [["differences", "heavy for", *(f"`{bound}`" for bound in _BOUNDS)], ["---"] * 6]
    for population in dict.fromkeys(row["differences"] for row in rows if row["form"] != "stored"):
        for form, heavy_for in _HEAVY_FOR.items():
            of_form = [row for row in rows if (row["differences"], row["form"]) == (population, form)]
            if of_form:
                cells = [_worst([row for row in of_form if row["bound"] == bound]) for bound in _BOUNDS]
                lines.append([population.replace(" x ", " × "), heavy_for, *cells])
    return lines


def _worst(rows: Sequence[dict[str, str]]) -> str:
    """The share changed, bold where it is significantly more than was allowed, and the evaluations in parentheses."""
    row = max(rows, key=lambda row: float(row["changed"]))
    changed = _percent(row["changed"])
    if float(row["changed_low"]) > float(row["allowed"]):
        changed = f"**{changed}**"
    return f"{changed} ({100 * float(row['evaluations']):.0f})"


def _percent(share: str) -> str:
    return f"{100 * float(share):.1f}"


@dataclass(frozen=True)
class Stored:
    """The tables of a page that are made of stored rows, each below the mark of its kind with its name."""

    kind: str
    page: str
    of: str  # the file of rows
    table: Callable[[str, Sequence[dict[str, str]]], str]

    @property
    def marked(self) -> re.Pattern[str]:
        return re.compile(rf"(?P<mark><!-- {self.kind}: (?P<name>\S+) -->\n\n)(?P<table>(?:\|.*\n)+)")

    def rows(self) -> list[dict[str, str]]:
        with (ROOT / self.of).open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    def make(self) -> None:
        path, rows = ROOT / self.page, self.rows()
        text = path.read_text(encoding="utf-8")
        made = self.marked.sub(lambda found: found["mark"] + self.table(found["name"], rows), text)
        path.write_text(made, encoding="utf-8")


STORED = {
    stored.kind: stored
    for stored in (
        Stored("raced", "docs/racing.md", "docs/racing.csv", raced_table),
        Stored("ruled", "docs/rules.md", "docs/rules.csv", ruled_table),
        Stored("selfbench", "docs/suites.md", "docs/selfbench.csv", selfbench_table),
    )
}


def make(runs: Path) -> None:
    for page in PAGES:
        path = ROOT / page
        text = path.read_text(encoding="utf-8")
        path.write_text(
            MARKED.sub(lambda found: found["mark"] + table(found["task"], found["model"], runs), text),
            encoding="utf-8",
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, help="a folder of runs to read or to measure in")
    parser.add_argument("--stored", action="store_true", help="only the tables that are made of rows")
    arguments = parser.parse_args()
    for stored in STORED.values():
        stored.make()
    if not arguments.stored:
        with tempfile.TemporaryDirectory() as folder:
            make(arguments.runs or Path(folder))
