"""Likelihoods of pictures' tokens: those of the model's own generation, whatever the batch; else it is refused."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
import transformers

import compbench
import small_transformers
from captioned import unmasked
from compbench import registry
from compbench.cli.app import main
from compbench.core.errors import DataError, RunError, UnreadableImage, UsageError
from compbench.core.examples import Image
from compbench.core.metrics import named
from compbench.core.models import Runtime
from compbench.store.positions import by_position
from compbench.store.run import Run
from compbench_baselines.vlm import _janus_scorer as janus_scorer
from edits import edited

EXAMPLES = registry.task("shapes").examples[:3]
NOISE = np.random.default_rng(0).integers(0, 256, (48, 32, 3), np.uint8)
PICTURES = [EXAMPLES[0].images[0].decode(), PIL.Image.fromarray(NOISE)]
CAPTIONS = ["a circle", "a red circle to the left of a blue square", "Yes"]
N_TOKENS, N_CODES = 16, 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_transformers.save(tmp_path_factory.mktemp("janus") / "janus", "janus")


def scores(folder: Path, **settings: Any) -> Any:
    return compbench.score_pairs(f"janus:{folder}", PICTURES, CAPTIONS, device="cpu", **settings)


def scorer(folder: Path, batch_size: int | None = None, **runtime: Any) -> Any:
    spec = registry.model(f"janus:{folder}").spec
    return spec.build(spec.source(), Runtime("cpu", batch_size, **runtime))


@torch.inference_mode()
def tokens_of(network: Any, processor: Any, picture: PIL.Image.Image) -> list[int]:
    """By the published code of the image tokenizer: the nearest code, all of length 1, to what the encoder sees."""
    made = processor.image_processor
    normal = made(picture.convert("RGB"), return_tensors="pt")["pixel_values"][0]
    shape = (3, 1, 1)
    colours = normal * torch.tensor(made.image_std).view(shape) + torch.tensor(made.image_mean).view(shape)
    vq = network.model.vqmodel
    seen = vq.quant_conv(vq.encoder((2 * colours - 1)[None]))[0]  # [d, h, w]
    codes = F.normalize(vq.quantize.embedding.weight, dim=-1)
    places = [F.normalize(seen[:, y, x], dim=0) for y in range(seen.shape[1]) for x in range(seen.shape[2])]
    return [int((codes - place).square().sum(-1).argmin()) for place in places]


class Forced:
    """A processor of logits that notes them and makes a greedy search take the given tokens."""

    def __init__(self, tokens: list[int]) -> None:
        self.tokens, self.logits = tokens, []

    def __call__(self, _: Any, logits: torch.Tensor) -> torch.Tensor:
        self.logits.append(logits.clone())  # [with the prompt and without, codes]
        return F.one_hot(torch.tensor([self.tokens[len(self.logits) - 1]] * 2), N_CODES).float()


@torch.inference_mode()
def generated(folder: Path, picture: PIL.Image.Image, caption: str) -> Any:
    """[2, T] the log-likelihoods as by `generate`, token by token: under the prompt, and under that of its guidance."""
    network, processor = small_transformers.network_of(folder)
    tokens = tokens_of(network, processor, picture)
    messages = [{"role": "user", "content": [{"type": "text", "text": caption}]}]
    prompt = processor.apply_chat_template(messages, add_generation_prompt=True)
    inputs = processor(text=prompt, generation_mode="image", return_tensors="pt")
    network.generation_config.generation_kwargs = {"boi_token_id": processor.tokenizer.boi_token_id}
    forced = Forced(tokens)
    made = network.generate(**inputs, generation_mode="image", do_sample=False, logits_processor=[forced])
    assert made[0].tolist() == tokens
    found = torch.stack(forced.logits, dim=1).log_softmax(-1)  # [2, T, codes]
    return found.gather(-1, torch.tensor(tokens).expand(2, -1)[..., None])[..., 0].numpy()


def test_scores_are_the_likelihoods_that_the_models_own_generation_gives_the_pictures_tokens(folder: Path) -> None:
    found = scores(folder)
    expected = np.array(
        [[generated(folder, picture, caption)[0].sum() for caption in CAPTIONS] for picture in PICTURES]
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert min(np.ptp(found, axis=axis).min() for axis in (0, 1)) > 1e-2  # pictures and captions tell


def test_the_empty_prompt_is_that_of_the_models_guidance(folder: Path) -> None:
    (found,) = scorer(folder).score(EXAMPLES[:1], {})
    expected = [generated(folder, image.decode(), "")[1].sum() for image in EXAMPLES[0].images]
    np.testing.assert_allclose(found.unconditional, expected, rtol=1e-5)


def test_the_parts_by_position_are_the_tokens_log_likelihoods_line_by_line(folder: Path) -> None:
    (found,) = scorer(folder).score(EXAMPLES[:1], {})
    assert found.by_position.shape == (2, 2, 4, 4)
    expected = generated(folder, EXAMPLES[0].images[1].decode(), EXAMPLES[0].captions[0])[0]
    np.testing.assert_allclose(found.by_position[1, 0].ravel(), expected, atol=1e-5)
    np.testing.assert_allclose(found.by_position.sum((2, 3)), found.scores, rtol=1e-6)


def test_pictures_tokens_are_transformers_own_where_all_codes_are_of_one_length(folder: Path) -> None:
    made = scorer(folder)
    vq = made._network.model.vqmodel
    pixels = torch.stack([made._pixels(image) for image in EXAMPLES[0].images])
    with torch.inference_mode():
        vq.quantize.embedding.weight.copy_(F.normalize(vq.quantize.embedding.weight, dim=-1))
        expected = vq.encode(pixels).image_tokens.view(2, -1)
    assert torch.equal(torch.stack(made._tokens(pixels, 2)), expected)
    assert len(set(expected.ravel().tolist())) > 4


def test_batch_size_and_padding_side_change_nothing(folder: Path, tmp_path: Path) -> None:
    expected = scores(folder, batch_size=1)
    for size in (2, 6, 16):
        np.testing.assert_allclose(scores(folder, batch_size=size), expected, rtol=1e-6)
    copy = edited(folder, tmp_path / "right", "tokenizer_config.json", padding_side="right")
    np.testing.assert_allclose(scores(copy, batch_size=6), expected, rtol=1e-6)


def test_without_the_mask_the_batch_would_change_scores(folder: Path) -> None:
    made = scorer(folder, 16)
    example = replace(EXAMPLES[0], captions=(CAPTIONS[0], CAPTIONS[1]))
    (expected,) = made.score([example], {})
    unmasked(made._network.model.language_model)
    (blind,) = made.score([example], {})
    assert np.abs(blind.scores[:, 0] - expected.scores[:, 0]).min() > 1e-2  # the shorter caption
    np.testing.assert_allclose(blind.scores[:, 1], expected.scores[:, 1], rtol=1e-6)


def test_each_picture_pair_and_empty_prompt_is_computed_once_and_each_caption_read_once(folder: Path) -> None:
    made = scorer(folder, 5)
    counts, read = Counter[str](), Counter[str]()
    network, rendered = made._network.model, made._rendered
    network.vqmodel.encoder.register_forward_pre_hook(lambda _, inputs: counts.update(pictures=len(inputs[0])))
    network.language_model.register_forward_pre_hook(
        lambda _, inputs, given: counts.update(rows=len(given["inputs_embeds"])), with_kwargs=True
    )
    made._rendered = lambda caption: (read.update([caption]), rendered(caption))[1]
    assert len(list(made.score([*EXAMPLES, EXAMPLES[0]], {}))) == 4
    captions = {caption for example in EXAMPLES for caption in example.captions}
    assert counts["pictures"] == 6
    assert 12 + 6 <= counts["rows"] <= 12 + 6 + 4  # pairs that come again in a later window are computed again
    assert read == Counter(captions)


def test_the_price_counts_the_empty_prompt_of_each_picture_and_what_is_stored_of_each_token(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["run", "shapes", "--model", f"janus:{folder}", "--limit", "6", "--device", "cpu", "--runs", str(tmp_path)]
    assert main([*asked, "--dry-run", "--format", "json"]) == 0
    (plan,) = json.loads(capsys.readouterr().out)
    assert (plan["pairs"], plan["evaluations"]) == (24, 24 + 12)
    assert plan["store_bytes"] == 24 * (32 + 4 * N_TOKENS)
    assert plan["tflops"] > 0
    assert plan["seconds"] > 0


def test_the_price_is_probed_on_a_picture_that_can_be_read(folder: Path, tmp_path: Path) -> None:
    torn = Image("torn", tmp_path / "torn.png")
    (tmp_path / "torn.png").write_bytes(b"no picture")
    example = replace(EXAMPLES[0], images=(torn, EXAMPLES[0].images[1]))
    assert scorer(folder).scoring_cost([example]).seconds > 0
    with pytest.raises(UnreadableImage, match="torn"):
        scorer(folder).scoring_cost([replace(example, images=(torn,), matches=np.eye(1, 2, dtype=bool))])


def test_memory_that_runs_out_halves_the_batch_and_changes_nothing(folder: Path) -> None:
    said: list[str] = []
    made = scorer(folder, 8, say=said.append)
    (expected,) = scorer(folder).score(EXAMPLES[:1], {})

    def full(_: Any, inputs: Any, given: Any) -> None:
        if len(given["inputs_embeds"]) > 2:
            raise torch.OutOfMemoryError("out of memory")

    made._network.model.language_model.register_forward_pre_hook(full, with_kwargs=True)
    (found,) = made.score(EXAMPLES[:1], {})
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-6)
    assert [line for line in said if "→" in line] == [
        "out of memory: batch size 8 → 4",
        "out of memory: batch size 4 → 2",
    ]


def test_in_half_precision_tokens_and_soft_max_stay_in_float32(folder: Path) -> None:
    spec = registry.model(f"janus:{folder}", {"dtype": "bfloat16"}).spec
    made: Any = spec.build(spec.source(), Runtime("cpu"))
    (found,) = made.score(EXAMPLES[:1], {})
    (whole,) = scorer(folder).score(EXAMPLES[:1], {})
    assert made._network.model.language_model.dtype == torch.bfloat16
    assert made._network.model.vqmodel.dtype == torch.float32
    assert found.by_position.dtype == np.float32
    bits = found.by_position.ravel().view(np.uint32) & 0xFFFF
    assert (bits != 0).mean() > 0.5  # numbers that bfloat16 does not have
    np.testing.assert_allclose(found.scores, whole.scores, rtol=0.1)


@pytest.mark.slow
def test_a_command_tabulates_it_beside_every_other_kind(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = ["--runs", str(tmp_path / "runs")]
    others = {"vqascore": "qwen3-vl", "transformers": "blip", "text-prior": "qwen3"}
    places = {scheme: small_transformers.save(tmp_path / family, family) for scheme, family in others.items()}
    names = [f"janus:{folder}", "tiny-clip", *(f"{scheme}:{place}" for scheme, place in places.items())]
    asked = [word for name in names for word in ("--model", name)]
    assert main(["run", "shapes", *asked, "--limit", "6", "--device", "cpu", *runs]) == 0
    capsys.readouterr()
    assert main(["show", "shapes", "--by", "tag", "--format", "csv", *runs]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    for tag in {row["tag"] for row in rows}:
        assert {row["model"] for row in rows if row["tag"] == tag and row["metric"] == "text"} == set(names)


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    runs = tmp_path_factory.mktemp("runs")
    return compbench.run("shapes", model=f"janus:{folder}", limit=2, runs=runs, device="cpu")


def test_images_are_compared_by_what_the_caption_brings_them_and_raw_beside(run: Run) -> None:
    table = run.table()
    assert table.unconditional is not None
    gained = table.scores - table.unconditional[:, :, None]
    by_name = {metric.name: metric.outcome(table) for metric in named(["text", "image"], unconditional=True)}
    for name, scores in (("image", gained), ("image_raw", table.scores)):
        right = scores[:, [0, 1], [0, 1]] > scores[:, [1, 0], [0, 1]]  # of each caption, over images
        assert np.array_equal(by_name[name], right.all(1))
    assert np.array_equal(by_name["text"], (table.scores[:, [0, 1], [0, 1]] > table.scores[:, [0, 1], [1, 0]]).all(1))


def test_a_map_is_read_from_the_run_and_sums_to_the_difference_of_scores(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    example_id = min(run.done())
    assert main(["explain", str(run.path), example_id]) == 0
    made = compbench.explain(run, example_id)
    assert capsys.readouterr().out.strip() == str(made.path)
    scores = run.table(ids=[example_id]).scores[0]
    for (image, caption, other), heat in zip(made.choices, made.maps, strict=True):
        assert heat.shape == (4, 4)
        assert heat.sum() == pytest.approx(scores[image, caption] - scores[image, other], rel=1e-4, abs=1e-4)
    with np.load(made.path.with_suffix(".npz")) as stored:
        assert "likelihood of the picture's tokens" in str(stored["about"])


def test_what_has_no_map_is_told(run: Run) -> None:
    with pytest.raises(UsageError, match="has no draws: a likelihood is exact"):
        compbench.explain(run, min(run.done()), draws=2)
    rest = next(example_id for example_id in run.examples()["id"] if example_id not in run.done())
    with pytest.raises(UsageError, match="is not measured yet"):
        compbench.explain(run, rest)


def test_an_example_of_too_many_pairs_keeps_sums_and_that_is_said(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(janus_scorer, "_MOST_PAIRS", 3)
    run = compbench.run("shapes", model=f"janus:{folder}", limit=2, runs=tmp_path, device="cpu")
    assert "have more than 3 pairs; their log-likelihoods are stored as sums" in capsys.readouterr().err
    assert by_position(run, min(run.done())) is None
    with pytest.raises(UsageError, match="has no maps: its model gives one score"):
        compbench.explain(run, min(run.done()))


class TestRefused:
    @pytest.mark.parametrize("part", ["model.generation_head.", "model.vqmodel.encoder."])
    def test_weights_without_a_generation_head_or_an_image_tokenizer(
        self, folder: Path, tmp_path: Path, part: str
    ) -> None:
        shutil.copytree(folder, tmp_path / "x")
        file = tmp_path / "x" / "model.safetensors"
        kept = {name: value for name, value in safetensors.torch.load_file(file).items() if not name.startswith(part)}
        safetensors.torch.save_file(kept, file, {"format": "pt"})
        with pytest.raises(DataError, match=part):
            scores(tmp_path / "x")

    def test_another_class(self, folder: Path, tmp_path: Path) -> None:
        copy = edited(folder, tmp_path / "x", "config.json", architectures=["LlamaForCausalLM"])
        with pytest.raises(DataError, match="is a LlamaForCausalLM; expected a JanusForConditionalGeneration"):
            scores(copy)

    def test_a_chat_template_that_drops_the_caption_and_none(self, folder: Path, tmp_path: Path) -> None:
        copy = shutil.copytree(folder, tmp_path / "x")
        (copy / "chat_template.jinja").write_text("{{ bos_token }}<|Assistant|>:")
        with pytest.raises(DataError, match="the chat template changes or drops the caption"):
            scores(copy)
        (copy / "chat_template.jinja").unlink()
        with pytest.raises(DataError, match="the model has no chat template"):
            scores(copy)

    def test_a_picture_of_another_number_of_tokens(self, folder: Path, tmp_path: Path) -> None:
        shutil.copytree(folder, tmp_path / "x")
        file = tmp_path / "x" / "processor_config.json"
        file.write_text(file.read_text().replace("32\n", "64\n").replace("32,", "64,"))
        with pytest.raises(DataError, match=r"a picture becomes 64 tokens .* says 16"):
            scores(tmp_path / "x")

    def test_numbers_that_are_none(self, folder: Path) -> None:
        made = scorer(folder)
        with torch.no_grad():
            made._network.model.generation_head.vision_head.weight.fill_(float("nan"))
        with pytest.raises(RunError, match=r"the log-likelihood of image .* under caption .* is nan"):
            list(made.score(EXAMPLES[:1], {}))

    @pytest.mark.parametrize(
        ("caption", "says"),
        [
            ("x" * 500, r"make 5.. tokens, and the context holds 512"),
            ("a <begin_of_image>", "spells a token of pictures, <begin_of_image>"),
            ("a <pad>", "spells '<pad>', which this model does not read as words"),
            (" ", "empty"),
        ],
    )
    def test_captions_that_cannot_be_read_as_they_are(self, folder: Path, caption: str, says: str) -> None:
        with pytest.raises((DataError, UsageError), match=says):
            compbench.score_pairs(f"janus:{folder}", PICTURES, ["a circle", caption], device="cpu")


def test_the_class_is_one_of_the_installed_library() -> None:
    assert hasattr(transformers, "JanusForConditionalGeneration")
