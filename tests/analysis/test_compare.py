"""Runs against each other: which examples, which tests, which family, and what is refused."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import compbench
import fakes
import planted
from compbench.cli.app import main
from compbench.core.errors import UsageError
from compbench.core.examples import Example, Task
from compbench.core.measurements import ScoreMatrix
from compbench.core.metrics import MATCHING
from compbench.core.rules import Rule
from compbench.core.subsets import subset
from compbench.store.key import RunKey
from compbench.store.run import Run
from compbench.store.store import Store
from compbench.store.writer import RunWriter
from compbench_analysis.frames.compare import compare
from compbench_analysis.text import compare as compared
from compbench_analysis.text.render import FORMATS

RIGHT, WRONG = np.eye(2), 1 - np.eye(2)
# (both right, only A, only B, neither) in each tag
CELLS = {"Object": (30, 40, 8, 22), "Relation": (20, 15, 14, 51), "Both": (10, 3, 2, 5)}
FRAMES = ("outcomes", "margins", "interactions")


def _task(n_of: Mapping[str, int], name: str = "fake", more: Mapping[str, str] | None = None) -> Task:
    tags = [tag for tag, n in n_of.items() for _ in range(n)]
    examples = [
        dataclasses.replace(fakes.example(i), tags={"tag": (tag,)}, group=(more or {}).get(f"{i:04d}", ""))
        for i, tag in enumerate(tags)
    ]
    return Task(name, tuple(examples), MATCHING, tag_order={"tag": fakes.TAGS})


def _stored(root: Path, task: Task, is_right: Mapping[str, bool], model: str, **measurement: str | int) -> Run:
    """A run that has measured the examples in `is_right`; the size of a score is the example's own."""
    run = Store(root).open(RunKey(task.name, task.revision, model, "hf:org/name@0123456789abcdef", measurement), task)
    size_of = {example.id: 1 + i % 7 for i, example in enumerate(sorted(task.examples, key=lambda example: example.id))}
    done = [example.id for example in task.examples if example.id in is_right]
    if done:
        RunWriter(run).append(
            [
                ScoreMatrix(example_id, size_of[example_id] * (RIGHT if is_right[example_id] else WRONG))
                for example_id in done
            ]
        )
    RunWriter(run).settle(None)
    return run


def _outcomes(task: Task, cells: Mapping[str, Sequence[int]]) -> tuple[dict[str, bool], dict[str, bool]]:
    kinds = [kind for counts in cells.values() for kind, n in enumerate(counts) for _ in range(n)]
    ids = sorted(example.id for example in task.examples)
    pairs = [((kind in (0, 1)), (kind in (0, 2))) for kind in kinds]
    return dict(zip(ids, (a for a, _ in pairs), strict=True)), dict(zip(ids, (b for _, b in pairs), strict=True))


def _two(root: Path, *, is_shuffled: bool = False) -> list[Run]:
    task = _task({tag: sum(counts) for tag, counts in CELLS.items()})
    a, b = _outcomes(task, CELLS)
    if is_shuffled:
        order = np.random.default_rng(0).permutation(len(task.examples))
        task = dataclasses.replace(task, examples=tuple(task.examples[i] for i in order))
    return [_stored(root, task, a, "one"), _stored(root, task, b, "two")]


def _row(frame: pd.DataFrame, tag: str, metric: str = "text") -> pd.Series:
    return frame[(frame["tag"] == tag) & (frame["metric"] == metric)].iloc[0]


def test_the_agreement_is_counted_overall_and_by_tag(tmp_path: Path) -> None:
    outcomes = compare(_two(tmp_path)).outcomes
    for tag, counts in {**CELLS, "overall": np.sum(list(CELLS.values()), axis=0)}.items():
        row = _row(outcomes, tag)
        assert [row[cell] for cell in ("both", "only_a", "only_b", "neither")] == list(counts)
        assert row["n"] == sum(counts)
        assert row["difference"] == pytest.approx((counts[1] - counts[2]) / sum(counts))
        assert row["p"] == pytest.approx(stats.binomtest(int(counts[1]), int(counts[1] + counts[2])).pvalue)
        assert row["value_a"] == pytest.approx((counts[0] + counts[1]) / sum(counts))


