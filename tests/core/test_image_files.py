"""How image files are opened and decoded, whatever is in them."""

from __future__ import annotations

import io
import os
import random
import struct
import time
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
import PIL.features
import PIL.Image
import PIL.PngImagePlugin
import pytest
from PIL import ImageOps

from compbench.core import image_files, image_transforms, regular_files
from compbench.core.errors import DataError, UnreadableImage
from compbench.core.examples import Image
from compbench.diffusion.images import adm_centre_crop, centre_crop, rgb_centre_crop, whole_picture

CASES = Path(__file__).parents[1] / "cases" / "fuzzed-pictures"
TRANSFORMS = [centre_crop, rgb_centre_crop, adm_centre_crop, whole_picture]


def gradient(width: int = 32, height: int = 24) -> PIL.Image.Image:
    across, down = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return PIL.Image.fromarray(np.stack([across, down, 255 - across], -1).astype(np.uint8))


def encoded(picture: PIL.Image.Image, kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def deep() -> np.ndarray:
    return np.linspace(0, 65535, 256).round().astype(np.uint16).reshape(16, 16)


def test_16_bit_grey_is_scaled_and_not_clipped() -> None:
    expected = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for kind in ("PNG", "TIFF", "JPEG2000"):
        source = encoded(PIL.Image.fromarray(deep()), kind)
        np.testing.assert_array_equal(np.asarray(Image(kind, source).decode().convert("RGB"))[..., 0], expected)
    pgm = b"P5 16 16 65535\n" + deep().astype(">u2").tobytes()
    np.testing.assert_array_equal(np.asarray(Image("pgm", pgm).decode().convert("RGB"))[..., 1], expected)
    in_memory = PIL.Image.fromarray(deep())
    np.testing.assert_array_equal(np.asarray(Image("own", lambda: in_memory).decode()), expected)


def test_a_twelve_bit_tiff_is_scaled_by_its_own_range_and_white_may_be_zero() -> None:
    plain = encoded(PIL.Image.fromarray(deep()), "TIFF")
    inverted = encoded(PIL.Image.fromarray(deep()), "TIFF", tiffinfo={262: 0})
    one, other = (np.asarray(Image("tif", content).decode()) for content in (plain, inverted))
    np.testing.assert_array_equal(other, 255 - one)


def test_one_transparent_grey_of_16_bits_stays_transparent() -> None:
    values = deep()
    source = encoded(PIL.Image.fromarray(values), transparency=int(values[0, 3]))
    shown = np.asarray(Image("t", source).decode().convert("RGBA"))
    assert shown[0, 3, 3] == 0
    assert (shown[..., 3] == 0).sum() == 1


@pytest.mark.parametrize(
    ("values", "kind", "words"),
    [
        (np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16), "TIFF", "32-bit floating-point numbers"),
        (np.arange(256, dtype=np.int32).reshape(16, 16) * 1000, "TIFF", "32-bit integers"),
    ],
)
def test_pixels_of_no_known_range_are_refused_by_name(values: np.ndarray, kind: str, words: str) -> None:
    with pytest.raises(UnreadableImage, match=rf"image 'slide\.tif' holds {words}.*convert it to 8 or 16 bits"):
        Image("slide.tif", encoded(PIL.Image.fromarray(values), kind)).decode()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB"])
def test_what_pillow_converts_without_loss_is_the_same_bit_for_bit(mode: str) -> None:
    rgb = gradient()
    picture = PIL.Image.merge("LAB", rgb.split()) if mode == "LAB" else rgb.convert(mode)
    source = encoded(picture, "PNG" if mode in ("1", "L", "LA", "P", "RGB", "RGBA") else "TIFF")
    ours, pillows = Image(mode, source).decode(), PIL.Image.open(io.BytesIO(source))
    assert ours.mode == pillows.mode == mode
    assert ours.tobytes() == pillows.tobytes()
    assert ours.convert("RGB").tobytes() == pillows.convert("RGB").tobytes()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_is_what_pillow_calls_upright(orientation: int) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    picture = Image("turned", encoded(gradient(), "JPEG", exif=exif)).decode()
    turned = image_transforms.upright(picture)
    assert turned.tobytes() == ImageOps.exif_transpose(picture).tobytes()
    assert image_transforms.upright(turned).tobytes() == turned.tobytes()  # once is enough


@pytest.mark.parametrize(
    "block", [b"Exif\0\0garbage", b"Exif\0\0II*\0\x08\0\0\0\xff\xff", b"Exif\0\0MM\0*\xff\xff\xff\xff"]
)
def test_a_damaged_exif_block_is_ignored_by_every_transform(block: bytes) -> None:
    plain = Image("plain", encoded(gradient(), "JPEG")).decode()
    damaged = Image("bad", encoded(gradient(), "JPEG", exif=block)).decode()
    for transform in TRANSFORMS:
        np.testing.assert_array_equal(transform(damaged, 16), transform(plain, 16))


