"""A way of reading under which nothing could be right, or that no stored error answers, is refused and not scored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

import compbench
from compbench import registry
from compbench.core.aliases import Json
from compbench.core.errors import UsageError
from compbench.core.examples import Task
from compbench.core.models import Runtime, Source
from compbench.core.rules import Rule
from compbench.diffusion.classifier import DiffusionClassifier
from compbench.diffusion.draws import seeded_bank
from compbench.store.run import Run
from compbench_analysis.frames import curves
from compbench_analysis.frames.margins import margins
from compbench_analysis.frames.signature import scored_by
from compbench_analysis.text import show
from noisy import N_BANK, Noisy, NoisySpec, pairs


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return compbench.run(pairs(), model=NoisySpec(), runs=tmp_path_factory.mktemp("nothing"))


def _of_one_caption(task: Task, n: int) -> Task:
    """The same with the first caption alone in its first `n` examples."""
    alone = [
        replace(example, captions=example.captions[:1], matches=example.matches[:, :1]) for example in task.examples[:n]
    ]
    return replace(task, examples=(*alone, *task.examples[n:]))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return compbench.run(_of_one_caption(pairs(), 2), model=NoisySpec(), runs=tmp_path_factory.mktemp("mixed"))


@dataclass(frozen=True)
class _SomeDraws(NoisySpec):
    """The same model and run, asked for fewer draws."""

    draws: int = N_BANK

    def view(self) -> Mapping[str, Json]:
        return {"n_draws": self.draws, "target": "native"}

    def build(self, source: Source | None, runtime: Runtime) -> DiffusionClassifier:
        return DiffusionClassifier(Noisy(), seeded_bank(0), self.draws, Runtime("cpu", 8, say=runtime.say))


def test_no_guidance_at_all_is_refused_since_every_caption_ties(run: Run) -> None:
    with pytest.raises(UsageError, match="guidance=0 is the prediction without a caption"):
        run.read(guidance=0)
    with pytest.raises(UsageError, match="guidance=0 is the prediction without a caption"):
        registry.model("tiny-sd", {"guidance": "0"})


@pytest.mark.parametrize("scale", [1e200, -1e200, 1e-300])
def test_guidance_beyond_what_its_square_can_hold_is_refused(scale: float) -> None:
    with pytest.raises(UsageError, match="is out of range; expected from 1e-06 to 1e"):
        Rule(guidance=scale)


def test_images_of_a_single_caption_are_not_normalised_by_it(mixed: Run) -> None:
    with pytest.raises(UsageError, match="2 examples have several images and a single caption"):
        mixed.read(normalise="captions")
    with pytest.raises(UsageError, match="cannot take normalise=captions on task"):
        compbench.run(
            _of_one_caption(pairs(), 1), model=registry.model("tiny-sd", {"normalise": "captions"})[1], runs=mixed.path
        )


def test_weights_of_0_on_all_that_is_read_are_refused(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "late.csv"
    path.write_text("t,weight\n0,0\n500,0\n501,1\n1000,1\n")
    assert run.read(weight=str(path)).table().scores.any()
    with pytest.raises(UsageError, match="draws that are read have no weight above 0"):
        run.read(weight=str(path), timesteps="0:400")


@pytest.mark.parametrize("weight", ["1e308", "1e-320", "inf"])
def test_weights_that_sums_of_errors_cannot_take_are_refused(run: Run, tmp_path: Path, weight: str) -> None:
    path = tmp_path / "w.csv"
    path.write_text(f"t,weight\n0,1\n1000,{weight}\n")
    with pytest.raises(UsageError, match=r"line 3 .* a weight of 0, or from 1e-100 to 1e"):
        run.read(weight=str(path))


@pytest.mark.parametrize(
    "content",
    [
        b"t,weight\r0,1\r500,3.5\r1000,1\r",
        b"\xef\xbb\xbft,weight\r\n\r\n0,1\r\n500,3.5\r\n1000,1\r\n\r\n",
        b"T; Weight\n0;1\n500;3,5\n1000;1\n",
        "t,weight\n0,1\n500,3.5\n1000,1\n".encode("utf-16"),
    ],
)
def test_a_table_of_weights_is_the_same_whichever_program_saved_it(run: Run, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "plain.csv").write_text("t,weight\n0,1\n500,3.5\n1000,1\n")
    (tmp_path / "w.csv").write_bytes(content)
    found, expected = (run.read(weight=str(tmp_path / name)) for name in ("w.csv", "plain.csv"))
    assert found.rule.table == expected.rule.table
    assert np.array_equal(found.table().scores, expected.table().scores)


def test_a_table_with_a_stray_quote_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "w.csv").write_text('t,weight\n"0,1\n1000,1\n')
    with pytest.raises(UsageError, match="cannot be read"):
        run.read(weight=str(tmp_path / "w.csv"))


# a rule given to a function of a run is held to what one given to `read` is


_READERS: list[Callable[..., Any]] = [Run.table, Run.to_frame, Run.summary, curves.by_draws, margins]


@pytest.mark.parametrize("reader", _READERS)
@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (Rule(draws=N_BANK + 1), "cannot be read with draws="),
        (Rule(unconditional=True), "none without a caption"),
        (Rule(timesteps="2000:"), "no draw that is read has a timestep in 2000:"),
        (Rule(loss="l1"), "holds no errors 'l1'"),
    ],
)
def test_a_rule_that_nothing_stored_answers_is_refused_everywhere(
    run: Run, reader: Callable[..., Any], rule: Rule, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        reader(run, rule=rule)


def test_that_a_rule_changes_nothing_for_a_run_of_scores_is_said_once(tmp_path: Path) -> None:
    heard: list[str] = []
    run = compbench.run(pairs(), model="chance", runs=tmp_path).heard(heard.append)
    assert run.to_frame(Rule("eps")).equals(run.to_frame())
    run.table(Rule("eps"))
    assert heard == ["pairs/chance stores scores: target=eps, loss=l2 changes nothing for it"]


@pytest.mark.parametrize("draws", [0, -3, 2.5, True])
def test_a_number_of_draws_is_a_whole_one(draws: Any) -> None:
    with pytest.raises(UsageError, match=r"draws cannot be .*; expected a whole number, at least 1"):
        Rule(draws=draws)


@pytest.mark.parametrize("asked", [{"timesteps": "::3"}, {"timesteps": "200:500"}, {"normalise": "captions"}])
def test_a_rule_without_a_number_of_draws_reads_those_that_are_stored(run: Run, asked: dict[str, Any]) -> None:
    first = run.read(draws=8)
    found, expected = run.table(Rule(**asked)), run.read(**asked).table()
    assert np.array_equal(found.scores, expected.scores)
    assert np.array_equal(first.table(Rule(draws=8, **asked)).scores, first.read(**asked).table().scores)


def test_examples_of_more_draws_than_others_are_normalised_like_them(tmp_path: Path) -> None:
    task = pairs()
    compbench.run(task, model=_SomeDraws(draws=4), runs=tmp_path)
    run = compbench.run(task, model=_SomeDraws(draws=8), limit=3, runs=tmp_path)
    alone = compbench.run(task, model=_SomeDraws(draws=4), runs=tmp_path / "alone").read(normalise="captions")
    found = run.read(limit=len(task.examples), draws=4, normalise="captions")
    assert np.array_equal(found.table().scores, alone.table().scores)
    assert found.to_frame()["image"].tolist() == alone.to_frame()["image"].tolist()


@pytest.mark.parametrize("size", [0, -1, 2.0, True])
def test_a_subset_has_at_least_one_example(run: Run, size: Any) -> None:
    with pytest.raises(UsageError, match=r"limit cannot be .*; expected a whole number, at least 1"):
        run.read(limit=size)


@pytest.mark.parametrize("name", ["nosuch", "table"])
def test_a_way_of_reading_that_there_is_not_is_told(run: Run, name: str) -> None:
    with pytest.raises(UsageError, match=f"no way of reading a run named '{name}'"):
        run.read(**cast(Any, {name: ((0.0, 1.0),)}))


def test_the_target_of_a_published_weight_goes_with_it(run: Run) -> None:
    assert run.read(weight="elbo").read(weight="uniform").rule == run.rule
    assert run.read(weight="elbo").read(weight="uniform", target="eps").rule.target == "eps"
    assert run.read(target="eps").read(weight="uniform").rule.target == "eps"


@pytest.mark.parametrize("scope", ["", "tiny-sd."])
def test_an_option_of_two_values_is_refused(run: Run, scope: str) -> None:
    from compbench.registry.names import parse_options
    from compbench.store.reading import settings_of

    with pytest.raises(UsageError, match="'draws' is given as 4 and as 5"):
        settings_of(["draws=4", "draws=5"])
    assert settings_of(["draws=4", "draws=4"]) == {"draws": 4}
    models = [registry.model("tiny-sd")]
    with pytest.raises(UsageError, match="'draws' is given as '4' and as '5'"):
        parse_options([f"{scope}draws=4", f"{scope}draws=5"], models)
    assert parse_options(["draws=4", "tiny-sd.draws=5"], models) == {"tiny-sd": {"draws": "5"}}


# what a table says


def test_a_table_says_how_many_draws_lie_within_the_window(run: Run) -> None:
    assert scored_by(run, replace(run.rule, timesteps="::1000")).endswith("timesteps ::1000 of these (1 draw)")
    assert f"{N_BANK} draws of" in scored_by(run, run.rule)
    assert ", 1 draw of" in scored_by(run, replace(run.rule, draws=1))


def test_metrics_of_other_examples_each_say_how_many(mixed: Run) -> None:
    n = len(pairs().examples)
    assert f"{n - 2} / {n} / {n - 2}" in show.to_text([mixed])
