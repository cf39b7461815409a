"""What is trained here is the same on any number of threads, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from colours import colours
from compbench.core.aliases import Floats
from compbench.core.examples import Task
from compbench.core.models import Runtime
from compbench_baselines.classifiers.trained import LogisticRegression, SmallResNet
from compbench_baselines.generative.features import SDFeatures
from compbench_baselines.generative.synthetic import SyntheticSD

SPECS: dict[str, Any] = {
    "small-resnet": lambda folder: SmallResNet(epochs=4),
    "logistic-regression": lambda folder: LogisticRegression(),
    "sd-features": lambda folder: SDFeatures(base=str(folder), epochs=4),
    "sd-features, logistic": lambda folder: SDFeatures(base=str(folder), head="logistic"),
    "synthetic-sd": lambda folder: SyntheticSD(
        base=str(folder), dtype="float32", n_per_class=9, steps=2, architecture="small-resnet", size_px=32, epochs=4
    ),
}


@pytest.fixture
def n_threads() -> Iterator[None]:
    """Sets the number of threads back."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def _scores(spec: Any, task: Task) -> Floats:
    model = spec.resolve(task)
    scorer = model.build(model.source, Runtime("cpu"))
    scorer.prepare(task)
    return np.concatenate([matrix.scores for matrix in scorer.score(task.examples, {})])


@pytest.mark.usefixtures("n_threads")
@pytest.mark.parametrize("name", SPECS)
def test_scores_do_not_depend_on_the_number_of_threads(
    name: str, tiny_pipeline_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Floats] = []
    for n in (1, 3):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / f"{n}"))  # all of it is made again
        torch.set_num_threads(n)
        found.append(_scores(SPECS[name](tiny_pipeline_folder), colours()))
        assert torch.get_num_threads() == n
    np.testing.assert_array_equal(*found)
