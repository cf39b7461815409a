"""The paper's tables: their own arithmetic, and runs put beside them."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

from compbench import registry
from compbench.core.errors import UsageError
from compbench.core.examples import Example, Image, Task
from compbench.core.measurements import ScoreMatrix
from compbench.core.metrics import MATCHING
from compbench.store.key import RunKey
from compbench.store.store import Store
from compbench.store.writer import RunWriter
from compbench_analysis.frames import paper
from compbench_analysis.statistics.intervals import wilson
from compbench_analysis.text import paper as paper_text


@pytest.mark.parametrize("name", paper.TABLES)
def test_every_model_and_task_of_the_paper_can_be_asked_for(name: str) -> None:
    from compbench.registry import plugins

    for cell in paper.cells(name):
        plugins.find("task", cell["task"])
        registry.model(cell["model"])


def test_each_number_of_table_2_is_a_count_of_its_examples_and_they_add_up() -> None:
    by_row: dict[str, list[int]] = {}
    for cell in paper.cells("table2"):
        n = int(cell["n"])
        (count,) = {k for k in range(n + 1) if abs(100 * k / n - float(cell["percent"])) <= 0.0501} & {
            k for k in range(n + 1) if round(100 * k / n, 1) == float(cell["percent"]) or cell["tag"] == ""
        }
        by_row.setdefault(cell["row"], []).append(count)
    assert by_row["CLIP ViT-L/14"] == [38, 60, 15, 113]
    assert all(sum(counts[:3]) == counts[3] for counts in by_row.values())


def _run(folder: Path, n_right: int) -> None:
    right, wrong = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[0.0, 1.0], [1.0, 0.0]])
    eye, pictures = np.eye(2, dtype=bool), (Image("0.png", b"", "0"), Image("1.png", b"", "1"))
    tags = ["Object"] * 141 + ["Relation"] * 233 + ["Both"] * 26
    examples = [Example(f"{k:03d}", pictures, ("a", "b"), eye, {"tag": (tag,)}) for k, tag in enumerate(tags)]
    task = Task("winoground", examples, MATCHING)
    run = Store(folder).open(RunKey("winoground", "0", "sd2", None, {}), task)
    RunWriter(run).append(
        [ScoreMatrix(example.id, right if k < n_right else wrong) for k, example in enumerate(examples)]
    )
    RunWriter(run).settle(None)


def test_a_run_stands_beside_the_paper_with_its_difference(tmp_path: Path) -> None:
    _run(tmp_path, 65)
    (run,) = Store(tmp_path).runs()
    frame = paper.beside("table2", [run], {("winoground", "clip-vit-l-14"): "no network"}).set_index(["model", "tag"])
    ours = frame.loc[("sd2", "Object")]
    assert (ours["n"], ours["value"]) == (141, 65 / 141)
    assert abs(ours["difference"]) < 0.0005  # 46.1 as printed
    assert ours["difference_low"] < 0 < ours["difference_high"]
    assert ours["signature"].startswith("task:winoground@")
    assert frame.loc[("sd2", "Both"), "difference_high"] < 0  # none of 26 against 80.8 %
    assert frame.loc["clip-vit-l-14"]["value"].isna().all()
    assert set(frame.loc["clip-vit-l-14"]["reason"]) == {"no network"}
    text = paper_text.to_text("table2", [run], "table", {("winoground", "clip-vit-l-14"): "no network"})
    assert "no network" in text
    assert text.count("random chance") == 4
    assert ours["signature"] in text


def test_the_difference_counts_the_papers_sampling_too(tmp_path: Path) -> None:
    """Newcombe (1998), method 10: 56 of 70 against 48 of 80 is 0.2000 [0.0524, 0.3339]."""
    (a_low, a_high), (b_low, b_high) = wilson(56, 70), wilson(48, 80)
    row = {"value": 56 / 70, "low": a_low, "high": a_high, "paper": 48 / 80, "paper_low": b_low, "paper_high": b_high}
    found = paper.apart(row)
    assert [round(value, 4) for value in found.values()] == [0.2, 0.0524, 0.3339]
    alone = paper.apart({**row, "paper_low": float("nan"), "paper_high": float("nan")})
    assert alone["difference_high"] - alone["difference_low"] < found["difference_high"] - found["difference_low"]


def test_csv_and_json_hold_numbers(tmp_path: Path) -> None:
    _run(tmp_path, 65)
    (run,) = Store(tmp_path).runs()
    rows = {(row["model"], row["tag"]): row for row in json.loads(paper_text.to_text("table2", [run], "json"))}
    assert rows["sd2", "Object"]["value"] == 65 / 141
    assert rows["sd2", "Object"]["paper"] == 0.461
    assert rows["clip-vit-l-14", "Object"]["value"] is None
    assert rows["clip-vit-l-14", "Object"]["reason"] == "not run"
    read = list(csv.DictReader(io.StringIO(paper_text.to_text("table2", [run], "csv"))))
    assert float(next(row for row in read if row["model"] == "sd2")["n"]) == 141


def test_a_table_that_the_paper_does_not_have_is_refused() -> None:
    with pytest.raises(UsageError, match="no 'table4' here; expected one of table1, table2, table3"):
        paper.cells("table4")
