"""What a schedule concludes is derived once, by the writer; no reader replays it or believes damage."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import compbench
from compbench.cli.app import main
from compbench.core.examples import Classes, Example, Task
from compbench.core.measurements import DrawTable, Measurement
from compbench.core.metrics import CLASSIFYING
from compbench.runs.reporter import QuietReporter
from compbench.schedules.policies import Verdict, Weighted
from compbench.schedules.racing import Racing
from compbench.schedules.schedule import Full, Schedule, entry_of
from compbench.schedules.staged import Staged
from compbench.store.key import RunKey
from compbench.store.run import Run
from compbench.store.store import Store
from compbench.store.writer import RunWriter
from noisy import N_BANK, NoisySpec, classes, grey, pairs

RACE = Racing(N_BANK)
STAGES = Staged((4, 2, 1), (10, 50, 100))
N_REPLAYED: list[str] = []


@pytest.fixture(autouse=True)
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts what policies are asked; each answers as it does anyway."""
    for name in ("wanted", "scores", "verdict", "concluded"):
        asked = getattr(Weighted, name)

        def noting(self: Weighted, *arguments: Any, asked: Any = asked, name: str = name) -> Any:
            N_REPLAYED.append(name)
            return asked(self, *arguments)

        monkeypatch.setattr(Weighted, name, noting)
    N_REPLAYED.clear()


def raced(root: Path, task: Task | None = None, schedule: Schedule = RACE, **settings: Any) -> Run:
    found = compbench.run(task or classes(), model=NoisySpec(schedule), runs=root, **settings)
    N_REPLAYED.clear()
    return found


def given(root: Path, task: Task, schedule: Staged | Racing) -> Run:
    """A run of random errors, measured in full although the schedule would not ask for all."""
    n_draws = schedule.draws
    key = RunKey(task.name, task.revision, "given", None, {"kind": "fake", **entry_of(schedule)})
    rng, draws, level = np.random.default_rng(0), np.arange(n_draws, dtype=np.int32), np.full(n_draws, np.sqrt(0.5))
    with Store(root).writer(key, task, view={"n_draws": n_draws, "target": "native"}) as writer:
        writer.write_draws(DrawTable(rng.permutation(n_draws).astype(np.float32), *np.float32([level, level]), "eps"))
        errors = [rng.random((*example.shape, n_draws), dtype=np.float32) for example in task.examples]
        pairs = zip(task.examples, errors, strict=True)
        writer.append([Measurement(example.id, draws, {"l2": own}, np.ones(own.shape, bool)) for example, own in pairs])
        writer.settle(None)
    N_REPLAYED.clear()
    return Run(writer.run.path)


def replayed(run: Run) -> tuple[dict[str, np.ndarray], dict[str, Verdict]]:
    """Scores and verdicts straight from the policies, asked with the errors that are stored."""
    schedule, draws = run.schedule, run.draws()
    assert not isinstance(schedule, Full)
    scores: dict[str, np.ndarray] = {}
    verdicts: dict[str, Verdict] = {}
    matches = dict(zip(run.examples()["id"], run.examples()["matches"], strict=True))
    for name, measurement in run.measurements().items():
        errors = np.zeros((*measurement.shape, schedule.draws), np.float32)
        measured = np.zeros(errors.shape, bool)
        errors[..., measurement.draw_ids], measured[..., measurement.draw_ids] = (
            measurement.errors["l2"],
            measurement.measured,
        )
        policy = schedule.policy(name, matches[name], draws, run.classes)
        scores[name], verdicts[name] = policy.scores(errors, measured), policy.verdict(errors, measured)
    return scores, verdicts


def assert_is_the_replay(run: Run) -> None:
    table, told, (scores, verdicts) = run.table(), run.verdicts(), replayed(run)
    assert list(table.ids) == list(told) == sorted(verdicts)
    for name, row in zip(table.ids, table.scores, strict=True):
        assert row.dtype == scores[name].dtype
        assert row.tobytes() == scores[name].tobytes()
        assert told[name].n_draws.dtype == verdicts[name].n_draws.dtype
        np.testing.assert_array_equal(told[name].n_draws, verdicts[name].n_draws)
        plain = [replace(verdicts_of[name], n_draws=np.zeros(0, int)) for verdicts_of in (told, verdicts)]
        assert _words(plain[0]) == _words(plain[1])
    N_REPLAYED.clear()


