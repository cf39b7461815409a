"""CLIP-FlanT5 of Lin et al. (ECCV 2024), for which transformers has no class: its CLIP tower, a projector and its T5.

The picture stands among the embedded words of the question, and the encoder reads both together, so each pair goes
through it whole. A published score is the geometric mean of the probabilities of Yes and of the end of the answer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from compbench.core.errors import DataError
from compbench.core.examples import Image
from compbench.core.file_list import FileList
from compbench.core.image_transforms import opaque
from compbench.core.models import Runtime
from compbench.diffusion.loading import load_t5_tokenizer
from compbench.diffusion.weights import load_whole, tensors_in
from compbench_baselines.hub_models import weight_files
from compbench_baselines.vlm._pair_scorer import Pair
from compbench_baselines.vlm._vqa_scorer import VQAScorer

__all__ = ["ClipT5", "ClipT5Scorer", "load_clip_t5", "pixels_of", "question_around"]

_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # of OpenAI's CLIPs
_HEAD = 64  # numbers of an attention head in OpenAI's vision transformers
_SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, "
    "and polite answers to the user's questions."
)
_EXPECTED = {
    "mm_projector_type": "mlp2x_gelu",
    "mm_vision_select_layer": -2,
    "mm_vision_select_feature": "patch",
    "tie_word_embeddings": False,  # FlanT5's head has weights of its own, which transformers 5 would replace
}
_TIED = ("embed_tokens.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight")  # all shared.weight
_TOWER, _PROJECTOR, _INNER = "vision_tower.vision_tower.", "mm_projector.", "vision_model."


class ClipT5(nn.Module):
    """The parts of the network."""

    def __init__(self, config: Any, vision: Any) -> None:
        super().__init__()
        self.config, width = config, config.d_model
        self.language = transformers.T5ForConditionalGeneration(config)
        self.tower = transformers.CLIPVisionModel(vision)
        self.projector = nn.Sequential(nn.Linear(vision.hidden_size, width), nn.GELU(), nn.Linear(width, width))

    @property
    def dtype(self) -> torch.dtype:
        """That of its weights."""
        return self.projector[0].weight.dtype  # pyright: ignore[reportReturnType]

    @property
    def side(self) -> int:
        """Pixels of the square picture."""
        return int(self.tower.config.image_size)  # pyright: ignore[reportArgumentType]

    def seen(self, pixels: Tensor) -> Tensor:
        """[n, patches, width] what stands for a picture: the tower's last layer but one, without its class token."""
        states = self.tower(pixel_values=pixels, output_hidden_states=True).hidden_states[-2]
        return self.projector(states[:, 1:])

    def forward(self, embedded: Tensor, mask: Tensor, answer: Tensor) -> Tensor:
        """[n, length, vocabulary] the logits of an answer's tokens after embedded questions [n, longest, width]."""
        before = torch.cat([answer.new_tensor([self.config.decoder_start_token_id]), answer[:-1]])
        return self.language(
            inputs_embeds=embedded,
            attention_mask=mask,
            decoder_input_ids=before.expand(len(embedded), -1),
            use_cache=False,
        ).logits


@dataclass(frozen=True)
class _Processor:
    tokenizer: Any
    image_token: str = "<image>"  # which stands in captions for nothing else


def load_clip_t5(folder: Path, config: Mapping[str, Any], dtype: str, runtime: Runtime) -> tuple[ClipT5, _Processor]:
    """The network of a folder in the published layout, every tensor found, and its tokenizer."""
    files = weight_files(FileList.of_folder(folder), str(folder))
    paths = [folder / file for file in files]
    _check(config, str(folder))
    vision = _vision(tensors_in(paths), str(folder))
    plain = {name: value for name, value in config.items() if not name.startswith(("mm_", "model_type", "arch"))}

    def blank(_: Mapping[str, Any]) -> ClipT5:
        with torch.device("meta"):
            return ClipT5(transformers.T5Config.from_dict(plain), vision)

    def load() -> tuple[ClipT5, Mapping[str, Any]]:
        network = blank({})
        return network, _filled(network, paths, getattr(torch, dtype))

    network = load_whole(folder, ".", files, blank, load, runtime.say, getattr(torch, dtype)).eval()
    return network, _Processor(load_t5_tokenizer(folder))


def _check(config: Mapping[str, Any], where: str) -> None:
    for name, expected in _EXPECTED.items():
        if (given := config.get(name)) != expected:
            raise DataError(f"config.json of {where!r} has {name} {given!r}; expected {expected!r}")
    tower = str(config.get("mm_vision_tower", ""))
    if not tower.startswith("openai/clip-vit-"):
        raise DataError(f"config.json of {where!r} names the tower {tower!r}; expected a CLIP of OpenAI")


