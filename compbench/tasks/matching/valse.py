"""VALSE: a caption and a foil for each of six linguistic phenomena, in eleven files.

The authors count what two of three annotators found valid, 7,702 of 8,782 examples; `valse+unfiltered` asks all. What
they print beside acc_r needs a score at which a model turns from no to yes; which that is, a protocol says.
"""

from __future__ import annotations

from collections.abc import Sequence

from compbench.core.errors import DataError
from compbench.registry.git_files import GitFiles
from compbench.tasks.matching._suite import OFFICIAL, Fields, Protocol, Suite
from compbench.tasks.matching._suite_rows import PLACE, SPLIT, JsonFiles, Row

__all__ = ["VALSE"]

# all, valid
SIZES = {
    "existence": (534, 505),
    "plurals": (1000, 851),
    "counting-hard": (1000, 868),
    "counting-small-quant": (1000, 900),
    "counting-adversarial": (756, 691),
    "relations": (614, 535),
    "action-replacement": (779, 648),
    "actant-swap": (1042, 949),
    "coreference-standard": (916, 708),
    "coreference-hard": (141, 104),
    "foil-it": (1000, 943),
}
_LEAST_VOTES = 2  # of three annotators who chose the caption, and not the foil


def _valid(rows: Sequence[Row]) -> Sequence[Row]:
    return [row for row in rows if _votes(row) >= _LEAST_VOTES]


def _votes(row: Row) -> int:
    mturk = row.get("mturk")
    votes = mturk.get("caption") if isinstance(mturk, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    if not isinstance(votes, int) or isinstance(votes, bool):
        raise DataError(f"{row[PLACE]} has mturk {str(mturk)[:60]!r}; expected the number of votes for its caption")
    return votes


_METRICS = "text is acc_r, how often the caption scores above its foil; macro is the plain mean of the eleven files"
_ABSOLUTE = (
    "For a model whose scores are {}: p_c is how often a caption scores above {}, p_f how often a foil scores below. "
    "The paper's acc is their mean, and it prints the smaller of them."
)
VALSE = Suite(
    name="valse",
    about="VALSE: 7,702 pictures with a caption and a foil, of six linguistic phenomena in eleven files.",
    citation="""\
@inproceedings{parcalabescu2022valse,
  title = {{VALSE}: A Task-Independent Benchmark for Vision and Language Models Centered on Linguistic Phenomena},
  author = {Parcalabescu, Letitia and Cafagna, Michele and Muradjan, Lilitta and Frank, Anette and Calixto, Iacer and
            Gatt, Albert},
  booktitle = {Proceedings of the Annual Meeting of the Association for Computational Linguistics (ACL)},
  year = {2022},
}
""",
    origin="github.com/Heidelberg-NLP/VALSE (read at 2152d90)",
    licence="MIT; the pictures by their own sets' terms",
    n_published=sum(valid for _, valid in SIZES.values()),
    reader=JsonFiles({name: f"{name}.json" for name in SIZES}, folder="VALSE"),
    fields=Fields(
        ("image_file",),
        ("caption", "foil"),
        tags={"tag": SPLIT, "phenomenon": "linguistic_phenomena", "in_macro": SPLIT},
    ),
    protocols={
        OFFICIAL: Protocol(f"{_METRICS}. Examples with fewer than two votes are left out.", ("text", "macro"), _valid),
        "unfiltered": Protocol(
            f"{_METRICS}. Examples that annotators found invalid are asked too; the foil of 24 is their caption.",
            ("text", "macro"),
            n_published=sum(n for n, _ in SIZES.values()),
        ),
        "log-odds": Protocol(_ABSOLUTE.format("log-odds", "0"), ("text", "macro", "p_c", "p_f"), _valid),
        "probability": Protocol(
            _ABSOLUTE.format("probabilities", "0.5"), ("text", "macro", "p_c_half", "p_f_half"), _valid
        ),
    },
    whose_pictures="Visual7W, COCO val2017, train2014 and val2014, SWiG images_512 and VisDial val2018",
    picture_folders=(
        "images",
        "visual7w/images",
        "val2017",
        "coco/val2017",
        "val2014",
        "coco/val2014",
        "train2014",
        "coco/train2014",
        "images_512",
        "SWiG/images_512",
        "VisualDialog_val2018",
    ),
    remote=GitFiles(
        "Heidelberg-NLP/VALSE",
        "2152d90d4aecd11f7f74cf03420abcb63efff9c5",
        tuple(f"data/{name}.json" for name in SIZES),
    ),
    tag_order={"tag": tuple(SIZES)},
)
