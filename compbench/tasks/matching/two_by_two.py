"""Suites of Winoground's shape, two images and two captions: BiVLC, ColorSwap, VisMin, NaturalBench, COLA, EqBen,
MMVP-VLM.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from compbench.core.errors import DataError
from compbench.core.models import Source
from compbench.registry.git_files import GitFiles
from compbench.tasks.matching._suite import MATCHED, OFFICIAL, Fields, Protocol, Suite
from compbench.tasks.matching._suite_rows import (
    KEY,
    PLACE,
    SPLIT,
    ArrowTable,
    JsonFiles,
    ParquetTable,
    QuestionFile,
    Row,
)

__all__ = ["BIVLC", "COLA", "COLORSWAP", "EQBEN_MINI", "MMVP_VLM", "NATURALBENCH", "VISMIN"]

_EXTRA = (*MATCHED, "group_match")


def _with_kind(rows: Sequence[Row]) -> Sequence[Row]:
    return [{**row, "kind": f"{row['type']}-{row['subtype']}"} for row in rows]


BIVLC = Suite(
    name="bivlc",
    about="BiVLC: 2,933 COCO photos with their caption, and a foil with a picture generated from it.",
    citation="""\
@inproceedings{miranda2024bivlc,
  title = {{BiVLC}: Extending Vision-Language Compositionality Evaluation with Text-to-Image Retrieval},
  author = {Miranda, Imanol and Salaberria, Ander and Agirre, Eneko and Azkune, Gorka},
  booktitle = {Advances in Neural Information Processing Systems (NeurIPS), Datasets and Benchmarks},
  year = {2024},
}
""",
    origin="the hub's imirandam/BiVLC (read at 618ad54)",
    licence="MIT; 537 MB with its pictures; every foil's picture is generated and every other a photo, a cue of style",
    n_published=2933,
    reader=ParquetTable("test", ("image", "negative_image"), ("caption", "negative_caption", "type", "subtype")),
    fields=Fields(("image", "negative_image"), ("caption", "negative_caption"), tags={"tag": "kind"}),
    protocols={
        OFFICIAL: Protocol(
            "text, image and group are the paper's I2T, T2I and group score; ipos_2t, ineg_2t, tpos_2i and tneg_2i "
            "are of the photo, the generated picture, the caption and the foil alone.",
            (*MATCHED, "ipos_2t", "ineg_2t", "tpos_2i", "tneg_2i"),
            _with_kind,
        )
    },
    remote=Source("imirandam/BiVLC"),
    tag_order={
        "tag": ("replace-obj", "replace-att", "replace-rel", "swap-obj", "swap-att", "add-obj", "add-att"),
    },
)
COLORSWAP = Suite(
    name="colorswap",
    about="ColorSwap: 300 pairs of pictures whose captions exchange two colours.",
    citation="""\
@inproceedings{burapacheep2024colorswap,
  title = {{ColorSwap}: A Color and Word Order Dataset for Multimodal Evaluation},
  author = {Burapacheep, Jirayu and Gaur, Ishan and Bhatia, Agam and Thrush, Tristan},
  booktitle = {Findings of the Association for Computational Linguistics (ACL)},
  year = {2024},
}
""",
    origin="the hub's stanfordnlp/colorswap, split test",
    licence="MIT; the hub asks to accept its conditions; pictures inside",
    n_published=300,
    reader=ParquetTable("test", ("image_1", "image_2"), ("id", "caption_1", "caption_2"), ("image_source",)),
    fields=Fields(("image_1", "image_2"), ("caption_1", "caption_2"), id="id", tags={"tag": "image_source"}),
    protocols={OFFICIAL: Protocol("Winoground's metrics.", _EXTRA)},
    remote=Source("stanfordnlp/colorswap"),
)
VISMIN = Suite(
    name="vismin",
    about="VisMin: 2,084 pairs of pictures with one small change, of an object, an attribute, a relation or a count.",
    citation="""\
