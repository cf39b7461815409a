"""The norm as a loss: DiffusionITM's rule from stored squared errors, apart from our own gain of squared errors."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import compbench
from compbench.core import rules
from compbench.core.errors import UsageError
from compbench.core.measurements import DrawTable, Measurement
from compbench.core.rules import Rule
from compbench.diffusion.families import stable_diffusion
from compbench.schedules.racing import Racing
from compbench.store.run import Run
from compbench_analysis.frames import curves
from compbench_analysis.text import show
from compbench_analysis.text.cite import citations
from noisy import N_BANK, NoisySpec, pairs

DRAWS = DrawTable(np.array([0.0, 500.0]), np.float32([0.8, 0.6]), np.float32([0.6, 0.8]), "v")


def _measured() -> Measurement:
    errors = np.float32([[[4.0, 9.0], [1.0, 25.0]], [[9.0, 1.0], [16.0, 0.25]]])  # [I, C, D]
    without = np.float32([[16.0, 36.0], [4.0, 1.0]])
    errors = np.concatenate([errors, without[:, None]], axis=1)
    return Measurement("a", np.arange(2), {"l2": errors}, np.ones((2, 3, 2), bool), has_null_caption=True)


def test_scores_are_minus_the_mean_of_the_roots() -> None:
    found = rules.score(_measured(), DRAWS, Rule(loss="norm"))
    assert found.scores.tolist() == [[-2.5, -3.0], [-2.0, -2.25]]
    squared = rules.score(_measured(), DRAWS, Rule())
    assert squared.scores.tolist() == [[-6.5, -13.0], [-5.0, -8.125]]


def test_without_a_caption_the_roots_are_compared_too() -> None:
    found = rules.score(_measured(), DRAWS, Rule(loss="norm", unconditional=True))
    assert found.unconditional is not None
    assert found.unconditional.tolist() == [-5.0, -1.5]
    # what a caption brings: text scores are untouched
    assert (found.scores - found.unconditional[:, None]).tolist() == [[2.5, 2.0], [-0.5, -0.75]]


def test_a_target_weighs_the_root_by_the_root_of_its_weight() -> None:
    found = rules.score(_measured(), DRAWS, Rule("eps", loss="norm"))
    assert found.scores[0, 0] == pytest.approx(-(0.8 * 2 + 0.6 * 3) / 2)


def test_the_norm_is_that_of_the_residual_over_the_root_of_its_size() -> None:
    residual = np.random.default_rng(0).normal(size=(4, 8, 8))
    stored = float((residual**2).mean())
    assert Rule(loss="norm").of_stored([np.array([stored])])[0] == pytest.approx(
        float(np.linalg.norm(residual)) / math.sqrt(residual.size)
    )


def _literal(run: Run, *, is_image: bool) -> dict[str, bool]:
    """DiffusionITM's decisions by a plain loop over what is stored."""
    outcomes: dict[str, bool] = {}
    for name, measurement in run.measurements().items():
        n_draws = len(measurement.draw_ids)
        score = [[0.0, 0.0], [0.0, 0.0]]
        for image in range(2):
            for caption in range(2):
                for draw in range(n_draws):
                    score[image][caption] -= math.sqrt(float(measurement.errors["l2"][image, caption, draw])) / n_draws
                    if is_image:
                        assert measurement.has_null_caption
                        score[image][caption] += math.sqrt(float(measurement.errors["l2"][image, -1, draw])) / n_draws
        if is_image:
            outcomes[name] = score[0][0] > score[1][0] and score[1][1] > score[0][1]
        else:
            outcomes[name] = score[0][0] > score[0][1] and score[1][1] > score[1][0]
    return outcomes


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    options = {"draws": 3, "unconditional": True, "loss": "norm"}
    root = tmp_path_factory.mktemp("norm")
    return compbench.run("shapes", model="tiny-sd", options=options, limit=16, runs=root)


def test_a_run_agrees_with_a_plain_loop(run: Run) -> None:
    frame = run.to_frame().set_index("id")
    assert frame["image"].to_dict() == _literal(run, is_image=True)
    assert frame["text"].to_dict() == _literal(run, is_image=False)
    squared = run.to_frame(Rule("native", 3, unconditional=True)).set_index("id")
    assert not np.allclose(squared["image_margin"], frame["image_margin"])


def test_it_reads_what_is_stored_and_measures_nothing_again(run: Run) -> None:
    n_parts = len(run.parts())
    options = {"draws": 3, "unconditional": True, "loss": "l2"}
    again = compbench.run("shapes", model="tiny-sd", options=options, limit=16, runs=run.path.parents[2])
    assert again.path == run.path
    assert len(again.parts()) == n_parts
    back = compbench.run(
        "shapes", model="tiny-sd", options={**options, "loss": "norm"}, limit=16, runs=run.path.parents[2]
    )
    assert len(back.parts()) == n_parts
    assert run.losses() == ("l2",)


def test_it_is_signed_and_cited_under_its_own_name(run: Run) -> None:
    text = show.to_text([run], full=True)
    assert "|loss:norm|unconditional:true|" in text
    assert "krojer2023diffusion" in citations(run)
    assert "krojer2023diffusion" not in citations(_plain(run))


def _plain(run: Run) -> Run:
    return compbench.run("shapes", model="tiny-sd", options={"draws": 1}, limit=1, runs=run.path.parents[2] / "plain")


def test_the_rules_of_a_run_have_the_norm_beside_the_square(run: Run) -> None:
    frame = curves.by_rule(run)
    row = frame[(frame["rule"] == "norm, native") & (frame["tag"] == "overall") & (frame["metric"] == "image")].iloc[0]
    assert row["value"] == run.to_frame()["image"].mean()
    assert "DiffusionITM" in row["source"]


def test_scores_alone_are_those_of_the_errors(run: Run, tmp_path: Path) -> None:
    options = {"draws": 3, "unconditional": True, "loss": "norm"}
    kept = compbench.run("shapes", model="tiny-sd", options=options, limit=4, runs=tmp_path, keep="scores")
    frame, whole = kept.to_frame().set_index("id"), run.to_frame().set_index("id")
    assert frame["image_margin"].to_numpy() == pytest.approx(
        whole.loc[frame.index, "image_margin"].to_numpy(), rel=1e-5
    )


@pytest.mark.parametrize("model", [stable_diffusion.SD2, stable_diffusion.TINY_SD])
def test_its_identity_is_that_of_the_squared_error(model: stable_diffusion.StableDiffusion) -> None:
    assert replace(model, loss="norm").identity() == replace(model, loss="l2").identity()
    assert replace(model, loss="norm").view()["reduction"] == "norm"


class _ByNorm(NoisySpec):
    def view(self) -> dict[str, Any]:
        return {**super().view(), "reduction": "norm"}


def test_a_race_by_the_norm_ends_where_all_its_draws_would(tmp_path: Path) -> None:
    race = Racing(N_BANK, loss="norm", risk=0.0)
    raced = compbench.run(pairs(), model=_ByNorm(race), runs=tmp_path)
    whole = compbench.run(pairs(), model=NoisySpec(), runs=tmp_path)
    by_norm = whole.to_frame(Rule("native", N_BANK, "norm")).set_index("id")
    found = raced.to_frame().set_index("id")
    assert found["text"].to_dict() == by_norm["text"].to_dict()
    with pytest.raises(UsageError, match="cannot be read by another"):
        raced.table(Rule("native", N_BANK))
