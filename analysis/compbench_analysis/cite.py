"""BibTeX for what a run stands on: its model, its data set, the method and the toolkit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compbench.store import Run

__all__ = ["citations", "to_bibtex"]

_DIFFUSION_CLASSIFIER = """@inproceedings{li2023diffusion,
  title = {Your Diffusion Model is Secretly a Zero-Shot Classifier},
  author = {Li, Alexander C. and Prabhudesai, Mihir and Duggal, Shivam and Brown, Ellis and Pathak, Deepak},
  booktitle = {Proceedings of the IEEE/CVF International Conference on Computer Vision (ICCV)},
  pages = {2206--2217},
  year = {2023},
  eprint = {2303.16203},
  archivePrefix = {arXiv}
}"""
_STABLE_DIFFUSION = """@inproceedings{rombach2022high,
  title = {High-Resolution Image Synthesis with Latent Diffusion Models},
  author = {Rombach, Robin and Blattmann, Andreas and Lorenz, Dominik and Esser, Patrick and Ommer, Bj{\\"o}rn},
  booktitle = {Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  pages = {10684--10695},
  year = {2022}
}"""
_CLIP = """@inproceedings{radford2021learning,
  title = {Learning Transferable Visual Models From Natural Language Supervision},
  author = {Radford, Alec and Kim, Jong Wook and Hallacy, Chris and Ramesh, Aditya and Goh, Gabriel and Agarwal,
    Sandhini and Sastry, Girish and Askell, Amanda and Mishkin, Pamela and Clark, Jack and Krueger, Gretchen and
    Sutskever, Ilya},
  booktitle = {Proceedings of the 38th International Conference on Machine Learning (ICML)},
  pages = {8748--8763},
  year = {2021}
}"""
_OPENCLIP_SCALING = """@inproceedings{cherti2023reproducible,
  title = {Reproducible Scaling Laws for Contrastive Language-Image Learning},
  author = {Cherti, Mehdi and Beaumont, Romain and Wightman, Ross and Wortsman, Mitchell and Ilharco, Gabriel and
    Gordon, Cade and Schuhmann, Christoph and Schmidt, Ludwig and Jitsev, Jenia},
  booktitle = {Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  pages = {2818--2829},
  year = {2023}
}"""
_OPENCLIP = """@software{ilharco2021openclip,
  title = {OpenCLIP},
  author = {Ilharco, Gabriel and Wortsman, Mitchell and Wightman, Ross and Gordon, Cade and Carlini, Nicholas and
    Taori, Rohan and Dave, Achal and Shankar, Vaishaal and Namkoong, Hongseok and Miller, John and Hajishirzi,
    Hannaneh and Farhadi, Ali and Schmidt, Ludwig},
  year = {2021},
  publisher = {Zenodo},
  doi = {10.5281/zenodo.5143773}
}"""
_WINOGROUND = """@inproceedings{thrush2022winoground,
  title = {Winoground: Probing Vision and Language Models for Visio-Linguistic Compositionality},
  author = {Thrush, Tristan and Jiang, Ryan and Bartolo, Max and Singh, Amanpreet and Williams, Adina and Kiela,
    Douwe and Ross, Candace},
  booktitle = {Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  pages = {5238--5248},
  year = {2022}
}"""
_BY_TASK = {"winoground": [_WINOGROUND]}
# the first fitting start of a model's name says what it is; a model may bring its own citation instead
_BY_MODEL = {
    "sd": [_STABLE_DIFFUSION],
    "clip-": [_CLIP],
    "openclip-": [_OPENCLIP_SCALING, _OPENCLIP],
    "open-clip:": [_OPENCLIP],
    "tiny-clip": [_CLIP, _OPENCLIP],
    "tiny-sd": [_STABLE_DIFFUSION],
}


def citations(run: Run) -> list[str]:
    """The BibTeX entries of a run: what its task and model bring themselves, else what is known here by name."""
    task = _own(run.info.get("task")) or _BY_TASK.get(run.key.task, [])
    model = _own(run.info.get("model")) or next(
        (entries for start, entries in _BY_MODEL.items() if run.key.model.startswith(start)), []
    )
    method = [_DIFFUSION_CLASSIFIER] if _measures_errors(run) else []
    return [*task, *model, *method, _compbench(str(run.info["compbench"]))]


def to_bibtex(runs: Iterable[Run]) -> str:
    """The entries of several runs, each once."""
    return "\n\n".join(dict.fromkeys(entry for run in runs for entry in citations(run)))


def _own(described: object) -> list[str]:
    citation = described.get("citation", "") if isinstance(described, dict) else ""  # pyright: ignore[reportUnknownVariableType]
    return [citation.strip()] if isinstance(citation, str) and citation.strip() else []


def _measures_errors(run: Run) -> bool:
    return bool(run.info.get("view"))


def _compbench(version: str) -> str:
    return f"""@software{{compbench,
  title = {{compbench: compositional image/text matching with diffusion models and CLIP}},
  author = {{{{The compbench authors}}}},
  version = {{{version}}}
}}"""
