"""L1, Huber and the products that guidance is read from are measured in the same pass as the squared error."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import compbench
from compbench.core.errors import UsageError
from compbench.core.models import Runtime
from compbench.core.rules import Rule
from compbench.diffusion.denoiser import reduced
from compbench.diffusion.families import stable_diffusion
from compbench.store.run import Run
from compbench_analysis.frames.signature import signature

OPTIONS = {"draws": 3, "also": "l1+huber", "guidance": 3.0, "unconditional": True}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return compbench.run("shapes", model="tiny-sd", options=OPTIONS, limit=2, runs=tmp_path_factory.mktemp("losses"))


def test_the_squared_errors_are_those_of_a_run_without_the_others(run: Run, tmp_path: Path) -> None:
    plain = compbench.run(
        "shapes", model="tiny-sd", options={"draws": 3, "unconditional": True}, limit=2, runs=tmp_path
    )
    assert run.key.digest != plain.key.digest
    assert set(run.losses()) == {"l2", "l1", "huber", "inner", "l2-without"}
    for name, measured in plain.measurements().items():
        assert run.measurements([name])[name].errors["l2"].tobytes() == measured.errors["l2"].tobytes()


def test_guidance_of_any_scale_is_read_from_the_stored_products(run: Run) -> None:
    for measured in run.measurements().values():
        stored = [measured.errors[loss] for loss in ("l2", "inner", "l2-without")]
        # guided by 1 the prediction is that with the caption, by 0 that without, and without a caption all are one
        assert Rule(guidance=1.0).of_stored(stored) == pytest.approx(measured.errors["l2"])
        assert Rule(guidance=0.0).of_stored(stored)[:, :-1] == pytest.approx(
            np.broadcast_to(measured.errors["l2"][:, -1:], measured.errors["l2"][:, :-1].shape), rel=1e-4
        )
        assert Rule(guidance=7.0).of_stored(stored)[:, -1] == pytest.approx(measured.errors["l2"][:, -1], rel=1e-3)
    assert run.rule.guidance == 3
    assert "|guidance:3|" in signature(run)
    other = run.read(guidance=1.0)
    plain = run.table(Rule("native", 3, unconditional=True))
    assert other.table().scores == pytest.approx(plain.scores, rel=1e-6)


def test_guidance_is_that_of_the_guided_prediction_itself() -> None:
    spec = stable_diffusion.TINY_SD
    denoiser = spec.build(spec.source(), Runtime("cpu", 4)).denoiser
    generator = torch.Generator().manual_seed(0)
    latents, noise = (torch.randn(2, *denoiser.latent_shape, generator=generator) for _ in range(2))
    t = torch.tensor([100, 700])
    with_caption, without = (
        denoiser.residual(latents, noise, t, denoiser.encode_captions([caption] * 2))
        for caption in ("a red circle", "")
    )
    conditioning = denoiser.encode_captions(["a red circle"] * 2)
    stored = denoiser.errors(latents, noise, t, conditioning, ("l2", "inner", "l2-without")).detach().numpy()
    direct = (3.0 * with_caption - 2.0 * without).square().flatten(1).mean(1).detach().numpy()
    assert Rule(guidance=3.0).of_stored(list(stored)) == pytest.approx(direct, rel=1e-4)


def test_huber_is_a_square_near_zero_and_straight_far_from_it() -> None:
    near, far = torch.full((1, 1, 2, 2), 1e-3), torch.full((1, 1, 2, 2), 50.0)
    assert float(reduced(near, ["huber"])) == pytest.approx(1e-6, rel=1e-3)
    assert float(reduced(far, ["huber"])) == pytest.approx(2 * 0.1 * 50, rel=1e-2)


def test_a_run_is_read_by_each_loss_that_it_stores(run: Run) -> None:
    with pytest.raises(UsageError, match="guidance=none leaves it out"):
        run.read(loss="huber")
    read = run.read(loss="huber", guidance="none")
    stored = run.measurements().items()
    by_hand = {name: -own.errors["huber"][:, :-1].astype(float).mean(-1) for name, own in stored}
    for name, scores in zip(read.table().ids, read.table().scores, strict=True):
        assert scores == pytest.approx(by_hand[name])


@pytest.mark.parametrize(
    ("options", "reductions"),
    [
        ({}, None),
        ({"loss": "l1"}, ["mse", "l1"]),
        ({"also": "l1"}, ["mse", "l1"]),
        ({"loss": "l1", "also": "l1+huber"}, ["mse", "l1", "huber"]),
        ({"guidance": 3.0}, ["mse", "inner", "l2-without"]),
    ],
)
def test_what_is_stored_is_in_the_identity_and_how_it_is_read_is_not(
    options: dict[str, object], reductions: list[str] | None
) -> None:
    spec = replace(stable_diffusion.SD2, **options)  # pyright: ignore[reportArgumentType]
    assert spec.identity().get("reductions") == reductions
    if "guidance" in options:
        assert replace(spec, guidance=5.0).identity() == spec.identity()
