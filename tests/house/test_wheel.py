"""What a wheel of compbench holds."""

from __future__ import annotations

import zipfile
from pathlib import Path


def test_a_wheel_holds_three_packages_and_the_tiny_models(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    top = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert top == {"compbench", "compbench_baselines", "compbench_analysis"}
    assert "compbench/tiny/tiny-sd/unet/diffusion_pytorch_model.safetensors" in names
    assert "compbench/tiny/tiny-clip/open_clip_model.safetensors" in names
    assert "compbench/tiny/emoji-sd/unet/diffusion_pytorch_model.safetensors" in names
    assert "compbench/tiny/emoji-flow/transformer/diffusion_pytorch_model.safetensors" in names
    assert "compbench/tiny/emoji-clip/open_clip_model.safetensors" in names
    for file in ("twemoji.png", "noto.png", "drawings.csv", "README.md"):
        assert f"compbench/tasks/drawings/{file}" in names
    assert sum(name.endswith(("/LICENSE", "/NOTICE")) for name in names) == 2
    for template in ("page.html.j2", "macros.html.j2", "report.css", "report.js"):
        assert f"compbench_analysis/report/templates/{template}" in names
    assert "compbench/reading.txt" in names
    for package in top:
        assert f"{package}/py.typed" in names  # type checkers read the annotations of an installed compbench
    assert wheel.stat().st_size < 25e6
