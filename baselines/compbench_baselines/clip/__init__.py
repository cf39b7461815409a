"""CLIP and OpenCLIP models by open_clip."""
