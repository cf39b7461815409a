"""Checks of this machine, with advice for each that fails. Nothing secret is read or shown.

Whatever is missing or broken, the other checks are still made: each is looked at by itself.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from importlib.resources import files
from pathlib import Path
from typing import Literal

from compbench.core import packages

__all__ = ["Check", "examine"]

# what is told one by one; the others are only told where something is wrong with them
_PACKAGES = ("torch", "torchvision", "diffusers", "transformers", "open_clip_torch", "datasets", "huggingface_hub")
_LEAST_FREE_BYTES = 10e9  # Stable Diffusion 2 in float32 is 5 GB, and a run of it 0.1 GB
_MOST_NAMED = 5  # plugins that do not work
_RECIPES = {  # the others have train
    "tiny-dit": "train_dit",
    "emoji-sd": "train_emoji",
    "emoji-flow": "train_flow",
    "emoji-clip": "train_emoji",
}


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check; `advice` says what to do unless it is ok."""

    name: str
    state: Literal["ok", "note", "problem"]  # a note costs comfort, a problem stops the main job
    found: str
    advice: str = ""


def examine(runs: Path, *, is_online: bool = False) -> Iterator[Check]:
    """Every check, one after the other; the network is asked only when `is_online`."""
    looks: dict[str, Callable[[], Iterable[Check]]] = {
        "python": _python,
        "abilities": _abilities,
        "packages": _packages,
        "device": _hardware,
        "tiny models": lambda: map(_tiny, ("tiny-sd", "tiny-clip", "tiny-dit", "emoji-sd", "emoji-flow", "emoji-clip")),
        "plugins": _plugins,
        "hub token": _token,
        "gates": partial(_gates, is_online),
        "hub cache": lambda: [_space("hub cache", _hub_cache())],
        "cache": lambda: [_space("cache", _cache())],
        "runs": lambda: [_space("runs", runs)],
    }
    for name, look in looks.items():
        try:
            yield from look()
        except Exception as error:  # of any kind: the other checks matter the more
            why = packages.why(error) or f"{type(error).__name__}: {error}"
            yield Check(name, "problem", f"cannot be checked: {why}")


def _python() -> Iterator[Check]:
    yield Check("python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")


def _abilities() -> Iterator[Check]:
    """Whether runs can be read and models measured with the packages that are here."""
    if unread := packages.missing_for_reading():
        yield Check("reading runs", "problem", f"needs {_named(unread)}", packages.install(unread))
    else:
        yield Check("reading runs", "ok", "show, compare, curves, report, site, results and export work")
    missing = packages.missing()
    if not missing:
        yield Check("measuring", "ok", "no package is missing")
    elif packages.is_for_reading():
        found = f"not with this installation, which is for reading runs; needs {_named(missing)}"
        yield Check("measuring", "note", found, packages.install(missing))
    else:
        found = f"not everything works without {_named(missing)}"
        yield Check("measuring", "problem", found, packages.install(missing))


def _named(missing: Iterable[packages.Package]) -> str:
    return ", ".join(package.name for package in missing)


def _packages() -> Iterator[Check]:
    """Each package that is declared against its range; one that is missing is told as what cannot be done."""
    checks = [_package(package) for package in packages.declared() if not package.is_missing]
    told = [check for check in checks if check.name.replace("-", "_") in _PACKAGES or check.state != "ok"]
    yield from sorted(told, key=lambda check: check.state == "ok")
    if n_others := len(checks) - len(told):
        yield Check("other packages", "ok", f"{n_others}, each within its range")


def _package(package: packages.Package) -> Check:
    from packaging.specifiers import SpecifierSet

    try:
        version = metadata.version(package.name)
    except metadata.PackageNotFoundError:  # a module that can be imported and says nothing of itself
        return Check(package.name, "problem", f"not installed; expected {package.wanted}", packages.install([package]))
    if not SpecifierSet(package.wanted).contains(version, prereleases=True):
        found = f"{version}; expected {package.wanted}"
        return Check(package.name, "problem", found, packages.install([package]))
    return Check(package.name, "ok", f"{version} ({package.wanted})")


