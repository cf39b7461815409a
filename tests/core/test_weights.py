"""Weightings over the timesteps: published ones against numbers worked by hand, and the laws that any weight keeps."""

from __future__ import annotations

import numpy as np
import pytest

from compbench.core.errors import UsageError
from compbench.core.measurements import DrawTable, Measurement
from compbench.core.rules import TARGETS, Rule, score
from compbench.core.weights import NAMED, Window

TIMESTEPS = np.array([500.0, 0.0, 999.0, 250.0])  # a bank's order is none of time's
ALPHA = np.array([0.6, 0.96, 0.28, 0.8], np.float32)
SIGMA = np.array([0.8, 0.28, 0.96, 0.6], np.float32)
SNR = (np.array([0.6, 0.96, 0.28, 0.8]) / np.array([0.8, 0.28, 0.96, 0.6])) ** 2
ERRORS = np.array(
    [[[1.0, 2.0, 3.0, 4.0], [2.0, 1.0, 3.5, 4.5]], [[0.5, 2.5, 1.0, 2.0], [0.25, 3.0, 2.0, 1.0]]], np.float32
)


def bank(target: str = "x0") -> DrawTable:
    return DrawTable(TIMESTEPS, ALPHA, SIGMA, target)


def measured() -> Measurement:
    return Measurement("a", np.arange(4), {"l2": ERRORS}, np.ones(ERRORS.shape, bool))


def scores(rule: Rule, draws: DrawTable | None = None) -> np.ndarray:
    return score(measured(), draws or bank(), rule).scores


def test_the_elbo_is_the_sum_worked_by_hand() -> None:
    # half of each fall of the SNR: 0 -> 250 -> 500 -> 999; timestep 0, before which it diverges, has that of 250
    falls = {
        0: (SNR[1] - SNR[3]) / 2,
        250: (SNR[1] - SNR[3]) / 2,
        500: (SNR[3] - SNR[0]) / 2,
        999: (SNR[0] - SNR[2]) / 2,
    }
    by_hand = 1 * falls[500] + 2 * falls[0] + 3 * falls[999] + 4 * falls[250]
    assert -4 * scores(Rule("x0", weight="elbo"))[0, 0] == pytest.approx(by_hand, rel=1e-6)


def test_the_elbo_of_the_first_draws_takes_the_steps_of_the_whole_bank() -> None:
    whole = Rule("x0", weight="elbo").weights(bank())
    assert Rule("x0", draws=2, weight="elbo").weights(bank()).tolist() == whole.tolist()


@pytest.mark.parametrize(
    ("weight", "of_x0"),
    [
        ("snr", SNR),
        ("truncated", np.maximum(SNR, 1)),
        ("min-snr-5", np.minimum(SNR, 5)),
        ("min-snr-0.5", np.minimum(SNR, 0.5)),
        ("exp(-7t)", np.exp(-7 * TIMESTEPS / 1000)),
    ],
)
def test_a_published_weighting_multiplies_the_error_in_x0_whatever_the_network_predicts(
    weight: str, of_x0: np.ndarray
) -> None:
    assert Rule("x0", weight=weight).weights(bank("x0")) == pytest.approx(of_x0, rel=1e-6)
    in_eps = Rule("x0", weight=weight).weights(bank("eps"))
    assert in_eps == pytest.approx(of_x0 / SNR, rel=1e-6)  # |x0 - x0_hat|^2 = |eps - eps_hat|^2 / SNR


def test_the_snr_as_a_weight_is_the_error_in_eps() -> None:
    assert scores(Rule("x0", weight="snr")) == pytest.approx(scores(Rule("eps")), rel=1e-6)


def test_the_weightings_of_a_flow_are_those_of_its_sigma() -> None:
    flow = DrawTable(
        np.array([250.0, 500.0]), np.array([0.75, 0.5], np.float32), np.array([0.25, 0.5], np.float32), "flow"
    )
    assert Rule("flow", weight="sigma-sqrt").weights(flow) == pytest.approx([16, 4])
    assert Rule("flow", weight="cosmap").weights(flow) == pytest.approx([2 / np.pi / 0.625, 2 / np.pi / 0.5])
    # uniform in sigma the ELBO weighs |u - u_hat|^2 by (1 - sigma) / sigma; on a fine grid that is what the falls are
    fine = np.arange(1, 1001) / 1000
    grid = DrawTable(1000 * fine, (1 - fine).astype(np.float32), fine.astype(np.float32), "flow")
    found = Rule("x0", weight="elbo").weights(grid)[100:900] * 1000
    assert found == pytest.approx(((1 - fine) / fine)[100:900], rel=0.02)


