"""Stored runs as one self-contained HTML page; see page.py."""

from compbench_analysis.report.page import Look, render, write

__all__ = ["Look", "render", "write"]
