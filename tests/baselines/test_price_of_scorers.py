"""The price of models that evaluate a network for scores: what a dry run counts is what the run then evaluates."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import compbench
import small_transformers
from compbench import registry
from compbench.cli.app import main
from compbench.core.examples import Task
from compbench.runs.plan import plan
from loopback_hub import loopback_hub, used_here

SHAPES = registry.task("shapes")
# the first example again: its pictures and captions are those of another
TASK = Task("again", (*SHAPES.examples[:3], replace(SHAPES.examples[0], id="again")), SHAPES.metrics)
N_CAPTIONS = len({caption for example in TASK.examples for caption in example.captions})
LESS_TEXT = {"less": "text"}
KINDS = [
    ("vqascore", "qwen2.5-vl", {}, 6 + 12),
    ("vqascore", "paligemma2", {}, 12),  # picture and question go through together
    ("caption-likelihood", "qwen2.5-vl", {}, 6 + 12),
    ("caption-likelihood", "qwen2.5-vl", LESS_TEXT, 6 + 12 + N_CAPTIONS),
    ("text-prior", "gpt2", {}, N_CAPTIONS),
    ("janus", "janus", {}, 12 + 6),
    ("transformers", "blip", {}, 6 + 12),
    ("transformers", "blip-2", {}, 6 + 12),
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("models")
    return {family: small_transformers.save(place / family, family) for _, family, *_ in KINDS}


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of PaliGemma's processor
@pytest.mark.parametrize(("scheme", "family", "options", "expected"), KINDS)
def test_a_dry_run_counts_the_evaluations_that_the_run_then_makes(
    folders: dict[str, Path], tmp_path: Path, scheme: str, family: str, options: dict[str, Any], expected: int
) -> None:
    settings = {"model": f"{scheme}:{folders[family]}", "runs": tmp_path, "device": "cpu", **options}
    planned = plan(TASK, **settings)
    assert planned.evaluations == expected
    assert planned.fetch_bytes == 0
    assert planned.tflops
    assert planned.seconds
    run = compbench.run(TASK, **settings)
    assert sum(int(str(part["n_evaluations"])) for part in run.parts()) == expected
    again = plan(TASK, **settings)
    assert (again.evaluations, again.seconds) == (0, 0)


def test_it_counts_them_before_the_weights_are_here_and_says_what_is_to_be_fetched(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with loopback_hub() as hub, used_here(hub, tmp_path, monkeypatch):
        for _, family, *_ in KINDS:
            files = {path.name: path.read_bytes() for path in folders[family].iterdir()}
            hub.add("models", f"org/{family}", files)
        models: Sequence[str] = [
            word for scheme, family, options, _ in KINDS if not options for word in ("-m", f"{scheme}:org/{family}")
        ]
        asked = ["run", "shapes", *models, "--limit", "6", "--dry-run", "--runs", str(tmp_path / "runs")]
        assert main([*asked, "--format", "json"]) == 0
        plans = json.loads(capsys.readouterr().out)
        assert not any("safetensors" in file for file in hub.fetched())
    n_captions = plans[3]["evaluations"]
    assert [made["evaluations"] for made in plans] == [12 + 24, 24, 12 + 24, n_captions, *[12 + 24] * 3]
    assert 12 <= n_captions <= 24
    assert all(made["seconds"] is None and made["tflops"] is None for made in plans)
    used = [folders[family] for _, family, options, _ in KINDS if not options]
    weights = [sum(path.stat().st_size for path in folder.glob("*.safetensors")) for folder in used]
    assert all(made["fetch_bytes"] > size for made, size in zip(plans, weights, strict=True))
