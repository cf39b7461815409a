"""Errors become scores in one place; a target's error converts to another's by a weight per draw."""

from __future__ import annotations

import numpy as np
import pytest

from compbench.core.errors import UsageError
from compbench.core.measurements import DrawTable, Measurement
from compbench.core.rules import Rule, score

SIGMA = np.array([0.1, 0.5, 0.9], dtype=np.float32)
ALPHA = np.sqrt(1 - SIGMA**2)


def draws(target: str) -> DrawTable:
    return DrawTable(np.array([0, 500, 999]), ALPHA, SIGMA, target)


def measured(errors: np.ndarray) -> Measurement:
    return Measurement("7", np.arange(errors.shape[-1], dtype=np.int32), {"l2": errors}, np.ones(errors.shape, bool))


def test_a_smaller_error_is_a_higher_score() -> None:
    errors = np.stack([np.full(3, 0.2), np.full(3, 0.3)])[None].astype(np.float32)  # 1 image, 2 captions
    assert score(measured(errors), draws("eps"), Rule()).scores[0].tolist() == pytest.approx([-0.2, -0.3])


def test_the_score_is_minus_the_mean_over_the_draws_worked_by_hand() -> None:
    errors = np.array([[[1.0, 2.0, 6.0]]], dtype=np.float32)
    assert score(measured(errors), draws("v"), Rule()).scores[0, 0] == pytest.approx(-3)
    assert score(measured(errors), draws("v"), Rule(draws=2)).scores[0, 0] == pytest.approx(-1.5)
    by_hand = -(1 * ALPHA[0] ** 2 + 2 * ALPHA[1] ** 2 + 6 * ALPHA[2] ** 2) / 3
    assert score(measured(errors), draws("v"), Rule("eps")).scores[0, 0] == pytest.approx(by_hand)


def test_errors_of_one_network_output_agree_in_every_target() -> None:
    rng = np.random.default_rng(0)
    x0, eps, v_hat = rng.normal(size=(3, 16)), rng.normal(size=(3, 16)), rng.normal(size=(3, 16))
    alpha, sigma = ALPHA.astype(float)[:, None], SIGMA.astype(float)[:, None]
    noised, v = alpha * x0 + sigma * eps, alpha * eps - sigma * x0
    eps_hat, x0_hat = alpha * v_hat + sigma * noised, alpha * noised - sigma * v_hat
    in_v = measured(((v - v_hat) ** 2).mean(1).astype(np.float32)[None, None])
    for target, truth, guess in [("eps", eps, eps_hat), ("x0", x0, x0_hat)]:
        direct = -((truth - guess) ** 2).mean()
        assert score(in_v, draws("v"), Rule(target)).scores[0, 0] == pytest.approx(direct, rel=1e-5)
    in_eps = measured(((eps - eps_hat) ** 2).mean(1).astype(np.float32)[None, None])
    assert score(in_eps, draws("eps"), Rule("v")).scores[0, 0] == pytest.approx(-((v - v_hat) ** 2).mean(), rel=1e-5)


def test_a_draw_that_was_not_measured_is_never_made_up() -> None:
    errors = np.ones((1, 2, 3), dtype=np.float32)
    with pytest.raises(ValueError, match="3 of the 5 draws"):
        score(measured(errors), draws("eps"), Rule(draws=5))
    mask = np.ones((1, 2, 3), bool)
    mask[0, 1, 2] = False
    partly = Measurement("7", np.arange(3, dtype=np.int32), {"l2": errors}, mask)
    assert score(partly, draws("eps"), Rule(draws=2)).scores.tolist() == [[-1, -1]]
    with pytest.raises(ValueError, match="not measured on every draw"):
        score(partly, draws("eps"), Rule())


def test_an_unknown_rule_is_told() -> None:
    with pytest.raises(UsageError, match="no scoring rule named 'epsilon'"):
        Rule("epsilon")
