from __future__ import annotations

import dataclasses
import itertools
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import started

import fakes
from compbench.core import rules
from compbench.core.errors import RunError, UsageError
from compbench.core.examples import Task
from compbench.core.measurements import DrawTable, Measurement, ScoreMatrix
from compbench.core.rules import Rule
from compbench.core.subsets import subset
from compbench.schedules.schedule import Full
from compbench.store import _parquet, run_file
from compbench.store._damage import Damaged
from compbench.store._reader import Contents
from compbench.store.key import RunKey
from compbench.store.run import Run
from compbench.store.store import Store
from compbench.store.writer import RunWriter

N_BANK = 10
RAMP = np.linspace(0.1, 0.9, N_BANK, dtype=np.float32)
BANK = DrawTable(np.arange(N_BANK), np.sqrt(1 - RAMP**2), RAMP, "v")
KEY = RunKey("fake", "0123456789ab", "model", None, {"bank": N_BANK})
ERRORS = np.random.default_rng(0).random((6, 2, 2, N_BANK), np.float32)  # [N, I, C, D] of six examples

plain = (
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
)
keys = st.builds(
    RunKey,
    task=st.text(max_size=6),
    task_revision=st.text("0123456789abcdef", min_size=12, max_size=12),
    model=st.text(max_size=6),
    weights=st.none() | st.text(max_size=6),
    measurement=st.dictionaries(st.text(max_size=4), plain | st.lists(plain, max_size=3), max_size=4),
)


@given(keys, keys)
@settings(deadline=None, max_examples=50)
def test_two_runs_share_a_path_only_when_nothing_that_was_measured_differs(one: RunKey, other: RunKey) -> None:
    is_same = json.dumps(one.to_json(), sort_keys=True) == json.dumps(other.to_json(), sort_keys=True)
    assert (one.folder == other.folder) == is_same


@given(keys, st.sampled_from([field_.name for field_ in dataclasses.fields(RunKey)]), st.text(min_size=1, max_size=3))
@settings(deadline=None, max_examples=30)
def test_whatever_changes_a_measurement_changes_the_folder(key: RunKey, name: str, more: str) -> None:
    before = getattr(key, name)
    after = {**before, "an option": more} if isinstance(before, dict) else f"{before or ''}{more}"
    assert dataclasses.replace(key, **{name: after}).folder != key.folder


@given(keys)
@settings(deadline=None, max_examples=30)
def test_a_key_survives_its_storage(key: RunKey) -> None:
    again = RunKey(**json.loads(json.dumps(key.to_json())))
    assert again.folder == key.folder


@pytest.mark.parametrize("name", ["..", ".", "", "/etc", "a/../../b", "C:\\x", "é"])
def test_a_folder_is_three_deep_in_the_store_whatever_the_names(name: str) -> None:
    folder = RunKey(name, "0" * 12, name, None, {}).folder
    assert len(folder.parts) == 3
    assert ".." not in folder.parts
    assert not folder.is_absolute()


def test_an_option_of_another_type_is_another_measurement() -> None:
    folders = {RunKey("t", "0", "m", None, {"x": x}).folder for x in (1, "1", True, None, 1.5)}
    assert len(folders) == 5


def test_a_subset_is_part_of_every_larger_one_and_keeps_the_order() -> None:
    ids = [f"{n:03d}" for n in range(100)]
    subsets = [subset(ids, n) for n in (1, 5, 24, 99, 100, 1000)]
    assert [len(subset) for subset in subsets] == [1, 5, 24, 99, 100, 100]
    assert all(set(small) <= set(large) for small, large in itertools.pairwise(subsets))
    assert all(subset == sorted(subset) for subset in subsets)
    assert set(subset(ids[::-1], 24)) == set(subsets[2])


def test_what_is_stored_comes_back(tmp_path: Path) -> None:
    run = _error_run(tmp_path)
    mask = np.ones((2, 2, 3), bool)
    mask[0, 1, 2] = mask[:, :, 0] = False
    draws = np.array([1, 4, 9], np.int32)
    RunWriter(run).append([Measurement("0003", draws, {"l2": ERRORS[3][..., draws]}, mask)])
    back = Run(run.path).measurements()["0003"]
    np.testing.assert_array_equal(back.draw_ids, [4, 9])  # nothing was measured on draw 1
    np.testing.assert_array_equal(back.measured, mask[..., 1:])
    np.testing.assert_array_equal(back.errors["l2"][back.measured], ERRORS[3][..., draws][mask])
    np.testing.assert_array_equal(run.draws().sigma, BANK.sigma)
    assert run.draws().target == "v"


