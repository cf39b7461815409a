"""DiT: its three errors against a literal loop in float64, its noise, its pictures, its labels, its files."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from diffusers import AutoencoderKL, DiTTransformer2DModel
from torch.distributions import Normal, kl_divergence

import compbench
import literal
from compbench.core.errors import DataError, UsageError
from compbench.core.examples import Classes, Task
from compbench.core.measurements import Measurement, joined
from compbench.core.models import Runtime, Source
from compbench.core.rules import Rule
from compbench.diffusion.classifier import DiffusionClassifier
from compbench.diffusion.families import dit_transformer as dit
from compbench.diffusion.families.dit import DIT_256, DIT_512, TINY_DIT, DiT
from compbench.diffusion.images import adm_centre_crop
from compbench.diffusion.vlb import Bound
from compbench.tasks import digits
from compbench.tiny import train_dit
from counting import HostSyncs
from edits import edit

TRAINED = Path(TINY_DIT.repo)
TIMESTEPS = (2, 6, 130, 498, 814, 998)


@pytest.fixture(scope="module")
def task() -> Task:
    return digits.digits()


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tiny-dit's own architecture with random weights, none of them zero."""
    folder = tmp_path_factory.mktemp("dit") / "untrained"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformer, vae = train_dit.new_transformer(), train_dit.new_vae()
        for parameter in transformer.parameters():
            torch.nn.init.normal_(parameter, std=0.05)
    train_dit.save(folder, vae, transformer)
    return folder


@pytest.fixture(params=["untrained", "trained"])
def folder(request: pytest.FixtureRequest, untrained: Path) -> Path:
    return {"untrained": untrained, "trained": TRAINED}[request.param]


def classifier(folder: Path, **options: Any) -> DiffusionClassifier:
    spec = replace(TINY_DIT, folder=folder, **options)
    return spec.build(spec.source(), Runtime("cpu", 16))


def pictures(task: Task, n: int) -> list[PIL.Image.Image]:
    return [example.images[0].decode() for example in task.examples[:n]]


@cache
def literal_parts(folder: Path) -> tuple[DiTTransformer2DModel, AutoencoderKL]:
    """In float64."""
    transformer = DiTTransformer2DModel.from_pretrained(folder, subfolder="transformer", low_cpu_mem_usage=False)
    vae = AutoencoderKL.from_pretrained(folder, subfolder="vae", low_cpu_mem_usage=False)
    return transformer.double().eval(), vae.double().eval()


