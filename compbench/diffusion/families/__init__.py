"""Families of diffusion models, a file for each: its spec and its presets."""