def test_traits_are_noticed_and_counted_by_name() -> None:
    turned = PIL.Image.Exif()
    turned[0x0112] = 6
    frames = [gradient(), ImageOps.mirror(gradient())]
    images = [
        Image("plain", encoded(gradient())),
        Image("turned", encoded(gradient(), "JPEG", exif=turned)),
        Image("clear", encoded(PIL.Image.new("RGBA", (8, 8), (0, 0, 0, 0)))),
        Image("opaque", encoded(gradient().convert("RGBA"))),
        Image("gif", encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])),
        Image("tif", encoded(frames[0], "TIFF", save_all=True, append_images=frames[1:])),
        Image("deep", encoded(PIL.Image.fromarray(deep()))),
    ]
    with image_files.noticing() as traits:
        decoded = {image.name: image.decode() for image in images for _ in range(2)}
    assert traits.of("orientation") == {"turned"}
    assert traits.of("transparency") == {"clear"}
    assert traits.of("frames") == {"gif", "tif"}
    assert traits.of("scaled") == {"deep"}
    assert decoded["tif"].tobytes() == frames[0].tobytes()
    images[0].decode()
    assert not traits.of("damaged-exif")


def test_a_palette_with_transparency_is_read_without_a_warning() -> None:
    picture = gradient().quantize(8)
    source = encoded(picture, transparency=bytes([0, 128, 255]))
    decoded = Image("palette", source).decode()
    for transform in TRANSFORMS:
        assert transform(decoded, 16).shape == (3, 16, 16)


