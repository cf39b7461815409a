"""Retrieval on Karpathy's test splits of Flickr30k and COCO: a picture's captions among all, a caption's picture.

A picture has five captions and more; one of them among the first K counts. R@1 is `top1` for captions,
and `image` for pictures. COCO has no task for pictures: 25,010 captions beside 5,000 pictures would be no examples.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from compbench.core.aliases import Bools
from compbench.core.errors import DataError, UsageError
from compbench.core.examples import Example, Image, Task
from compbench.core.models import Source
from compbench.core.sheets import TaskSheet
from compbench.tasks.matching._suite import OFFICIAL, Fields, Protocol, Suite
from compbench.tasks.matching._suite_rows import PLACE, QuestionFile, Row

__all__ = ["COCO_I2T", "FLICKR_I2T", "FLICKR_T2I"]

_FIRST = 5  # captions of a picture, under the protocol of that name
_FIELDS = Fields(("filename",), ("captions",), id="filename")


def _with_captions(rows: Sequence[Row]) -> Sequence[Row]:
    """`raw` is the text of a list."""
    return [{**row, "captions": _listed(row)} for row in rows]


def _with_five(rows: Sequence[Row]) -> Sequence[Row]:
    return [{**row, "captions": _listed(row)[:_FIRST]} for row in rows]


def _listed(row: Row) -> list[Any]:
    """The captions, of a list as JSON or Python writes it."""
    found: Any = None
    for parse in (json.loads, ast.literal_eval):
        with suppress(ValueError, SyntaxError, RecursionError, MemoryError):
            found = parse(row["raw"])
            break
    if not isinstance(found, list) or not found:
        raise DataError(f"{row[PLACE]} has the captions {row['raw'][:60]!r}; expected a list of them")
    return found  # pyright: ignore[reportUnknownVariableType]


@dataclass(frozen=True)
class Retrieval:
    """A suite of pictures with their captions, each searched for among all."""

    suite: Suite
    seeks_images: bool

    def sheet(self) -> TaskSheet:
        return self.suite.sheet()

    def __call__(
        self,
        data: Path | None = None,
        images: Path | None = None,
        is_offline: bool = False,
        protocol: Sequence[str] = (),
        skip_unreadable: bool = False,
    ) -> Task:
        if skip_unreadable:
            raise UsageError(
                f"in {self.suite.name!r} every picture is an option of every example: none can be left out; leave out "
                "--skip-unreadable"
            )
        task = self.suite(data, images, is_offline, protocol)
        pictures = [example.images[0] for example in task.examples]
        captions = [caption for example in task.examples for caption in example.captions]
        owner = np.repeat(np.arange(len(pictures)), [len(example.captions) for example in task.examples])
        made = _of_captions(pictures, captions, owner) if self.seeks_images else _of_pictures(pictures, captions, owner)
        notes = (note.replace("examples expected", "pictures expected") for note in task.notes)
        return replace(task, examples=made, notes=tuple(notes))


def _of_pictures(pictures: Sequence[Image], captions: Sequence[str], owner: Any) -> tuple[Example, ...]:
    """An example for each picture, with all captions."""
    shared = tuple(captions)
    return tuple(
        Example(picture.name, (picture,), shared, (owner == number)[None], group=picture.name)
        for number, picture in enumerate(pictures)
    )


def _of_captions(pictures: Sequence[Image], captions: Sequence[str], owner: Any) -> tuple[Example, ...]:
    """An example for each caption, with all pictures; those of one picture are one group."""
    shared, eye = tuple(pictures), np.eye(len(pictures), dtype=bool)
    first = np.searchsorted(owner, owner)  # the place of the picture's first caption

    def matches(number: int) -> Bools:
        return eye[owner[number]][:, None]

    return tuple(
        Example(
            f"{pictures[owner[number]].name}/{number - first[number]}",
            shared,
            (caption,),
            matches(number),
            group=pictures[owner[number]].name,
        )
        for number, caption in enumerate(captions)
    )


def _judged(metrics: tuple[str, ...], of: str = "all captions") -> str:
    return f"{metrics[0]} is R@1, {metrics[1]} and {metrics[2]} are R@5 and R@10, of {of} of each picture."


_TEXT, _IMAGE = ("top1", "text_r5", "text_r10"), ("image", "image_r5", "image_r10")
_FLICKR = Suite(
    name="flickr30k-i2t",
    about="Flickr30k, Karpathy's test split: each of 1,000 pictures, with 5,000 captions to find its five among.",
    citation="""\
@article{young2014flickr30k,
  title = {From Image Descriptions to Visual Denotations: New Similarity Metrics for Semantic Inference over Event
           Descriptions},
  author = {Young, Peter and Lai, Alice and Hodosh, Micah and Hockenmaier, Julia},
  journal = {Transactions of the Association for Computational Linguistics},
  year = {2014},
}
""",
    origin="the hub's nlphuji/flickr_1k_test_image_text_retrieval (read at c4a4cdc), its csv file and zip",
    licence="Flickr30k's, by a form of its authors; 141 MB with its pictures",
    n_published=1000,
    reader=QuestionFile("test_1k_flickr.csv", ("raw", "filename"), archive="images_flickr_1k_test.zip"),
    fields=_FIELDS,
    protocols={OFFICIAL: Protocol(_judged(_TEXT), _TEXT, _with_captions)},
    whose_pictures="Flickr30k's",
    picture_folders=("images_flickr_1k_test", "images", "flickr30k-images"),
    remote=Source("nlphuji/flickr_1k_test_image_text_retrieval", "c4a4cdc67b77fce148b45484a067957bf75ec4c3"),
)
FLICKR_I2T = Retrieval(_FLICKR, seeks_images=False)
FLICKR_T2I = Retrieval(
    replace(
        _FLICKR,
        name="flickr30k-t2i",
        about="Flickr30k, Karpathy's test split: each of 5,000 captions, with 1,000 pictures to find its own among.",
        protocols={OFFICIAL: Protocol(_judged(_IMAGE), _IMAGE, _with_captions)},
    ),
    seeks_images=True,
)
COCO_I2T = Retrieval(
    replace(
        _FLICKR,
        name="coco-karpathy-i2t",
        about="COCO 2014, Karpathy's test split: each of 5,000 pictures, with 25,010 captions to find its own among.",
        citation="""\
@inproceedings{lin2014coco,
  title = {Microsoft {COCO}: Common Objects in Context},
  author = {Lin, Tsung-Yi and Maire, Michael and Belongie, Serge and Hays, James and Perona, Pietro and Ramanan, Deva
            and Doll{\\'a}r, Piotr and Zitnick, C. Lawrence},
  booktitle = {European Conference on Computer Vision (ECCV)},
  year = {2014},
}
""",
        origin="the hub's nlphuji/mscoco_2014_5k_test_image_text_retrieval (read at 551c4f7), its csv file and zip",
        licence="COCO's terms; 818 MB with its pictures",
        n_published=5000,
        reader=QuestionFile("test_5k_mscoco_2014.csv", ("raw", "filename"), archive="images_mscoco_2014_5k_test.zip"),
        protocols={
            OFFICIAL: Protocol(_judged(_TEXT), _TEXT, _with_captions),
            "first-five": Protocol(_judged(_TEXT, "the first five captions"), _TEXT, _with_five),
        },
        whose_pictures="COCO val2014",
        picture_folders=("images_mscoco_2014_5k_test", "val2014", "images"),
        remote=Source("nlphuji/mscoco_2014_5k_test_image_text_retrieval", "551c4f7667f06fa82b4ef0a07617bfc4cf324ac3"),
    ),
    seeks_images=False,
)
