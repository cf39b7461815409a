"""Captions under a language model alone: its own loss, blind to pictures, whatever the batch."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import compbench
import fakes
import small_transformers
from compbench import registry
from compbench.cli.app import main
from compbench.core.errors import DataError, RunError
from compbench.core.examples import Example, Task
from compbench.core.metrics import MATCHING
from compbench.core.models import Runtime
from compbench.diffusion.silence import quiet
from loopback_hub import loopback_hub, used_here

FAMILIES = ["qwen3", "gpt2"]
CAPTIONS = ["a circle", "Yes, a red circle to the left of a blue square", "a red circle", "the sun"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("language")
    return {family: small_transformers.save(place / family, family) for family in FAMILIES}


def examples() -> list[Example]:
    """One picture and all captions; the last caption is another's first."""
    image = fakes.task(1).examples[0].images[0]
    captions = (CAPTIONS, CAPTIONS[2:], [CAPTIONS[3], CAPTIONS[0]])
    return [
        Example(f"{number}", (image,), tuple(texts), np.eye(1, len(texts), dtype=bool))
        for number, texts in enumerate(captions)
    ]


def scorer(folder: Path, batch_size: int | None = None, **options: Any) -> Any:
    spec = registry.model(f"text-prior:{folder}", options).spec
    return spec.build(spec.source(), Runtime("cpu", batch_size))


def scores(folder: Path, batch_size: int | None = None, **options: Any) -> Any:
    """[C]"""
    return next(scorer(folder, batch_size, **options).score(examples(), {})).scores[0]


@torch.inference_mode()
def by_the_models_own_loss(folder: Path) -> tuple[list[float], list[int]]:
    """Minus the loss of each caption alone, unpadded, times its tokens; and these."""
    import transformers

    network = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    start = tokenizer.bos_token or tokenizer.eos_token
    rows = [tokenizer(start + caption, return_tensors="pt")["input_ids"] for caption in CAPTIONS]
    counts = [row.shape[1] - 1 for row in rows]
    return [-float(network(row, labels=row).loss) * n for row, n in zip(rows, counts, strict=True)], counts


