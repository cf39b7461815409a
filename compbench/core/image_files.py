"""Opens what a data set calls an image, once and the same way for every scorer.

Only regular files are opened, of bounded size and in the formats of `FORMATS`; of several frames the first is read;
16-bit grey becomes 8-bit. Whatever is wrong with a file becomes an UnreadableImage that names it.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
import stat
import threading
import warnings
import zipfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from compbench.core import disk
from compbench.core.errors import DataError, UnreadableImage

if TYPE_CHECKING:
    import PIL.Image

__all__ = [
    "FORMATS",
    "Header",
    "Traits",
    "decode",
    "digest",
    "digest_of_bytes",
    "header",
    "limited",
    "limits",
    "noticing",
    "on_white",
    "opaque",
    "opened",
    "read_file",
    "read_member",
    "trimmed",
    "upright",
]

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")  # AVIF from Pillow 11.3 on
_MOST_BYTES = 2**30  # of one encoded image, or of one member of an archive

_MOST_RESIZED = 2**28  # pixels, before the middle is cut out of them
# every one of these becomes RGB without losing its range
_PLAIN = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"})
_IN_WORDS = {
    "I": "32-bit integers, some outside 0 to 255",
    "F": "32-bit floating-point numbers",
}
_OF_PILLOW = re.compile(r"PIL\.")
_ORIENTATION, _BITS, _PHOTOMETRIC = 0x0112, 258, 262  # tags of EXIF and TIFF
_EXIF_KEYS = ("exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif")
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


@dataclass(frozen=True, slots=True)
class _Limits:
    max_pixels: int | None = None  # None: Pillow's own limit, 178,956,970 unless it was changed
    follows_links: bool = True


# of the whole process, the last one holds: images are decoded in threads, behind scorers that no argument reaches
_held = [_Limits()]


def limits() -> _Limits:
    """The limits that hold now."""
    return _held[-1]


@contextmanager
def limited(*, max_pixels: int | None = None, follows_links: bool | None = None) -> Generator[None]:
    """Within it images of up to `max_pixels` are read, and links only if `follows_links`; None leaves it as it is."""
    import PIL.Image

    inner, allowed = limits(), PIL.Image.MAX_IMAGE_PIXELS
    if max_pixels is not None:
        inner = replace(inner, max_pixels=max_pixels)
        PIL.Image.MAX_IMAGE_PIXELS = max_pixels / 2  # pyright: ignore[reportAttributeAccessIssue]  # it refuses at twice that
    if follows_links is not None:
        inner = replace(inner, follows_links=follows_links)
    _held.append(inner)
    try:
        yield
    finally:
        _held.pop()
        PIL.Image.MAX_IMAGE_PIXELS = allowed


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


# files


@contextmanager
def opened(path: Path) -> Generator[io.BufferedReader]:
    """A regular file, or a link that ends at one; DataError for anything that could block or never end."""
    handle = _descriptor(path)
    with os.fdopen(handle, "rb") as file:
        yield file


def _descriptor(path: Path) -> int:
    where = repr(str(path))
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    try:
        if not limits().follows_links and path.is_symlink():
            raise DataError(f"{where} is a link, and links are not followed here; copy the file, or follow links")
        _check_regular(os.stat(path), where)  # before it is opened: opening a device can do something
        handle = os.open(path, flags)
    except (OSError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{where} cannot be opened ({_reason(error)}); check it, or copy it again") from error
    try:
        _check_regular(os.fstat(handle), where)
    except BaseException:
        os.close(handle)
        raise
    return handle


def _check_regular(status: os.stat_result, where: str) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = next((words for is_it, words in _KINDS if is_it(status.st_mode)), "something else")
        raise DataError(f"{where} is {kind}; expected a regular file")


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno == errno.ELOOP:
        return "its links lead in a circle"
    return str(getattr(error, "strerror", None) or error)


def read_file(path: Path, most: int = _MOST_BYTES) -> bytes:
    """The bytes of a regular file; DataError for one of more than `most` bytes."""
    with opened(path) as file:
        return _bounded(file, os.fstat(file.fileno()).st_size, most, repr(str(path)))


def read_member(archive: zipfile.ZipFile, name: str, most: int = _MOST_BYTES) -> bytes:
    """The bytes of a member; DataError for one of more than `most` bytes, whatever the archive says of its size."""
    where = f"member {name!r} of {str(archive.filename)!r}"
    with archive.open(name) as file:
        return _bounded(file, archive.getinfo(name).file_size, most, where)


def _bounded(file: IO[bytes], promised: int, most: int, where: str) -> bytes:
    content = disk.read_at_most(file, most + 1) if promised <= most else b""
    if promised > most or len(content) > most:
        size = max(promised, len(content))
        raise DataError(f"{where} has {size:,} bytes or more; expected at most {most:,}")
    return content


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
    return _is_scaled(image)


# images


def decode(name: str, source: Path | bytes | PIL.Image.Image) -> PIL.Image.Image:
    """The first frame, fully read, in a mode that becomes RGB without loss of range; UnreadableImage names it."""
    import PIL.Image

    if isinstance(source, PIL.Image.Image):
        return _plain(source, name, "")
    where = f" ({source})" if isinstance(source, Path) else ""
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
    """What the header of an image file says."""

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
            if image.mode not in _PLAIN and image.mode != "I" and not _is_scaled(image):  # of "I" the pixels decide
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
    if size > (most := max(_MOST_BYTES, 8 * (limits().max_pixels or 0))):
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
        f"has {n_pixels:,} pixels, more than the {most:,} that are read unless you ask for more; if you trust the "
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
    return tuple(each for each in FORMATS if each in PIL.Image.OPEN)


def _hush() -> None:
    """Pillow warns of what is judged or counted here: images above half its limit, damaged EXIF blocks."""
    for category in (UserWarning, RuntimeWarning):  # its DecompressionBombWarning is one of the latter
        if ("ignore", None, category, _OF_PILLOW, 0) not in warnings.filters:
            warnings.filterwarnings("ignore", category=category, module=_OF_PILLOW.pattern)


def _is_scaled(image: PIL.Image.Image) -> bool:
    """Whether an image is grey of a known range above 255: Pillow brings PPM and PNG to 65,535."""
    return image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PPM", "PNG"))


def _plain(image: PIL.Image.Image, name: str, where: str) -> PIL.Image.Image:
    """In a mode that becomes RGB without loss of range; the same object where it is that already."""
    if image.mode in _PLAIN:
        return image
    if _is_scaled(image):
        _note("scaled", name)
        return _scaled(image)
    if image.mode == "I" and _is_within_a_byte(image):
        return image
    raise _without_range(image, name, where)


def _without_range(image: PIL.Image.Image, name: str, where: str) -> UnreadableImage:
    return UnreadableImage(
        name,
        f"image {name!r}{where} holds {_IN_WORDS.get(image.mode, f'pixels of mode {image.mode}')}, and nothing says "
        "which of them is black and which is white; convert it to 8 or 16 bits",
    )


def _is_within_a_byte(image: PIL.Image.Image) -> bool:
    least, most = image.getextrema()
    return least >= 0 and most <= 255  # pyright: ignore[reportOperatorIssue]  # of one band: two numbers


def _scaled(image: PIL.Image.Image) -> PIL.Image.Image:
    """16-bit grey as 8-bit, 0 to 65,535 becoming 0 to 255; a TIFF says itself if it has fewer bits, or white at 0."""
    import PIL.Image

    tags: Any = getattr(image, "tag_v2", {})
    most = 2 ** int(np.ravel(tags.get(_BITS, 16))[0]) - 1
    values = np.asarray(image).astype(np.int64).clip(0, most)
    eight = ((values * 255 + most // 2) // most).astype(np.uint8)
    scaled = PIL.Image.fromarray(255 - eight if tags.get(_PHOTOMETRIC) == 0 else eight)
    scaled.info = {key: value for key, value in image.info.items() if key != "transparency"}
    clear = image.info.get("transparency")
    if isinstance(clear, int):  # one grey is transparent, named in 16 bits
        scaled.putalpha(PIL.Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)))
    return scaled


def upright(image: PIL.Image.Image) -> PIL.Image.Image:
    """The image turned as its EXIF block says; a damaged block is ignored, here and so by every scorer."""
    import PIL.Image

    methods = PIL.Image.Transpose
    turns = {
        2: methods.FLIP_LEFT_RIGHT,
        3: methods.ROTATE_180,
        4: methods.FLIP_TOP_BOTTOM,
        5: methods.TRANSPOSE,
        6: methods.ROTATE_270,
        7: methods.TRANSVERSE,
        8: methods.ROTATE_90,
    }
    method = turns.get(_orientation(image) or 1)
    if method is None:
        return image
    turned = image.transpose(method)
    turned.info = {key: value for key, value in image.info.items() if key not in _EXIF_KEYS}  # it is upright now
    return turned


def on_white(image: PIL.Image.Image) -> PIL.Image.Image:
    """RGB, what is transparent over white."""
    import PIL.Image

    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = PIL.Image.alpha_composite(PIL.Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def opaque(image: PIL.Image.Image) -> PIL.Image.Image:
    """The same pixels without a transparent colour beside them, of which Pillow would warn when it drops it."""
    if "transparency" not in image.info:
        return image
    plain = image.copy()
    del plain.info["transparency"]
    return plain


def trimmed(image: PIL.Image.Image, size_px: int) -> PIL.Image.Image:
    """The middle of an image so thin that it would be huge with its shorter side at `size_px`; others as they are."""
    shorter, longer = sorted(image.size)
    longest = max(1, _MOST_RESIZED // size_px**2) * shorter
    if longer <= longest:
        return image
    width, height = min(image.width, longest), min(image.height, longest)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def _orientation(image: PIL.Image.Image) -> int | None:
    """The EXIF orientation, 1 where there is none; None where the block is damaged."""
    try:
        found = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # Pillow parses it only now, and raises anything
        return None
    return found if isinstance(found, int) else 1


def _note(trait: str, name: str) -> None:
    for each in list(_listeners):
        each.note(trait, name)


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
    orientation = _orientation(image)
    if orientation is None:
        _note("damaged-exif", name)
    elif orientation != 1:
        _note("orientation", name)
    if image.has_transparency_data and _is_seen_through(image):
        _note("transparency", name)


def _is_seen_through(image: PIL.Image.Image) -> bool:
    """Whether any pixel is not opaque: most images with an alpha channel are opaque throughout."""
    alpha: Any = image.convert("RGBA").getchannel("A").getextrema()
    return alpha[0] < 255
