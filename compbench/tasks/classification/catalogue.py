"""Zero-shot and class-conditional classification: the data sets of "Your Diffusion Model is Secretly a Zero-Shot
Classifier" (Li et al., ICCV 2023), and a folder of your own.

Each is read in three ways, see _data_sets.py. The prompts are the published ones (prompts/README.md says where from);
`--prompts FILE` takes others, several to a class if there are. For a model that knows ImageNet's labels instead of
words, every class of imagenet, imagenet-v2 and imagenet-a has one label; ObjectNet's 113 classes have 125, so that such
a model is asked for the 125 and the best label of a class speaks for it (Task.labelled).
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from compbench.core import disk
from compbench.core.errors import UsageError
from compbench.core.examples import Task
from compbench.tasks._reading.hub_images import HubData
from compbench.tasks.classification import _arrays, _imagenets, _listed_images
from compbench.tasks.classification._data_sets import DataSet, PromptFiles, load, load_folder
from compbench.tasks.classification._prompt_files import labels, wnids

__all__ = [
    "cifar10",
    "fgvc_aircraft",
    "flower_aliases",
    "flowers102",
    "food101",
    "imagefolder",
    "imagenet",
    "imagenet_a",
    "imagenet_v2",
    "objectnet",
    "pets",
    "stl10",
]


def food101(data: Path | None = None, is_offline: bool = False, prompts: PromptFiles = None) -> Task:
    """Food-101: 101 dishes, 25,250 test pictures."""
    return load(FOOD101, data, is_offline, prompts)


def cifar10(data: Path | None = None, is_offline: bool = False, prompts: PromptFiles = None) -> Task:
    """CIFAR-10: 10 classes, 10,000 test pictures of 32 x 32 pixels."""
    return load(CIFAR10, data, is_offline, prompts)


def fgvc_aircraft(data: Path | None = None, is_offline: bool = False, prompts: PromptFiles = None) -> Task:
    """FGVC-Aircraft: 100 variants, 3,333 test pictures."""
    return load(AIRCRAFT, data, is_offline, prompts)


def pets(data: Path | None = None, is_offline: bool = False, prompts: PromptFiles = None) -> Task:
    """Oxford-IIIT Pets: 37 breeds of cats and dogs, 3,669 test pictures."""
    return load(PETS, data, is_offline, prompts)


def flowers102(data: Path | None = None, is_offline: bool = False, prompts: PromptFiles = None) -> Task:
    """Flowers-102: 102 flowers, 6,149 test pictures."""
    return load(FLOWERS102, data, is_offline, prompts)


def stl10(data: Path | None = None, is_offline: bool = False, prompts: PromptFiles = None) -> Task:
    """STL-10: 10 classes, 8,000 test pictures of 96 x 96 pixels."""
    return load(STL10, data, is_offline, prompts)


def imagenet(data: Path | None = None, is_offline: bool = False, prompts: PromptFiles = None) -> Task:
    """ImageNet of ILSVRC 2012: 1,000 classes, 50,000 validation pictures."""
    return load(IMAGENET, data, is_offline, prompts)


def imagenet_v2(data: Path | None = None, is_offline: bool = False, prompts: PromptFiles = None) -> Task:
    """ImageNet-V2 (matched frequency): ImageNet's classes collected again, 10,000 pictures."""
    return load(IMAGENET_V2, data, is_offline, prompts)


def imagenet_a(data: Path | None = None, is_offline: bool = False, prompts: PromptFiles = None) -> Task:
    """ImageNet-A: 7,500 pictures of 200 of ImageNet's classes that a ResNet-50 gets wrong."""
    return load(IMAGENET_A, data, is_offline, prompts)


def objectnet(data: Path | None = None, is_offline: bool = False, prompts: PromptFiles = None) -> Task:
    """ObjectNet: the 113 classes that ImageNet has as well, unusual views of household objects."""
    return load(OBJECTNET, data, is_offline, prompts)


def imagefolder(data: Path | None = None, prompts: PromptFiles = None) -> Task:
    """Your own pictures: `--data PATH` with one folder for each class, or `test` and `train` folders of them."""
    if data is None:
        raise UsageError("imagefolder needs --data PATH: a folder with one folder of pictures for each class")
    return load_folder(DataSet("imagefolder", imagefolder.__doc__ or "", ""), disk.expanded(data), prompts)


