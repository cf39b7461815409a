"""Commands and lines of Python in a process of their own that does not find certain packages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
_DECLARED = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
_MODULES = {"open_clip_torch": "open_clip", "pillow": "PIL", "scikit-learn": "sklearn"}
# what hides a package from `import` and from find_spec, as if it had never been installed
_CODE = """
import contextlib, importlib.machinery, io, json, sys, traceback
hidden, commands, lines = json.loads(sys.argv[1])
find = importlib.machinery.PathFinder.find_spec
def without(name, path=None, target=None):
    return None if name.partition(".")[0] in hidden else find(name, path, target)
importlib.machinery.PathFinder.find_spec = staticmethod(without)
told = []
for command in commands:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            from compbench.cli import main
            code = main(command)
        except BaseException:
            code = traceback.format_exc()
    told.append((code, out.getvalue(), err.getvalue()))
for line in lines:
    try:
        with contextlib.redirect_stdout(sys.stderr):
            exec(line)
        told.append((0, "", ""))
    except BaseException as error:
        told.append((type(error).__name__, "", str(error)))
print(json.dumps(told))
"""


class Told(NamedTuple):
    """What a command returned and printed; of a line of Python 0, or the kind of its error and what that says."""

    code: int | str
    out: str
    err: str


def declared() -> dict[str, str]:
    """The module of each package that pyproject.toml declares, by its requirement."""
    return {requirement: _module(requirement) for requirement in _DECLARED}


def for_reading() -> list[str]:
    """The requirements of `reading.txt`."""
    lines = (ROOT / "compbench" / "reading.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def without(
    hidden: Sequence[str],
    folder: Path,
    commands: Sequence[Sequence[str]] = (),
    lines: Sequence[str] = (),
) -> list[Told]:
    """Each command, then each line of Python, in `folder` and in a process that does not find the modules."""
    arguments: list[Any] = [list(hidden), [list(command) for command in commands], list(lines)]
    done = subprocess.run(
        [sys.executable, "-c", _CODE, json.dumps(arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr
    return [Told(*told) for told in json.loads(done.stdout.splitlines()[-1])]


def _module(requirement: str) -> str:
    name = requirement.partition(">")[0]
    return _MODULES.get(name, name)
