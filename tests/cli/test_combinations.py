"""Task, model, schedule, loss, protocol, rule, noise, null caption and --keep together: a table, or one line.

Every two values of these stand together in some command: in one that may be refused, and where the two can be had
together, in one that is not.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

import pytest

import layouts_on_disk as layouts
import small_sd
from compbench.cli.app import main
from compbench.store.run import Run
from compbench.store.store import Store
from covering import Row, pairs_of, pairwise

Captured = pytest.CaptureFixture[str]

FACTORS: dict[str, tuple[str, ...]] = {
    "task": ("shapes", "imagefolder", "digits"),  # pairs; two classes of two captions each; labels
    "model": ("sd", "tiny-sd", "tiny-dit", "tiny-clip", "chance", "logistic-regression"),
    "schedule": ("", "full", "racing", "paper"),  # "": not given
    "loss": ("", "l2", "l1", "vlb", "l2+vlb"),
    "protocol": ("", "compbench", "paper", "published-fp16"),
    "target": ("", "native", "eps", "v", "x0"),
    "noise": ("", "antithetic", "per-image"),
    "unconditional": ("", "true"),
    "keep": ("errors", "scores"),
}
_OF_DIFFUSION = ("schedule", "loss", "protocol", "target", "noise", "unconditional")
_HAS = {
    "sd": {
        "schedule": ("", "full", "racing", "paper"),
        "loss": ("", "l2", "l1"),
        "protocol": FACTORS["protocol"],
        "target": FACTORS["target"],
        "noise": FACTORS["noise"],
        "unconditional": FACTORS["unconditional"],
    },
    "tiny-dit": {
        "schedule": ("", "full", "racing"),
        "loss": ("", "l2", "l1", "vlb", "l2+vlb"),
        "protocol": ("", "compbench", "paper"),
    },
}
_HAS["tiny-sd"] = _HAS["sd"]


def runs(row: Row) -> bool:
    """Whether the pages promise that it does."""
    has = _HAS.get(row["model"], {})
    if any(row[name] not in has.get(name, ("",)) for name in _OF_DIFFUSION):
        return False
    if row["task"] == "shapes" and (row["model"] in ("tiny-dit", "logistic-regression") or row["schedule"] == "paper"):
        return False
    if row["task"] == "imagefolder" and row["model"] == "tiny-dit":
        return False
    if row["noise"] == "antithetic" and row["protocol"] not in ("", "compbench"):
        return False
    return not row["unconditional"] or (row["schedule"] in ("", "full") and row["loss"] != "l1")


def is_quick(row: Row) -> bool:
    """Whether it takes a few seconds: of the published stages tiny-sd's are tried on the fewest captions.

    Schedules of many small batches are not tried on tiny-sd in float16, which a CPU emulates.
    """
    if row["model"] != "tiny-sd":
        return True
    if row["protocol"] == "published-fp16" and row["schedule"] in ("paper", "racing"):
        return False
    return not (row["schedule"] == "paper" and row["task"] == "digits")


EVERY = pairwise(FACTORS, lambda row: is_quick(row) and not runs(row))
RUNNING = pairwise(FACTORS, lambda row: is_quick(row) and runs(row))


def _name(row: Row) -> str:
    return ",".join(value for value in row.values() if value)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smallest Stable Diffusion."""
    return small_sd.save(tmp_path_factory.mktemp("small") / "sd")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes with a training split, and a file of two captions for each."""
    root = tmp_path_factory.mktemp("folder")
    for number, (split, name) in enumerate(itertools.product(("test", "train"), ("red circle", "blue square"))):
        for n in range(4):
            layouts.picture(root / "data" / split / name / f"{n}.png", 10 * number + n)
    words = [f"{a} {name}.,{name},{k}" for k, name in enumerate(("blue square", "red circle")) for a in ("a", "one")]
    (root / "prompts.csv").write_text("\n".join(["prompt,classname,classidx", *words]) + "\n")
    return root


def command(row: Row, small: Path, folder: Path) -> list[str]:
    """As a user gives it, but for the budget: two examples, and eight draws where the schedule leaves that open."""
    model = f"sd:{small}" if row["model"] == "sd" else row["model"]
    asked = ["run", row["task"], "-m", model, "--limit", "2", "--keep", row["keep"]]
    if row["task"] == "imagefolder":
        asked += ["--data", str(folder / "data"), "--prompts", str(folder / "prompts.csv")]
    given: dict[str, str] = {name: row[name] for name in _OF_DIFFUSION if row[name]}
    if row["model"] in _HAS and row["schedule"] != "paper":
        given["draws"] = "8"
    if row["schedule"] == "racing" and row["keep"] == "scores":
        given["bound"] = "asymptotic"  # a first wave teaches by its errors
    is_half = row["protocol"] == "published-fp16" and row["model"] in ("sd", "tiny-sd")
    if row["model"] == "sd":
        asked += ["--batch-size", "512", "--dtype", "float16" if is_half else "auto"]
    elif is_half:
        asked += ["--dtype", "float16"]
    if is_half:  # emulated by a CPU: it is asked for twice
        asked += ["--device", "cpu"]
    return [*asked, *(word for name, value in given.items() for word in ("-o", f"{name}={value}"))]


@pytest.mark.parametrize("fits", [runs, lambda row: not runs(row)], ids=["running", "refused"])
def test_every_two_values_stand_together_in_some_command(fits: object) -> None:
    rows = RUNNING if fits is runs else EVERY
    covered = set().union(*map(pairs_of, rows))
    for first, second in itertools.combinations(FACTORS, 2):
        for values in itertools.product(FACTORS[first], FACTORS[second]):
            pair = dict(zip((first, second), values, strict=True))
            rest = {name: FACTORS[name] for name in FACTORS if name not in pair}
            rows_with_it = (
                {**pair, **dict(zip(rest, values, strict=True))} for values in itertools.product(*rest.values())
            )
            can_be_had = any(is_quick(row) and (runs(row) == (fits is runs)) for row in rows_with_it)
            assert (frozenset(pair.items()) in covered) == can_be_had, pair


@pytest.mark.slow
@pytest.mark.parametrize("row", RUNNING, ids=_name)
def test_what_fits_together_runs_to_the_table_and_is_found_again(
    row: Row, small: Path, folder: Path, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMPBENCH_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    asked = command(row, small, folder)
    assert main(asked) == 0, capsys.readouterr().err
    first = capsys.readouterr()
    assert ("text, %" if row["task"] == "shapes" else "top-1, %") in first.out
    (run,) = Store(tmp_path / "runs").runs()
    has_wave = row["schedule"] == "racing" and row["keep"] != "scores"  # sixteen more, or some of the same
    assert 16 <= len(run.done()) <= 18 if has_wave else len(run.done()) == 2
    before = _files(run)
    assert main(asked) == 0
    assert capsys.readouterr().out == first.out
    assert _files(run) == before
    for more in (["show"], ["export", "--output", str(tmp_path / "scores.csv")], ["curves"], ["calibrate"]):
        _answers([more[0], str(run.path), *more[1:]], capsys)


@pytest.mark.slow
@pytest.mark.parametrize("row", EVERY, ids=_name)
def test_what_does_not_fit_together_is_refused_in_one_line_before_anything_is_measured(
    row: Row, small: Path, folder: Path, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMPBENCH_RUNS", str(tmp_path / "runs"))
    assert main(command(row, small, folder)) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("error: ") == 1
    assert said.err.strip().splitlines()[-1].startswith("error: ")
    assert not (tmp_path / "runs").exists()


def _answers(words: list[str], capsys: Captured) -> None:
    """A command that reads: a result, or one line that says why not."""
    code = main(words)
    said = capsys.readouterr()
    assert code in (0, 2), said.err
    if code == 2:
        assert said.out == ""
        assert said.err.count("error: ") == 1


def _files(run: Run) -> Mapping[Path, int]:
    return {path: path.stat().st_mtime_ns for path in run.path.rglob("*") if path.is_file()}