def test_errors_come_in_pieces_of_the_draws_that_all_examples_have(tmp_path: Path) -> None:
    run = _error_run(tmp_path)
    RunWriter(run).append([_measured(3, range(7))])
    RunWriter(run).append([_measured(5, range(4))])
    assert run.n_common_draws() == 4
    found = {}
    for table in run.error_tables():
        assert table.errors.shape[1:] == (2, 2, 4)
        found |= zip(table.ids, table.errors, strict=True)
    assert list(found) == ["0003", "0005"]
    np.testing.assert_array_equal(found["0005"], ERRORS[5][..., :4])
    with pytest.raises(UsageError, match="1 of its 2 measured examples, '0005' the first"):
        run.error_tables(7)
    with pytest.raises(UsageError, match="expected at least 1"):
        run.error_tables(0)


def test_a_run_of_scores_has_no_errors_to_give(tmp_path: Path) -> None:
    run = _score_run(tmp_path)
    assert run.n_common_draws() == 0
    with pytest.raises(UsageError, match="stores scores and no errors"):
        run.error_tables()


def test_a_run_of_which_nothing_is_done_can_be_settled(tmp_path: Path) -> None:
    run = _error_run(tmp_path, n_draws=8)
    RunWriter(run).append([_measured(1, range(3))])
    RunWriter(run).settle(None)
    assert run.status == "partial"
    assert len(run.table().ids) == 0


