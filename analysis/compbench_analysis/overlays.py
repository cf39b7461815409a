"""Maps over a picture as a figure: which region speaks for which caption."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import PIL.Image
from matplotlib.cm import ScalarMappable
from matplotlib.colors import CenteredNorm

from compbench.types import Floats
from compbench_analysis.looks import Picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Overlay", "overlays"]

_COLOURS = "PuOr"  # orange, white, purple: told apart with every kind of colour vision
_STRONGEST = 0.85  # how far the strongest colour covers the picture
_PANEL_INCHES = 2.6


@dataclass(frozen=True, slots=True)
class Overlay:
    """One picture and its map [h, w], positive where the picture speaks for `caption` rather than `other`."""

    picture: PIL.Image.Image
    map: Floats
    caption: str
    other: str


def overlays(shown: Sequence[Overlay], title: str = "") -> Figure:
    """A row for each picture: as it is, then grey under its map. All maps share one scale, which is 0 at its centre."""
    figure = Picture(figsize=(2.4 * _PANEL_INCHES, 0.7 + (_PANEL_INCHES + 0.55) * len(shown)), layout="constrained")
    axes: Any = figure.subplots(len(shown), 2, squeeze=False)
    strongest = max(float(np.abs(each.map).max()) for each in shown) or 1.0
    norm = CenteredNorm(0, strongest)
    for (plain, covered), each in zip(axes, shown, strict=True):
        plain.imshow(each.picture.convert("RGB"))
        covered.imshow(each.picture.convert("L"), cmap="gray", vmin=-80, vmax=335)  # pale, so that colours are seen
        covered.imshow(_coloured(each, norm, strongest))
        said = [f"purple: {each.caption}", f"orange: {each.other}"]
        covered.set_title("\n".join(_lines(said)), fontsize=8, loc="left", parse_math=False)
        for axis in (plain, covered):
            axis.set_axis_off()
    bar = figure.colorbar(ScalarMappable(norm, _COLOURS), ax=axes[:, 1], shrink=0.7, aspect=30)
    bar.ax.tick_params(labelsize=7)
    bar.set_label("difference of the errors", fontsize=8)
    figure.suptitle(title, fontsize=9, parse_math=False)
    return figure


def _coloured(shown: Overlay, norm: CenteredNorm, strongest: float) -> Floats:
    """[H, W, 4]: the map at the picture's size, clearer where it says less."""
    field = PIL.Image.fromarray(shown.map.astype(np.float32))
    values = np.asarray(field.resize(shown.picture.size, PIL.Image.Resampling.BICUBIC))
    colours = mpl.colormaps[_COLOURS](norm(values))
    colours[..., 3] = _STRONGEST * np.clip(np.abs(values) / strongest, 0, 1) ** 0.6
    return colours


def _lines(said: Sequence[str]) -> list[str]:
    return [line for each in said for line in textwrap.wrap(each, 44)]
