"""One command: every kind of model on the same examples, and a table by tag with all of them side by side."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import compbench
import small_transformers
from compbench.cli.app import main
from loopback_api import LoopbackApi, loopback_api

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_cache")]


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackApi]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with loopback_api() as service:
        yield service


def test_a_table_by_tag_has_every_kind_of_model_side_by_side(
    api: LoopbackApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    families = ("siglip", "blip", "janus", "qwen2.5-vl", "gpt2")
    at = {family: small_transformers.save(tmp_path / family, family) for family in families}
    models = [
        "tiny-sd",
        "tiny-clip",
        "chance",
        f"transformers:{at['siglip']}",
        f"transformers:{at['blip']}",
        f"janus:{at['janus']}",
        f"vqascore:{at['qwen2.5-vl']}",
        f"caption-likelihood:{at['qwen2.5-vl']}",
        f"text-prior:{at['gpt2']}",
        "api-vqascore:m",
    ]
    asked = [word for model in models for word in ("-m", model)]
    runs = ["--runs", str(tmp_path / "runs")]
    options = ["-o", "tiny-sd.draws=2", "-o", f"api-vqascore:m.endpoint={api.address}", "--device", "cpu"]
    assert main(["run", "shapes", *asked, *options, "--limit", "12", "--by", "tag", *runs]) == 0
    shown = capsys.readouterr().out
    tags = {
        tag
        for values in compbench.load_run("shapes/chance", runs=tmp_path / "runs").examples()["tags"]
        for tag in values["tag"]
    }
    assert len(tags) > 2
    assert all(Path(model).name[-12:] in shown for model in models)
    assert main(["show", *(f"shapes/{model}" for model in models), "--by", "tag", "--format", "json", *runs]) == 0
    rows = json.loads(capsys.readouterr().out)
    cells = {(row["model"], row["tag"]) for row in rows if row["metric"] == "text"}
    assert cells >= {(model, tag) for model in models for tag in tags}
    values = {row["model"]: row["value"] for row in rows if row["metric"] == "image" and row["tag"] == "overall"}
    assert values[f"text-prior:{at['gpt2']}"] == 0  # it cannot tell pictures apart
