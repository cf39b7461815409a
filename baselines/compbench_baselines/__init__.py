"""The baselines a diffusion model must beat: CLIPs, image classifiers, models trained on generated images, chance."""
