"""Names from data bring no control character and no mark of writing direction into a report."""

from __future__ import annotations

from pathlib import Path

import PIL.Image
import pytest

from compbench.cli.app import main
from compbench.core.printable import UNSAFE

NAMES = ("red \x1b[31mtext", "dog\nwith a line", "left\u202eright", "<b>&x")


def test_a_report_holds_no_control_character(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in NAMES:
        (tmp_path / "data" / name).mkdir(parents=True)
        for n in range(2):
            PIL.Image.new("RGB", (8, 8), (100 * n, 0, 0)).save(tmp_path / "data" / name / f"{n}.png")
    runs, page = ["--runs", str(tmp_path / "runs")], tmp_path / "report.html"
    assert main(["run", "imagefolder", "--data", str(tmp_path / "data"), "-m", "chance", *runs]) == 0
    at = ["--data", str(tmp_path / "data"), "--by", "class", "--output", str(page)]
    assert main(["report", "imagefolder/chance", *runs, *at]) == 0
    text = page.read_text(encoding="utf-8")
    assert [letter for letter in UNSAFE.findall(text) if letter not in "\n\t"] == []
    assert r"red \x1b[31mtext" in text
    assert "<b>&x" not in text