@given(st.data())
@settings(deadline=None, max_examples=12)
def test_how_draws_are_spread_over_parts_changes_no_bit_of_a_score(data: st.DataObject) -> None:
    """Any order of any pieces, some measured twice, read in pieces of any size."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        run = _error_run(Path(folder))
        pieces = [(n, d) for n in range(6) for d in range(N_BANK)]
        order = data.draw(st.permutations(pieces))
        cuts = sorted(data.draw(st.lists(st.integers(0, len(order)), max_size=4)))
        for start, stop in zip([0, *cuts], [*cuts, len(order)], strict=True):
            batch = [_measured(n, [d]) for n, d in order[start:stop]]
            if batch:
                RunWriter(run).append(batch)
        rule = Rule(
            data.draw(st.sampled_from(["native", "eps", "x0"])), data.draw(st.sampled_from([1, 7, N_BANK, None]))
        )
        contents = Contents(run.path, print, Full, bytes_at_once=data.draw(st.sampled_from([1, 500, 10_000])))
        ids = [f"{n:04d}" for n in range(6)]
        expected = [rules.score(_measured(n, range(N_BANK)), BANK, rule).scores for n in range(6)]
        np.testing.assert_array_equal(contents.tables(rule, ids)[2, 2].scores, expected)
        assert contents.done(rule.draws) == set(ids)


def test_of_two_measurements_of_one_draw_the_later_part_counts(tmp_path: Path) -> None:
    run = _error_run(tmp_path)
    RunWriter(run).append([_measured(0, [0, 1])])
    RunWriter(run).append(
        [Measurement("0000", np.array([1]), {"l2": np.full((2, 2, 1), 7, np.float32)}, np.ones((2, 2, 1), bool))]
    )
    assert run.measurements()["0000"].errors["l2"][..., 1].tolist() == [[7, 7], [7, 7]]
    scores = _score_run(tmp_path)
    RunWriter(scores).append([ScoreMatrix("0000", np.zeros((2, 2)))])
    RunWriter(scores).append([ScoreMatrix("0000", np.eye(2))])
    assert scores.table().scores[0].tolist() == [[1, 0], [0, 1]]


def test_a_table_holds_what_is_done_in_the_order_of_the_task(tmp_path: Path) -> None:
    run = _error_run(tmp_path, n_draws=2)
    RunWriter(run).append([_measured(4, [0, 1]), _measured(1, [0, 1, 2]), _measured(2, [0])])
    assert run.done() == {"0001", "0004"}
    assert run.done(3) == {"0001"}
    assert run.done(11) == set()
    assert run.table().ids == ("0001", "0004")
    assert run.table(ids=["0004"]).ids == ("0004",)
    assert run.is_partial
    with pytest.raises(ValueError, match="1 of the 2 examples asked for are not measured, '0002' the first"):
        run.table(ids=["0001", "0002"])


def test_a_run_without_results_has_an_empty_table(tmp_path: Path) -> None:
    for run in (_error_run(tmp_path), _score_run(tmp_path)):
        assert run.table().scores.shape == (0, 2, 2)
        assert run.to_frame().empty


def test_examples_of_several_shapes_make_a_table_each(tmp_path: Path) -> None:
    task = fakes.task(2)
    wide = dataclasses.replace(task.examples[1], captions=("a", "b", "c"), matches=np.eye(2, 3, dtype=bool))
    run = Store(tmp_path).open(KEY, Task("fake", (task.examples[0], wide), task.metrics))
    RunWriter(run).append([ScoreMatrix("0000", np.eye(2)), ScoreMatrix("0001", np.eye(2, 3))])
    assert {shape: table.ids for shape, table in run.tables().items()} == {(2, 2): ("0000",), (2, 3): ("0001",)}
    with pytest.raises(ValueError, match="2x2 and 2x3"):
        run.table()
    assert run.to_frame()["text"].tolist() == [True, True]


def test_a_frame_says_right_tied_and_by_how_much(tmp_path: Path) -> None:
    run = _score_run(tmp_path)
    RunWriter(run).append(
        [
            ScoreMatrix("0000", np.array([[3.0, 1.0], [2.0, 2.5]])),
            ScoreMatrix("0001", np.array([[1.0, 1.0], [0.0, 2.0]])),
        ]
    )
    first, second = run.to_frame().to_dict("records")
    assert first == {
        "id": "0000", "text": True, "image": True, "group": True,
        "text_tie": False, "image_tie": False, "group_tie": False,
        "text_margin": 0.5, "image_margin": 1.0, "tag": "Object",
        "score_0_0": 3.0, "score_0_1": 1.0, "score_1_0": 2.0, "score_1_1": 2.5,
    }  # fmt: skip
    assert (second["text"], second["text_tie"], second["text_margin"]) == (False, True, 0.0)
    assert (second["image"], second["image_tie"], second["tag"]) == (True, False, "Relation")


def test_pandas_reads_the_scores_of_any_run(tmp_path: Path) -> None:
    run = _error_run(tmp_path, n_draws=2)
    RunWriter(run).append([_measured(n, [0, 1]) for n in range(6)])
    RunWriter(run).settle(None)
    frame = pd.read_parquet(run.path / "scores")
    assert frame.columns.tolist() == ["example_id", "image", "caption", "score"]
    np.testing.assert_array_equal(frame["score"].to_numpy().reshape(6, 2, 2), run.table().scores)
    scores = _score_run(tmp_path)
    RunWriter(scores).append([ScoreMatrix("0000", np.eye(2))])
    assert pd.read_parquet(scores.path / "scores")["score"].tolist() == [1, 0, 0, 1]


@pytest.mark.parametrize("damage", ["flipped byte", "truncated", "empty", "not parquet"])
def test_a_damaged_part_is_named_and_the_rest_is_used(tmp_path: Path, damage: str) -> None:
    run = _error_run(tmp_path, n_draws=4)
    bad = RunWriter(run).append([_measured(0, range(4)), _measured(1, range(4))])
    RunWriter(run).append([_measured(2, range(4))])
    _damage(bad, damage)
    said: list[str] = []
    again = Run(run.path, say=said.append)
    assert again.table().ids == ("0002",)
    assert again.done() == {"0002"}
    assert len(said) == 1
    assert str(bad) in said[0]
    RunWriter(again).repair()
    assert not bad.exists()
    assert [path.name for path in bad.parent.glob("*.damaged")] == [f"_{bad.name}.damaged"]
    assert set(pd.read_parquet(bad.parent)["example_id"]) == {"0002"}
    assert RunWriter(run).append([_measured(0, range(4))]).name > bad.name
    assert again.done() == {"0000", "0002"}


def test_damaged_draws_mean_that_the_scorer_is_asked_again(tmp_path: Path) -> None:
    run = _error_run(tmp_path, n_draws=4)
    RunWriter(run).append([_measured(0, range(4))])
    _damage(run.path / "draws.parquet", "truncated")
    assert run.done() == set()
    RunWriter(run).write_draws(BANK)
    assert run.done() == {"0000"}


def test_errors_of_other_draws_are_never_mixed_in(tmp_path: Path) -> None:
    run = _error_run(tmp_path)
    with pytest.raises(RunError, match="other draws"):
        RunWriter(run).write_draws(dataclasses.replace(BANK, timesteps=BANK.timesteps[::-1]))
    with pytest.raises(RunError, match="other draws"):
        RunWriter(run).write_draws(dataclasses.replace(BANK, target="eps"))


def test_a_half_written_file_is_no_part(tmp_path: Path) -> None:
    run = _score_run(tmp_path)
    whole = RunWriter(run).append([ScoreMatrix("0000", np.eye(2))])
    leftover = whole.parent / ".partial-abc"
    leftover.write_bytes(whole.read_bytes()[:50])
    assert run.table().ids == ("0000",)
    assert len(pd.read_parquet(whole.parent)) == 4
    RunWriter(run).repair()
    assert not leftover.exists()


def test_a_torn_line_about_a_part_is_passed_over(tmp_path: Path) -> None:
    run = _score_run(tmp_path)
    RunWriter(run).append([ScoreMatrix("0000", np.eye(2))], seconds=1.5)
    with (run.path / "parts.jsonl").open("a") as file:
        file.write('{"part": "scores/0000')
    RunWriter(run).append([ScoreMatrix("0001", np.eye(2))], seconds=2.5)
    assert [part["seconds"] for part in run.parts()] == [1.5, 2.5]


def test_a_second_process_is_refused_with_the_host_and_process_of_the_first(tmp_path: Path) -> None:
    import socket

    run = _score_run(tmp_path)
    with _holder(run.path) as holder:
        with pytest.raises(RunError, match=f"process {holder.pid} on host {socket.gethostname()}"), RunWriter(run):
            pass
        assert run.status == "running"
        RunWriter(run).append([ScoreMatrix("0000", np.eye(2))])  # reading needs no lock
        assert Run(run.path).table().ids == ("0000",)
        holder.kill()
        holder.wait()
        assert run.status == "interrupted"
        said: list[str] = []
        with RunWriter(Run(run.path, say=said.append)):
            assert f"process {holder.pid}" in said[0]
    with RunWriter(run):
        pass


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    run = _score_run(tmp_path)
    (run.path / "run.json").write_text(json.dumps({**run_file.words(run.path), "format": 4}))
    with pytest.raises(RunError, match=r"newer compbench \(format 4.*upgrade"):
        Run(run.path).table()
    said: list[str] = []
    assert Store(tmp_path, say=said.append).runs() == []
    assert "newer compbench" in said[0]


def test_a_digest_that_stands_for_two_keys_is_refused(tmp_path: Path) -> None:
    run = _score_run(tmp_path)
    other = dataclasses.replace(run.key, weights="sha256:other")
    shutil.copytree(run.path, tmp_path / other.folder)
    with pytest.raises(
        RunError, match=f"has the key of run {run.key.digest}, and its folder is that of run {other.digest}"
    ):
        Store(tmp_path).open(other, fakes.task(6))


def test_damaged_examples_are_written_anew(tmp_path: Path) -> None:
    run = _score_run(tmp_path)
    RunWriter(run).append([ScoreMatrix("0000", np.eye(2))])
    _damage(run.path / "examples.parquet", "truncated")
    with pytest.raises(RunError, match="damaged or missing"):
        Run(run.path).table()
    assert Store(tmp_path).open(run.key, fakes.task(6)).table().ids == ("0000",)


def test_a_run_is_found_by_folder_by_name_and_by_digest(tmp_path: Path) -> None:
    store = Store(tmp_path)
    older = store.open(KEY, fakes.task(6))
    newer = store.open(dataclasses.replace(KEY, measurement={"bank": 11}), fakes.task(6))
    address = store.open(dataclasses.replace(KEY, model="sd:org/name@main"), fakes.task(6))
    RunWriter(newer).mark("done")
    assert store.find(older.path).path == older.path
    assert store.find("fake/model").path == newer.path
    assert store.find("fake/sd:org/name@main").path == address.path
    assert store.find("fake/sd-org-name-main").path == address.path
    assert store.find(older.key.digest[:8]).path == older.path
    assert {run.path for run in store.runs()} == {older.path, newer.path, address.path}
    with pytest.raises(UsageError, match="did you mean 'fake/model'"):
        store.find("fake/modle")
    with pytest.raises(UsageError, match="there are none"):
        Store(tmp_path / "nowhere").find("fake/model")


def test_letters_that_begin_several_digests_are_too_few(tmp_path: Path) -> None:
    store = Store(tmp_path)
    runs = [store.open(dataclasses.replace(KEY, measurement={"n": n}), fakes.task(1)) for n in range(17)]
    first = [run.key.digest[0] for run in runs]  # of 17 digests two begin with the same of 16 digits
    shared = next(key for key in first if first.count(key) > 1)
    with pytest.raises(UsageError, match=f"{first.count(shared)} runs begin with '{shared}'"):
        store.find(shared)


def test_the_store_is_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPBENCH_RUNS", str(tmp_path / "mine"))
    assert Store().root == tmp_path / "mine"
    assert Store(tmp_path).root == tmp_path
    monkeypatch.delenv("COMPBENCH_RUNS")
    assert Store().root == Path("runs")


def test_every_byte_of_a_part_is_guarded(tmp_path: Path) -> None:
    path = RunWriter(_error_run(tmp_path)).append([_measured(0, range(N_BANK))])
    content = path.read_bytes()
    assert _parquet.checked(path).ids == ("0000",)
    for place in range(0, len(content), 7):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        with pytest.raises(Damaged):
            _parquet.checked(path)


def test_whatever_byte_of_another_file_is_damaged_it_is_said_or_harmless(tmp_path: Path) -> None:
    path = _error_run(tmp_path).path / "draws.parquet"
    content = path.read_bytes()
    for place in range(0, len(content), 7):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        try:
            np.testing.assert_array_equal(_parquet.read_draws(path).alpha, BANK.alpha)
        except Damaged:
            continue


def _error_run(root: Path, n_draws: int | None = None) -> Run:
    run = Store(root).open(KEY, fakes.task(6), view={"n_draws": n_draws, "target": "native"})
    RunWriter(run).write_draws(BANK)
    return run


def _score_run(root: Path) -> Run:
    return Store(root).open(dataclasses.replace(KEY, measurement={}), fakes.task(6))


def _measured(n: int, draws: range | list[int]) -> Measurement:
    errors = ERRORS[n][..., list(draws)]
    return Measurement(f"{n:04d}", np.array(draws, np.int32), {"l2": errors}, np.ones(errors.shape, bool))


def _damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    middle = len(content) // 3
    path.write_bytes(
        {
            "flipped byte": content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :],
            "truncated": content[:middle],
            "empty": b"",
            "not parquet": b"PAR1 of something else PAR1",
        }[how]
    )


def _holder(folder: Path) -> subprocess.Popen[str]:
    """Another process that holds the lock until it is killed."""
    code = (
        "import sys, time; from pathlib import Path; from compbench.store.lock import locked\n"
        "with locked(Path(sys.argv[1]), print):\n"
        "    print('held', flush=True); time.sleep(60)"
    )
    return started(code, folder, says="held")


def test_what_is_wrong_with_a_run_is_told_by_whoever_repairs_it_and_of_the_others_once(tmp_path: Path) -> None:
    said: list[str] = []
    store, own = Store(tmp_path, say=said.append), RunKey("fake", fakes.task().revision, "model", None, {"kind": "own"})
    other = dataclasses.replace(own, measurement={"kind": "other"})
    for key in (own, other):
        store.open(key, fakes.task())
        (tmp_path / key.folder / "run.json").write_text("{", encoding="utf-8")
    for _ in range(2):
        assert store.of_model(own) == []
        store.tell_damaged(own)
    assert len(said) == 1
    assert str(other.folder) in said[0]
    store.open(own, fakes.task())
    assert len(said) == 2
    assert str(own.folder) in said[1]
    assert said[1].endswith("This command does so")
