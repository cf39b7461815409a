"""The measured tables of the pages are what the shipped models measure today."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from tests.benchmarks import raced_rows, rules, selfbench

ROOT = Path(__file__).parents[2]
TABLES = runpy.run_path(str(ROOT / ".ci" / "tables.py"))


def numbers(table: str) -> dict[str, list[float]]:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    return {name: [float(cell) for cell in cells] for name, *cells in rows}


def test_every_mark_of_a_measured_table_is_on_a_page_that_the_script_makes() -> None:
    pages = [path for place in ("docs", "compbench", "baselines", "analysis") for path in (ROOT / place).rglob("*.md")]
    marked = {
        str(path.relative_to(ROOT))
        for path in [ROOT / "README.md", *pages]
        if "<!-- measured:" in path.read_text(encoding="utf-8")
    }
    assert marked == set(TABLES["PAGES"])
    for page in TABLES["PAGES"]:
        marks = re.findall("<!-- measured:", (ROOT / page).read_text(encoding="utf-8"))
        assert len(TABLES["tables_of"](page)) == len(marks)


@pytest.mark.parametrize(
    ("kind", "names"),
    [("raced", {"savings", "populations"}), ("ruled", {"rules", "gain", "protocols"}), ("selfbench", {"emoji"})],
)
def test_every_table_that_is_made_of_rows_is_what_the_rows_give(kind: str, names: set[str]) -> None:
    stored = TABLES["STORED"][kind]
    text = (ROOT / stored.page).read_text(encoding="utf-8")
    told = {found["name"]: found["table"] for found in stored.marked.finditer(text)}
    assert told.keys() == names
    rows = stored.rows()
    assert told == {name: stored.table(name, rows) for name in told}, "run `python .ci/tables.py --stored`"


@pytest.mark.parametrize("kind", ["raced", "ruled"])
def test_a_page_with_tables_of_rows_has_no_other_table_of_shares(kind: str) -> None:
    stored = TABLES["STORED"][kind]
    text = stored.marked.sub("", (ROOT / stored.page).read_text(encoding="utf-8"))
    cells = [cell for line in text.splitlines() if line.startswith("|") for cell in line.strip("|").split("|")]
    assert [cell for cell in cells if re.fullmatch(r"(?=.*\d\.\d)[\d.,()%/\s]+", cell)] == []


def test_the_code_that_decides_a_race_is_the_one_the_rows_were_measured_with() -> None:
    rows = raced_rows.read(raced_rows.ROWS)
    stale = [row.asked for row in rows.values() if row.code != raced_rows.deciding()]
    assert stale == [], "run `python -m tests.benchmarks.racing`, and with the stored run; it keeps what holds still"


def test_what_decides_a_race_and_nothing_else_makes_its_rows_stale() -> None:
    found = runpy.run_path(str(ROOT / ".ci" / "sources.py"))["files"](raced_rows.DECIDING)
    rooms = {path.name for path in found if path.parent.name == "schedules"}
    whole = {path.name for path in (ROOT / "compbench" / "schedules").glob("*.py")}
    assert whole - rooms == {"__init__.py", "_race_classes.py", "schedule.py", "staged.py"}


def test_the_pictures_of_the_models_that_ship_were_made_with_the_weights_that_ship() -> None:
    told = {row["model"]: row["weights"] for row in TABLES["STORED"]["selfbench"].rows()}
    assert told.keys() == {"emoji-sd", "emoji-flow"}
    assert told == {model: selfbench.weights_of(model) for model in told}, "run `python -m tests.benchmarks.selfbench`"


@pytest.mark.slow
def test_no_table_is_older_than_what_it_measures(tmp_path: Path) -> None:
    for page in TABLES["PAGES"]:
        for (task, model), table in TABLES["tables_of"](page).items():
            told, measured = numbers(table), numbers(TABLES["table"](task, model, tmp_path))
            assert told.keys() == measured.keys()
            for row, (n_examples, *scores) in measured.items():
                n_told, *told_scores = told[row]
                assert n_told == n_examples
                # another processor may decide one or two examples differently
                assert told_scores == pytest.approx(scores, abs=200 / n_examples + 0.05), TABLES["COMMAND"]


@pytest.mark.slow
@pytest.mark.parametrize("model", [*rules.MODELS, *rules.CLIPS])
def test_no_rule_decides_otherwise_than_when_its_row_was_measured(model: str, tmp_path: Path) -> None:
    told = {(row.table, row.measured, row.read): row for row in rules.read_rows() if row.model == model}
    found = {(row.table, row.measured, row.read): row for row in rules.measured(model, tmp_path, limit=rules.N_PROBED)}
    assert told.keys() == found.keys()
    for asked, row in found.items():
        changed = sum(before != now for before, now in zip(told[asked].outcomes, row.outcomes, strict=True))
        assert changed <= 1, f"{asked}: run `python -m tests.benchmarks.rules`"  # as another processor may decide
