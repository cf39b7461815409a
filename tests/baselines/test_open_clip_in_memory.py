"""An open_clip model in memory: the same scores as from its files, named by what decides them, and left as it is."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from torchvision import transforms

import compbench
import fakes
from compbench import registry
from compbench.core.errors import UsageError
from compbench.tiny import __file__ as tiny_file

FOLDER = f"local-dir:{Path(tiny_file).parent / 'tiny-clip'}"


@pytest.fixture
def parts() -> tuple[Any, Any, Any]:
    model, _, preprocess = open_clip.create_model_and_transforms(FOLDER)
    return model, preprocess, open_clip.get_tokenizer(FOLDER)


def identity(*parts: Any, **options: Any) -> dict[str, Any]:
    return dict(compbench.from_open_clip(*parts, **options).identity())


@pytest.mark.parametrize("task", ["shapes", "shape-classes"])
def test_its_scores_are_those_of_its_files_bit_for_bit(task: str, parts: tuple[Any, Any, Any], tmp_path: Path) -> None:
    options: dict[str, Any] = {"limit": 40, "runs": tmp_path, "device": "cpu"}
    ours = compbench.run(task, model=compbench.from_open_clip(*parts, name="mine"), **options)
    files = compbench.run(task, model=f"open-clip:{FOLDER.removeprefix('local-dir:')}", **options)
    assert ours.key.model == "mine"
    assert np.array_equal(ours.table().scores, files.table().scores)


def test_it_is_found_again_and_a_trained_model_is_another(parts: tuple[Any, Any, Any], tmp_path: Path) -> None:
    task = fakes.task(3)
    first = compbench.run(task, model=compbench.from_open_clip(*parts), runs=tmp_path)
    assert first.key.model == "my-open-clip"
    assert str(first.key.measurement["weights"]).startswith("sha256:")
    model = compbench.from_open_clip(*parts)
    again = compbench.run(task, model=model, runs=tmp_path)
    assert again.path == first.path
    assert len(again.parts()) == 1
    with torch.no_grad():
        parts[0].visual.proj.add_(0.01) if hasattr(parts[0].visual, "proj") else parts[0].logit_scale.add_(0.01)
    assert compbench.run(task, model=model, runs=tmp_path).path != first.path  # as it is when the run starts


def changed_weight(model: Any, preprocess: Any, tokenizer: Any) -> Any:
    model = copy.deepcopy(model)
    with torch.no_grad():
        next(model.parameters()).flatten()[0] += 1e-3
    return model, preprocess, tokenizer


def changed_activation(model: Any, preprocess: Any, tokenizer: Any) -> Any:
    """No weight tells it."""
    model = copy.deepcopy(model)
    block = next(module for module in model.modules() if any(isinstance(m, torch.nn.GELU) for m in module.children()))
    name = next(name for name, module in block.named_children() if isinstance(module, torch.nn.GELU))
    setattr(block, name, open_clip.transformer.QuickGELU())
    return model, preprocess, tokenizer


def changed_norm(model: Any, preprocess: Any, tokenizer: Any) -> Any:
    steps = [step for step in preprocess.transforms if not isinstance(step, transforms.Normalize)]
    return model, transforms.Compose([*steps, transforms.Normalize((0.5,) * 3, (0.5,) * 3)]), tokenizer


def changed_size(model: Any, preprocess: Any, tokenizer: Any) -> Any:
    return model, transforms.Compose([transforms.Resize(99), *preprocess.transforms]), tokenizer


def changed_cleaning(model: Any, preprocess: Any, tokenizer: Any) -> Any:
    tokenizer = copy.copy(tokenizer)
    tokenizer.clean_fn = open_clip.tokenizer.get_clean_fn("canonicalize")
    return model, preprocess, tokenizer


def changed_vocabulary(model: Any, preprocess: Any, tokenizer: Any) -> Any:
    return model, preprocess, open_clip.SimpleTokenizer(context_length=tokenizer.context_length)


def changed_adapter(model: Any, preprocess: Any, tokenizer: Any) -> Any:
    """As adapters keep how strong they are: in a dict, and in no weight."""
    model = copy.deepcopy(model)
    model.visual.scaling = {"default": 2.0}
    return model, preprocess, tokenizer


@pytest.mark.parametrize(
    "change",
    [
        changed_weight,
        changed_activation,
        changed_norm,
        changed_size,
        changed_cleaning,
        changed_vocabulary,
        changed_adapter,
    ],
)
def test_whatever_changes_a_score_changes_the_identity(change: Callable[..., Any], parts: tuple[Any, Any, Any]) -> None:
    assert identity(*change(*parts)) != identity(*parts)


def test_use_and_another_process_do_not_change_the_identity(parts: tuple[Any, Any, Any]) -> None:
    model, preprocess, tokenizer = parts
    before = identity(*parts)
    tokenizer(["a red circle"], context_length=9)
    model.train()
    assert identity(*parts) == before
    fresh, _, preprocess = open_clip.create_model_and_transforms(FOLDER)
    assert identity(fresh, preprocess, open_clip.get_tokenizer(FOLDER)) == before
    simple = open_clip.SimpleTokenizer()
    unused = identity(model, preprocess, simple)
    simple(["words that fill its cache"])
    assert identity(model, preprocess, simple) == unused


def test_it_is_left_in_training_where_it_lies(parts: tuple[Any, Any, Any], tmp_path: Path) -> None:
    model = parts[0]
    model.visual = torch.nn.Sequential(model.visual, torch.nn.Dropout(0.5))  # at work in training alone
    model.train()
    model.visual[0].eval()  # frozen
    modes = [module.training for module in model.modules()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    in_training = compbench.run(fakes.task(2), model=compbench.from_open_clip(*parts), runs=tmp_path / "a")
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    model.eval()
    evaluated = compbench.run(fakes.task(2), model=compbench.from_open_clip(*parts), runs=tmp_path / "b")
    assert np.array_equal(in_training.table().scores, evaluated.table().scores)


def test_the_callers_autocast_changes_nothing(parts: tuple[Any, Any, Any]) -> None:
    picture = registry.task("shapes").examples[0].images[0].decode()
    asked = compbench.from_open_clip(*parts)
    plain = compbench.score_pairs(asked, [picture], ["a red circle", "a blue square"])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        within = compbench.score_pairs(asked, [picture], ["a red circle", "a blue square"])
    assert np.array_equal(within, plain)


def test_a_loaded_model_follows_its_training(parts: tuple[Any, Any, Any]) -> None:
    loaded = compbench.load_model(compbench.from_open_clip(*parts))
    picture = registry.task("shapes").examples[0].images[0].decode()
    before = loaded.score_pairs([picture], ["a red circle", "a blue square"])
    with torch.no_grad():
        for weights in parts[0].parameters():
            weights.mul_(1.1)
    after = loaded.score_pairs([picture], ["a red circle", "a blue square"])
    fresh = compbench.score_pairs(compbench.from_open_clip(*parts), [picture], ["a red circle", "a blue square"])
    assert np.array_equal(after, fresh)
    assert not np.array_equal(after, before)


def test_settings_that_cannot_be_told_are_measured_every_time_unless_they_are_named(
    parts: tuple[Any, Any, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, preprocess, tokenizer = parts
    own = transforms.Compose([transforms.Lambda(lambda image: image), *preprocess.transforms])
    paths = {
        compbench.run(fakes.task(1), model=compbench.from_open_clip(model, own, tokenizer), runs=tmp_path).path
        for _ in range(2)
    }
    assert len(paths) == 2
    assert "the settings of its preprocessing (the function" in capsys.readouterr().err
    named = compbench.from_open_clip(model, own, tokenizer, identity="plain")
    paths = {compbench.run(fakes.task(1), model=named, runs=tmp_path).path for _ in range(2)}
    assert len(paths) == 1
    assert "measured every time" not in capsys.readouterr().err


def test_half_precision_is_its_own_run(parts: tuple[Any, Any, Any], tmp_path: Path) -> None:
    _, preprocess, tokenizer = parts
    half = open_clip.create_model(FOLDER, precision="bf16")
    run = compbench.run(fakes.task(2), model=compbench.from_open_clip(half, preprocess, tokenizer), runs=tmp_path)
    assert run.key.measurement["dtype"] == "bfloat16"
    assert np.isfinite(run.table().scores).all()


def test_what_is_no_open_clip_model_is_refused(parts: tuple[Any, Any, Any]) -> None:
    model, preprocess, tokenizer = parts
    with pytest.raises(UsageError, match="a Linear, which has no encode_image, encode_text"):
        compbench.from_open_clip(torch.nn.Linear(1, 1), preprocess, tokenizer)
    with pytest.raises(UsageError, match="tokenizer takes no context_length"):
        compbench.from_open_clip(model, preprocess, lambda texts: texts)
    with pytest.raises(UsageError, match="preprocess cannot be None"):
        compbench.from_open_clip(model, None, tokenizer)
    with pytest.raises(UsageError, match="name cannot be empty"):
        compbench.from_open_clip(model, preprocess, tokenizer, name=" ")
