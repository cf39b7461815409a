"""BibTeX for what runs stand on: what their tasks and models bring, the method, and the toolkit."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable
from itertools import pairwise
from typing import TYPE_CHECKING

from compbench.core.citations import DIFFUSION_CLASSIFIER
from compbench.core.rules import NORM

if TYPE_CHECKING:
    from compbench.store.run import Run

__all__ = ["citations", "to_bibtex"]

_DIFFUSION_ITM = """@inproceedings{krojer2023diffusion,
  title     = {Are Diffusion Models Vision-And-Language Reasoners?},
  author    = {Krojer, Benno and Poole-Dayan, Elinor and Voleti, Vikram and Pal, Christopher and Reddy, Siva},
  booktitle = {Advances in Neural Information Processing Systems},
  year      = {2023}
}"""
_ENTRY = re.compile(r"^@\w+\{\s*([^,\s]+)", re.MULTILINE)  # its key


def citations(run: Run) -> dict[str, str]:
    """The BibTeX entries of a run by key: of its task, its model, the method where errors were measured, compbench."""
    described = (run.info.task.citation, run.info.model.citation)
    method = DIFFUSION_CLASSIFIER if run.info.has_rule else ""
    has_its_rule = run.rule.loss == NORM or run.rule.unconditional
    found: dict[str, str] = {}
    for text in (*described, method, _DIFFUSION_ITM if has_its_rule else "", _compbench(run.info.compbench)):
        for key, entry in _entries(text).items():
            found.setdefault(key, entry)
    return found


def to_bibtex(runs: Iterable[Run]) -> str:
    """The entries of several runs, each once."""
    found = {key: entry for run in runs for key, entry in citations(run).items()}
    return "\n\n".join("\n".join(map(_folded, entry.splitlines())) for entry in found.values())


def _folded(line: str) -> str:
    """The line in as many as a narrow screen needs; BibTeX reads a break within a value as a space."""
    return textwrap.fill(
        line, 80, subsequent_indent=" " * 15, break_long_words=False, break_on_hyphens=False, drop_whitespace=True
    )


def _entries(text: str) -> dict[str, str]:
    starts = [*(match.start() for match in _ENTRY.finditer(text)), len(text)]
    entries = [text[start:end].strip() for start, end in pairwise(starts)]
    return {match[1]: entry for entry in entries if (match := _ENTRY.match(entry))}


def _compbench(version: str) -> str:
    return f"""@software{{compbench,
  title   = {{compbench: compositional image/text matching with diffusion models and CLIP}},
  author  = {{{{The compbench authors}}}},
  version = {{{version}}}
}}"""
