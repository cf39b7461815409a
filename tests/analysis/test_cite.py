"""What a run asks to be cited."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

import fakes
from compbench import registry
from compbench.store.key import RunKey
from compbench.store.run import Run
from compbench.store.store import Store
from compbench_analysis.text.cite import citations, to_bibtex


def _run(root: Path, model: str, *, view: bool = False, citation: str = "") -> Run:
    task = dataclasses.replace(fakes.task(1), citation="@misc{data,\n  title = {Data}\n}\n")
    key = RunKey(task.name, task.revision, model, None, {})
    return Store(root).open(key, task, view={"n_draws": 4} if view else {}, model={"citation": citation})


def _keys(bibtex: str) -> list[str]:
    return re.findall(r"^@\w+\{(\w+),", bibtex, re.MULTILINE)


def test_data_set_model_method_and_toolkit_are_cited(tmp_path: Path) -> None:
    run = _run(tmp_path, "mine", view=True, citation="@misc{mine,\n  title = {Mine}\n}\n\n@misc{also_mine,\n}")
    assert _keys(to_bibtex([run])) == ["data", "mine", "also_mine", "li2023diffusion", "compbench"]


def test_the_method_is_cited_only_where_errors_were_measured(tmp_path: Path) -> None:
    assert _keys(to_bibtex([_run(tmp_path, "mine")])) == ["data", "compbench"]


def test_of_two_entries_with_one_key_the_models_own_is_kept(tmp_path: Path) -> None:
    own = "@inproceedings{li2023diffusion,\n  title = {As the model says it}\n}"
    assert citations(_run(tmp_path, "mine", view=True, citation=own))["li2023diffusion"] == own


def test_several_runs_cite_each_entry_once(tmp_path: Path) -> None:
    runs = [_run(tmp_path, "one", view=True), _run(tmp_path, "other", view=True)]
    assert _keys(to_bibtex(runs)) == ["data", "li2023diffusion", "compbench"]


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("sd2", {"rombach2022high", "li2023diffusion"}),
        ("tiny-sd", {"li2023diffusion"}),
        ("clip-vit-l-14", {"radford2021clip"}),
        ("openclip-vit-h-14", {"radford2021clip", "ilharco2021openclip", "cherti2023scaling"}),
    ],
)
def test_the_models_on_offer_bring_their_own_entries(tmp_path: Path, model: str, expected: set[str]) -> None:
    _, spec = registry.model(model)
    run = _run(tmp_path, model, view=bool(spec.view()), citation=spec.citation)
    assert expected <= set(citations(run))
    assert all(entry.count("{") == entry.count("}") for entry in citations(run).values())
