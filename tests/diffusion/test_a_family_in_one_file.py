"""A family of diffusion models that compbench does not know, whole in one file, as a stranger's package would bring it.

Its network is a class of its own: a linear map of each latent and of how often each letter stands in the caption. The
latents are those of diffusers' autoencoder, with weights drawn here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler
from torch import Tensor, nn

import compbench
from compbench import registry
from compbench.cli.app import main
from compbench.core.examples import Example
from compbench.core.models import Runtime, Source
from compbench.diffusion import Family, LatentDenoiser, Parts, Precision, pick_device, whole_picture
from compbench.diffusion.classifier import DiffusionClassifier
from compbench.diffusion.denoiser import Conditioning, Tabled, Target
from compbench.diffusion.draws import seeded_bank

LETTERS = "abcdefghijklmnopqrstuvwxyz"


class LetterNetwork(nn.Module):
    """Predicts v from each latent and the letters of the caption."""

    config: ClassVar = {"sample_size": 4}

    def __init__(self) -> None:
        super().__init__()
        self.of_latents, self.of_letters = nn.Conv2d(4, 4, 1), nn.Linear(len(LETTERS), 4)

    def forward(self, noised: Tensor, timestep: Tensor, letters: Tensor, return_dict: bool) -> tuple[Tensor]:
        return (self.of_latents(noised) + self.of_letters(letters)[..., None, None],)


class LetterFamily(Family):
    def target(self, parts: Parts) -> Target:
        return "v"

    def noising(self, parts: Parts, dtype: torch.dtype) -> Tabled:
        return Tabled.from_alphas_cumprod(parts.scheduler.alphas_cumprod, "v")

    def conditioning(self, parts: Parts, captions: Sequence[str]) -> Conditioning:
        counts = [[float(caption.count(letter)) for letter in LETTERS] for caption in captions]
        return {"letters": torch.tensor(counts)}


def parts() -> Parts:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vae = AutoencoderKL(
            block_out_channels=(4, 4),
            down_block_types=("DownEncoderBlock2D",) * 2,  # pyright: ignore[reportArgumentType]
            up_block_types=("UpDecoderBlock2D",) * 2,  # pyright: ignore[reportArgumentType]
            latent_channels=4,
            norm_num_groups=2,
        )
        return Parts("letters", LetterNetwork(), vae, scheduler=DDIMScheduler())


@dataclass(frozen=True)
class Letters(compbench.ModelSpec):
    """A diffusion model that reads letters."""

    draws: int = 4

    def identity(self) -> dict[str, Any]:
        return {"family": "letters", "version": 1}

    def view(self) -> dict[str, Any]:
        return {"n_draws": self.draws, "target": "native"}

    def build(self, source: Source | None, runtime: Runtime) -> DiffusionClassifier:
        precision = Precision(torch.float32, encoders=torch.float32)
        denoiser = LatentDenoiser(LetterFamily(), parts(), whole_picture, precision, pick_device(runtime.device))
        return DiffusionClassifier(denoiser, seeded_bank(0), self.draws, runtime)


# that is all of it


@pytest.fixture
def registered(own_registry: None) -> None:
    compbench.model("letters")(Letters)


def literal_error(example: Example, caption: str, t: int, noise: Tensor) -> float:
    """Of the example's first picture, written out."""
    its = parts()
    pixels = np.asarray(example.images[0].decode().convert("RGB").resize((8, 8), 3), np.float32) / 127.5 - 1
    with torch.no_grad():
        latents = its.vae.encode(torch.from_numpy(pixels).permute(2, 0, 1)[None]).latent_dist.mean * 0.18215
        alpha, sigma = its.scheduler.alphas_cumprod[t] ** 0.5, (1 - its.scheduler.alphas_cumprod[t]) ** 0.5
        letters = torch.tensor([[float(caption.count(letter)) for letter in LETTERS]])
        predicted = its.network(alpha * latents + sigma * noise, torch.tensor([t]), letters, False)[0]
        return float((alpha * noise - sigma * latents - predicted).square().mean())


@pytest.mark.usefixtures("registered")
def test_it_runs_through_the_store_to_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["run", "shapes", "--model", "letters", "--limit", "3", "--device", "cpu", "--runs", str(tmp_path)]
    assert main(command) == 0
    assert "letters" in capsys.readouterr().out
    assert main(command) == 0  # from the store
    assert main(["show", "shapes/letters", "--runs", str(tmp_path), "-o", "target=eps", "-o", "draws=2", "--full"]) == 0
    out = capsys.readouterr().out
    assert "target:eps" in out
    assert "draws:2" in out


@pytest.mark.usefixtures("registered")
def test_its_errors_are_those_of_its_formula(tmp_path: Path) -> None:
    run = compbench.run("shapes", model="letters", limit=2, device="cpu", runs=tmp_path)
    examples = {example.id: example for example in registry.task("shapes").examples}
    bank = seeded_bank(0)
    for table in run.error_tables():
        for row, example_id in enumerate(table.ids):
            example = examples[example_id]
            for draw in range(4):
                noise = bank.noise([draw], (4, 4, 4))
                for number, caption in enumerate(example.captions):
                    expected = literal_error(example, caption, int(bank.timesteps[draw]), noise)
                    assert table.errors[row, 0, number, draw] == pytest.approx(expected, rel=1e-5)
