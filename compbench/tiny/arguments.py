"""The command line of the recipes."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

__all__ = ["arguments_of"]


def arguments_of(about: str | None, what_goes: str) -> argparse.ArgumentParser:
    """The arguments of every recipe; `what_goes` into --output, such as "tiny-dit/ goes"."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--work", type=Path, default=Path("tiny-training"), help="checkpoints; kept between calls")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, help=f"where {what_goes}")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    return parser
