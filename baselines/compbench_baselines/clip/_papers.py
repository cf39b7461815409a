"""BibTeX of the weights that open_clip lists, by architecture and tag."""

from __future__ import annotations

__all__ = ["paper_of"]

_SIGLIP = """@inproceedings{zhai2023siglip,
  title     = {Sigmoid Loss for Language Image Pre-Training},
  author    = {Zhai, Xiaohua and Mustafa, Basil and Kolesnikov, Alexander and Beyer, Lucas},
  booktitle = {IEEE/CVF International Conference on Computer Vision},
  year      = {2023}
}
"""
_SIGLIP2 = """@article{tschannen2025siglip2,
  title   = {{SigLIP} 2: Multilingual Vision-Language Encoders with Improved Semantic Understanding, Localization, and
             Dense Features},
  author  = {Tschannen, Michael and Gritsenko, Alexey and Wang, Xiao and Naeem, Muhammad Ferjad and Alabdulmohsin,
             Ibrahim and Parthasarathy, Nikhil and Evans, Talfan and Beyer, Lucas and Xia, Ye and Mustafa, Basil and
             others},
  journal = {arXiv:2502.14786},
  year    = {2025}
}
"""
_MOBILECLIP2 = """@article{faghri2025mobileclip2,
  title   = {{MobileCLIP2}: Improving Multi-Modal Reinforced Training},
  author  = {Faghri, Fartash and others},
  journal = {arXiv:2508.20691},
  year    = {2025}
}
"""
_EVA = """@article{sun2023evaclip,
  title   = {{EVA-CLIP}: Improved Training Techniques for {CLIP} at Scale},
  author  = {Sun, Quan and Fang, Yuxin and Wu, Ledell and Wang, Xinlong and Cao, Yue},
  journal = {arXiv:2303.15389},
  year    = {2023}
}
"""
_METACLIP = """@inproceedings{xu2024metaclip,
  title     = {Demystifying {CLIP} Data},
  author    = {Xu, Hu and Xie, Saining and Tan, Xiaoqing Ellen and Huang, Po-Yao and Howes, Russell and Sharma, Vasu and
               Li, Shang-Wen and Ghosh, Gargi and Zettlemoyer, Luke and Feichtenhofer, Christoph},
  booktitle = {International Conference on Learning Representations},
  year      = {2024}
}
"""
_METACLIP2 = """@article{chuang2025metaclip2,
  title   = {Meta {CLIP} 2: A Worldwide Scaling Recipe},
  author  = {Chuang, Yung-Sung and others},
  journal = {arXiv:2507.22062},
  year    = {2025}
}
"""
_DFN = """@inproceedings{fang2024dfn,
  title     = {Data Filtering Networks},
  author    = {Fang, Alex and Madappally Jose, Albin and Jain, Amit and Schmidt, Ludwig and Toshev, Alexander and
               Shankar, Vaishaal},
  booktitle = {International Conference on Learning Representations},
  year      = {2024}
}
"""
_PAPERS = (  # the first whose word is in "architecture/tag"
    ("SigLIP2", _SIGLIP2),
    ("SigLIP", _SIGLIP),
    ("MobileCLIP2", _MOBILECLIP2),
    ("EVA0", _EVA),
    ("metaclip2", _METACLIP2),
    ("metaclip", _METACLIP),
    ("/dfn", _DFN),
)


def paper_of(architecture: str, tag: str) -> str:
    """The paper of the weights; empty where it is none of these.

    >>> paper_of("ViT-H-14", "dfn5b").partition(",")[0]
    '@inproceedings{fang2024dfn'
    """
    return next((paper for word, paper in _PAPERS if word in f"{architecture}/{tag}"), "")