def test_the_examples_behind_a_cell_are_named(tmp_path: Path) -> None:
    comparison = compare(_two(tmp_path))
    assert comparison.ids("text", "only_a", "Object") == [f"{i:04d}" for i in range(30, 70)]
    assert len(comparison.ids("text", "neither")) == 22 + 51 + 5
    cells = comparison.examples.query("metric == 'group'").set_index("id")["cell"]
    assert cells["0030"] == "only_a"
    assert cells.value_counts().to_dict() == {"both": 60, "only_a": 58, "only_b": 24, "neither": 78}
    with pytest.raises(UsageError, match="no tag 'Objects' in this comparison; expected one of Object, Relation"):
        comparison.ids("text", "only_a", "Objects")
    with pytest.raises(UsageError, match="no agreement cell named 'only_c'"):
        comparison.ids("text", "only_c")


def test_swapping_the_runs_mirrors_every_row(tmp_path: Path) -> None:
    runs = _two(tmp_path)
    here, there = compare(runs), compare(runs[::-1])
    for name in FRAMES:
        one, other = getattr(here, name), getattr(there, name)
        np.testing.assert_allclose(one["difference"], -other["difference"])
        np.testing.assert_allclose(one["p_holm"], other["p_holm"], rtol=1e-9)
    np.testing.assert_allclose(here.outcomes["low"], -there.outcomes["high"])
    assert list(here.outcomes["only_a"]) == list(there.outcomes["only_b"])


def test_the_order_of_the_examples_changes_nothing(tmp_path: Path) -> None:
    here, there = compare(_two(tmp_path / "a")), compare(_two(tmp_path / "b", is_shuffled=True))
    for name in FRAMES:
        pd.testing.assert_frame_equal(getattr(here, name), getattr(there, name))


def test_holm_is_over_the_family_that_the_row_names(tmp_path: Path) -> None:
    outcomes = compare(_two(tmp_path)).outcomes
    assert set(zip(outcomes["family"], outcomes["n_tests"], strict=True)) == {("tag", 9), ("overall", 3)}
    assert _row(outcomes, "Object")["p_holm"] == pytest.approx(9 * _row(outcomes, "Object")["p"])
    assert _row(outcomes, "overall")["p_holm"] == pytest.approx(3 * _row(outcomes, "overall")["p"])


def test_the_gain_in_one_tag_is_tested_against_the_gain_in_another(tmp_path: Path) -> None:
    row = compare(_two(tmp_path)).interactions.query("metric == 'text'").iloc[0]
    assert (row["tag"], row["other_tag"]) == ("Object", "Relation")
    assert row["difference"] == pytest.approx(0.32 - 0.01)
    assert row["low"] < 0.31 < row["high"]
    gains = [np.repeat([0, 1, -1, 0], CELLS[tag]) for tag in ("Object", "Relation")]
    rng = np.random.default_rng(0)
    theirs = stats.permutation_test(gains, lambda a, b, axis: a.mean(axis) - b.mean(axis), vectorized=True, rng=rng)
    assert row["p"] == pytest.approx(theirs.pvalue, abs=0.002)


def test_many_tags_are_each_held_against_the_rest(tmp_path: Path) -> None:
    task = _task({f"kind {i}": 4 for i in range(7)})
    runs = [_stored(tmp_path, task, {example.id: True for example in task.examples}, name) for name in ("one", "two")]
    interactions = compare(runs).interactions.query("metric == 'text'")
    assert list(interactions["tag"]) == [f"kind {i}" for i in range(7)]
    assert set(interactions["other_n"]) == {24}


def test_the_scale_of_a_models_scores_does_not_matter(tmp_path: Path) -> None:
    one, two = _two(tmp_path)
    task = _task({tag: sum(counts) for tag, counts in CELLS.items()})
    larger = Store(tmp_path).open(RunKey(task.name, task.revision, "larger", None, {}), task)
    table = two.table()
    RunWriter(larger).append(
        [ScoreMatrix(example_id, 1000 * score) for example_id, score in zip(table.ids, table.scores, strict=True)]
    )
    RunWriter(larger).settle(None)
    here, there = compare([one, two]).margins, compare([one, larger]).margins
    np.testing.assert_allclose(here["difference"], there["difference"])
    np.testing.assert_allclose(here["p"], there["p"])


