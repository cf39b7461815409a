"""A plugin that claims a name that another package has: it is never imported."""

raise ImportError("a name that two packages claim must be refused before either is imported")
