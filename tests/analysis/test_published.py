"""Published scores: the arithmetic gives whole numbers of examples, and rows stand beside a run."""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict
from pathlib import Path

import pytest
import test_tables

from compbench import registry
from compbench.cli.app import main
from compbench.core.errors import UsageError
from compbench.store.run import Run
from compbench.tasks.matching.valse import SIZES as SIZES_OF_VALSE
from compbench_analysis.frames import published, tables
from compbench_analysis.text import show
from compbench_analysis.text.render import FORMATS

SIZES = {"Object": 141, "Relation": 233, "Both": 26, "1 pred": 292, "2 preds": 108, "overall": 400}
# of the suites: (task, tag) -> examples
SPLITS = {
    "replace-obj": 1652,
    "replace-att": 788,
    "replace-rel": 1406,
    "swap-obj": 245,
    "swap-att": 666,
    "add-obj": 2062,
    "add-att": 692,
}
KINDS = {
    "replace-obj": 1200,
    "replace-att": 437,
    "replace-rel": 462,
    "swap-obj": 81,
    "swap-att": 278,
    "add-obj": 399,
    "add-att": 76,
}
PATTERNS = (
    "Orientation and Direction",
    "Presence of Specific Features",
    "State and Condition",
    "Quantity and Count",
    "Positional and Relational Context",
    "Color and Appearance",
    "Structural Characteristics",
    "Texts",
    "Viewpoint and Perspective",
)
SIZES_OF_SUITES = {
    **{("sugarcrepe", split): n for split, n in SPLITS.items()},
    **{(f"sugarcrepe-{split}", "overall"): n for split, n in SPLITS.items()},
    **{("bivlc", kind): n for kind, n in KINDS.items()},
    ("bivlc", "overall"): 2933,
    ("colorswap", "overall"): 300,
    ("whatsup-a", "overall"): 412,
    ("whatsup-b", "overall"): 408,
    ("coco-spatial-one", "overall"): 2247,
    ("coco-spatial-two", "overall"): 440,
    ("gqa-spatial-one", "overall"): 1160,
    ("gqa-spatial-two", "overall"): 291,
    **{("valse", name): valid for name, (_, valid) in SIZES_OF_VALSE.items()},
    **{("mmvp-vlm+2x2", pattern): 15 for pattern in PATTERNS},
    **{("mmvp-vlm+text-side", pattern): 15 for pattern in PATTERNS},
    ("aro-flickr-order", "overall"): 5000,
    ("aro-coco-order", "overall"): 25010,
    ("aro-relation", "overall"): 23937,
    ("aro-attribution", "overall"): 28748,
    ("cola+2x2", "overall"): 210,
    ("vismin", "object"): 579,
    ("vismin", "attribute"): 294,
    ("vismin", "relation"): 622,
    ("vismin", "counting"): 589,
    **{("eqben-mini", f"eqbenkubric_{kind}"): 20 for kind in ("attr", "loc", "cnt")},
    ("imagecode", "video"): 1872,
    ("imagecode", "static"): 430,
    ("flickr30k-i2t", "overall"): 1000,
    ("flickr30k-t2i", "overall"): 5000,
    ("coco-karpathy-i2t", "overall"): 5000,
    **{("clevr-binding", kind): 1148 for kind in ("pair_binding_color", "recognition_shape", "spatial")},
}


def _run(root: Path, name: str = "winoground", n_done: int = 400) -> Run:
    tags = [tag for tag, (_, n) in test_tables.PUBLISHED.items() for _ in range(n)]
    task = dataclasses.replace(test_tables._task(tags), name=name)
    return test_tables._stored(root, task, [test_tables.RIGHT] * n_done)


def _of(model: str, metric: str = "text") -> dict[str, tuple[int, int]]:
    rows = published.rows("winoground")
    chosen = [row for row in rows if row["model"] == f"{model} (published)" and row["metric"] == metric]
    return {row["tag"]: (row["n_right"], row["n"]) for row in chosen}


def _name(line: dict[str, str]) -> str:
    return f"{line['task']} {line['model']} {line['tag']} {line['metric']}"


