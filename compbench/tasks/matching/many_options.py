"""Suites with more than two options: SPEC, ImageCoDe and the CLEVR pictures of GDBench."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from compbench.core.errors import DataError
from compbench.core.models import Source
from compbench.registry.git_files import GitFiles
from compbench.tasks.matching._suite import OFFICIAL, Fields, Protocol, Suite
from compbench.tasks.matching._suite_rows import KEY, PLACE, SPLIT, JsonFiles, Row

__all__ = ["CLEVR_BINDING", "IMAGECODE", "IMAGECODE_SIMPLE", "SPEC_I2T", "SPEC_T2I"]

_SPEC_SUBSETS = (
    "absolute_size",
    "relative_size",
    "absolute_spatial",
    "relative_spatial",
    "existence",
    "count",
)


def _below(subset: object, picture: object) -> str:
    """A picture's path from the folder that holds the subsets."""
    return f"{subset}/{picture}" if isinstance(picture, str) and picture.strip() else ""


def _spec_rows(side: str, rows: Sequence[Row]) -> Sequence[Row]:
    """Rows with their pictures named from the folder of all subsets."""
    read: list[Row] = []
    for row in rows:
        cell: Any = row.get(side)
        if side == "query":
            pictures: Any = _below(row[SPLIT], cell)
        else:
            pictures = [_below(row[SPLIT], name) for name in cell] if isinstance(cell, list) else cell
        read.append({**row, side: pictures})
    return read


_SPEC = Suite(
    name="spec-i2t",
    about="SPEC, a picture and its options: size, place, existence and number of things, in six subsets.",
    citation="""\
@inproceedings{peng2024spec,
  title = {Synthesize, Diagnose, and Optimize: Towards Fine-Grained Vision-Language Understanding},
  author = {Peng, Wujian and Xie, Sicheng and You, Zuyao and Lan, Shiyi and Wu, Zuxuan},
  booktitle = {Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  year = {2024},
}
""",
    origin="the hub's wjpoom/SPEC (read at 694dfdc), data.zip",
    licence="Apache-2.0; 1.56 GB with its rendered and generated pictures",
    n_published=None,
    reader=JsonFiles({name: f"{name}/image2text.json" for name in _SPEC_SUBSETS}, folder="data", archive="data.zip"),
    fields=Fields(("query",), ("keys",), right="label", tags={"tag": SPLIT, "in_macro": SPLIT}),
    protocols={
        OFFICIAL: Protocol(
            "text is over all examples; macro, the plain mean of the six subsets, is the paper's accuracy.",
            ("text", "macro"),
            partial(_spec_rows, "query"),
        )
    },
    picture_folders=("data",),
    remote=Source("wjpoom/SPEC", "694dfdc74fe72acdc932fd5fc919b6b0268f7a07"),
    tag_order={"tag": _SPEC_SUBSETS},
)
SPEC_I2T = _SPEC
SPEC_T2I = replace(
    _SPEC,
    name="spec-t2i",
    about="SPEC, a caption and its pictures: size, place, existence and number of things, in six subsets.",
    reader=JsonFiles({name: f"{name}/text2image.json" for name in _SPEC_SUBSETS}, folder="data", archive="data.zip"),
    fields=replace(_SPEC.fields, images=("keys",), captions=("query",)),
    protocols={
        OFFICIAL: Protocol(
            "image is over all examples; image_macro, the plain mean of the six subsets, is the paper's accuracy.",
            ("image", "image_macro"),
            partial(_spec_rows, "keys"),
        )
    },
)
_N_FRAMES = 10
_KINDS = ("video", "static")


def _kind(directory: str) -> str:
    return "static" if "open-images" in directory else "video"


def _descriptions(rows: Sequence[Row]) -> Sequence[Row]:
    """A row for each caption: of {directory: {"5": caption}} the number is the place of its picture, not its name."""
    read: list[Row] = []
    for row in rows:
        directory = str(row[KEY])
        for place, caption in row.items():
            if place.isdecimal():
                own = {KEY: f"{directory}/{place}", SPLIT: "", PLACE: f"{row[PLACE]}, caption {place}"}
                places = tuple(range(_N_FRAMES))
                read.append(
                    {"directory": directory, "caption": caption, "places": places, "right": int(place)}
                    | {"kind": _kind(directory), **own}
                )
    return read


def _two_frames(rows: Sequence[Row]) -> Sequence[Row]:
    """Rows {directory, pos_idx, neg_idx, caption}."""
    read: list[Row] = []
    for row in rows:
        directory = str(row.get("directory", ""))
        places = (row.get("pos_idx"), row.get("neg_idx"))
        if places[0] == places[1]:
            raise DataError(f"{row[PLACE]} has the places {places}; expected two that differ")
        read.append({**row, "places": places, "right": 0, "kind": _kind(directory)})
    return read


