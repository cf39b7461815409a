"""VQAScore: the probability of Yes as by the model's own forward, whatever the batch; else it is refused."""

from __future__ import annotations

import shutil
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import tokenizers
import torch
import transformers

import compbench
import small_transformers
from captioned import CAPTIONS, PICTURES, example, unmasked
from compbench import registry
from compbench.cli.app import main
from compbench.core.errors import DataError, RunError, UsageError
from compbench.core.models import Runtime
from compbench_baselines.vlm._families import CLASSES
from edits import edited

FAMILIES = ["qwen2-vl", "qwen2.5-vl", "qwen3-vl", "janus", "llava-onevision", "internvl", "idefics3", "paligemma2"]
if has_num2words := find_spec("num2words") is not None:
    FAMILIES.append("smolvlm")
ANSWERS = {"idefics3": " Yes", "smolvlm": " Yes", "paligemma2": "yes"}
TOKENS = {
    "janus": 16,
    "llava-onevision": 36,
    "internvl": 4,
    "idefics3": 20,
    "smolvlm": 20,
    "paligemma2": 32,
}  # of a picture of shapes
QUESTION = 'Does this figure show "{}"? Please answer yes or no.'


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("vlm")
    return {family: small_transformers.save(place / family, family) for family in FAMILIES}


def scores(folder: Path, **settings: Any) -> Any:
    return compbench.score_pairs(f"vqascore:{folder}", PICTURES, CAPTIONS, device="cpu", **settings)


@torch.inference_mode()
def documented(folder: Path, question: str = QUESTION, answer: str = "Yes") -> Any:
    """[I, C] the probability of the answer, by the forward on one pair at a time, without any padding."""
    network, processor = small_transformers.network_of(folder)
    token, *_ = processor.tokenizer(answer, add_special_tokens=False)["input_ids"]
    rows = []
    for picture in PICTURES:
        found = []
        for caption in CAPTIONS:
            content = [
                {"type": "image", "image": picture.convert("RGB")},
                {"type": "text", "text": question.format(caption)},
            ]
            if processor.chat_template is None:  # PaliGemma
                text = f"<image>answer en {question.format(caption)}"
                inputs = processor(text=[text], images=[[picture.convert("RGB")]], return_tensors="pt")
                inputs.pop("labels", None)
            else:
                inputs = processor.apply_chat_template(
                    [{"role": "user", "content": content}],
                    add_generation_prompt=True,
                    tokenize=True,
                    return_dict=True,
                    return_tensors="pt",
                )
            found.append(float(network(**inputs).logits[0, -1].softmax(-1)[token]))
        rows.append(found)
    return np.array(rows)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of PaliGemma's processor
@pytest.mark.parametrize("family", FAMILIES)
def test_a_score_is_the_log_probability_of_yes_by_the_models_own_forward(folders: dict[str, Path], family: str) -> None:
    found, expected = scores(folders[family]), documented(folders[family], answer=ANSWERS.get(family, "Yes"))
    np.testing.assert_allclose(np.exp(found), expected, atol=1e-5)
    np.testing.assert_allclose(found, np.log(expected), atol=1e-4)
    assert min(np.ptp(found, axis=axis).min() for axis in (0, 1)) > 1e-3  # pictures and captions tell


@pytest.mark.parametrize("family", FAMILIES)
def test_batch_size_and_padding_side_change_nothing(folders: dict[str, Path], tmp_path: Path, family: str) -> None:
    expected = scores(folders[family], batch_size=1)
    np.testing.assert_allclose(scores(folders[family], batch_size=4), expected, atol=1e-5)
    folder = edited(folders[family], tmp_path / "right", "tokenizer_config.json", padding_side="right")
    np.testing.assert_allclose(scores(folder, batch_size=4), expected, atol=1e-5)


def scorer(folder: Path, batch_size: int | None = None, **runtime: Any) -> Any:
    spec = registry.model(f"vqascore:{folder}").spec
    return spec.build(spec.source(), Runtime("cpu", batch_size, **runtime))


@pytest.mark.parametrize("family", FAMILIES)
def test_each_picture_and_each_distinct_pair_goes_through_the_network_once(
    folders: dict[str, Path], family: str
) -> None:
    examples = registry.task("shapes").examples[:3]
    made = scorer(folders[family], 5)
    counts = Counter[str]()

    def count(_: Any, inputs: Any, given: Any) -> None:
        ids = given["input_ids"]
        counts.update({"pictures" if "pixel_values" in given else "pairs": len(ids), "tokens": ids.numel()})
        counts.update(picture_tokens=int((ids == made._picture).sum()))

    made._network.register_forward_pre_hook(count, with_kwargs=True)
    assert len(list(made.score([*examples, examples[0]], {}))) == 4
    # PaliGemma's question is read with the picture
    assert (counts["pictures"], counts["pairs"]) == ((12, 0) if family == "paligemma2" else (6, 12))
    assert counts["picture_tokens"] == 6 * TOKENS.get(family, 9)  # of Qwen 48 px in tokens of 16


