"""The papers of the method, to cite for any score made of a diffusion model's errors, and of latent diffusion."""

from __future__ import annotations

__all__ = ["DIFFUSION_CLASSIFIER", "LATENT_DIFFUSION"]

DIFFUSION_CLASSIFIER = """@inproceedings{li2023diffusion,
  title         = {Your Diffusion Model is Secretly a Zero-Shot Classifier},
  author        = {Li, Alexander C. and Prabhudesai, Mihir and Duggal, Shivam and Brown, Ellis and Pathak, Deepak},
  booktitle     = {Proceedings of the IEEE/CVF International Conference on Computer Vision},
  year          = {2023},
  eprint        = {2303.16203},
  archiveprefix = {arXiv}
}"""

LATENT_DIFFUSION = """@inproceedings{rombach2022high,
  title     = {High-Resolution Image Synthesis with Latent Diffusion Models},
  author    = {Rombach, Robin and Blattmann, Andreas and Lorenz, Dominik and Esser, Patrick and Ommer, Bj{\\"o}rn},
  booktitle = {Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  year      = {2022}
}"""
