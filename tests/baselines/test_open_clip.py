"""CLIP by open_clip: the scorer on a real, untrained model, and which weights a name stands for."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import open_clip
import PIL.Image
import pytest
import torch
from open_clip.transformer import QuickGELU

import compbench
from benchmarks import clip
from compbench import registry
from compbench.core.aliases import Floats
from compbench.core.errors import DataError, RunError, UsageError
from compbench.core.examples import Example, Image, Task
from compbench.core.metrics import MATCHING
from compbench.core.models import Runtime, Source
from compbench.tasks import scenes
from compbench_baselines.clip import _catalogue
from compbench_baselines.clip import _weights as clip_weights
from compbench_baselines.clip import models as presets
from compbench_baselines.clip._scorer import ClipScorer, _batches, _Embeddings
from compbench_baselines.clip.models import OpenClip, from_address


def _png(seed: int) -> bytes:
    picture, _ = scenes.training_scene(np.random.default_rng(seed))
    encoded = io.BytesIO()
    picture.save(encoded, "PNG")
    return encoded.getvalue()


def _examples(n: int) -> list[Example]:
    captions = [scenes.training_scene(np.random.default_rng([9, seed]))[1] for seed in range(2 * n)]
    return [
        Example(
            str(number),
            tuple(Image(f"{number}-{side}.png", _png(2 * number + side)) for side in range(2)),
            tuple(captions[2 * number : 2 * number + 2]),
            np.eye(2, dtype=bool),
        )
        for number in range(n)
    ]


def _scorer(
    folder: Path, batch_size: int | None = None, said: list[str] | None = None, dtype: str = "auto"
) -> ClipScorer:
    _, spec = registry.model(f"open-clip:{folder}", {"dtype": dtype})
    say = (said if said is not None else []).append
    return spec.build(spec.source(), Runtime("cpu", batch_size, say=say))  # pyright: ignore


def _scores(scorer: ClipScorer, examples: Sequence[Example]) -> list[Floats]:
    scorer.prepare(Task("t", tuple(examples), MATCHING))
    return [matrix.scores for matrix in scorer.score(examples, {})]


def _count_rows(scorer: ClipScorer) -> dict[str, int]:
    """Rows that went through each tower, counted by hooks on the real model."""
    rows = {"images": 0, "captions": 0}

    def count(tower: str, batch: torch.Tensor) -> None:
        rows[tower] += len(batch)

    scorer.model.visual.register_forward_pre_hook(lambda _, inputs: count("images", inputs[0]))
    scorer.model.token_embedding.register_forward_pre_hook(lambda _, inputs: count("captions", inputs[0]))
    return rows


def _numbers(items: Sequence[str]) -> Floats:
    return np.array([[float(number)] for number in items], dtype=np.float32)


def _ends_with_a_class_token(captions: list[str], context_length: int) -> torch.Tensor:
    """A tokenizer whose rows end with a token, so that more room moves it."""
    rows = [[len(word) for word in caption.split()][: context_length - 1] for caption in captions]
    return torch.tensor([[*row, *[0] * (context_length - 1 - len(row)), 9] for row in rows])


class TestScores:
    def test_a_score_is_the_cosine_that_open_clip_computes(self, tiny_clip_folder: Path) -> None:
        example = _examples(1)[0]
        model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{tiny_clip_folder}")
        tokenize = open_clip.get_tokenizer(f"local-dir:{tiny_clip_folder}")
        with torch.inference_mode():
            pixels = torch.stack([transform(image.decode()) for image in example.images])
            images = model.eval().encode_image(pixels, normalize=True)
            captions = model.encode_text(tokenize(list(example.captions)), normalize=True)
        (scores,) = _scores(_scorer(tiny_clip_folder), [example])
        np.testing.assert_allclose(scores, (images @ captions.T).numpy(), atol=1e-6)
        assert scores.dtype == np.float64

    def test_scores_do_not_depend_on_the_batch_size(self, tiny_clip_folder: Path) -> None:
        examples = _examples(7)
        one, three, many = (np.array(_scores(_scorer(tiny_clip_folder, size), examples)) for size in (1, 3, 64))
        np.testing.assert_allclose(one, many, atol=1e-5)
        np.testing.assert_allclose(three, many, atol=1e-5)

    def test_relabelling_an_example_changes_nothing(self, tiny_clip_folder: Path) -> None:
        examples = _examples(6)
        relabelled = [
            dataclasses.replace(
                example,
                images=example.images[::-1] if number % 2 else example.images,
                captions=example.captions[::-1],
                matches=example.matches[:, ::-1][:: -1 if number % 2 else 1],
            )
            for number, example in enumerate(examples)
        ]
        scorer = _scorer(tiny_clip_folder)
        for number, (before, after) in enumerate(
            zip(_scores(scorer, examples), _scores(scorer, relabelled), strict=True)
        ):
            np.testing.assert_allclose(after[:: -1 if number % 2 else 1, ::-1], before, atol=1e-6)
        for metric in MATCHING.values():
            outcomes = [metric.outcome(_table(scorer, some)) for some in (examples, relabelled)]
            assert (outcomes[0] == outcomes[1]).all()

    def test_equal_captions_tie_wherever_they_stand(self, tiny_clip_folder: Path) -> None:
        example = dataclasses.replace(_examples(1)[0], captions=("a red circle", "a blue square", "a red circle"))
        (scores,) = _scores(_scorer(tiny_clip_folder), [dataclasses.replace(example, matches=np.eye(2, 3, dtype=bool))])
        assert (scores[:, 0] == scores[:, 2]).all()

    def test_each_image_and_each_distinct_caption_is_embedded_once(self, tiny_clip_folder: Path) -> None:
        examples = _examples(5)
        shared = dataclasses.replace(examples[4], images=examples[0].images, captions=examples[1].captions, id="again")
        scorer = _scorer(tiny_clip_folder, batch_size=3)
        rows = _count_rows(scorer)
        _scores(scorer, [*examples, shared])
        n_captions = len({caption for example in examples for caption in example.captions})
        assert rows == {"images": 10, "captions": n_captions}

    def test_classes_are_embedded_once_and_in_full_batches(self, tiny_clip_folder: Path) -> None:
        """The counts of the benchmark: a plain loop embeds what it sees, ours what is distinct."""
        loaded = clip_weights.load_repository(Source(str(tiny_clip_folder), is_local=True), "float32", is_offline=True)
        sets = {"2x2": _examples(5), "1x10": clip.one_by_n(5, 10), "twice": clip.repeated(5, 2)}
        rows = clip.rows("tiny", loaded, sets, "cpu", 1)
        n_distinct = len({caption for example in sets["2x2"] for caption in example.captions})
        assert [(row.examples, row.loop, row.image_encodings, row.text_encodings) for row in rows] == [
            ("2x2", "plain open_clip", 10, 10),
            ("2x2", "compbench", 10, n_distinct),
            ("1x10", "plain open_clip", 5, 50),
            ("1x10", "compbench", 5, 10),
            ("twice", "plain open_clip", 20, 20),
            ("twice", "compbench", 10, 10),
        ]
        assert all(row.seconds > 0 for row in rows)

    def test_what_no_example_needs_any_more_is_forgotten(self, tiny_clip_folder: Path) -> None:
        groups = [(f"{n}", f"{n + 1}") for n in range(100)]
        embeddings = _Embeddings(
            groups, lambda items: ((batch, _numbers(batch)) for batch in _batches(items, lambda: 8))
        )
        held = 0
        for group in groups:
            assert embeddings.of(group)[:, 0].tolist() == [float(number) for number in group]
            held = max(held, len(embeddings._embedded))
        assert held <= 8 + 1  # a batch, and the end of the one before
        assert not embeddings._embedded

    def test_captions_are_tokenized_as_by_the_tokenizer_itself(self, tiny_clip_folder: Path) -> None:
        scorer = _scorer(tiny_clip_folder)
        captions = [" ".join(["red"] * n) for n in range(1, 20)]
        for tokenize in (scorer.tokenize, open_clip.get_tokenizer("ViT-B-32"), _ends_with_a_class_token):
            scorer = _scorer(tiny_clip_folder)
            scorer.tokenize = tokenize
            assert torch.equal(scorer._tokens(captions)[0], tokenize(captions, context_length=scorer._context_length))

    def test_captions_stay_embedded_from_one_call_to_the_next(self, tiny_clip_folder: Path) -> None:
        scorer = _scorer(tiny_clip_folder)
        rows = _count_rows(scorer)
        first = _scores(scorer, _examples(1))
        again = _scores(scorer, _examples(1))
        assert rows == {"images": 4, "captions": 2}
        assert (first[0] == again[0]).all()

    def test_examples_come_as_they_are_embedded_not_at_the_end(self, tiny_clip_folder: Path) -> None:
        scorer = _scorer(tiny_clip_folder, batch_size=2)
        rows = _count_rows(scorer)
        next(scorer.score(_examples(8), {}))
        assert rows["images"] == 2

    def test_half_precision_is_close_and_another_run(self, tiny_clip_folder: Path) -> None:
        examples = _examples(2)
        full = np.array(_scores(_scorer(tiny_clip_folder), examples))
        half = np.array(_scores(_scorer(tiny_clip_folder, dtype="bfloat16"), examples))
        assert 0 < np.abs(full - half).max() < 0.05
        spec = from_address(str(tiny_clip_folder))
        assert spec.identity() == dataclasses.replace(spec, dtype="float32").identity()
        assert spec.identity() != dataclasses.replace(spec, dtype="bfloat16").identity()

    @pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1", "CMYK"])
    def test_pictures_of_every_mode_are_scored(self, tiny_clip_folder: Path, mode: str) -> None:
        encoded = io.BytesIO()
        PIL.Image.open(io.BytesIO(_png(0))).convert(mode).save(encoded, "TIFF")
        example = dataclasses.replace(_examples(1)[0], images=(Image("a", encoded.getvalue()), Image("b", _png(1))))
        (scores,) = _scores(_scorer(tiny_clip_folder), [example])
        assert np.isfinite(scores).all()


class TestBadInput:
    def test_an_empty_caption_is_an_error_that_names_the_example(self, tiny_clip_folder: Path) -> None:
        examples = _examples(3)
        examples[2] = dataclasses.replace(examples[2], captions=("fine", " "))
        scorer = _scorer(tiny_clip_folder)
        rows = _count_rows(scorer)
        with pytest.raises(DataError, match="example '2': caption 1 is empty"):
            _scores(scorer, examples)
        assert rows == {"images": 0, "captions": 0}

    def test_captions_longer_than_the_context_are_said_once_with_their_count(self, tiny_clip_folder: Path) -> None:
        examples = _examples(6)
        for number in (1, 4):
            long = tuple(f"{caption} and {'a red circle ' * 9}" for caption in examples[number].captions)
            examples[number] = dataclasses.replace(examples[number], captions=long)
        said: list[str] = []
        scorer = _scorer(tiny_clip_folder, batch_size=2, said=said)
        _scores(scorer, examples)
        n_distinct = len({caption for example in examples for caption in example.captions})
        (told,) = said
        assert told.startswith(f"4 of {n_distinct} captions are longer than the text encoder's context (16 tokens)")

    def test_captions_that_just_fit_are_not_called_long(self, tiny_clip_folder: Path) -> None:
        scorer = _scorer(tiny_clip_folder)
        fits, too_long = " ".join(["red"] * 14), " ".join(["red"] * 15)  # and a start and an end token
        assert scorer._tokens([fits])[1] == []
        assert scorer._tokens([fits, too_long])[1] == [1]

    def test_long_captions_are_counted_with_open_clip_s_own_tokenizer_too(self, tiny_clip_folder: Path) -> None:
        scorer = _scorer(tiny_clip_folder)
        scorer.tokenize = open_clip.get_tokenizer("ViT-B-32")
        assert scorer._tokens(["red " * 75, "red " * 76, "! " * 75, "! " * 76])[1] == [1, 3]

    def test_a_truncated_image_is_named(self, tiny_clip_folder: Path) -> None:
        examples = _examples(3)
        images = (examples[1].images[0], Image("half.png", _png(5)[:200]))
        examples[1] = dataclasses.replace(examples[1], images=images)
        with pytest.raises(DataError, match=r"image 'half\.png' cannot be decoded"):
            _scores(_scorer(tiny_clip_folder), examples)

    def test_a_score_that_is_no_number_is_named(self, tiny_clip_folder: Path) -> None:
        scorer = _scorer(tiny_clip_folder)
        with torch.no_grad():
            scorer.model.text_projection[0, 0] = float("nan")
        with pytest.raises(RunError, match=r"example '0': the score of image '0-0\.png' and caption .* is nan"):
            _scores(scorer, _examples(2))

    def test_the_batch_is_halved_when_memory_runs_out_and_this_is_said(self, tiny_clip_folder: Path) -> None:
        examples, said = _examples(6), list[str]()
        expected = np.array(_scores(_scorer(tiny_clip_folder), examples))
        scorer = _scorer(tiny_clip_folder, batch_size=12, said=said)
        scorer.model.visual.register_forward_pre_hook(_small_memory(rows=4))
        np.testing.assert_allclose(np.array(_scores(scorer, examples)), expected, atol=1e-5)
        assert said == ["out of memory: batch size 12 → 6", "out of memory: batch size 6 → 3"]

    def test_no_memory_at_all_is_an_error_with_what_to_do(self, tiny_clip_folder: Path) -> None:
        scorer = _scorer(tiny_clip_folder, batch_size=2)
        scorer.model.visual.register_forward_pre_hook(_small_memory(rows=0))
        with pytest.raises(RunError, match="out of memory on cpu at batch size 1"):
            _scores(scorer, _examples(1))

    def test_a_device_that_is_not_there_is_told(self, tiny_clip_folder: Path) -> None:
        spec = from_address(str(tiny_clip_folder))
        with pytest.raises(UsageError, match="no device named 'gpu'"):
            spec.build(spec.source(), Runtime("gpu"))


def test_openais_name_on_a_folder_without_quick_gelu_is_said(tiny_clip_folder: Path, tmp_path: Path) -> None:
    for name, is_said in (("openai-vit-tuned", True), ("vit-tuned", False)):
        said: list[str] = []
        _scorer(shutil.copytree(tiny_clip_folder, tmp_path / name), said=said)
        assert any("whose weights were trained with quick-GELU" in line for line in said) is is_said


class TestNames:
    def test_the_catalogue_read_from_the_source_is_open_clip_s_own(self) -> None:
        assert _catalogue._from_source(_catalogue._source()) == _catalogue._from_open_clip()
        assert _catalogue.catalogue() == _catalogue._from_open_clip()

    def test_a_source_written_another_way_is_not_misread(self) -> None:
        for source in ("", "_PRETRAINED = load()", "_PRETRAINED = {'a': f(1)}", "_PRETRAINED = {"):
            with pytest.raises(_catalogue._UNREADABLE):
                _catalogue._from_source(source)

    @pytest.mark.parametrize(
        ("address", "message"),
        [
            ("ViT-B-33/openai", "architecture with weights named 'ViT-B-33'; did you mean 'ViT-B-32'"),
            ("ViT-B-32/laion2b", "no weights of 'ViT-B-32' named 'laion2b'; did you mean 'laion2b_e16'"),
            ("ViT-B-32", "architecture 'ViT-B-32' needs a tag, one of "),
            ("./nowhere", "folder 'nowhere' does not exist"),
            ("hf-hub:name", "expected open-clip:hf-hub:ORG/NAME"),
        ],
    )
    def test_an_address_that_open_clip_does_not_know_is_refused(self, address: str, message: str) -> None:
        with pytest.raises(UsageError) as raised:
            registry.model(f"open-clip:{address}")
        assert message in str(raised.value)

    def test_a_wrong_architecture_is_told_before_torch_is_imported(self) -> None:
        code = (
            "import sys; from compbench import registry\n"
            "from compbench.core import UsageError\n"
            "try: registry.model('open-clip:ViT-B-33/openai')\n"
            "except UsageError: print('torch' in sys.modules, 'open_clip' in sys.modules)"
        )
        told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert told.stdout.strip() == "False False"

    def test_a_folder_without_a_configuration_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"has no open_clip_config\.json; expected a copy"):
            from_address(str(tmp_path))

    @pytest.mark.parametrize(
        ("address", "source"),
        [
            ("ViT-B-32/laion2b_s34b_b79k", Source("laion/CLIP-ViT-B-32-laion2B-s34B-b79K")),
            ("ViT-B-32,laion2b-s34b-b79k", Source("laion/CLIP-ViT-B-32-laion2B-s34B-b79K")),
            ("ViT-L-14-quickgelu/openai@abc", Source("timm/vit_large_patch14_clip_224.openai", "abc")),
            ("ViTamin-S/datacomp1b", Source("jienengchen/ViTamin-S")),
            ("hf-hub:org/name@abc", Source("org/name", "abc")),
            ("hf-hub:org/name", Source("org/name")),
        ],
    )
    def test_an_address_says_where_its_weights_are(self, address: str, source: Source) -> None:
        assert from_address(address).source() == source

    def test_every_preset_is_listed_by_open_clip(self) -> None:
        pairs = set(open_clip.list_pretrained())
        shipped = [value for name, value in vars(presets).items() if name.isupper() and isinstance(value, OpenClip)]
        assert len(shipped) == 22
        assert all((row.architecture, row.tag) in pairs for row in shipped if row.architecture)

    def test_the_path_of_a_folder_is_no_part_of_a_run_s_identity(self, tiny_clip_folder: Path, tmp_path: Path) -> None:
        moved = shutil.copytree(tiny_clip_folder, tmp_path / "moved")
        assert from_address(str(moved)).identity() == from_address(str(tiny_clip_folder)).identity()


class TestWeights:
    @pytest.mark.parametrize(
        ("architecture", "tag", "uses_quick_gelu"),
        [
            ("ViT-L-14", "openai", True),
            ("ViT-L-14-quickgelu", "openai", True),
            ("ViT-L-14", "laion2b_s32b_b82k", False),
            ("ViT-B-32", "laion400m_e32", True),
            ("ViT-H-14", "laion2b_s32b_b79k", False),
        ],
    )
    def test_the_activation_is_the_one_that_the_tag_was_trained_with(
        self, architecture: str, tag: str, uses_quick_gelu: bool
    ) -> None:
        with torch.device("meta"):
            model = clip_weights.build_architecture(architecture, tag, "float32", None, device="meta")
        activations = {type(module) for module in model.modules() if "GELU" in type(module).__name__}
        assert activations == {QuickGELU if uses_quick_gelu else torch.nn.GELU}

    def test_open_clip_alone_would_leave_quick_gelu_out(self) -> None:
        assert not open_clip.get_model_config("ViT-L-14").get("quick_gelu", False)
        assert open_clip.get_pretrained_cfg("ViT-L-14", "openai")["quick_gelu"]

    def test_a_tag_s_weights_and_preprocessing_come_from_its_hub_repository(self, tmp_path: Path) -> None:
        model = open_clip.create_model("RN50", force_quick_gelu=True)
        weights = tmp_path / "open_clip_model.safetensors"
        _save(model, weights)
        loaded = clip_weights.load_tag(
            "RN50", "openai", Source(str(tmp_path), is_local=True), "", "float32", is_offline=True
        )
        assert torch.equal(loaded.model.text_projection, model.text_projection)
        assert loaded.model.visual.preprocess_cfg["mean"] == open_clip.OPENAI_DATASET_MEAN

    def test_a_folder_without_weights_is_refused_not_scored_at_random(
        self, tiny_clip_folder: Path, tmp_path: Path
    ) -> None:
        folder = shutil.copytree(tiny_clip_folder, tmp_path / "bare")
        (folder / "open_clip_model.safetensors").unlink()
        with pytest.raises(DataError, match="cannot be loaded by open_clip"):
            _scorer(folder)

    def test_a_damaged_configuration_is_refused(self, tiny_clip_folder: Path, tmp_path: Path) -> None:
        folder = shutil.copytree(tiny_clip_folder, tmp_path / "damaged")
        (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": {}})[:-4])
        with pytest.raises(DataError, match=r"open_clip_config.json of .* is not JSON"):
            _scorer(folder)


def test_a_run_by_address_is_stored_and_not_measured_again(tiny_clip_folder: Path, tmp_path: Path) -> None:
    task = Task("scenes", tuple(_examples(4)), MATCHING)
    run = compbench.run(task, model=f"open-clip:{tiny_clip_folder}", runs=tmp_path, device="cpu")
    again = compbench.run(task, model=f"open-clip:{tiny_clip_folder}", runs=tmp_path, device="cpu", batch_size=1)
    assert again.path == run.path
    assert len(run.to_frame()) == 4
    assert str(run.key.weights).startswith("sha256:")


def test_images_and_captions_of_one_s_own_are_scored_in_memory(tiny_clip_folder: Path) -> None:
    loaded = compbench.load_model(f"open-clip:{tiny_clip_folder}", device="cpu")
    picture = PIL.Image.open(io.BytesIO(_png(0)))
    assert loaded.score_pairs([picture], ["a red circle", "a blue square", "a cross"]).shape == (1, 3)


def _table(scorer: ClipScorer, examples: Sequence[Example]) -> compbench.core.examples.ScoreTable:
    matches = np.stack([example.matches for example in examples])
    return compbench.core.examples.ScoreTable(
        tuple(example.id for example in examples), np.stack(_scores(scorer, examples)), matches
    )


def _small_memory(rows: int) -> Callable[[torch.nn.Module, tuple[torch.Tensor]], None]:
    def refuse(module: torch.nn.Module, inputs: tuple[torch.Tensor]) -> None:
        if len(inputs[0]) > rows:
            raise torch.OutOfMemoryError(f"no room for {len(inputs[0])} rows")

    return refuse


def _save(model: torch.nn.Module, path: Path) -> None:
    from safetensors.torch import save_file

    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, path)
