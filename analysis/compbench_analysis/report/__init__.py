"""Stored runs as one self-contained HTML page, as a site of them, or in a notebook; see page.py and site.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compbench.core.faces import lazily

if TYPE_CHECKING:
    from compbench_analysis.report.notebook import shown
    from compbench_analysis.report.page import Look, render, write
    from compbench_analysis.report.site import write_site

__all__ = ["Look", "render", "shown", "write", "write_site"]

__getattr__ = lazily(
    __name__,
    {
        ".notebook": ["shown"],
        ".page": ["Look", "render", "write"],
        ".site": ["write_site"],
    },
)
