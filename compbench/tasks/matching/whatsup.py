"""What'sUp: photos of two objects in four arrangements, and COCO and Visual Genome pictures with two captions each.

Of sets A and B an example is one photo with four captions; the four photos of two objects are a set, left and right
are a pair, and so are the other two. One label of A is known to be exchanged: `whatsup-a+labels-corrected` corrects it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import PurePosixPath

from compbench.core.errors import DataError
from compbench.tasks.matching._suite import OFFICIAL, Fields, Protocol, Suite
from compbench.tasks.matching._suite_rows import PLACE, JsonFiles, Row
from compbench.tasks.matching.sugarcrepe import COCO_VAL2017, COCO_VAL2017_FOLDERS

__all__ = ["COCO_ONE", "COCO_TWO", "GQA_ONE", "GQA_TWO", "WHATSUP_A", "WHATSUP_B"]

_CITATION = """\
@inproceedings{kamath2023whatsup,
  title = {What's ``up'' with vision-language models? Investigating their struggle with spatial reasoning},
  author = {Kamath, Amita and Hessel, Jack and Chang, Kai-Wei},
  booktitle = {Proceedings of the Conference on Empirical Methods in Natural Language Processing (EMNLP)},
  year = {2023},
}
"""
_ORIGIN = "github.com/amitakamath/whatsup_vlms (read at 7c1f255; its files are on Google Drive)"
_EXCHANGED = ("pillow_left_of_chair", "pillow_right_of_chair")
_N_OPTIONS = 4


def _controlled(rows: Sequence[Row], *, is_corrected: bool = False) -> Sequence[Row]:
    """Rows with what the photo's name says: FIRST_RELATION_SECOND, where a relation may be left_of or in-front_of."""
    read = [_photo(row) for row in rows]
    return _corrected(read) if is_corrected else read


def _photo(row: Row) -> Row:
    name = str(row.get("image_path", "")).replace("\\", "/").rpartition("/")[2]
    parts = PurePosixPath(name).stem.split("_")
    options = row.get("caption_options")
    if len(parts) < 3 or not isinstance(options, list) or len(options) != _N_OPTIONS:
        raise DataError(
            f"{row[PLACE]} has the picture {name!r} and caption_options {str(options)[:60]!r}; expected "
            f"OBJECT_RELATION_OBJECT.jpeg and {_N_OPTIONS} captions"
        )
    whole, relation = f"{parts[0]} and {parts[-1]}", parts[1]
    pair = f"{whole}: {'left and right' if relation in ('left', 'right') else 'the others'}"
    captions = {f"caption_{place}": option for place, option in enumerate(options)}
    own = {"photo": name, "stem": PurePosixPath(name).stem, "relation": relation, "in_set": whole, "in_pair": pair}
    return {**row, **captions, **own}


def _corrected(rows: Sequence[Row]) -> Sequence[Row]:
    """The two photos of a pillow and a chair that carry each other's captions get their own."""
    of_stem = {str(row["stem"]): row for row in rows}
    if lacking := [stem for stem in _EXCHANGED if stem not in of_stem]:
        raise DataError(f"no picture {lacking[0]!r} whose label could be corrected; expected all of What'sUp A")
    other = {stem: of_stem[two] for stem, two in (_EXCHANGED, _EXCHANGED[::-1])}
    captions = [f"caption_{place}" for place in range(_N_OPTIONS)]
    return [
        {**row, **{name: other[str(row["stem"])][name] for name in (*captions, "relation")}}
        if row["stem"] in other
        else row
        for row in rows
    ]


_INDIVIDUAL = "text is the paper's individual accuracy, pair and set its accuracies of pairs and of sets of four"
WHATSUP_A = Suite(
    name="whatsup-a",
    about="What'sUp A: 412 photos of an object on, under, left or right of another, four captions each.",
    citation=_CITATION,
    origin=_ORIGIN,
    licence="MIT; one pair is known to be exchanged, pillow left and right of chair (issue 4 there)",
    n_published=412,
    reader=JsonFiles({"": "controlled_images_dataset.json"}, folder="whatsup_vlms"),
    fields=Fields(
        ("photo",),
        tuple(f"caption_{place}" for place in range(_N_OPTIONS)),
        id="stem",
        group="in_set",
        tags={"tag": "relation", "in_pair": "in_pair", "in_set": "in_set"},
    ),
    protocols={
        OFFICIAL: Protocol(f"{_INDIVIDUAL}.", ("text", "pair", "set"), _controlled),
        "labels-corrected": Protocol(
            f"{_INDIVIDUAL}; the exchanged pair has its own captions.",
            ("text", "pair", "set"),
            partial(_controlled, is_corrected=True),
        ),
    },
    whose_pictures="the authors' own photos, controlled_images.tar.gz",
    picture_folders=("controlled_images", "data/controlled_images"),
    tag_order={"tag": ("on", "under", "left", "right")},
)
WHATSUP_B = replace(
    WHATSUP_A,
    name="whatsup-b",
    about="What'sUp B: 408 photos of an object in front of, behind, left or right of another, four captions each.",
    licence="MIT",
    n_published=408,
    reader=JsonFiles({"": "controlled_clevr_dataset.json"}, folder="whatsup_vlms"),
    protocols={OFFICIAL: WHATSUP_A.protocols[OFFICIAL]},
    whose_pictures="the authors' own photos, controlled_clevr.tar.gz",
    picture_folders=("controlled_clevr", "data/controlled_clevr"),
    tag_order={"tag": ("in-front", "behind", "left", "right")},
)


def _coco_name(image: str) -> str:
    return f"{image:0>12}.jpg"


def _vg_name(image: str) -> str:
    return f"{image}.jpg"


def _spatial(name_of: Callable[[str], str], n_objects: int, rows: Sequence[Row]) -> Sequence[Row]:
    read: list[Row] = []
    for row in rows:
        image, right = row.get("0"), row.get("1")
        if not isinstance(image, int | str) or isinstance(image, bool) or not isinstance(right, str):
            raise DataError(f"{row[PLACE]} begins with {image!r} and {right!r}; expected a number and a caption")
        read.append({**row, "photo": name_of(str(image)), "relation": _relation(right, n_objects)})
    return read


def _relation(caption: str, n_objects: int) -> str:
    """The place that a caption names: its last word for one object, else the word between two."""
    if n_objects == 1:
        return (caption.split() or [""])[-1].rstrip(".")
    words = caption.split()
    return next((word for word in ("left", "right", "above", "below", "front", "behind") if word in words), "top")


def _of_source(source: str, n_objects: int, n: int) -> Suite:
    """COCO-spatial or GQA-spatial, with one object or two."""
    count, is_coco = ("one", "two")[n_objects - 1], source == "coco"
    return Suite(
        name=f"{source}-spatial-{count}",
        about=f"What'sUp's {'COCO' if is_coco else 'GQA'}-spatial, {count} object{'s' * (n_objects > 1)}: {n:,} "
        "pictures, each with a right and a wrong place.",
        citation=_CITATION,
        origin=_ORIGIN,
        licence="MIT",
        n_published=n,
        reader=JsonFiles({"": f"{'coco' if is_coco else 'vg'}_qa_{count}_obj.json"}, folder="whatsup_vlms"),
        fields=Fields(("photo",), ("1", "2"), tags={"tag": "relation"}),
        protocols={
            OFFICIAL: Protocol(
                "text is the paper's accuracy.",
                ("text",),
                partial(_spatial, _coco_name if is_coco else _vg_name, n_objects),
            )
        },
        whose_pictures=COCO_VAL2017 if is_coco else "Visual Genome, vg_images.tar.gz of the authors",
        picture_folders=COCO_VAL2017_FOLDERS if is_coco else ("vg_images", "VG_100K", "images"),
    )


COCO_ONE, COCO_TWO = _of_source("coco", 1, 2247), _of_source("coco", 2, 440)
GQA_ONE, GQA_TWO = _of_source("gqa", 1, 1160), _of_source("gqa", 2, 291)
