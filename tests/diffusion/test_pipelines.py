"""The engine on real networks: parity with the literal loop, precision, loading."""

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

import literal
from compbench import registry
from compbench.core import rules
from compbench.core.errors import DataError
from compbench.core.examples import Example, Image
from compbench.core.measurements import joined
from compbench.core.models import Runtime, Source
from compbench.core.rules import Rule
from compbench.diffusion import _protocols, loading
from compbench.diffusion.classifier import DiffusionClassifier
from compbench.diffusion.draws import DrawBank
from compbench.diffusion.engine import ErrorEngine
from compbench.diffusion.families import stable_diffusion
from compbench.diffusion.families.addresses import stable_diffusion_at
from compbench.diffusion.families.in_memory import from_pipeline
from compbench.registry import checkpoints
from counting import HostSyncs
from edits import edit, edited

CAPTIONS = ("a red circle to the left of a blue square", "a blue square to the left of a red circle")
N_DRAWS = 40
TRAINED = Path(stable_diffusion.TINY_SD.repo)


def picture(seed, width=80, height=64):
    return PIL.Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def example(number):
    images = tuple(Image(f"{number}-{side}", lambda seed=2 * number + side: picture(seed)) for side in (0, 1))
    return Example(str(number), images, CAPTIONS, np.eye(2, dtype=bool))


def classifier(folder, batch_size=16, draws=N_DRAWS, **options):
    options = {"dtype": "float32", "protocol": "paper", **options}
    spec = replace(stable_diffusion_at(str(folder)), draws=draws, **options)
    return spec.build(spec.source(), Runtime("cpu", batch_size))


@pytest.mark.parametrize("target", ["eps", "v"])
def test_every_error_and_decision_is_that_of_the_literal_loop(target, tiny_pipeline_folder, tiny_eps_pipeline_folder):
    folder = {"eps": tiny_eps_pipeline_folder, "v": tiny_pipeline_folder}[target]
    ours = classifier(folder)
    assert ours.denoiser.target == target
    weights = Rule("eps").weights(ours.draw_table())[:N_DRAWS]
    timesteps = ours.bank.timesteps[:N_DRAWS].tolist()
    for image_example, result in zip(
        map(example, (0, 1)), joined(ours.score([example(0), example(1)], {})), strict=True
    ):
        published = literal.literal_errors(
            folder, [image.decode() for image in image_example.images], CAPTIONS, timesteps
        )
        np.testing.assert_allclose(result.errors["l2"] * weights, published, rtol=1e-5)
        scores = rules.score(result, ours.draw_table(), Rule("eps")).scores
        assert np.array_equal(np.argsort(scores, axis=None), np.argsort(-published.astype(float).mean(-1), axis=None))


@pytest.mark.slow
def test_the_shipped_model_agrees_with_the_literal_loop_on_all_thousand_draws():
    folder = TRAINED
    shown = registry.task("shapes").examples[0]
    ours = classifier(folder, batch_size=None, draws=1000)
    (result,) = joined(ours.score([shown], {}))
    pictures = [image.decode() for image in shown.images]
    published = literal.literal_errors(folder, pictures, shown.captions, ours.bank.timesteps.tolist())
    np.testing.assert_allclose(result.errors["l2"] * Rule("eps").weights(ours.draw_table()), published, rtol=1e-5)
    scores = rules.score(result, ours.draw_table(), Rule("eps")).scores
    assert np.array_equal(np.argsort(scores, axis=None), np.argsort(-published.astype(float).mean(-1), axis=None))


def units_apart(one, other):
    """How many numbers of half precision lie between those of two arrays, all positive."""
    return np.abs(np.subtract(*(np.asarray(errors, np.float16).view(np.int16).astype(int) for errors in (one, other))))


def assert_every_x_t_is_made_of_halves(seen, folder, denoiser, pictures, timesteps):
    """Bit for bit, in the order of the published line: latent * alpha + noise * sigma, each rounded."""
    alphas_cumprod = literal.load(folder).scheduler.alphas_cumprod.half()[timesteps].view(-1, 1, 1, 1)
    latents = denoiser.encode_pixels(torch.stack([denoiser.pixels(image) for image in pictures]))
    noise = literal.published_noise(denoiser.latent_shape)[timesteps].half()
    x_t = torch.cat([latent * alphas_cumprod**0.5 + noise * (1 - alphas_cumprod) ** 0.5 for latent in latents])
    assert (seen[:, None] == x_t).flatten(2).all(2).any(1).all()


