"""Noise of each image's own: which draws are shared, what may not change them, and what a run says of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from test_curves import _bank
from test_diffusion import EXAMPLES

import compbench
import fakes
from compbench.core.examples import Task
from compbench.core.measurements import Measurement, joined
from compbench.core.metrics import MATCHING
from compbench.core.models import Runtime
from compbench.diffusion.classifier import DiffusionClassifier
from compbench.diffusion.draws import DrawBank, per_image, seeded_bank
from compbench.diffusion.families import stable_diffusion
from compbench.store.key import RunKey
from compbench.store.run import Run
from compbench.store.store import Store
from compbench.store.writer import RunWriter
from compbench_analysis.frames import curves, tables
from compbench_analysis.text import show
from noisy import Noisy

SHAPE = (4, 8, 8)


def _own(seed: int = 0) -> DrawBank:
    return per_image(seeded_bank(seed), seed)


def _scorer(n_draws: int = 6, batch_size: int | None = None, **options: Any) -> DiffusionClassifier:
    return DiffusionClassifier(Noisy(), _own(), n_draws, Runtime("cpu", batch_size=batch_size), **options)


def _noise(bank: DrawBank, example_id: str, image: int, draws: Sequence[int] = range(3)) -> torch.Tensor:
    return bank.noise_of(example_id, image)(draws, SHAPE)


def test_an_images_noise_depends_on_seed_example_image_and_draw_alone() -> None:
    ours = _noise(_own(), "a", 0)
    assert torch.equal(_noise(_own(), "a", 0, [2])[0], ours[2])
    others = [
        _noise(_own(), "b", 0),
        _noise(_own(), "a", 1),
        _noise(_own(1), "a", 0),
        seeded_bank(0).noise(range(3), SHAPE),
    ]
    for other in others:
        assert not torch.isclose(other, ours).any()
    assert not torch.equal(ours[0], ours[1])
    assert np.array_equal(_own().timesteps, seeded_bank(0).timesteps)


def test_shared_noise_is_every_images() -> None:
    bank = seeded_bank(3)
    assert torch.equal(_noise(bank, "a", 0), _noise(bank, "b", 1))


def test_the_noise_of_all_images_together_is_standard_normal() -> None:
    noise = torch.stack([_noise(_own(), str(number), image, range(4)) for number in range(40) for image in (0, 1)])
    assert abs(noise.mean()) < 0.01
    assert abs(noise.std() - 1) < 0.01


@pytest.mark.parametrize("batch_size", [None, 1, 7, 64])
def test_each_error_is_that_of_a_plain_loop_over_images_captions_and_draws(batch_size: int | None) -> None:
    found = joined(_scorer(batch_size=batch_size).score(EXAMPLES, {}))
    bank, denoiser = _own(), Noisy()
    for example, measured in zip(EXAMPLES, found, strict=True):
        for image, picture in enumerate(example.images):
            latents = denoiser.encode_pixels(denoiser.pixels(picture.decode())[None])
            for draw in range(6):
                noise = bank.noise_of(example.id, image)([draw], denoiser.latent_shape)
                timestep = torch.tensor([int(bank.timesteps[draw])])
                for caption, text in enumerate(example.captions):
                    states = denoiser.encode_captions([text])
                    expected = denoiser.errors(latents, noise, timestep, states, ("l2",))
                    assert measured.errors["l2"][image, caption, draw] == pytest.approx(float(expected), rel=1e-5)


def test_order_number_of_examples_and_resuming_change_nothing() -> None:
    whole = {example.example_id: example for example in joined(_scorer().score(EXAMPLES, {}))}
    backwards = joined(_scorer(batch_size=5).score(EXAMPLES[::-1][:2], {}))
    for backward in backwards:
        np.testing.assert_allclose(backward.errors["l2"], whole[backward.example_id].errors["l2"], rtol=1e-6)
    few = {example.example_id: example for example in joined(_scorer(n_draws=2).score(EXAMPLES, {}))}
    added = joined(_scorer().score(EXAMPLES, few))
    for result in added:
        assert result.draw_ids.tolist() == [2, 3, 4, 5]
        np.testing.assert_allclose(result.errors["l2"], whole[result.example_id].errors["l2"][..., 2:], rtol=1e-6)


def test_an_image_and_no_caption_share_its_noise() -> None:
    (found,) = joined(_scorer(unconditional=True).score(EXAMPLES[:1], {}))
    denoiser, bank = Noisy(), _own()
    latents = denoiser.encode_pixels(denoiser.pixels(EXAMPLES[0].images[1].decode())[None])
    noise = bank.noise_of(EXAMPLES[0].id, 1)([3], denoiser.latent_shape)
    states = denoiser.encode_captions([""])
    expected = denoiser.errors(latents, noise, torch.tensor([int(bank.timesteps[3])]), states, ("l2",))
    assert found.has_null_caption
    assert found.errors["l2"][1, -1, 3] == pytest.approx(float(expected), rel=1e-5)


def test_a_run_is_named_and_signed_by_it_and_says_that_images_are_compared(tmp_path: Path) -> None:
    said: list[str] = []
    options = {"draws": 2, "noise": "per-image"}
    ours = compbench.run("shapes", model="tiny-sd", options=options, limit=2, runs=tmp_path, reporter=_Heard(said))
    shared = compbench.run("shapes", model="tiny-sd", options={"draws": 2}, limit=2, runs=tmp_path)
    assert ours.key.measurement == {**shared.key.measurement, "noise": "per-image"}
    assert ours.path != shared.path
    assert "|noise:per-image|" in show.to_text([ours], full=True)
    assert sum("noise=per-image gives each its own noise" in message for message in said) == 1
    for name, measurement in ours.measurements().items():
        assert not np.isclose(measurement.errors["l2"], shared.measurements()[name].errors["l2"]).all()


def test_the_published_protocol_takes_it_and_stays_the_default_of_its_tasks() -> None:
    spec = replace(stable_diffusion.SD2, noise="per-image").for_task("cifar10")
    assert (spec.protocol, spec.schedule, spec.seed) == ("paper", "paper", 42)
    assert spec.identity()["noise"] == "per-image"
    assert "noise" not in stable_diffusion.SD2.for_task("cifar10").identity()


class _Heard:
    """Keeps what a run says."""

    def __init__(self, said: list[str]) -> None:
        self._said = said

    def __getattr__(self, name: str) -> Any:
        return lambda *given, **named: self._said.extend(word for word in given if isinstance(word, str))


def _errors(rng: np.random.Generator, n: int, n_draws: int) -> np.ndarray:
    """Errors [n, 2, 2, D] whose noise is each image's own, shared by its captions in part."""
    gaps = np.random.default_rng(99).normal(0.3, 0.4, (n, 1, 1, 1)) * (1 - np.eye(2))[None, :, :, None]
    return 5 + gaps + rng.normal(0, 1, (n, 2, 2, n_draws)) + rng.normal(0, 1, (n, 2, 1, n_draws))


