"""Small copies of the suites in their authors' layouts; captions invented, pictures plain colours.

Each function writes one suite below a folder and returns it; what it writes has every field that the source has.
"""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq

Files = dict[str, bytes]
SUGARCREPE = ("replace_obj", "replace_att", "replace_rel", "swap_obj", "swap_att", "add_obj", "add_att")
SUGARCREPE_PP = ("swap_obj", "swap_att", "replace_obj", "replace_att", "replace_rel")
VALSE = (
    "existence",
    "plurals",
    "counting-hard",
    "counting-small-quant",
    "counting-adversarial",
    "relations",
    "action-replacement",
    "actant-swap",
    "coreference-standard",
    "coreference-hard",
    "foil-it",
)
SPEC = ("absolute_size", "relative_size", "absolute_spatial", "relative_spatial", "existence", "count")
IMAGECODE = ("MSR-VTT-videoTrainValVideo_video2044-shot1_0", "open-images-1815_f91d6f546e63f20d")
CLEVR = (
    "pair_binding_size",
    "pair_binding_color",
    "recognition_color",
    "recognition_shape",
    "spatial",
    "binding_color_shape",
    "binding_shape_color",
)
SELF_BENCH = {
    "1.5": "stable-diffusion-v1-5",
    "2.0": "stable-diffusion-2-base",
    "3-m": "stable-diffusion-3-medium-diffusers",
}
PATTERNS = ("Orientation and Direction", "Color and Appearance")