def large_png(width: int, height: int) -> bytes:
    """Black, 1 bit a pixel."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = zlib.compress(bytes(height * (1 + (width + 7) // 8)), 1)
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_a_picture_above_the_limit_is_named_with_the_option_that_allows_it() -> None:
    image = Image("slide.png", large_png(14_000, 14_000))
    with pytest.raises(UnreadableImage, match=r"'slide\.png' has 196,000,000 pixels, .*--max-pixels 196000000"):
        image.decode()
    with image_files.limited(max_pixels=196_000_000):
        assert image.decode().size == (14_000, 14_000)
    with pytest.raises(UnreadableImage):
        image.decode()
    with image_files.limited(max_pixels=100), pytest.raises(UnreadableImage, match="more than the limit of 100"):
        Image("small", large_png(101, 1)).decode()


def test_a_picture_between_half_the_limit_and_the_limit_is_read_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Image("large", large_png(14_000, 10_000)).decode().size == (14_000, 10_000)


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1)])
def test_tiny_and_thin_pictures_work(size: tuple[int, int]) -> None:
    decoded = Image("thin", encoded(PIL.Image.new("RGB", size, "red"))).decode()
    for transform in TRANSFORMS:
        pixels = transform(decoded, 16)
        assert pixels.shape == (3, 16, 16)
        assert (pixels[0] == 1).all()


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    loop = tmp_path / "loop.png"
    loop.symlink_to(loop)
    said = {
        pipe: "is a named pipe",
        Path("/dev/zero"): "is a device",
        tmp_path: "is a folder",
        loop: "its links form a loop",
        tmp_path / "absent.png": "No such file",
        tmp_path / "nul\0.png": "null byte",
    }
    for path, words in said.items():
        for read in (Image("it", path).decode, Image("it", path).digest):
            with pytest.raises(UnreadableImage, match=f"image 'it': .*{words}"):
                read()


def test_links_to_regular_files_are_followed_unless_that_is_refused(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link.png"
    target.write_bytes(encoded(gradient()))
    link.symlink_to(target)
    assert Image("link", link).decode().tobytes() == gradient().tobytes()
    assert Image("link", link).digest() == Image("target", target).digest()
    with image_files.limited(follows_links=False):
        with pytest.raises(UnreadableImage, match=r"image 'link': .* is a link, and links are not followed here"):
            Image("link", link).decode()
        assert Image("target", target).decode().size == (32, 24)


def test_a_member_of_an_archive_is_bounded_whatever_its_header_says(tmp_path: Path) -> None:
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros.png", bytes(100_000))
        archive.writestr("small.png", b"content")
    with zipfile.ZipFile(path) as archive:
        assert regular_files.read_member(archive, "small.png") == b"content"
        with pytest.raises(DataError, match=r"member 'zeros\.png' .* has 100,000 bytes or more; .* at most 1,000"):
            regular_files.read_member(archive, "zeros.png", 1000)


def test_a_format_that_is_not_supported_is_not_tried() -> None:
    with pytest.raises(UnreadableImage, match="not an image of a supported format: PNG, JPEG"):
        Image("old", encoded(gradient(), "TGA")).decode()


def test_what_a_source_raises_names_the_image() -> None:
    def source() -> bytes:
        raise NotImplementedError("compression type 9 (deflate64)")

    for read in (Image("a/1", source).decode, Image("a/1", source).digest):
        with pytest.raises(UnreadableImage, match=r"image 'a/1' cannot be read: NotImplementedError: .*deflate64"):
            read()


def test_an_image_made_of_another_goes_by_its_own_name() -> None:
    inner = Image("000007", b"GIF89a")
    with pytest.raises(UnreadableImage, match="image 'test/000007': image '000007' cannot be decoded") as caught:
        Image("test/000007", inner.decode).decode()
    assert caught.value.name == "test/000007"


def test_the_digest_is_that_of_the_file_but_for_16_bit_grey() -> None:
    import hashlib

    plain, high = encoded(gradient()), encoded(PIL.Image.fromarray(deep()))
    assert Image("plain", plain).digest() == hashlib.sha256(plain).hexdigest()
    assert Image("high", high).digest() != hashlib.sha256(high).hexdigest()  # its score was another, clipped
    pgm = b"P5 1 1 65535\n\0\0"
    assert Image("pgm", pgm).digest() != hashlib.sha256(pgm).hexdigest()
    assert Image("tif", encoded(gradient(), "TIFF")).digest() == hashlib.sha256(encoded(gradient(), "TIFF")).hexdigest()


def test_a_text_chunk_above_pillows_limit_names_the_image() -> None:
    about = PIL.PngImagePlugin.PngInfo()
    about.add_text("XML:com.adobe.xmp", "x" * 2_000_000, zip=True)
    with pytest.raises(UnreadableImage, match=r"image 'xmp\.png' cannot be decoded \(.*MAX_TEXT_CHUNK\)"):
        Image("xmp.png", encoded(gradient(), pnginfo=about)).decode()


@pytest.mark.parametrize("path", sorted(CASES.glob("*.bin")), ids=lambda path: path.stem)
def test_files_on_which_pillow_raised_something_else_are_read_or_named(path: Path) -> None:
    decoded, said = decoded_or_said(Image("it", path))
    if decoded is None:
        assert "image 'it'" in said
    else:
        for transform in TRANSFORMS:
            assert transform(decoded, 16).shape == (3, 16, 16)


def seeds() -> dict[str, bytes]:
    picture, exif = gradient(), PIL.Image.Exif()
    exif[0x0112] = 6
    frames = [picture, ImageOps.mirror(picture)]
    kinds = {
        "png": encoded(picture),
        "palette.png": encoded(picture.quantize(16), transparency=b"\0\x80"),
        "deep.png": encoded(PIL.Image.fromarray(deep())),
        "apng": encoded(picture, save_all=True, append_images=frames[1:]),
        "jpg": encoded(picture, "JPEG", exif=exif),
        "cmyk.jpg": encoded(picture.convert("CMYK"), "JPEG"),
        "gif": encoded(picture, "GIF", save_all=True, append_images=frames[1:]),
        "webp": encoded(picture, "WEBP", exif=exif),
        "lossless.webp": encoded(picture.convert("RGBA"), "WEBP", lossless=True),
        "tif": encoded(picture, "TIFF"),
        "lzw.tif": encoded(picture, "TIFF", compression="tiff_lzw"),
        "bmp": encoded(picture, "BMP"),
        "ppm": encoded(picture, "PPM"),
        "jp2": encoded(picture, "JPEG2000"),
    }
    return kinds | ({"avif": encoded(picture, "AVIF")} if PIL.features.check("avif") else {})


def mutated(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 8])):
        place = rng.randrange(len(changed)) if rng.random() < 0.5 else rng.randrange(min(64, len(changed)))
        match rng.randrange(5):
            case 0:
                changed[place] ^= 1 << rng.randrange(8)
            case 1:
                changed[place] = rng.choice([0, 1, 127, 128, 255])
            case 2:
                changed[place : place + rng.randrange(1, 9)] = b""
            case 3:
                changed[place:place] = rng.randbytes(rng.randrange(1, 9))
            case _:
                del changed[max(8, place) :]
        if len(changed) < 9:
            break
    return bytes(changed)


def decoded_or_said(image: Image) -> tuple[PIL.Image.Image | None, str]:
    try:
        return image.decode(), ""
    except UnreadableImage as error:
        return None, str(error)


def test_a_damaged_file_gives_an_image_or_an_error_that_names_it() -> None:
    """Every seed, changed 40 times in a seeded way, through all that looks at an image."""
    rng, n_read, n_named, began = random.Random(0), 0, 0, time.monotonic()
    for kind, content in seeds().items():
        for number in range(40):
            source = mutated(content, rng)
            image = Image(f"{kind}/{number}", source)
            image.digest()
            with image_files.noticing():
                decoded, said = decoded_or_said(image)
            n_read += decoded is not None
            n_named += decoded is None and repr(image.name) in said and "\n" not in said
            if decoded is not None and decoded.width * decoded.height < 1_000_000:
                for transform in TRANSFORMS:
                    assert transform(decoded, 8).shape == (3, 8, 8)
    assert n_read + n_named == 40 * len(seeds())
    assert min(n_read, n_named) > 50
    assert time.monotonic() - began < 60
