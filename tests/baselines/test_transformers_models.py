"""Dual and cross encoders of transformers from a folder or a hub: scores are the library's own, whatever the batch."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import safetensors.torch
import torch
import transformers

import compbench
import small_transformers
from captioned import unmasked
from compbench import registry
from compbench.cli.app import main
from compbench.core.errors import DataError, UsageError
from compbench.core.examples import Example, Image, Task
from compbench.core.metrics import MATCHING
from compbench.core.models import Runtime
from compbench_baselines.clip._kinds import KINDS
from compbench_baselines.clip.models import OpenClip
from edits import edited
from loopback_hub import LoopbackHub, loopback_hub, used_here

COSINES = ["clip", "metaclip2", "siglip", "siglip2"]
MATCHERS = ["blip", "blip-2"]
EXAMPLES = registry.task("shapes").examples[:3]
NOISE = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
PICTURES = [EXAMPLES[0].images[0].decode(), PIL.Image.new("RGB", (32, 32), "navy"), PIL.Image.fromarray(NOISE)]
CAPTIONS = ["a circle", *EXAMPLES[0].captions, "A Blue square below the red star and to the right of it"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each family's model in the layout of its hub repositories."""
    place = tmp_path_factory.mktemp("transformers")
    return {family: small_transformers.save(place / family, family) for family in (*COSINES, *MATCHERS)}


def scores(folder: Path, **settings: Any) -> Any:
    return compbench.score_pairs(f"transformers:{folder}", PICTURES, CAPTIONS, device="cpu", **settings)


@torch.inference_mode()
def documented(folder: Path) -> Any:
    """[I, C] cosines as by the model's forward on what its processor makes."""
    network, processor = small_transformers.network_of(folder)
    images = processor.image_processor(PICTURES, return_tensors="pt")
    if "siglip" not in folder.name:
        found = network(**processor.tokenizer(CAPTIONS, padding=True, return_tensors="pt"), **images)
        return (found.logits_per_image / network.logit_scale.exp()).numpy()
    processor.tokenizer.padding_side = "right"  # as trained, and as the published repositories say
    captions = [caption.lower() for caption in CAPTIONS]
    tokens = processor.tokenizer(captions, padding="max_length", max_length=64, return_tensors="pt")
    found = network(input_ids=tokens["input_ids"], **images)
    return ((found.logits_per_image - network.logit_bias) / network.logit_scale.exp()).numpy()


@torch.inference_mode()
def documented_pairs(folder: Path, **head: bool) -> Any:
    """[I, C, ...] as by the model's forward on one pair at a time, without any padding."""
    network, processor = small_transformers.network_of(folder)
    rows = []
    for picture in PICTURES:
        pairs = (processor(images=picture, text=caption, return_tensors="pt") for caption in CAPTIONS)
        outputs = [network(**pair, **head) for pair in pairs]
        rows.append([output.get("itm_score", output.get("logits_per_image"))[0].numpy() for output in outputs])
    return np.array(rows)


def tells(found: Any) -> bool:
    """Whether it depends on the picture and on the caption: else agreement would show nothing."""
    return min(np.ptp(found, axis=axis).min() for axis in (0, 1)) > 1e-4


@pytest.mark.parametrize("family", COSINES)
def test_a_score_is_the_cosine_of_the_models_own_forward(folders: dict[str, Path], family: str) -> None:
    found = scores(folders[family])
    np.testing.assert_allclose(found, documented(folders[family]), atol=1e-5)
    assert tells(found)


@pytest.mark.parametrize(("family", "head"), [("blip", "use_itm_head"), ("blip-2", "use_image_text_matching_head")])
def test_a_score_is_the_log_odds_of_one_soft_max_over_the_matching_head(
    folders: dict[str, Path], family: str, head: str
) -> None:
    found = scores(folders[family])
    logits = torch.from_numpy(documented_pairs(folders[family], **{head: True}))  # [I, C, 2]
    np.testing.assert_allclose(1 / (1 + np.exp(-found)), logits.softmax(-1)[..., 1], atol=1e-5)
    assert tells(found)


@pytest.mark.parametrize(("family", "head"), [("blip", "use_itm_head"), ("blip-2", "use_image_text_matching_head")])
def test_head_itc_is_the_contrastive_score_of_the_same_weights(
    folders: dict[str, Path], family: str, head: str
) -> None:
    found = scores(folders[family], head="itc")
    expected = documented_pairs(folders[family], **{head: False})
    np.testing.assert_allclose(found, expected.reshape(found.shape), atol=1e-5)
    assert tells(found)


