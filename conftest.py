"""The examples in docstrings run in a folder of their own, so that what they store lies in no checkout."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from compbench.registry import plugins


@pytest.fixture(autouse=True)
def _own_folder_for_an_example(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    known = plugins._registered  # pyright: ignore[reportPrivateUsage]
    before = set(known)
    if isinstance(request.node, pytest.DoctestItem):
        folder: Path = tmp_path_factory.mktemp("example")
        monkeypatch.chdir(folder)
        monkeypatch.delenv("COMPBENCH_RUNS", raising=False)
    yield
    for new in known.keys() - before:
        del known[new]
