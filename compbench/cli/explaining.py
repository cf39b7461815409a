"""The command that maps where a decision was made: explain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from compbench.cli import completing, flags, streams
from compbench.cli._references import one
from compbench.cli.numbers import at_least
from compbench.core.printable import say

__all__ = ["explain"]


@click.command(short_help="Map where in the image a model decides.")
@click.argument("reference", metavar="RUN", shell_complete=completing.runs)
@click.argument("example_id", metavar="EXAMPLE")
@click.option("--image", type=at_least(0), help="Explain only this image, numbered from 0.")
@click.option(
    "--captions",
    type=(at_least(0), at_least(0)),
    metavar="A B",
    help="Two captions, numbered from 0; default: the true one and the best-scoring false one.",
)
@click.option(
    "--draws", type=at_least(1), help="Number of draws of the bank; default: as many as the run is scored on."
)
@flags.runs
@flags.data
@flags.images
@flags.image_limits
@flags.device
@flags.offline
def explain(reference: str, example_id: str, runs: Path | None, **asked: Any) -> None:
    """Map where in the image a model's error, or its likelihood, tells two captions apart; report shows the map.

    \b
    compbench explain shapes/tiny-sd object-001
    """
    from compbench.runs.explain import explain as explain_example

    made = explain_example(one(reference, runs), example_id, say=say, **asked)
    streams.write(str(made.path))
