"""Openly licensed drawings of things, and the canvases that are composed of them."""

__all__: list[str] = []
