"""How the trained baselines are trained, cached and kept apart from test images."""
