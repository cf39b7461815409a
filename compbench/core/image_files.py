"""Opens what a data set calls an image, once and the same way for every scorer.

Only regular files are opened, of bounded size and in the formats of `FORMATS`; of several frames the first is read;
16-bit grey becomes 8-bit. Whatever is wrong with a file becomes an UnreadableImage that names it.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import threading
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from compbench.core._grey_depth import is_scaled, scaled
from compbench.core._image_limits import limited, limits
from compbench.core.errors import DataError, UnreadableImage
from compbench.core.image_transforms import orientation
from compbench.core.regular_files import MOST_BYTES, opened

if TYPE_CHECKING:
    import PIL.Image

__all__ = [
    "FORMATS",
    "Stored",
    "Header",
    "Traits",
    "decode",
    "digest",
    "digest_of_bytes",
    "header",
    "is_content",
    "limited",
    "limits",
    "noticing",
]

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")  # AVIF from Pillow 11.3 on

# every one of these becomes RGB without losing its range
_PLAIN = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"})
_IN_WORDS = {
    "I": "32-bit integers",
    "F": "32-bit floating-point numbers",
}
_OF_PILLOW = re.compile(r"PIL\.")


class Traits:
    """Traits noticed in decoded images: the names of the images with each."""

    def __init__(self) -> None:
        self._names: dict[str, set[str]] = {}
        self._lock = threading.Lock()

    def note(self, trait: str, name: str) -> None:
        with self._lock:
            self._names.setdefault(trait, set()).add(name)

    def of(self, trait: str) -> frozenset[str]:
        """The names of the images with `trait`: frames, scaled, orientation, transparency or damaged-exif."""
        with self._lock:
            return frozenset(self._names.get(trait, ()))


_listeners: list[Traits] = []


@contextmanager
def noticing() -> Generator[Traits]:
    """The traits of all images that are decoded within it, in whichever thread."""
    traits = Traits()
    _listeners.append(traits)
    try:
        yield traits
    finally:
        _listeners.remove(traits)


def is_content(value: object) -> bool:
    """Whether it is what a function may give for an image: a PIL image, or encoded bytes."""
    import PIL.Image

    return isinstance(value, PIL.Image.Image | bytes)


def digest(path: Path) -> str:
    """SHA-256 of an image file; of a deep one also that it is scaled, since it was cut before it was scaled."""
    with opened(path) as file:
        found = hashlib.file_digest(file, "sha256")
        file.seek(0)
        return _with_depth(found, file)


def digest_of_bytes(encoded: bytes) -> str:
    """The same of encoded bytes."""
    return _with_depth(hashlib.sha256(encoded), io.BytesIO(encoded))


def _with_depth(found: Any, file: IO[bytes]) -> str:
    if _is_deep(file):
        found.update(b"16 bits scaled to 8")
    return found.hexdigest()


def _is_deep(file: IO[bytes]) -> bool:
    """Whether an encoded image is 16-bit grey, told by its header."""
    head = file.read(32)
    if head.startswith(b"\x89PNG"):
        return head[24:26] == b"\x10\x00"
    if not head.startswith((b"II", b"MM", b"P2", b"P5", b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP")):
        return False
    import PIL.Image

    file.seek(0)
    _hush()
    try:
        image = PIL.Image.open(file, formats=_formats())
    except Exception:  # whatever it is, `decode` says it
        return False
    return is_scaled(image)


@dataclass(frozen=True, slots=True)
class Stored:
    """An encoded image in an archive or a table: how its bytes are read, and where they are, in words."""

    read: Callable[[], bytes]
    where: str

    def __call__(self) -> bytes:
        return self.read()


def decode(name: str, source: Path | bytes | PIL.Image.Image, where: str = "") -> PIL.Image.Image:
    """The first frame, fully read, in a mode that becomes RGB without loss of range; UnreadableImage names it.

    `where` says in words where the bytes come from, which a path says itself.
    """
    import PIL.Image

    if isinstance(source, PIL.Image.Image):
        return _plain(source, name, "")
    where = str(source) if isinstance(source, Path) else where
    where = f" ({where})" if where else ""
    try:
        if isinstance(source, bytes):
            return _read(io.BytesIO(source), name, where)
        with opened(source) as file:
            return _read(file, name, where)
    except UnreadableImage:
        raise
    except DataError as error:
        raise UnreadableImage(name, f"image {name!r}: {error}") from error


@dataclass(frozen=True, slots=True)
class Header:
    """The contents of an image file's header."""

    format: str
    width: int
    height: int


def header(name: str, path: Path) -> Header:
    """The header of an image file, no pixel read; UnreadableImage where it is none or not of a supported format."""
    where = f" ({path})"
    try:
        with opened(path) as file, _judged(name, where):
            image = _identified(file, name, where)
            if min(image.size) < 1:
                raise ValueError(f"it is {image.width} x {image.height} pixels")
            if image.mode not in _PLAIN and not is_scaled(image):
                raise _without_range(image, name, where)
            return Header(str(image.format), *image.size)
    except UnreadableImage:
        raise
    except DataError as error:
        raise UnreadableImage(name, f"image {name!r}: {error}") from error