IMAGECODE = Suite(
    name="imagecode",
    about="ImageCoDe, validation: 2,302 captions, each of one of ten much alike pictures, frames of a video or photos.",
    citation="""\
@inproceedings{krojer2022imagecode,
  title = {Image Retrieval from Contextual Descriptions},
  author = {Krojer, Benno and Adlakha, Vaibhav and Vineet, Vibhav and Goyal, Yash and Ponti, Edoardo and Reddy, Siva},
  booktitle = {Proceedings of the Annual Meeting of the Association for Computational Linguistics (ACL)},
  year = {2022},
}
""",
    origin="github.com/McGill-NLP/imagecode (read at 609f076)",
    licence="MIT; the pictures by the terms of Open Images and of the videos' sets",
    n_published=2302,
    reader=JsonFiles({"": "valid_data.json"}, folder="imagecode"),
    fields=Fields((), ("caption",), frames="directory", places="places", right="right", tags={"tag": "kind"}),
    protocols={OFFICIAL: Protocol("image is the paper's accuracy over ten pictures.", ("image",), _descriptions)},
    whose_pictures="image-sets.zip (zenodo.org/record/6518944), unpacked",
    picture_folders=("image-sets", "data/image-sets", "games"),
    remote=GitFiles("McGill-NLP/imagecode", "609f07611aed2599f946c30d730f40a41af1079b", ("data/valid_data.json",)),
    tag_order={"tag": _KINDS},
)
IMAGECODE_SIMPLE = replace(
    IMAGECODE,
    name="imagecode-simple",
    about="ImageCoDe-simple, validation: the same captions, each with its picture and one other.",
    reader=JsonFiles({"": "valid_simple.json"}, folder="imagecode"),
    protocols={OFFICIAL: Protocol("image is the accuracy over two pictures.", ("image",), _two_frames)},
    remote=GitFiles("McGill-NLP/imagecode", "609f07611aed2599f946c30d730f40a41af1079b", ("data/valid_simple.json",)),
)
_CLEVR_SUBSETS = (
    "pair_binding_size",
    "pair_binding_color",
    "recognition_color",
    "recognition_shape",
    "spatial",
    "binding_color_shape",
    "binding_shape_color",
)
_WRONG_FIRST = "spatial"  # the one file that has the wrong caption before the right one


def _clevr_rows(rows: Sequence[Row]) -> Sequence[Row]:
    """A row for each of a picture's two pairs of captions."""
    read: list[Row] = []
    for row in rows:
        pairs = {place: pair for place, pair in row.items() if place.isdecimal()}
        for place, pair in pairs.items():
            if not isinstance(pair, list) or len(pair) != 2:  # pyright: ignore[reportUnknownArgumentType]
                raise DataError(f"{row[PLACE]} has {str(pair)[:60]!r}; expected two captions")
            right, wrong = pair[::-1] if row[SPLIT] == _WRONG_FIRST else pair  # pyright: ignore[reportUnknownVariableType]
            own = {KEY: f"{row[KEY]}/{place}", SPLIT: row[SPLIT], PLACE: row[PLACE]}
            read.append({"photo": str(row[KEY]), "right": right, "wrong": wrong, **own})
    return read


CLEVR_BINDING = Suite(
    name="clevr-binding",
    about="CLEVR of GDBench: 574 pictures of two things, each with two captions and foils in seven kinds.",
    citation="""\
@inproceedings{krojer2023gdbench,
  title = {Are Diffusion Models Vision-And-Language Reasoners?},
  author = {Krojer, Benno and Poole-Dayan, Elinor and Voleti, Vikram and Pal, Christopher and Reddy, Siva},
  booktitle = {Advances in Neural Information Processing Systems (NeurIPS)},
  year = {2023},
}
""",
    origin="github.com/McGill-NLP/diffusion-itm (read at 7d5a9c0)",
    licence="MIT",
    n_published=7 * 2 * 574,
    reader=JsonFiles({name: f"{name}.json" for name in _CLEVR_SUBSETS}, folder="captions"),
    fields=Fields(("photo",), ("right", "wrong"), tags={"tag": SPLIT, "in_macro": SPLIT}),
    protocols={
        OFFICIAL: Protocol(
            "text is the accuracy over all pairs of captions, macro the plain mean of the seven kinds; the file of "
            "places has its wrong captions first.",
            ("text", "macro"),
            _clevr_rows,
        )
    },
    whose_pictures="images.zip (zenodo.org/record/8096756), unpacked",
    picture_folders=("images", "clevr/images", "data/clevr/images"),
    remote=GitFiles(
        "McGill-NLP/diffusion-itm",
        "7d5a9c0bcfd32754f26461a2f8fee73e2f01c7a2",
        tuple(f"data/clevr/captions/{name}.json" for name in _CLEVR_SUBSETS),
    ),
    tag_order={"tag": _CLEVR_SUBSETS},
)
