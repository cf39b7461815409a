"""Models of transformers in memory: scores as by the library's own calls, told apart, left as they are.

The networks are untrained ones of a few thousand weights, made of transformers' own configurations.
"""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import compbench
import fakes
from compbench import registry
from compbench.core.errors import DataError, UsageError
from compbench.tiny import __file__ as tiny_file

PX, LENGTH = 32, 24
EXAMPLE = registry.task("shapes").examples[0]
PICTURES = [image.decode().convert("RGB") for image in EXAMPLE.images]
CAPTIONS = [*EXAMPLE.captions, "a circle"]
SIZE = {"height": PX, "width": PX}


def made(family: str) -> tuple[Any, Any]:
    """An untrained model, its weights so large that pictures and captions tell, and its processor."""
    model, processor = untrained(family)
    with torch.no_grad():
        for weights in model.parameters():
            weights.mul_(10 if weights.ndim > 1 else 1)
    return model, processor


def untrained(family: str) -> tuple[Any, Any]:
    tokenizer = transformers.AutoTokenizer.from_pretrained(Path(tiny_file).parent / "tiny-clip")
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    shape |= {"attention_dropout": 0.5, "attention_probs_dropout_prob": 0.5}  # at work in training alone
    tokens = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    text = {**shape, **tokens, "vocab_size": len(tokenizer), "max_position_embeddings": LENGTH}
    vision = {**shape, "image_size": PX, "patch_size": 8}
    torch.manual_seed(0)
    if family == "clip":
        config: Any = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)
        images: Any = transformers.CLIPImageProcessor(size={"shortest_edge": PX}, crop_size=SIZE)
        return transformers.CLIPModel(config).eval(), transformers.CLIPProcessor(images, tokenizer)
    if family == "siglip":
        config = transformers.SiglipConfig(text_config=text, vision_config=vision)
        images = transformers.SiglipImageProcessor(size=SIZE)
        return transformers.SiglipModel(config).eval(), transformers.SiglipProcessor(images, tokenizer)
    text["encoder_hidden_size"] = 16
    config = transformers.BlipConfig(text_config=text, vision_config=vision, projection_dim=8, image_text_hidden_size=8)
    model = transformers.BlipForImageTextRetrieval(config).eval()
    return model, transformers.BlipProcessor(transformers.BlipImageProcessor(size=SIZE), tokenizer)


FAMILIES = ["clip", "siglip", "blip-itm"]


@torch.inference_mode()
def by_the_library(family: str, model: Any, processor: Any) -> Any:
    """[I, C] as the pages of transformers compute it."""
    if family == "blip-itm":
        rows = []
        for picture in PICTURES:
            odds = []
            for caption in CAPTIONS:  # one pair at a time, without any padding
                inputs = {**processor.image_processor(picture, return_tensors="pt"),
                          **processor.tokenizer(caption, return_tensors="pt")}  # fmt: skip
                no, yes = model(**inputs).itm_score[0].tolist()
                odds.append(yes - no)
            rows.append(odds)
        return np.array(rows)
    padding: Any = {"padding": True} if family == "clip" else {"padding": "max_length", "max_length": LENGTH}
    inputs = {**processor.image_processor(PICTURES, return_tensors="pt"),
              "input_ids": processor.tokenizer(CAPTIONS, return_tensors="pt", **padding)["input_ids"]}  # fmt: skip
    found = model(**inputs)
    images, texts = (
        torch.nn.functional.normalize(embeds, dim=-1) for embeds in (found.image_embeds, found.text_embeds)
    )
    return (images @ texts.T).numpy()


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_are_those_of_the_librarys_own_calls(family: str) -> None:
    model, processor = made(family)
    ours = compbench.score_pairs(compbench.from_transformers(model, processor), PICTURES, CAPTIONS)
    np.testing.assert_allclose(ours, by_the_library(family, model, processor), atol=1e-5)
    assert len(np.unique(ours.round(9))) == ours.size  # else nothing would be shown


@pytest.mark.parametrize("family", FAMILIES)
def test_a_run_is_found_again_and_another_model_or_setting_is_another_run(family: str, tmp_path: Path) -> None:
    model, processor = made(family)

    def path(model: Any, processor: Any) -> Path:
        return compbench.run(fakes.task(2), model=compbench.from_transformers(model, processor), runs=tmp_path).path

    first = path(model, processor)
    assert path(*made(family)) == first
    trained = copy.deepcopy(model)
    with torch.no_grad():
        trained.vision_model.post_layernorm.bias.add_(0.1)
    other = copy.deepcopy(processor)
    other.image_processor.image_mean = [0.1, 0.2, 0.3]
    assert len({first, path(trained, processor), path(model, other)}) == 3


def test_the_number_of_heads_is_a_setting_that_no_weight_tells() -> None:
    model, processor = made("clip")
    other = copy.deepcopy(model)
    other.text_model.encoder.layers[0].self_attn.num_heads = 1
    assert (
        compbench.from_transformers(model, processor).identity()
        != compbench.from_transformers(other, processor).identity()
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_left_in_training_and_scored_in_evaluation(family: str) -> None:
    model, processor = made(family)
    asked = compbench.from_transformers(model, processor)
    evaluated = compbench.score_pairs(asked, PICTURES, CAPTIONS)
    model.train()
    assert not np.allclose(by_the_library(family, model, processor), evaluated, atol=1e-3)
    assert np.array_equal(compbench.score_pairs(asked, PICTURES, CAPTIONS), evaluated)
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_do_not_depend_on_the_batch_size(family: str) -> None:
    asked = compbench.from_transformers(*made(family))
    by_size = [compbench.score_pairs(asked, PICTURES, CAPTIONS, batch_size=size) for size in (1, 2, 64)]
    for scores in by_size:
        np.testing.assert_allclose(scores, by_size[0], atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_pictures_of_other_modes_and_empty_captions(family: str) -> None:
    loaded = compbench.load_model(compbench.from_transformers(*made(family)))
    pictures = [PICTURES[0].convert(mode) for mode in ("L", "RGBA", "P", "CMYK")]
    assert np.isfinite(loaded.score_pairs(pictures, CAPTIONS)).all()
    with pytest.raises(DataError, match="caption 0 is empty"):
        loaded.score_pairs(pictures, [""])


@pytest.mark.parametrize("family", FAMILIES)
def test_captions_that_are_cut_are_said(family: str, capsys: pytest.CaptureFixture[str]) -> None:
    asked = compbench.from_transformers(*made(family))
    compbench.score_pairs(asked, PICTURES, ["a red circle", "a blue square " * LENGTH])
    assert f"{LENGTH} tokens" in capsys.readouterr().err


def test_another_class_is_refused_with_those_that_are_known() -> None:
    _, processor = made("clip")
    text = transformers.CLIPTextModel(transformers.CLIPTextConfig(hidden_size=8, num_hidden_layers=1))
    known = "CLIPModel, SiglipModel, BlipForImageTextRetrieval, MetaClip2Model"
    with pytest.raises(UsageError, match=f"cannot be a CLIPTextModel; known of transformers are {known}"):
        compbench.from_transformers(text, processor)


def test_a_processor_without_both_halves_is_refused() -> None:
    model, processor = made("clip")
    for wrong in (processor.tokenizer, None, SimpleNamespace(image_processor=processor.image_processor)):
        with pytest.raises(UsageError, match=r"processor cannot be a .*; expected the model's own"):
            compbench.from_transformers(model, wrong)
