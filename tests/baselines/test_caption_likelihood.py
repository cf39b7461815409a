"""Captions as answers to a picture: their log-likelihood by the model's own forward, whatever the batch."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import compbench
import small_transformers
from captioned import CAPTIONS, PICTURES, example, unmasked
from compbench import registry
from compbench.cli.app import main
from compbench.core.errors import DataError, RunError, UsageError
from compbench.core.models import Runtime
from edits import edited

FAMILIES = ["qwen2-vl", "qwen2.5-vl", "qwen3-vl", "janus", "llava-onevision", "internvl", "idefics3"]
if find_spec("num2words") is not None:
    FAMILIES.append("smolvlm")
GAPS = dict.fromkeys(["janus", "idefics3", "smolvlm"], " ")  # between what the template ends with and an answer


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("captions")
    return {family: small_transformers.save(place / family, family) for family in FAMILIES}


def scorer(folder: Path, batch_size: int | None = None, **options: Any) -> Any:
    spec = registry.model(f"caption-likelihood:{folder}", options).spec
    return spec.build(spec.source(), Runtime("cpu", batch_size))


def scores(folder: Path, batch_size: int | None = None, **options: Any) -> Any:
    """[I, C]"""
    return next(scorer(folder, batch_size, **options).score([example()], {})).scores


@torch.inference_mode()
def documented(folder: Path, family: str, question: str = "", is_seen: bool = True) -> Any:
    """[I, C] by the forward on one whole text at a time, and [C] the captions' tokens."""
    network, processor = small_transformers.network_of(folder)
    content = [{"type": "image"}] if is_seen else []
    content += [{"type": "text", "text": question}] if question or not is_seen else []
    prompt = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    )
    answers = [GAPS.get(family, "") + caption for caption in CAPTIONS]
    lengths = [len(processor.tokenizer(answer)["input_ids"]) for answer in answers]
    rows = []
    for picture in PICTURES:
        found = []
        for answer, length in zip(answers, lengths, strict=True):
            if is_seen:
                inputs = processor(text=[prompt + answer], images=[[picture.convert("RGB")]], return_tensors="pt")
            else:
                inputs = processor.tokenizer(prompt + answer, return_tensors="pt")
            logits = network(**inputs).logits[0].log_softmax(-1)
            tokens = inputs["input_ids"][0, -length:]
            found.append(float(logits[-length - 1 : -1].gather(1, tokens[:, None]).sum()))
        rows.append(found)
    return np.array(rows), np.array(lengths)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_score_is_the_captions_log_likelihood_by_the_models_own_forward(
    folders: dict[str, Path], family: str
) -> None:
    folder = folders[family]
    expected, lengths = documented(folder, family)
    found = scores(folder)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert min(np.ptp(found, axis=axis).min() for axis in (0, 1)) > 1e-3  # pictures and captions tell
    blind, _ = documented(folder, family, is_seen=False)
    np.testing.assert_allclose(scores(folder, less="text"), expected - blind, atol=1e-5 * np.abs(expected).max())
    np.testing.assert_allclose(scores(folder, length="mean"), expected / lengths, rtol=1e-5)


def test_a_question_stands_beside_the_picture_and_is_a_part_of_the_identity(folders: dict[str, Path]) -> None:
    folder, question = folders["qwen2.5-vl"], "Describe the picture."
    expected, lengths = documented(folder, "qwen2.5-vl", question)
    blind, _ = documented(folder, "qwen2.5-vl", question, is_seen=False)
    found = scores(folder, question=question, less="text", length="mean")
    np.testing.assert_allclose(found, (expected - blind) / lengths, atol=1e-4)
    kinds = ({}, {"question": question}, {"less": "text"}, {"length": "mean"})
    identities = [registry.model(f"caption-likelihood:{folder}", options).spec.identity() for options in kinds]
    assert len({str(identity) for identity in identities}) == 4