def _vision(tensors: Mapping[str, Any], where: str) -> Any:
    """The tower's configuration, which stands in another repository, by the shapes of its tensors."""
    own = {name.removeprefix(_TOWER + _INNER): tensor.shape for name, tensor in tensors.items() if _TOWER in name}
    try:
        hidden, _, _, patch = own["embeddings.patch_embedding.weight"]
        n_positions, _ = own["embeddings.position_embedding.weight"]
        inner, _ = own["encoder.layers.0.mlp.fc1.weight"]
    except KeyError as error:
        raise DataError(
            f"the weights in {where!r} have no {_TOWER}{_INNER}{error.args[0]}; expected those of the CLIP tower too"
        ) from error
    layers = {name.split(".")[2] for name in own if name.startswith("encoder.layers.")}
    return transformers.CLIPVisionConfig(
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=len(layers),
        num_attention_heads=max(1, hidden // _HEAD),
        image_size=math.isqrt(n_positions - 1) * patch,
        patch_size=patch,
        hidden_act="quick_gelu",
    )


def _filled(network: ClipT5, paths: Sequence[Path], dtype: torch.dtype) -> dict[str, Any]:
    """Put the tensors of the files in place, a file at a time; what is missing, unknown or of another shape."""
    expected = {name: tensor.shape for name, tensor in network.state_dict().items()}
    wanted = expected.keys() - {f"language.{name}" for name in _TIED}
    found, unknown, misshapen = set[str](), list[str](), list[tuple[str, Any, Any]]()
    for path in paths:
        given = {_place(name, expected): tensor for name, tensor in _read(path).items() if _is_used(name)}
        unknown += given.keys() - wanted
        unfit = {name for name in given.keys() & wanted if given[name].shape != expected[name]}
        misshapen += [(name, tuple(given[name].shape), tuple(expected[name])) for name in unfit]
        fitting = {name: tensor.to(dtype) for name, tensor in given.items() if name in wanted - unfit}
        network.load_state_dict(fitting, strict=False, assign=True)
        found |= given.keys()
    for stack in (network.language.encoder, network.language.decoder):
        stack.set_input_embeddings(network.language.shared)
    for module in network.modules():
        if (positions := getattr(module, "position_ids", None)) is not None and positions.is_meta:
            module.position_ids = torch.arange(positions.shape[-1])[None]  # pyright: ignore[reportAttributeAccessIssue]
    return {"missing_keys": wanted - found, "unexpected_keys": unknown, "mismatched_keys": misshapen}


def _is_used(name: str) -> bool:
    return name not in _TIED and not name.endswith("position_ids")


def _place(name: str, expected: Mapping[str, Any]) -> str:
    """The name of a published tensor in the network; versions of transformers differ in the tower's own names."""
    if name.startswith(_TOWER):
        place = f"tower.{name.removeprefix(_TOWER)}"
        return place if place in expected else place.replace(f"tower.{_INNER}", "tower.")
    if name.startswith(_PROJECTOR):
        return f"projector.{name.removeprefix(_PROJECTOR)}"
    return f"language.{name}"


def _read(path: Path) -> Mapping[str, Tensor]:
    if path.suffix == ".safetensors":
        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True, mmap=True)


@dataclass(frozen=True)
class _Seen:
    row_of: Mapping[Image, int]
    features: Tensor  # [pictures, patches, width]


class ClipT5Scorer(VQAScorer):
    """Each picture goes through the tower once, and with each of its captions through the language model."""

    def __init__(self, network: Any, processor: Any, question: str, answer: str, runtime: Runtime) -> None:
        self._answer = torch.tensor(processor.tokenizer(answer)["input_ids"])  # ends with the end of a text
        super().__init__(network, processor, question, answer, runtime)
        self._before = torch.tensor(processor.tokenizer(question_around(question)[0])["input_ids"])
        self._say(
            f"this model is scored as published: by the mean log-probability of {answer!r} and of the end of the "
            f"answer, {len(self._answer)} tokens"
        )

    def text(self, caption: str) -> Tensor:
        after = question_around(self._question.replace("{}", caption))[1]
        return torch.tensor(self._processor.tokenizer(after)["input_ids"])

    def by_logits(self, captions: Sequence[str], logits: Tensor) -> list[float]:
        known = logits[..., : len(self._processor.tokenizer)].float().double()  # the rest are rows without a token
        answer = self._answer.to(self.device).expand(len(captions), -1)[..., None]
        return known.log_softmax(-1).gather(-1, answer)[..., 0].mean(1).tolist()

    def _look_at(self, images: Sequence[Image], n: int) -> _Seen:
        pictures = [opaque(image.decode()).convert("RGB") for image in images[:n]]
        pixels = torch.stack([pixels_of(picture, self._network.side) for picture in pictures])
        with torch.inference_mode():
            features = self._network.seen(pixels.to(self.device, self._network.dtype))
        return _Seen({image: row for row, image in enumerate(images[:n])}, features)

    def _read(self, pairs: Sequence[Pair], seen: _Seen, texts: Sequence[Tensor]) -> Tensor:
        embedded, before = self._network.language.shared, self._before.to(self.device)
        rows = [
            torch.cat([embedded(before), seen.features[seen.row_of[image]], embedded(text.to(self.device))])
            for (image, _), text in zip(pairs, texts, strict=True)
        ]
        mask = pad_sequence([torch.ones(len(row), dtype=torch.long) for row in rows], batch_first=True)
        return self._network(pad_sequence(rows, batch_first=True), mask.to(self.device), self._answer.to(self.device))

    def _token_of(self, answer: str) -> int:
        return int(self._answer[0])

    def _check_template(self) -> None:
        """There is none."""


def question_around(question: str) -> tuple[str, str]:
    """The words before and after the picture, each ended by itself as the model was taught."""
    return f"{_SYSTEM} USER: ", f"\n{question} ASSISTANT: "


def pixels_of(picture: PIL.Image.Image, side: int) -> Tensor:
    """[3, side, side] the picture in a square of CLIP's mean colour, resized and normalised."""
    longer = max(picture.size)
    square = PIL.Image.new("RGB", (longer, longer), tuple(int(value * 255) for value in _MEAN))
    square.paste(picture, ((longer - picture.width) // 2, (longer - picture.height) // 2))
    small = np.asarray(square.resize((side, side), PIL.Image.Resampling.BICUBIC), np.float32) / 255
    normalised = (small - np.array(_MEAN, np.float32)) / np.array(_STD, np.float32)
    return torch.from_numpy(normalised).permute(2, 0, 1).contiguous()
