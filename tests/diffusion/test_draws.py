import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compbench.diffusion.draws import antithetic_bank, balanced_timesteps, paper_bank, seeded_bank


def largest_excess(timesteps: np.ndarray, n: int) -> float:
    """The star discrepancy times the number of draws: by how many draws any interval [0, t) is over- or underfull."""
    k = len(timesteps)
    full = np.searchsorted(np.sort(timesteps), np.arange(n + 1)) - k * np.arange(n + 1) / n
    return float(np.abs(full).max())


def test_every_timestep_comes_once():
    assert sorted(balanced_timesteps(1000)) == list(range(1000))


def test_every_prefix_is_balanced_over_the_timesteps():
    timesteps = balanced_timesteps(1000)
    excess = [largest_excess(timesteps[:k], 1000) for k in range(1, 1001)]
    assert max(excess) < 4
    assert max(excess[:100]) < 2.5
    random = np.random.default_rng(0).permutation(1000)
    assert max(largest_excess(random[:k], 1000) for k in range(1, 1001)) > 8


@pytest.mark.parametrize("k", [32, 64, 100, 128, 256])
def test_a_prefix_leans_neither_to_low_noise_nor_to_high(k):
    assert abs(balanced_timesteps(1000)[:k].mean() - 499.5) < 500 / k


@pytest.mark.parametrize("n", [1, 2, 7, 50, 1024])
def test_schedules_of_other_lengths_are_covered_too(n):
    assert sorted(balanced_timesteps(n)) == list(range(n))


def test_the_noise_of_a_draw_depends_on_seed_and_draw_alone():
    shape = (4, 8, 8)
    few, many = seeded_bank(7).noise(range(5), shape), seeded_bank(7).noise(range(20), shape)
    assert torch.equal(few, many[:5])
    assert torch.equal(seeded_bank(7).noise([13], shape)[0], many[13])
    assert not torch.equal(seeded_bank(8).noise([13], shape)[0], many[13])
    assert not torch.equal(many[12], many[13])


def test_drawing_noise_leaves_the_global_generator_alone():
    before = torch.random.get_rng_state()
    seeded_bank(0).noise([1], (4, 8, 8))
    paper_bank(42).noise([1], (4, 8, 8))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_noise_is_standard_normal():
    noise = seeded_bank(0).noise(range(200), (4, 16, 16))
    assert abs(noise.mean()) < 0.01
    assert abs(noise.std() - 1) < 0.01


def test_the_paper_bank_pairs_timestep_t_with_the_t_th_noise_of_seed_42():
    with torch.random.fork_rng():
        torch.manual_seed(42)
        published = torch.randn(1024, 4, 8, 8)
    bank = paper_bank(42)
    assert torch.equal(bank.noise(range(1000), (4, 8, 8)), published[torch.from_numpy(bank.timesteps)])
    assert torch.equal(bank.noise([3, 999], (4, 8, 8)), published[bank.timesteps[[3, 999]]])


def test_antithetic_draws_come_in_pairs_of_opposite_noise_at_neighbouring_timesteps():
    bank = antithetic_bank(7)
    noise = bank.noise(range(40), (1, 2, 2))
    assert torch.equal(noise[::2], -noise[1::2])
    assert len({tuple(draw.flatten().tolist()) for draw in noise}) == 40
    assert (bank.timesteps[1::2] - bank.timesteps[::2] == 1).all()
    assert sorted(bank.timesteps.tolist()) == list(range(1000))
    assert torch.equal(bank.noise([5], (1, 2, 2))[0], noise[5])


@given(st.integers(2, 500))
def test_every_prefix_of_antithetic_pairs_is_balanced_over_the_timesteps(n_pairs):
    shares = np.histogram(antithetic_bank(0).timesteps[: 2 * n_pairs], bins=2, range=(0, 1000))[0]
    assert abs(int(shares[0]) - int(shares[1])) <= 2