def _hardware() -> Iterator[Check]:
    try:
        import torch
    except (ImportError, OSError) as error:
        if packages.is_for_reading():
            yield Check("device", "note", "not looked at: torch is not installed")
            return
        advice = "reinstall torch: see pytorch.org; stored runs can be read without it"
        yield Check("device", "problem", f"torch cannot be imported: {error}", advice)
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
    """A check for each half-precision dtype: computed by the device itself or emulated; then which is fast."""
    from compbench.diffusion import emulation

    fast = ["float32"]
    for dtype in ("bfloat16", "float16"):
        name = f"{dtype} on {device}"
        if reason := emulation.why_slow(dtype, device):
            yield Check(
                name, "note", reason, "dtype=auto becomes float32 there; give both --dtype and --device to insist"
            )
            continue
        fast.insert(0, dtype)
        if device.startswith("cuda"):
            yield Check(name, "ok", "computed by the GPU itself")
        else:
            own, reference = (emulation.gflops(precision, device) for precision in (dtype, "float32"))
            yield Check(name, "ok", f"{own:.3g} GFLOP/s (float32: {reference:.3g})")
    yield Check(f"fast on {device}", "ok", ", ".join(fast))


def _tiny(name: str) -> Check:
    folder = files("compbench") / "tiny" / name
    if folder.is_dir() and any(path.name for path in folder.iterdir()):
        return Check(name, "ok", "ships with this installation")
    return Check(
        name,
        "note",
        "the weights are not installed",
        f"python -m compbench.tiny.{_RECIPES.get(name, 'train')} makes them",
    )


def _plugins() -> Iterator[Check]:
    """The number of plugins, and those that do not work: packages that cannot be loaded, or two with one name."""
    from compbench.registry import plugins

    entries = plugins.checked(plugins.entries("task", "model", "scheme", "folder task", "model object"))
    wrong = [entry for entry in entries if entry.error]
    for entry in wrong[:_MOST_NAMED]:
        is_own = entry.package.startswith("compbench ")
        yield Check(f"{entry.kind} {entry.name}", "problem" if is_own else "note", "does not work", entry.error or "")
    if len(wrong) > _MOST_NAMED:
        yield Check("plugins", "problem", f"{len(wrong)} of {len(entries)} do not work", "compbench list --check")
    packages = sorted({entry.package for entry in entries})
    yield Check("plugins", "ok", f"{len(entries) - len(wrong)} names of {', '.join(packages)}")


def _token() -> Iterator[Check]:
    try:
        from huggingface_hub import get_token
    except ImportError as error:
        yield Check("hub token", "note", f"nothing is fetched: {packages.why(error) or error}")
        return
    if get_token():
        yield Check("hub token", "ok", "present")
    else:
        advice = "for winoground: hf auth login, or set HF_TOKEN, or give --data PATH; shapes needs none"
        yield Check("hub token", "note", "none found", advice)
    if os.environ.get("HF_HUB_OFFLINE"):
        yield Check("hub", "note", "HF_HUB_OFFLINE is set: nothing is fetched")


def _gates(is_online: bool) -> Iterator[Check]:
    """Whether this user may read what is gated."""
    from compbench.registry import facts, plugins

    tasks = facts.of_tasks(plugins.entries("task")).values()
    models = facts.of_models(plugins.entries("model")).values()
    gated = {(task.repo, "dataset"): None for task in tasks if task.gated == "yes"}
    gated |= {(model.repo, "model"): None for model in models if model.gated == "yes"}
    if not is_online:
        yield Check("gated repositories", "note", f"{len(gated)}, not asked", "give --online to ask the hub")
        return
    for repo, kind in gated:
        yield _gate(repo, kind)


def _gate(repo: str, kind: str) -> Check:
    from huggingface_hub import auth_check

    from compbench.registry import hub

    name = f"access to {repo}"
    try:
        auth_check(repo, repo_type=kind)
    except Exception as error:  # of any kind: to say what it means is the whole purpose
        return Check(name, "note", "no", str(hub.explain(error, repo, "dataset" if kind == "dataset" else "model")))
    return Check(name, "ok", "yes")


def _hub_cache() -> Path:
    from compbench.registry import facts

    return facts.hub_cache()


def _cache() -> Path:
    from compbench.core.remembered import cache_folder

    return Path(cache_folder())


def _space(name: str, folder: Path) -> Check:
    """Whether the folder, or the nearest that exists above it, can be written and has room."""
    there = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    instead = {"runs": "give --runs DIR", "cache": "set XDG_CACHE_HOME to a folder of your own"}.get(
        name, "set HF_HOME to a folder of your own"
    )
    if not os.access(there, os.W_OK):
        return Check(name, "problem", f"{folder} cannot be written", instead)
    free = shutil.disk_usage(there).free
    found = f"{folder}, {free / 1e9:.0f} GB free"
    if free >= _LEAST_FREE_BYTES:
        return Check(name, "ok", found)
    return Check(name, "note", found, f"free some space, or {instead}")
