"""The report page without a browser: what is on it, what is left out, that nothing of it runs, how large it is."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import numpy as np
import pandas as pd
import PIL.Image
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import compbench
import pages
from compbench.cli.app import main
from compbench.core.errors import DataError, RunError, UsageError
from compbench.core.examples import Classes, Image, Task
from compbench.core.measurements import ScoreMatrix
from compbench.core.metrics import CLASSIFYING
from compbench.core.subsets import subset
from compbench.store.run import Run
from compbench.store.writer import RunWriter
from compbench_analysis import report
from compbench_analysis.frames import tables
from compbench_analysis.frames.all_pairs import all_pairs, lettered
from compbench_analysis.frames.breakdowns import Breakdown, read_tags
from compbench_analysis.frames.compare import compare
from compbench_analysis.report import Look, _thumbnails, render, write
from compbench_analysis.report._cells import signed
from compbench_analysis.text.format import p_value
from pages import Written

_VOID = {"meta", "link", "img", "line", "br"}
_MANY = 400
_FEW = 12
_SCRIPT = Path(report.__file__).parent / "templates" / "report.js"


class Page(HTMLParser):
    """A page as its elements, its words and its data; fails where tags do not close."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.text = text
        self.counts: Counter[str] = Counter()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.addresses: list[str] = []
        self.words: list[str] = []
        self.scripts: list[tuple[str, str]] = []  # type, content
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.counts[tag] += 1
        self.ids += [given["id"]] if "id" in given else []
        self.links += [given["href"]] if tag == "a" else []
        self.addresses += [given[name] for name in ("src", "href") if name in given and tag != "a"]
        assert not [name for name in given if name.startswith("on")]
        if tag == "script":
            self.scripts.append((given.get("type", ""), ""))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "script":
            kind, content = self.scripts.pop()
            self.scripts.append((kind, content + data))
        elif self._open and self._open[-1] != "style":
            self.words.append(data)

    @property
    def said(self) -> str:
        """All that is to be read, with single spaces."""
        return re.sub(r"\s+", " ", " ".join(self.words))

    @property
    def data(self) -> list[dict[str, Any]]:
        """What the browsers of examples show."""
        return [json.loads(content) for kind, content in self.scripts if kind == "application/json"]


@pytest.fixture(scope="module")
def many(page_of_400: Written) -> tuple[Task, tuple[Run, Run], str]:
    """The task, the runs and the text of a page of 400 examples, read as what the tests ask about."""
    return page_of_400.task, page_of_400.runs, page_of_400.text


def _small(root: Path, *, n: int | None = None, task: Task | None = None) -> Run:
    return pages.scored(root, task or pages.task(_FEW), "one", lambda i: pages.RIGHT, n=n)


def _page(*runs: Run, **look: Any) -> Page:
    return Page(render(runs, Look(n_resamples=99, **look)))


def _outcomes(data: Mapping[str, Any], model: int, metric: str) -> dict[str, int]:
    return {example["id"]: example["r"][model]["o"][metric] for example in data["examples"]}


def test_the_page_answers_in_its_order(many: tuple[Task, tuple[Run, Run], str]) -> None:
    page = Page(many[2])
    questions = ("Who leads, and is it sure?", "Where?", "Why? Example by example", "How was it measured?")
    places = [page.said.index(question) for question in questions]
    assert places == sorted(places)
    assert len(set(page.ids)) == len(page.ids)


def test_the_note_speaks_of_the_line_of_chance_only_where_it_is_drawn(
    many: tuple[Task, tuple[Run, Run], str], tmp_path: Path
) -> None:
    line = "the vertical line is random chance"
    assert line not in Page(many[2]).said.partition("Where?")[0]  # the dots run from 60 %
    weak = pages.scored(tmp_path, pages.task(_FEW), "one", lambda i: pages.RIGHT if i % 2 else pages.WRONG)
    assert line in _page(weak).said


def test_the_tables_hold_the_numbers_of_the_tidy_frame(many: tuple[Task, tuple[Run, Run], str]) -> None:
    said = Page(many[2]).said
    for row in tables.tidy(many[1]).to_dict("records"):
        assert f"{100 * row['value']:.1f}" in said
        assert f"{100 * row['low']:.1f} – {100 * row['high']:.1f}" in said


