"""What racing promises in words is what its bounds keep: the asymptotic one only under its assumption."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import compbench
from compbench.diffusion.families import dit, stable_diffusion
from compbench.schedules._bets import Anytime
from compbench.schedules._bounds import Asymptotic, Bound
from compbench.schedules._race_captions import CaptionRace
from compbench.schedules.racing import Racing
from compbench.schedules.strata import N_STRATA, strata
from compbench.store import run_file
from compbench_analysis.text import _racing, show
from noisy import N_BANK, NoisySpec, pairs

RISK, N_BANK_UNKIND = 0.05, 1000
ONE_IMAGE = np.array([[True, False]])
PAGE = Path(__file__).parents[2] / "docs" / "racing.md"


def _unkind(rng: np.random.Generator, share: float, size: float) -> np.ndarray:
    """[1, 2, D] errors: in most draws the false caption has the lower error by a little; in a few it is far worse."""
    n_rare = round(share * N_BANK_UNKIND)
    differences = rng.normal(-0.15, 0.1, N_BANK_UNKIND)  # against the true caption
    differences[rng.permutation(N_BANK_UNKIND)[:n_rare]] = size
    return np.stack([np.zeros(N_BANK_UNKIND), differences])[None]


def _changed(bound: str, n: int = 60) -> int:
    """How many of n races of an unkind population end otherwise than the whole bank."""
    rng, changed = np.random.default_rng(0), 0
    for number in range(n):
        errors = _unkind(rng, 0.02, 10.0)
        its = strata(
            np.arange(N_BANK_UNKIND), seed=0, example_id=str(number), n_strata=1 if bound == "anytime" else N_STRATA
        )
        test: Bound = Anytime(its, float(np.abs(errors).max())) if bound == "anytime" else Asymptotic(its)
        verdict = CaptionRace(ONE_IMAGE, test, RISK, ["text"]).verdict(errors, np.ones(errors.shape, bool))
        is_right = bool(errors[0, 0].mean() < errors[0, 1].mean())
        assert is_right  # 2 % of the draws carry the whole difference
        changed += verdict.outcomes["text"].is_right != is_right
    return changed


def test_rare_large_one_sided_differences_deceive_the_asymptotic_bound_and_not_the_anytime_one() -> None:
    n = 60
    assert _changed("asymptotic", n) > 0.3 * n
    assert stats.binom.sf(_changed("anytime", n) - 1, n, RISK) > 0.01


@pytest.mark.parametrize("bound", ["asymptotic", "anytime"])
def test_what_is_printed_of_a_race_names_what_its_risk_rests_on(bound: str, tmp_path: Path) -> None:
    race = Racing(N_BANK, bound=bound, max_difference=3.5 if bound == "anytime" else None)
    run = compbench.run(pairs(4), model=NoisySpec(race), runs=tmp_path)
    text = " ".join(show.to_text([run], full=True).split())
    assert not re.search(r"at most|≤|never|guarantee", _racing.saved(run, "noisy").replace("bound=guaranteed", ""))
    if bound == "asymptotic":
        assert "hold approximately, where the differences between errors have no rare, large, one-sided part" in text
        assert "bound=pooled holds if the same draws are heavy for all examples" in text
    else:
        assert "kept if no two errors of an example differ by more than 3.5 under one draw" in text


@pytest.mark.parametrize(("times", "is_told"), [(1.5, False), (2.5, True)])
def test_a_tolerance_says_when_its_first_wave_had_little_in_common(times: float, is_told: bool, tmp_path: Path) -> None:
    race = Racing(N_BANK, bound="pooled", n_wave=4, tolerance=0.02)
    run = compbench.run(pairs(6), model=NoisySpec(race), runs=tmp_path)
    words = run_file.words(run.path)
    words["wave"]["lesson"]["pattern"]["inflation"] = [1.0, times]
    run_file.write(run.path, words)
    told = " ".join(show.to_text([compbench.load_run(run.path)], full=True).split())
    assert f"times up to {times:.2f}" in told
    assert ("the wave's examples are unlike each other" in told) == is_told


@pytest.mark.parametrize(
    ("floor", "told"),
    [(N_BANK, "every example was measured in full."), (9, f"none was decided before 9 of its {N_BANK} draws.")],
)
def test_a_tolerance_says_when_heavy_draws_of_examples_own_held_decisions_back(
    floor: int, told: str, tmp_path: Path
) -> None:
    race = Racing(N_BANK, bound="pooled", n_wave=4, tolerance=0.02)
    run = compbench.run(pairs(6), model=NoisySpec(race), runs=tmp_path)
    words = run_file.words(run.path)
    assert "decisive" not in words["wave"]["lesson"]["pattern"]
    words["wave"]["lesson"]["pattern"] |= {"decisive": 3, "floor": floor}
    run_file.write(run.path, words)
    text = " ".join(show.to_text([compbench.load_run(run.path)], full=True).split())
    assert f"heavy draws of their own, about 3 of which decide an example, so {told}" in text


def test_without_risk_it_is_said_that_none_differs(tmp_path: Path) -> None:
    run = compbench.run(pairs(4), model=NoisySpec(Racing(N_BANK, risk=0.0)), runs=tmp_path)
    assert _racing.saved(run, "noisy").endswith("At risk 0, no outcome differs.")


@pytest.mark.parametrize("spec", [stable_diffusion.StableDiffusion, dit.DiT])
def test_the_help_of_risk_says_when_it_is_kept(spec: type) -> None:
    helps = {field_.name: str(field_.metadata.get("help")) for field_ in dataclasses.fields(spec)}
    assert "if `bound` holds" in helps["risk"]
    assert "at most" not in helps["risk"]
    assert "studentised" in helps["bound"]
    assert "certain" not in helps["schedule"]


def test_the_page_on_racing_says_when_the_risk_is_kept() -> None:
    text = " ".join(PAGE.read_text(encoding="utf-8").split())
    assert "with probability `risk` at most" not in text
    rows = [line.split("|")[1:-1] for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    kept = {bound.strip().split("`")[1]: (how.strip(), of_what) for bound, how, of_what, _ in rows}
    assert kept.keys() >= {"pooled", "guaranteed", "asymptotic", "anytime"}
    assert kept["pooled"][0] == kept["asymptotic"][0] == "approximately"
    assert "one-sided" in kept["asymptotic"][1]
