"""run.json and parts.jsonl are believed only as far as they can be checked, and rewritten from what is there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import compbench
import fakes
from compbench.cli.app import main
from compbench.core.errors import RunError
from compbench.runs import harness
from compbench.store import _sealed, run_file
from compbench.store.run import Run
from compbench.store.store import Store
from compbench_analysis.frames.signature import signature
from compbench_analysis.text.show import cost

Captured = pytest.CaptureFixture[str]
GOLDEN = Path(__file__).parents[1] / "golden"
TASK = fakes.task(6)


def _run(root: Path, limit: int | None = None) -> Run:
    return harness.run(TASK, model=fakes.HashSpec(4), runs=root, limit=limit)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run of two parts."""
    _run(tmp_path, 3)
    return _run(tmp_path)


@pytest.fixture
def old(run: Run) -> Run:
    """The same as a version without checksums left it."""
    info = {name: value for name, value in run_file.words(run.path).items() if name != "files"}
    (run.path / "run.json").write_text(json.dumps(info), encoding="utf-8")
    lines = [json.loads(line) for line in _lines(run)]
    plain = [{name: value for name, value in line.items() if name not in ("check", "size", "sha256")} for line in lines]
    (run.path / "parts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in plain), encoding="utf-8")
    return Run(run.path)


def test_an_altered_seed_never_reaches_a_signature(run: Run, capsys: Captured) -> None:
    path = run.path / "run.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"bank": 16', '"bank": 17'), encoding="utf-8")
    capsys.readouterr()
    assert main(["show", str(run.path)]) == 1
    said = capsys.readouterr()
    assert said.err.startswith(f"error: {str(path)!r} is damaged (its checksum does not match its content): rerun")
    assert said.out == ""


def test_without_a_checksum_the_key_has_to_fit_the_folder(old: Run) -> None:
    path = old.path / "run.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"bank": 16', '"bank": 17'), encoding="utf-8")
    with pytest.raises(RunError, match=f"its folder is that of run {old.path.name}: it was changed, or copied"):
        signature(old)
    path.unlink()  # as the message says
    assert _run(old.path.parents[2]).status == "done"


def test_a_run_of_an_older_version_is_read_without_a_word(old: Run, tmp_path: Path) -> None:
    said: list[str] = []
    again = Run(old.path, say=said.append)
    assert len(again.table().ids) == 6
    assert cost(again).n_evaluations == 6 * 4 * 4
    for name in ("errors", "scores"):
        assert Run(GOLDEN / name, say=said.append).table().ids
        assert len(Run(GOLDEN / name, say=said.append).parts()) == 1
    assert said == []


Change = Callable[[dict[str, Any]], object]
WRONG: dict[str, tuple[Change, str]] = {
    "an unknown entry": (lambda info: info.update(zebra=1), "unknown entry 'zebra'; expected some of format, key,"),
    "an unknown key of the view": (
        lambda info: info["view"].update(draws=8),
        "unknown entry 'draws' in its view; expected some of n_draws, target, reduction, unconditional",
    ),
    "an unknown word of the model": (lambda info: info["model"].update(zebra=1), "unknown entry 'zebra' in its model"),
    "an unknown word of the task": (lambda info: info["task"].update(zebra=1), "unknown entry 'zebra' in its task"),
    "a list": (lambda info: info.update(view=[]), "view cannot be"),
    "half a draw": (lambda info: info["view"].update(n_draws=1.5), "view cannot be"),
    "no draws": (lambda info: info["view"].update(n_draws=0), "view cannot be"),
    "a target": (lambda info: info["view"].update(target="zebra"), "view cannot be"),
    "a status": (lambda info: info.update(status="zebra"), "status cannot be 'zebra'; expected one of running, done"),
    "no examples": (lambda info: info.update(n_task_examples=-6), "n_task_examples cannot be '-6'; expected a whole"),
    "a text for a number": (lambda info: info.update(n_task_examples="6"), "n_task_examples cannot be"),
    "true for a number": (lambda info: info.update(limit=True), "limit cannot be"),
    "no time": (lambda info: info.update(updated=7), "updated cannot be '7'; expected a time"),
    "no key": (lambda info: info.pop("key"), "it lacks 'key'"),
    "more in the key": (lambda info: info["key"].update(zebra=1), "key cannot be"),
    "a schedule": (lambda info: info["key"]["measurement"].update(schedule={"zebra": 1}), "key cannot be"),
    "a schedule that is a text": (lambda info: info["key"]["measurement"].update(schedule="racing"), "key cannot be"),
    "metrics": (lambda info: info["task"].update(metrics=7), "task cannot be"),
    "tags": (lambda info: info["task"].update(tag_order={"tag": "Object"}), "task cannot be"),
    "classes": (lambda info: info["task"].update(classes={"names": []}), "task cannot be"),
    "a model": (lambda info: info.update(model=[]), "model cannot be"),
    "a format": (lambda info: info.update(format="2"), "format cannot be"),
}


@pytest.mark.parametrize("name", WRONG)
def test_every_field_has_a_type_and_a_range(name: str, old: Run, capsys: Captured) -> None:
    change, words = WRONG[name]
    info = json.loads((old.path / "run.json").read_text(encoding="utf-8"))
    change(info)
    (old.path / "run.json").write_text(json.dumps(info), encoding="utf-8")
    with pytest.raises(RunError, match=words):
        Run(old.path).table()
    again = _run(old.path.parents[2])
    assert (again.status, len(again.table().ids)) == ("done", 6)
    assert len(again.parts()) == 2  # nothing was measured again


def test_what_is_written_anew_is_what_was_lost(run: Run, tmp_path: Path) -> None:
    before, parts = run_file.words(run.path), run.parts()
    (run.path / "run.json").write_bytes((run.path / "run.json").read_bytes()[:200])
    again = _run(tmp_path)
    assert again.parts() == parts
    own, words = {"updated", "created", "check"}, run_file.words(run.path)
    assert {k: v for k, v in words.items() if k not in own} == {k: v for k, v in before.items() if k not in own}
    assert again.info.created == parts[0]["time"]
    assert (run.path / "_run.json.damaged").stat().st_size == 200


def test_an_entry_that_only_a_newer_version_knows_is_named_and_kept(run: Run, tmp_path: Path) -> None:
    newer = run_file.words(run.path)
    newer["view"]["temperature"] = 2
    run_file.write(run.path, newer)
    with pytest.raises(RunError, match=r"'temperature' in its view; expected some of n_draws, .*; upgrade compbench"):
        Run(run.path).table()
    with pytest.raises(RunError, match="upgrade compbench"):
        _run(tmp_path)
    assert "temperature" in (run.path / "run.json").read_text(encoding="utf-8")


def test_the_repair_of_a_damaged_run_is_told_once(tmp_path: Path, capsys: Captured) -> None:
    command = ["run", "shapes", "-m", "chance", "--limit", "2", "--runs", str(tmp_path)]
    assert main(command) == 0
    (path,) = tmp_path.glob("*/*/*/run.json")
    path.write_bytes(path.read_bytes()[:200])
    capsys.readouterr()
    assert main(command) == 0
    said = capsys.readouterr().err
    assert said.count("is damaged") == 1, said
    assert "This command does so" in said


def test_a_newer_run_is_never_written_anew(run: Run, tmp_path: Path) -> None:
    newer = _sealed.sealed({"format": 4, "all": "is otherwise"})
    (run.path / "run.json").write_text(json.dumps(newer), encoding="utf-8")
    with pytest.raises(RunError, match="newer compbench"):
        _run(tmp_path)
    assert json.loads((run.path / "run.json").read_text(encoding="utf-8")) == newer


def test_a_run_copied_under_another_s_name_is_refused(run: Run, tmp_path: Path) -> None:
    other = harness.run(TASK, model=fakes.Spec(), runs=tmp_path)
    shutil.copy(run.path / "run.json", other.path / "run.json")
    with pytest.raises(RunError, match="it was copied from the other run"):
        harness.run(TASK, model=fakes.Spec(), runs=tmp_path)


def test_a_run_without_its_run_json_is_named_and_restored(run: Run, tmp_path: Path, capsys: Captured) -> None:
    (run.path / "run.json").unlink()
    for command, code in ((["list", "runs"], 0), (["show", "fake/HashSpec"], 1), (["show", run.path.name[:5]], 1)):
        capsys.readouterr()
        assert main([*command, "--runs", str(tmp_path)]) == code
        assert f"{str(run.path / 'run.json')!r} is missing: rerun the command" in capsys.readouterr().err
    assert len(_run(tmp_path).parts()) == 2


def test_a_part_that_is_gone_is_named_and_its_examples_measured_again(run: Run, tmp_path: Path) -> None:
    first = run.parts()[0]["part"]
    (run.path / str(first)).unlink()
    said: list[str] = []
    lacking = Run(run.path, say=said.append)
    assert len(lacking.table().ids) == 3
    assert len(lacking.parts()) == 1
    assert said == [
        f"part {str(run.path / str(first))!r} is missing: its examples are left out; rerun the command to measure "
        "them again"
    ]
    again = _run(tmp_path)
    said.clear()
    assert (len(again.table().ids), len(again.parts())) == (6, 2)
    assert cost(again).n_evaluations == 6 * 4 * 4  # the part that is gone is not counted
    assert len(Run(run.path, say=said.append).table().ids) == 6
    assert said == []


def test_a_part_that_was_set_aside_is_counted_no_more(run: Run, tmp_path: Path) -> None:
    part = run.path / str(run.parts()[0]["part"])
    part.write_bytes(part.read_bytes()[:-9])
    again = _run(tmp_path)
    assert part.with_name(f"_{part.name}.damaged").exists()
    assert cost(again).n_evaluations == 6 * 4 * 4
    assert len(again.parts()) == 2


def test_what_parts_jsonl_loses_the_parts_still_know(run: Run, tmp_path: Path) -> None:
    before = run.parts()
    (run.path / "parts.jsonl").write_bytes(b"")
    said: list[str] = []
    assert Run(run.path, say=said.append).parts() == before
    assert said == []
    path = run.path / "run.json"
    path.write_bytes(path.read_bytes()[:50])
    _run(tmp_path)
    assert [json.loads(line)["part"] for line in _lines(run)] == [part["part"] for part in before]


def test_of_an_old_part_without_a_line_it_is_said_that_it_is_not_counted(tmp_path: Path) -> None:
    folder = shutil.copytree(GOLDEN / "errors", tmp_path / "errors")
    line = json.loads((folder / "parts.jsonl").read_text(encoding="utf-8"))
    (folder / "parts.jsonl").write_text(json.dumps(line | {"n_errors": "96"}), encoding="utf-8")
    said: list[str] = []
    assert cost(Run(folder, say=said.append)).n_evaluations == 0
    (told,) = said
    assert "its evaluations and its time are not counted" in told


def test_a_line_says_the_size_and_the_checksum_of_its_part(run: Run) -> None:
    import hashlib

    for line in map(json.loads, _lines(run)):
        content = (run.path / line["part"]).read_bytes()
        assert (line["size"], line["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
        assert _sealed.opened(json.dumps(line))


def test_a_digest_finds_a_good_run_beside_a_bad_one(run: Run, tmp_path: Path) -> None:
    good = harness.run(TASK, model=fakes.Spec(), runs=tmp_path)
    (run.path / "run.json").write_text("{}", encoding="utf-8")
    said: list[str] = []
    store = Store(tmp_path, say=said.append)
    assert store.find(good.key.digest[:4]).path == good.path
    assert store.find("fake/Spec").path == good.path
    assert len(said) == 1  # once for a command, whatever it looks up
    assert compbench.load_run("fake/Spec", tmp_path).path == good.path


def _lines(run: Run) -> list[str]:
    return (run.path / "parts.jsonl").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("model", ["tiny-clip", "tiny-sd"])
def test_the_command_that_made_a_run_repairs_it_for_a_model_with_weights_too(
    model: str, tmp_path: Path, capsys: Captured
) -> None:
    asked = ["run", "shapes", "-m", model, "--limit", "2", "--runs", str(tmp_path), "--device", "cpu"]
    asked += ["-o", "draws=2"] if model == "tiny-sd" else []
    assert main(asked) == 0
    table = capsys.readouterr().out
    (path,) = tmp_path.glob("*/*/*/run.json")
    whole = run_file.read(path.parent)
    path.write_text(path.read_text(encoding="utf-8").replace('"status"', '"statuz"'), encoding="utf-8")
    n_parts = len((path.parent / "parts.jsonl").read_text(encoding="utf-8").splitlines())

    assert main([*asked, "--dry-run"]) == 0
    assert "is damaged (its checksum does not match its content)" in capsys.readouterr().err
    assert main(asked) == 0
    said = capsys.readouterr()
    assert "is damaged" in said.err
    assert said.out == table
    assert run_file.read(path.parent).key == whole.key
    assert len((path.parent / "parts.jsonl").read_text(encoding="utf-8").splitlines()) == n_parts
