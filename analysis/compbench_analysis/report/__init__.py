"""Stored runs as one self-contained HTML page, or as a site of them; see page.py and site.py."""

from compbench_analysis.report.page import Look, render, write
from compbench_analysis.report.site import write_site

__all__ = ["Look", "render", "write", "write_site"]
