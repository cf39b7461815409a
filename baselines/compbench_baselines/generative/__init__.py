"""The paper's baselines trained on a generative model: SD features and synthetic images."""
