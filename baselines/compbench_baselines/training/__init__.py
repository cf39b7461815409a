"""Training of the baselines: fitting, caching, and keeping test images out."""
