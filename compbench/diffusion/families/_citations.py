"""BibTeX of the models."""

from __future__ import annotations

__all__ = ["DIT", "FLUX", "LATENT_DIFFUSION", "PIXART_ALPHA", "PIXART_SIGMA", "SANA", "SD3", "SDXL"]

LATENT_DIFFUSION = """@inproceedings{rombach2022high,
  title     = {High-Resolution Image Synthesis with Latent Diffusion Models},
  author    = {Rombach, Robin and Blattmann, Andreas and Lorenz, Dominik and Esser, Patrick and Ommer, Bj{\\"o}rn},
  booktitle = {Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  year      = {2022}
}"""
SDXL = """@inproceedings{podell2024sdxl,
  title     = {SDXL: Improving Latent Diffusion Models for High-Resolution Image Synthesis},
  author    = {Podell, Dustin and English, Zion and Lacey, Kyle and Blattmann, Andreas and Dockhorn, Tim and
               M{\\"u}ller, Jonas and Penna, Joe and Rombach, Robin},
  booktitle = {International Conference on Learning Representations},
  year      = {2024}
}"""
PIXART_ALPHA = """@inproceedings{chen2024pixart,
  title     = {PixArt-$\\alpha$: Fast Training of Diffusion Transformer for Photorealistic Text-to-Image Synthesis},
  author    = {Chen, Junsong and Yu, Jincheng and Ge, Chongjian and Yao, Lewei and Xie, Enze and Wu, Yue and
               Wang, Zhongdao and Kwok, James and Luo, Ping and Lu, Huchuan and Li, Zhenguo},
  booktitle = {International Conference on Learning Representations},
  year      = {2024}
}"""
PIXART_SIGMA = """@inproceedings{chen2024pixartsigma,
  title     = {PixArt-$\\Sigma$: Weak-to-Strong Training of Diffusion Transformer for 4K Text-to-Image Generation},
  author    = {Chen, Junsong and Ge, Chongjian and Xie, Enze and Wu, Yue and Yao, Lewei and Ren, Xiaozhe and
               Wang, Zhongdao and Luo, Ping and Lu, Huchuan and Li, Zhenguo},
  booktitle = {European Conference on Computer Vision},
  year      = {2024}
}"""
SD3 = """@inproceedings{esser2024scaling,
  title     = {Scaling Rectified Flow Transformers for High-Resolution Image Synthesis},
  author    = {Esser, Patrick and Kulal, Sumith and Blattmann, Andreas and Entezari, Rahim and M{\\"u}ller, Jonas and
               Saini, Harry and Levi, Yam and Lorenz, Dominik and Sauer, Axel and Boesel, Frederic and others},
  booktitle = {International Conference on Machine Learning},
  year      = {2024}
}"""
DIT = """@inproceedings{peebles2023scalable,
  title     = {Scalable Diffusion Models with Transformers},
  author    = {Peebles, William and Xie, Saining},
  booktitle = {Proceedings of the IEEE/CVF International Conference on Computer Vision},
  year      = {2023}
}"""
SANA = """@inproceedings{xie2025sana,
  title     = {{SANA}: Efficient High-Resolution Image Synthesis with Linear Diffusion Transformers},
  author    = {Xie, Enze and Chen, Junsong and Chen, Junyu and Cai, Han and Tang, Haotian and Lin, Yujun and
               Zhang, Zhekai and Li, Muyang and Zhu, Ligeng and Lu, Yao and Han, Song},
  booktitle = {International Conference on Learning Representations},
  year      = {2025}
}"""
FLUX = """@misc{blackforestlabs2024flux,
  title        = {{FLUX}.1},
  author       = {{Black Forest Labs}},
  year         = {2024},
  howpublished = {\\url{https://github.com/black-forest-labs/flux}}
}"""
