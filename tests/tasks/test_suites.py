"""The suites, each in its authors' layout made small, by the reader that a user's run takes; what is odd in each."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

import suites_on_disk as disk
from compbench import registry
from compbench.core.errors import DataError, UnreadableImage, UsageError
from compbench.core.examples import Example, Task
from compbench.tasks.matching.valse import SIZES
from loopback_hub import loopback_hub, used_here

pytestmark = pytest.mark.usefixtures("own_cache")


def _read(name: str, folder: Path, files: disk.Files | None = None) -> Task:
    place = folder / name
    disk.write(place, disk.SUITES[name][0]() if files is None else files)
    return registry.task(name, data=place, is_offline=True)


def _by_id(task: Task) -> dict[str, Example]:
    return {example.id: example for example in task.examples}


# all of them


def test_every_suite_on_offer_has_a_small_copy_here() -> None:
    offered = {point.name for point in metadata.entry_points(group="compbench.tasks") if ".matching." in point.value}
    assert (
        offered - {"winoground"}
        <= {name.partition("+")[0] for name in disk.SUITES | disk.OF_SEVERAL_SHAPES | disk.RETRIEVAL} | _others()
    )


def _others() -> set[str]:
    """Tasks of the same room that are no suites."""
    return {point.name for point in metadata.entry_points(group="compbench.tasks") if "manifest" in point.value}


@pytest.mark.parametrize("name", disk.SUITES)
def test_a_suite_is_read_from_its_own_layout(name: str, tmp_path: Path) -> None:
    task, (_, n, shape, n_published) = _read(name, tmp_path), disk.SUITES[name]
    assert task.name == name
    assert len(task.examples) == n
    assert {example.shape for example in task.examples} == {shape}
    assert {tuple(metric.applies(shape) for metric in task.metrics.values())} == {(True,) * len(task.metrics)}
    assert all(caption == caption.strip() for example in task.examples for caption in example.captions)
    assert all(image.decode().size for example in task.examples for image in example.images)
    noted = "" if n_published is None else f"{name.partition('+')[0]}: {n_published:,} examples expected, {n} found"
    assert list(task.notes) == ([noted] if noted else [])
    assert "@inproceedings" in task.citation
    assert "From " in task.description


@pytest.mark.parametrize("name", disk.HUBS)
def test_a_suite_is_fetched_at_its_revision(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repo, commit, files = disk.HUBS[name]
    local = disk.write(tmp_path / "local", files() | disk.coco_val2017())
    at_hand = disk.write(tmp_path / "pictures", disk.coco_val2017()) if name == "sugarcrepe-pp" else None
    with loopback_hub() as hub, used_here(hub, tmp_path, monkeypatch):
        main = hub.add("datasets", repo, files() | {"README.md": b"# not read"}, commit).main
        fetched = registry.task(name, data=at_hand)
        assert f"{repo}/README.md" not in hub.fetched()
        hub.forget()
        again = registry.task(name, data=at_hand, is_offline=True)
        assert not hub.requests
    assert fetched.origin == f"hf:{repo}@{commit or main}"
    said = [note for note in fetched.notes if "is commit" in note]
    assert said == ([] if commit else [f"{name}: main of {repo} is commit {main}"])
    assert fetched.revision == again.revision == registry.task(name, data=local, is_offline=True).revision


@pytest.mark.parametrize("name", ["whatsup-a", "coco-spatial-one", "gqa-spatial-two"])
def test_without_a_hub_the_message_says_where_to_get_what(name: str) -> None:
    with pytest.raises(
        DataError, match=rf"{name} is not on a hub.*--data DIR with .*\.json.* from github.com/\w+.*, and "
    ):
        registry.task(name)


@pytest.mark.parametrize("name", disk.SUITES)
def test_a_folder_without_the_suite_is_told_what_was_expected(name: str, tmp_path: Path) -> None:
    (tmp_path / "holiday.txt").touch()
    with pytest.raises(DataError, match=r"expected|none of the|forbids fetching|not in the local cache"):
        registry.task(name, data=tmp_path, is_offline=True)


def test_pictures_that_are_missing_are_counted_and_the_first_are_named(tmp_path: Path) -> None:
    files = disk.sugarcrepe()
    del files["val2017/000000000001.jpg"]
    with pytest.raises(DataError, match=r"1 of 3 pictures are not in .*000000000001.jpg; expected COCO val2017"):
        _read("sugarcrepe-swap-att", tmp_path, files)
    task = registry.task("sugarcrepe-swap-att", data=tmp_path / "sugarcrepe-swap-att", skip_unreadable=True)
    assert "1 of 3 pictures are not in" in task.notes[-1]
    with pytest.raises(UnreadableImage):
        _by_id(task)["swap-att/1"].images[0].decode()
    with pytest.raises(DataError, match=r"none of the 3 pictures is in .*000000000000.jpg, .*expected COCO val2017"):
        _read("sugarcrepe-swap-obj", tmp_path, {n: c for n, c in disk.sugarcrepe(4).items() if n.startswith("data")})


@pytest.mark.parametrize(
    "name", ["../secret.jpg", "/etc/passwd", "a/../../b.jpg", "..\\secret.jpg", "C:\\b.jpg", "", 7]
)
def test_no_picture_is_looked_for_outside_the_folder(name: object, tmp_path: Path) -> None:
    sugar = json.loads(disk.sugarcrepe()["data/swap_att.json"]) | {
        "9": {"filename": name, "caption": "a", "negative_caption": "b"}
    }
    with pytest.raises(DataError, match=r"names the picture .*expected a name|expected the name of a file"):
        _read("sugarcrepe-swap-att", tmp_path, disk.sugarcrepe() | {"data/swap_att.json": disk.as_json(sugar)})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "is not JSON"),
        (b"3", "holds a int; expected an object or a list of rows"),
        (b'{"0": 3}', "row '0' of .* is '3'; expected an object or a list"),
        (
            b'{"0": {"caption": "a", "negative_caption": "b"}}',
            "row '0' of .* lacks 'filename'; found caption, negative",
        ),
        (b'{"0": {"filename": "a.jpg", "caption": " ", "negative_caption": "b"}}', "has an empty caption"),
        (b'{"0": {"filename": "a.jpg", "caption": null, "negative_caption": "b"}}', "has an empty caption: None"),
        (b"{}", "holds no example of sugarcrepe-swap-att"),
        (b"version https://git-lfs.github.com/spec/v1", "Git LFS pointer"),
    ],
)
def test_rows_that_cannot_be_read_are_named(content: bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=said):
        _read("sugarcrepe-swap-att", tmp_path, disk.sugarcrepe() | {"data/swap_att.json": content})


def test_a_split_that_is_missing_is_named(tmp_path: Path) -> None:
    files = disk.sugarcrepe()
    del files["data/add_att.json"]
    with pytest.raises(DataError, match=r"lacks add_att.json"):
        _read("sugarcrepe", tmp_path, files)


# protocols


def test_a_protocol_stands_in_the_task_s_name_and_the_official_one_does_not(tmp_path: Path) -> None:
    place = disk.write(tmp_path, disk.mmvp())
    tasks = {name: registry.task(name, data=place) for name in ("mmvp-vlm", "mmvp-vlm+official", "mmvp-vlm+2x2")}
    assert [task.name for task in tasks.values()] == ["mmvp-vlm", "mmvp-vlm", "mmvp-vlm+2x2"]
    assert tasks["mmvp-vlm"].revision == tasks["mmvp-vlm+official"].revision != tasks["mmvp-vlm+2x2"].revision


def test_an_unknown_protocol_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"task 'mmvp-vlm' has no protocol '2by2'; expected one of 2x2, official"):
        registry.task("mmvp-vlm+2by2", data=tmp_path)
    with pytest.raises(UsageError, match="takes one protocol, got 2x2 and text-side"):
        registry.task("mmvp-vlm+2x2+text-side", data=tmp_path)
    with pytest.raises(UsageError, match=r"task 'shapes' has no protocols; leave out '\+mean'"):
        registry.task("shapes+mean")
    with pytest.raises(UsageError, match="no task named 'mmvp-vln"):
        registry.task("mmvp-vln+2x2")


# what is odd in each


def test_sugarcrepe_keeps_its_keys_trims_blanks_and_marks_what_differs_in_word_order(tmp_path: Path) -> None:
    task = _read("sugarcrepe", tmp_path)
    examples = _by_id(task)
    assert "swap-obj/1" not in examples  # a key that is missing moves no other
    assert examples["swap-obj/2"].captions == ("A red hat beside 2 blue cats.", "A blue hat beside 2 red cats.")
    assert examples["swap-obj/2"].images[0].name == "000000000002.jpg"
    assert examples["swap-obj/2"].matches.tolist() == [[True, False]]
    assert examples["swap-obj/2"].tags == {
        "tag": ("swap-obj",),
        "words": ("word order alone",),
        "in_macro": ("swap-obj",),
    }
    assert examples["add-att/2"].tags["words"] == ()
    assert examples["add-att/2"].group == examples["swap-obj/2"].group != examples["add-att/0"].group  # one photo
    alone = _read("sugarcrepe-swap-obj", tmp_path)
    assert [example.id for example in alone.examples] == ["swap-obj/0", "swap-obj/2"]
    assert (list(task.metrics), list(alone.metrics)) == (["text", "macro"], ["text"])


def test_sugarcrepe_plus_plus_has_two_true_captions(tmp_path: Path) -> None:
    example = _by_id(_read("sugarcrepe-pp", tmp_path))["swap-obj/1"]
    assert example.captions == ("1 cats sleep", "1 sleeping cats", "1 dogs sleep")
    assert example.matches.tolist() == [[True, True, False]]


def test_bivlc_reads_both_files_and_greyscale_pictures(tmp_path: Path) -> None:
    task = _read("bivlc", tmp_path)
    assert {example.tags["tag"] for example in task.examples} == {("replace-rel",), ("swap-obj",), ("add-att",)}
    assert list(task.metrics) == ["text", "image", "group", "ipos_2t", "ineg_2t", "tpos_2i", "tneg_2i"]
    assert {example.images[0].decode().mode for example in task.examples} == {"L", "RGB"}
    assert all(example.captions[0].startswith("A hat") for example in task.examples)  # the positive is first


def test_colorswap_counts_from_one_and_reads_the_test_split(tmp_path: Path) -> None:
    examples = _by_id(_read("colorswap", tmp_path))
    assert list(examples) == ["700", "701", "702"]
    assert examples["700"].captions == ("a red 700 and a blue cube", "a blue 700 and a red cube")
    assert examples["700"].tags["tag"] == ("midjourney",)


def test_vismin_reads_what_save_to_disk_wrote(tmp_path: Path) -> None:
    task = _read("vismin", tmp_path)
    assert [example.tags["tag"][0] for example in task.examples] == ["object", "attribute", "relation", "counting"]
    assert task.revision == registry.task("vismin", data=tmp_path / "vismin" / "test").revision


def test_naturalbench_is_the_same_packed_and_unpacked(tmp_path: Path) -> None:
    import zipfile

    packed = _read("naturalbench-retrieval", tmp_path)
    with zipfile.ZipFile(tmp_path / "naturalbench-retrieval" / "NaturalBench-Retrieval.zip") as archive:
        archive.extractall(tmp_path / "unpacked")
    assert registry.task("naturalbench-retrieval", data=tmp_path / "unpacked").revision == packed.revision


def test_cola_is_of_the_image_side_and_its_other_side_is_named(tmp_path: Path) -> None:
    task = _read("cola", tmp_path)
    assert list(task.metrics) == ["image"]
    assert [image.name for image in task.examples[0].images] == ["1.jpg", "2.jpg"]
    assert list(_read("cola+2x2", tmp_path).metrics) == ["text", "image", "group", "group_match"]


def test_mmvp_has_three_protocols(tmp_path: Path) -> None:
    official, text_side, both = (_read(f"mmvp-vlm{name}", tmp_path) for name in ("", "+text-side", "+2x2"))
    assert [list(task.metrics) for task in (official, text_side)] == [["image"], ["text"]]
    assert official.examples[0].captions == ("a photo of a dog, facing right", "a photo of a dog, facing left")
    assert both.examples[0].captions == ("a dog, facing right", "a dog, facing left")
    assert [example.id for example in official.examples] == ["1-2", "3-4"]
    assert [image.name for image in both.examples[1].images] == [f"{disk.PATTERNS[1]}/{n}.jpg" for n in (3, 4)]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["1,A,a", "2,A,b", "3,A,c"], "has no partner"),
        (["1,A,a", "3,A,b"], "does not match the row before"),
        (["2,A,a", "1,A,b"], "does not match the row before"),
        (["1,A,a", "2,B,b"], "does not match the row before"),
        (["1,A,a", "2,A, "], "has an empty caption_1"),
        (["1,A"], "has 2 cells; expected 3"),
    ],
)
def test_mmvp_rows_that_are_no_pairs_are_refused(lines: list[str], said: str, tmp_path: Path) -> None:
    content = "\r\n".join(["Question ID,Type,Statement", *lines, ""]).encode("utf-8-sig")
    with pytest.raises(DataError, match=said):
        _read("mmvp-vlm", tmp_path, disk.mmvp() | {"Questions.csv": content})


def test_whatsup_sorts_photos_into_pairs_and_sets(tmp_path: Path) -> None:
    for name in ("whatsup-a", "whatsup-b"):
        examples = _read(name, tmp_path).examples
        for column, size in (("in_pair", 2), ("in_set", 4)):
            values = [example.tags[column][0] for example in examples]
            assert sorted(values.count(value) for value in set(values)) == [size] * (8 // size)
        assert [example.group for example in examples] == [
            example.tags["in_set"][0] for example in examples
        ]  # drawn together
    tags = _by_id(_read("whatsup-a", tmp_path))["beer-bottle_left_of_armchair"].tags
    assert tags["tag"] == ("left",)
    assert tags["in_pair"] == ("beer-bottle and armchair: left and right",)


def test_the_exchanged_pillow_and_chair_are_mended_by_name(tmp_path: Path) -> None:
    left, right = "pillow_left_of_chair", "pillow_right_of_chair"
    published, corrected = (_by_id(_read(f"whatsup-a{name}", tmp_path)) for name in ("", "+labels-corrected"))
    assert published[left].captions[0] == "A pillow to the left of a chair"
    assert (corrected[left].captions, corrected[right].captions) == (
        published[right].captions,
        published[left].captions,
    )
    assert corrected[left].tags["tag"] == ("right",)
    others = [name for name in published if name not in (left, right)]
    assert all(published[name].captions == corrected[name].captions for name in others)
    files = {name: content for name, content in disk.whatsup().items() if name.endswith(".jpeg")}
    rows = [
        row for row in json.loads(disk.whatsup()["controlled_images_dataset.json"]) if "pillow" not in row["image_path"]
    ]
    with pytest.raises(DataError, match="expected all of What'sUp A"):
        _read(
            "whatsup-a+labels-corrected",
            tmp_path / "few",
            files | {"controlled_images_dataset.json": disk.as_json(rows)},
        )


def test_the_spatial_sets_name_their_pictures_as_coco_and_visual_genome_do(tmp_path: Path) -> None:
    coco, gqa = _read("coco-spatial-one", tmp_path), _read("gqa-spatial-two", tmp_path)
    assert [example.images[0].name for example in coco.examples] == ["000000397133.jpg", "000000037777.jpg"]
    assert [example.images[0].name for example in gqa.examples] == ["2370799.jpg", "2370800.jpg"]
    assert [example.tags["tag"][0] for example in coco.examples] == ["left", "top"]
    assert [example.tags["tag"][0] for example in gqa.examples] == ["left", "above"]


def test_valse_counts_what_two_annotators_found_valid(tmp_path: Path) -> None:
    official, whole = _read("valse", tmp_path), _read("valse+unfiltered", tmp_path)
    assert set(_by_id(whole)) - set(_by_id(official)) == {f"{name}/actions_test_2" for name in disk.VALSE}
    assert all(example.captions[0] != example.captions[1] for example in official.examples)
    assert [sum(column) for column in zip(*SIZES.values(), strict=True)] == [8782, 7702]
    assert _by_id(whole)["actant-swap/actions_test_0"].id != "action-replacement/actions_test_0"  # one key, two files


def test_valse_has_its_absolute_scores_by_the_scale_of_a_model(tmp_path: Path) -> None:
    odds, probability = (_read(f"valse+{name}", tmp_path) for name in ("log-odds", "probability"))
    assert list(odds.metrics) == ["text", "macro", "p_c", "p_f"]
    assert list(probability.metrics) == ["text", "macro", "p_c_half", "p_f_half"]
    assert "prints the smaller of them" in odds.description


def test_valse_files_go_by_hyphens_or_underscores(tmp_path: Path) -> None:
    renamed = {name.replace("-", "_") if name.startswith("data") else name: c for name, c in disk.valse().items()}
    assert _read("valse", tmp_path, renamed).revision == _read("valse", tmp_path / "b").revision


def test_aro_cuts_to_the_box_and_leaves_relations_out_of_the_macro_mean(tmp_path: Path) -> None:
    official, whole = _read("aro-relation", tmp_path), _read("aro-relation+mteb", tmp_path)
    assert {example.images[0].decode().size for example in official.examples} == {(12, 8)}
    assert {example.images[0].decode().size for example in whole.examples} == {(24, 16)}
    assert {example.group for example in official.examples} == {
        f"{number}.jpg" for number in range(4)
    }  # not of the boxes
    counted = {example.tags["relation"][0]: example.tags["in_macro"] for example in official.examples}
    assert counted == {"on": ("on",), "next to": (), "riding": ("riding",)}
    assert (list(official.metrics), list(whole.metrics)) == (["macro", "text"], ["text"])


def test_aro_counts_pairs_of_attributes_with_25_cases(tmp_path: Path) -> None:
    examples = _read("aro-attribution", tmp_path).examples
    counted = {example.tags["attributes"][0]: example.tags["in_macro"] for example in examples}
    assert counted == {"red_on": ("red_on",), "red_next to": (), "red_riding": ()}


def test_a_copy_without_attributes_is_refused_under_the_official_protocol(tmp_path: Path) -> None:
    place = disk.write(tmp_path, disk.aro_on_the_hub("attribution"))
    with pytest.raises(DataError, match=r"expected two, as visual_genome_attribution.json .*aro-attribution\+mteb"):
        registry.task("aro-attribution", data=place)


def test_a_picture_that_was_cut_already_is_not_cut_again(tmp_path: Path) -> None:
    files = disk.aro() | {f"images/{n}.jpg": disk.encoded(n, (12, 8), kind="JPEG") for n in range(4)}
    with pytest.raises(UnreadableImage, match="it is already cropped; expected the whole picture"):
        _read("aro-relation", tmp_path, files)


def test_a_box_outside_its_picture_is_told(tmp_path: Path) -> None:
    files = disk.aro() | {f"images/{n}.jpg": disk.encoded(n, (4, 4), kind="JPEG") for n in range(4)}
    with pytest.raises(UnreadableImage, match="lies outside its 4 x 4 pixels"):
        _read("aro-relation", tmp_path, files)


def test_a_shuffle_that_equals_its_caption_is_a_tie(tmp_path: Path) -> None:
    task = _read("aro-coco-order", tmp_path)
    example = task.examples[3]
    assert example.captions[0] == example.captions[4]
    assert example.matches.tolist() == [[True, False, False, False, False]]
    assert task.examples[0].group == task.examples[1].group != task.examples[2].group  # captions of one picture
    assert np.all(task.metrics["text"].chance(example.matches) == 1 / 5)
