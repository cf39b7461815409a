"""ImageNet and the test sets made for it, as they are distributed.

ImageNet's validation pictures lie in one folder and their classes stand in the development kit, or they were sorted
into folders of WordNet ids; ImageNet-A has such folders, ImageNet-V2 folders of labels, ObjectNet folders of names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compbench.core.errors import DataError
from compbench.tasks._reading.scan import folders_in, holds_pictures, left_out, pictures_below
from compbench.tasks.classification._folders import SPLITS, read_folders
from compbench.tasks.classification._prompt_files import labels, shipped, wnids
from compbench.tasks.classification._splits import Layout, Picture, Split, existing, read_lines

__all__ = ["IMAGENET", "IMAGENET_A", "IMAGENET_V2", "OBJECTNET"]

_KIT = Path("ILSVRC2012_devkit_t12") / "data"
_NUMBER = re.compile(r"ILSVRC2012_val_(\d{8})(?=\D)")
_TRUTH = _KIT / "ILSVRC2012_validation_ground_truth.txt"


def _read_imagenet(root: Path, split: str) -> Split:
    """The training split, and a validation split that was sorted into folders, are folders of WordNet ids."""
    if split != "test" or (folder := _loose(root)) is None:
        return read_folders(root, split, [(wnid,) for wnid in wnids()])
    truth = read_lines(root / _TRUTH, "the development kit beside the pictures")
    files, others = _numbered(folder)
    _check_numbers(files, len(truth), folder)
    ids = _wnid_of(root / _KIT / "meta.mat")
    if lacking := [name for name in truth if name not in ids]:
        raise DataError(f"{str(root / _TRUTH)!r} has class {lacking[0]!r}, which meta.mat lacks; copy the kit again")
    place = {wnid: n for n, wnid in enumerate(wnids())}
    # the n-th line is the label of the picture whose name has the number n, whatever else lies in the folder
    pictures = [Picture(file.name, place[ids[truth[number - 1]]], file) for number, file in sorted(files.items())]
    origin = (root / _TRUTH, root / _KIT / "meta.mat", *(files[number] for number in sorted(files)))
    return Split(pictures, None, origin, left_out(others, folder, "not named ILSVRC2012_val_00000001.JPEG or so"))


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


def _loose(root: Path) -> Path | None:
    """The validation folder whose pictures lie in itself; None where there is none."""
    folders = [root / name for name in ("ILSVRC2012_img_val", *SPLITS["test"]) if (root / name).is_dir()]
    numbered = (folder for folder in folders if any(_NUMBER.search(file.name) for file in folder.iterdir()))
    unsorted = (folder for folder in folders if holds_pictures(folder) and not folders_in(folder))
    return next(numbered, None) or next(unsorted, None)


def _numbered(folder: Path) -> tuple[dict[int, Path], list[Path]]:
    """The validation pictures by the number in their names, and what else is there."""
    found = pictures_below(folder)
    others, files = list(found.others), dict[int, Path]()
    for file in found.pictures:
        number = _NUMBER.search(file.name)
        if number is None:
            others.append(file)
        elif int(number[1]) in files:
            raise DataError(f"{str(files[int(number[1])])!r} and {str(file)!r} have one number; expected one picture")
        else:
            files[int(number[1])] = file
    return files, others


def _check_numbers(files: Mapping[int, Path], n_labels: int, folder: Path) -> None:
    """DataError unless there is one picture for each label."""
    if lacking := [number for number in range(1, n_labels + 1) if number not in files]:
        raise DataError(
            f"{len(files)} pictures in {str(folder)!r} and {n_labels} labels: {len(lacking)} are missing, "
            f"ILSVRC2012_val_{lacking[0]:08d}.JPEG the first; fetch or copy them again"
        )
    if beyond := [number for number in files if number > n_labels]:
        raise DataError(
            f"{len(files)} pictures in {str(folder)!r} and {n_labels} labels: {files[min(beyond)].name!r} has none; "
            "copy the development kit again"
        )


def _wnid_of(file: Path) -> dict[str, str]:
    """The kit's own number of each class -> its WordNet id."""
    import scipy.io

    existing(file, "the development kit's list of classes")
    try:
        synsets: Any = scipy.io.loadmat(str(file), squeeze_me=True, struct_as_record=False)["synsets"]
        found = {
            str(int(synset.ILSVRC2012_ID)): str(synset.WNID) for synset in synsets if int(synset.num_children) == 0
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{str(file)!r} is not a list of classes ({error}); fetch or copy it again") from error
    if set(found.values()) != set(wnids()):
        raise DataError(f"{str(file)!r} has other classes than ImageNet's 1,000; expected the kit of ILSVRC 2012")
    return found