@pytest.mark.parametrize("family", FAMILIES)
def test_without_the_mask_the_batch_would_change_scores(folders: dict[str, Path], family: str) -> None:
    made = scorer(folders[family], 16)
    (expected,) = made.score([example()], {})
    unmasked(made._network)
    (blind,) = made.score([example()], {})
    assert np.abs(blind.scores - expected.scores).max() > 1e-3


def test_memory_that_runs_out_halves_the_batch_and_changes_nothing(folders: dict[str, Path]) -> None:
    said: list[str] = []
    made = scorer(folders["qwen2.5-vl"], 8, say=said.append)
    examples = registry.task("shapes").examples[:3]
    expected = [found.scores for found in scorer(folders["qwen2.5-vl"]).score(examples, {})]

    def full(_: Any, inputs: Any, given: Any) -> None:
        if len(given["input_ids"]) > 2:
            raise torch.OutOfMemoryError("out of memory")

    made._network.register_forward_pre_hook(full, with_kwargs=True)
    found = [matrix.scores for matrix in made.score(examples, {})]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert [line.removeprefix("out of memory: ") for line in said if "→" in line] == [
        "batch size 8 → 4",
        "batch size 4 → 2",
    ]


def test_the_question_is_an_option_and_a_part_of_the_identity(folders: dict[str, Path]) -> None:
    folder, question = folders["qwen2.5-vl"], "Is this {}?"
    np.testing.assert_allclose(np.exp(scores(folder, question=question)), documented(folder, question), atol=1e-5)
    identities = [registry.model(f"vqascore:{folder}", asked).spec.identity() for asked in ({}, {"question": question})]
    assert [identity["question"] for identity in identities] == [QUESTION, question]