def _run(root: Path, errors: np.ndarray, noise: str = "per-image") -> Run:
    n_draws = errors.shape[-1]
    task = Task("fake", tuple(fakes.example(number) for number in range(len(errors))), MATCHING)
    key = RunKey("fake", task.revision, "model", None, {"noise": noise})
    run = Store(root).open(key, task, view={"n_draws": n_draws, "target": "native"})
    RunWriter(run).write_draws(_bank(n_draws))
    draws, mask = np.arange(n_draws, dtype=np.int32), np.ones(errors.shape[1:], bool)
    RunWriter(run).append(
        [
            Measurement(example.id, draws, {"l2": errors[int(example.id)].astype(np.float32)}, mask)
            for example in task.examples
        ]
    )
    RunWriter(run).settle(None)
    return run


@pytest.mark.slow
def test_what_other_draws_would_change_is_told_and_shrinks_with_the_number_of_images(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    told: dict[tuple[str, int], float] = {}
    for n in (40, 160):
        runs = [_run(tmp_path / f"{n}-{seed}", _errors(rng, n, 12)) for seed in range(20)]
        frame = pd.concat([curves.monte_carlo(run, n_resamples=80) for run in runs])
        assert not frame["is_unsure"].any()
        for metric in ("text", "image"):
            its = frame[(frame["tag"] == tables.OVERALL) & (frame["metric"] == metric)]
            told[metric, n] = float(np.sqrt((its["draws_se"] ** 2).mean()))
            assert 0.65 < told[metric, n] / its["value"].std(ddof=1) < 1.6
            assert its["draws_se"].std() < 0.2 * told[metric, n]  # each run is sure of it, with 12 draws
    for metric in ("text", "image"):
        assert told[metric, 40] / told[metric, 160] == pytest.approx(2, rel=0.2)


def test_the_interval_over_examples_covers_other_images_and_their_draws_together() -> None:
    from compbench_analysis.statistics.intervals import wilson

    rng, covered, n = np.random.default_rng(1), [], 80
    probability = 0.7  # of a random image under random draws: whether it is right is drawn with both
    for _ in range(2000):
        of_image = rng.beta(7, 3, n)  # how often its draws have it right
        low, high = wilson(float((rng.random(n) < of_image).sum()), n)
        covered.append(low <= probability <= high)
    assert 0.93 < np.mean(covered) < 0.975


def test_the_table_says_that_more_images_make_it_smaller(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    own, shared = _run(tmp_path, _errors(rng, 30, 32)), _run(tmp_path / "b", _errors(rng, 30, 32), "independent")
    of_own, of_shared = (" ".join(show.to_text([run], full=True).split()) for run in (own, shared))
    assert "model: each image has its own noise, so more examples make it smaller" in of_own
    assert "all examples share the draws" not in of_own
    assert "all examples share the draws" in of_shared
    assert "its own noise" not in of_shared


def test_few_draws_are_too_few_for_either(tmp_path: Path) -> None:
    errors = _errors(np.random.default_rng(0), 12, 7)
    assert "from 7 draws the figure could be off" in show.to_text([_run(tmp_path, errors)], full=True)
    assert "-o draws=8 is enough" in show.to_text([_run(tmp_path, errors)], full=True)
