"""images.zip and images/ as people pack them: each picture for itself, whoever packed it, damage named in one line."""

from __future__ import annotations

import json
import struct
import unicodedata
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from compbench.cli.app import main
from compbench.core.errors import DataError, UnreadableImage
from compbench.core.examples import Image
from compbench.tasks._reading.archives import open_pictures
from winoground_files import ROWS, encoded, read, write_jsonl

METHOD_AT, FLAGS_AT = 10, 8  # in a central directory's entry; two bytes less in a member's own header


pytestmark = pytest.mark.usefixtures("own_cache")


def packed(folder: Path, members: Mapping[str, bytes], names: list[tuple[Any, Any]], *, loose: bool = False) -> Path:
    """A data set of `members` whose n-th example names its two pictures as the n-th of `names` has them."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    rows = [ROWS[n] | {"image_0": first, "image_1": second} for n, (first, second) in enumerate(names)]
    (folder / "data" / "examples.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    if loose:
        for name, content in members.items():
            file = folder / "data" / "images" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
    else:
        with zipfile.ZipFile(folder / "data" / "images.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
    return folder


def shown(place: Path) -> list[bytes]:
    """The encoded pictures, in the order of the examples."""
    found: list[bytes] = []
    for example in read(place).examples:
        for image in example.images:
            assert callable(image.source)
            content = image.source()
            assert isinstance(content, bytes)
            found.append(content)
    return found


A, B = encoded(0, 0), encoded(1, 0)


@pytest.mark.parametrize("loose", [False, True])
@pytest.mark.parametrize(
    "names", [("x.jpg", "x.png"), ("left/x.png", "right/x.png"), ("left/x", "right/x"), ("x", "y"), ("v1.5", "v1.6")]
)
def test_each_picture_is_the_one_that_the_example_names(tmp_path: Path, names: tuple[str, str], loose: bool) -> None:
    files = [name if name.endswith(("png", "jpg")) else f"{name}.png" for name in names]
    data = packed(tmp_path, dict(zip(files, (A, B), strict=True)), [names], loose=loose)
    assert shown(data) == [A, B]


def test_names_may_come_with_or_without_the_archives_own_top_folder(tmp_path: Path) -> None:
    data = packed(tmp_path, {"pack/images/x.png": A, "pack/images/y.png": B}, [("images/x.png", "y")])
    assert shown(data) == [A, B]


@pytest.mark.parametrize(
    ("members", "wanted", "both"),
    [
        ({"x.jpg": A, "x.png": B}, "x", r"'x\.jpg' and 'x\.png'"),
        ({"left/x.png": A, "right/x.png": B}, "x.png", r"'left/x\.png' and 'right/x\.png'"),
        ({"left/x.png": A, "right/x.png": B}, "x", r"'left/x\.png' and 'right/x\.png'"),
    ],
)
def test_a_name_that_two_pictures_have_is_refused_naming_both(
    tmp_path: Path, members: dict[str, bytes], wanted: str, both: str
) -> None:
    for loose in (False, True):
        data = packed(tmp_path / str(loose), members, [(wanted, wanted)], loose=loose)
        with pytest.raises(DataError, match=rf"line 1 of .*: image_0 is '{wanted}', which is {both} in"):
            read(data)


def test_a_name_that_stands_twice_in_an_archive_is_refused(tmp_path: Path) -> None:
    data = packed(tmp_path, {"x.png": A}, [("x", "x")])
    with zipfile.ZipFile(data / "data" / "images.zip", "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("x.png", B)
    with pytest.raises(DataError, match=r"holds 'x\.png' twice"):
        read(data)


@pytest.mark.parametrize("wanted", [None, "", True, ["x"], "../examples.jsonl", "/etc/hostname", ".."])
def test_a_name_of_no_picture_is_told_with_its_line(tmp_path: Path, wanted: Any) -> None:
    for loose in (False, True):
        data = packed(tmp_path / str(loose), {"x.png": A}, [("x", wanted)], loose=loose)
        with pytest.raises(DataError, match=r"line 1 of .*: image_1"):
            read(data)


def test_archives_of_windows_and_macos_are_read_like_any_other(tmp_path: Path) -> None:
    plain = read(write_jsonl(tmp_path / "plain", ROWS[:2])).revision
    written = {f"ex_{n}_img_{side}.png": encoded(n, side) for n in (0, 1) for side in (0, 1)}
    names = [(f"ex_{n}_img_0", f"ex_{n}_img_1") for n in (0, 1)]
    backslashes = packed(tmp_path / "dotnet", {f"images\\{name}": content for name, content in written.items()}, names)
    junk = {f"__MACOSX/images/._{name}": b"junk" for name in written} | {"images/.DS_Store": b"\0", "Thumbs.db": b"\0"}
    macos = packed(tmp_path / "macos", {f"images/{name}": content for name, content in written.items()} | junk, names)
    assert read(backslashes).revision == read(macos).revision == plain


def test_names_in_decomposed_unicode_or_without_the_mark_of_utf_8_are_found(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "café")
    data = packed(tmp_path / "nfd", {f"{decomposed}.png": A, "thé.png": B}, [("café", "thé.png")])
    assert shown(data) == [A, B]
    archive = data / "data" / "images.zip"
    content = bytearray(archive.read_bytes())
    for signature, flags in ((b"PK\x03\x04", FLAGS_AT - 2), (b"PK\x01\x02", FLAGS_AT)):
        start = -1
        while (start := content.find(signature, start + 1)) >= 0:
            content[start + flags + 1] &= ~0x08  # the names stay UTF-8, as macOS writes them
    archive.write_bytes(content)
    assert shown(data) == [A, B]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("encrypted", r"image 'x\.png' in '.*images\.zip' is encrypted"),
        ("deflate64", r"image 'x\.png' in '.*images\.zip' is packed with Deflate64, which cannot be read"),
        ("unknown", r"image 'x\.png' in '.*images\.zip' is packed with method 77"),
        ("flipped", r"image 'x\.png' in '.*images\.zip' cannot be read \(.*\); copy it again"),
        ("cut", r"images\.zip' is damaged"),
        ("lfs", r"images\.zip' is a Git LFS pointer"),
    ],
)
def test_an_archive_that_cannot_be_read_is_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str, message: str
) -> None:
    data = packed(tmp_path, {"x.png": A}, [("x", "x")])
    archive = data / "data" / "images.zip"
    content = bytearray(archive.read_bytes())
    central = content.index(b"PK\x01\x02")
    if damage == "encrypted":
        content[FLAGS_AT - 2] |= 1
        content[central + FLAGS_AT] |= 1
    elif damage in ("deflate64", "unknown"):
        method = struct.pack("<H", 9 if damage == "deflate64" else 77)
        content[METHOD_AT - 2 : METHOD_AT] = method
        content[central + METHOD_AT : central + METHOD_AT + 2] = method
    elif damage == "flipped":
        content[40] ^= 0xFF
    archive.write_bytes(
        {"cut": content[:60], "lfs": b"version https://git-lfs.github.com/spec/v1"}.get(damage, content)
    )
    assert main(["run", "winoground", "--data", str(data), "-m", "chance", "--runs", str(tmp_path / "runs")]) == 1
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    with pytest.raises(DataError, match=message):
        read(data)


@pytest.mark.parametrize("loose", [False, True])
def test_a_git_lfs_pointer_in_the_place_of_a_picture_is_named_for_what_it_is(tmp_path: Path, loose: bool) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"
    data = packed(tmp_path, {"x.png": pointer, "y.png": B}, [("x", "y")], loose=loose)
    with pytest.raises(DataError, match=r"image 'x\.png' in .* is a Git LFS pointer, not the image"):
        read(data).examples[0].images[0].decode()


def test_an_empty_member_is_named_when_it_is_looked_at(tmp_path: Path) -> None:
    data = packed(tmp_path, {"x.png": b"", "y.png": B}, [("x", "y")])
    with pytest.raises(DataError, match=r"image '0/image_0' \('x\.png' in .*images\.zip'\) is empty"):
        read(data).examples[0].images[0].decode()


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"no picture"])
def test_a_picture_that_cannot_be_decoded_is_named_with_its_archive_and_member(tmp_path: Path, content: bytes) -> None:
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        archive.writestr("deep/a.png", content)
    image = Image("0/image_0", open_pictures(tmp_path).reader("deep/a.png", "image_0 of example 0"))
    with pytest.raises(UnreadableImage, match=r"image '0/image_0' \('deep/a\.png' in '.*images\.zip'\) "):
        image.decode()