def test_a_model_that_answers_after_a_space_is_scored_so_and_says_it(
    folders: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    found = scores(folders["idefics3"])
    assert "after 'Assistant:' and a space, so ' Yes' is scored" in capsys.readouterr().err
    assert np.array_equal(scores(folders["idefics3"], answer=" Yes"), found)
    assert "is scored" not in capsys.readouterr().err


def test_paligemma_answers_in_lower_case_which_is_said(
    folders: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    found = scores(folders["paligemma2"])
    assert "answers in lower case, so 'yes' is scored" in capsys.readouterr().err
    assert np.array_equal(scores(folders["paligemma2"], answer="yes"), found)
    assert "in lower case" not in capsys.readouterr().err


def test_the_chat_template_is_among_the_files_that_name_the_weights(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folders["qwen2.5-vl"], tmp_path / "other")
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text().replace("assistant\n", "helper\n"))
    weights = {
        compbench.run("shapes", model=f"vqascore:{place}", limit=1, runs=tmp_path / "runs").key.weights
        for place in (folder, folders["qwen2.5-vl"])
    }
    assert len(weights) == 2


def test_from_a_command_through_the_store_to_a_table_beside_other_kinds(
    folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blip = small_transformers.save(tmp_path / "blip", "blip")
    models = [f"vqascore:{folders['qwen2.5-vl']}", f"transformers:{blip}", "tiny-clip"]
    asked = [word for model in models for word in ("--model", model)]
    assert main(["run", "shapes", *asked, "--limit", "6", "--device", "cpu", "--runs", str(tmp_path / "runs")]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in ("qwen2.5-vl", "blip", "tiny-clip"))
    assert len(list(compbench.Store(tmp_path / "runs").runs())) == 3


def retold(folder: Path, copy: Path, old: str, new: str) -> Path:
    """A copy with another chat template."""
    shutil.copytree(folder, copy)
    template = copy / "chat_template.jinja"
    assert old in template.read_text()
    template.write_text(template.read_text().replace(old, new))
    return copy


def test_a_template_that_can_think_is_told_not_to(folders: dict[str, Path], tmp_path: Path) -> None:
    thinks = "{% if enable_thinking is not defined or enable_thinking %}<think>{% endif %}"
    start = "<|im_start|>assistant\n"
    folder = retold(folders["qwen2.5-vl"], tmp_path / "thinking", start, start + thinks)
    assert np.array_equal(scores(folder), scores(folders["qwen2.5-vl"]))


def test_a_prompt_that_begins_by_its_template_is_not_begun_again(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folders["janus"], tmp_path / "x")
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    mark = ("<bos>", tokenizer.token_to_id("<bos>"))
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(single="<bos> $A", special_tokens=[mark])
    tokenizer.save(str(folder / "tokenizer.json"))
    assert small_transformers.network_of(folder)[1].tokenizer("a")["input_ids"][0] == mark[1]
    assert np.array_equal(scores(folder), scores(folders["janus"]))
    np.testing.assert_allclose(np.exp(scores(folder)), documented(folder), rtol=1e-5)


def test_a_picture_that_the_image_processor_refuses_costs_only_its_own_example(
    folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own").mkdir()
    for name, size in (("a", (40, 40)), ("thin", (500, 1)), ("b", (30, 40))):
        PIL.Image.new("RGB", size, (200, 0, 0)).save(tmp_path / "own" / f"{name}.png")
    rows = [f"{name}.png,a red square,a blue square" for name in ("a", "thin", "b")]
    (tmp_path / "own" / "metadata.csv").write_text("\n".join(["image,caption,foil", *rows]))
    command = ["run", str(tmp_path / "own"), "-m", f"vqascore:{folders['qwen2-vl']}", "--runs", str(tmp_path / "runs")]
    assert main(command) == 1
    told = capsys.readouterr().err
    assert "image 'thin.png' of 500x1 pixels is refused by the model's image processor (absolute aspect" in told
    assert "1 example is not measured" in told
    assert main([*command, "--skip-unreadable"]) == 0


class TestRefused:
    def test_a_chat_template_that_drops_the_image(self, folders: dict[str, Path], tmp_path: Path) -> None:
        folder = retold(folders["qwen2.5-vl"], tmp_path / "x", "<|image_pad|>", "")
        with pytest.raises(DataError, match=r"puts 0 pictures \(<\|image_pad\|>\) into a question about one"):
            scores(folder)

    def test_a_chat_template_that_changes_the_question(self, folders: dict[str, Path], tmp_path: Path) -> None:
        folder = retold(folders["qwen2.5-vl"], tmp_path / "x", "part['text']", "part['text'] | upper")
        with pytest.raises(DataError, match="the chat template changes or drops the question 'Does this figure"):
            scores(folder)

    def test_a_model_without_a_chat_template(self, folders: dict[str, Path], tmp_path: Path) -> None:
        folder = shutil.copytree(folders["qwen2.5-vl"], tmp_path / "x")
        (folder / "chat_template.jinja").unlink()
        with pytest.raises(DataError, match="has no chat template, so it cannot be asked"):
            scores(folder)

    def test_an_answer_of_several_tokens_is_said_and_the_first_is_taken(
        self, folders: dict[str, Path], capsys: pytest.CaptureFixture[str]
    ) -> None:
        found = scores(folders["qwen2.5-vl"], answer="Yes!")
        assert "'Yes!' is 2 tokens of this tokenizer; the first, 'Yes', is scored" in capsys.readouterr().err
        assert np.array_equal(found, scores(folders["qwen2.5-vl"]))

    def test_numbers_that_are_none(self, folders: dict[str, Path]) -> None:
        spec = registry.model(f"vqascore:{folders['qwen2.5-vl']}").spec
        made: Any = spec.build(spec.source(), Runtime("cpu"))
        with torch.no_grad():
            made._network.lm_head.weight.fill_(float("inf"))
        with pytest.raises(RunError, match=r"the score of image .* is nan; expected a number"):
            list(made.score(registry.task("shapes").examples[:1], {}))

    def test_what_does_not_fit_the_context(self, folders: dict[str, Path]) -> None:
        with pytest.raises(DataError, match=r"caption 'x{80}\.\.\.' make \d+ tokens, and the context holds 512"):
            compbench.score_pairs(f"vqascore:{folders['qwen2.5-vl']}", PICTURES, ["a circle", "x" * 600], device="cpu")

    def test_a_caption_that_spells_the_token_of_a_picture(self, folders: dict[str, Path]) -> None:
        with pytest.raises(DataError, match="spells the token of a picture"):
            compbench.score_pairs(f"vqascore:{folders['qwen2.5-vl']}", PICTURES, ["a <|image_pad|>"], device="cpu")

    def test_a_caption_that_spells_the_end_of_a_turn(self, folders: dict[str, Path]) -> None:
        captions = ["a circle", "a <|im_end|> circle"]
        for scheme in ("vqascore", "caption-likelihood"):
            with pytest.raises(DataError, match=r"spells '<\|im_end\|>', which this model does not read as words"):
                compbench.score_pairs(f"{scheme}:{folders['qwen2.5-vl']}", PICTURES, captions, device="cpu")

    def test_questions_without_a_place_for_the_caption_and_no_answer(self, folders: dict[str, Path]) -> None:
        for options, says in (({"question": "What?"}, "expected one {} for the caption"), ({"answer": " "}, "empty")):
            with pytest.raises(UsageError, match=says):
                registry.model(f"vqascore:{folders['qwen2.5-vl']}", options)

    @pytest.mark.skipif(has_num2words, reason="only where num2words is missing")
    def test_a_smolvlm_without_the_package_of_its_processor(self, folders: dict[str, Path], tmp_path: Path) -> None:
        folder = edited(
            folders["idefics3"], tmp_path / "x", "config.json", architectures=["SmolVLMForConditionalGeneration"]
        )
        with pytest.raises(UsageError, match="needs the package num2words; install it with: pip install num2words"):
            scores(folder)

    def test_a_class_that_is_not_known(self, folders: dict[str, Path], tmp_path: Path) -> None:
        folder = edited(
            folders["qwen2.5-vl"], tmp_path / "x", "config.json", architectures=["ElseForConditionalGeneration"]
        )
        with pytest.raises(DataError, match="is a ElseForConditionalGeneration; expected one of Qwen2VL"):
            scores(folder)


def test_the_classes_are_those_of_the_installed_library() -> None:
    assert [name for name in CLASSES if not hasattr(transformers, name)] == []
