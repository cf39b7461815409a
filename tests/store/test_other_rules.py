"""A stored run is read under every rule that its errors answer, as an option of whatever reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import compbench
from compbench.core.errors import UsageError
from compbench.core.rules import Rule
from compbench.store._learned_weights import _bins
from compbench.store.run import Run
from compbench_analysis.frames import curves
from compbench_analysis.frames.margins import margins
from compbench_analysis.frames.signature import scored_by, signature
from compbench_analysis.frames.tables import tidy
from compbench_analysis.text import show
from noisy import N_BANK, NoisySpec, pairs
from planted import planted


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return compbench.run(pairs(), model=NoisySpec(), runs=tmp_path_factory.mktemp("rules"))


def _literal(run: Run, weight: np.ndarray) -> dict[str, np.ndarray]:
    """Scores by a plain loop: minus the mean over the draws with a weight."""
    kept = np.flatnonzero(weight)
    return {
        name: -np.array(
            [
                [sum(weight[d] * float(pair[d]) for d in kept) / len(kept) for pair in row]
                for row in measurement.errors["l2"]
            ]
        )
        for name, measurement in run.measurements().items()
    }


def _inside(t: np.ndarray) -> np.ndarray:
    return ((t >= 200) & (t <= 800)) * 1.0


def _every_second(t: np.ndarray) -> np.ndarray:
    return (np.argsort(np.argsort(t)) % 2 == 0) * 1.0


@pytest.mark.parametrize(
    ("asked", "weight"),
    [
        ({"timesteps": "200:800"}, _inside),
        ({"timesteps": "::2"}, _every_second),
    ],
)
def test_a_window_gives_the_scores_margins_and_curves_of_the_draws_within(
    run: Run, asked: dict[str, Any], weight: Any
) -> None:
    read = run.read(**asked)
    of_draw = weight(run.draws().timesteps[:N_BANK])
    expected = _literal(run, of_draw)
    table = read.table()
    for name, scores in zip(table.ids, table.scores, strict=True):
        assert scores == pytest.approx(expected[name], rel=1e-9)
    frame = read.to_frame().set_index("id")
    found = margins(read).query("metric == 'text'").set_index("id")
    assert found["margin"].to_numpy() == pytest.approx(frame.loc[found.index, "text_margin"].to_numpy(), rel=1e-9)
    assert set(found["n_draws"]) == {int(of_draw.sum())}
    last = curves.by_draws(read).query("metric == 'text' and tag == 'overall'").iloc[-1]
    assert (last["n_draws"], last["value"]) == (int(of_draw.sum()), frame["text"].mean())


def test_a_published_weighting_needs_no_target_and_says_which_it_has(run: Run) -> None:
    read = run.read(weight="min-snr-5")
    assert (read.rule.target, read.rule.weight) == ("x0", "min-snr-5")
    by_rule = curves.by_rule(run).query("rule == 'min-snr-5' and metric == 'text' and tag == 'overall'").iloc[0]
    assert by_rule["value"] == read.to_frame()["text"].mean()
    assert "|target:x0|weighting:min-snr-5|" in signature(read)
    assert "squared error in x0, min-snr-5 weight" in show.to_text([read])


def test_a_published_weighting_is_of_the_squared_error_whatever_the_run_is_read_by(run: Run) -> None:
    assert run.read(loss="norm").read(weight="elbo").rule == run.read(weight="elbo").rule
    with pytest.raises(UsageError, match="cannot weigh loss=norm"):
        run.read(weight="elbo", loss="norm")


def test_every_result_names_target_weighting_and_timesteps(run: Run) -> None:
    assert "|target:native|weighting:uniform|timesteps:" in signature(run)
    assert scored_by(run, run.rule).startswith("squared error in the network's own target, uniform weight, ")
    narrowed = run.read(timesteps="200:800:2", normalise="captions")
    assert "|normalise:captions|weighting:uniform|window:200:800:2|timesteps:0-999|" in signature(narrowed)


def test_the_mean_over_captions_normalises_images_and_leaves_text_alone(run: Run) -> None:
    plain, read = run.to_frame(), run.read(normalise="captions").to_frame()
    assert read["text"].tolist() == plain["text"].tolist()
    assert read["image_raw"].tolist() == plain["image"].tolist()
    scores = run.table().scores
    gained = scores - scores.mean(2, keepdims=True)
    by_hand = (gained[:, 0, 0] > gained[:, 1, 0]) & (gained[:, 1, 1] > gained[:, 0, 1])
    assert read["image"].tolist() == by_hand.tolist()
    matched = scores[:, 0, 0] + scores[:, 1, 1] > scores[:, 0, 1] + scores[:, 1, 0]
    assert by_hand.tolist() == matched.tolist()  # one comparison, which random scores pass half of the time


def test_images_normalised_by_their_captions_have_no_chance_level_of_four_scores(run: Run) -> None:
    chance_of = {row["metric"]: row["chance"] for row in tidy(run.read(normalise="captions")).to_dict("records")}
    assert (chance_of["text"], chance_of["image_raw"]) == (0.25, 0.25)
    assert np.isnan(chance_of["image"])
    assert np.isnan(chance_of["group"])


def test_a_table_in_a_file_is_read_and_its_digest_is_in_the_signature(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "late.csv"
    path.write_text("t,weight\n0,0\n499,0\n500,1\n1000,1\n")
    read, window = run.read(weight=str(path)), run.read(timesteps="500:")
    t = run.draws().timesteps[:N_BANK]
    assert not ((t > 499) & (t < 500)).any()
    assert read.to_frame()["text"].tolist() == window.to_frame()["text"].tolist()
    assert "|weighting:late.csv@" in signature(read)
    before = signature(read)
    path.write_text("t,weight\n0,0\n1000,1\n")
    assert signature(run.read(weight=str(path))) != before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("time,weight\n0,1\n", "expected the columns t,weight"),
        ("t,weight\n0,1\n0,2\n", "line 3"),
        ("t,weight\n0,-1\n", "line 2"),
        ("t,weight\n0,nan\n", "line 2"),
        ("t,weight\n0,0\n1000,0\n", "no weight above 0"),
        ("t,weight\n400,1\n500,1\n", "weights for timesteps 400 to 500"),
        ("", "expected the columns"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(run: Run, tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "w.csv"
    path.write_text(content)
    with pytest.raises(UsageError, match=message):
        run.read(weight=str(path))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"weight": "elbow"}, "no weighting named 'elbow'; expected uniform, elbo, .*, learned:SHARE"),
        ({"weight": "absent.csv"}, "cannot be read"),
        ({"timesteps": "5:1"}, "timesteps cannot be '5:1'"),
        ({"timesteps": "2000:3000"}, "no draw that is read has a timestep in 2000:3000"),
        ({"normalise": "zebra"}, "expected captions or none"),
        ({"guidance": 3.0}, "rerun its command with -o guidance=3 to measure them"),
        ({"loss": "huber"}, "rerun its command with -o loss=huber to measure them"),
        ({"weight": "learned:2"}, "names no split"),
        ({"weight": "learned:axis=up"}, "no example has axis=up"),
    ],
)
def test_what_a_run_lacks_is_refused_with_the_command_that_measures_it(
    run: Run, asked: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        run.read(**asked)


def test_reading_a_smaller_subset_keeps_the_rule(run: Run) -> None:
    assert run.read(timesteps="200:800").read(limit=3).rule.timesteps == "200:800"


def test_learned_weights_find_the_timesteps_that_tell_and_leave_out_what_they_learned_from(tmp_path: Path) -> None:
    run = planted(tmp_path)
    heard: list[str] = []
    read = run.heard(heard.append).read(weight="learned:0.5")
    t = run.draws().timesteps
    weights = Rule(draws=len(t), weight=read.rule.weight, table=read.rule.table).weights(run.draws())
    informative = (t >= 400) & (t < 600)
    assert weights[informative].min() > 10 * weights[~informative].max()
    assert not read.done() & read.left_out
    assert len(read.done()) + len(read.left_out) == run.info.n_task_examples
    assert "left out of the score" in heard[0]
    ids = sorted(read.done())
    by_uniform, by_learned = (reading.to_frame().set_index("id").loc[ids, "text"].mean() for reading in (run, read))
    assert by_learned > 0.9
    assert by_uniform < 0.7
    text = show.to_text([read])
    assert "the weights were learned from the other" in text
    assert f"|weighting:{read.rule.weight}|" in signature(read)
    again = run.read(weight="learned:0.5")
    assert (again.rule, again.left_out) == (read.rule, read.left_out)


def test_a_learned_weight_is_of_all_draws_of_a_timestep() -> None:
    timesteps = np.repeat(np.array([900.0, 100.0, 500.0, 300.0, 700.0, 200.0, 800.0, 400.0]), 2)  # antithetic pairs
    bins = _bins(np.arange(16), timesteps)
    assert [timesteps[some].tolist() for some in bins] == [[t, t] for t in sorted(set(timesteps.tolist()))]
    many = np.random.default_rng(0).permutation(1000).astype(float)
    assert [len(some) for some in _bins(np.arange(64), many)] == [7] * 4 + [6] * 6
    assert np.array_equal(np.concatenate(_bins(np.arange(64), many)), np.argsort(many[:64]))


def test_weights_are_learned_on_the_examples_of_a_tag(tmp_path: Path) -> None:
    run = planted(tmp_path)
    read = run.read(weight="learned:half=first")
    examples = run.examples().set_index("id")
    assert read.left_out == {name for name, tags in examples["tags"].items() if "first" in tags["half"]}