@pytest.mark.parametrize("target", TARGETS[:4])
def test_a_uniform_weight_and_a_window_of_all_timesteps_change_no_bit(target: str) -> None:
    plain = scores(Rule(target))
    for rule in (Rule(target, weight="uniform"), Rule(target, timesteps="0:999"), Rule(target, timesteps=":")):
        assert scores(rule).tobytes() == plain.tobytes()


def test_a_table_that_is_flat_decides_as_no_table_and_its_scale_decides_nothing() -> None:
    plain = scores(Rule("eps"))
    for height in (0.001, 7.0):
        flat = scores(Rule("eps", weight="flat", table=((0, height), (999, height))))
        assert flat / height == pytest.approx(plain)
    uneven = ((0.0, 1.0), (250.0, 0.0), (999.0, 2.0))
    tenfold = tuple((t, 10 * w) for t, w in uneven)
    one, ten = (scores(Rule(weight="w", table=table)) for table in (uneven, tenfold))
    assert (10 * one) == pytest.approx(ten)


def test_a_table_is_read_on_straight_lines_and_never_beyond_its_ends() -> None:
    weights = Rule(weight="w", table=((0.0, 1.0), (1000.0, 3.0))).weights(bank())
    assert weights == pytest.approx(1 + 2 * TIMESTEPS / 1000)
    with pytest.raises(UsageError, match="weights for timesteps 100 to 1000; those that are read lie from 0 to 999"):
        Rule(weight="w", table=((100.0, 1.0), (1000.0, 3.0))).weights(bank())
    narrowed = Rule(weight="w", timesteps="100:", table=((100.0, 1.0), (1000.0, 1.0))).weights(bank())
    assert narrowed.tolist() == pytest.approx([4 / 3, 0, 4 / 3, 4 / 3])


def test_a_window_is_the_mean_over_the_draws_within() -> None:
    inside = -ERRORS[..., [0, 3]].astype(float).mean(-1)  # 500 and 250
    assert scores(Rule(timesteps="200:800")) == pytest.approx(inside)
    every_second = -ERRORS[..., [1, 0]].astype(float).mean(-1)  # 0, then 500
    assert scores(Rule(timesteps="::2")) == pytest.approx(every_second)
    first_two = Rule(draws=2, timesteps="200:800")  # of the first two draws, 500 and 0, one lies within
    assert scores(first_two) == pytest.approx(-ERRORS[..., 0].astype(float))


def test_a_window_without_a_draw_is_refused_with_what_there_is() -> None:
    with pytest.raises(
        UsageError, match="no draw that is read has a timestep in 300:400; the 4 draws lie from 0 to 999"
    ):
        Rule(timesteps="300:400").weights(bank())
    for text in ("200", "a:b", "800:200", "0:9:0", "1:2:3:4"):
        with pytest.raises(UsageError, match="timesteps cannot be"):
            Window.parse(text)


def test_a_published_weighting_is_refused_beside_another_target_or_loss() -> None:
    for rule in ({"target": "eps"}, {"target": "native"}, {"target": "x0", "loss": "norm"}):
        with pytest.raises(UsageError, match="weight=elbo is of the squared error in x0"):
            Rule(**rule, weight="elbo")  # pyright: ignore[reportArgumentType]
    with pytest.raises(UsageError, match="no weighting named 'elb'; did you mean 'elbo'"):
        Rule("x0", weight="elb")


def test_images_are_normalised_by_the_mean_over_their_captions() -> None:
    found = score(measured(), bank(), Rule(normalise="captions"))
    assert found.unconditional is not None
    assert found.unconditional == pytest.approx(-ERRORS.astype(float).mean((1, 2)))
    assert found.scores == pytest.approx(scores(Rule()))
    with pytest.raises(UsageError, match="expected one of them"):
        Rule(normalise="captions", unconditional=True)


def test_guidance_reads_the_error_of_the_guided_prediction() -> None:
    rng = np.random.default_rng(0)
    with_caption, without = rng.normal(size=(2, 3, 4, 8, 8))  # residuals of 3 draws
    flat = (1, 2, 3)
    stored = [(with_caption**2).mean(flat), (with_caption * without).mean(flat), (without**2).mean(flat)]
    for guidance in (0.0, 1.0, 3.0, 7.5):
        direct = ((guidance * with_caption + (1 - guidance) * without) ** 2).mean(flat)
        assert Rule(guidance=guidance).of_stored(stored) == pytest.approx(direct)
        assert Rule(guidance=guidance, loss="norm").of_stored(stored) == pytest.approx(np.sqrt(direct))
    assert Rule(guidance=1.0).of_stored(stored) == pytest.approx(Rule().of_stored(stored[:1]))
    with pytest.raises(UsageError, match="cannot be read with loss=l1"):
        Rule(guidance=2.0, loss="l1")


def test_every_weighting_names_its_source() -> None:
    assert all("et al." in weighting.source or " and " in weighting.source for weighting in NAMED.values())
