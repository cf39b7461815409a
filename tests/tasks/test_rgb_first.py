"""Under the published protocol the data sets' images become RGB before they are resized, Winoground's after."""

from __future__ import annotations

import dataclasses

import numpy as np
import PIL.Image
import pytest

from compbench import registry
from compbench.core.models import Source
from compbench.diffusion.families.stable_diffusion import SD2, TINY_SD, StableDiffusion
from compbench.diffusion.images import centre_crop, rgb_centre_crop, whole_picture

PAPER = dataclasses.replace(TINY_SD, protocol="paper", draws=1)


@pytest.fixture
def palette() -> PIL.Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (48, 48, 3), np.uint8)
    return PIL.Image.fromarray(pixels).quantize(8)


def transform_of(task: str, spec: StableDiffusion = PAPER) -> object:
    from compbench.core.models import Runtime

    asked = spec.resolve(registry.task(task))
    scorer = asked.build(Source(TINY_SD.repo, is_local=True), Runtime("cpu"))
    return scorer.denoiser._transform


def test_the_transform_depends_on_the_task_and_the_protocol() -> None:
    assert transform_of("shape-classes") is rgb_centre_crop
    assert transform_of("shapes") is centre_crop
    assert transform_of("shape-classes", TINY_SD) is whole_picture


def test_the_order_is_part_of_the_identity_only_where_it_is_new() -> None:
    classes, pairs = registry.task("shape-classes"), registry.task("shapes")
    assert PAPER.resolve(classes).identity["rgb"] == "first"
    for spec, task in ((PAPER, pairs), (TINY_SD, classes)):
        assert "rgb" not in spec.resolve(task).identity
    assert "rgb" not in SD2.for_task("winoground").identity()


def test_a_palette_image_is_converted_before_it_is_resized(palette: PIL.Image.Image) -> None:
    expected = centre_crop(palette.convert("RGB"), 32)
    np.testing.assert_array_equal(rgb_centre_crop(palette, 32), expected)
    assert abs(centre_crop(palette, 32) - expected).max() > 0.1


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_the_order_makes_no_difference_to_rgb_and_grey(mode: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (48, 40, 3), np.uint8)
    image = PIL.Image.fromarray(pixels).convert(mode)
    np.testing.assert_array_equal(rgb_centre_crop(image, 32), centre_crop(image, 32))