def test_random_signs_depend_on_the_seed_alone(tmp_path: Path) -> None:
    runs = _two(tmp_path)
    one, again, other = (compare(runs, seed=seed) for seed in (1, 1, 2))
    assert one.margins.equals(again.margins)
    assert not one.margins.equals(other.margins)
    assert one.outcomes.equals(other.outcomes)


def test_three_runs_are_three_pairs_of_one_family(tmp_path: Path) -> None:
    one, two = _two(tmp_path)
    task = _task({tag: sum(counts) for tag, counts in CELLS.items()})
    three = _stored(tmp_path, task, {example.id: False for example in task.examples}, "three")
    outcomes = compare([one, two, three]).outcomes
    pairs = list(dict.fromkeys(zip(outcomes["a"], outcomes["b"], strict=True)))
    assert pairs == [("one", "two"), ("one", "three"), ("two", "three")]
    assert set(outcomes["n_tests"]) == {27, 9}
    text = compared.to_text(compare([one, two, three]), full=True)
    assert "A = two, B = three" in text


def test_shared_images_widen_the_interval_and_are_said(tmp_path: Path) -> None:
    cells = {"Object": (10, 20, 6, 4)}
    alone, shared = _task({"Object": 40}), _task({"Object": 40}, more={f"{i:04d}": f"g{i // 4}" for i in range(40)})
    a, b = _outcomes(alone, cells)
    rows = {}
    for name, task in (("alone", alone), ("shared", shared)):
        comparison = compare(
            [_stored(tmp_path / name, task, run_task, model) for run_task, model in ((a, "one"), (b, "two"))]
        )
        rows[name] = _row(comparison.outcomes, "overall")
    assert rows["shared"]["p"] > rows["alone"]["p"]
    assert rows["shared"]["low"] < rows["alone"]["low"]
    assert "10 groups have several examples" in " ".join(compared.to_text(comparison, full=True).split())
    assert comparison.interactions.empty


def test_a_comparison_needs_two_runs(tmp_path: Path) -> None:
    run = _two(tmp_path)[0]
    with pytest.raises(UsageError, match="needs two different runs, got 1"):
        compare([run, run])


def test_different_tasks_are_refused(tmp_path: Path) -> None:
    runs = [_stored(tmp_path, _task({"Object": 2}, name), {"0000": True, "0001": True}, "m") for name in ("a", "b")]
    with pytest.raises(UsageError, match="different tasks"):
        compare(runs)


def test_different_revisions_of_the_data_are_refused(tmp_path: Path) -> None:
    runs = [_stored(tmp_path, _task({"Object": n}), {"0000": True, "0001": True}, "m") for n in (2, 3)]
    with pytest.raises(UsageError, match="different revisions of the data"):
        compare(runs)


def test_unmatched_examples_are_counted_and_a_limit_reads_what_both_have(tmp_path: Path) -> None:
    task = _task({"Object": 10})
    ids = [example.id for example in task.examples]
    whole = _stored(tmp_path, task, dict.fromkeys(ids, True), "whole")
    part = _stored(tmp_path, task, dict.fromkeys(subset(ids, 4), False), "part")
    with pytest.raises(UsageError, match=r"4 examples are in both, 6 only in 'fake/whole'.*--limit 4"):
        compare([whole, part])
    outcomes = compare([whole.limited(4), part.limited(4)]).outcomes
    assert set(outcomes["n"]) == {4}
    assert "partial: 4 of 10 examples" in compared.to_text(compare([whole.limited(4), part.limited(4)]))


def test_runs_that_each_lack_something_are_counted_on_both_sides(tmp_path: Path) -> None:
    task = _task({"Object": 5})
    runs = [
        _stored(tmp_path, task, dict.fromkeys(ids, True), name)
        for name, ids in (("one", ("0000", "0001", "0002")), ("two", ("0002", "0003")))
    ]
    with pytest.raises(UsageError, match=r"1 examples are in both, 2 only in 'fake/one'.* and 1 only in 'fake/two'"):
        compare(runs)


def test_empty_runs_are_refused(tmp_path: Path) -> None:
    task = _task({"Object": 2})
    with pytest.raises(UsageError, match="no example of it is measured"):
        compare([_stored(tmp_path, task, {}, name) for name in ("one", "two")])


