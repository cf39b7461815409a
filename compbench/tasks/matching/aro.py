"""ARO: whose relation and whose attribute, in the box that holds them, and a caption among four shuffles of it.

The score of relation and attribution is a mean over relations or pairs of attributes, some of them left out, on
pictures cut to the box. The plain mean over whole pictures that other harnesses print is another protocol, `+mteb`.
The shuffles were made with a random seed and taggers of their day, and cannot be made again; a frozen copy is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from compbench.core.errors import DataError
from compbench.core.models import Source
from compbench.tasks.matching._dropped_relations import DROPPED
from compbench.tasks.matching._suite import BOX, OFFICIAL, Fields, Protocol, Suite
from compbench.tasks.matching._suite_pictures import Box
from compbench.tasks.matching._suite_rows import PLACE, FirstOf, JsonFiles, ParquetTable, Row

__all__ = ["ATTRIBUTION", "COCO_ORDER", "FLICKR_ORDER", "RELATION"]

_CITATION = """\
@inproceedings{yuksekgonul2023when,
  title = {When and Why Vision-Language Models Behave like Bags-of-Words, and What to Do About It?},
  author = {Yuksekgonul, Mert and Bianchi, Federico and Kalluri, Pratyusha and Jurafsky, Dan and Zou, James},
  booktitle = {International Conference on Learning Representations (ICLR)},
  year = {2023},
}
"""
_ORIGIN = "github.com/mertyg/vision-language-models-are-bows (read at 81fdd20; its files are on Google Drive)"
_LEAST_CASES = 25  # of a pair of attributes
_COLUMNS = ("true_caption", "false_caption")


def _relations(rows: Sequence[Row]) -> Sequence[Row]:
    """Cut to the box; a relation that means the same both ways does not count in the macro mean."""
    read: list[Row] = []
    for row in rows:
        relation = row.get("relation_name")
        if not isinstance(relation, str) or not relation:
            raise DataError(f"{row[PLACE]} has the relation_name {relation!r}; expected a word such as 'on'")
        counted = "" if relation in DROPPED else relation
        read.append({**_plain(row), BOX: _box(row), "relation": relation, "in_macro": counted})
    return read


def _attributes(rows: Sequence[Row]) -> Sequence[Row]:
    """Cut to the box; a pair of attributes counts in the macro mean where it has 25 cases."""
    pairs = [_attribute_pair(row) for row in rows]
    cases = Counter(pairs)
    return [
        {**_plain(row), BOX: _box(row), "attributes": pair, "in_macro": pair if cases[pair] >= _LEAST_CASES else ""}
        for row, pair in zip(rows, pairs, strict=True)
    ]


def _attribute_pair(row: Row) -> str:
    given = row.get("attributes")
    if not isinstance(given, list | tuple) or len(given) != 2:  # pyright: ignore[reportUnknownArgumentType]
        raise DataError(
            f"{row[PLACE]} has the attributes {given!r}; expected two, as visual_genome_attribution.json has them; "
            "a copy without them is judged as aro-attribution+mteb"
        )
    return f"{given[0]}_{given[1]}"


def _whole(rows: Sequence[Row]) -> Sequence[Row]:
    return [{**_plain(row), "relation": row.get("relation_name", "")} for row in rows]


def _plain(row: Row) -> Row:
    """The row, its picture in the column "image" in either layout."""
    return row if "image" in row else {**row, "image": row.get("image_path")}


def _box(row: Row) -> Box:
    box = row.get("bbox")
    sides = (
        [box.get(side) for side in "xywh"] if isinstance(box, dict) else [row.get(f"bbox_{side}") for side in "xywh"]
    )  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    numbers = [side for side in sides if isinstance(side, int | float) and not isinstance(side, bool)]
    if len(numbers) != len(sides):
        raise DataError(f"{row[PLACE]} has the box {sides}; expected x, y, width and height in pixels")
    x, y, width, height = map(float, numbers)
    return x, y, width, height


_FIELDS = Fields(("image",), _COLUMNS, group="image_path", tags={"relation": "relation", "in_macro": "in_macro"})
_MTEB = "The plain mean over whole pictures, as MTEB prints it."
RELATION = Suite(
    name="aro-relation",
    about="ARO, Visual Genome relation: 23,937 boxes with a caption and the same with its objects exchanged.",
    citation=_CITATION,
    origin=f"{_ORIGIN} or the hub's mteb/ARO-Visual-Relation",
    licence="MIT, pictures of Visual Genome; 765 MB on the hub",
    n_published=23_937,
    reader=FirstOf(
        (
            JsonFiles({"": "visual_genome_relation.json"}),
            ParquetTable("test", ("image",), (*_COLUMNS, "relation_name"), ("bbox",)),
        )
    ),
    fields=_FIELDS,
    protocols={
        OFFICIAL: Protocol(
            f"macro is the paper's score, the mean over relations without {len(DROPPED)} that it drops; text is the "
            "mean over examples. Pictures are cut to their box.",
            ("macro", "text"),
            _relations,
        ),
        "mteb": Protocol(_MTEB, ("text",), _whole),
    },
    whose_pictures="the authors' pictures of Visual Genome (vgr_vga_images.zip)",
    picture_folders=("images",),
    remote=Source("mteb/ARO-Visual-Relation", "53c1115ab5871ab33b09d5bb8856236d46bdaf2d"),
)
ATTRIBUTION = replace(
    RELATION,
    name="aro-attribution",
    about="ARO, Visual Genome attribution: 28,748 boxes with a caption and the same with its attributes exchanged.",
    origin=f"{_ORIGIN}; of the hub's mteb/ARO-Visual-Attribution only +mteb can be told",
    licence="MIT, pictures of Visual Genome",
    n_published=28_748,
    reader=FirstOf(
        (
            JsonFiles({"": "visual_genome_attribution.json"}),
            ParquetTable("test", ("image",), _COLUMNS, ("attributes", "bbox")),
        )
    ),
    fields=replace(_FIELDS, tags={"attributes": "attributes", "in_macro": "in_macro"}),
    protocols={
        OFFICIAL: Protocol(
            f"macro is the paper's score, the mean over pairs of attributes with {_LEAST_CASES} cases or more; text "
            "is the mean over examples. Pictures are cut to their box.",
            ("macro", "text"),
            _attributes,
        ),
        "mteb": Protocol(_MTEB, ("text",), _whole),
    },
    remote=Source("mteb/ARO-Visual-Attribution", "25fe9b460426ff67cdb0608a737c94f8f49a901e"),
)
_OPTIONS = ("correct_caption", *(f"hard_text_{n}" for n in range(1, 5)))
COCO_ORDER = Suite(
    name="aro-coco-order",
    about="ARO, COCO order: 25,010 captions of 5,000 pictures, each among four shuffles of its words.",
    citation=_CITATION,
    origin="the hub's frozen copy mteb/ARO-COCO-order; new shuffles give other scores, by up to 17 points",
    licence="pictures by COCO's terms; a shuffle may equal its caption, a tie that is wrong",
    n_published=25_010,
    reader=ParquetTable("test", ("images",), _OPTIONS),
    fields=Fields(("images",), _OPTIONS),
    protocols={OFFICIAL: Protocol("text is the paper's Precision@1.", ("text",))},
    remote=Source("mteb/ARO-COCO-order", "53c20afc02a87fed8c0245dde2e00f054da4b861"),
)
FLICKR_ORDER = replace(
    COCO_ORDER,
    name="aro-flickr-order",
    about="ARO, Flickr30k order: 5,000 captions of 1,000 pictures, each among four shuffles of its words.",
    origin="the hub's frozen copy mteb/ARO-Flickr-Order; new shuffles give other scores",
    licence="pictures by Flickr30k's terms; a shuffle may equal its caption, a tie that is wrong",
    n_published=5_000,
    remote=Source("mteb/ARO-Flickr-Order", "e5d7f3502345b2c398a6645b4d09b44e650287bf"),
)
