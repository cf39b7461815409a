"""The tiny models: what ships, what it can do, and the recipe that made it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import compbench
from compbench.cli import main
from compbench.tasks import scenes
from compbench.tasks.drawings import canvases
from compbench.tasks.emoji import emoji
from compbench.tiny import train
from compbench.tiny.tokenizer import CONTEXT_LENGTH, EMOJI_WORDS, make_tokenizer
from compbench.tiny.train_emoji import RECIPE

TINY = Path(train.__file__).parent


def test_the_models_ship_as_small_float16_safetensors() -> None:
    names = ("tiny-sd", "tiny-clip", "tiny-dit", "emoji-sd", "emoji-flow", "emoji-clip")
    files = [file for name in names for file in (TINY / name).rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 33e6  # the wheel's own law holds all of it below 25 MB
    assert {"open_clip_model.safetensors", "diffusion_pytorch_model.safetensors"} <= {file.name for file in files}
    assert not [file for file in files if file.suffix in (".bin", ".pt", ".pkl")]


def test_the_words_of_the_scenes_are_one_token_each_and_captions_fit() -> None:
    tokenizer = make_tokenizer()
    for colour in scenes.COLOURS:
        for shape in scenes.SHAPES:
            assert len(tokenizer(f"a {colour} {shape}").input_ids) == 3 + 2
    captions = [scenes.training_scene(np.random.default_rng([1, n]))[1] for n in range(300)]
    assert max(len(tokenizer(caption).input_ids) for caption in captions) <= CONTEXT_LENGTH


def test_shipped_tokenizers_are_the_recipe_s() -> None:
    from transformers import AutoTokenizer, CLIPTokenizer

    text = "on the left a red circle and on the right a zebra"
    expected = make_tokenizer()(text).input_ids
    assert CLIPTokenizer.from_pretrained(TINY / "tiny-sd" / "tokenizer")(text).input_ids == expected
    assert AutoTokenizer.from_pretrained(TINY / "tiny-clip")(text).input_ids == expected
    expected = make_tokenizer(EMOJI_WORDS)(text).input_ids
    for folder in ("emoji-sd/tokenizer", "emoji-flow/tokenizer", "emoji-flow/tokenizer_2"):
        assert CLIPTokenizer.from_pretrained(TINY / folder)(text).input_ids == expected
    assert AutoTokenizer.from_pretrained(TINY / "emoji-clip")(text).input_ids == expected


def test_every_word_of_emoji_is_one_token_and_captions_fit() -> None:
    tokenizer = make_tokenizer(EMOJI_WORDS)
    captions = [caption for example in emoji().examples for caption in example.captions]
    tokens = tokenizer(captions).input_ids
    assert {len(ids) - len(caption.split()) for ids, caption in zip(tokens, captions, strict=True)} == {2}
    drawn = [canvases.training_canvas(np.random.default_rng([1, number]))[1] for number in range(300)]
    assert max(len(ids) for ids in tokenizer(drawn).input_ids) <= CONTEXT_LENGTH


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("emoji-clip", {}),
        pytest.param("emoji-sd", {"draws": 8}, marks=pytest.mark.slow),
        pytest.param("emoji-flow", {"draws": 8}, marks=pytest.mark.slow),
    ],
)
def test_the_models_of_emoji_bind_what_they_were_shown_and_less_of_another_artist(
    model: str, options: dict[str, int], tmp_path: Path
) -> None:
    frame = compbench.run("emoji", model=model, limit=120, runs=tmp_path, **options).to_frame()
    text = frame.groupby("artist")["text"].mean()
    assert frame["text"].mean() > 0.5  # chance is 0.25
    assert text["Twemoji"] > text["Noto"] > 0.35


def test_a_model_of_ours_without_a_t5_is_not_told_to_lack_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", "emoji", "--model", "emoji-flow", "--limit", "2", "-o", "draws=1", "--runs", str(tmp_path)]
    assert main(words) == 0
    assert "text_encoder_3" not in capsys.readouterr().err


def test_a_model_that_cannot_read_the_captions_of_emoji_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for model, expected in (("tiny-clip", "the text encoder's context (16 tokens)"), ("emoji-clip", None)):
        assert main(["run", "emoji", "--model", model, "--limit", "12", "--runs", str(tmp_path)]) == 0
        said = " ".join(capsys.readouterr().err.split())
        assert (expected in said) if expected else ("context" not in said)


@pytest.mark.parametrize(
    ("model", "options"), [("tiny-clip", {}), pytest.param("tiny-sd", {"draws": 16}, marks=pytest.mark.slow)]
)
def test_a_shipped_model_binds_colours_to_shapes(tmp_path: Path, model: str, options: dict[str, object]) -> None:
    frame = compbench.run("shapes", model=model, limit=36, runs=tmp_path, **options).to_frame()
    bound = frame[frame["tag"] != "Object"]
    assert len(bound) > 15
    assert bound["text"].mean() > 0.8  # chance is 0.25


def test_training_that_was_stopped_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    def stage(work: Path) -> train.Stage:
        torch.manual_seed(0)
        work.mkdir(exist_ok=True)
        return train.Stage("line", work, {"line": nn.Linear(3, 1)}, 9, lambda step: 0.1 / (step + 1))

    def loss_of(one: train.Stage, stops_at: int | None = None):
        def loss(step: int) -> torch.Tensor:
            if step == stops_at:
                raise KeyboardInterrupt
            batch = torch.randn(4, 3, generator=torch.Generator().manual_seed(step))
            return (one.modules["line"](batch) - 1).square().mean()

        return loss

    whole = stage(tmp_path / "whole")
    whole.run(loss_of(whole), save_every=2)
    stopped = stage(tmp_path / "stopped")
    with pytest.raises(KeyboardInterrupt):
        stopped.run(loss_of(stopped, stops_at=5), save_every=2)
    resumed = stage(tmp_path / "stopped")
    resumed.run(loss_of(resumed), save_every=2)
    for key, value in whole.modules.state_dict().items():
        assert torch.equal(value, resumed.modules.state_dict()[key])


@pytest.mark.parametrize("whole", [train.Recipe(), pytest.param(RECIPE, marks=pytest.mark.slow)], ids=("tiny", "emoji"))
def test_the_recipe_runs_from_scenes_to_both_folders(tmp_path: Path, whole: train.Recipe) -> None:
    recipe = dataclasses.replace(
        whole, vae_steps=2, vae_batch=2, bank_scenes=6, sd_steps=2, sd_batch=2, clip_steps=2, clip_batch=4, seed=1
    )
    train.train(recipe, tmp_path / "work", tmp_path / "out")
    pairs = [scene for number in range(2) for scene in recipe.scenes(np.random.default_rng(number))]
    images, captions = [image for image, _ in pairs], [caption for _, caption in pairs]
    for model in (f"sd:{tmp_path}/out/{recipe.sd_name}", f"open-clip:{tmp_path}/out/{recipe.clip_sizes.name}"):
        options = {"draws": 2, "dtype": "float32"} if model.startswith("sd:") else {}
        scores = compbench.load_model(model, **options).score_pairs(images, captions)
        assert scores.shape == (2, 2)
        assert np.isfinite(scores).all()
