"""Fixtures shared by the tests: untrained tiny models in the hub's own layouts, a report that takes a while."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pages import Written

# processes that share the tests (pytest -n 2) share the cores as well: a thread each, set before torch is imported
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# printed tables fit the terminal: not the one that the tests happen to be started in
os.environ["COLUMNS"] = "200"

# thousands of small files, each of which waits for the disk: in memory where there is room, unless TMPDIR says where
MEMORY = Path("/dev/shm")
if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > 4e9 and "TMPDIR" not in os.environ:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))

# a shell starts what runs in the background with SIGINT ignored, and the processes that tests start would inherit that
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, None, None]:
    """Imports leave millions of objects that stay: the garbage collector need not walk them, now or after."""
    gc.disable()
    yield
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def _imports_are_not_walked() -> Iterator[None]:
    """The same for what a test imports: diffusers and transformers load their modules when they are first used."""
    n_before = len(sys.modules)
    yield
    if len(sys.modules) > n_before + 20:
        gc.collect()
        gc.freeze()


@pytest.fixture(autouse=True)
def _offline_for_one_test_alone() -> Iterator[None]:
    """Takes back what --offline sets in the environment of the process, also where the hub's library has read it."""
    before = os.environ.get("HF_HUB_OFFLINE")
    yield
    if (hub := sys.modules.get("huggingface_hub.constants")) is not None:  # read once, by whichever test came first
        vars(hub)["HF_HUB_OFFLINE"] = (before or "").upper() in ("1", "ON", "YES", "TRUE")
    if before is None:
        os.environ.pop("HF_HUB_OFFLINE", None)
    else:
        os.environ["HF_HUB_OFFLINE"] = before


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that another test made compbench remember."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def own_registry() -> Iterator[None]:
    """No registration outlives the test."""
    from compbench.registry import plugins

    before = dict(plugins._registered)
    yield
    plugins._registered.clear()
    plugins._registered.update(before)


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a later family's tiny pipeline, made once; a test that changes it takes a copy."""
    root = tmp_path_factory.mktemp("families")

    def folder(family: str) -> Path:
        import tiny_pipelines

        place = root / family
        return place if place.exists() else tiny_pipelines.MADE[family](place)

    return folder


@pytest.fixture(scope="session")
def tiny_pipeline_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained v-prediction pipeline in the diffusers layout, tiny-sd's own architecture."""
    return _save_pipeline(tmp_path_factory.mktemp("pipeline") / "v", "v_prediction")


@pytest.fixture(scope="session")
def tiny_eps_pipeline_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with an epsilon scheduler."""
    return _save_pipeline(tmp_path_factory.mktemp("pipeline") / "eps", "epsilon")


@pytest.fixture(scope="session")
def small_sd_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smallest Stable Diffusion, untrained, where it does not matter what the network says."""
    import small_sd

    return small_sd.save(tmp_path_factory.mktemp("small") / "sd")


@pytest.fixture(scope="session")
def tiny_clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained open_clip model of tiny-clip's own architecture in open_clip's folder layout."""
    import torch

    from compbench.tiny import export
    from compbench.tiny.tokenizer import make_tokenizer

    folder = tmp_path_factory.mktemp("clip") / "tiny"
    tokenizer = make_tokenizer()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        export.save_clip(folder, export.new_clip(tokenizer), tokenizer)
    return folder


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder]
    subprocess.run([*command, Path(__file__).parents[1]], check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def page_of_400(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """The report of two runs on 400 examples of photographs."""
    import pages

    return pages.of_400(tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="session")
def page_of_eight(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """The report of eight runs on 60 examples."""
    import pages

    return pages.of_eight(tmp_path_factory.mktemp("eight"))


def _save_pipeline(folder: Path, prediction_type: str) -> Path:
    import torch
    from diffusers import DDIMScheduler

    from compbench.tiny import export, train
    from compbench.tiny.tokenizer import make_tokenizer

    tokenizer = make_tokenizer()
    scheduler = DDIMScheduler.from_config(train.new_scheduler().config, prediction_type=prediction_type)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        parts = train.new_vae(), train.new_unet(), train.new_text_encoder(tokenizer)
    export.save_sd(folder, *parts, tokenizer, scheduler)
    return folder