@inproceedings{awal2024vismin,
  title = {{VisMin}: Visual Minimal-Change Understanding},
  author = {Awal, Rabiul and Ahmadi, Saba and Zhang, Le and Agrawal, Aishwarya},
  booktitle = {Advances in Neural Information Processing Systems (NeurIPS)},
  year = {2024},
}
""",
    origin="the hub's mair-lab/vismin-bench, as save_to_disk wrote it",
    licence="CC-BY-4.0; 1.5 GB with its pictures, mostly edited or generated; an open thread there says that some "
    "pairs are mixed up",
    n_published=2084,
    reader=ArrowTable("test", ("image_0", "image_1"), ("text_0", "text_1", "category")),
    fields=Fields(("image_0", "image_1"), ("text_0", "text_1"), tags={"tag": "category"}),
    protocols={OFFICIAL: Protocol("Winoground's metrics by category.", _EXTRA)},
    remote=Source("mair-lab/vismin-bench", "2f379d5b9a3af7f10d3266f6389b7b351e54c493"),
    tag_order={"tag": ("object", "attribute", "relation", "counting")},
)
NATURALBENCH = Suite(
    name="naturalbench-retrieval",
    about="NaturalBench-Retrieval: pairs of photos and captions that vision-language models confuse.",
    citation="""\
@inproceedings{li2024naturalbench,
  title = {{NaturalBench}: Evaluating Vision-Language Models on Natural Adversarial Samples},
  author = {Li, Baiqi and Lin, Zhiqiu and Peng, Wenxuan and Nyandwi, Jean de Dieu and Jiang, Daniel and Ma, Zixian and
            Khanuja, Simran and Krishna, Ranjay and Neubig, Graham and Ramanan, Deva},
  booktitle = {Advances in Neural Information Processing Systems (NeurIPS), Datasets and Benchmarks},
  year = {2024},
}
""",
    origin="the hub's BaiqiL/NaturalBench, NaturalBench-Retrieval.zip",
    licence="Apache-2.0; 332 MB with its photos of Flickr30k and DOCCI",
    n_published=None,
    reader=JsonFiles({"": "metadata.json"}, folder="NaturalBench-Retrieval", archive="NaturalBench-Retrieval.zip"),
    fields=Fields(("image_0", "image_1"), ("caption_0", "caption_1"), id="index"),
    protocols={OFFICIAL: Protocol("Winoground's metrics.", _EXTRA)},
    picture_folders=("NaturalBench-Retrieval/images", "images"),
    remote=Source("BaiqiL/NaturalBench", "b6a84a18ba24544169681d4b15543dd103d4d3bb"),
)


def _cola_rows(rows: Sequence[Row]) -> Sequence[Row]:
    """The address of a picture ends in the name of its file."""
    return [{**row, **{side: str(row.get(side, "")).rpartition("/")[2] for side in ("0", "2")}} for row in rows]


COLA = Suite(
    name="cola",
    about="COLA, multi-object: 210 pairs of Visual Genome pictures whose captions exchange attributes.",
    citation="""\
@inproceedings{ray2023cola,
  title = {{COLA}: A Benchmark for Compositional Text-to-image Retrieval},
  author = {Ray, Arijit and Radenovic, Filip and Dubey, Abhimanyu and Plummer, Bryan A. and Krishna, Ranjay and
            Saenko, Kate},
  booktitle = {Advances in Neural Information Processing Systems (NeurIPS), Datasets and Benchmarks},
  year = {2023},
}
""",
    origin="github.com/arijitray1993/COLA (read at 1fa52fb)",
    licence="MIT",
    n_published=210,
    reader=JsonFiles({"": "COLA_multiobjects_matching_benchmark.json"}, folder="COLA"),
    fields=Fields(("0", "2"), ("1", "3")),
    protocols={
        OFFICIAL: Protocol("The paper's score is of the image side alone.", ("image",), _cola_rows),
        "2x2": Protocol("Winoground's metrics; later papers print the text side.", _EXTRA, _cola_rows),
    },
    whose_pictures="Visual Genome, as cs-people.bu.edu/array/data/vg_gqa_images has it",
    picture_folders=("vg_gqa_images", "images", "VG_100K", "vg_images"),
    remote=GitFiles(
        "arijitray1993/COLA",
        "1fa52fba9cff4e6ffb7bfcf3550838748347273b",
        ("data/COLA_multiobjects_matching_benchmark.json",),
    ),
)


def _eqben_rows(rows: Sequence[Row]) -> Sequence[Row]:
    """A subset is the first part of a picture's path."""
    return [{**row, "subset": str(row.get("image0", "")).partition("/")[0]} for row in rows]


