"""Classifiers trained on the spot: what they learn from, that it is repeatable, and that it survives a kill."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import compbench
from colours import colours
from compbench import registry
from compbench.core.aliases import Floats, Ints
from compbench.core.errors import DataError, UsageError
from compbench.core.examples import Task
from compbench.core.models import ModelSpec, Runtime
from compbench_baselines.classifiers.trained import LogisticRegression, SmallResNet
from compbench_baselines.training.fit import Job, Recipe, fit
from compbench_baselines.training.labels import training_images
from compbench_baselines.training.logistic import fit_logistic
from compbench_baselines.training.networks import SMALL_RESNET, new_network

SPECS = [SmallResNet(size_px=8, epochs=6), LogisticRegression(size_px=4)]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "compbench" / "trained"


def _scores(spec: ModelSpec, task: Task, said: list[str] | None = None) -> Floats:
    """[N, C]."""
    scorer = spec.build(None, Runtime("cpu", say=(said if said is not None else []).append))
    scorer.prepare(task)
    return np.concatenate([matrix.scores for matrix in scorer.score(task.examples, {})])


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: type(spec).__name__)
class TestBoth:
    def test_it_learns_what_can_be_seen(self, spec: ModelSpec, tmp_path: Path) -> None:
        if isinstance(spec, SmallResNet):
            spec = dataclasses.replace(spec, epochs=60)
        stored = compbench.run(colours(), model=spec, device="cpu", runs=tmp_path / "runs")
        (table,) = stored.tables().values()
        assert (table.scores[:, 0].argmax(-1) // 2 == np.repeat([0, 1, 2], 4)).all()

    def test_the_prompts_of_a_class_share_its_score(self, spec: ModelSpec) -> None:
        scores = _scores(spec, colours())
        np.testing.assert_array_equal(scores[:, 0::2], scores[:, 1::2])

    def test_the_same_seed_gives_the_same_bits(
        self, spec: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = _scores(spec, colours())
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))
        np.testing.assert_array_equal(_scores(spec, colours()), first)

    def test_a_shifted_test_set_shares_what_was_trained(self, spec: ModelSpec, cache: Path) -> None:
        said: list[str] = []
        _scores(spec, colours(), said)
        shifted = dataclasses.replace(colours(seed=1), name="colours-shifted", training=colours().training)
        _scores(spec, shifted, said)
        assert len([line for line in said if "trained on" in line or "fitted to" in line]) == 1
        assert len(list(cache.iterdir())) == 1

    def test_the_training_split_is_part_of_the_identity(self, spec: ModelSpec) -> None:
        plain, more = (spec.resolve(task).identity for task in (colours(), colours(n_training=7)))
        assert plain != more
        assert plain == spec.resolve(colours()).identity

    def test_a_test_picture_is_never_learned_from(self, spec: ModelSpec) -> None:
        task = colours()
        leaking = dataclasses.replace(task, training=lambda: [*colours().training(), *task.examples])  # pyright: ignore
        said: list[str] = []
        np.testing.assert_array_equal(_scores(spec, leaking, said), _scores(spec, task))
        assert "12 of 30 training pictures are test pictures too" in said[0]

    def test_a_task_without_classes_or_training_split_is_refused(self, spec: ModelSpec) -> None:
        with pytest.raises(UsageError, match="expected a classification task"):
            spec.resolve(dataclasses.replace(colours(), classes=None))
        with pytest.raises(UsageError, match="task 'colours' has none; expected a task that comes with one"):
            spec.resolve(dataclasses.replace(colours(), training=None))


def test_a_class_without_training_pictures_is_named() -> None:
    task = colours()
    lacking = dataclasses.replace(
        task,
        training=lambda: [picture for picture in colours().training() if "blue" not in picture.id],  # pyright: ignore
    )
    with pytest.raises(DataError, match="no picture of class 'blue', nor of 0 others"):
        training_images(lacking, "small-resnet", print)


def test_the_labels_are_those_of_the_matching_captions() -> None:
    said: list[str] = []
    shown = training_images(colours(n_training=2), "small-resnet", said.append)
    assert not said
    assert shown.labels.tolist() == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("name", ["digits", "digits-noise", "shape-classes"])
def test_the_training_split_of_a_task_that_ships_holds_no_test_picture(name: str) -> None:
    task = registry.task(name)
    said: list[str] = []
    shown = training_images(task, "small-resnet", said.append)
    assert task.training is not None
    assert len(shown.images) > 0.88 * len(task.training())
    tested = {image.digest() for example in task.examples for image in example.images}
    assert not tested & {image.digest() for image in shown.images}


class _Breaks:
    """Random inputs that are interrupted before batch number `at`."""

    def __init__(self, values: Tensor, at: int | None = None) -> None:
        self.values, self.at, self.n_shown = values, at, 0

    def batches(self, chunks: Iterable[Ints], epoch: int | None) -> Iterator[Tensor]:
        for chunk in chunks:
            if self.n_shown == self.at and epoch is not None:
                raise KeyboardInterrupt
            self.n_shown += epoch is not None
            yield self.values[chunk]


def _fitted(inputs: _Breaks, folder: Path, said: list[str], seconds: float = 0.0) -> dict[str, Tensor]:
    folder.mkdir(exist_ok=True)
    labels = np.arange(20) % 2
    job = Job(
        "test",
        inputs,
        labels,
        is_held_out=np.arange(20) >= 16,
        recipe=Recipe(n_epochs=3, batch_size=4),
        folder=folder,
        device=torch.device("cpu"),
        say=said.append,
        seconds_between_checkpoints=seconds,
    )
    return fit(new_network(SMALL_RESNET, 2, 0), job).state_dict()


class TestFitting:
    values = torch.from_numpy(np.random.default_rng(0).normal(size=(20, 3, 8, 8)).astype(np.float32))

    @pytest.mark.parametrize("at", [1, 4, 7, 11])  # within an epoch and at its end
    def test_an_interrupted_training_ends_at_the_same_weights(self, tmp_path: Path, at: int) -> None:
        whole = _fitted(_Breaks(self.values), tmp_path / "whole", [])
        said: list[str] = []
        with pytest.raises(KeyboardInterrupt):
            _fitted(_Breaks(self.values, at), tmp_path / "torn", said)
        rest = _Breaks(self.values)
        torn = _fitted(rest, tmp_path / "torn", said)
        assert rest.n_shown == 12 - at  # nothing is learned twice
        assert said[0] == f"test: resuming training at step {at}"
        for key in whole:
            torch.testing.assert_close(torn[key], whole[key], rtol=0, atol=0)

    def test_a_finished_training_is_loaded_and_its_checkpoint_is_gone(self, tmp_path: Path) -> None:
        first = _fitted(_Breaks(self.values), tmp_path, [])
        again = _Breaks(self.values)
        second = _fitted(again, tmp_path, [])
        assert again.n_shown == 0
        assert sorted(file.name for file in tmp_path.iterdir()) == ["model.safetensors"]
        assert all(torch.equal(first[key], second[key]) for key in first)

    def test_the_epoch_that_is_best_on_what_was_held_out_is_kept(self, tmp_path: Path) -> None:
        said: list[str] = []
        _fitted(_Breaks(self.values), tmp_path, said)
        network = new_network(SMALL_RESNET, 2, 0)
        network.load_state_dict(_fitted(_Breaks(self.values), tmp_path, []))
        with torch.inference_mode():
            predicted = network.eval()(self.values[16:]).argmax(-1).numpy()
        right = (predicted == np.arange(16, 20) % 2).mean()
        assert said[-1] == f"test: trained on 16 pictures, {100 * right:.1f} % right on the held-out ones"

    def test_damaged_files_are_told(self, tmp_path: Path) -> None:
        (tmp_path / "checkpoint.pt").write_bytes(b"torn")
        with pytest.raises(DataError, match=r"checkpoint .* is damaged .* delete it to train from the start"):
            _fitted(_Breaks(self.values), tmp_path, [])
        (tmp_path / "model.safetensors").write_bytes(b"torn")
        with pytest.raises(DataError, match=r"is damaged .* delete it to train again"):
            _fitted(_Breaks(self.values), tmp_path, [])


class TestLogistic:
    def test_it_is_scikit_learns(self, tmp_path: Path) -> None:
        from sklearn.linear_model import LogisticRegression as Reference
        from sklearn.preprocessing import StandardScaler

        rng = np.random.default_rng(0)
        labels = rng.integers(3, size=60)
        inputs = rng.normal(size=(60, 5)) + labels[:, None]
        ours = fit_logistic(inputs, labels, tmp_path, c=0.5, name="test").scores(inputs)
        scaler = StandardScaler().fit(inputs)
        reference = Reference(C=0.5, max_iter=1000).fit(scaler.transform(inputs), labels)
        np.testing.assert_allclose(ours, reference.decision_function(scaler.transform(inputs)), atol=2e-3)

    def test_of_two_classes_the_difference_is_scikit_learns_one_number(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(0)
        labels = rng.integers(2, size=40)
        inputs = rng.normal(size=(40, 3)) + labels[:, None]
        line = fit_logistic(inputs, labels, tmp_path, c=1.0, name="test")
        with np.load(tmp_path / "logistic.npz") as kept:
            one_number = (inputs - kept["mean"]) / kept["scale"] @ kept["weights"][0] + kept["bias"][0]
        scores = line.scores(inputs)
        np.testing.assert_allclose(scores[:, 1] - scores[:, 0], one_number)

    def test_an_interrupted_fit_ends_at_the_same_line(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(0)
        labels = rng.integers(4, size=300)
        inputs = rng.normal(size=(300, 40)).cumsum(1) + labels[:, None] * 0.1  # nearly the same columns: slow going
        for name in ("whole", "torn"):
            (tmp_path / name).mkdir()
        whole = fit_logistic(inputs, labels, tmp_path / "whole", c=1e6, name="test")
        with np.load(tmp_path / "whole" / "logistic.npz") as kept:
            n_rounds = int(kept["n_rounds"])
        assert n_rounds > 1
        _stop_after_a_round(inputs, labels, tmp_path / "torn")
        said: list[str] = []
        torn = fit_logistic(inputs, labels, tmp_path / "torn", c=1e6, name="test", say=said.append)
        assert said[0] == "test: resuming the fit after 50 iterations"
        np.testing.assert_array_equal(torn.weights, whole.weights)


def _stop_after_a_round(inputs: Floats, labels: Ints, folder: Path) -> None:
    """What the folder holds when the process is killed in the second round: the first round's line."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression as Reference
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(inputs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = Reference(C=1e6, max_iter=50).fit(scaler.transform(inputs), labels)
    np.savez(
        folder / "logistic.npz",
        weights=model.coef_,
        bias=model.intercept_,
        mean=scaler.mean_,
        scale=scaler.scale_,
        n_rounds=1,
        is_finished=False,
    )


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: SmallResNet(size_px=4), "size_px=4; expected 8 or more"),
        (lambda: SmallResNet(epochs=0), "epochs=0; expected 1 or more"),
        (lambda: LogisticRegression(c=0), "c=0; expected more than 0"),
    ],
)
def test_bad_options_are_told(made: object, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        made()  # type: ignore[operator]  # pyright: ignore


def test_an_unknown_architecture_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"no architecture of timm named 'resnet51'; did you mean .*resnet50"):
        new_network("resnet51", 2, 0)
