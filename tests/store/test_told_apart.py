"""What tells runs apart is said in words, whatever a model's identity holds."""

from __future__ import annotations

import re
from dataclasses import fields

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compbench.core.aliases import Json
from compbench.schedules.racing import Racing
from compbench.schedules.schedule import entry_of
from compbench.schedules.staged import Staged
from compbench.store.told_apart import flat, in_words, told_apart

CODE = re.compile(r"[=_\[\]{}]|\w\.[a-z_]+\b")
FULL: dict[str, Json] = {"family": "stable-diffusion", "protocol": "compbench", "seed": 0, "dtype": "float16"}


def test_a_budget_is_said_in_draws() -> None:
    raced = [FULL | entry_of(Racing(draws)) for draws in (100, 1000)]
    assert told_apart(raced) == [["100 draws"], ["1,000 draws"]]


def test_a_schedule_is_named_and_the_lack_of_one_too() -> None:
    measurements = [FULL, FULL | entry_of(Racing(100)), FULL | entry_of(Staged((5, 1), (25, 250)))]
    assert told_apart(measurements) == [["every draw"], ["racing"], ["the paper's stages"]]


def test_a_setting_of_a_schedule_is_said_only_where_schedules_of_one_kind_differ_in_it() -> None:
    measurements = [FULL, FULL | entry_of(Racing(100)), FULL | entry_of(Racing(100, risk=0.01))]
    assert told_apart(measurements) == [["every draw"], ["racing"], ["racing", "risk 0.01"]]


def test_a_run_without_what_another_adds_says_so() -> None:
    added = FULL | {"lora": "sha256:0123456789abcdef"}, FULL | {"quantized": "fp8"}
    assert told_apart([FULL, added[0]]) == [["no LoRA"], ["LoRA 0123456789ab"]]
    assert told_apart([FULL, added[1]]) == [["unquantized"], ["quantized fp8"]]


def test_equal_settings_have_nothing_to_be_told_by() -> None:
    assert told_apart([FULL, dict(FULL)]) == [[], []]


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"noise": "antithetic-2"}, "antithetic noise"),
        ({"size_px": 512}, "512 px"),
        ({"reductions": ["l2", "l1"]}, "squared errors and absolute errors"),
        ({"rgb": "first"}, "RGB before resizing"),
        ({"seed": 20261126}, "seed 20261126"),
        ({"weights": "hf:org/name@0123456789abcdef"}, "weights 0123456789ab"),
        ({"lora": "sha256:0123456789abcdef"}, "LoRA 0123456789ab"),
        ({"training": "sha256:0123456789abcdef"}, "training pictures 0123456789ab"),
        ({"is_pooled": True}, "pooled"),
        ({"is_pooled": False}, "not pooled"),
        ({"my_option": {"n_words": [1, "a_b"]}}, "n words 1, a b"),
        ({"of": None}, "of none"),
    ],
)
def test_settings_are_said_as_a_reader_says_them(setting: dict[str, Json], words: str) -> None:
    assert [in_words(name, value) for name, value in flat(setting).items()] == [words]


@pytest.mark.parametrize("schedule", [Racing, Staged])
def test_every_setting_of_a_schedule_has_words_of_its_own(schedule: type[Racing] | type[Staged]) -> None:
    stored = {"draws": "n_draws", "loss": "reduction", "max_difference": "limit"}
    known = [field for field in fields(schedule) if field.metadata.get("stored", True)]
    names = [stored.get(field.name, field.name) for field in known]
    assert names
    for name in names:
        value = "l1" if name == "reduction" else 3
        said = in_words(f"schedule.{name}", value)
        assert not CODE.search(said)
        assert said != in_words(f"unknown.{name}", value) or name in ("risk", "tolerance")  # the reader's words


@settings(max_examples=25, deadline=None)
@given(
    st.dictionaries(
        st.from_regex(r"[a-z][a-z_]{0,9}(\.[a-z_]{1,9})?", fullmatch=True),
        st.none() | st.booleans() | st.integers() | st.floats(0, 1) | st.lists(st.sampled_from(["l2", "a_b", "x=1"])),
    )
)
def test_no_mark_of_code_is_left_of_any_setting(given_ones: dict[str, Json]) -> None:
    for name, value in given_ones.items():
        assert not re.search(r"[=_\[\]{}']", in_words(name, value).replace("the paper's", "").replace("a pilot's", ""))