EQBEN_MINI = Suite(
    name="eqben-mini",
    about="EqBen-mini: pairs of video frames, renders and generated pictures with one small difference.",
    citation="""\
@inproceedings{wang2023eqben,
  title = {Equivariant Similarity for Vision-Language Foundation Models},
  author = {Wang, Tan and Lin, Kevin and Li, Linjie and Lin, Chung-Ching and Yang, Zhengyuan and Zhang, Hanwang and
            Liu, Zicheng and Wang, Lijuan},
  booktitle = {Proceedings of the IEEE/CVF International Conference on Computer Vision (ICCV)},
  year = {2023},
}
""",
    origin="github.com/linzhiqiu/t2v_metrics (read at 6ecb74f; its eqben_vllm.zip is on Google Drive)",
    licence="Apache-2.0 by EqBen's code; pictures inside",
    n_published=None,
    reader=JsonFiles({"": "all_select.json"}, folder="eqben_vllm"),
    fields=Fields(("image0", "image1"), ("caption0", "caption1"), tags={"tag": "subset"}),
    protocols={OFFICIAL: Protocol("Winoground's metrics by subset.", _EXTRA, _eqben_rows)},
    picture_folders=("eqben_vllm/images", "images"),
    tag_order={
        "tag": (
            "eqbensd",
            "eqbenkubric_cnt",
            "eqbenkubric_loc",
            "eqbenkubric_attr",
            "eqbengebc",
            "eqbenag",
            "eqbenyoucook2",
        )
    },
)
_PREFIX = "a photo of "


def _mmvp_pairs(prefix: str, rows: Sequence[Row]) -> Sequence[Row]:
    """Pairs are consecutive rows, of which the first has the odd number; both are of the type of the first."""
    if len(rows) % 2:
        raise DataError(f"{rows[-1][PLACE]} has no partner; expected two consecutive rows for each pair")
    return [_mmvp_pair(prefix, *pair) for pair in zip(rows[::2], rows[1::2], strict=True)]


def _mmvp_pair(prefix: str, first: Row, second: Row) -> Row:
    numbers = [str(row["Question ID"]).strip() for row in (first, second)]
    kinds = [str(row["Type"]).strip() for row in (first, second)]
    is_pair = all(number.isdecimal() for number in numbers) and int(numbers[0]) % 2 and not int(numbers[1]) % 2
    if not is_pair or kinds[0] != kinds[1]:
        raise DataError(
            f"{second[PLACE]} ({numbers[1]}, {kinds[1]}) does not match the row before it ({numbers[0]}, {kinds[0]}); "
            "expected an odd and an even number of one type"
        )
    sides = {f"image_{side}": f"{kinds[0]}/{number}.jpg" for side, number in enumerate(numbers)}
    captions = {f"caption_{side}": _statement(prefix, row) for side, row in enumerate((first, second))}
    return {**sides, **captions, "type": kinds[0], KEY: "-".join(numbers), SPLIT: "", PLACE: first[PLACE]}


def _statement(prefix: str, row: Row) -> str:
    statement = str(row["Statement"]).strip()
    return prefix + statement if statement else ""


_with_prefix: Callable[[Sequence[Row]], Sequence[Row]] = partial(_mmvp_pairs, _PREFIX)
MMVP_VLM = Suite(
    name="mmvp-vlm",
    about="MMVP-VLM: 135 pairs of pictures that CLIPs hardly tell apart, 15 of each of nine visual patterns.",
    citation="""\
@inproceedings{tong2024eyes,
  title = {Eyes Wide Shut? Exploring the Visual Shortcomings of Multimodal {LLM}s},
  author = {Tong, Shengbang and Liu, Zhuang and Zhai, Yuexiang and Ma, Yi and LeCun, Yann and Xie, Saining},
  booktitle = {Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  year = {2024},
}
""",
    origin="the hub's MMVP/MMVP_VLM (read at 211372d)",
    licence="MIT; pictures inside",
    n_published=135,
    reader=QuestionFile("Questions.csv", ("Question ID", "Type", "Statement"), further=("MLLM_VLM Images/*/*.jpg",)),
    fields=Fields(("image_0", "image_1"), ("caption_0", "caption_1"), tags={"tag": "type"}),
    protocols={
        OFFICIAL: Protocol(
            'The image side, captions after "a photo of ". The authors\' script gives a tie to the second picture; '
            "here it is wrong.",
            ("image",),
            _with_prefix,
        ),
        "text-side": Protocol('The text side, captions after "a photo of ".', ("text",), _with_prefix),
        "2x2": Protocol("Winoground's metrics, captions as they are.", _EXTRA, partial(_mmvp_pairs, "")),
    },
    picture_folders=("MLLM_VLM Images", "MLLM_VLM_Images"),
    remote=Source("MMVP/MMVP_VLM", "211372d5357398f914d806d07dc305aea1f257d2"),
)