def _words(verdict: Verdict) -> str:
    """Every number to its last bit, NaN alike."""
    numbers = [[float(x) if isinstance(x, float) else x for x in comparison] for comparison in verdict.comparisons]
    outcomes = {name: (bool(a), bool(b), float(c)) for name, (a, b, c) in verdict.outcomes.items()}
    return repr((verdict.bound, verdict.risk, verdict.n_bank, outcomes, numbers, verdict.predictions))


ADAPTIVE = [
    RACE,
    replace(RACE, together=2),
    replace(RACE, bound="anytime", max_difference=2.0),
    replace(RACE, risk=0.0),
]


@pytest.mark.parametrize("schedule", ADAPTIVE, ids=["raced", "together", "anytime", "exact"])
@pytest.mark.parametrize("task", [pairs(), classes()], ids=["pairs", "classes"])
def test_what_is_stored_is_the_replay_bit_for_bit(tmp_path: Path, task: Task, schedule: Schedule) -> None:
    assert_is_the_replay(raced(tmp_path, task, schedule))


def test_what_is_stored_of_stages_is_the_replay_bit_for_bit(tmp_path: Path) -> None:
    run = given(tmp_path, classes(), STAGES)
    assert len(run.table().ids) == 8
    assert not N_REPLAYED
    assert_is_the_replay(run)


@pytest.mark.parametrize("task", [pairs(), classes()], ids=["pairs", "classes"])
def test_no_reader_replays_what_is_stored(tmp_path: Path, task: Task) -> None:
    path = raced(tmp_path, task).path
    for _ in range(2):
        run = Run(path)
        run.done()
        run.to_frame()
        run.verdicts(run.ids()[:3])
        run.verdicts(comparisons=False)
        run.limited(2).table()
    assert not N_REPLAYED


@pytest.mark.parametrize(
    "command", [["show"], ["compare"], ["report", "-o"], ["export", "-o"]], ids=lambda words: words[0]
)
def test_no_command_that_reads_replays_what_is_stored(tmp_path: Path, command: list[str]) -> None:
    full = compbench.run(classes(), model=NoisySpec(), runs=tmp_path)
    run = raced(tmp_path)
    name, *option = command
    others = [str(full.path)] if name == "compare" else []
    output = [*option, str(tmp_path / ("out.csv" if name == "export" else "out.html"))] if option else []
    main([name, str(run.path), *others, *output])
    assert not N_REPLAYED


def test_a_reader_that_must_replay_does_so_once_and_writes_nothing(tmp_path: Path) -> None:
    path = raced(tmp_path).path
    shutil.rmtree(path / "verdicts")
    before = sorted((file, file.stat().st_mtime_ns) for file in path.rglob("*"))
    told: list[str] = []
    run = Run(path, say=told.append)
    run.to_frame()
    assert N_REPLAYED == ["concluded"] * 8
    run.done()
    run.table()
    run.verdicts()
    assert len(N_REPLAYED) == 8
    assert sorted((file, file.stat().st_mtime_ns) for file in path.rglob("*")) == before
    assert told == []  # as every run was that an older version made
    assert_is_the_replay(Run(path))


def test_the_command_of_an_older_run_stores_what_it_lacks(tmp_path: Path) -> None:
    path = raced(tmp_path).path
    shutil.rmtree(path / "verdicts")
    assert raced(tmp_path).path == path
    Run(path).to_frame()
    assert not N_REPLAYED
    raced(tmp_path)
    assert len(list((path / "verdicts").iterdir())) == 1


def test_a_continued_run_replays_only_what_is_new(tmp_path: Path) -> None:
    path = raced(tmp_path, limit=3).path
    compbench.run(classes(), model=NoisySpec(RACE), runs=tmp_path)
    built = [name for name in N_REPLAYED if name != "wanted"]
    assert built == ["concluded"] * 5
    N_REPLAYED.clear()
    run = Run(path)
    run.to_frame()
    assert (len(run.verdicts()), N_REPLAYED) == (8, [])
    assert_is_the_replay(run)


def test_a_changed_part_outdates_what_was_concluded_of_its_examples(tmp_path: Path) -> None:
    run = raced(tmp_path)
    one = run.measurements()[run.ids()[0]]
    RunWriter(run).append([replace(one, errors={"l2": 2 * one.errors["l2"]})])
    told: list[str] = []
    again = Run(run.path, say=told.append)
    again.table()
    again.verdicts()
    assert N_REPLAYED == ["concluded"]
    assert [message for message in told if "outdated for 1 of 8 examples" in message] == told
    assert len(told) == 1
    assert_is_the_replay(again)
    RunWriter(again).settle(None)
    N_REPLAYED.clear()
    told.clear()
    assert_is_the_replay(Run(run.path, say=told.append))
    assert told == []