def test_a_percentage_stands_for_one_whole_number_of_examples() -> None:
    """Of all but the two digits of Jeong et al., which many counts would give."""
    for line in published.lines():
        assert line["source"], _name(line)
        assert line["protocol"], _name(line)
        if not line["n"]:
            continue
        n = SIZES[line["tag"]] if line["task"] == "winoground" else SIZES_OF_SUITES[line["task"], line["tag"]]
        assert int(line["n"]) == n, _name(line)
        count = published.count_of(line["percent"], n)
        assert (count is not None) or "Jeong" in line["source"], _name(line)
        if count is not None:
            n_decimals = len(line["percent"].partition(".")[2])
            assert abs(100 * count / n - float(line["percent"])) <= 0.5 / 10**n_decimals + 1e-9, _name(line)


def test_no_number_stands_there_twice() -> None:
    keys = [tuple(line[name] for name in ("task", "model", "column", "tag", "metric")) for line in published.lines()]
    assert len(set(keys)) == len(keys)


def test_every_task_of_the_published_rows_is_on_offer() -> None:
    offered = {entry.name for entry in registry.tasks()}
    assert {line["task"].partition("+")[0] for line in published.lines()} <= offered


def test_the_papers_table_2_is_these_counts() -> None:
    assert _of("CLIP ViT-L/14") == {"Object": (38, 141), "Relation": (60, 233), "Both": (15, 26), "overall": (113, 400)}
    assert _of("OpenCLIP ViT-H/14")["overall"] == (132, 400)
    assert _of("Diffusion Classifier, SD 2.0") == {
        "Object": (65, 141),
        "Relation": (68, 233),
        "Both": (21, 26),
        "overall": (154, 400),
    }


def test_the_suites_stand_there_with_the_counts_that_their_percentages_are_of() -> None:
    def of(task: str, model: str, metric: str = "text") -> dict[str, tuple[int, int]]:
        rows = published.rows(task)
        chosen = [row for row in rows if row["model"] == f"{model} (published)" and row["metric"] == metric]
        return {row["tag"]: (row["n_right"], row["n"]) for row in chosen}

    sugarcrepe = of("sugarcrepe", "ViT-B-32 openai")
    assert sugarcrepe["swap-obj"] == (150, 245)  # the paper's 61.38 is 151 of 246
    assert sugarcrepe["overall"] == (sum(right for tag, (right, _) in sugarcrepe.items() if tag != "overall"), 7511)
    assert of("sugarcrepe-swap-obj", "ViT-B-32 openai") == {"overall": (150, 245)}
    assert of("bivlc", "CLIP ViT-B/32", "group")["overall"] == (1439, 2933)
    assert sum(right for tag, (right, _) in of("bivlc", "CLIP ViT-B/32", "group").items() if tag != "overall") == 1439
    assert of("winoground", "ViT-L-14 openai") == {"overall": (115, 400)}


def test_a_whole_is_summed_where_every_part_of_it_was_printed() -> None:
    valse = {row["metric"]: row for row in published.rows("valse") if row["tag"] == "overall"
             and row["model"] == "ViT-L-14 openai (published)"}  # fmt: skip
    parts = [row for row in published.rows("valse") if row["tag"] != "overall"
             and row["model"] == "ViT-L-14 openai (published)"]  # fmt: skip
    assert (valse["text"]["n_right"], valse["text"]["n"]) == (sum(row["n_right"] for row in parts), 7702)
    assert valse["macro"]["value"] == pytest.approx(sum(row["value"] for row in parts) / 11)  # unweighted, no interval
    assert (valse["macro"]["n_right"], valse["macro"]["low"]) == (None, None)
    assert "overall" not in {row["tag"] for row in published.rows("vismin")}  # two digits are no counts


def test_a_number_that_several_counts_give_has_no_interval() -> None:
    (row,) = [row for row in published.rows("aro-attribution") if row["model"] == "SD 1.5, Jeong et al. (published)"]
    assert (row["value"], row["n_right"], row["low"], row["is_small"]) == (0.62, None, None, False)
    macro = [row for row in published.rows("aro-relation") if row["metric"] == "macro"]
    assert [row["value"] for row in macro if row["model"].startswith("ViT-B-32")] == [0.599]
    assert {row["n"] for row in macro} == {None}


def test_jeong_et_al_have_the_diffusion_models_beside_the_clips() -> None:
    tasks = {line["task"] for line in published.lines() if line["model"] == "SD 3-m, Jeong et al."}
    assert {"aro-relation", "sugarcrepe", "winoground", "vismin", "whatsup-b", "cola+2x2", "spec-i2t"} <= tasks
    by_task = {line["task"] for line in published.lines() if "Jeong" in line["source"] and "g/14" in line["model"]}
    assert by_task == tasks