def test_the_published_halves_are_those_of_the_literal_loop_to_one_unit_of_half_precision(tmp_path):
    """With trained weights, taken for those of an eps-model, where the halved schedule is furthest from the exact one.

    Batches have other shapes in the published loop, which is all that may move an error by a unit.
    """
    folder = edited(TRAINED, tmp_path / "model", "scheduler/scheduler_config.json", prediction_type="epsilon")
    denoiser = classifier(folder, protocol="published-fp16", dtype="float16").denoiser
    assert (denoiser.parts.network.dtype, denoiser.noising.alpha.dtype) == (torch.float16, torch.float16)
    timesteps = [0, 700]
    bank = DrawBank(
        np.array(timesteps), lambda draws, shape: literal.published_noise(shape)[[timesteps[draw] for draw in draws]]
    )
    ours, seen = DiffusionClassifier(denoiser, bank, len(timesteps), Runtime("cpu", 7)), []
    hook = denoiser.parts.network.register_forward_pre_hook(lambda network, told: seen.append(told[0]))
    (result,) = joined(ours.score([example(0)], {}))
    hook.remove()
    pictures = [image.decode() for image in example(0).images]
    assert_every_x_t_is_made_of_halves(torch.cat(seen), folder, denoiser, pictures, timesteps)
    published, exact = (
        literal.literal_errors(folder, pictures, CAPTIONS, timesteps, dtype) for dtype in (torch.float16, torch.float32)
    )
    assert np.array_equal(result.errors["l2"], result.errors["l2"].astype(np.float16))
    assert units_apart(result.errors["l2"], published).max() <= 1
    assert units_apart(result.errors["l2"], exact)[..., 0].min() > 10  # sigma is off by 7 % at t = 0
    scores = rules.score(result, ours.draw_table(), Rule("eps")).scores
    assert np.array_equal(np.argsort(scores, axis=None), np.argsort(-published.astype(float).mean(-1), axis=None))


@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 0.01), ("bfloat16", 0.08)])
def test_the_paper_protocol_in_half_precision_keeps_float32_arithmetic(dtype, tolerance, tiny_pipeline_folder):
    half, full = (classifier(tiny_pipeline_folder, draws=4, dtype=precision) for precision in (dtype, "float32"))
    assert half.draw_table().alpha.dtype == np.float32
    assert np.array_equal(half.draw_table().alpha, full.draw_table().alpha)
    (rounded,), (exact,) = joined(half.score([example(0)], {})), joined(full.score([example(0)], {}))
    np.testing.assert_allclose(rounded.errors["l2"], exact.errors["l2"], rtol=tolerance)
    assert not np.array_equal(rounded.errors["l2"], rounded.errors["l2"].astype(np.float16))


def test_errors_depend_neither_on_the_batch_size_nor_on_the_examples_before(tiny_pipeline_folder):
    examples = [example(0), example(1)]
    reference = joined(classifier(tiny_pipeline_folder, 16, draws=8, protocol="compbench").score(examples, {}))
    for batch_size in (1, 5, 64):
        ours = classifier(tiny_pipeline_folder, batch_size, draws=8, protocol="compbench")
        (alone,) = joined(ours.score(examples[1:], {}))
        np.testing.assert_allclose(alone.errors["l2"], reference[1].errors["l2"], rtol=1e-5)


def test_a_resumed_example_has_the_errors_of_an_uninterrupted_one(tiny_pipeline_folder):
    (first,) = classifier(tiny_pipeline_folder, draws=3).score([example(0)], {})
    (rest,) = classifier(tiny_pipeline_folder, draws=8).score([example(0)], {"0": first})
    (whole,) = classifier(tiny_pipeline_folder, draws=8).score([example(0)], {})
    np.testing.assert_allclose(
        np.concatenate([first.errors["l2"], rest.errors["l2"]], -1), whole.errors["l2"], rtol=1e-5
    )


def test_the_host_waits_once_a_call_and_not_once_a_batch(tiny_pipeline_folder):
    denoiser = classifier(tiny_pipeline_folder).denoiser
    latents = denoiser.encode_pixels(denoiser.pixels(picture(0))[None])
    states = denoiser.encode_captions(CAPTIONS)
    engine = ErrorEngine(denoiser, torch.randn(4, *denoiser.latent_shape), torch.tensor([1, 300, 600, 900]), 2)
    jobs = np.array([(0, c, d) for c in range(2) for d in range(4)])
    with HostSyncs() as syncs:
        engine.errors(latents, states, jobs)
    assert syncs.n == 1


def test_the_price_is_counted_on_the_real_network(tiny_pipeline_folder):
    price = classifier(tiny_pipeline_folder).price([example(0)], probe_seconds=0.1)
    assert price.evaluations_per_pair == N_DRAWS
    assert 5e7 < price.flops_per_evaluation < 5e8
    assert 0 < price.seconds_per_evaluation < 1


def test_captions_that_the_text_encoder_cuts_are_found(tiny_pipeline_folder):
    denoiser = classifier(tiny_pipeline_folder).denoiser
    long = "a red circle and " * 8
    assert denoiser.too_long([CAPTIONS[0], long]) == [long]
    assert denoiser.too_long([]) == []
    assert denoiser.encode_captions([long])["encoder_hidden_states"].shape == (1, 16, 96)


def test_loading_and_scoring_say_nothing(tiny_pipeline_folder, capfd, caplog):
    with caplog.at_level(logging.INFO):
        list(classifier(tiny_pipeline_folder, draws=2).score([example(0)], {}))
    assert capfd.readouterr() == ("", "")
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


# what can be wrong with a folder