def encoded(seed: int, size: tuple[int, int] = (24, 16), mode: str = "RGB", kind: str = "PNG") -> bytes:
    """A picture whose left half differs from its right one, as a file."""
    rng = np.random.default_rng(seed)
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    pixels[:, : size[0] // 2], pixels[:, size[0] // 2 :] = rng.integers(0, 256, (2, 3))
    stream = io.BytesIO()
    PIL.Image.fromarray(pixels).convert(mode).save(stream, kind)
    return stream.getvalue()


def write(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def as_json(content: object) -> bytes:
    return json.dumps(content).encode()


def parquet(rows: Sequence[Mapping[str, Any]], images: Sequence[str]) -> bytes:
    full = [row | {name: {"bytes": row[name], "path": f"{name}.jpg"} for name in images} for row in map(dict, rows)]
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(full), sink, row_group_size=2)
    return sink.getvalue()


def photos(folder: str, names: Sequence[str]) -> Files:
    return {f"{folder}/{name}": encoded(seed, kind="JPEG") for seed, name in enumerate(dict.fromkeys(names))}


# what each repository holds


def sugarcrepe(n: int = 3) -> Files:
    """Objects by number, of which swap_obj lacks one; blanks around a caption; photos that several examples share."""
    rows = {
        split: {
            str(number): {
                "filename": f"{number:012d}.jpg",
                "caption": f" A red hat beside {number} blue cats. ",
                "negative_caption": f"A blue hat beside {number} red cats.\n" if "swap" in split else f"{number} dogs.",
            }
            for number in range(n)
            if (split, number) != ("swap_obj", 1)
        }
        for split in SUGARCREPE
    }
    files = {f"data/{split}.json": as_json(content) for split, content in rows.items()}
    return files | photos("val2017", [f"{number:012d}.jpg" for number in range(n)])


def sugarcrepe_pp(n: int = 2) -> Files:
    rows = [
        {
            "id": number,
            "filename": f"{number:012d}.jpg",
            "caption": f"{number} cats sleep",
            "caption2": f"{number} sleeping cats",
            "negative_caption": f"{number} dogs sleep",
        }
        for number in range(n)
    ]
    return {f"data/{split}.json": as_json(rows) for split in SUGARCREPE_PP}


def coco_val2017(n: int = 3) -> Files:
    return photos("coco/val2017", [f"{number:012d}.jpg" for number in range(n)])


def bivlc() -> Files:
    rows = [
        {
            "image": encoded(number, kind="JPEG", mode="L" if number == 0 else "RGB"),  # a few are greyscale
            "caption": f"A hat beside {number} cats.",
            "negative_caption": f"A cat beside {number} hats.",
            "negative_image": encoded(100 + number, (32, 32)),
            "type": ("replace", "swap", "add")[number % 3],
            "subtype": ("rel", "obj", "att")[number % 3],
        }
        for number in range(4)
    ]
    images = ("image", "negative_image")
    return {f"data/test-0000{part}-of-00002.parquet": parquet(rows[part::2], images) for part in (0, 1)}


def colorswap() -> Files:
    """Fields count from one; a training split lies beside the test split."""

    def rows(n: int, first: int) -> list[dict[str, Any]]:
        return [
            {
                "id": number,
                "image_1": encoded(number),
                "image_2": encoded(50 + number),
                "caption_1": f"a red {number} and a blue cube",
                "caption_2": f"a blue {number} and a red cube",
                "image_source": ("midjourney", "dalle")[number % 2],
                "caption_source": "human",
            }
            for number in range(first, first + n)
        ]

    images = ("image_1", "image_2")
    return {
        "data/test-00000-of-00001.parquet": parquet(rows(3, 700), images),
        "data/train-00000-of-00001.parquet": parquet(rows(2, 0), images),
    }


def vismin() -> Files:
    """What save_to_disk writes: Arrow streams."""
    rows = [
        {
            "image_0": {"bytes": encoded(number), "path": None},
            "image_1": {"bytes": encoded(60 + number), "path": None},
            "text_0": f"{number} cats",
            "text_1": f"{number + 1} cats",
            "category": ("object", "attribute", "relation", "counting")[number],
        }
        for number in range(4)
    ]
    files: Files = {"dataset_dict.json": as_json({"splits": ["test"]})}
    for part in (0, 1):
        table, sink = pa.Table.from_pylist(rows[2 * part : 2 * part + 2]), io.BytesIO()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        files[f"test/data-0000{part}-of-00002.arrow"] = sink.getvalue()
    return files


def naturalbench() -> Files:
    """One zip with a list and a folder of pictures."""
    rows = [
        {
            "index": number,
            "image_0": f"{number}_0.jpg",
            "image_1": f"{number}_1.jpg",
            "caption_0": f"cats, {number}",
            "caption_1": f"dogs, {number}",
        }
        for number in range(3)
    ]
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("NaturalBench-Retrieval/metadata.json", json.dumps(rows))
        for seed, name in enumerate(row[f"image_{side}"] for row in rows for side in (0, 1)):
            archive.writestr(f"NaturalBench-Retrieval/images/{name}", encoded(seed, kind="JPEG"))
    return {"NaturalBench-Retrieval.zip": sink.getvalue()}


def cola() -> Files:
    """A list of lists; pictures are named by address, and one is in two pairs."""
    address = "https://cs-people.bu.edu/array/data/vg_gqa_images/"
    rows = [[f"{address}{n}.jpg", f"red {n} on blue", f"{address}{n + 1}.jpg", f"blue {n} on red"] for n in (1, 2, 3)]
    names = [f"{number}.jpg" for number in range(1, 5)]
    return {"data/COLA_multiobjects_matching_benchmark.json": as_json(rows)} | photos("images", names)


def mmvp(n_pairs: int = 2) -> Files:
    """Pairs of consecutive rows, pictures in a folder of their type."""
    sink, files = io.StringIO(newline=""), Files()
    writer = csv.writer(sink)
    writer.writerow(["Question ID", "Type", "Statement"])
    for number in range(1, 2 * n_pairs + 1):
        kind = PATTERNS[(number - 1) // 2 % 2]
        writer.writerow([number, kind, f"a dog, facing {('left', 'right')[number % 2]}"])
        files[f"MLLM_VLM Images/{kind}/{number}.jpg"] = encoded(number, kind="JPEG")
    return {"Questions.csv": sink.getvalue().encode(), **files}


def whatsup(subset: str = "A") -> Files:
    """Two sets of four photos; the right caption stands first, whatever its relation."""
    folder, file = ("controlled_images", "images") if subset == "A" else ("controlled_clevr", "clevr")
    relations = (
        ("on", "under", "left_of", "right_of") if subset == "A" else ("in-front_of", "behind", "left_of", "right_of")
    )
    words = {"left_of": "to the left of", "right_of": "to the right of", "in-front_of": "in front of"}
    rows = [
        {
            "image_path": f"data/{folder}/{first}_{relation}_{second}.jpeg",
            "caption_options": [
                f"A {first} {words.get(word, word)} a {second}"
                for word in (relation, *(other for other in relations if other != relation))
            ],
        }
        for first, second in (("pillow", "chair"), ("beer-bottle", "armchair"))
        for relation in relations
    ]
    names = [str(row["image_path"]).rpartition("/")[2] for row in rows]
    return {f"controlled_{file}_dataset.json": as_json(rows)} | photos(folder, names)


def spatial(source: str, n_objects: int) -> Files:
    """Rows [image id, right caption, wrong caption]."""
    one = [["A cat on the left", "A cat on the right"], ["A cat on the top", "A cat on the bottom"]]
    two = [["A cat to the left of a hat", "A cat to the right of a hat"], ["A cat above a hat", "A cat below a hat"]]
    numbers = (397133, 37777) if source == "coco" else (2370799, 2370800)
    rows = [[number, *captions] for number, captions in zip(numbers, (one, two)[n_objects - 1], strict=True)]
    names = [f"{number:012d}.jpg" if source == "coco" else f"{number}.jpg" for number in numbers]
    folder, prefix = ("val2017", "coco") if source == "coco" else ("vg_images", "vg")
    file = f"{prefix}_qa_{('one', 'two')[n_objects - 1]}_obj.json"
    return {file: as_json(rows)} | photos(folder, names)


def valse() -> Files:
    """Ids recur between files; one example of three is not valid, and its foil is its caption."""
    content = {
        name: {
            f"actions_test_{number}": {
                "dataset": "SWiG",
                "original_split": "test",
                "dataset_idx": f"{number}.jpg",
                "linguistic_phenomena": "actions",
                "image_file": f"picture_{number}.jpg",
                "caption": f"{number} men run.",
                "classes": "men",
                "classes_foil": "cats",
                "mturk": {"foil": 0, "caption": 3 - number, "other": number},
                "foil": f"{number} cats run." if number < 2 else f"{number} men run.",
            }
            for number in range(3)
        }
        for name in VALSE
    }
    files = {f"data/{name}.json": as_json(rows) for name, rows in content.items()}
    return files | photos("images", [f"picture_{number}.jpg" for number in range(3)])


def aro(kind: str = "relation") -> Files:
    """Whole pictures with a box each, 30 of one relation (or pair of attributes) and few of others."""
    names = ["on"] * 26 + ["next to"] * 2 + ["riding"] * 3
    rows = [
        {
            "image_path": f"{number % 4}.jpg",
            "bbox_x": 4,
            "bbox_y": 2,
            "bbox_w": 12,
            "bbox_h": 8,
            "true_caption": f"the hat is {name} the cat {number}",
            "false_caption": f"the cat is {name} the hat {number}",
            **({"relation_name": name} if kind == "relation" else {"attributes": ["red", name]}),
        }
        for number, name in enumerate(names)
    ]
    file = f"visual_genome_{kind}.json"
    return {file: as_json(rows)} | photos("images", [f"{number}.jpg" for number in range(4)])


def aro_on_the_hub(kind: str = "relation") -> Files:
    rows = [
        {
            "image": encoded(number % 2, kind="JPEG"),
            "true_caption": f"the hat is on the cat {number}",
            "false_caption": f"the cat is on the hat {number}",
            **({"relation_name": "on", "bbox": {"x": 4, "y": 2, "w": 12, "h": 8}} if kind == "relation" else {}),
        }
        for number in range(3)
    ]
    return {"data/test-00000-of-00001.parquet": parquet(rows, ("image",))}


def order() -> Files:
    """A caption and four shuffles, one of which is the caption itself."""
    rows = [
        {
            "images": encoded(number // 2, kind="JPEG"),
            "correct_caption": f"{number} cats on hats",
            "hard_text_1": f"hats {number} on cats",
            "hard_text_2": f"{number} hats on cats",
            "hard_text_3": f"on {number} cats hats",
            "hard_text_4": f"{number} cats on hats" if number == 3 else f"cats {number} hats on",
        }
        for number in range(4)
    ]
    return {"data/test-00000-of-00001.parquet": parquet(rows, ("images",))}


def eqben_mini() -> Files:
    """Pictures by subset, each with the captions of its pair."""
    subsets = ("eqbensd", "eqbenkubric_cnt", "eqbenkubric_loc", "eqbenag")
    rows = [
        {
            "image0": f"{subset}/{number}_0.png",
            "image1": f"{subset}/{number}_1.png",
            "caption0": f"{number} cats",
            "caption1": f"{number + 1} cats",
        }
        for number, subset in enumerate(subsets)
    ]
    names = [str(row[side]) for row in rows for side in ("image0", "image1")]
    return {"all_select.json": as_json(rows)} | {
        f"images/{name}": encoded(seed) for seed, name in enumerate(dict.fromkeys(names))
    }


def spec() -> Files:
    """Six subsets with a list of queries each way; options as long as the list, the right one anywhere in it."""
    files = Files()
    for number, subset in enumerate(SPEC):
        n = 2 + number % 3  # as in a subset of counts, more options than in one of existence
        names = [f"images/{place}.png" for place in range(n)]
        texts = [f"{place} cats" for place in range(n)]
        right = n - 1 - number % 2
        files[f"data/{subset}/image2text.json"] = as_json([{"query": names[right], "keys": texts, "label": right}])
        files[f"data/{subset}/text2image.json"] = as_json([{"query": texts[right], "keys": names, "label": right}])
        files |= {f"data/{subset}/{name}": encoded(10 * number + place) for place, name in enumerate(names)}
    return files


def spec_zip() -> Files:
    """data.zip, as the hub has it."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for name, content in spec().items():
            archive.writestr(name, content)
    return {"data.zip": sink.getvalue()}


def _frames() -> Files:
    """Ten pictures in each folder; the numbers in their names leave gaps and do not sort as text."""
    files = Files()
    for seed, directory in enumerate(IMAGECODE):
        for place in range(10):
            files[f"image-sets/{directory}/img{7 * place}.jpg"] = encoded(100 * seed + place, kind="JPEG")
    return files


def imagecode() -> Files:
    """Captions by the place of their picture."""
    captions = {IMAGECODE[0]: {"3": "a hat falls. ", "9": "a hat lies there"}, IMAGECODE[1]: {"0": "a deer"}}
    return {"data/valid_data.json": as_json(captions)} | _frames()


def imagecode_simple() -> Files:
    rows = [
        {"directory": IMAGECODE[0], "pos_idx": 9, "neg_idx": 2, "caption": "a hat lies there"},
        {"directory": IMAGECODE[1], "pos_idx": 0, "neg_idx": 1, "caption": "a deer"},
    ]
    return {"data/valid_simple.json": as_json(rows)} | _frames()


def clevr() -> Files:
    """By picture two pairs of captions; the file of places has the wrong one first."""
    names = [f"CLEVR_val{n}_000138.png" for n in (1, 2)]
    files = Files()
    for subset in CLEVR:
        pairs = [[f"{subset}: right {n}", f"{subset}: wrong {n}"] for n in (0, 1)]
        pairs = [pair[::-1] for pair in pairs] if subset == "spatial" else pairs
        files[f"data/clevr/captions/{subset}.json"] = as_json(dict.fromkeys(names, pairs))
    return files | {f"images/{name}": encoded(seed) for seed, name in enumerate(names)}


def self_bench(version: str = "2.0") -> Files:
    """A picture's metadata beside its four samples; the labels are spelled as each version spells them."""
    model = SELF_BENCH[version]
    prompts = {
        "single_object": ["a photo of a cat", "a photo of a dog"],
        "two_object": ["a photo of a cat and a dog", "a photo of a dog and a cat", "a photo of a cat and a cat"],
        "counting": {"cat": ["a photo of one cat", "a photo of two cats"]},
        "colors": {"cat": ["a photo of a red cat", "a photo of a blue cat", "a photo of a green cat"]},
        "position": {"cat": {"dog": ["a photo of a cat left of a dog", "a photo of a cat above a dog"]}},
        "color_attr": {"cat": {"dog": ["a photo of a red cat and a blue dog", "a photo of a blue cat and a red dog"]}},
    }
    made = [
        ("single_object", [{"class": "dog", "count": 1}], "a photo of a dog"),
        ("counting", [{"class": "cat", "count": 2}], "a photo of two cats"),
        ("position", [{"class": "dog"}, {"class": "cat"}], "a photo of a cat above a dog"),
        ("color_attr", [{"class": "cat"}, {"class": "dog"}], "a photo of a red cat and a blue dog"),
    ]
    files = {"prompts/zero_shot_prompts.json": as_json({"photo": prompts, "sketch": {}})}
    labels: list[dict[str, Any]] = []
    for number, (tag, include, prompt) in enumerate(made):
        folder = f"9.0/{model}/{number:05d}"
        files[f"{folder}/metadata.jsonl"] = as_json({"tag": tag, "include": include, "prompt": prompt})
        for sample in range(4):
            files[f"{folder}/samples/{sample:05d}.png"] = encoded(4 * number + sample)
            good = ["original_good", "original_good" if sample == 0 else "original_bad"]
            own = {"human_label": good[1]} if version == "2.0" else {"labels": [{"label": label} for label in good]}
            path = f"/somewhere/{folder}/samples/{sample:05d}.png"
            labels.append({"sample_path": path, "tag": tag, "original_prompt": prompt, **own})
    return files | {f"filter/SD-{version}-CFG=9.json": as_json(labels)}


def karpathy(source: str = "flickr", n: int = 12) -> Files:
    """A csv file whose cells are lists, and a zip; of COCO a few pictures have six captions, or seven."""
    file, folder = (
        ("test_1k_flickr.csv", "images_flickr_1k_test")
        if source == "flickr"
        else ("test_5k_mscoco_2014.csv", "images_mscoco_2014_5k_test")
    )
    sink, packed = io.StringIO(newline=""), io.BytesIO()
    writer = csv.writer(sink)
    writer.writerow(["raw", "sentids", "split", "filename", "img_id"])
    with zipfile.ZipFile(packed, "w") as archive:
        for number in range(n):
            n_captions = 5 + (number % 3 if source == "coco" else 0)
            raw = json.dumps([f"hat {number}, seen by {who}" for who in range(n_captions)])
            writer.writerow([raw, json.dumps(list(range(n_captions))), "test", f"{1000 + number}.jpg", number])
            archive.writestr(f"{folder}/{1000 + number}.jpg", encoded(number, kind="JPEG"))
    return {file: sink.getvalue().encode(), f"{folder}.zip": packed.getvalue()}


# task -> what a user's folder holds, examples, (images, captions) of each, and how many a paper has
SUITES: dict[str, tuple[Callable[[], Files], int, tuple[int, int], int | None]] = {
    "sugarcrepe": (sugarcrepe, 20, (1, 2), 7511),
    "sugarcrepe-replace-obj": (sugarcrepe, 3, (1, 2), 1652),
    "sugarcrepe-replace-att": (sugarcrepe, 3, (1, 2), 788),
    "sugarcrepe-replace-rel": (sugarcrepe, 3, (1, 2), 1406),
    "sugarcrepe-swap-obj": (sugarcrepe, 2, (1, 2), 245),
    "sugarcrepe-swap-att": (sugarcrepe, 3, (1, 2), 666),
    "sugarcrepe-add-obj": (sugarcrepe, 3, (1, 2), 2062),
    "sugarcrepe-add-att": (sugarcrepe, 3, (1, 2), 692),
    "sugarcrepe-pp": (lambda: sugarcrepe_pp() | coco_val2017(), 10, (1, 3), 4757),
    "sugarcrepe-pp-replace-obj": (lambda: sugarcrepe_pp() | coco_val2017(), 2, (1, 3), 1652),
    "sugarcrepe-pp-replace-att": (lambda: sugarcrepe_pp() | coco_val2017(), 2, (1, 3), 788),
    "sugarcrepe-pp-replace-rel": (lambda: sugarcrepe_pp() | coco_val2017(), 2, (1, 3), 1406),
    "sugarcrepe-pp-swap-obj": (lambda: sugarcrepe_pp() | coco_val2017(), 2, (1, 3), 245),
    "sugarcrepe-pp-swap-att": (lambda: sugarcrepe_pp() | coco_val2017(), 2, (1, 3), 666),
    "bivlc": (bivlc, 4, (2, 2), 2933),
    "colorswap": (colorswap, 3, (2, 2), 300),
    "vismin": (vismin, 4, (2, 2), 2084),
    "naturalbench-retrieval": (naturalbench, 3, (2, 2), None),
    "cola": (cola, 3, (2, 2), 210),
    "cola+2x2": (cola, 3, (2, 2), 210),
    "mmvp-vlm": (mmvp, 2, (2, 2), 135),
    "mmvp-vlm+text-side": (mmvp, 2, (2, 2), 135),
    "mmvp-vlm+2x2": (mmvp, 2, (2, 2), 135),
    "whatsup-a": (whatsup, 8, (1, 4), 412),
    "whatsup-a+labels-corrected": (whatsup, 8, (1, 4), 412),
    "whatsup-b": (lambda: whatsup("B"), 8, (1, 4), 408),
    "coco-spatial-one": (lambda: spatial("coco", 1), 2, (1, 2), 2247),
    "coco-spatial-two": (lambda: spatial("coco", 2), 2, (1, 2), 440),
    "gqa-spatial-one": (lambda: spatial("gqa", 1), 2, (1, 2), 1160),
    "gqa-spatial-two": (lambda: spatial("gqa", 2), 2, (1, 2), 291),
    "valse": (valse, 22, (1, 2), 7702),
    "valse+unfiltered": (valse, 33, (1, 2), 8782),
    "valse+log-odds": (valse, 22, (1, 2), 7702),
    "valse+probability": (valse, 22, (1, 2), 7702),
    "aro-relation": (aro, 31, (1, 2), 23937),
    "aro-relation+mteb": (aro, 31, (1, 2), 23937),
    "aro-attribution": (lambda: aro("attribution"), 31, (1, 2), 28748),
    "aro-attribution+mteb": (lambda: aro("attribution"), 31, (1, 2), 28748),
    "aro-coco-order": (order, 4, (1, 5), 25010),
    "aro-flickr-order": (order, 4, (1, 5), 5000),
    "eqben-mini": (eqben_mini, 4, (2, 2), None),
    "imagecode": (imagecode, 3, (10, 1), 2302),
    "imagecode-simple": (imagecode_simple, 2, (2, 1), 2302),
    "clevr-binding": (clevr, 28, (1, 2), 8036),
}
# of several shapes: task -> what a user's folder holds, how many examples of each shape, and how many a paper has
OF_SEVERAL_SHAPES: dict[str, tuple[Callable[[], Files], dict[tuple[int, int], int], int | None]] = {
    "spec-i2t": (spec, {(1, 2): 2, (1, 3): 2, (1, 4): 2}, None),
    "spec-t2i": (spec, {(2, 1): 2, (3, 1): 2, (4, 1): 2}, None),
    "self-bench-sd1.5": (lambda: self_bench("1.5"), {(1, 2): 16}, 2212),
    "self-bench-sd2": (self_bench, {(1, 2): 16}, 2212),
    "self-bench-sd2+correct": (self_bench, {(1, 2): 4}, 829),
    "self-bench-sd3-m": (lambda: self_bench("3-m"), {(1, 2): 16}, 2212),
    "self-bench-sd3-m+correct": (lambda: self_bench("3-m"), {(1, 2): 16}, 1529),
    "self-bench-sd1.5+correct": (lambda: self_bench("1.5"), {(1, 2): 4}, 717),
}

# task -> what a user's folder holds, examples, (images, captions) of each
RETRIEVAL: dict[str, tuple[Callable[[], Files], int, tuple[int, int]]] = {
    "flickr30k-i2t": (karpathy, 12, (1, 60)),
    "flickr30k-t2i": (karpathy, 60, (12, 1)),
    "coco-karpathy-i2t": (lambda: karpathy("coco"), 12, (1, 72)),
    "coco-karpathy-i2t+first-five": (lambda: karpathy("coco"), 12, (1, 60)),
}
HUBS: dict[str, tuple[str, str | None, Callable[[], Files]]] = {
    "sugarcrepe-pp": ("Aman-J/SugarCrepe_pp", "dea2a1b6f9e1069c609f676aa55ec61e9b65fb61", sugarcrepe_pp),
    "bivlc": ("imirandam/BiVLC", None, bivlc),
    "colorswap": ("stanfordnlp/colorswap", None, colorswap),
    "vismin": ("mair-lab/vismin-bench", "2f379d5b9a3af7f10d3266f6389b7b351e54c493", vismin),
    "naturalbench-retrieval": ("BaiqiL/NaturalBench", "b6a84a18ba24544169681d4b15543dd103d4d3bb", naturalbench),
    "spec-i2t": ("wjpoom/SPEC", "694dfdc74fe72acdc932fd5fc919b6b0268f7a07", spec_zip),
    "self-bench-sd2": ("eugene6923/Self-Bench", None, self_bench),
    "flickr30k-t2i": (
        "nlphuji/flickr_1k_test_image_text_retrieval",
        "c4a4cdc67b77fce148b45484a067957bf75ec4c3",
        karpathy,
    ),
    "coco-karpathy-i2t": (
        "nlphuji/mscoco_2014_5k_test_image_text_retrieval",
        "551c4f7667f06fa82b4ef0a07617bfc4cf324ac3",
        lambda: karpathy("coco"),
    ),
    "mmvp-vlm": ("MMVP/MMVP_VLM", "211372d5357398f914d806d07dc305aea1f257d2", mmvp),
    "aro-relation": ("mteb/ARO-Visual-Relation", "53c1115ab5871ab33b09d5bb8856236d46bdaf2d", aro_on_the_hub),
    "aro-attribution+mteb": (
        "mteb/ARO-Visual-Attribution",
        "25fe9b460426ff67cdb0608a737c94f8f49a901e",
        lambda: aro_on_the_hub("attribution"),
    ),
    "aro-coco-order": ("mteb/ARO-COCO-order", "53c20afc02a87fed8c0245dde2e00f054da4b861", order),
    "aro-flickr-order": ("mteb/ARO-Flickr-Order", "e5d7f3502345b2c398a6645b4d09b44e650287bf", order),
}
