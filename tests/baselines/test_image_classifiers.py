"""torchvision's classifiers: pinned weights, a state dict of the user's, and which logit is a caption's score."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision.models
from safetensors.torch import save_file

from colours import colours
from compbench import registry
from compbench.core.aliases import Floats
from compbench.core.errors import DataError, UsageError
from compbench.core.examples import Classes, ScoreTable, Task
from compbench.core.metrics import TOP1
from compbench.core.models import Runtime
from compbench_baselines.classifiers import torchvision as image_classifiers
from compbench_baselines.classifiers.torchvision import RESNET18, ImageClassifier, labels_of

PINNED = [getattr(image_classifiers, name) for name in image_classifiers.__all__ if name.isupper()]
LABELS = (7, 7, 404, 404, 999, 3)  # blue is two labels of ImageNet, as a class of ObjectNet may be


@pytest.fixture(scope="module")
def state_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state dict of resnet18, untrained."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = torchvision.models.resnet18()
    file = tmp_path_factory.mktemp("weights") / "untrained.pth"
    torch.save(network.state_dict(), file)
    return file


def _task(space: str = "imagenet", labels: tuple[int, ...] | None = LABELS) -> Task:
    task = colours(n=2)
    assert task.classes is not None
    classes = dataclasses.replace(task.classes, label_space=space, labels=labels)
    return dataclasses.replace(task, classes=classes)


def _scores(spec: ImageClassifier, task: Task, batch_size: int | None = None) -> list[Floats]:
    scorer = spec.build(spec.source(), Runtime("cpu", batch_size))
    scorer.prepare(task)
    return [matrix.scores for matrix in scorer.score(task.examples, {})]


def test_a_captions_score_is_the_logit_of_its_label(state_file: Path) -> None:
    network = torchvision.models.resnet18()
    network.load_state_dict(torch.load(state_file, weights_only=True))
    transform = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.transforms()
    task = _task()
    for example, scores in zip(
        task.examples, _scores(dataclasses.replace(RESNET18, weights=state_file), task), strict=True
    ):
        with torch.inference_mode():
            logits = network.eval()(transform(example.images[0].decode())[None])[0].numpy()
        np.testing.assert_allclose(scores, logits[None, list(LABELS)], rtol=1e-4, atol=1e-4)


def test_scores_do_not_depend_on_the_batch_size(state_file: Path) -> None:
    spec = dataclasses.replace(RESNET18, weights=state_file)
    np.testing.assert_allclose(_scores(spec, _task(), 1), _scores(spec, _task(), 4), rtol=1e-4, atol=1e-4)


def test_the_best_label_of_a_class_speaks_for_it(state_file: Path) -> None:
    task = _task()
    spec = dataclasses.replace(RESNET18, weights=state_file)
    scores = np.stack(_scores(spec, task))
    table = ScoreTable(
        tuple(example.id for example in task.examples), scores, np.stack([example.matches for example in task.examples])
    )
    best = scores[:, 0].reshape(-1, 3, 2).max(-1).argmax(-1)  # two captions a class
    true = np.repeat([0, 1, 2], 2)
    np.testing.assert_array_equal(TOP1.outcome(table), best == true)


def test_safetensors_are_read_as_well(state_file: Path, tmp_path: Path) -> None:
    save_file(torch.load(state_file, weights_only=True), tmp_path / "same.safetensors")
    one, other = (dataclasses.replace(RESNET18, weights=file) for file in (state_file, tmp_path / "same.safetensors"))
    np.testing.assert_array_equal(_scores(one, _task()), _scores(other, _task()))


@pytest.mark.parametrize("spec", PINNED, ids=lambda spec: spec.name)
def test_the_pinned_file_is_the_one_that_torchvision_publishes(spec: ImageClassifier) -> None:
    weights = torchvision.models.get_weight(spec.pinned)
    assert weights.url.endswith(f"/{spec.file}")
    assert spec.builder in torchvision.models.list_models(torchvision.models)
    assert spec.identity()["weights"] == spec.file


def test_a_file_in_torchs_cache_is_used_when_its_digest_is_that_of_its_name(
    state_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    digest = hashlib.sha256(state_file.read_bytes()).hexdigest()
    spec = dataclasses.replace(RESNET18, file=f"resnet18-{digest[:8]}.pth")
    cached = tmp_path / "hub" / "checkpoints" / spec.file
    cached.parent.mkdir(parents=True)
    cached.write_bytes(state_file.read_bytes())
    expected = _scores(dataclasses.replace(RESNET18, weights=state_file), _task())
    np.testing.assert_array_equal(_scores(spec, _task()), expected)


def test_a_file_in_torchs_cache_with_other_contents_is_refused(
    state_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cached = tmp_path / "hub" / "checkpoints" / RESNET18.file
    cached.parent.mkdir(parents=True)
    cached.write_bytes(state_file.read_bytes())
    with pytest.raises(DataError, match="does not match its name: delete it"):
        RESNET18.build(None, Runtime("cpu"))


def test_offline_without_weights_says_which_file_to_put_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(DataError, match=r"resnet18-f37072fd.pth at .*checkpoints.*weights=FILE"):
        RESNET18.build(None, Runtime("cpu", is_offline=True))


def test_a_state_dict_that_does_not_fit_is_told_by_name_and_shape(state_file: Path, tmp_path: Path) -> None:
    state = dict(torch.load(state_file, weights_only=True))
    state["fc.weight"], state["extra"] = torch.zeros(10, 512), torch.zeros(1)
    del state["bn1.weight"]
    torch.save(state, tmp_path / "other.pth")
    spec = dataclasses.replace(RESNET18, weights=tmp_path / "other.pth")
    wrong = r"does not fit resnet18: fc.weight \(10, 512\) for \(1000, 512\); no bn1.weight; extra unknown"
    with pytest.raises(DataError, match=wrong):
        spec.build(spec.source(), Runtime("cpu"))


def test_a_file_that_holds_no_state_dict_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.pth").write_text("no weights")
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    for name, words in (("text.pth", "cannot be read"), ("list.pth", "is not a state dict")):
        spec = dataclasses.replace(RESNET18, weights=tmp_path / name)
        with pytest.raises(DataError, match=words):
            spec.build(spec.source(), Runtime("cpu"))


def test_a_file_that_is_not_there_is_told_when_the_option_is_set(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no file"):
        registry.model(RESNET18, {"weights": str(tmp_path / "none.pth")})


def test_another_label_space_is_refused_before_anything_is_loaded() -> None:
    for task, words in (
        (_task("digits"), "are those of 'digits'"),
        (_task("", None), "have no number in any data set"),
        (dataclasses.replace(_task(), classes=None), "expected a classification task"),
    ):
        with pytest.raises(UsageError, match=words):
            RESNET18.resolve(task)


def test_a_label_outside_of_imagenet_is_a_data_error() -> None:
    with pytest.raises(DataError, match="label 1000; expected 0 to 999"):
        labels_of(_task(labels=(0, 1, 2, 3, 4, 1000)), "resnet18")


def test_the_labels_of_a_task_are_its_captions_labels() -> None:
    task = _task()
    assert isinstance(task.classes, Classes)
    np.testing.assert_array_equal(labels_of(task, "resnet18"), LABELS)