def test_the_first_sentence_tells_whether_the_difference_is_sure(many: tuple[Task, tuple[Run, Run], str]) -> None:
    row = compare(many[1], n_resamples=99).outcomes.set_index(["metric", "tag"]).loc[("group", tables.OVERALL)]
    assert row["p"] <= 0.05
    difference = f"{100 * abs(row['difference']):.1f}"
    assert f"scores leads errors on group score: 74.8 and 66.5, difference {difference} [" in Page(many[2]).said


def test_each_score_over_all_examples_stands_once(many: tuple[Task, tuple[Run, Run], str]) -> None:
    said = Page(many[2]).said
    for row in tables.tidy(many[1]).to_dict("records"):
        interval = f"{100 * row['low']:.1f} – {100 * row['high']:.1f}"
        same = [
            other
            for other in tables.tidy(many[1], ["tag", "parity"]).to_dict("records")
            if f"{100 * other['low']:.1f} – {100 * other['high']:.1f}" == interval
        ]
        assert said.count(interval) == len(same)


def test_outcomes_ties_scores_and_margins_reach_the_browser(many: tuple[Task, tuple[Run, Run], str]) -> None:
    (data,) = Page(many[2]).data
    assert [example["id"] for example in data["examples"]] == [f"{i:04d}" for i in range(_MANY)]
    assert _outcomes(data, 0, "group") == {f"{i:04d}": int(i % 3 != 0) for i in range(_MANY)}
    assert _outcomes(data, 1, "text") == {f"{i:04d}": -1 if i == 5 else int(i % 4 != 0) for i in range(_MANY)}
    frame = many[1][1].to_frame().set_index("id")
    for example in data["examples"][:20]:
        scores = frame.loc[example["id"], ["score_0_0", "score_0_1", "score_1_0", "score_1_1"]].tolist()
        assert np.ravel(example["r"][1]["s"]).tolist() == scores
        assert example["r"][1]["d"]["text"] == [frame.loc[example["id"], "text_margin"], None, None]
        _, error, flip = example["r"][0]["d"]["text"]  # errors were stored
        assert error > 0
        assert 0 <= flip <= 0.5


def test_a_count_of_the_agreement_leads_to_its_examples(many: tuple[Task, tuple[Run, Run], str]) -> None:
    page = Page(many[2])
    (data,) = page.data
    outcomes = compare(many[1], n_resamples=99).outcomes
    links = [link for link in page.links if "metric=" in link]
    assert len(links) == int((outcomes[["both", "only_a", "only_b", "neither"]] > 0).to_numpy().sum())
    for link in links:
        asked = {name: values[0] for name, values in parse_qs(link[1:]).items()}
        found = [
            example["id"]
            for example in data["examples"]
            if all((example["r"][m]["o"][asked["metric"]] == 1) == (asked[f"m{m}"] == "right") for m in (0, 1))
            and ("tag" not in asked or asked["tag"] in example["t"][data["columns"].index(asked["column"])])
        ]
        row = outcomes[(outcomes["metric"] == asked["metric"]) & (outcomes["tag"] == asked.get("tag", "overall"))]
        cell = {"rr": "both", "rw": "only_a", "wr": "only_b", "ww": "neither"}[asked["m0"][0] + asked["m1"][0]]
        assert found == row.iloc[0][f"ids_{cell}"]


def test_curves_are_drawn_from_stored_errors_and_their_absence_is_explained(
    many: tuple[Task, tuple[Run, Run], str],
) -> None:
    said = Page(many[2]).said
    assert Page(many[2]).counts["img"] == 4  # by draws, by timestep, by rule, margins
    assert said.count("scores stores scores and no errors per draw.") == 1
    assert str(many[1][0].path.parents[2]) not in many[2]  # where the runs lay is nobody's business