@pytest.mark.parametrize("damage", ["a changed byte", "half of it", "nothing", "a folder"])
def test_a_damaged_file_is_said_once_and_never_believed(tmp_path: Path, damage: str) -> None:
    run = raced(tmp_path)
    (file,) = (run.path / "verdicts").iterdir()
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.unlink()
    if damage == "a folder":
        file.mkdir()
    else:
        file.write_bytes({"a changed byte": content, "half of it": content[: len(content) // 2]}.get(damage, b""))
    told: list[str] = []
    again = Run(run.path, say=told.append)
    again.to_frame()
    again.verdicts()
    assert len(told) == 1
    assert "is damaged" in told[0]
    assert_is_the_replay(again)
    raced(tmp_path)
    told.clear()
    Run(run.path, say=told.append).to_frame()
    assert (told, N_REPLAYED) == ([], [])


def test_another_schedule_bank_or_task_outdates_everything(tmp_path: Path) -> None:
    run = raced(tmp_path)
    own, ids = run.contents.verdicts, run.ids()
    assert own.are_stored(ids)
    bank, told = own.draws, list[str]()
    for changed in (
        {"schedule": replace(RACE, risk=0.2)},
        {"draws": DrawTable(bank.timesteps, bank.alpha, bank.sigma[::-1], bank.target)},
        {"matches": {name: array[:, ::-1] for name, array in own.matches.items()}},
        {"classes": None},
    ):
        assert not replace(own, _files={}, say_once=told.append, **changed).are_stored(ids)
    assert ["outdated for 8 of 8 examples" in message for message in told] == [True] * 4


def test_a_kill_between_the_parts_and_what_is_derived_leaves_a_run_that_reads(tmp_path: Path) -> None:
    done = raced(tmp_path / "whole")
    run = raced(tmp_path / "killed", limit=3)
    for part in (done.path / "errors").iterdir():  # stored, and then the process died
        shutil.copy(part, run.path / "errors" / f"9{part.name[1:]}")
    (run.path / "verdicts" / ".partial-123").write_bytes(b"PAR1")
    again = Run(run.path, say=lambda message: None)
    assert len(again.done()) == 8
    assert_is_the_replay(again)
    np.testing.assert_array_equal(again.table().scores, done.table().scores)


def test_an_example_that_is_not_finished_has_no_verdict(tmp_path: Path) -> None:
    run = Run(raced(tmp_path, limit=3).path)
    done, (_, lacking, *_) = run.done(), [name for name in run.ids() if name not in run.done()]
    one = run.measurements()[min(done)]
    RunWriter(run).append(
        [Measurement(lacking, one.draw_ids[:2], {"l2": one.errors["l2"][..., :2]}, one.measured[..., :2])]
    )
    RunWriter(run).settle(3)
    again = Run(run.path)
    assert again.done() == done == set(again.verdicts())


def test_what_does_not_fit_in_memory_is_the_same(tmp_path: Path) -> None:
    run = raced(tmp_path)
    shutil.rmtree(run.path / "verdicts")
    again = Run(run.path)
    again.contents.verdicts.bytes_to_keep = 0
    assert_is_the_replay(again)
    RunWriter(again).settle(None)
    assert_is_the_replay(Run(run.path))


def test_many_classes_are_read_from_several_groups_of_rows(tmp_path: Path) -> None:
    names, truths = ("kind 0", "kind 1"), np.eye(2, dtype=bool)[:, None]
    examples = [Example(f"{k:03d}", (grey(k % 200),), names, truths[k % 2]) for k in range(300)]
    run = given(tmp_path, Task("many", examples, CLASSIFYING, classes=Classes(names, (0, 1))), RACE)
    some = [run.ids()[place] for place in (299, 0, 128, 127)]
    expected, (_, verdicts) = run.verdicts(some), replayed(run)
    assert [_words(expected[name]) for name in some] == [_words(verdicts[name]) for name in some]


def test_a_finished_run_whose_conclusions_cannot_be_stored_is_given_all_the_same(tmp_path: Path) -> None:
    first = raced(tmp_path)
    shutil.rmtree(first.path / "verdicts")  # of an older version, which stored none
    (first.path / "verdicts").write_text("a file where the folder would be", encoding="utf-8")
    reporter = QuietReporter()
    said: list[str] = []
    reporter.say = said.append  # type: ignore[method-assign]
    again = raced(tmp_path, reporter=reporter)
    np.testing.assert_array_equal(again.table().scores, first.table().scores)
    assert again.status == "done"
    assert [
        message
        for message in said
        if "Everything is measured; the derived scores are correct but cannot be stored" in message
    ]
