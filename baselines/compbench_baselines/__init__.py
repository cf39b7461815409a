"""What a diffusion model must beat: CLIPs, classifiers of images, models trained on generated images, chance."""
