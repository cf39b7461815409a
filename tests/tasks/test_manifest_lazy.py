"""A manifest is read without decoding a picture, in memory that grows with its rows alone, each picture opened once."""

from __future__ import annotations

import sys
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest

from compbench import registry
from compbench.core.errors import UnreadableImage
from compbench.tasks.matching.manifest import inspect
from own_pictures import plain, write_csv

_OPENED: Counter[str] = Counter()
_IS_COUNTING = [False]


def _count(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and _IS_COUNTING[0] and str(arguments[0]).endswith(".png"):
        _OPENED[Path(str(arguments[0])).name] += 1


def _headers(folder: Path, n: int) -> Path:
    """Pictures of which nothing but the header is there: to decode one would fail."""
    header = plain(folder / "whole.png", (64, 64)).read_bytes()[:60]
    for number in range(n):
        (folder / f"{number}.png").write_bytes(header + number.to_bytes(4, "big"))
    rows = "".join(f"{number}.png,a cat {number},a dog {number},{number % 7}\n" for number in range(n))
    return write_csv(folder, f"image,caption,foil,kind\n{rows}")


pytestmark = pytest.mark.usefixtures("own_cache")


def test_each_picture_is_opened_once_to_be_known_once_for_its_digest_and_never_decoded(tmp_path: Path) -> None:
    folder = _headers(tmp_path / "s", 200)
    sys.addaudithook(_count)
    _OPENED.clear()
    _IS_COUNTING[0] = True
    try:
        assert inspect(folder).n_problems == 0
        once = Counter(_OPENED)
        task = registry.task(folder)
        twice = Counter(_OPENED)
        registry.task(folder)
    finally:
        _IS_COUNTING[0] = False
    assert set(once.values()) == {1}
    assert len(once) == 200
    assert set((twice - once).values()) == {2}  # the header, and the digest
    assert set((_OPENED - twice).values()) == {1}  # the digest is remembered
    with pytest.raises(UnreadableImage):
        task.examples[0].images[0].decode()


@pytest.mark.slow
def test_thirty_thousand_examples_take_bounded_memory(tmp_path: Path) -> None:
    folder = _headers(tmp_path / "s", 30_000)
    inspect(_headers(tmp_path / "few", 10))  # what is imported on the way is not counted
    tracemalloc.start()
    try:
        found = inspect(folder)
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (len(found.examples), found.n_problems) == (30_000, 0)
    assert held < 30_000 * 3_000
    assert peak < 30_000 * 4_000
