"""Tidy tables from stored runs: scores, outcomes, curves, margins, comparisons."""