@pytest.fixture
def copied(tiny_pipeline_folder, tmp_path):
    return shutil.copytree(tiny_pipeline_folder, tmp_path / "model")


def load(folder):
    return classifier(folder)


def test_a_folder_without_a_part_is_told_which(copied):
    shutil.rmtree(copied / "vae")
    with pytest.raises(DataError, match="has no vae/"):
        load(copied)


def test_pickled_weights_are_refused_with_what_to_do(copied):
    (copied / "unet" / "diffusion_pytorch_model.safetensors").rename(copied / "unet" / "diffusion_pytorch_model.bin")
    with pytest.raises(DataError, match=r"diffusion_pytorch_model.bin in unet/.*safe_serialization=True"):
        load(copied)


def test_sharded_weights_with_a_shard_missing_are_refused(copied):
    index = copied / "unet" / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "diffusion_pytorch_model-00001-of-00002.safetensors"}}))
    with pytest.raises(
        DataError, match=r"no whole unet/diffusion_pytorch_model.safetensors .*-00001-of-00002.* not there"
    ):
        load(copied)


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("scheduler/scheduler_config.json", {"prediction_type": "flow_prediction"}, "predicts 'flow_prediction'"),
        ("scheduler/scheduler_config.json", {"_class_name": "MyScheduler"}, "names a scheduler 'MyScheduler'"),
        (
            "scheduler/scheduler_config.json",
            {"_class_name": "FlowMatchEulerDiscreteScheduler"},
            "without alphas_cumprod",
        ),
        ("vae/config.json", {"latent_channels": 4}, r"U-Net of 8 input channels on latents of 4"),
        ("unet/config.json", {"sample_size": [8, 8]}, r"has sample_size \[8, 8\]"),
    ],
)
def test_a_pipeline_of_another_kind_is_refused(file, changes, message, copied):
    edit(copied / file, **changes)
    with pytest.raises(DataError, match=message):
        load(copied)


def test_truncated_weights_are_told(copied):
    weights = copied / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(DataError, match="is truncated or not a safetensors file"):
        load(copied)


def test_an_inpainting_network_is_refused(tiny_pipeline_folder):
    pipeline = literal.load(tiny_pipeline_folder)
    pipeline.unet = type(pipeline.unet).from_config(dict(pipeline.unet.config) | {"in_channels": 17})
    with pytest.raises(DataError, match="U-Net of 17 input channels on latents of 8"):
        from_pipeline(pipeline).build(None, Runtime("cpu"))


def test_a_model_that_predicts_the_picture_is_measured_in_its_own_target(copied):
    edit(copied / "scheduler" / "scheduler_config.json", prediction_type="sample")
    assert load(copied).draw_table().target == "x0"


def test_a_v_model_with_zero_terminal_snr_is_measured(copied):
    edit(copied / "scheduler" / "scheduler_config.json", rescale_betas_zero_snr=True)
    ours = load(copied)
    assert ours.draw_table().alpha.min() == 0
    assert np.isfinite(Rule("eps").weights(ours.draw_table())).all()


# a pipeline in memory


def test_a_pipeline_in_memory_is_scored_as_from_its_folder_and_left_as_it_is(tiny_pipeline_folder):
    pipeline = literal.load(tiny_pipeline_folder)
    pipeline.unet.train()
    spec = from_pipeline(pipeline, "mine", draws=4, protocol="compbench")
    assert spec.source() is None
    (in_memory,) = spec.build(None, Runtime("cpu", 8)).score([example(0)], {})
    assert pipeline.unet.training
    (from_folder,) = classifier(tiny_pipeline_folder, 8, draws=4, protocol="compbench").score([example(0)], {})
    np.testing.assert_allclose(in_memory.errors["l2"], from_folder.errors["l2"], rtol=1e-6)


def test_the_identity_of_a_pipeline_in_memory_follows_its_weights(tiny_pipeline_folder):
    pipeline = literal.load(tiny_pipeline_folder)
    before = from_pipeline(pipeline).for_task("shapes").identity()
    assert from_pipeline(pipeline).for_task("shapes").identity() == before
    with torch.no_grad():
        next(pipeline.unet.parameters()).add_(1)
    after = from_pipeline(pipeline).for_task("shapes").identity()
    assert after != before
    assert after["dtype"] == "float32"


def test_only_the_network_is_in_half_precision_under_our_protocol():
    ours, paper, published = (
        _protocols.precision(protocol, "float16") for protocol in ("compbench", "paper", "published-fp16")
    )
    assert (ours.network, ours.encoders, ours.arithmetic) == (torch.float16, torch.float32, torch.float32)
    assert (paper.network, paper.encoders, paper.arithmetic) == (torch.float16, torch.float16, torch.float32)
    assert published.arithmetic == torch.float16


def test_a_model_that_is_nowhere_is_told_before_it_is_loaded(tmp_path):
    with pytest.raises(DataError, match="no folder"):
        loading.fetch_folder(Source(str(tmp_path / "none"), is_local=True), checkpoints.stable_diffusion, True, "mine")
