"""The tasks: image/text matching and classification, each with its own reader."""

__all__: list[str] = []
