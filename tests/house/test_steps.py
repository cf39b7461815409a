"""The way from a stored error to a table cell is short, and the one that ARCHITECTURE.md tells."""

from __future__ import annotations

from import_graph import ROOT
from tests.benchmarks.steps import module_of, steps

MOST = 20


def test_a_stored_error_takes_few_steps_to_a_table_cell_and_the_map_names_their_files() -> None:
    found = steps()
    assert 15 < len(found) <= MOST, found  # fewer: the trace has lost the way
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    told = text.partition("## From a stored error")[2].partition("\n## ")[0]
    modules = {module_of(name) for name in found}
    assert {
        name for name in modules if f"`{name}`" not in told and f"{name.replace('.', '/')}.py`" not in told
    } == set()
