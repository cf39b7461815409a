"""A network through torch.compile, and what is said where that cannot be."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch._inductor import config as inductor

from compbench.diffusion._compiled import Compiled

pytestmark = pytest.mark.filterwarnings("default")  # the compiler's own warnings are no errors


@inductor.patch({"cpp.cxx": ("/no/such/compiler",)})
def test_a_network_that_cannot_be_compiled_runs_as_it_is_and_says_so_once() -> None:
    network, said = nn.Sequential(nn.Linear(3, 3), nn.GELU()), list[str]()
    compiled = Compiled(network, "default", said.append)
    x = torch.randn(2, 3)
    with torch.inference_mode():
        assert torch.equal(compiled(x), network(x))
        assert torch.equal(compiled(x), network(x))
    assert len(said) == 1
    assert said[0].startswith("the network cannot be compiled here (InvalidCxxCompiler")
    assert said[0].endswith("it runs as it is, which is slower")


@pytest.mark.slow
def test_a_compiled_network_gives_the_same_and_says_how_long_it_took() -> None:
    network, said = nn.Sequential(nn.Linear(3, 3), nn.GELU()), list[str]()
    compiled = Compiled(network, "default", said.append)
    x = torch.randn(2, 3)
    with torch.inference_mode():
        torch.testing.assert_close(compiled(x), network(x))
        compiled(x)
    assert len(said) == 1
    assert "the network was compiled in" in said[0]
