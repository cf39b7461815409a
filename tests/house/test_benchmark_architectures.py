"""The architectures that a GPU is measured on are the published ones: their parts fit, and so do their sizes."""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tests.benchmarks.architectures import ARCHITECTURES, parts_of

# parameters of the network and operations of one evaluation, in 1e9, counted elsewhere from the public configurations
PUBLISHED = {
    "sd2": (0.866, 804),
    "sdxl": (2.567, 6_761),
    "sd3": (2.028, 8_904),
    "flux": (11.90, None),
    "pixart": (0.611, None),
    "sana": (1.604, None),
}


def test_every_architecture_has_its_published_size_here() -> None:
    assert set(PUBLISHED) == set(ARCHITECTURES)


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_an_architecture_is_the_published_one(name: str) -> None:
    parts, family = parts_of(name, "meta", torch.bfloat16), ARCHITECTURES[name].family
    family.check(parts)
    n_parameters, n_operations = PUBLISHED[name]
    assert sum(tensor.numel() for tensor in parts.network.parameters()) / 1e9 == pytest.approx(n_parameters, rel=2e-3)
    assert {tensor.dtype for tensor in parts.network.parameters()} == {torch.bfloat16}
    assert {tensor.dtype for tensor in parts.vae.parameters()} == {torch.float32}
    side = parts.size_px // parts.grain
    assert side == family.side(parts)
    with torch.inference_mode():
        if name in ("pixart", "sana"):  # a mask is looked into, which has no values here
            told = {key: torch.zeros(1, *shape) for key, shape in family.shapes(parts.network.config, None).items()}  # type: ignore[attr-defined]
        else:
            told = family.conditioning(parts, ["a red circle"])
        floats = {key: given.to(torch.bfloat16) if given.is_floating_point() else given for key, given in told.items()}
        told = {key: given.to("meta") for key, given in floats.items()}
        noised = torch.zeros(1, parts.vae.config["latent_channels"], side, side, dtype=torch.bfloat16, device="meta")
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            predicted = family.predict(parts.network, noised, torch.zeros(1, dtype=torch.long, device="meta"), told)
    assert predicted.shape[2:] == noised.shape[2:]
    print(f"{name}: {counter.get_total_flops() / 1e9:,.0f} GFLOP an evaluation")
    if n_operations is not None:
        assert counter.get_total_flops() / 1e9 == pytest.approx(n_operations, rel=0.01)
