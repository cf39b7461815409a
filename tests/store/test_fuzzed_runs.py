"""Files of stored runs, damaged at random: never a traceback, never another number without a word, always repaired."""

from __future__ import annotations

import functools
import json
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import test_scheduled

import compbench
import fakes
from compbench.cli.app import main
from compbench.core.examples import Task
from compbench.registry import task_names
from compbench.runs import harness
from compbench.runs._scorer_cache import ScorerCache
from compbench.runs.request import RunRequest
from compbench.runs.resolve import resolve
from compbench.store import pilots
from compbench.store.run import Run
from compbench_analysis.frames.signature import signature
from compbench_analysis.text.show import cost

SEED = 20_261_125
Captured = pytest.CaptureFixture[str]
TASK = fakes.task(5)
# what a repaired run may tell otherwise: how long the second measurement took, and that it was one
FREE = {"seconds", "folder", "device"}


def _errors(root: Path, limit: int | None = None) -> Run:
    return harness.run(TASK, model=fakes.HashSpec(4), runs=root, limit=limit)


def _scores(root: Path, limit: int | None = None) -> Run:
    return harness.run(TASK, model=fakes.Spec(), runs=root, limit=limit)


def _kept(root: Path, limit: int | None = None) -> Run:
    return harness.run(TASK, model=fakes.HashSpec(4), runs=root, limit=limit, keep="scores")


def _raced(root: Path, limit: int | None = None) -> Run:
    spec = test_scheduled.NoisySpec(test_scheduled.RACE)
    return harness.run(test_scheduled.pairs(3), model=spec, runs=root, limit=limit)


@functools.cache
def _weights() -> ScorerCache:
    """Keeps tiny-sd's weights in memory from one run to the next."""
    return ScorerCache(
        RunRequest(task=_shapes(), model="tiny-sd", device="cpu", is_offline=True), harness.QuietReporter()
    )


@functools.cache
def _shapes() -> Task:
    return task_names.task("shapes")


def _diffusion(root: Path, limit: int | None = None) -> Run:
    """The real tiny-sd on four examples, three draws of each pair and of each picture without a caption."""
    options = {"draws": 3, "unconditional": True}
    request = RunRequest(
        task=_shapes(), model="tiny-sd", options=options, limit=limit or 4, runs=root, is_offline=True, device="cpu"
    )
    return harness.finish(
        resolve(request, lambda message: None), harness.QuietReporter(), harness.by_itself(_weights())
    ).run


RUNS: dict[str, tuple[Callable[..., Run], int]] = {
    "errors": (_errors, 260),
    "scores": (_scores, 130),
    "kept": (_kept, 90),
    "raced": (_raced, 40),
    "diffusion": (_diffusion, 64),
}


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: thousands of small files are flushed to the disk here."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


def _truncated(content: bytes, dice: random.Random) -> bytes:
    return content[: dice.randrange(max(1, len(content)))]


def _zeroed(content: bytes, dice: random.Random) -> bytes:
    start = dice.randrange(max(1, len(content)))
    stop = min(len(content), start + dice.choice([1, 8, 64, len(content)]))
    return content[:start] + bytes(stop - start) + content[stop:]


def _flipped(content: bytes, dice: random.Random) -> bytes:
    if not content:
        return b"\xff"
    place = dice.randrange(len(content))
    return content[:place] + bytes([content[place] ^ 1 << dice.randrange(8)]) + content[place + 1 :]


def _redigited(content: bytes, dice: random.Random) -> bytes:
    """One decimal digit made another: what a hand that edits, or a bad copy, leaves readable."""
    places = [n for n, byte in enumerate(content) if 48 <= byte <= 57]
    if not places:
        return _flipped(content, dice)
    place = dice.choice(places)
    digit = 48 + (content[place] - 48 + dice.randrange(1, 10)) % 10
    return content[:place] + bytes([digit]) + content[place + 1 :]


def _extended(content: bytes, dice: random.Random) -> bytes:
    return content + dice.choice([b"\n", b"{}", b"\x00" * 9, dice.randbytes(40), content])


def _deleted(content: bytes, dice: random.Random) -> None:
    return None


MUTATIONS = (_truncated, _zeroed, _flipped, _flipped, _redigited, _redigited, _extended, _deleted)


@dataclass(frozen=True)
class Told:
    """What a command printed."""

    code: int
    out: Any
    err: str


