"""What a wheel of compbench holds."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_wheel_holds_three_packages_and_the_tiny_models(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", tmp_path, ROOT]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    top = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert top == {"compbench", "compbench_baselines", "compbench_analysis"}
    assert "compbench/tiny/tiny-sd/unet/diffusion_pytorch_model.safetensors" in names
    assert "compbench/tiny/tiny-clip/open_clip_model.safetensors" in names
    for template in ("page.html.j2", "macros.html.j2", "report.css", "report.js"):
        assert f"compbench_analysis/report/templates/{template}" in names
    for package in top:
        assert f"{package}/py.typed" in names  # type checkers read the annotations of an installed compbench
    assert wheel.stat().st_size < 20e6
