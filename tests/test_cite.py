"""What a run asks to be cited."""

from __future__ import annotations

import re
from pathlib import Path

import fakes
import pytest
from compbench_analysis.cite import citations, to_bibtex

from compbench.store import Run, RunKey, Store


def _run(root: Path, model: str, task: str = "fake", *, view: bool = False, citation: str = "") -> Run:
    made = fakes.task(1, task)
    key = RunKey(task, made.revision, model, None, {})
    return Store(root).open(key, made, view={"n_draws": 4} if view else {}, model={"citation": citation})


def _keys(bibtex: str) -> list[str]:
    return re.findall(r"^@\w+\{(\w+),", bibtex, re.MULTILINE)


@pytest.mark.parametrize(
    ("model", "is_diffusion", "expected"),
    [
        ("sd2", True, ["thrush2022winoground", "rombach2022high", "li2023diffusion", "compbench"]),
        ("clip-vit-l-14", False, ["thrush2022winoground", "radford2021learning", "compbench"]),
        (
            "openclip-vit-h-14",
            False,
            ["thrush2022winoground", "cherti2023reproducible", "ilharco2021openclip", "compbench"],
        ),
        ("chance", False, ["thrush2022winoground", "compbench"]),
    ],
)
def test_model_data_set_method_and_toolkit_are_cited(
    tmp_path: Path, model: str, is_diffusion: bool, expected: list[str]
) -> None:
    assert _keys(to_bibtex([_run(tmp_path, model, "winoground", view=is_diffusion)])) == expected


def test_what_a_model_brings_itself_is_cited_in_place_of_what_is_known(tmp_path: Path) -> None:
    run = _run(tmp_path, "sd2", citation="@misc{mine,\n  title = {Mine}\n}")
    assert _keys(to_bibtex([run])) == ["mine", "compbench"]


def test_each_entry_is_printed_once(tmp_path: Path) -> None:
    runs = [_run(tmp_path, "sd2", view=True), _run(tmp_path, "sd1.5", view=True)]
    assert _keys(to_bibtex(runs)) == ["rombach2022high", "li2023diffusion", "compbench"]


def test_entries_are_balanced_bibtex(tmp_path: Path) -> None:
    for model in ("sd2", "openclip-vit-h-14", "clip-rn50"):
        for entry in citations(_run(tmp_path, model, view=True)):
            assert entry.count("{") == entry.count("}")