def test_400_examples_of_photographs_stay_under_15_megabytes(many: tuple[Task, tuple[Run, Run], str]) -> None:
    (data,) = Page(many[2]).data
    assert len(many[2].encode()) < 15e6
    assert len(data["pictures"]) == 2 * _MANY
    assert [example["p"] for example in data["examples"]] == [[2 * i, 2 * i + 1] for i in range(_MANY)]
    with PIL.Image.open(_bytes_of(data["pictures"][0])) as picture:
        assert max(picture.size) >= 96


def test_nothing_is_loaded_from_anywhere(many: tuple[Task, tuple[Run, Run], str]) -> None:
    page = Page(many[2])
    assert [address for address in page.addresses if not address.startswith("data:")] == []
    assert [link for link in page.links if not link.startswith("#")] == []
    assert "@import" not in many[2]
    assert [kind for kind, _ in page.scripts] == ["application/json", ""]


def test_eight_models_are_one_list_one_square_and_every_pair(page_of_eight: Written) -> None:
    page, runs = Page(page_of_eight.text), page_of_eight.runs
    overall = tables.tidy(runs).query("tag == 'overall' and metric == 'group'").set_index("model")["value"]
    ranked = overall.sort_values(ascending=False, kind="stable")
    places = [page.said.index(f" {place} {model} ") for place, model in enumerate(ranked.index, 1)]
    assert places == sorted(places)
    found = all_pairs(runs).query("tag == 'overall' and metric == 'group'")
    assert len(found) == 28
    letters = lettered(found, list(ranked.index))
    assert all(f"{model} {' '.join(letters[model])} " in page.said for model in ranked.index)
    for row in found.to_dict("records"):
        assert bool(set(letters[row["a"]]) & set(letters[row["b"]])) != row["is_sure"]
        for sign in (1, -1):
            assert f"{signed(100 * sign * row['difference'])} p {p_value(row['p_holm'])}" in page.said


def test_only_corrected_p_values_are_emphasised(
    page_of_eight: Written, many: tuple[Task, tuple[Run, Run], str]
) -> None:
    found = all_pairs(page_of_eight.runs)
    assert page_of_eight.text.count('class="number sure ') == 2 * int(found["is_sure"].sum())
    comparison = compare(many[1], n_resamples=99)
    corrected = pd.concat([comparison.outcomes, comparison.margins, comparison.interactions])["p_holm"]
    assert many[2].count('class="number small-p"') == int((corrected <= 0.05).sum())


def test_a_page_has_no_identifier_and_no_minus_before_nothing(page_of_eight: Written) -> None:
    said = Page(page_of_eight.text).said
    assert not re.search(r"mean_per_class|n_draws|[−-]0\.0+(?![0-9])", said)


def _bytes_of(uri: str) -> Any:
    return io.BytesIO(base64.b64decode(uri.partition(",")[2]))


_NASTY = [
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "<!--",
    "]]>",
    "\u2028\u2029",
    "{{ 7*7 }}",
    '"><b>',
]
_TEXTS = st.lists(st.text(min_size=1, max_size=30) | st.sampled_from(_NASTY), min_size=64, max_size=64)


@settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
@given(_TEXTS)
def test_captions_names_and_tags_are_text_whatever_they_hold(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    name, model, tag, value, *captions = [f"{text}{n}" for n, text in enumerate(texts)]
    examples = []
    for n, (first, second) in enumerate(zip(captions[::2], captions[1::2], strict=True)):
        made = pages.example(n, captions=(first, second))
        images = tuple(dataclasses.replace(image, name=f"{name}/{i}") for i, image in enumerate(made.images))
        examples.append(dataclasses.replace(made, id=f"{name}{n}", images=images, tags={"tag": (tag,), value: (tag,)}))
    task = dataclasses.replace(pages.task(0, name), examples=tuple(examples), description=name, citation=name)
    run = pages.scored(tmp_path_factory.mktemp("nasty"), task, model, lambda i: pages.RIGHT)
    page = _page(run)
    (data,) = page.data
    assert data["captions"] == list(dict.fromkeys(captions))
    assert data["models"] == [model]
    assert data["examples"][0]["n"] == [f"{name}/0", f"{name}/1"]
    assert data["columns"] == list(dict.fromkeys(["tag", value]))
    assert [kind for kind, _ in page.scripts] == ["application/json", ""]
    assert page.scripts[-1][1] == _SCRIPT.read_text(encoding="utf-8")  # the only one that runs
    assert (page.counts["script"], page.counts["img"], page.counts["b"]) == (2, 0, 0)
    assert not re.search(r"<!--|[\u2028\u2029]|</script", page.scripts[0][1])


def test_gated_pictures_and_captions_are_left_out_and_the_page_says_why(tmp_path: Path) -> None:
    task = pages.task(_FEW, is_gated=True)
    run = _small(tmp_path, task=task)
    page = _page(run, pictures=pages.pictures(task))
    (data,) = page.data
    assert (data["pictures"], data["captions"]) == ([], [])
    assert "a dog beside" not in page.text
    assert "This data is gated" in page.said
    opened = _page(run, pictures=pages.pictures(task), with_images=True)
    assert len(opened.data[0]["pictures"]) == 2 * _FEW
    assert "a dog beside cat 3" in opened.data[0]["captions"]
    assert "but this page contains its pictures and captions" in opened.said


def test_pictures_of_open_data_can_be_left_out(tmp_path: Path) -> None:
    task = pages.task(_FEW)
    (data,) = _page(_small(tmp_path, task=task), pictures=pages.pictures(task), with_images=False).data
    assert data["pictures"] == []
    assert "a dog beside cat 3" in data["captions"]


def test_equal_pictures_are_kept_once_and_an_unreadable_one_is_named() -> None:
    grey = PIL.Image.new("RGB", (8, 8), (90, 90, 90))
    same = [Image("a", lambda: grey), Image("b", grey.copy)]
    made = _thumbnails.album([*same, Image("torn.png", b"no picture")])
    assert len(made.uris) == 1
    assert [made.place[name] for name in same] == [0, 0]
    assert made.notes[0].startswith("1 image cannot be read")
    assert "torn.png" in made.notes[0]


def test_pictures_shrink_as_they_grow_in_number_and_the_last_resort_is_fewer() -> None:
    images = [Image(f"{n}", lambda n=n: pages.photo(n)) for n in range(24)]
    budgets = (400_000, 60_000, 15_000)
    sizes = [sum(len(uri) for uri in _thumbnails.album(images, budget).uris) for budget in budgets]
    assert all(size <= 1.4 * budget for size, budget in zip(sizes, budgets, strict=True))
    made = _thumbnails.album(images, 6000)
    assert len(made.uris) == 10
    assert made.notes == ("The first 10 of 24 pictures are shown, to keep the page small.",)


def test_an_empty_run_is_said(tmp_path: Path) -> None:
    page = _page(_small(tmp_path, n=0))
    assert "None of 12 examples is measured yet." in page.said
    assert "one: nothing measured yet" in page.said


def test_an_unfinished_run_is_said(tmp_path: Path) -> None:
    run = _small(tmp_path, n=7)
    RunWriter(run).mark("interrupted")
    page = _page(run)
    assert "one: partial: 7 of 12 examples (interrupted)" in page.said
    assert len(page.data[0]["examples"]) == 7


def test_a_limited_run_is_said_and_is_the_subset(tmp_path: Path) -> None:
    task = pages.task(_FEW)
    page = _page(_small(tmp_path, task=task).limited(5))
    assert "one: partial: 5 of 12 examples, the subset of --limit 5" in page.said
    assert [example["id"] for example in page.data[0]["examples"]] == subset(
        [example.id for example in task.examples], 5
    )


def test_a_single_tag_leaves_nothing_to_contrast_and_breaks_nothing(tmp_path: Path) -> None:
    task = pages.task(0)
    task = dataclasses.replace(task, examples=tuple(pages.example(i, tag="Object") for i in range(_FEW)))
    runs = [
        pages.scored(tmp_path, task, "one", lambda i: pages.RIGHT),
        pages.scored(tmp_path, task, "two", lambda i: pages.WRONG),
    ]
    page = _page(*runs)
    assert "one against two" in page.said.replace("A one", "one").replace("B two", "two")
    assert "Is the gain larger in one tag" not in page.said


def test_a_damaged_part_is_said_and_the_rest_is_shown(tmp_path: Path) -> None:
    run = _small(tmp_path, n=6)
    more = {example.id: example for example in pages.task(_FEW).examples[6:]}
    path = RunWriter(run).append([ScoreMatrix(example_id, pages.RIGHT) for example_id in more])
    path.write_bytes(path.read_bytes()[:-40])
    page = _page(Run(run.path))
    assert "is damaged" in page.said
    assert "partial: 6 of 12 examples" in page.said
    assert len(page.data[0]["examples"]) == 6


def test_a_run_whose_draws_are_missing_is_said(tmp_path: Path) -> None:
    run = pages.measured(tmp_path, pages.task(_FEW), "errors", lambda i: True)
    (run.path / "draws.parquet").unlink()
    page = _page(Run(run.path))
    assert "the draws of run 'photos/errors/" in page.said
    assert "nothing measured yet" in page.said


def test_a_run_of_a_newer_format_is_named_beside_those_that_can_be_shown(tmp_path: Path) -> None:
    run, newer = _small(tmp_path / "a"), _small(tmp_path / "b")
    info = json.loads((newer.path / "run.json").read_text())
    (newer.path / "run.json").write_text(json.dumps({**info, "format": 99}))
    assert "was written by a newer compbench (format 99" in _page(run, Run(newer.path)).said
    with pytest.raises(UsageError, match=r"no run can be shown: .*format 99"):
        render([Run(newer.path)])


def test_no_runs_are_no_page() -> None:
    with pytest.raises(UsageError, match="no run can be shown: none was given"):
        render([])


def test_different_tasks_have_a_section_each_and_different_examples_are_not_tested(tmp_path: Path) -> None:
    task, other = pages.task(_FEW), pages.task(_FEW, "others")
    runs = [
        _small(tmp_path, task=task),
        pages.scored(tmp_path, task, "two", lambda i: pages.RIGHT, n=8),
        _small(tmp_path, task=other),
    ]
    page = _page(*runs)
    assert [chart["task"] for chart in page.data] == ["photos", "others"]
    assert page.said.count("8 examples are in both, 4 only in 'photos/one'") == 1
    assert "No winner is named" in page.said
    assert "8 to 12 of 12 examples measured" in page.said
    assert "A test needs two or more runs" in page.said
    assert page.data[0]["examples"][9]["r"][1] is None  # not measured by the second


def _classification() -> Task:
    """Four pictures of class 7 of 40, each class with one prompt."""
    captions = tuple(f"a photo of thing {c}" for c in range(40))
    examples = tuple(
        dataclasses.replace(
            pages.example(i),
            images=pages.example(i).images[:1],
            captions=captions,
            matches=np.arange(40)[None] == 7,
            tags={"class": ("thing 7",)},
        )
        for i in range(4)
    )
    classes = Classes(tuple(f"thing {c}" for c in range(40)), tuple(range(40)))
    return dataclasses.replace(pages.task(0), examples=examples, metrics=CLASSIFYING, classes=classes)


def test_a_classification_shows_the_captions_that_matter(tmp_path: Path) -> None:
    rising = np.linspace(0, 1, 40)[None]
    runs = [
        pages.scored(tmp_path, _classification(), "one", lambda i: rising),
        pages.scored(tmp_path, _classification(), "two", lambda i: np.arange(40)[None] == 7),
    ]
    page = _page(*runs)
    (data,) = page.data
    assert [example["k"][:5] for example in data["examples"]] == [[7, 39, 38, 37, 36]] * 4
    assert [data["captions"][c] for c in data["examples"][0]["c"][:2]] == ["a photo of thing 7", "a photo of thing 39"]
    assert data["examples"][0]["m"][0][:3] == [1, 0, 0]
    assert data["metrics"] == ["top1"]
    assert [_outcomes(data, m, "top1")["0000"] for m in (0, 1)] == [0, 1]
    margin = rising[0, 7] - rising[0, 39]
    assert data["examples"][0]["r"][0]["d"]["top1"][0] == pytest.approx(margin, rel=1e-5)
    assert "one and two cannot be told apart on top-1 accuracy: 0.0 and 100.0" in page.said  # of four pictures
    assert "top1" not in page.said


def test_tags_of_ones_own_divide_the_tables_and_can_be_filtered_by(tmp_path: Path) -> None:
    task = pages.task(_FEW)
    file = tmp_path / "tags.csv"
    file.write_text(
        "id,looks\n" + "".join(f"{example.id},{'old' if n < 5 else 'new'}\n" for n, example in enumerate(task.examples))
    )
    by = Breakdown(tags=read_tags(file))
    page = _page(_small(tmp_path, task=task), by=by)
    (data,) = page.data
    assert data["columns"] == ["tag", "parity", "looks"]
    assert [example["t"][2] for example in data["examples"]] == [["old"]] * 5 + [["new"]] * 7
    assert "old 5" in page.said
    assert "new 7" in page.said


def test_the_page_says_how_each_run_was_measured_and_what_to_cite(many: tuple[Task, tuple[Run, Run], str]) -> None:
    said = Page(many[2]).said
    for run in many[1]:
        assert f"|run:{run.key.digest}|" in said
        assert run.parts()[0]["part"] in said
    assert "@software{compbench," in said


def test_the_page_imports_no_deep_learning_library() -> None:
    code = (
        "import sys, compbench_analysis.report, compbench.cli.report; print({'torch', 'diffusers'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_the_command_writes_the_page_of_a_task_at_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COMPBENCH_RUNS", str(tmp_path / "runs"))
    compbench.run("shapes", model="chance", limit=6, runs=tmp_path / "runs")
    output = tmp_path / "page.html"
    assert main(["report", "shapes/chance", "--limit", "6", "--output", str(output)]) == 0
    assert capsys.readouterr().err.splitlines()[-1] == f"written to {output}"
    (data,) = Page(output.read_text(encoding="utf-8")).data
    assert len(data["pictures"]) == 12
    assert main(["report", "shapes/chanse", "--output", str(output)]) == 2
    assert main(["report", "shapes/chance", "--output", str(tmp_path / "none" / "page.html")]) == 2
    assert main(["report", "shapes/chance", "--output", str(tmp_path / "page.txt")]) == 2
    assert "expected a name that ends in .html" in capsys.readouterr().err
    assert not (tmp_path / "page.txt").exists()


def test_pictures_that_are_not_at_hand_or_of_another_revision_are_said(tmp_path: Path) -> None:
    task = pages.task(4)
    run, said = _small(tmp_path, task=task), []
    path = compbench.report(run, tmp_path / "a.html", say=said.append)
    assert len(said) == 1
    assert said[0].startswith("Pictures of photos are not available (no task named 'photos'")
    assert said[0] in Page(path.read_text(encoding="utf-8")).said
    compbench.report([run], tmp_path / "b.html", tasks=[pages.task(5)], say=said.append)
    assert "the local data has revision" in said[1]
    compbench.report([run], tmp_path / "c.html", tasks=[task], say=said.append)
    assert len(said) == 2
    assert len(Page((tmp_path / "c.html").read_text(encoding="utf-8")).data[0]["pictures"]) == 8


def test_writing_where_nothing_can_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot write to"):
        write(_small(tmp_path), tmp_path / "none" / "page.html")


def test_one_copy_of_data_cannot_be_that_of_two_tasks(tmp_path: Path) -> None:
    runs = [_small(tmp_path, task=pages.task(4)), _small(tmp_path, task=pages.task(4, "others"))]
    with pytest.raises(UsageError, match="--data is for one task"):
        compbench.report(runs, tmp_path / "page.html", data=tmp_path)


def test_a_missing_image_file_is_a_note_not_a_failure(tmp_path: Path) -> None:
    task = pages.task(4)
    lost = Image("lost.png", tmp_path / "lost.png", sha256="0")
    with pytest.raises(DataError):
        lost.decode()
    images = {example.id: (lost, example.images[1]) for example in task.examples}
    page = _page(_small(tmp_path, task=task), pictures={(task.name, task.revision): images})
    assert [example["p"] for example in page.data[0]["examples"]] == [[-1, n] for n in range(4)]
    assert "cannot be read, the first: image 'lost.png'" in page.said
