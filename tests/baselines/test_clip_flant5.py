"""CLIP-FlanT5 in the layout that its authors published: scores as by a literal loop over its parts; else refused."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
import transformers
from test_sentencepiece import spiece
from torch import nn

import compbench
import tiny_pipelines
from captioned import CAPTIONS, PICTURES, example
from compbench import registry
from compbench.cli.app import main
from compbench.core.errors import DataError
from compbench.core.models import Runtime
from compbench.diffusion.loading import load_t5_tokenizer
from compbench.runs.plan import plan
from compbench_baselines.vlm._clip_t5 import pixels_of
from edits import edited
from loopback_hub import loopback_hub, used_here

SIDE, WIDTH = 42, 32
QUESTION = 'Does this figure show "{}"? Please answer yes or no.'
SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, "
    "and polite answers to the user's questions."
)
Parts = tuple[Any, Any, Any]  # T5, CLIP's tower, the projector
T5 = {"d_model": WIDTH, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2, "vocab_size": 192}
SETTINGS = {
    "mm_vision_tower": "openai/clip-vit-large-patch14-336",
    "mm_projector_type": "mlp2x_gelu",
    "mm_vision_select_layer": -2,
    "mm_vision_select_feature": "patch",
    "mm_hidden_size": 64,
}


@pytest.fixture(scope="module")
def parts() -> Parts:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = transformers.T5Config(
            **T5, feed_forward_proj="gated-gelu", tie_word_embeddings=False, decoder_start_token_id=0
        )
        tower = transformers.CLIPVisionConfig(
            hidden_size=64, intermediate_size=48, num_hidden_layers=3, num_attention_heads=1, image_size=SIDE,
            patch_size=14, hidden_act="quick_gelu",
        )  # fmt: skip
        made = (
            transformers.T5ForConditionalGeneration(config).eval(),
            transformers.CLIPVisionModel(tower).eval(),
            nn.Sequential(nn.Linear(64, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH)),
        )
    with torch.no_grad():  # so large that pictures and captions tell
        for weights in made[1].parameters():
            weights.mul_(6 if weights.ndim > 1 else 1)
        made[2][2].weight.mul_(20)
        made[0].lm_head.weight = nn.Parameter(made[0].lm_head.weight.flip(0) * 2)  # its own, as FlanT5 has it
    return made


def saved(parts: Parts, folder: Path) -> Path:
    """The files of zhiqiulin/clip-flant5-xl: two pickles of tensors, their index, and T5's sentencepiece model."""
    t5, tower, projector = parts
    state = {name: tensor.clone() for name, tensor in t5.state_dict().items()}
    for name, tensor in tower.state_dict().items():
        state[f"vision_tower.vision_tower.vision_model.{name.removeprefix('vision_model.')}"] = tensor
    state |= {f"mm_projector.{name}": tensor for name, tensor in projector.state_dict().items()}
    folder.mkdir()
    names, placed = sorted(state), {}
    for number, some in enumerate((names[::2], names[1::2]), 1):
        file = f"pytorch_model-{number:05d}-of-00002.bin"
        torch.save({name: state[name] for name in some}, folder / file)
        placed |= dict.fromkeys(some, file)
    index = {"metadata": {"total_size": 1}, "weight_map": placed}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    config = t5.config.to_dict() | SETTINGS | {"tie_word_embeddings": False, "model_type": "clip_t5"}
    config["architectures"] = ["CLIPT5ForConditionalGeneration"]
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "spiece.model").write_bytes(spiece([*tiny_pipelines.t5_pieces(), ("▁Yes", -2.0), ("▁show", -3.0)]))
    (folder / "tokenizer_config.json").write_text(json.dumps({"extra_ids": 100, "model_max_length": 512}))
    return folder


