"""What a race learned from a pilot has a price, and a pilot of the raced examples themselves is said to be one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import compbench
from compbench.cli.app import main
from compbench.schedules.schedule import Full
from compbench.store.run import Run
from compbench.store.run_info import PilotInfo

Captured = pytest.CaptureFixture[str]
RACED = ["run", "shapes", "-m", "tiny-sd", "-o", "draws=12", "-o", "schedule=racing"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the runs of these tests are."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def pilot(root: Path) -> Run:
    """A full run of two examples, which those of --limit 3 contain."""
    return compbench.run("shapes", model="tiny-sd", draws=12, limit=2, runs=root)


def command(pilot: Run, root: Path, *more: str) -> list[str]:
    return [*RACED, "-o", f"pilot={pilot.path}", "--limit", "3", "--runs", str(root), *more]


@pytest.mark.slow
def test_the_pilot_s_price_and_the_examples_that_it_shares_are_said_and_stored(
    pilot: Run, root: Path, capsys: Captured
) -> None:
    assert main(command(pilot, root, "--dry-run")) == 0
    said = f"shapes · tiny-sd: the pilot {pilot.key.folder} took 96 evaluations, on 2 examples, of which 2 are raced"
    assert said in capsys.readouterr().err
    assert main(command(pilot, root)) == 0
    first = capsys.readouterr()
    assert said in first.err
    (raced,) = [run for run in compbench.store.store.Store(root).runs() if not isinstance(run.schedule, Full)]
    assert raced.info.model.pilot == PilotInfo(str(pilot.key.folder), n_examples=2, n_evaluations=96, n_raced=2)
    assert main(["show", str(raced.path), "--full"]) == 0
    words = f"Its pilot {pilot.key.folder} took 96 more, on 2 examples, 2 of which were also raced."
    assert words in " ".join(capsys.readouterr().out.split())
    compbench.run("shapes", model="tiny-sd", draws=12, limit=4, runs=root)  # the pilot grows
    capsys.readouterr()
    assert main(command(pilot, root)) == 0
    assert capsys.readouterr().out.split("Stored in")[0] == first.out.split("Stored in")[0]


def test_a_pilot_of_other_examples_is_priced_and_no_more(pilot: Run, root: Path, capsys: Captured) -> None:
    assert main(command(pilot, root, "--dry-run", "-o", "outcomes=text")) == 0
    capsys.readouterr()
    kept = next(pilot.path.glob("shares-*.json"))
    stored = json.loads(kept.read_text())
    assert len(stored["examples"]) in (2, 4)
    others = set(pilot.examples()["id"]) - set(pilot.done())
    from compbench.store.pilots import Pilot
    from compbench.tasks.shapes import shapes

    task = shapes()
    taught = Pilot((1.0,), "shapes/tiny-sd/abc", (task.name, task.revision), frozenset(pilot.done()), 96)
    assert taught.said(task, sorted(others)[:3]).endswith("examples; none of them is raced here")
    assert taught.n_raced(task, sorted(others)[:3]) == 0


def test_a_raced_run_and_one_of_scores_are_no_pilots(pilot: Run, root: Path, tmp_path: Path, capsys: Captured) -> None:
    few: dict[str, Any] = {"model": "tiny-sd", "draws": 12, "limit": 2, "runs": tmp_path}
    raced = compbench.run("shapes", schedule="racing", bound="asymptotic", **few)
    kept = compbench.run("shapes", keep="scores", **few)
    clip = compbench.run("shapes", model="chance", limit=2, runs=tmp_path)
    for run, why in (
        (raced, "was itself measured with schedule=racing, so it lacks draws; expected a run with schedule=full"),
        (kept, "keeps only scores and no errors per draw; run it without --keep scores"),
        (clip, "stores scores and no errors per draw"),
    ):
        assert main(command(run, root)) == 2
        assert why in capsys.readouterr().err
        assert not list(run.path.glob("shares-*.json"))
