"""SD Features: what is read of the U-Net, what is kept of it, and the classifiers of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from colours import colours
from compbench.core.aliases import Floats
from compbench.core.errors import UsageError
from compbench.core.examples import Image, Task
from compbench.core.models import Runtime
from compbench.diffusion.families import sd_unet
from compbench.diffusion.images import whole_picture
from compbench.diffusion.parts import Parts
from compbench_baselines.generative._mid_block import MidBlock
from compbench_baselines.generative.features import SDFeatures
from compbench_baselines.training.scorer import TrainedScorer


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "compbench"


def _spec(folder: Path, **options: object) -> SDFeatures:
    return dataclasses.replace(SDFeatures(base=str(folder), dtype="float32"), **options)  # pyright: ignore


def _block(spec: SDFeatures, batch_size: int | None = None) -> MidBlock:
    return MidBlock(spec, sd_unet.load(Path(spec.base)), "weights", Runtime("cpu", batch_size))


def _scorer(spec: SDFeatures, said: list[str] | None = None) -> TrainedScorer:
    return spec.build(spec.source(), Runtime("cpu", say=(said if said is not None else []).append))


def _scores(spec: SDFeatures, task: Task, said: list[str] | None = None) -> Floats:
    scorer = _scorer(spec, said)
    scorer.prepare(task)
    return np.concatenate([matrix.scores for matrix in scorer.score(task.examples, {})])


class _Drawn:
    """A picture that counts how often it was decoded, and stops everything where it is told to."""

    def __init__(self, grey: int, log: list[int], stops: Callable[[], bool] = lambda: False) -> None:
        self.grey, self.log, self.stops = grey, log, stops

    def __call__(self) -> PIL.Image.Image:
        if self.stops():
            raise KeyboardInterrupt
        self.log.append(self.grey)
        return PIL.Image.new("RGB", (64, 64), (self.grey, 80, 120))


def _image(grey: int, log: list[int], stops: Callable[[], bool] = lambda: False) -> Image:
    return Image(f"{grey}.png", _Drawn(grey, log, stops), sha256=f"{grey:064d}")


def test_features_are_what_diffusers_computes_in_the_middle(tiny_pipeline_folder: Path) -> None:
    spec = _spec(tiny_pipeline_folder, timestep=300, caption="a red circle", seed=5, pooled="false")
    block, image = _block(spec), _image(30, [])
    block.make([image])
    unet = UNet2DConditionModel.from_pretrained(tiny_pipeline_folder, subfolder="unet").eval()
    vae = AutoencoderKL.from_pretrained(tiny_pipeline_folder, subfolder="vae").eval()
    text = CLIPTextModel.from_pretrained(tiny_pipeline_folder / "text_encoder").float().eval()
    tokenizer = CLIPTokenizer.from_pretrained(tiny_pipeline_folder / "tokenizer")
    scheduler = sd_unet.load(tiny_pipeline_folder).scheduler
    with torch.inference_mode():
        latents = vae.encode(whole_picture(image.decode(), 64)[None]).latent_dist.mean * vae.config.scaling_factor
        noise = torch.randn(latents.shape[1:], generator=torch.Generator().manual_seed(5))[None]
        ids = tokenizer(["a red circle"], padding="max_length", max_length=16, return_tensors="pt").input_ids
        seen: list[torch.Tensor] = []
        unet.mid_block.register_forward_hook(lambda module, inputs, output: seen.append(output))
        noised = scheduler.add_noise(latents, noise, torch.tensor([300]))
        unet(noised, torch.tensor([300]), encoder_hidden_states=text(ids)[0])
    features = block.read(block.names([image]))
    np.testing.assert_allclose(features, seen[0].half().float().numpy(), atol=1e-3)
    pooled = _block(_spec(tiny_pipeline_folder, timestep=300, caption="a red circle", seed=5, head="logistic"))
    pooled.make([image])
    np.testing.assert_allclose(pooled.read(pooled.names([image])), seen[0].mean((2, 3)).numpy(), atol=1e-4)


def test_features_do_not_depend_on_the_batch_size(tiny_pipeline_folder: Path) -> None:
    spec, images = _spec(tiny_pipeline_folder, head="logistic"), [_image(grey, []) for grey in (10, 60, 110)]
    together, alone = _block(spec, 3), MidBlock(spec, _parts(spec), "others", Runtime("cpu", 1))
    together.make(images)
    alone.make(images)
    names = together.names(images)
    np.testing.assert_allclose(together.read(names), alone.read(names), atol=1e-5)


def test_a_killed_process_loses_nothing_that_was_made(tiny_pipeline_folder: Path) -> None:
    spec, log = _spec(tiny_pipeline_folder), list[int]()
    images = [_image(grey, log, lambda: len(log) == 3) for grey in (10, 60, 110, 160)]
    with pytest.raises(KeyboardInterrupt):
        _block(spec, 1).make(images)
    rest = list[int]()
    images = [_image(grey, rest) for grey in (10, 60, 110, 160)]
    block = _block(spec, 1)
    block.make(images)
    assert (log, rest) == ([10, 60, 110], [160])
    whole = MidBlock(spec, _parts(spec), "others", Runtime("cpu", 1))
    whole.make(images)
    np.testing.assert_array_equal(block.read(block.names(images)), whole.read(block.names(images)))


def test_another_timestep_needs_no_autoencoder(tiny_pipeline_folder: Path) -> None:
    log = list[int]()
    image = _image(10, log)
    for timestep in (100, 500):
        block = _block(_spec(tiny_pipeline_folder, timestep=timestep))
        block.make([image])
    assert log == [10]
    block = _block(_spec(tiny_pipeline_folder, timestep=500))
    block.make([image])
    assert log == [10]


@pytest.mark.parametrize("options", [{"head": "logistic"}, {"epochs": 25}], ids=["logistic", "resnet"])
def test_colours_are_told_apart_the_same_way_each_time(
    tiny_pipeline_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, object]
) -> None:
    spec, task = _spec(tiny_pipeline_folder, **options), colours(n=3, n_training=12, names=("red", "blue"))
    said: list[str] = []
    scores = _scores(spec, task, said)
    assert (scores.argmax(-1) // 2 == np.repeat([0, 1], 3)).mean() > 0.8  # even of an untrained network
    np.testing.assert_array_equal(_scores(spec, task, said), scores)  # from what is kept
    assert len([line for line in said if "fitted to" in line or "trained on" in line]) == 1
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))
    np.testing.assert_array_equal(_scores(spec, task), scores)


def test_the_caption_is_empty_unless_another_is_asked_for(tiny_pipeline_folder: Path) -> None:
    image = _image(10, [])
    values: list[Floats] = []
    for options in ({}, {"caption": ""}, {"caption": "a blue square"}):
        block = _block(_spec(tiny_pipeline_folder, **options))
        block.make([image])
        values.append(block.read(block.names([image])))
    np.testing.assert_array_equal(values[0], values[1])
    assert not np.array_equal(values[0], values[2])


def test_all_that_changes_a_score_is_in_the_identity(tiny_pipeline_folder: Path) -> None:
    plain = _spec(tiny_pipeline_folder).resolve(colours()).spec
    changes: list[dict[str, object]] = [
        {"timestep": 10}, {"caption": "a"}, {"seed": 1}, {"head": "logistic"}, {"epochs": 3},
        {"dtype": "bfloat16"}, {"training": "other"},
    ]  # fmt: skip
    assert all(dataclasses.replace(plain, **change).identity() != plain.identity() for change in changes)  # pyright: ignore
    line = dataclasses.replace(plain, head="logistic")
    assert dataclasses.replace(line, pooled="false").identity() != line.identity()
    assert dataclasses.replace(line, c=1.0).identity() != line.identity()
    assert dataclasses.replace(line, epochs=3).identity() == line.identity()  # which logistic regression has not


def test_the_diffusion_model_is_loaded_once_for_several_tasks(tiny_pipeline_folder: Path) -> None:
    made: dict[Hashable, Any] = {}

    def keep(key: Hashable, make: Callable[[], Any]) -> Any:
        if key not in made:
            made[key] = make()
        return made[key]

    for task in (colours(), colours(n_training=7)):
        model = _spec(tiny_pipeline_folder).resolve(task)
        model.build(model.source, Runtime("cpu", kept=keep))
    assert len(made) == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"base": "sd7"}, r"cannot take base='sd7'; expected one of .*tiny-sd|did you mean"),
        ({"timestep": 1000}, "timestep=1000; expected 0 to 999"),
        ({"head": "resnet", "pooled": "true"}, "needs maps of features"),
        ({"epochs": 0}, "epochs=0; expected more than 0"),
    ],
)
def test_bad_options_are_told(options: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        SDFeatures(**options)  # pyright: ignore


def _parts(spec: SDFeatures) -> Parts:
    return sd_unet.load(Path(spec.base))
