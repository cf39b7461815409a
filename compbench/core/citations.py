"""The paper to cite for any score that is made of a diffusion model's errors, whatever the model."""

from __future__ import annotations

__all__ = ["DIFFUSION_CLASSIFIER"]

DIFFUSION_CLASSIFIER = """@inproceedings{li2023diffusion,
  title         = {Your Diffusion Model is Secretly a Zero-Shot Classifier},
  author        = {Li, Alexander C. and Prabhudesai, Mihir and Duggal, Shivam and Brown, Ellis and Pathak, Deepak},
  booktitle     = {Proceedings of the IEEE/CVF International Conference on Computer Vision},
  year          = {2023},
  eprint        = {2303.16203},
  archiveprefix = {arXiv}
}"""
