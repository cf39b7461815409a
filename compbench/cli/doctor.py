"""What works on this machine, and what to do about what does not. Nothing secret is read or shown."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from importlib.resources import files
from pathlib import Path
from typing import Literal

__all__ = ["Check", "examine"]

_PACKAGES = ("torch", "torchvision", "diffusers", "transformers", "open_clip_torch", "datasets", "huggingface_hub")
_LEAST_FREE_BYTES = 10e9  # Stable Diffusion 2 in float32 is 5 GB, and a run of it 0.1 GB
_GATED = "facebook/winoground"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at; `advice` says what to do unless it is ok."""

    name: str
    state: Literal["ok", "note", "problem"]  # a note costs comfort, a problem stops the main job
    found: str
    advice: str = ""


def examine(runs: Path, *, is_online: bool = False) -> Iterator[Check]:
    """Every check, one after the other; the network is asked only when `is_online`."""
    yield _python()
    yield from map(_package, _PACKAGES)
    yield from _hardware()
    yield from map(_tiny, ("tiny-sd", "tiny-clip"))
    yield from _plugins()
    yield _token()
    yield _gated(is_online)
    yield _space("hub cache", _hub_cache())
    yield _space("runs", runs)


def _python() -> Check:
    return Check("python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")


def _package(name: str) -> Check:
    try:
        return Check(name, "ok", metadata.version(name))
    except metadata.PackageNotFoundError:
        return Check(name, "problem", "not installed", f"pip install {name}")


def _hardware() -> Iterator[Check]:
    try:
        import torch
    except (ImportError, OSError) as error:
        yield Check("device", "problem", f"torch cannot be imported: {error}", "reinstall torch: see pytorch.org")
        return
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            card = torch.cuda.get_device_properties(number)
            yield Check(f"cuda:{number}", "ok", f"{card.name}, {card.total_memory / 2**30:.0f} GiB")
            yield from _halves(f"cuda:{number}")
    elif torch.backends.mps.is_available():
        yield Check("device", "ok", "Apple GPU (mps)")
        yield from _halves("mps")
    else:
        n_threads = torch.get_num_threads()
        threads = "1 CPU thread" if n_threads == 1 else f"{n_threads} CPU threads"
        found = f"no GPU that torch {torch.__version__} can use; {threads}"
        advice = (
            "tiny-sd, tiny-clip and CLIP run well; for sd2 use a machine with a GPU, or install a CUDA build of torch"
        )
        yield Check("device", "note", found, advice)
        yield from _halves("cpu")


def _halves(device: str) -> Iterator[Check]:
    """One check per half-precision dtype: computed by the device itself or emulated; a CPU is measured."""
    from compbench.diffusion import emulation

    for dtype in ("bfloat16", "float16"):
        name = f"{dtype} on {device}"
        if reason := emulation.why_slow(dtype, device):
            yield Check(name, "note", reason, "dtype=auto is float32 there; --dtype and --device together insist")
        elif device.startswith("cuda"):
            yield Check(name, "ok", "computed by the GPU itself")
        else:
            own, reference = (emulation.gflops(each, device) for each in (dtype, "float32"))
            yield Check(name, "ok", f"{own:.3g} GFLOP/s (float32: {reference:.3g})")


def _tiny(name: str) -> Check:
    folder = files("compbench") / "tiny" / name
    if folder.is_dir() and any(each.name for each in folder.iterdir()):
        return Check(name, "ok", "ships with this installation")
    return Check(name, "note", "weights are not in this installation", "python -m compbench.tiny.train makes them")


def _plugins() -> Iterator[Check]:
    """Only what does not work: a package that cannot be loaded, or two that claim one name."""
    from compbench import registry

    for entry in [*registry.tasks(is_checked=True), *registry.models(is_checked=True)]:
        if entry.error:
            is_own = entry.package.startswith("compbench ")
            yield Check(f"{entry.kind} {entry.name}", "problem" if is_own else "note", "does not work", entry.error)


def _token() -> Check:
    from huggingface_hub import get_token

    if get_token():
        return Check("hub token", "ok", "present")
    advice = "for winoground: hf auth login, or set HF_TOKEN, or give --data PATH; shapes needs none"
    return Check("hub token", "note", "none found", advice)


def _gated(is_online: bool) -> Check:
    name = f"access to {_GATED}"
    if not is_online:
        return Check(name, "note", "not asked", "give --online to ask the hub")
    from huggingface_hub import auth_check

    from compbench.registry import hub

    try:
        auth_check(_GATED, repo_type="dataset")
    except Exception as error:  # of any kind: to say what it means is the whole purpose
        return Check(name, "note", "no", str(hub.explain(error, _GATED, "dataset")))
    return Check(name, "ok", "yes")


def _hub_cache() -> Path:
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE)


def _space(name: str, folder: Path) -> Check:
    """Whether the folder, or the nearest that exists above it, can be written and has room."""
    there = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
    if not os.access(there, os.W_OK):
        advice = "give --runs DIR" if name == "runs" else "set HF_HOME to a folder of your own"
        return Check(name, "problem", f"{folder} cannot be written", advice)
    free = shutil.disk_usage(there).free
    found = f"{folder}, {free / 1e9:.0f} GB free"
    if free >= _LEAST_FREE_BYTES:
        return Check(name, "ok", found)
    advice = "free some space" + ("; or give --runs DIR" if name == "runs" else ", or set HF_HOME to a larger disk")
    return Check(name, "note", found, advice)
