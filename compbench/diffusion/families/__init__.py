"""One file per family of diffusion models: its spec and its presets."""