def test_target_weighting_and_timesteps_of_each_run_are_named_in_every_format(tmp_path: Path) -> None:
    """By the rule that the errors were read by, which may be another than the run's own."""
    run = planted.planted(tmp_path)
    other = compbench.run(planted.task(), model="chance", runs=tmp_path)
    for rule, target in ((None, "native"), (Rule("x0", draws=20), "x0")):
        comparison = compare([run, other], rule=rule)
        words = f"target:{target}|weighting:uniform|timesteps:50of0-980"
        for style in ("csv", "json"):
            assert words in compared.to_text(comparison, style)
        assert words in "".join(compared.to_text(comparison, full=True).split())
        said = " ".join(compared.to_text(comparison).split())
        assert "uniform weight, " + ("20 draws" if rule else "50 draws") + " of timesteps 50 of 0-980" in said
        group = comparison.outcomes.query("metric == 'group'").iloc[0]
        assert f"group score: {100 * group['value_a']:.1f} and" in said  # the verdict reads by the same rule


def test_different_protocols_are_marked(tmp_path: Path) -> None:
    task = _task({"Object": 4})
    done = {example.id: True for example in task.examples}
    runs = [_stored(tmp_path, task, done, "sd2", protocol=word, dtype="float16") for word in ("paper", "compbench")]
    text = " ".join(compared.to_text(compare(runs)).split())
    assert "PROTOCOLS: sd2 (paper protocol): paper protocol; sd2 (compbench protocol): compbench protocol." in text
    assert "float16" not in text.partition("Signatures")[0]
    assert "DIFFERENT" not in compared.to_text(compare([runs[0], _stored(tmp_path, task, done, "clip", dtype="x")]))


def test_examples_of_one_image_have_no_image_score(tmp_path: Path) -> None:
    base = [fakes.example(i) for i in range(4)]
    examples = tuple(
        Example(example.id, example.images[:1], example.captions, np.array([[True, False]])) for example in base
    )
    task = Task("narrow", examples, MATCHING)
    runs = []
    for name, score in (("one", [[1.0, 0.0]]), ("two", [[0.0, 1.0]])):
        run = Store(tmp_path).open(RunKey("narrow", task.revision, name, None, {}), task)
        RunWriter(run).append([ScoreMatrix(example.id, np.array(score)) for example in examples])
        RunWriter(run).settle(None)
        runs.append(run)
    comparison = compare(runs)
    assert set(comparison.outcomes["metric"]) == {"text"}
    assert comparison.outcomes["difference"].tolist() == [1.0]
    assert comparison.interactions.empty
    assert "A = one" in " ".join(compared.to_text(comparison, full=True).split())


@pytest.mark.parametrize("style", FORMATS)
def test_every_format_says_the_same(style: str, tmp_path: Path) -> None:
    text = compared.to_text(compare(_two(tmp_path)), style, full=True)
    assert "nan" not in text.lower()
    if style == "json":
        assert {row["test"] for row in json.loads(text)} == {"outcome", "margin", "interaction"}
    elif style == "csv":
        first = next(csv.DictReader(io.StringIO(text)))
        assert (first["tag"], first["only_a"], float(first["difference"])) == ("Object", "40", 0.32)
    else:
        assert "+32.0 [" in text
        assert "Both (20)†" in text
        assert "Newcombe" in text


def test_a_table_fits_a_wide_terminal(tmp_path: Path) -> None:
    text = compared.to_text(compare(_two(tmp_path)), full=True).split("Signatures")[0]
    assert max(map(len, text.splitlines())) <= 120


def test_the_command_compares_and_names_the_examples(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _two(tmp_path)
    command = ["compare", "fake/one", "fake/two", "--runs", str(tmp_path)]
    assert main(command) == 0
    assert capsys.readouterr().out.strip() == compared.to_text(compare(_two(tmp_path))).strip()
    assert main([*command, "--format", "csv", "--ids"]) == 0
    row = next(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(row["ids_only_a"].split(";")) == 40
    assert main([*command, "--ids"]) == 2
    assert "expected csv or json" in capsys.readouterr().err
    assert main([*command, "--by", "tga"]) == 2
    assert "did you mean 'tag'" in capsys.readouterr().err
    assert main([*command, "--limit", "20", "--format", "json"]) == 0
    assert {row["n"] for row in json.loads(capsys.readouterr().out) if row["tag"] == "overall"} == {20}
    assert main(["compare", "fake/one", "--runs", str(tmp_path)]) == 2
    assert "needs two different runs" in capsys.readouterr().err
