import numpy as np
import pytest
import torch

from compbench.core.errors import DataError
from compbench.core.measurements import DrawTable, Measurement
from compbench.core.rules import Rule, score
from compbench.diffusion.denoiser import TARGETS, Flow, Tabled, mean_square

T = torch.linspace(20, 980, 6)
VARIANCE_PRESERVING = Tabled.from_alphas_cumprod(torch.linspace(0.99, 0.01, 6), "v")


def drawn(noising):
    """alpha, sigma, latents, noise and a guess of the noise of 6 draws, from almost no noise to almost only noise."""
    generator = torch.Generator().manual_seed(0)
    latents, noise, guess = torch.randn((3, 6, 4, 2, 2), generator=generator)
    alpha, sigma = noising(T if isinstance(noising, Flow) else torch.arange(6))
    return alpha, sigma, latents, noise, guess


def errors_of(target, draws):
    """[6] errors in `target` of one and the same guess of the noise: each other target's prediction follows from it."""
    alpha, sigma, latents, noise, eps_hat = draws
    alpha, sigma = (values.view(-1, 1, 1, 1) for values in (alpha, sigma))
    x_t = alpha * latents + sigma * noise
    x0_hat = (x_t - sigma * eps_hat) / alpha
    predicted = {
        "eps": eps_hat,
        "x0": x0_hat,
        "v": alpha * eps_hat - sigma * x0_hat,
        "flow": eps_hat - x0_hat,
    }[target]
    return mean_square(TARGETS[target](latents, noise, alpha, sigma) - predicted)


@pytest.mark.parametrize("wanted", ["eps", "v", "x0", "flow"])
@pytest.mark.parametrize(
    ("noising", "stored"),
    [*((VARIANCE_PRESERVING, stored) for stored in ("eps", "v", "x0")), (Flow(), "flow")],
    ids=["eps", "v", "x0", "flow"],
)
def test_errors_in_one_target_give_those_in_every_other(noising, stored, wanted):
    draws = drawn(noising)
    table = DrawTable(np.arange(6), draws[0].numpy(), draws[1].numpy(), stored)
    errors = errors_of(stored, draws).numpy()[None, None]
    measurement = Measurement("0", np.arange(6), {"l2": errors}, np.ones(errors.shape, bool))
    weighed = score(measurement, table, Rule(wanted)).scores
    assert -weighed.item() == pytest.approx(errors_of(wanted, draws).double().mean().item(), rel=1e-5)


def test_a_flow_s_x_t_goes_from_the_picture_to_noise_in_a_straight_line():
    alpha, sigma = Flow()(torch.tensor([0.0, 250.0, 1000.0]))
    assert alpha.tolist() == [1, 0.75, 0]
    assert sigma.tolist() == [0, 0.25, 1]
    alpha, sigma = Flow(scale=1.0)(torch.tensor([0.25], dtype=torch.bfloat16))
    assert (alpha.dtype, sigma.item()) == (torch.float32, 0.25)


def test_at_equal_signal_to_noise_a_flow_s_x_t_is_a_diffusion_s_times_a_number():
    """sigma / (1 - sigma) of the flow = sqrt(1 - abar) / sqrt(abar) of the diffusion."""
    vp_alpha, vp_sigma = VARIANCE_PRESERVING(torch.arange(6))
    alpha, sigma = Flow()(1000 * vp_sigma / (vp_alpha + vp_sigma))
    latents, noise = torch.randn((2, 6), generator=torch.Generator().manual_seed(0))
    scale = 1 / (vp_alpha + vp_sigma)
    torch.testing.assert_close(alpha * latents + sigma * noise, scale * (vp_alpha * latents + vp_sigma * noise))


def test_the_formulas_by_hand():
    x0, eps, alpha, sigma = (torch.tensor(number) for number in (2.0, 5.0, 0.6, 0.8))
    assert TARGETS["eps"](x0, eps, alpha, sigma) == 5
    assert TARGETS["v"](x0, eps, alpha, sigma) == pytest.approx(0.6 * 5 - 0.8 * 2)
    assert TARGETS["x0"](x0, eps, alpha, sigma) == 2
    assert TARGETS["flow"](x0, eps, alpha, sigma) == 3


def test_the_mean_square_is_over_all_but_the_batch():
    residual = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]], [[[0.0, 0.0], [0.0, 2.0]]]])
    assert mean_square(residual).tolist() == [7.5, 1.0]


def test_alpha_and_sigma_are_float32_roots_and_a_half_schedule_stays_half():
    alphas_cumprod = torch.tensor([0.9991, 0.5, 0.0047])
    exact, published = (Tabled.from_alphas_cumprod(table, "eps") for table in (alphas_cumprod, alphas_cumprod.half()))
    assert exact.alpha.dtype == torch.float32
    assert torch.allclose(exact.alpha**2 + exact.sigma**2, torch.ones(3))
    assert published.alpha.dtype == published.sigma.dtype == torch.float16
    assert abs(published.sigma[0] / exact.sigma[0] - 1) > 0.01  # the published script's rounding at low noise


def test_noise_prediction_without_signal_is_refused_and_v_prediction_is_not():
    alphas_cumprod = torch.tensor([0.9, 0.0])
    assert Tabled.from_alphas_cumprod(alphas_cumprod, "v").sigma[1] == 1
    with pytest.raises(DataError, match="zero terminal SNR"):
        Tabled.from_alphas_cumprod(alphas_cumprod, "eps")