@pytest.mark.parametrize("family", FAMILIES)
def test_batch_size_and_padding_side_change_nothing(folders: dict[str, Path], tmp_path: Path, family: str) -> None:
    one, many = (scores(folders[family], size, less="text") for size in (1, 6))
    np.testing.assert_allclose(many, one, atol=1e-4)  # of sums near -400
    folder = edited(folders[family], tmp_path / "right", "tokenizer_config.json", padding_side="right")
    np.testing.assert_allclose(scores(folder, 6, less="text"), one, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_without_the_mask_the_batch_would_change_scores(folders: dict[str, Path], family: str) -> None:
    made = scorer(folders[family], 16)
    (expected,) = made.score([example()], {})
    unmasked(made._network)
    (blind,) = made.score([example()], {})
    assert np.abs(blind.scores - expected.scores).max() > 1e-2


def test_each_picture_each_pair_and_each_caption_without_a_picture_is_read_once(folders: dict[str, Path]) -> None:
    examples = registry.task("shapes").examples[:3]
    made = scorer(folders["idefics3"], 5, less="text")
    counts = Counter[str]()

    def count(_: Any, inputs: Any, given: Any) -> None:
        kind = "pictures" if "pixel_values" in given else "pairs" if made._cache in given else "captions"
        counts[kind] += len(given["input_ids"])

    made._network.register_forward_pre_hook(count, with_kwargs=True)
    assert len(list(made.score([*examples, examples[0]], {}))) == 4
    n_captions = len({caption for example in examples for caption in example.captions})
    assert counts == {"pictures": 6, "pairs": 12, "captions": n_captions}


def test_from_a_command_through_the_store_to_a_table_beside_vqascore(
    folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"{scheme}:{folders['internvl']}" for scheme in ("caption-likelihood", "vqascore")]
    asked = [word for name in names for word in ("--model", name)]
    assert main(["run", "shapes", *asked, "--limit", "6", "--device", "cpu", "--runs", str(tmp_path / "runs")]) == 0
    printed = capsys.readouterr()
    assert "caption-likelihood" in printed.out
    assert len(list(compbench.Store(tmp_path / "runs").runs())) == 2


class TestRefused:
    def test_a_question_with_a_place_for_the_caption(self, folders: dict[str, Path]) -> None:
        with pytest.raises(UsageError, match="the caption is what the model answers"):
            scorer(folders["internvl"], question="Is it {}?")

    def test_a_paligemma_whose_prompt_attends_both_ways(self, tmp_path: Path) -> None:
        folder = small_transformers.save(tmp_path / "paligemma2", "paligemma2")
        with pytest.raises(DataError, match="is a PaliGemmaForConditionalGeneration; expected one of Qwen2VL"):
            compbench.score_pairs(f"caption-likelihood:{folder}", PICTURES, CAPTIONS, device="cpu")

    def test_a_chat_template_without_a_turn_for_the_answer(self, folders: dict[str, Path], tmp_path: Path) -> None:
        folder = shutil.copytree(folders["internvl"], tmp_path / "x")
        parts = "{% for part in messages[0]['content'] %}{{ part['text'] or '<IMG_CONTEXT>' }}{% endfor %}"
        (folder / "chat_template.jinja").write_text(parts)
        with pytest.raises(DataError, match="the chat template ends with the picture, '<IMG_CONTEXT>'"):
            scores(folder)

    def test_an_empty_caption(self, folders: dict[str, Path]) -> None:
        with pytest.raises(DataError, match="has an empty caption; expected words to score"):
            list(scorer(folders["internvl"]).score([replace(example(), captions=("a", " ", "b"))], {}))

    def test_a_caption_that_does_not_fit_the_context(self, folders: dict[str, Path]) -> None:
        with pytest.raises(DataError, match=r"make \d+ tokens, and the context holds 512"):
            compbench.score_pairs(f"caption-likelihood:{folders['internvl']}", PICTURES, ["x" * 600], device="cpu")

    def test_numbers_that_are_none(self, folders: dict[str, Path]) -> None:
        made = scorer(folders["internvl"])
        with torch.no_grad():
            made._network.lm_head.weight.fill_(float("inf"))
        with pytest.raises(RunError, match=r"the score of image .* is nan; expected a number"):
            list(made.score([example()], {}))