@pytest.mark.parametrize("family", [*COSINES, *MATCHERS])
def test_batch_size_and_padding_side_change_nothing(folders: dict[str, Path], tmp_path: Path, family: str) -> None:
    expected = scores(folders[family])
    for size in (1, 3):
        np.testing.assert_allclose(scores(folders[family], batch_size=size), expected, atol=1e-5)
    for side in ("left", "right"):
        folder = edited(folders[family], tmp_path / side, "tokenizer_config.json", padding_side=side)
        np.testing.assert_allclose(scores(folder), expected, atol=1e-5)


@pytest.mark.parametrize(("family", "reader"), [("blip", "text_encoder"), ("blip-2", "qformer")])
def test_without_the_mask_the_batch_would_change_a_matchers_scores(
    folders: dict[str, Path], family: str, reader: str
) -> None:
    spec = registry.model(f"transformers:{folders[family]}").spec
    found: list[Any] = []
    for is_masked in (True, False):
        made: Any = spec.build(spec.source(), Runtime("cpu", 16))
        if not is_masked:
            unmasked(getattr(made._matcher.network, reader))
        pictures = tuple(Image(f"{number}", lambda picture=picture: picture) for number, picture in enumerate(PICTURES))
        example = Example("0", pictures, tuple(CAPTIONS), np.eye(len(PICTURES), len(CAPTIONS), dtype=bool))
        made.prepare(Task("t", (example,), MATCHING))
        found += [matrix.scores for matrix in made.score([example], {})]
    assert np.abs(found[0] - found[1]).max() > 1e-3


@pytest.mark.parametrize("family", ["siglip", "siglip2"])
def test_a_siglip_reads_captions_in_lower_case(folders: dict[str, Path], family: str) -> None:
    found = compbench.score_pairs(f"transformers:{folders[family]}", PICTURES, ["A RED circle", "a red circle"])
    assert (found[:, 0] == found[:, 1]).all()


@pytest.mark.parametrize("family", MATCHERS)
def test_each_image_and_each_distinct_pair_goes_through_the_network_once(folders: dict[str, Path], family: str) -> None:
    examples = [*EXAMPLES, *registry.task("shapes").examples[3:9]]
    spec = registry.model(f"transformers:{folders[family]}").spec
    scorer: Any = spec.build(spec.source(), Runtime("cpu", 5))
    network, rows = scorer._matcher.network, Counter[str]()
    network.vision_model.register_forward_pre_hook(
        lambda _, inputs, given: rows.update(images=len(given["pixel_values"])), with_kwargs=True
    )
    network.itm_head.register_forward_pre_hook(lambda _, inputs: rows.update(pairs=len(inputs[0])))
    again = [*examples, examples[0]]  # the same pictures and captions a second time
    scorer.prepare(Task("t", tuple(examples), MATCHING))
    assert len(list(scorer.score(again, {}))) == 10
    assert rows == {"images": len({image.name for example in examples for image in example.images}), "pairs": 36}


