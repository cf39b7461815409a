"""The variational bound of a diffusion model whose variance is learned, one term a timestep, in bits per dimension.

Nichol & Dhariwal, "Improved Denoising Diffusion Probabilistic Models", ICML 2021: beside eps the network gives v for
every dimension, and log variance = (v + 1) / 2 log beta_t + (1 - v) / 2 log beta~_t with the posterior's variance
beta~_t. The term of t >= 1 is KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t)) between two diagonal Gaussians.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import Self

import torch
from torch import Tensor

__all__ = ["Bound"]


@dataclass(frozen=True, slots=True)
class Bound:
    """The tables of a noise schedule, each [T] float32 and made in float64."""

    log_variance: Tensor  # of q(x_{t-1} | x_t, x_0); that of t = 1 stands for t = 0, where it is none
    log_beta: Tensor
    mean_weight: Tensor  # the squared distance of the two means = this times the squared error in eps

    @classmethod
    def from_betas(cls, betas: Tensor, device: torch.device) -> Self:
        """The means differ by beta_t / sqrt(alpha_t (1 - alphas_cumprod_t)) (eps - eps_hat): Ho et al. 2020, eq. 12."""
        betas = betas.double().cpu()
        alphas_cumprod = (1 - betas).cumprod(0)
        previous = torch.cat([torch.ones(1, dtype=torch.float64), alphas_cumprod[:-1]])
        variance = betas * (1 - previous) / (1 - alphas_cumprod)
        tables = (
            torch.cat([variance[1:2], variance[1:]]).log(),
            betas.log(),
            betas**2 / ((1 - betas) * (1 - alphas_cumprod)),
        )
        return cls(*(table.float().to(device) for table in tables))

    def bits(self, error: Tensor, v: Tensor, timesteps: Tensor) -> Tensor:
        """[b]: the KL of each row in bits per dimension, from eps - eps_hat and v [b, c, h, w]; t = 0 has no such term.

        In terms of the error in eps, and with expm1, it loses nothing in float32 where both variances are almost equal.
        """
        true, beta, weight = (
            table[timesteps][:, None, None, None] for table in (self.log_variance, self.log_beta, self.mean_weight)
        )
        excess = (v + 1) / 2 * (beta - true)  # log of the model's variance over the posterior's
        distance = weight * error.square() * (-true - excess).exp()
        return (excess + torch.expm1(-excess) + distance).flatten(1).mean(1) / (2 * log(2))