@pytest.fixture(scope="module")
def folder(parts: Parts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(parts, tmp_path_factory.mktemp("clip-t5") / "clip-flant5-xl")


@torch.inference_mode()
def literal(parts: Parts, folder: Path, answer: str = "Yes") -> Any:
    """[I, C] exp of minus the mean cross entropy of the answer's tokens, a pair at a time, as its authors have it."""
    (t5, tower, projector), tokenizer = parts, load_t5_tokenizer(folder)
    labels = torch.tensor([tokenizer(answer).input_ids])
    rows = []
    for picture in PICTURES:
        states = tower(pixels_of(picture.convert("RGB"), SIDE)[None], output_hidden_states=True).hidden_states
        seen = projector(states[-2][:, 1:])
        found = []
        for caption in CAPTIONS:
            prompt = f"{SYSTEM} USER: <image>\n{QUESTION.format(caption)} ASSISTANT: "
            before, after = (torch.tensor([tokenizer(chunk).input_ids]) for chunk in prompt.split("<image>"))
            embedded = torch.cat([t5.shared(before), seen, t5.shared(after)], dim=1)
            logits = t5(inputs_embeds=embedded, labels=labels).logits[..., : len(tokenizer)]
            found.append(float((-nn.functional.cross_entropy(logits[0], labels[0])).exp()))
        rows.append(found)
    return np.array(rows)


def scores(folder: Path, **settings: Any) -> Any:
    return compbench.score_pairs(f"vqascore:{folder}", PICTURES, CAPTIONS, device="cpu", **settings)


def test_a_score_is_that_of_the_authors_loop_over_its_parts(parts: Parts, folder: Path) -> None:
    found, expected = scores(folder), literal(parts, folder)
    np.testing.assert_allclose(np.exp(found), expected, atol=1e-5)
    np.testing.assert_allclose(found, np.log(expected), atol=1e-4)
    assert min(np.ptp(found, axis=axis).min() for axis in (0, 1)) > 1e-3  # pictures and captions tell


def test_another_answer_is_scored_with_its_end_too(parts: Parts, folder: Path) -> None:
    found = np.exp(scores(folder, answer="red circle"))
    np.testing.assert_allclose(found, literal(parts, folder, "red circle"), atol=1e-5)


def test_batch_size_changes_nothing_and_without_the_mask_it_would(folder: Path) -> None:
    np.testing.assert_allclose(scores(folder, batch_size=4), expected := scores(folder, batch_size=1), atol=1e-5)
    spec = registry.model(f"vqascore:{folder}").spec
    made: Any = spec.build(spec.source(), Runtime("cpu", 16))
    made._network.register_forward_pre_hook(lambda _, given: (given[0], torch.ones_like(given[1]), given[2]))
    (blind,) = made.score([example()], {})
    assert np.abs(blind.scores - expected).max() > 1e-3


def test_a_picture_goes_through_the_tower_once_and_each_pair_through_the_language_model_once(folder: Path) -> None:
    spec = registry.model(f"vqascore:{folder}").spec
    made: Any = spec.build(spec.source(), Runtime("cpu", 5))
    counts = Counter[str]()
    made._network.tower.register_forward_pre_hook(
        lambda _, inputs, given: counts.update(pictures=len(given["pixel_values"])), with_kwargs=True
    )
    made._network.register_forward_pre_hook(lambda _, given: counts.update(pairs=len(given[0])))
    examples = registry.task("shapes").examples[:3]
    assert len(list(made.score([*examples, examples[0]], {}))) == 4
    assert counts == {"pictures": 6, "pairs": 12}


def test_the_picture_is_padded_to_a_square_of_the_mean_colour_and_resized_whole() -> None:
    pixels = pixels_of(PIL.Image.new("RGB", (80, 40), "white"), 28)
    assert pixels.shape == (3, 28, 28)
    assert pixels[:, 0].abs().max() < 0.02  # the mean, to whole colours
    assert pixels[:, 14].min() > 1.9


def test_line_breaks_and_spaces_at_the_ends_of_a_chunk_are_no_tokens(folder: Path) -> None:
    tokenizer = load_t5_tokenizer(folder)
    assert tokenizer("\na red circle ").input_ids == tokenizer("a red circle").input_ids
    assert tokenizer("a red circle").input_ids[-1] == tokenizer.eos_token_id


def test_by_the_command_what_is_scored_is_said(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["run", "shapes", "-m", f"vqascore:{folder}", "--limit", "2", "--device", "cpu", "--runs", str(tmp_path)]
    assert main(asked) == 0
    assert "mean log-probability of 'Yes' and of the end of the answer, 2 tokens" in capsys.readouterr().err


def test_it_is_fetched_from_a_hub_in_its_parts_and_priced_before_that(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with loopback_hub() as hub, used_here(hub, tmp_path, monkeypatch):
        files = {path.name: path.read_bytes() for path in folder.iterdir()}
        hub.add("models", "org/clip-flant5", {**files, "README.md": b"#", "training_args.bin": b"0"})
        settings = {"model": "vqascore:org/clip-flant5", "limit": 6, "device": "cpu", "runs": tmp_path / "runs"}
        before = plan("shapes", **settings)
        assert before.evaluations == 12 + 24
        assert before.fetch_bytes > sum(len(content) for name, content in files.items() if name.endswith(".bin"))
        run = compbench.run("shapes", **settings)
        assert sum(int(str(part["n_evaluations"])) for part in run.parts()) == 12 + 24
        assert {path.rpartition("/")[2] for path in hub.fetched()} == files.keys()
    local = compbench.run("shapes", **{**settings, "model": f"vqascore:{folder}"})
    np.testing.assert_array_equal(run.table().scores, local.table().scores)


def test_half_precision_keeps_its_scores_close(folder: Path) -> None:
    np.testing.assert_allclose(scores(folder, dtype="bfloat16"), scores(folder), atol=0.3)


class TestRefused:
    @pytest.mark.parametrize(
        ("settings", "said"),
        [
            ({"mm_vision_tower": "laion/CLIP-ViT-H"}, "names the tower 'laion/CLIP-ViT-H'; expected a CLIP of OpenAI"),
            ({"mm_projector_type": "linear"}, "has mm_projector_type 'linear'; expected 'mlp2x_gelu'"),
            ({"tie_word_embeddings": True}, "has tie_word_embeddings True"),
        ],
    )
    def test_another_composition(self, folder: Path, tmp_path: Path, settings: dict[str, Any], said: str) -> None:
        with pytest.raises(DataError, match=said):
            scores(edited(folder, tmp_path / "x", "config.json", **settings))

    @pytest.mark.parametrize(
        ("lacking", "said"),
        [
            ("mm_projector.2.weight", "1 missing"),
            ("vision_tower.vision_tower.vision_model.embeddings.patch_embedding.weight", "of the CLIP tower too"),
        ],
    )
    def test_weights_that_lack_a_part(self, folder: Path, tmp_path: Path, lacking: str, said: str) -> None:
        copy = Path(shutil.copytree(folder, tmp_path / "x"))
        for path in copy.glob("*.bin"):
            torch.save({name: tensor for name, tensor in torch.load(path).items() if name != lacking}, path)
        with pytest.raises(DataError, match=said):
            scores(copy)

    def test_a_part_that_is_not_there(self, folder: Path, tmp_path: Path) -> None:
        copy = Path(shutil.copytree(folder, tmp_path / "x"))
        (copy / "pytorch_model-00002-of-00002.bin").unlink()
        with pytest.raises(DataError, match=r"has no pytorch_model-00002-of-00002.bin in .*index.json asks for"):
            scores(copy)

    def test_as_a_model_that_captions(self, folder: Path) -> None:
        with pytest.raises(DataError, match="is a CLIPT5ForConditionalGeneration; expected one of"):
            compbench.score_pairs(f"caption-likelihood:{folder}", PICTURES, CAPTIONS, device="cpu")
