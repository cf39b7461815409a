"""The provenance of a measurement: versions, device, host, git commit. Stored with every part of a run."""

from __future__ import annotations

import os
import platform
import socket
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path

from compbench.core.aliases import Json

__all__ = ["device_name", "git_commit", "here", "now", "version"]

# import name -> distribution
_LIBRARIES = {
    "torch": "torch",
    "diffusers": "diffusers",
    "transformers": "transformers",
    "open_clip": "open_clip_torch",
    "numpy": "numpy",
    "PIL": "pillow",
    "pyarrow": "pyarrow",
}


def here(device: str | None) -> dict[str, Json]:
    """This process, now: only libraries that it has imported are named, none is imported for it."""
    versions = {name: metadata.version(dist) for name, dist in _LIBRARIES.items() if name in sys.modules}
    return {
        "time": now(),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "device": device_name(device),
        "compbench": version(),
        "git": git_commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": versions,
    }


def now() -> str:
    """ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def version() -> str:
    """compbench's own."""
    return metadata.version("compbench")


def device_name(device: str | None) -> str | None:
    """`device` with the card's name where it is a CUDA device, e.g. "cuda:0 NVIDIA H100"."""
    torch = sys.modules.get("torch")
    if device is None or torch is None or not device.startswith("cuda"):
        return device
    return f"{device} {torch.cuda.get_device_name(device)}"


@cache
def git_commit() -> str | None:
    """The commit of the checkout that compbench runs from, "-dirty" when files differ; None when it is installed."""
    checkout = Path(__file__).resolve().parents[2]
    if not (checkout / ".git").exists():
        return None
    described = _git(checkout, "rev-parse", "HEAD")
    if described is None:
        return None
    is_dirty = bool(_git(checkout, "status", "--porcelain", "--untracked-files=no"))
    return described + ("-dirty" if is_dirty else "")


def _git(checkout: Path, *words: str) -> str | None:
    # no optional locks: looking at a checkout must not disturb someone who works in it
    command = ["git", "--no-optional-locks", "-C", str(checkout), *words]
    try:
        done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
