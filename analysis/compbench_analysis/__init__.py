"""Reads stored runs: tables with intervals, signatures, citations and plots. Never imports torch."""