@pytest.mark.parametrize("family", ["clip", "siglip2", "blip-2"])
def test_from_a_command_through_the_store_to_a_table(
    folders: dict[str, Path], family: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = f"transformers:{folders[family]}"
    assert main(["run", "shapes", "--model", model, "--limit", "6", "--device", "cpu", "--runs", str(tmp_path)]) == 0
    assert family in capsys.readouterr().out
    (run,) = compbench.Store(tmp_path).runs()
    stored = run.table().scores
    assert run.key.measurement == {"scorer": "transformers", "version": 1, "head": "auto", "dtype": "float32"}
    names = {example.id: example for example in registry.task("shapes").examples}
    example = names[run.table().ids[0]]
    alone = compbench.score_pairs(model, [image.decode() for image in example.images], example.captions)
    np.testing.assert_allclose(stored[0], alone, atol=1e-5)


@pytest.mark.parametrize("family", ["siglip", "clip"])
def test_scale_and_bias_are_stored_so_that_a_score_is_a_probability(
    folders: dict[str, Path], family: str, tmp_path: Path
) -> None:
    run = compbench.run("shapes", model=f"transformers:{folders[family]}", limit=2, runs=tmp_path, device="cpu")
    network, _ = small_transformers.network_of(folders[family])
    (part,) = run.parts()
    assert part["logit_scale"] == pytest.approx(network.logit_scale.exp().item())
    assert part.get("logit_bias") == (pytest.approx(-2.0) if family == "siglip" else None)


class TestRefused:
    @pytest.mark.parametrize(
        ("given", "says"),
        [
            ("BlipModel", "is a BlipModel, which has no image-text matching head; expected one of CLIPModel"),
            ("BlipForConditionalGeneration", "which has no image-text matching head"),
            ("Blip2Model", r"is a Blip2Model; expected one of"),
        ],
    )
    def test_a_class_that_is_not_known(self, folders: dict[str, Path], tmp_path: Path, given: str, says: str) -> None:
        folder = edited(folders["blip"], tmp_path / "x", "config.json", architectures=[given])
        if "Blip2" in given:
            folder = edited(folder, tmp_path / "y", "config.json", model_type="else")
        with pytest.raises(DataError, match=says):
            scores(folder)

    def test_a_configuration_that_names_no_class(self, folders: dict[str, Path], tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"names no class \(model_type 'clip'\)"):
            scores(edited(folders["clip"], tmp_path / "x", "config.json", architectures=None))

    @pytest.mark.parametrize("family", MATCHERS)
    def test_weights_without_the_matching_head(self, folders: dict[str, Path], tmp_path: Path, family: str) -> None:
        folder = tmp_path / "headless"
        shutil.copytree(folders[family], folder)
        tensors = safetensors.torch.load_file(folder / "model.safetensors")
        kept = {name: tensor for name, tensor in tensors.items() if not name.startswith("itm_head")}
        safetensors.torch.save_file(kept, folder / "model.safetensors", {"format": "pt"})
        with pytest.raises(DataError, match=r"2 missing \(itm_head.bias, itm_head.weight\)"):
            scores(folder)

    def test_a_matching_head_that_is_not_a_number(self, folders: dict[str, Path], tmp_path: Path) -> None:
        folder = tmp_path / "nan"
        shutil.copytree(folders["blip"], folder)
        tensors = safetensors.torch.load_file(folder / "model.safetensors")
        tensors["itm_head.bias"][0] = float("nan")
        safetensors.torch.save_file(tensors, folder / "model.safetensors", {"format": "pt"})
        with pytest.raises(DataError, match=r"1 of \d+ tensors with NaN or infinity: itm_head.bias"):
            scores(folder)

    def test_itc_of_a_model_that_has_no_other_head(self, folders: dict[str, Path]) -> None:
        with pytest.raises(DataError, match="is a CLIPModel, which scores by the cosine alone; leave out head=itc"):
            scores(folders["clip"], head="itc")

    def test_a_folder_without_weights_or_without_a_tokenizer(self, folders: dict[str, Path], tmp_path: Path) -> None:
        shutil.copytree(folders["clip"], tmp_path / "no weights")
        (tmp_path / "no weights" / "model.safetensors").unlink()
        with pytest.raises(DataError, match=r"has no model.safetensors, .* expected weights in the layout"):
            scores(tmp_path / "no weights")
        shutil.copytree(folders["clip"], tmp_path / "no tokenizer")
        (tmp_path / "no tokenizer" / "tokenizer.json").unlink()
        with pytest.raises(DataError, match=r"has no tokenizer in"):
            scores(tmp_path / "no tokenizer")

    def test_an_address_that_is_none(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"has no config\.json; expected what `model.save_pretrained"):
            registry.model(f"transformers:{tmp_path}")
        with pytest.raises(UsageError, match="no hub repository 'siglip'; expected transformers:ORG/NAME"):
            registry.model("transformers:siglip")

    def test_towers_of_two_activations(self, folders: dict[str, Path], tmp_path: Path) -> None:
        config = json.loads((folders["clip"] / "config.json").read_text(encoding="utf-8"))
        vision = {**config["vision_config"], "hidden_act": "gelu"}
        folder = edited(folders["clip"], tmp_path / "x", "config.json", vision_config=vision)
        with pytest.raises(DataError, match="activation 'quick_gelu' for text and 'gelu' for images"):
            scores(folder)


@pytest.mark.parametrize("family", ["metaclip2", "siglip2", "blip-2"])
def test_in_memory_it_scores_as_from_its_folder(folders: dict[str, Path], family: str) -> None:
    found = compbench.score_pairs(
        compbench.from_transformers(*small_transformers.network_of(folders[family])), PICTURES, CAPTIONS, device="cpu"
    )
    np.testing.assert_allclose(found, scores(folders[family]), atol=1e-6)


def test_captions_that_a_matching_head_cuts_are_counted(
    folders: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    captions = ["a red circle", "red " * 100, "blue " * 100]
    compbench.score_pairs(f"transformers:{folders['blip']}", PICTURES, captions[:2], device="cpu")
    assert "1 caption is longer than the 64 tokens that the model reads, and cut there" in capsys.readouterr().err
    compbench.score_pairs(f"transformers:{folders['blip']}", PICTURES, captions, device="cpu")
    assert "2 captions are longer than the 64 tokens" in capsys.readouterr().err


def test_a_matching_head_reads_a_class_s_own_caption_and_says_so(
    folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = f"transformers:{folders['blip']}"
    run = compbench.run("shape-classes", model=model, limit=1, runs=tmp_path, device="cpu")
    assert "a matching head cannot average over templates; it reads the task's own captions" in capsys.readouterr().err
    example = next(example for example in registry.task("shape-classes").examples if example.id == run.table().ids[0])
    alone = compbench.score_pairs(model, [example.images[0].decode()], example.captions, device="cpu")
    np.testing.assert_allclose(run.table().scores[0], alone, atol=1e-5)
    compbench.run("shape-classes", model=model, limit=1, runs=tmp_path, device="cpu", templates="none")
    assert "templates" not in capsys.readouterr().err


def test_openais_name_on_weights_without_quick_gelu_is_said(
    folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = json.loads((folders["clip"] / "config.json").read_text(encoding="utf-8"))
    plain = {part: {**config[part], "hidden_act": "gelu"} for part in ("text_config", "vision_config")}
    scores(edited(folders["clip"], tmp_path / "openai-tuned", "config.json", **plain))
    assert "openai-tuned: its name says OpenAI, whose weights were trained with quick-GELU" in capsys.readouterr().err
    scores(edited(folders["clip"], tmp_path / "tuned", "config.json", **plain))
    assert "quick-GELU" not in capsys.readouterr().err


class TestFromAHub:
    @pytest.fixture
    def hub(self, folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
        with loopback_hub() as hub:
            for family in ("siglip", "blip"):
                files = {path.name: path.read_bytes() for path in folders[family].iterdir()}
                hub.add("models", f"org/{family}", {**files, "README.md": b"#", "tf_model.h5": b"0" * 99})
            with used_here(hub, tmp_path, monkeypatch):
                yield hub

    def run(self, model: str, runs: Path, **settings: Any) -> Any:
        return compbench.run("shapes", model=model, limit=2, device="cpu", runs=runs, **settings)

    @pytest.mark.parametrize("family", ["siglip", "blip"])
    def test_it_is_fetched_at_a_commit_with_nothing_that_is_not_opened_and_then_offline(
        self, hub: LoopbackHub, folders: dict[str, Path], tmp_path: Path, family: str
    ) -> None:
        run = self.run(f"transformers:org/{family}", tmp_path / "one")
        assert str(run.key.weights).endswith("@" + hub.repositories["models", f"org/{family}"].main)
        assert {path.rpartition("/")[2] for path in hub.fetched()} == {
            file.name for file in folders[family].iterdir() if file.name != "README.md"
        }
        local = self.run(f"transformers:{folders[family]}", tmp_path / "local")
        assert np.array_equal(run.table().scores, local.table().scores)
        hub.forget()
        offline = self.run(f"transformers:org/{family}", tmp_path / "two", is_offline=True)
        assert hub.requests == []
        assert offline.key == run.key

    def test_a_name_is_the_repository_at_the_commit_that_main_is(
        self, hub: LoopbackHub, folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        files = {path.name: path.read_bytes() for path in folders["blip"].iterdir()}
        hub.add("models", "Salesforce/blip-itm-base-coco", files, "c" * 40)
        matched = self.run("blip-itm", tmp_path / "runs")
        assert f"Salesforce/blip-itm-base-coco: main is commit {'c' * 40}" in capsys.readouterr().err
        contrasted = self.run("blip-itc", tmp_path / "runs")
        assert matched.key.weights == contrasted.key.weights
        assert np.abs(matched.table().scores - contrasted.table().scores).min() > 1e-3

    def test_a_repository_of_another_class_is_refused_before_its_weights_are_fetched(
        self, hub: LoopbackHub, tmp_path: Path
    ) -> None:
        config = json.dumps({"architectures": ["BertModel"], "model_type": "bert"}).encode()
        hub.add("models", "org/bert", {"config.json": config, "model.safetensors": b"0" * 999, "vocab.txt": b"a"})
        with pytest.raises(DataError, match="model 'transformers:org/bert' is a BertModel; expected one of"):
            self.run("transformers:org/bert", tmp_path / "runs")
        assert not any("safetensors" in path for path in hub.fetched())


def test_dual_encoders_by_name_are_weights_that_open_clip_lists() -> None:
    asked = [
        entry.name for entry in registry.models() if entry.name.startswith(("siglip", "mobile", "eva", "meta", "dfn"))
    ]
    specs = [registry.model(name).spec for name in asked]
    assert len(asked) == 11
    assert all(spec.weights().hub for spec in specs if isinstance(spec, OpenClip))
    assert len({spec.citation for spec in specs}) == 7


def test_the_classes_are_those_of_the_installed_library() -> None:
    assert [name for name in KINDS if not hasattr(transformers, name)] == []