def _read(file: IO[bytes], name: str, where: str) -> PIL.Image.Image:
    with _judged(name, where):
        image = _identified(file, name, where)
        image.load()
        if min(image.size) < 1:
            raise ValueError(f"it is {image.width} x {image.height} pixels")
    plain = _plain(_first_frame(image, name), name, where)
    if _listeners:
        _notice(plain, name)
    return plain


def _identified(file: IO[bytes], name: str, where: str) -> PIL.Image.Image:
    """The image as its header describes it, no pixel read."""
    import PIL.Image

    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if size > (most := max(MOST_BYTES, 8 * (limits().max_pixels or 0))):
        why = f"has {size:,} bytes; expected at most {most:,}; --max-pixels allows larger images"
        raise UnreadableImage(name, f"image {name!r}{where} {why}")
    if not size:
        raise UnreadableImage(name, f"image {name!r}{where} is empty (0 bytes): fetch or copy it again")
    _hush()
    return PIL.Image.open(file, formats=_formats())


@contextmanager
def _judged(name: str, where: str) -> Generator[None]:
    """Whatever Pillow raises becomes an UnreadableImage that names the image."""
    import PIL.Image

    try:
        yield
    except UnreadableImage:
        raise
    except PIL.Image.DecompressionBombError as error:
        raise UnreadableImage(name, f"image {name!r}{where} {_too_large(error)}") from error
    except MemoryError:
        raise
    except Exception as error:  # Pillow raises anything on a damaged file: TypeError, RuntimeError, struct.error ...
        raise UnreadableImage(
            name,
            f"image {name!r}{where} cannot be decoded ({_why(error)}); expected a whole PNG, JPEG or other image: "
            "fetch or copy it again",
        ) from error


def _why(error: Exception) -> str:
    import PIL

    if isinstance(error, PIL.UnidentifiedImageError):
        return "it is not an image of a supported format: " + ", ".join(_formats())
    words = " ".join(str(error).split())
    return (
        words if isinstance(error, OSError | ValueError | SyntaxError) and words else f"{type(error).__name__}: {words}"
    )


def _too_large(error: Exception) -> str:
    found = re.search(r"\((\d+) pixels\)", str(error))
    n_pixels, allowed = int(found[1]) if found else 0, limits().max_pixels
    import PIL.Image

    most = allowed or int(2 * (PIL.Image.MAX_IMAGE_PIXELS or 0))
    return (
        f"has {n_pixels:,} pixels, more than the limit of {most:,}; if you trust the "
        f"file, allow it with --max-pixels {n_pixels} (max_pixels={n_pixels} in Python)"
    )


@cache
def _formats() -> tuple[str, ...]:
    """The supported formats that this Pillow has."""
    from importlib import import_module

    import PIL.Image

    PIL.Image.preinit()
    for plugin in ("TiffImagePlugin", "WebPImagePlugin", "Jpeg2KImagePlugin", "AvifImagePlugin"):
        try:
            import_module(f"PIL.{plugin}")
        except ImportError:  # an older Pillow
            continue
    return tuple(format_ for format_ in FORMATS if format_ in PIL.Image.OPEN)


def _hush() -> None:
    """Pillow warns of what is judged or counted here: images above half its limit, damaged EXIF blocks."""
    for category in (UserWarning, RuntimeWarning):  # its DecompressionBombWarning is one of the latter
        if ("ignore", None, category, _OF_PILLOW, 0) not in warnings.filters:
            warnings.filterwarnings("ignore", category=category, module=_OF_PILLOW.pattern)


def _plain(image: PIL.Image.Image, name: str, where: str) -> PIL.Image.Image:
    """The image in a mode that becomes RGB without loss of range; the same object where it is that already."""
    if image.mode in _PLAIN:
        return image
    if is_scaled(image):
        _note("scaled", name)
        return scaled(image)
    raise _without_range(image, name, where)


def _without_range(image: PIL.Image.Image, name: str, where: str) -> UnreadableImage:
    return UnreadableImage(
        name,
        f"image {name!r}{where} holds {_IN_WORDS.get(image.mode, f'pixels of mode {image.mode}')}, and nothing "
        f"says which of them are black and white; convert it to 8 or 16 bits",
    )


def _note(trait: str, name: str) -> None:
    for listener in list(_listeners):
        listener.note(trait, name)


def _first_frame(image: PIL.Image.Image, name: str) -> PIL.Image.Image:
    """The frame that is loaded; of several it is cut loose from the file, in which Pillow would go on seeking."""
    loose = image
    if image.format == "GIF":  # which looks for a second frame only when asked, and is then no longer at the first
        loose = image.copy()
    try:
        is_animated = bool(getattr(image, "is_animated", False))
    except Exception:  # the frames after the first are damaged: there are some
        is_animated = True
    if is_animated:
        loose = image.copy() if loose is image else loose
        if image.format != "MPO":  # a camera's, which is one picture with its previews
            _note("frames", name)
    loose.format = image.format
    return loose


def _notice(image: PIL.Image.Image, name: str) -> None:
    turned = orientation(image)
    if turned is None:
        _note("damaged-exif", name)
    elif turned != 1:
        _note("orientation", name)
    if image.has_transparency_data and _is_seen_through(image):
        _note("transparency", name)


def _is_seen_through(image: PIL.Image.Image) -> bool:
    """Whether any pixel is not opaque: most images with an alpha channel are opaque throughout."""
    alpha: Any = image.convert("RGBA").getchannel("A").getextrema()
    return alpha[0] < 255
