"""Latents of large pictures are encoded once for all runs of an autoencoder, and never taken for another's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from safetensors.torch import save_file

from compbench import registry
from compbench.core.examples import Example, Image
from compbench.core.measurements import joined
from compbench.core.models import Runtime
from compbench.core.remembered import cache_folder
from compbench.diffusion._kept_latents import FOLDER, KeptLatents, _trim
from compbench.diffusion.classifier import DiffusionClassifier

pytestmark = pytest.mark.usefixtures("own_cache")


def picture(seed: int) -> PIL.Image.Image:
    return PIL.Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, 48, 3), dtype=np.uint8))


def examples() -> list[Example]:
    images = tuple(Image(str(seed), lambda seed=seed: picture(seed)) for seed in range(2))
    return [Example("one", images, ("a red circle",), np.ones((2, 1), bool))]


def built(folder: Path, said: list[str], **options: Any) -> DiffusionClassifier:
    settings = {"draws": 2, "dtype": "float32", "size_px": 256, **options}
    _, spec = registry.model(f"diffusion:{folder}", settings)
    return spec.build(spec.source(), Runtime("cpu", 4, say=said.append))  # type: ignore[return-value]


def errors(scorer: DiffusionClassifier) -> tuple[dict[str, Any], int]:
    """The errors, and how many pictures the autoencoder encoded for them."""
    encoded: list[int] = []
    vae = scorer.denoiser.parts.vae  # type: ignore[attr-defined]
    encode, vae.encode = vae.encode, lambda pixels, **given: encoded.append(len(pixels)) or encode(pixels, **given)
    measured = {result.example_id: result.errors["l2"] for result in joined(scorer.score(examples(), {}))}
    vae.encode = encode
    return measured, sum(encoded)


def kept() -> list[Path]:
    return sorted((cache_folder() / FOLDER).glob("*/*"))


def test_a_second_run_encodes_no_picture_and_has_the_same_errors(folder_of: Callable[[str], Path]) -> None:
    said: list[str] = []
    first, n_first = errors(built(folder_of("sdxl"), said))
    assert (n_first, len(kept()), said) == (2, 2, [])
    second, n_second = errors(built(folder_of("sdxl"), said, draws=1))
    assert n_second == 0
    assert said == [f"latents of pictures that an earlier run encoded are read from {cache_folder() / FOLDER}"]
    for name, measured in first.items():
        np.testing.assert_array_equal(second[name], measured[..., :1])


def test_another_autoencoder_size_or_dtype_has_latents_of_its_own(folder_of: Callable[[str], Path]) -> None:
    ours = built(folder_of("sdxl"), [])
    errors(ours)
    assert errors(built(folder_of("sdxl"), [], size_px=264))[1] == 2
    assert errors(built(folder_of("sdxl"), [], protocol="paper", draws=1))[1] == 2  # another crop
    changed = built(folder_of("sdxl"), [])
    with torch.no_grad():
        next(changed.denoiser.parts.vae.parameters()).mul_(1.001)  # type: ignore[attr-defined]
    assert changed.denoiser.autoencoder != ours.denoiser.autoencoder
    halved = built(folder_of("sdxl"), [])
    halved.denoiser._precision = replace(halved.denoiser._precision, encoders=torch.bfloat16)  # type: ignore[attr-defined]
    assert halved.denoiser.autoencoder != ours.denoiser.autoencoder


def test_small_pictures_are_not_kept(folder_of: Callable[[str], Path]) -> None:
    assert errors(built(folder_of("sdxl"), [], size_px=32))[1] == 2
    assert kept() == []


def test_a_damaged_file_is_encoded_again(folder_of: Callable[[str], Path]) -> None:
    first, _ = errors(built(folder_of("sdxl"), []))
    cut, flipped = kept()
    cut.write_bytes(cut.read_bytes()[:100])
    content = bytearray(flipped.read_bytes())
    content[-3] ^= 1
    flipped.write_bytes(bytes(content))
    second, n_encoded = errors(built(folder_of("sdxl"), []))
    assert n_encoded == 2
    for name, measured in first.items():
        np.testing.assert_array_equal(second[name], measured)


def test_a_file_of_other_tensors_is_encoded_again(folder_of: Callable[[str], Path]) -> None:
    first, _ = errors(built(folder_of("sdxl"), []))
    for file, n_sums in zip(kept(), (1, 3), strict=True):
        save_file({"latents": torch.zeros(2), "sum": torch.zeros(n_sums, dtype=torch.int64)}, file)
    second, n_encoded = errors(built(folder_of("sdxl"), []))
    assert n_encoded == 2
    for name, measured in first.items():
        np.testing.assert_array_equal(second[name], measured)


def test_those_used_longest_ago_leave_when_the_folder_is_full(tmp_path: Path) -> None:
    import os

    for n in range(10):
        file = tmp_path / f"{n:02}" / "a.safetensors"
        file.parent.mkdir()
        file.write_bytes(b"x" * 100)
        os.utime(file, (n, n))
    _trim(tmp_path, 1000)
    assert len(list(tmp_path.glob("*/*"))) == 10
    _trim(tmp_path, 800)
    assert sorted(file.parent.name for file in tmp_path.glob("*/*")) == ["03", "04", "05", "06", "07", "08", "09"]


def test_a_cache_folder_that_can_be_read_alone_is_read(
    folder_of: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    errors(built(folder_of("sdxl"), []))

    def refuse(*_: object) -> None:  # as for another's files; root may do it all
        raise PermissionError

    monkeypatch.setattr("os.utime", refuse)
    assert errors(built(folder_of("sdxl"), []))[1] == 0


def test_a_cache_folder_that_cannot_be_written_costs_nothing_but_time(
    folder_of: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert errors(built(folder_of("sdxl"), []))[1] == 2
    assert isinstance(built(folder_of("sdxl"), [])._encoders_of(1, 1)[0], KeptLatents)