@pytest.mark.parametrize("family", FAMILIES)
def test_a_score_is_the_log_likelihood_of_the_models_own_loss(folders: dict[str, Path], family: str) -> None:
    expected, counts = by_the_models_own_loss(folders[family])
    assert len(set(counts)) == len(CAPTIONS)
    np.testing.assert_allclose(scores(folders[family]), expected, rtol=1e-5)
    np.testing.assert_allclose(scores(folders[family], length="mean"), np.divide(expected, counts), rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_batch_size_and_padding_side_change_nothing(folders: dict[str, Path], tmp_path: Path, family: str) -> None:
    expected = scores(folders[family])
    for size in (1, 3):
        np.testing.assert_allclose(scores(folders[family], size), expected, rtol=1e-6)
    for side in ("left", "right"):
        shutil.copytree(folders[family], tmp_path / side)
        file = tmp_path / side / "tokenizer_config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "padding_side": side}))
        np.testing.assert_allclose(scores(tmp_path / side), expected, rtol=1e-6)


def test_each_distinct_caption_goes_through_the_network_once(folders: dict[str, Path]) -> None:
    made = scorer(folders["qwen3"], 3)
    rows = Counter[str]()
    made._network.register_forward_pre_hook(
        lambda _, inputs, given: rows.update(captions=len(given["input_ids"])), with_kwargs=True
    )
    first = [matrix.scores for matrix in made.score(examples(), {})]
    assert rows["captions"] == len(CAPTIONS)
    again = [matrix.scores for matrix in made.score(examples(), {})]
    assert rows["captions"] == len(CAPTIONS)
    assert all(np.array_equal(scores, other) for scores, other in zip(first, again, strict=True))


def test_pictures_tie_by_construction_and_that_is_said(
    folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = f"text-prior:{folders['qwen3']}"
    assert main(["run", "shapes", "--model", model, "--limit", "6", "--device", "cpu", "--runs", str(tmp_path)]) == 0
    shown = capsys.readouterr()
    assert "a text prior does not look at pictures, so pictures tie by construction" in shown.err
    assert "captions follow that for the end of one, '<|endoftext|>'" in " ".join(shown.err.split())
    assert "qwen3" in shown.out
    (run,) = compbench.Store(tmp_path).runs()
    table = run.table()
    assert (table.scores[:, 0] == table.scores[:, 1]).all()
    assert MATCHING["image"].ties(table).all()
    assert not any(MATCHING[name].outcome(table).any() for name in ("text", "image", "group"))
    assert run.key.measurement == {"scorer": "text-prior", "version": 1, "length": "sum", "dtype": "float32"}


def test_with_one_picture_the_text_score_is_how_far_the_task_is_solved_without_looking(
    folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prior = dict(zip(CAPTIONS, scores(folders["gpt2"]), strict=True))
    two = [replace(example, captions=example.captions[:2], matches=np.eye(1, 2, dtype=bool)) for example in examples()]
    run = compbench.run(Task("one-picture", tuple(two), MATCHING), model=f"text-prior:{folders['gpt2']}", runs=tmp_path)
    expected = [prior[example.captions[0]] > prior[example.captions[1]] for example in two]
    assert run.to_frame()["text"].tolist() == expected
    assert "does not look at pictures" not in capsys.readouterr().err


def sharded(folder: Path, copy: Path) -> Path:
    """The same weights in several files with an index, as the hub has large ones."""
    from transformers import AutoModelForCausalLM

    shutil.copytree(folder, copy)
    (copy / "model.safetensors").unlink()
    with quiet():
        AutoModelForCausalLM.from_pretrained(folder).save_pretrained(copy, max_shard_size="10KB")
    assert len(list(copy.glob("model-*.safetensors"))) > 1
    return copy


def test_weights_in_several_files_from_a_hub_are_the_same_weights(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = sharded(folders["qwen3"], tmp_path / "sharded")
    np.testing.assert_array_equal(scores(folder), scores(folders["qwen3"]))
    with loopback_hub() as hub, used_here(hub, tmp_path, monkeypatch):
        hub.add("models", "org/prior", {file.name: file.read_bytes() for file in folder.iterdir()}, "d" * 40)
        task = Task("one-picture", tuple(examples()[:1]), MATCHING)
        run = compbench.run(task, model="text-prior:org/prior", runs=tmp_path / "runs", device="cpu")
        assert run.key.weights == f"hf:org/prior@{'d' * 40}"
        np.testing.assert_array_equal(run.table().scores[0, 0], scores(folder))


class TestRefused:
    def test_weights_of_which_a_file_is_missing(self, folders: dict[str, Path], tmp_path: Path) -> None:
        folder = sharded(folders["qwen3"], tmp_path / "sharded")
        first = min(folder.glob("model-*.safetensors"))
        first.unlink()
        with pytest.raises(
            DataError, match=f"has no {first.name} in .*, which its model.safetensors.index.json asks for"
        ):
            scores(folder)

    def test_a_caption_that_does_not_fit_the_context(self, folders: dict[str, Path]) -> None:
        (example, *_) = examples()
        long = replace(example, captions=("a" * 127, "a" * 128), matches=np.eye(1, 2, dtype=bool))
        with pytest.raises(DataError, match="example '0': a caption of 128 tokens does not fit the context of 128"):
            list(scorer(folders["gpt2"]).score([long], {}))
        short = replace(long, captions=("a" * 127, "b"))
        assert len(list(scorer(folders["gpt2"]).score([short], {}))) == 1

    def test_an_empty_caption(self, folders: dict[str, Path]) -> None:
        (example, *_) = examples()
        with pytest.raises(DataError, match="example '0' has an empty caption"):
            list(scorer(folders["gpt2"]).score([replace(example, captions=(" ", "a", "b", "c"))], {}))

    def test_a_caption_that_spells_the_end_of_a_text(self, folders: dict[str, Path]) -> None:
        (example, *_) = examples()
        captions = ("a", "b <|endoftext|>", "c", "d")
        with pytest.raises(DataError, match=r"spells '<\|endoftext\|>', which this model does not read as words"):
            list(scorer(folders["gpt2"]).score([replace(example, captions=captions)], {}))

    def test_likelihoods_that_are_no_numbers(self, folders: dict[str, Path]) -> None:
        made = scorer(folders["qwen3"])
        with torch.no_grad():
            made._network.lm_head.weight.fill_(float("inf"))
        with pytest.raises(RunError, match="the log-likelihood of 'a circle' is nan; expected a number"):
            list(made.score(examples(), {}))

    def test_what_is_no_causal_language_model(self, folders: dict[str, Path], tmp_path: Path) -> None:
        folder = shutil.copytree(folders["gpt2"], tmp_path / "x")
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "architectures": ["CLIPModel"]}))
        with pytest.raises(DataError, match="is a CLIPModel; expected a causal language model"):
            compbench.run("shapes", model=f"text-prior:{folder}", limit=1, runs=tmp_path / "runs")

    def test_weights_with_a_tensor_that_is_missing(self, folders: dict[str, Path], tmp_path: Path) -> None:
        import safetensors.torch

        folder = shutil.copytree(folders["qwen3"], tmp_path / "x")
        tensors = safetensors.torch.load_file(folder / "model.safetensors")
        del tensors["model.norm.weight"]
        safetensors.torch.save_file(tensors, folder / "model.safetensors", {"format": "pt"})
        with pytest.raises(DataError, match=r"1 missing \(model.norm.weight\)"):
            scorer(folder)
