"""diffusers and transformers kept from printing while their parts are loaded and placed."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager

import diffusers
import transformers

__all__ = ["quiet"]


@contextmanager
def quiet() -> Generator[None]:
    """No progress bars and no advice from diffusers and transformers; errors still come."""
    loggers = [diffusers.utils.logging, transformers.utils.logging]
    levels = [logger.get_verbosity() for logger in loggers]
    with_bars = [logger for logger in loggers if logger.is_progress_bar_enabled()]
    for logger in loggers:
        logger.set_verbosity(logging.CRITICAL)
        logger.disable_progress_bar()
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.set_verbosity(level)
        for logger in with_bars:
            logger.enable_progress_bar()
