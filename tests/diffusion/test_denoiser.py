import numpy as np
import pytest
import torch

from compbench.core.errors import DataError
from compbench.core.measurements import DrawTable, Measurement
from compbench.core.rules import Rule, score
from compbench.diffusion.denoiser import TARGETS, Noising, mean_square


@pytest.fixture
def draws():
    """Latents and noise of 6 draws on a schedule from almost no noise to almost only noise."""
    generator = torch.Generator().manual_seed(0)
    noising = Noising.from_alphas_cumprod(torch.linspace(0.99, 0.01, 6), "v")
    latents, noise, guess = torch.randn((3, 6, 4, 2, 2), generator=generator)
    return noising, latents, noise, guess


def errors_of(target, draws):
    """[6] errors in `target` of one and the same guess of the noise: each other target's prediction follows from it."""
    noising, latents, noise, eps_hat = draws
    alpha, sigma = (each.view(-1, 1, 1, 1) for each in (noising.alpha, noising.sigma))
    x_t = alpha * latents + sigma * noise
    x0_hat = (x_t - sigma * eps_hat) / alpha
    predicted = {"eps": eps_hat, "x0": x0_hat, "v": alpha * eps_hat - sigma * x0_hat}[target]
    return mean_square(TARGETS[target](latents, noise, alpha, sigma) - predicted)


@pytest.mark.parametrize("stored", ["eps", "v", "x0"])
@pytest.mark.parametrize("wanted", ["eps", "v", "x0"])
def test_errors_in_one_target_give_those_in_every_other(stored, wanted, draws):
    schedule = draws[0]
    table = DrawTable(np.arange(6), schedule.alpha.numpy(), schedule.sigma.numpy(), stored)
    errors = errors_of(stored, draws).numpy()[None, None]
    measurement = Measurement("0", np.arange(6), {"l2": errors}, np.ones(errors.shape, bool))
    weighed = score(measurement, table, Rule(wanted)).scores
    assert -weighed.item() == pytest.approx(errors_of(wanted, draws).double().mean().item(), rel=1e-5)


def test_the_formulas_by_hand():
    x0, eps, alpha, sigma = (torch.tensor(each) for each in (2.0, 5.0, 0.6, 0.8))
    assert TARGETS["eps"](x0, eps, alpha, sigma) == 5
    assert TARGETS["v"](x0, eps, alpha, sigma) == pytest.approx(0.6 * 5 - 0.8 * 2)
    assert TARGETS["x0"](x0, eps, alpha, sigma) == 2


def test_the_mean_square_is_over_all_but_the_batch():
    residual = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]], [[[0.0, 0.0], [0.0, 2.0]]]])
    assert mean_square(residual).tolist() == [7.5, 1.0]


def test_alpha_and_sigma_are_float32_roots_and_a_half_schedule_stays_half():
    alphas_cumprod = torch.tensor([0.9991, 0.5, 0.0047])
    exact, published = (Noising.from_alphas_cumprod(each, "eps") for each in (alphas_cumprod, alphas_cumprod.half()))
    assert exact.alpha.dtype == torch.float32
    assert torch.allclose(exact.alpha**2 + exact.sigma**2, torch.ones(3))
    assert published.alpha.dtype == published.sigma.dtype == torch.float16
    assert abs(published.sigma[0] / exact.sigma[0] - 1) > 0.01  # the published script's rounding at low noise


def test_noise_prediction_without_signal_is_refused_and_v_prediction_is_not():
    alphas_cumprod = torch.tensor([0.9, 0.0])
    assert Noising.from_alphas_cumprod(alphas_cumprod, "v").sigma[1] == 1
    with pytest.raises(DataError, match="zero terminal SNR"):
        Noising.from_alphas_cumprod(alphas_cumprod, "eps")
