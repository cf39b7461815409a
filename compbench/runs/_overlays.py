"""Maps over a picture as a figure: which region speaks for which caption."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import PIL.Image
from matplotlib.cm import ScalarMappable
from matplotlib.colors import CenteredNorm
from matplotlib.figure import Figure

from compbench.core.aliases import Floats

__all__ = ["Overlay", "overlays"]

_COLOURS = "PuOr"  # orange, white, purple: told apart with every kind of colour vision
_PALEST = 0.6  # of the picture beneath: its black, so that colours are seen on it
_PANEL_INCHES = 2.6


@dataclass(frozen=True, slots=True)
class Overlay:
    """A picture and its map [h, w], positive where the picture speaks for `caption` rather than `other`."""

    picture: PIL.Image.Image
    map: Floats
    caption: str
    other: str


def overlays(shown: Sequence[Overlay], title: str = "", scale: str = "difference of the errors") -> Figure:
    """A row for each picture: as it is, then grey and tinted by its map; all maps share one `scale`, centred at 0."""
    figure = Figure(figsize=(2.4 * _PANEL_INCHES, 0.7 + (_PANEL_INCHES + 0.55) * len(shown)), layout="constrained")
    axes: Any = figure.subplots(len(shown), 2, squeeze=False)
    strongest = max(float(np.abs(overlay.map).max()) for overlay in shown) or 1.0
    norm = CenteredNorm(0, strongest)
    for (plain, covered), overlay in zip(axes, shown, strict=True):
        plain.imshow(overlay.picture.convert("RGB"))
        covered.imshow(_tinted(overlay, norm))
        said = [f"purple: {overlay.caption}", f"orange: {overlay.other}"]
        covered.set_title("\n".join(_lines(said)), fontsize=8, loc="left", parse_math=False)
        for axis in (plain, covered):
            axis.set_axis_off()
    bar = figure.colorbar(ScalarMappable(norm, _COLOURS), ax=axes[:, 1], shrink=0.7, aspect=30)
    bar.ax.tick_params(labelsize=7)
    bar.set_label(scale, fontsize=8)
    figure.suptitle(title, fontsize=9, parse_math=False)
    return figure


def _tinted(shown: Overlay, norm: CenteredNorm) -> Floats:
    """[H, W, 3]: the picture pale and grey, multiplied by the colours of the map; where that is 0 it stays grey."""
    field = PIL.Image.fromarray(shown.map.astype(np.float32))
    values = np.asarray(field.resize(shown.picture.size, PIL.Image.Resampling.BICUBIC))
    grey = np.asarray(shown.picture.convert("L"), dtype=float) / 255
    colours = mpl.colormaps[_COLOURS](norm(values))[..., :3]
    return (_PALEST + (1 - _PALEST) * grey)[..., None] * colours


def _lines(said: Sequence[str]) -> list[str]:
    return [line for message in said for line in textwrap.wrap(message, 44)]
