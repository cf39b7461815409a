"""Pictures as a service gets them: the right way up, on white, scaled down where they are large, as bare PNG."""

from __future__ import annotations

import base64
import hashlib
import io
from dataclasses import dataclass

import PIL.Image

from compbench.core.examples import Image
from compbench.core.image_transforms import on_white, upright

__all__ = ["Sent", "sent"]


@dataclass(frozen=True, slots=True)
class Sent:
    """A picture in a message."""

    url: str  # all of it, as PNG
    digest: str  # of its pixels: PNG files of the same pixels may differ


def sent(image: Image, longest_side: int) -> Sent:
    """The picture without the metadata of its file; at most `longest_side` pixels long, 0: as long as it is."""
    picture = on_white(upright(image.decode()))
    if 0 < longest_side < max(picture.size):
        scale = longest_side / max(picture.size)
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        picture = picture.resize(size, PIL.Image.Resampling.LANCZOS)
    bare = PIL.Image.new("RGB", picture.size)
    bare.paste(picture)
    file = io.BytesIO()
    bare.save(file, "PNG")
    digest = hashlib.sha256(repr(bare.size).encode() + bare.tobytes()).hexdigest()
    return Sent(f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}", digest)
