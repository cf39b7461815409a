"""The facts that are stored of a named model, to find its runs without a hub, against its configuration."""

from __future__ import annotations

from collections.abc import Mapping

from compbench.core.errors import DataError

__all__ = ["check_facts"]


def check_facts(name: str, where: str, stored: Mapping[str, object], found: Mapping[str, object]) -> None:
    """DataError where the configuration of the weights disagrees with what a run's identity was made of.

    >>> check_facts("sdxl", "org/sdxl", {"size_px": 1024}, {"size_px": 1024, "predicts": "eps"})
    """
    if wrong := [key for key in stored if stored[key] != found.get(key)]:
        told = ", ".join(f"{key} {found.get(key)!r} for {stored[key]!r}" for key in wrong)
        raise DataError(
            f"model {name!r}: the configuration in {where!r} says {told}; it is not the model that the name "
            f"stands for: --model diffusion:{where} measures what is there"
        )
