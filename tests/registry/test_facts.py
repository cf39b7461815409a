"""What `list` says without importing anything is what the tree itself says."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import pytest

from compbench.core.models import Source
from compbench.registry import facts, plugins
from compbench.tasks.classification import catalogue

ROOT = Path(__file__).parents[2]
DRAWN = ("shapes", "shape-classes", "digits", "digits-blur", "digits-noise", "digits-rotation")
DATA_SETS = {
    var.name: var for var in vars(catalogue).values() if type(var).__name__ == "DataSet" and hasattr(var, "hub")
}


def rows(file: str) -> list[str]:
    """The names in a table."""
    return [row["name"] for row in csv.DictReader((ROOT / file).read_text(encoding="utf-8").splitlines())]


def of_the_tree(name: str) -> dict[str, str]:
    """What the task's own module knows."""
    given = plugins.load(plugins.find("task", name))
    suite: Any = getattr(given, "suite", given)
    if hasattr(suite, "n_published"):
        size = re.search(r"[\d.]+ [MG]B", suite.licence)
        licence = re.split(r"[;,]| by EqBen", suite.licence.removeprefix("pictures by "))[0]
        return {
            "about": suite.about,
            **({} if getattr(given, "seeks_images", False) else {"examples": str(suite.n_published or "")}),
            "repo": suite.remote.repo if isinstance(suite.remote, Source) else "",
            "needs": "data" if suite.remote is None else "pictures" if suite.whose_pictures and not size else "",
            **({"download": size[0]} if size else {}),
            **({} if licence == "not established" else {"licence": licence + " terms" * licence.endswith("'s")}),
        }
    first = " ".join((given.__doc__ or "").split("\n\n")[0].split())
    if name in DATA_SETS:
        hub = DATA_SETS[name].hub
        n = re.search(r"([\d,]+) (?:test |validation )?pictures", first)
        return {
            "about": first,
            "repo": hub.repo if hub else "",
            "needs": "" if hub else "data",
            **({"examples": n[1].replace(",", "")} if n else {}),
        }
    return {}


@pytest.mark.parametrize("name", rows("compbench/tasks.csv"))
def test_the_facts_of_a_task_are_those_of_its_module(name: str) -> None:
    (found,) = facts.of_tasks([plugins.find("task", name)]).values()
    told = of_the_tree(name)
    assert {key: getattr(found, key) for key in told} == told
    assert found.about.endswith(".")
    assert found.kind in ("matching", "classification", "retrieval")
    assert not (found.gated == "yes" and name in DRAWN)


def test_the_drawn_tasks_have_as_many_examples_as_the_list_says() -> None:
    from compbench import registry

    found = facts.of_tasks(plugins.entries("task"))
    for name in DRAWN:
        assert found[name].examples == str(len(registry.task(name).examples))
        assert found[name].at_hand == "yes"


def test_the_repository_of_a_model_is_that_of_its_spec() -> None:
    known = facts.of_models(plugins.entries("model"))
    for name in (*rows("compbench/models.csv"), *rows("baselines/compbench_baselines/models.csv")):
        found = known[name]
        given = plugins.load(plugins.find("model", name))
        spec = given() if isinstance(given, type) else given
        source = spec.source()
        assert found.repo == ("" if source is None or source.is_local else source.repo), name
        assert found.family
        is_elsewhere = found.origin in ("hub", "torchvision")
        assert is_elsewhere == (bool(found.repo) or type(spec).__name__ == "ImageClassifier"), name


def test_the_cache_is_asked_for_what_is_at_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.delenv("HF_HOME", raising=False)
    assert facts.hub_cache().name == Path(constants.HF_HUB_CACHE).name == "hub"
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    assert facts.hub_cache() == tmp_path / "hub"
    asked = [plugins.find("model", "sd2")]
    assert facts.of_models(asked)["sd2"].at_hand == "no"
    (tmp_path / "hub" / "models--sd2-community--stable-diffusion-2-base" / "snapshots" / "abc").mkdir(parents=True)
    assert facts.of_models(asked)["sd2"].at_hand == "yes"


def test_every_row_is_of_a_task_or_model_on_offer() -> None:
    offered = {entry.name for entry in plugins.entries("task", "model")}
    for file in ("compbench/tasks.csv", "compbench/models.csv", "baselines/compbench_baselines/models.csv"):
        assert set(rows(file)) <= offered
        assert len(set(rows(file))) == len(rows(file))