def flower_aliases() -> list[tuple[str, ...]]:
    """Other names of the flowers: torchvision and copies on the hub use these."""
    other = {59: ("pink-yellow dahlia",), 92: ("ball moss",)}
    return [other.get(n, ()) for n in range(102)]


def _wnid_aliases() -> list[tuple[str, ...]]:
    return [(wnid,) for wnid in wnids()]


def _numbered_aliases() -> list[tuple[str, ...]]:
    return [(wnid, str(label)) for label, wnid in enumerate(wnids())]


def _a_aliases() -> list[tuple[str, ...]]:
    known = wnids()
    return [(known[label],) for (label,) in labels("imagenet-a")]


def _every_label() -> tuple[tuple[int, ...], ...]:
    return tuple((label,) for label in range(len(wnids())))


FOOD101 = DataSet(
    name="food101",
    about="Food-101: 101 dishes, 25,250 test pictures.",
    n_published=25_250,
    citation="""\
@inproceedings{bossard2014food101,
  title = {Food-101: Mining Discriminative Components with Random Forests},
  author = {Bossard, Lukas and Guillaumin, Matthieu and Van Gool, Luc},
  booktitle = {European Conference on Computer Vision (ECCV)},
  year = {2014},
}
""",
    layouts=(_listed_images.FOOD101,),
    hub=HubData("ethz/food101", "e06acf2a88084f04bce4d4a525165d68e0a36c38", {"test": "validation"}),
    source="https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/",
)
CIFAR10 = DataSet(
    name="cifar10",
    about="CIFAR-10: 10 classes, 10,000 test pictures of 32 x 32 pixels.",
    n_published=10_000,
    citation="""\
@techreport{krizhevsky2009learning,
  title = {Learning Multiple Layers of Features from Tiny Images},
  author = {Krizhevsky, Alex},
  institution = {University of Toronto},
  year = {2009},
}
""",
    layouts=(_arrays.CIFAR10_PYTHON, _arrays.CIFAR10_BINARY),
    hub=HubData("uoft-cs/cifar10", "0b2714987fa478483af9968de7c934580d0bb9a2", image="img", is_numbered=True),
    source="https://www.cs.toronto.edu/~kriz/cifar.html",
    has_unique_names=True,
    is_pixels=True,
)
AIRCRAFT = DataSet(
    name="fgvc-aircraft",
    about="FGVC-Aircraft: 100 variants, 3,333 test pictures.",
    n_published=3_333,
    citation="""\
@techreport{maji2013aircraft,
  title = {Fine-Grained Visual Classification of Aircraft},
  author = {Maji, Subhransu and Rahtu, Esa and Kannala, Juho and Blaschko, Matthew and Vedaldi, Andrea},
  year = {2013},
  eprint = {1306.5151},
  archivePrefix = {arXiv},
}
""",
    layouts=(_listed_images.AIRCRAFT,),
    source="https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/",
    has_unique_names=True,
)
PETS = DataSet(
    name="pets",
    about="Oxford-IIIT Pets: 37 breeds of cats and dogs, 3,669 test pictures.",
    n_published=3_669,
    citation="""\
@inproceedings{parkhi2012cats,
  title = {Cats and Dogs},
  author = {Parkhi, Omkar M. and Vedaldi, Andrea and Zisserman, Andrew and Jawahar, C. V.},
  booktitle = {IEEE Conference on Computer Vision and Pattern Recognition (CVPR)},
  year = {2012},
}
""",
    layouts=(_listed_images.PETS,),
    hub=HubData("timm/oxford-iiit-pet"),
    source="https://www.robots.ox.ac.uk/~vgg/data/pets/",
    has_unique_names=True,
)
FLOWERS102 = DataSet(
    name="flowers102",
    about="Flowers-102: 102 flowers, 6,149 test pictures.",
    n_published=6_149,
    citation="""\
@inproceedings{nilsback2008automated,
  title = {Automated Flower Classification over a Large Number of Classes},
  author = {Nilsback, Maria-Elena and Zisserman, Andrew},
  booktitle = {Indian Conference on Computer Vision, Graphics and Image Processing},
  year = {2008},
}
""",
    layouts=(_listed_images.FLOWERS102,),
    source="https://www.robots.ox.ac.uk/~vgg/data/flowers/102/",
    aliases=flower_aliases,
    has_unique_names=True,
)
STL10 = DataSet(
    name="stl10",
    about="STL-10: 10 classes, 8,000 test pictures of 96 x 96 pixels.",
    n_published=8_000,
    citation="""\
@inproceedings{coates2011analysis,
  title = {An Analysis of Single-Layer Networks in Unsupervised Feature Learning},
  author = {Coates, Adam and Ng, Andrew and Lee, Honglak},
  booktitle = {International Conference on Artificial Intelligence and Statistics (AISTATS)},
  year = {2011},
}
""",
    layouts=(_arrays.STL10,),
    hub=HubData("tanganke/stl10", "49ae7f94508f7feae62baf836db284306eab0b0f", is_numbered=True),
    source="https://cs.stanford.edu/~acoates/stl10/",
    has_unique_names=True,
    is_pixels=True,
)
IMAGENET = DataSet(
    name="imagenet",
    about="ImageNet of ILSVRC 2012: 1,000 classes, 50,000 validation pictures.",
    n_published=50_000,
    citation="""\
@article{russakovsky2015imagenet,
  title = {ImageNet Large Scale Visual Recognition Challenge},
  author = {Russakovsky, Olga and Deng, Jia and Su, Hao and Krause, Jonathan and Satheesh, Sanjeev and Ma, Sean and
            Huang, Zhiheng and Karpathy, Andrej and Khosla, Aditya and Bernstein, Michael and Berg, Alexander C. and
            Fei-Fei, Li},
  journal = {International Journal of Computer Vision},
  volume = {115},
  number = {3},
  pages = {211--252},
  year = {2015},
}
""",
    layouts=(_imagenets.IMAGENET,),
    hub=HubData("ILSVRC/imagenet-1k", None, {"test": "validation"}, has_other_names=True),
    source="https://image-net.org/download.php",
    has_unique_names=True,
    label_space="imagenet",
    aliases=_wnid_aliases,
    labels=_every_label,
)
IMAGENET_V2 = DataSet(
    name="imagenet-v2",
    about="ImageNet-V2 (matched frequency): ImageNet's classes collected again, 10,000 pictures.",
    n_published=10_000,
    citation="""\
@inproceedings{recht2019imagenet,
  title = {Do {ImageNet} Classifiers Generalize to {ImageNet}?},
  author = {Recht, Benjamin and Roelofs, Rebecca and Schmidt, Ludwig and Shankar, Vaishaal},
  booktitle = {International Conference on Machine Learning (ICML)},
  year = {2019},
}
""",
    layouts=(_imagenets.IMAGENET_V2,),
    source="https://huggingface.co/datasets/vaishaal/ImageNetV2 (imagenetv2-matched-frequency.tar.gz)",
    has_training=False,
    label_space="imagenet",
    aliases=_numbered_aliases,
    labels=_every_label,
)
IMAGENET_A = DataSet(
    name="imagenet-a",
    about="ImageNet-A: 7,500 pictures of 200 of ImageNet's classes that a ResNet-50 gets wrong.",
    n_published=7_500,
    citation="""\
@inproceedings{hendrycks2021natural,
  title = {Natural Adversarial Examples},
  author = {Hendrycks, Dan and Zhao, Kevin and Basart, Steven and Steinhardt, Jacob and Song, Dawn},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  year = {2021},
}
""",
    layouts=(_imagenets.IMAGENET_A,),
    hub=HubData("barkermrl/imagenet-a", None, {"test": "train"}),
    source="https://github.com/hendrycks/natural-adv-examples",
    has_training=False,
    label_space="imagenet",
    aliases=_a_aliases,
    labels=partial(labels, "imagenet-a"),
)
OBJECTNET = DataSet(
    name="objectnet",
    about="ObjectNet: the 113 classes that ImageNet has as well, unusual views of household objects.",
    n_published=18_574,
    citation="""\
@inproceedings{barbu2019objectnet,
  title = {{ObjectNet}: A large-scale bias-controlled dataset for pushing the limits of object recognition models},
  author = {Barbu, Andrei and Mayo, David and Alverio, Julian and Luo, William and Wang, Christopher and
            Gutfreund, Dan and Tenenbaum, Josh and Katz, Boris},
  booktitle = {Advances in Neural Information Processing Systems (NeurIPS)},
  year = {2019},
}
""",
    layouts=(_imagenets.OBJECTNET,),
    source="https://objectnet.dev",
    has_training=False,
    border_px=2,
    ignores_others=True,
    label_space="imagenet",
    labels=partial(labels, "objectnet"),
)