@pytest.mark.slow
@pytest.mark.parametrize("kind", RUNS)
def test_damage_is_never_a_traceback_nor_another_number_without_a_word(
    kind: str, memory: Path, capsys: Captured
) -> None:
    make, n_mutations = RUNS[kind]
    root, clean = memory / "runs", memory / "clean"
    make(root, limit=2)  # so that there are several parts
    run = make(root)
    (run.path / "lock.json").write_text('{"host": "elsewhere", "pid": 7, "since": "2020-01-01T00:00:00+00:00"}')
    os.utime(run.path / "lock.json", (0, 0))  # its process died long ago
    shutil.copytree(root, clean)
    before, table, errors, parts = _told(run.path, memory, capsys), run.table(), run.measurements(), run.parts()
    facts = signature(run), cost(run).n_evaluations
    assert before.code == 0
    dice = random.Random(f"{SEED} {kind}")
    names = sorted(path.relative_to(run.path) for path in run.path.rglob("*") if path.is_file())
    print(f"seed {SEED}: {n_mutations} mutations of {', '.join(map(str, names))}")
    for number in range(n_mutations):
        name, mutate = names[number % len(names)], dice.choice(MUTATIONS)
        what = f"{kind}: mutation {number}, {mutate.__name__} {name}"
        shutil.rmtree(root)
        shutil.copytree(clean, root)
        path = run.path / name
        damaged = mutate(path.read_bytes(), dice)
        path.unlink() if damaged is None else path.write_bytes(damaged)
        if name == Path("lock.json") and path.exists():
            os.utime(path, (0, 0))

        told = _told(run.path, memory, capsys)
        assert told.code in (0, 1, 2), what
        assert "Traceback" not in told.err, what
        if told.code == 0:
            assert told.out == before.out or told.err, what
        else:
            assert told.err.splitlines()[-1].startswith("error: "), what
        if name.suffix == ".json":
            _check_listed(root, capsys, what)

        again = make(root)
        assert again.path == run.path, what
        if number % 4 == 0:
            repaired = _told(again.path, memory, capsys)
            assert (repaired.code, repaired.err) == (0, before.err), what
            _check_equal(repaired.out, before.out, is_measured_anew=again.parts() != parts, what=what)
        assert (signature(again), cost(again).n_evaluations) == facts, what
        np.testing.assert_array_equal(again.table().scores, table.scores, what)
        now = again.measurements()
        assert now.keys() == errors.keys(), what
        for error in errors:
            np.testing.assert_array_equal(now[error].errors["l2"], errors[error].errors["l2"], what)


@pytest.mark.slow
def test_a_damaged_pilot_teaches_the_same_shares_again(tmp_path: Path, capsys: Captured) -> None:
    pilot = compbench.run(test_scheduled.pairs(4), model=test_scheduled.NoisySpec(), runs=tmp_path)
    taught = pilots.learned(pilot.path, test_scheduled.RACE, {}).shares
    (kept,) = pilot.path.glob("shares-*.json")
    content, dice = kept.read_bytes(), random.Random(SEED)
    capsys.readouterr()
    for number in range(60):
        damaged = dice.choice(MUTATIONS)(content, dice)
        kept.unlink() if damaged is None else kept.write_bytes(damaged)
        assert pilots.learned(pilot.path, test_scheduled.RACE, {}).shares == taught, number
        kept.write_bytes(content)


@pytest.mark.parametrize("name", ["run.json", "parts.jsonl", "errors", "examples.parquet", "draws.parquet"])
def test_one_bad_run_hides_no_other(name: str, tmp_path: Path, capsys: Captured) -> None:
    bad, good = _errors(tmp_path), _scores(tmp_path)
    path = next((bad.path / name).iterdir()) if name == "errors" else bad.path / name
    path.write_bytes(path.read_bytes()[:20])
    for command in (["list", "runs"], ["show", "fake/Spec"], ["show", good.key.digest], ["show", str(good.path)]):
        capsys.readouterr()
        assert main([*command, "--runs", str(tmp_path)]) == 0
        assert "fake/Spec" in (said := capsys.readouterr()).out or "Spec" in said.out
    assert main(["list", "runs", "--runs", str(tmp_path)]) == 0
    said = capsys.readouterr()
    if name == "run.json":
        assert said.err.count(str(path)) == 1
        assert main(["show", "fake/HashSpec", "--runs", str(tmp_path)]) == 1
        assert main(["show", bad.path.name[:6], "--runs", str(tmp_path)]) == 1
        assert "rerun the command that made the run" in capsys.readouterr().err


def _told(folder: Path, place: Path, capsys: Captured) -> Told:
    """What show, compare and export print of a run, and what they say."""
    capsys.readouterr()
    exported = place / "scores.csv"
    exported.unlink(missing_ok=True)
    codes = [
        main(["show", str(folder), "--format", "json", "--no-draws"]),
        main(["export", str(folder), "--output", str(exported)]),
    ]
    said = capsys.readouterr()
    err = "\n".join(line for line in said.err.splitlines() if "examples written to" not in line)
    rows = json.loads(said.out) if said.out.strip() else []
    frame = pd.read_csv(exported).to_dict("records") if exported.exists() else []
    return Told(max(codes), [rows, frame], err)


def _check_listed(root: Path, capsys: Captured, what: str) -> None:
    capsys.readouterr()
    assert main(["list", "runs", "--runs", str(root)]) == 0, what
    assert "Traceback" not in capsys.readouterr().err, what


def _check_equal(found: Any, expected: Any, *, is_measured_anew: bool, what: str) -> None:
    """All printed numbers are the same; of what was measured again, the time it took is its own."""
    free = FREE if is_measured_anew else set[str]()
    plain = [[{k: v for k, v in row.items() if k not in free} for row in rows] for rows in found]
    assert plain == [[{k: v for k, v in row.items() if k not in free} for row in rows] for rows in expected], what
