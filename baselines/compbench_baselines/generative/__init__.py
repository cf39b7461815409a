"""What the paper trains on a generative model: SD features and synthetic images."""
