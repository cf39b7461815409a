"""Image/text matching in the manner of Winoground."""
