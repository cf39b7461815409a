"""The small models that ship with the package, and how they were trained."""

__all__: list[str] = []
