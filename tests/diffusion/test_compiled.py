"""A network through torch.compile, and what is said where that cannot be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch._inductor import config as inductor

import small_sd
from compbench.cli.app import main
from compbench.diffusion._compiled import Compiled
from compbench.store.store import Store

BOUND = 5e-6  # of an error, relative, on a CPU in float32; docs/protocols.md says so too

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
    assert said[0].endswith("it runs uncompiled, which is slower")


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


@pytest.mark.slow
def test_compiled_and_eager_parts_of_one_run_differ_by_rounding_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "compiled"))
    model = small_sd.save(tmp_path / "sd")
    command = ["run", "shapes", "-m", f"sd:{model}", "-o", "draws=8", "--device", "cpu", "--batch-size", "8", "--runs"]
    assert main([*command, str(tmp_path / "eager"), "-L", "4"]) == 0
    assert main([*command, str(tmp_path / "mixed"), "-L", "2"]) == 0
    capsys.readouterr()
    assert main([*command, str(tmp_path / "mixed"), "-L", "4", "-o", "compile=default"]) == 0
    said = capsys.readouterr().err
    assert "were computed with engine eager, batch size 8, these with engine compiled: default, batch size 8" in said
    (eager,), (mixed,) = (Store(tmp_path / name).runs() for name in ("eager", "mixed"))
    assert list(dict.fromkeys(part["engine"] for part in mixed.parts())) == ["eager", "compiled: default"]
    expected, found = eager.measurements(), mixed.measurements()
    worst = max(float(np.abs(found[name].errors["l2"] / expected[name].errors["l2"] - 1).max()) for name in expected)
    print(f"largest relative difference of an error: {worst:.1e}")
    assert worst <= BOUND
