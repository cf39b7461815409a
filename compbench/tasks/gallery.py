"""Examples as one picture: each with its images, its captions and its tags."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont, ImageOps

from compbench.core.errors import UnreadableImage
from compbench.core.examples import Example
from compbench.core.examples import Image as ExampleImage
from compbench.core.image_transforms import on_white, upright

__all__ = ["contact_sheet"]

_IMAGE_PX = 256
_GAP_PX = 12
_LINE_PX = 20
_COLUMNS = 2
_INK, _FAINT, _PAPER, _FRAME = "#1a1a1a", "#6a6a6a", "#ffffff", "#d0d0d0"
_FONT_PX = 15


def contact_sheet(examples: Sequence[Example], n: int = 12) -> Image.Image:
    """`n` examples spread evenly over those given, two beside each other; a caption stands under its image.

    A caption that matches no image, or more than one, stands on a line of its own; of more than ten captions only
    those that match.
    """
    if not examples or n < 1:
        raise ValueError(f"cannot show {n} of {len(examples)} examples; expected at least one of each")
    n = min(n, len(examples))
    cards = [_card(examples[k * len(examples) // n]) for k in range(n)]
    rows = [_beside(cards[start : start + _COLUMNS]) for start in range(0, n, _COLUMNS)]
    return _stack(rows)


def _card(example: Example) -> Image.Image:
    """A card for an example: a heading, its images with their captions, and the captions that fit no single image."""
    singles = [c for c in range(example.shape[1]) if example.matches[:, c].sum() == 1]
    own = {int(example.matches[:, c].argmax()): c for c in reversed(singles)}  # of several prompts the first
    width = max(1, len(example.images)) * (_IMAGE_PX + _GAP_PX) - _GAP_PX
    pictures = [
        _stack([_thumbnail(image), *_lines(example.captions[own[i]] if i in own else "", _IMAGE_PX, _INK)])
        for i, image in enumerate(example.images)
    ]
    shown = {own[i] for i in own if i < len(pictures)}
    is_many = example.shape[1] > 10
    rest = [
        caption
        for c, caption in enumerate(example.captions)
        if c not in shown and (example.matches[:, c].any() or not is_many)
    ]
    tags = ", ".join(", ".join(values) for values in example.tags.values() if values)
    parts = [
        *_lines(f"{example.id}: {tags}" if tags else example.id, width, _FAINT),
        *([_beside(pictures)] if pictures else []),
        *[line for caption in rest for line in _lines(caption, width, _INK)],
    ]
    return ImageOps.expand(ImageOps.expand(_stack(parts), _GAP_PX, _PAPER), 1, _FRAME)


def _thumbnail(image: ExampleImage) -> Image.Image:
    """The whole image within a square; small ones are enlarged without blurring. Words where it cannot be read."""
    try:
        flat = on_white(upright(image.decode()))
    except UnreadableImage as error:
        sheet = Image.new("RGB", (_IMAGE_PX, _IMAGE_PX), _FRAME)
        sheet.paste(_stack(_lines(str(error), _IMAGE_PX - 2 * _GAP_PX, _INK)[: _IMAGE_PX // (_LINE_PX + 8)]), (12, 12))
        return sheet
    is_small = max(flat.size) < _IMAGE_PX
    method = Image.Resampling.NEAREST if is_small else Image.Resampling.LANCZOS
    return ImageOps.pad(flat, (_IMAGE_PX, _IMAGE_PX), method, color=_PAPER)


def _lines(text: str, width: int, colour: str) -> list[Image.Image]:
    """The text, wrapped to `width` pixels, one strip a line."""
    font = ImageFont.load_default(_FONT_PX)
    strips: list[Image.Image] = []
    for line in _wrap(text, width, font):
        strip = Image.new("RGB", (width, _LINE_PX), _PAPER)
        ImageDraw.Draw(strip).text((0, 1), line, fill=colour, font=font)
        strips.append(strip)
    return strips


def _wrap(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _beside(images: Sequence[Image.Image]) -> Image.Image:
    sheet = Image.new(
        "RGB",
        (sum(image.width + _GAP_PX for image in images) - _GAP_PX, max(image.height for image in images)),
        _PAPER,
    )
    left = 0
    for image in images:
        sheet.paste(image, (left, 0))
        left += image.width + _GAP_PX
    return sheet


def _stack(images: Sequence[Image.Image]) -> Image.Image:
    sheet = Image.new(
        "RGB", (max(image.width for image in images), sum(image.height + 4 for image in images) - 4), _PAPER
    )
    top = 0
    for image in images:
        sheet.paste(image, (0, top))
        top += image.height + 4
    return sheet
