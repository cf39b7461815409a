"""ImageNet and the test sets made for it, as they are distributed.

ImageNet's validation pictures lie in one folder and their classes stand in the development kit, or they were sorted
into folders of WordNet ids; ImageNet-A has such folders, ImageNet-V2 folders of labels, ObjectNet folders of names.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from compbench.tasks.folders import SPLITS, read_folders
from compbench.tasks.prompt_files import labels, shipped, wnids
from compbench.tasks.splits import PICTURES, Layout, Picture, Split, existing, read_lines
from compbench.types import DataError

__all__ = ["IMAGENET", "IMAGENET_A", "IMAGENET_V2", "OBJECTNET"]

_KIT = Path("ILSVRC2012_devkit_t12") / "data"
_TRUTH = _KIT / "ILSVRC2012_validation_ground_truth.txt"


def _read_imagenet(root: Path, split: str) -> Split:
    """The training split, and a validation split that was sorted into folders, are folders of WordNet ids."""
    if split != "test" or not (files := _loose(root)):
        return read_folders(root, split, [(wnid,) for wnid in wnids()])
    truth = read_lines(root / _TRUTH, "the development kit beside the pictures")
    if len(files) != len(truth):
        raise DataError(f"{len(files)} pictures in {str(files[0].parent)!r} and {len(truth)} labels; expected as many")
    ids = _wnid_of(root / _KIT / "meta.mat")
    if lacking := [each for each in truth if each not in ids]:
        raise DataError(f"{str(root / _TRUTH)!r} has class {lacking[0]!r}, which meta.mat has not; copy the kit again")
    place = {wnid: n for n, wnid in enumerate(wnids())}
    # the n-th line is the label of the n-th picture by name
    pictures = [Picture(file.name, place[ids[label]], file) for file, label in zip(files, truth, strict=True)]
    return Split(pictures, None, (root / _TRUTH, root / _KIT / "meta.mat", *files))


def _read_a(root: Path, split: str) -> Split:
    known = wnids()
    return read_folders(root, split, [(known[label],) for (label,) in labels("imagenet-a")])


def _read_v2(root: Path, split: str) -> Split:
    return read_folders(root, split, [(str(label),) for label in range(len(wnids()))])


def _read_objectnet(root: Path, split: str) -> Split:
    """313 classes, of which those are read that ImageNet has as well."""
    return read_folders(root, split, [(name,) for name in shipped("objectnet").names], ignores_others=True)


IMAGENET = Layout("imagenet", str(_TRUTH), _read_imagenet)
IMAGENET_A = Layout("imagenet-a", "n01498041", _read_a)
IMAGENET_V2 = Layout("imagenetv2-matched-frequency-format-val", "0", _read_v2)
OBJECTNET = Layout("objectnet-1.0/images", "alarm_clock", _read_objectnet)


def _loose(root: Path) -> list[Path]:
    """The pictures that lie in the validation folder itself, by name."""
    folders = [root / name for name in (*SPLITS["test"], "ILSVRC2012_img_val") if (root / name).is_dir()]
    return sorted(file for folder in folders[:1] for file in folder.iterdir() if file.suffix.lower() in PICTURES)


def _wnid_of(file: Path) -> dict[str, str]:
    """The kit's own number of each class -> its WordNet id."""
    import scipy.io

    existing(file, "the development kit's list of classes")
    try:
        synsets: Any = scipy.io.loadmat(str(file), squeeze_me=True, struct_as_record=False)["synsets"]
        found = {str(int(each.ILSVRC2012_ID)): str(each.WNID) for each in synsets if int(each.num_children) == 0}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{str(file)!r} is no list of classes ({error}); fetch or copy it again") from error
    if set(found.values()) != set(wnids()):
        raise DataError(f"{str(file)!r} has other classes than ImageNet's 1,000; expected the kit of ILSVRC 2012")
    return found