def test_strong_scorers_of_2024_and_later_stand_beside_the_clips() -> None:
    rows = (row for row in published.rows("winoground") if (row["metric"], row["tag"]) == ("group", "overall"))
    named = {row["model"].partition(" (")[0]: row["value"] for row in rows}
    assert named["CLIP-FlanT5-XXL VQAScore"] == pytest.approx(0.46)
    assert named["BLIP ITM"] == pytest.approx(53 / 400)
    assert sorted(named, key=lambda name: named[name])[-2:] == ["Qwen3-VL-8B-Thinking", "human"]


def test_people_are_right_on_89_and_a_half_percent() -> None:
    overall = [_of("human (MTurk)", metric)["overall"] for metric in ("text", "image", "group")]
    assert [right / n for right, n in overall] == [0.895, 0.885, 0.855]


def test_two_ways_to_divide_the_examples_give_the_same_sum() -> None:
    sums: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for line in (line for line in published.lines() if line["task"] == "winoground"):
        count = published.count_of(line["percent"], int(line["n"]))
        if count is None:  # two digits
            continue
        sums[line["model"], line["metric"]][line["column"]] += count
    both_ways = [total for total in sums.values() if len(total) == 2]
    assert len(both_ways) == 3 * 20
    assert all(way["tag"] == way["predicates"] for way in both_ways)


def test_a_group_score_is_never_above_its_text_or_image_score() -> None:
    right = {(row["model"], row["tag"], row["metric"]): row["n_right"] for row in published.rows("winoground")}
    for model, tag, metric in right:
        if metric == "group":  # of which every source printed counts
            sides = [right[model, tag, side] for side in ("text", "image") if (model, tag, side) in right]
            assert all(right[model, tag, "group"] <= side for side in sides)


def test_a_percentage_that_no_count_gives_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'27.1' % of 141 examples matches no count"):
        published.count_of("27.1", 141)
    assert published.count_of("33", 141) is None  # 46 or 47


def test_the_intervals_are_those_of_the_counts() -> None:
    row = next(row for row in published.rows("winoground") if row["tag"] == "Object")
    assert (row["low"], row["high"]) == tables.wilson(38, 141)


@pytest.mark.parametrize("style", FORMATS)
def test_published_rows_stand_beside_a_run(style: str, tmp_path: Path) -> None:
    text = show.to_text([_run(tmp_path)], style, with_published=True)
    assert "CLIP ViT-L/14 (published)" in text
    assert "nan" not in text.lower()
    if style == "json":
        rows = json.loads(text)
        assert {row["protocol"] for row in rows if row["model"] == "Diffusion Classifier, SD 2.0 (published)"} == {
            "1000 timesteps, eps error, float16"
        }
        assert len(rows) == 12 + len(published.rows("winoground"))
    elif style != "csv":
        assert "no paired test is possible" in " ".join(text.split())
        assert "Object (141)" in text
        assert "Table 2" in text


def test_without_being_asked_for_they_are_absent(tmp_path: Path) -> None:
    assert "published" not in show.to_text([_run(tmp_path)])


def test_a_partial_run_beside_them_gets_a_table_of_n(tmp_path: Path) -> None:
    text = show.to_text([_run(tmp_path, n_done=100)], with_published=True, full=True)
    assert "model (partial)" in text
    assert any(
        line.replace("†", "").split() == ["n", "Object", "Relation", "Both", "overall"] for line in text.splitlines()
    )


def test_by_predicates_there_are_other_tags() -> None:
    assert {row["tag"] for row in published.rows("winoground", ["predicates"])} == {"1 pred", "2 preds", "overall"}


def test_a_task_of_which_nothing_is_published_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="no published scores on 'shapes'; there are some on winoground"):
        published.rows("shapes")
    _run(tmp_path, "other")
    assert main(["show", "other/model", "--published", "--runs", str(tmp_path)]) == 2
    assert "no published scores on 'other'" in capsys.readouterr().err


def test_the_command_shows_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = _run(tmp_path)
    assert main(["show", "winoground/model", "--published", "--runs", str(tmp_path)]) == 0
    assert capsys.readouterr().out.strip() == show.to_text([run], with_published=True).strip()


def test_numbers_of_examples_stay_whole_beside_rows_that_have_none(tmp_path: Path) -> None:
    text = show.to_text([_run(tmp_path, "aro-relation", 40)], with_published=True)
    assert "23,937" in text
    assert "23,937.0" not in text
