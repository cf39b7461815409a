"""The per-tag plot: what is drawn is what the frame holds."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from matplotlib.figure import Figure

from compbench.core.errors import UsageError
from compbench_analysis.figures import plots
from compbench_analysis.frames import tables


def _frame(models: tuple[str, ...] = ("one", "other"), *, is_partial: bool = False) -> pd.DataFrame:
    rows = [
        {
            "task": "fake",
            "model": model,
            "column": column,
            "tag": tag,
            "metric": metric,
            "n": 20,
            "value": right / 20,
            "low": tables.wilson(right, 20)[0],
            "high": tables.wilson(right, 20)[1],
            "chance": 0.25,
            "is_partial": is_partial,
        }
        for right, model in enumerate(models, 5)
        for column, tag in (("tag", "Object"), ("tag", "Both"), ("", "overall"))
        for metric in ("text", "image")
    ]
    return pd.DataFrame(rows)


def test_there_is_a_panel_for_each_metric_and_a_bar_for_each_model_and_tag() -> None:
    figure = plots.per_tag_bars(_frame())
    assert [axis.get_title() for axis in figure.axes] == ["text score", "image score"]
    assert [len(axis.containers) for axis in figure.axes] == [4, 4]  # bars and error bars of two models
    heights = [bar.get_height() for bar in figure.axes[0].containers[0]]
    assert heights == [0.25, 0.25, 0.25]


def test_error_bars_reach_to_the_interval() -> None:
    axis = plots.per_tag_bars(_frame(("one",))).axes[0]
    (_, low), (_, high) = axis.containers[1].lines[2][0].get_segments()[0]
    assert (low, high) == pytest.approx(tables.wilson(5, 20))


def test_chance_is_drawn() -> None:
    axis = plots.per_tag_bars(_frame()).axes[0]
    assert [list(patch.get_data().values) for patch in axis.patches if hasattr(patch, "get_data")] == [[0.25] * 3]


def test_a_model_has_one_colour_and_no_other_model_shares_its_look() -> None:
    axes = plots.per_tag_bars(_frame(("a", "b", "c"))).axes
    looks = [[(bar.get_facecolor(), bar.get_hatch()) for bar in bars] for axis in axes for bars in axis.containers[::2]]
    assert all(len(set(look)) == 1 for look in looks)
    first, second = [look[0] for look in looks[:3]], [look[0] for look in looks[3:]]
    assert first == second
    assert len(set(first)) == 3


def test_partial_runs_are_marked() -> None:
    legend = plots.per_tag_bars(_frame(is_partial=True)).legends[0]
    assert [text.get_text() for text in legend.get_texts()][:2] == ["one (partial)", "other (partial)"]


def test_a_metric_or_tag_that_a_model_lacks_leaves_a_gap() -> None:
    frame = _frame()
    lacking = frame.loc[~((frame["model"] == "other") & (frame["metric"] == "image")), :]
    plots.per_tag_bars(lacking).savefig(io.BytesIO(), dpi=30)


@pytest.mark.parametrize("n_models", [1, 3, 9])
def test_nothing_is_cut_off_however_many_models(n_models: int) -> None:
    figure = plots.per_tag_bars(_frame(tuple(f"model-{i}-with-a-name" for i in range(n_models))))
    figure.draw_without_rendering()
    legend = figure.legends[0].get_window_extent()
    assert legend.x0 >= 0
    assert legend.x1 <= figure.bbox.width


def _curve(models: tuple[str, ...] = ("one", "other"), *, is_partial: bool = False) -> pd.DataFrame:
    """What curves.by_draws and curves.differences give, in one frame."""
    rows = [
        {
            "task": "fake",
            "model": model,
            "column": "",
            "tag": "overall",
            "metric": metric,
            "n": 20,
            "n_draws": n_draws,
            "timestep": 100.0 * n_draws,
            "value": 0.5 + n_draws / 100,
            "difference": n_draws / 10,
            "low": 0.4,
            "high": 0.9,
            "chance": 0.25,
            "is_partial": is_partial,
        }
        for model in models
        for metric in ("text", "image")
        for n_draws in (1, 2, 4, 6)
    ]
    return pd.DataFrame(rows)


def test_accuracy_by_draws_draws_what_the_frame_holds() -> None:
    figure = plots.accuracy_by_draws(_curve())
    assert [axis.get_ylabel() for axis in figure.axes] == ["text score", "image score"]
    one, other, chance = figure.axes[0].lines
    assert one.get_xdata().tolist() == [1, 2, 4, 6]
    assert one.get_ydata().tolist() == pytest.approx([0.51, 0.52, 0.54, 0.56])
    assert one.get_color() != other.get_color()
    assert list(chance.get_ydata()) == [0.25, 0.25]
    figure.savefig(io.BytesIO(), dpi=30)


def test_a_model_has_the_colour_that_it_has_in_the_bars() -> None:
    bars = plots.per_tag_bars(_frame(("clip", "one"))).axes[0].containers[2][0].get_facecolor()
    line = plots.accuracy_by_draws(_curve(("one",)), order=["clip", "one"]).axes[0].lines[0]
    assert tuple(bars)[:3] == tuple(line.get_color())


def test_difference_by_timestep_draws_what_the_frame_holds() -> None:
    curve = _curve(("one",), is_partial=True)
    figure = plots.difference_by_timestep(curve.loc[curve["metric"] == "text", :])
    assert figure.axes[0].lines[0].get_xdata().tolist() == [100, 200, 400, 600]
    assert figure.axes[0].lines[0].get_ydata().tolist() == pytest.approx([0.1, 0.2, 0.4, 0.6])
    assert figure.legends[0].get_texts()[0].get_text() == "one (partial)"
    figure.savefig(io.BytesIO(), dpi=30)


def test_margins_stand_in_the_histogram_once_each() -> None:
    frame = pd.DataFrame(
        {
            "task": "fake",
            "model": "one",
            "metric": "text",
            "margin": [0.0, 1.0, -1.0, 9.0, 1.0],
            "se": [1.0, 0.5, 0.5, 0.01, 0.0],
            "p_flip": [0.5, 0.1, 0.1, 0.0, 0.0],
            "is_right": [False, True, False, True, True],
        }
    )
    figure = plots.margin_histogram(frame)
    right, wrong = figure.axes[0].containers
    assert [sum(bar.get_height() for bar in bars) for bars in (right, wrong)] == [3, 2]
    assert right[0].get_facecolor() != wrong[0].get_facecolor()
    assert figure.axes[0].get_title() == "one, text\n0.7 of 5 expected to flip"
    figure.savefig(io.BytesIO(), dpi=30)


def test_the_last_bars_of_a_histogram_say_that_they_hold_all_beyond() -> None:
    margin = [-0.1, 0.5, 40.0]
    frame = pd.DataFrame({"task": "fake", "model": "one", "metric": "text", "margin": margin, "se": 1.0})
    figure = plots.margin_histogram(frame.assign(p_flip=0.0, is_right=[False, True, True]))
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["0", "5", "10", "≥ 15"]


def test_a_legend_of_several_lines_is_read_line_by_line() -> None:
    figure = plots.per_tag_bars(_frame(tuple(f"a-model-with-a-long-name-{n}" for n in range(4))))
    figure.draw_without_rendering()
    texts = figure.legends[0].get_texts()
    where = [(-text.get_window_extent().y0, text.get_window_extent().x0) for text in texts]
    read = [text.get_text() for _, text in sorted(zip(where, texts, strict=True), key=lambda pair: pair[0])]
    assert read == [*(f"a-model-with-a-long-name-{n}" for n in range(4)), "random chance"]
    assert len({round(y) for y, _ in where}) > 1


def _small(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(is_small=frame["tag"] == "Both")


def test_a_tag_that_is_too_small_to_rank_is_marked_in_every_figure() -> None:
    for draw in (plots.per_tag_bars, plots.tag_heat_map):
        figure = draw(_small(_frame()), footer=True)
        labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
        assert labels == ["Object\n(n = 20)", "Both†\n(n = 20)", "overall\n(n = 20)"]
        assert "† too small to rank models: fewer than 30 examples" in figure.get_supxlabel()
        assert "†" not in draw(_frame(), footer=True).get_supxlabel()
        assert draw(_small(_frame())).get_supxlabel() == ""  # unless asked


def test_the_heat_map_has_a_row_for_each_model_and_one_of_chance() -> None:
    frame = _frame()
    lacking = frame.loc[~((frame["model"] == "one") & (frame["metric"] == "image")), :]
    figure = plots.tag_heat_map(lacking)
    text, image = figure.axes
    assert [label.get_text() for label in text.get_yticklabels()] == ["one", "other", "random chance"]
    expected = [[0.25] * 3, [0.3] * 3, [0.25] * 3]
    assert text.collections[0].get_array().reshape(3, 3).tolist() == expected
    assert image.collections[0].get_array().reshape(3, 3).filled(-1).tolist() == [[-1.0] * 3, *expected[1:]]
    assert [text.get_text() for text in image.texts].count("–") == 3
    figure.savefig(io.BytesIO(), dpi=30)


def test_the_agreement_of_two_models_adds_up_and_keeps_their_colours() -> None:
    rows = [
        {"task": "fake", "a": "one", "b": "other", "metric": "text", "column": "", "tag": tag, "n": 20}
        | {"both": 8, "only_a": 5, "only_b": 3, "neither": 4, "is_small": tag == "Both"}
        for tag in ("Object", "Both")
    ]
    figure = plots.agreement(pd.DataFrame(rows), order=["clip", "one"])
    bars = figure.axes[0].containers
    assert [[round(bar.get_width(), 6) for bar in patch] for patch in bars] == [
        [0.4] * 2,
        [0.25] * 2,
        [0.15] * 2,
        [0.2] * 2,
    ]
    assert [bar.get_x() for patch in bars for bar in patch][::2] == pytest.approx([0, 0.4, 0.65, 0.8])
    own = plots.per_tag_bars(_frame(("one", "other")), order=["clip", "one"]).axes[0].containers
    assert bars[1][0].get_facecolor() == own[0][0].get_facecolor()
    assert bars[2][0].get_facecolor() == own[2][0].get_facecolor()
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["Object (n = 20)", "Both† (n = 20)"]
    figure.savefig(io.BytesIO(), dpi=30)


def test_rules_stand_below_one_another_with_their_intervals() -> None:
    frame = pd.concat([_curve(("one",)).query("n_draws == 4").assign(rule=rule) for rule in ("native", "eps")])
    figure = plots.accuracy_by_rule(frame)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["native", "eps"]
    assert figure.axes[0].containers[0].lines[0].get_xdata().tolist() == pytest.approx([0.54, 0.54])
    figure.savefig(io.BytesIO(), dpi=30)


def test_the_rule_of_a_networks_own_target_is_drawn_once() -> None:
    rules = ("native", "v", "eps")
    frame = pd.concat([_curve(("one",)).query("n_draws == 4").assign(rule=rule, target="v") for rule in rules])
    figure = plots.accuracy_by_rule(frame)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["native (v)", "eps"]


def test_a_score_is_called_what_tables_call_it() -> None:
    figure = plots.accuracy_by_draws(_curve().assign(metric="top1"))
    assert figure.axes[0].get_ylabel() == "top-1 accuracy"


def test_accuracy_by_timestep_draws_what_the_frame_holds() -> None:
    figure = plots.accuracy_by_timestep(_curve())
    assert figure.axes[0].lines[0].get_xdata().tolist() == [100, 200, 400, 600]
    assert figure.axes[0].lines[0].get_ydata().tolist() == pytest.approx([0.51, 0.52, 0.54, 0.56])


def test_every_model_has_a_colour_that_can_be_named() -> None:
    assert len(set(plots.model_colours(10))) == 10
    assert all(len(colour) == 7 and colour.startswith("#") for colour in plots.model_colours(3))


def _agreement() -> pd.DataFrame:
    row = {"task": "fake", "a": "one", "b": "other", "metric": "text", "column": "", "tag": "overall", "n": 20}
    return pd.DataFrame([row | {"both": 8, "only_a": 5, "only_b": 3, "neither": 4}])


def _margins() -> pd.DataFrame:
    same = {"task": "fake", "model": "one", "metric": "text", "se": 0.5, "p_flip": 0.1}
    return pd.DataFrame([same | {"margin": margin, "is_right": margin > 0} for margin in (1.0, -1.0, 2.0)])


_OF_ONE_PANEL = {
    plots.per_tag_bars: _frame().query("metric == 'text'"),
    plots.tag_heat_map: _frame().query("metric == 'text'"),
    plots.agreement: _agreement(),
    plots.accuracy_by_draws: _curve().query("metric == 'text'"),
    plots.accuracy_by_timestep: _curve().query("metric == 'text'"),
    plots.difference_by_timestep: _curve().query("metric == 'text'"),
    plots.accuracy_by_rule: _curve().query("metric == 'text' and n_draws == 4").assign(rule="native"),
    plots.margin_histogram: _margins(),
}


def test_every_function_that_draws_is_tested_in_an_axis() -> None:
    assert {draw.__name__ for draw in _OF_ONE_PANEL} == set(plots.__all__) - {"model_colours"}


@pytest.mark.parametrize("draw", _OF_ONE_PANEL, ids=lambda draw: draw.__name__)
def test_a_panel_goes_into_a_figure_of_ones_own(draw: Callable[..., Any]) -> None:
    figure = Figure(figsize=(8, 3))
    left, right = figure.subplots(1, 2)
    assert draw(_OF_ONE_PANEL[draw], ax=right) is right
    assert (left.has_data(), right.has_data()) == (False, True)
    assert [right.get_title(), figure.get_suptitle(), figure.get_supxlabel(), figure.legends] == ["", "", "", []]
    assert len(figure.axes) == 2
    assert {label.get_fontsize() for label in (*right.get_xticklabels(), *right.get_yticklabels())} == {8}
    figure.savefig(io.BytesIO(), dpi=30)


@pytest.mark.parametrize("draw", [plots.per_tag_bars, plots.accuracy_by_draws, plots.tag_heat_map])
def test_a_frame_of_several_panels_does_not_fit_into_one_axis(draw: Callable[..., Any]) -> None:
    frame = _curve() if draw is plots.accuracy_by_draws else _frame()
    with pytest.raises(UsageError, match="ax= takes one panel, but this frame has 2: choose one metric"):
        draw(frame, ax=Figure().subplots())


def test_a_palette_names_colours_by_model_or_in_turn() -> None:
    frame = _frame().query("metric == 'text'")
    for palette in ({"one": "#ff0000", "other": "#0000ff"}, ["#ff0000", "#0000ff"]):
        axis = plots.per_tag_bars(frame, palette=palette).axes[0]
        assert [bars[0].get_facecolor()[:3] for bars in axis.containers[::2]] == [(1, 0, 0), (0, 0, 1)]
    with pytest.raises(UsageError, match="no colour for 'other'"):
        plots.per_tag_bars(frame, palette={"one": "red"})


def test_models_stand_in_the_order_that_is_asked_for() -> None:
    legend = plots.per_tag_bars(_frame(), order=["other", "one"]).legends[0]
    assert [text.get_text() for text in legend.get_texts()] == ["other", "one", "random chance"]
