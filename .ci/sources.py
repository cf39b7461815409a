"""A digest of the files that something was made by: of Python without comments and docstrings, which decide nothing."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[1]


def digest_of(globs: Iterable[str], *, with_refusals: bool = True) -> str:
    """That of all files of the repository that one of `globs` matches."""
    return digest(code(path, with_refusals=with_refusals) for path in files(globs))


def files(globs: Iterable[str]) -> list[Path]:
    return sorted({path for glob in globs for path in ROOT.glob(glob) if path.is_file()})


def code(path: Path, *, with_refusals: bool = True) -> bytes:
    """Another file, such as a template, as it is. Without refusals it does not matter what is raised, or how worded."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        return text.encode()
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
        if isinstance(node, ast.Raise) and not with_refusals:
            node.exc = node.cause = None
    return ast.dump(tree).encode()


def digest(contents: Iterable[bytes]) -> str:
    hashed = hashlib.sha256()
    for content in contents:
        hashed.update(hashlib.sha256(content).digest())
    return hashed.hexdigest()[:16]
