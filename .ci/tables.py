"""Make the measured tables of the pages: `python .ci/tables.py [--runs DIR]`.

A table stands below a line that names its task and its model, `<!-- measured: emoji, emoji-clip -->`, and ends at the
first empty line. `tests/house/test_tables.py` fails once a model measures something else.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

ROOT = Path(__file__).parents[1]
COMMAND = "python .ci/tables.py"
PAGES = ("compbench/tiny/README.md",)
MARKED = re.compile(r"(?P<mark><!-- measured: (?P<task>\S+), (?P<model>\S+) -->\n\n)(?P<table>(?:\|.*\n)+)")
_SCORES = ("text", "image", "group")


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
    given = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        make(given or Path(folder))