@torch.no_grad()
def literal_errors(folder: Path, picture: PIL.Image.Image, label: int, t: int) -> dict[str, float]:
    """The published evaluation of one (image, class, timestep) in float64, with torch's own KL of two Gaussians."""
    transformer, vae = literal_parts(folder)
    pixels = torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)[None].double() / 127.5 - 1
    x_0 = vae.encode(pixels).latent_dist.mean * vae.config.scaling_factor
    noise = literal.published_noise(tuple(x_0.shape[1:]))[(t - 2) // 4].double()

    betas = np.linspace(1e-4, 2e-2, 1000)
    bar = np.cumprod(1 - betas)
    x_t = np.sqrt(bar[t]) * x_0 + np.sqrt(1 - bar[t]) * noise
    output = transformer(x_t, timestep=torch.tensor([t]), class_labels=torch.tensor([label])).sample
    eps, v = output[:, :4], output[:, 4:]

    variance = betas[t] * (1 - bar[t - 1]) / (1 - bar[t])
    by_x_0, by_x_t = (
        betas[t] * np.sqrt(bar[t - 1]) / (1 - bar[t]),
        (1 - bar[t - 1]) * np.sqrt(1 - betas[t]) / (1 - bar[t]),
    )
    x_0_hat = (x_t - np.sqrt(1 - bar[t]) * eps) / np.sqrt(bar[t])
    true = Normal(by_x_0 * x_0 + by_x_t * x_t, np.sqrt(variance))
    log_variance = (v + 1) / 2 * np.log(betas[t]) + (1 - v) / 2 * np.log(variance)
    model = Normal(by_x_0 * x_0_hat + by_x_t * x_t, (log_variance / 2).exp())
    return {
        "l2": float((noise - eps).square().mean()),
        "l1": float((noise - eps).abs().mean()),
        "vlb": float(kl_divergence(true, model).mean()) / log(2),
    }


def test_the_three_errors_are_those_of_a_literal_loop_in_float64(folder: Path, task: Task) -> None:
    ours = classifier(folder, draws=250)
    ours.prepare(task)
    (result,) = joined(ours.score(task.examples[:1], {}))
    measured = result.errors
    (picture,) = pictures(task, 1)
    for t in TIMESTEPS:
        draw = int(np.flatnonzero(ours.bank.timesteps == t)[0])
        for label in (0, 7):
            for name, expected in literal_errors(folder, picture, label, t).items():
                assert measured[name][0, label, draw] == pytest.approx(expected, rel=1e-5), (name, t, label)


def test_the_bound_by_hand() -> None:
    """With v = -1 the variances agree and the bound is the squared distance of the means over twice the variance."""
    bound = Bound.from_betas(torch.tensor([0.5, 0.5], dtype=torch.float64), torch.device("cpu"))
    error, v = torch.full((1, 1, 1, 2), 3.0), torch.full((1, 1, 1, 2), -1.0)
    # alphas_cumprod 0.5, 0.25: variance 0.5 * 0.5 / 0.75 = 1/3; distance 0.25 / (0.5 * 0.75) * 9 = 6; 6 / (2/3) = 9
    assert bound.bits(error, v, torch.tensor([1])).item() == pytest.approx(9 / log(2), rel=1e-6)
    # v = 1: variance 0.5, and no error at all: (log 1.5 + 2/3 - 1) / 2
    assert bound.bits(0 * error, -v, torch.tensor([1])).item() == pytest.approx(
        (log(1.5) + 2 / 3 - 1) / 2 / log(2), rel=1e-6
    )


def test_timesteps_and_noise_are_the_published_ones(untrained: Path) -> None:
    bank = classifier(untrained).bank
    order = np.argsort(bank.timesteps)
    assert bank.timesteps[order].tolist() == list(range(2, 1000, 4))
    noise = bank.noise(order.tolist(), (4, 8, 8))
    assert torch.equal(noise, literal.published_noise((4, 8, 8))[:250])


@pytest.mark.parametrize("n_draws", [10, 25, 50, 125])
def test_the_first_draws_are_spread_evenly_over_the_timesteps(untrained: Path, n_draws: int) -> None:
    timesteps = np.sort(classifier(untrained).bank.timesteps[:n_draws])
    quarters = np.bincount(timesteps // 250, minlength=4)
    assert quarters.max() - quarters.min() <= 2


def test_all_images_and_classes_share_the_draws_and_the_batch_size_changes_nothing(untrained: Path, task: Task) -> None:
    spec = replace(TINY_DIT, folder=untrained, draws=6)
    small, large = (spec.build(spec.source(), Runtime("cpu", size)) for size in (3, 64))
    results: list[list[Measurement]] = []
    for scorer in (small, large):
        scorer.prepare(task)
        results.append(joined(scorer.score(task.examples[:3], {})))
    for result, other in zip(*results, strict=True):
        np.testing.assert_allclose(result.errors["l2"], other.errors["l2"], rtol=1e-5)
        np.testing.assert_allclose(result.errors["vlb"], other.errors["vlb"], rtol=1e-5)


def test_nothing_waits_for_the_device_between_two_evaluations(untrained: Path, task: Task) -> None:
    denoiser = classifier(untrained).denoiser
    latents = denoiser.encode_pixels(torch.stack([denoiser.pixels(picture) for picture in pictures(task, 2)]))
    labels = denoiser.encode_captions(["3", "7"])
    with torch.inference_mode(), HostSyncs() as syncs:
        errors = denoiser.errors(latents, torch.ones(2, 4, 8, 8), torch.tensor([2, 998]), labels, ("vlb", "l2"))
    assert syncs.n == 0
    assert (errors.shape, errors.dtype) == ((2, 2), torch.float32)


def test_the_price_is_known_before_the_task_is_prepared(untrained: Path, task: Task) -> None:
    price = classifier(untrained, draws=9).price(task.examples[:2], probe_seconds=0.1)
    assert price.evaluations_per_pair == 9
    assert price.flops_per_evaluation > 1e6
    assert price.seconds_per_evaluation > 0


def test_the_pictures_are_halved_by_a_box_while_twice_too_large_and_their_middle_is_kept() -> None:
    blocks = np.random.default_rng(0).integers(0, 256, (8, 20, 3), dtype=np.uint8)
    picture = PIL.Image.fromarray(blocks.repeat(4, 0).repeat(4, 1))  # 80 x 32 px; halved twice it is the blocks
    expected = torch.from_numpy(blocks[:, 6:14].copy()).permute(2, 0, 1).float() / 255 * 2 - 1
    assert torch.allclose(adm_centre_crop(picture, 8), expected, atol=1e-6)


@pytest.mark.parametrize("size", [(48, 40), (40, 48), (20, 30), (32, 32)])
def test_a_picture_of_any_size_and_mode_becomes_a_square(size: tuple[int, int]) -> None:
    for mode in ("L", "P", "RGBA", "RGB"):
        pixels = adm_centre_crop(PIL.Image.new(mode, size, 0), 32)
        assert pixels.shape == (3, 32, 32)
        assert torch.equal(pixels, torch.full_like(pixels, -1))


def test_the_labels_of_the_shipped_model_are_those_of_the_task(task: Task) -> None:
    id2label: Mapping[str, str] = json.loads((TRAINED / "model_index.json").read_text())["id2label"]
    assert task.classes is not None
    assert task.classes.labels is not None
    named = {
        task.classes.names[which]: label
        for which, label in zip(task.classes.of_caption, task.classes.labels, strict=True)
    }
    assert named == {name: int(key) for key, name in id2label.items()}


def test_a_class_is_scored_under_its_own_label(task: Task) -> None:
    """Were labels mixed up, the shipped model would be right on a tenth of the digits."""
    ours = classifier(TRAINED, draws=4)
    ours.prepare(task)
    labels = np.array([example.matches[0].argmax() for example in task.examples])
    some = [number for label in range(10) for number in np.flatnonzero(labels == label)[:3]]
    results = joined(ours.score([task.examples[number] for number in some], {}))
    guesses = np.array([result.errors["l2"][0].mean(-1).argmin() for result in results])
    assert np.mean(guesses == labels[some]) > 0.6


def test_one_pass_measures_what_every_rule_reads(untrained: Path, task: Task, tmp_path: Path) -> None:
    spec = replace(TINY_DIT, folder=untrained, draws=3)
    frames = {
        rule: compbench.run(task, model=replace(spec, loss=rule), limit=5, runs=tmp_path).to_frame()
        for rule in ("l2", "vlb", "l2+vlb", "l1")
    }
    assert len(list(tmp_path.glob("*/*/*"))) == 1  # one run, read four ways
    l2, vlb, both, l1 = (frames[rule]["score_true"].to_numpy() for rule in ("l2", "vlb", "l2+vlb", "l1"))
    np.testing.assert_allclose(l2 + vlb, both, rtol=1e-12)
    assert not np.isclose(l2, l1).any()


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        (None, "no classes"),
        (Classes(("a",), (0,), "imagenet", (0,)), "'imagenet'"),
        (Classes(("a",), (0,)), "no label space"),
    ],
)
def test_a_task_of_other_labels_is_refused(untrained: Path, task: Task, classes: Classes | None, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        classifier(untrained).prepare(replace(task, classes=classes))


@pytest.mark.parametrize("label", ["10", "11", "-1", "a handwritten digit: three"])
def test_a_label_that_the_model_does_not_have_is_named(untrained: Path, label: str) -> None:
    with pytest.raises(UsageError, match=rf"tiny-dit.*{label}.*0 to 9 of 'digits'"):
        classifier(untrained).denoiser.encode_captions(["0", label])


def test_no_caption_is_the_class_of_none(untrained: Path) -> None:
    assert classifier(untrained).denoiser.encode_captions(["", "4"])["class_labels"].tolist() == [10, 4]


@pytest.fixture
def pickled(untrained: Path, tmp_path: Path) -> Path:
    """The untrained model as the hub's repositories hold it: .bin files, written by torch.save."""
    folder = tmp_path / "pickled"
    for part, kind in (("transformer", DiTTransformer2DModel), ("vae", AutoencoderKL)):
        module = kind.from_pretrained(untrained, subfolder=part, low_cpu_mem_usage=False)
        module.save_pretrained(folder / part, safe_serialization=False)
    (folder / "scheduler").mkdir()
    for name in ("model_index.json", "scheduler/scheduler_config.json"):
        (folder / name).write_text((untrained / name).read_text())
    # as published: the transformer's config is of diffusers' former class
    config = json.loads((folder / "transformer" / "config.json").read_text())
    former = config | {"_class_name": "Transformer2DModel", "cross_attention_dim": None, "num_vector_embeds": None}
    (folder / "transformer" / "config.json").write_text(json.dumps(former))
    return folder


def test_pickles_are_read_as_weights_only_and_that_is_said(untrained: Path, pickled: Path) -> None:
    said: list[str] = []
    spec = replace(TINY_DIT, folder=pickled)
    scorer = spec.build(spec.source(), Runtime("cpu", 4, say=said.append))
    assert "pickles (.bin)" in said[0]
    given = torch.ones(1, 4, 8, 8), torch.zeros(1, 4, 8, 8), torch.tensor([500])
    with torch.inference_mode():
        one, other = (
            given_model.denoiser.errors(*given, given_model.denoiser.encode_captions(["3"]), ("l2", "l1", "vlb"))
            for given_model in (scorer, classifier(untrained))
        )
    assert torch.equal(one, other)


class Touch:
    """A pickle that makes a file when it is read as pickles are."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_code_in_a_pickle_is_not_run(pickled: Path, tmp_path: Path) -> None:
    place = tmp_path / "was-run"
    torch.save({"weight": Touch(place)}, pickled / "transformer" / "diffusion_pytorch_model.bin")
    with pytest.raises(DataError, match="cannot be loaded"):
        classifier(pickled)
    assert not place.exists()
    with (pickled / "transformer" / "diffusion_pytorch_model.bin").open("wb") as file:
        pickle.dump(Touch(place), file)
    with pytest.raises(DataError, match="cannot be loaded"):
        classifier(pickled)
    assert not place.exists()


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("scheduler/scheduler_config.json", {"beta_schedule": "scaled_linear"}, "expected 'linear'"),
        ("scheduler/scheduler_config.json", {"prediction_type": "v_prediction"}, "expected 'epsilon'"),
        (
            "scheduler/scheduler_config.json",
            {"beta_end": "0.02"},
            "has beta_end '0.02' .* a number from 0 to 1",
        ),
        ("scheduler/scheduler_config.json", {"beta_end": float("nan")}, "has beta_end nan"),
        ("model_index.json", {"id2label": {"0": "zero"}}, "expected the labels 0 to 9"),
        ("model_index.json", {"id2label": {}}, "expected the labels 0 to 9"),
    ],
)
def test_what_is_no_dit_of_the_published_kind_is_refused(
    pickled: Path, name: str, change: Mapping[str, Any], words: str
) -> None:
    edit(pickled / name, **change)
    with pytest.raises(DataError, match=words):
        classifier(pickled)


def test_a_transformer_without_a_variance_is_refused(pickled: Path) -> None:
    fixed = DiTTransformer2DModel(
        num_attention_heads=1, attention_head_dim=8, in_channels=4, num_layers=1, sample_size=8, num_embeds_ada_norm=10
    )
    fixed.save_pretrained(pickled / "transformer", safe_serialization=False)
    with pytest.raises(DataError, match=r"4 output channels .* expected twice as many"):
        classifier(pickled)


@pytest.mark.parametrize("name", ["vae/diffusion_pytorch_model.bin", "model_index.json", "transformer/config.json"])
def test_a_missing_file_is_named(pickled: Path, name: str) -> None:
    (pickled / name).unlink()
    with pytest.raises(DataError, match=name.partition(".")[0]):
        classifier(pickled)


def test_the_specs_import_no_torch() -> None:
    heavy = "{'torch', 'diffusers', 'huggingface_hub'}"
    code = f"import sys, compbench.diffusion.families.dit; print({heavy} & {{*sys.modules}})"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


def test_the_published_models_are_measured_as_published() -> None:
    for spec in (DIT_256, DIT_512):
        assert spec.identity() == {"family": "dit", "protocol": "paper", "seed": 42, "dtype": "float32"}
        assert spec.view() == {"n_draws": 250, "target": "native", "reduction": "mse"}
        assert spec.label_space == "imagenet"
    assert DIT_256.source() == Source("facebook/DiT-XL-2-256", None)
    assert DIT_512.source() == Source("facebook/DiT-XL-2-512", None)
    assert {"transformer/diffusion_pytorch_model.bin", "model_index.json"} <= set(DIT_256.resolve(None).files)


def test_half_precision_is_the_transformer_s_alone(untrained: Path) -> None:
    denoiser: Any = classifier(untrained, dtype="bfloat16").denoiser
    answers: list[torch.Tensor] = []
    denoiser.parts.network.register_forward_hook(lambda network, told, answer: answers.append(answer[0].float()))
    latents, noise = torch.ones(2, 4, 8, 8), literal.published_noise((4, 8, 8))[:2]
    timesteps, labels = torch.tensor([2, 998]), denoiser.encode_captions(["3", "7"])
    with torch.inference_mode():
        squared, bound = denoiser.errors(latents, noise, timesteps, labels, ("l2", "vlb"))
        eps, v = answers[0].chunk(2, dim=1)
        exact = Bound.from_betas(dit.betas_of(denoiser.parts), torch.device("cpu")).bits(noise - eps, v, timesteps)
    assert torch.equal(squared, (noise - eps).square().flatten(1).mean(1))
    assert torch.equal(bound, exact)


def test_a_rule_only_reads_what_is_measured() -> None:
    rules = {rule: replace(TINY_DIT, loss=rule, draws=7) for rule in ("l2", "l1", "vlb", "l2+vlb")}
    assert len({json.dumps(dict(spec.identity())) for spec in rules.values()}) == 1
    read = {rule: Rule.of_view(spec.view()) for rule, spec in rules.items()}
    assert {rule: found.losses for rule, found in read.items()} == {
        "l2": ("l2",),
        "l1": ("l1",),
        "vlb": ("vlb",),
        "l2+vlb": ("l2", "vlb"),
    }
    assert all(found.draws == 7 for found in read.values())


@pytest.mark.parametrize("change", [{"seed": 1}, {"dtype": "bfloat16"}, {"protocol": "compbench"}])
def test_what_changes_a_measurement_changes_the_identity(change: Mapping[str, Any]) -> None:
    assert replace(DIT_256, **change).identity() != DIT_256.identity()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"draws": 251}, "1 to 250"),
        ({"draws": 0}, "1 to 250"),
        ({"seed": -1}, "0 or more"),
        ({"folder": Path("no")}, "'no'"),
        ({"risk": 0.2}, "risk=0.2 only applies to schedule=racing"),
        ({"bound": "asymptotic"}, "bound=asymptotic only applies to schedule=racing"),
        ({"tolerance": 0.01}, "tolerance=0.01 only applies to schedule=racing"),
    ],
)
def test_impossible_options_are_refused(options: Mapping[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        replace(DIT_256, **options)


def test_a_folder_without_a_transformer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no transformer/"):
        DiT("mine", folder=tmp_path).source()


def test_our_own_protocol_has_noise_of_its_own_and_the_whole_picture(untrained: Path) -> None:
    published, ours = (classifier(untrained, protocol=word, draws=4) for word in ("paper", "compbench"))
    assert np.array_equal(published.bank.timesteps, ours.bank.timesteps)
    assert not torch.equal(published.bank.noise([0], (4, 8, 8)), ours.bank.noise([0], (4, 8, 8)))
    wide = PIL.Image.new("RGB", (64, 32))
    wide.paste("white", (0, 0, 8, 32))
    assert published.denoiser.pixels(wide).max() == -1
    assert ours.denoiser.pixels(wide).max() == 1


def test_the_variance_of_the_shipped_model_is_learned(task: Task) -> None:
    """Its bound is tighter than with either fixed variance, the upper or the lower bound."""
    parts = dit.load(TRAINED, "tiny-dit", print)
    ours = classifier(TRAINED).denoiser
    latents = ours.encode_pixels(torch.stack([ours.pixels(picture) for picture in pictures(task, 40)]))
    labels = torch.tensor([int(example.matches[0].argmax()) for example in task.examples[:40]])
    bound = Bound.from_betas(dit.betas_of(parts), torch.device("cpu"))
    for t in (2, 10, 50):
        timesteps = torch.full((40,), t)
        alpha, sigma = ours.noising.alpha[t], ours.noising.sigma[t]
        noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(t))
        with torch.inference_mode():
            output = parts.network.eval()(alpha * latents + sigma * noise, timesteps, labels).sample
        eps, v = output.chunk(2, dim=1)
        learned, lowest, highest = (
            bound.bits(noise - eps, guess, timesteps).mean() for guess in (v, -torch.ones_like(v), torch.ones_like(v))
        )
        assert learned < min(lowest, highest)


def test_the_recipe_runs_from_digits_to_a_folder_that_is_a_model(task: Task, tmp_path: Path) -> None:
    recipe = train_dit.Recipe(largest_shift_px=0, held_out_draws=1, vae_steps=2, vae_batch=2, dit_steps=2, dit_batch=2)
    train_dit.train(recipe, tmp_path / "work", tmp_path / "out")
    result = compbench.run(
        task, model=replace(TINY_DIT, folder=tmp_path / "out" / "tiny-dit", draws=2), limit=3, runs=tmp_path / "runs"
    )
    assert np.isfinite(result.to_frame()[["score_true", "score_false"]]).all(axis=None)


def test_training_moves_digits_without_cutting_them(task: Task) -> None:
    pixels, labels = train_dit.training_pictures()
    assert (pixels.shape, labels.shape) == ((1200, 3, 32, 32), (1200,))
    moved = train_dit.shifted(pixels[:5], 3, -2)
    assert torch.equal(moved[..., 3:, :-2], pixels[:5, ..., :-3, 2:])
    assert torch.equal(moved.flatten(1).sort(1)[0], pixels[:5].flatten(1).sort(1)[0])
