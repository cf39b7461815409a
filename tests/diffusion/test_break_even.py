"""A network is compiled when that saves more than it takes, by what was measured; both ways are said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_diffusion import EXAMPLES

import fakes
import small_sd
from compbench import registry
from compbench.core.measurements import joined
from compbench.core.models import Runtime
from compbench.core.remembered import cache_folder
from compbench.diffusion._break_even import FOLDER, Compiling, Speeds
from compbench.diffusion.classifier import DiffusionClassifier
from compbench.diffusion.draws import seeded_bank
from compbench.diffusion.families import sd_unet
from compbench.tasks.shapes import shapes

pytestmark = pytest.mark.usefixtures("own_cache")
SIZE = 4


class Slow(fakes.RecordingDenoiser):
    """A batch takes 4 ms as it is, by a clock of its own, and compiled 0.5; the first call then takes 20 ms more."""

    def __init__(self, compiled: float = 0.0005) -> None:
        super().__init__()
        self.architecture, self.modes = "slow", list[str]()
        self.seconds, self._compiled, self._first = 0.0, compiled, 0.0

    def now(self) -> float:
        return self.seconds

    def compile(self, mode: str, say: Any) -> None:
        self.modes.append(mode)
        self.engine, self._first = ("eager", 0.0) if mode == "off" else (f"compiled: {mode}", 0.02)

    def residual(self, *inputs: Any) -> Any:
        self.seconds += 0.004 if self.engine == "eager" else self._first + self._compiled
        self._first = 0.0
        return super().residual(*inputs)


def scorer_of(denoiser: Slow, mode: str, said: list[str], draws: int = 2, **runtime: Any) -> DiffusionClassifier:
    made = DiffusionClassifier(denoiser, seeded_bank(0), draws, Runtime("cpu", SIZE, **runtime))  # type: ignore[arg-type]
    made._compiling = Compiling(denoiser, mode, said.append, denoiser.now)  # type: ignore[arg-type]
    return made


def decided(denoiser: Slow, *planned: int, mode: str = "auto") -> list[str]:
    """All that is said before so many evaluations, call by call."""
    said: list[str] = []
    scorer = scorer_of(denoiser, mode, said)
    for n in planned:
        scorer._engine(n, EXAMPLES[0], lambda evaluations: None)
    return said


@pytest.mark.parametrize("compiling", [1.0, 120.0])
def test_it_pays_from_the_evaluation_on_that_earns_back_the_last_second(compiling: float) -> None:
    speeds = Speeds(eager=0.002, compiled=0.0015, compiling=compiling)
    n = round(speeds.break_even)
    assert n == round(compiling / 0.0005)
    assert [speeds.pays(n - 1), speeds.pays(n + 1)] == [False, True]
    for seconds in (speeds.eager * (n + 1), speeds.compiling + speeds.compiled * (n + 1)):
        assert seconds == pytest.approx(0.002 * n, rel=0.01)


def test_what_saves_nothing_never_pays() -> None:
    assert not Speeds(eager=0.001, compiled=0.001, compiling=0).pays(10**15)


def test_a_run_of_few_batches_is_not_even_timed() -> None:
    denoiser = Slow()
    assert decided(denoiser, 20 * SIZE - 1) == []
    assert denoiser.modes == denoiser.batch_sizes == []


def test_a_network_nobody_has_compiled_is_judged_by_its_own_pace_and_a_rule_of_thumb() -> None:
    denoiser = Slow()
    (said,) = decided(denoiser, 5000)
    assert denoiser.modes == []
    assert said.startswith("the network runs uncompiled: its 5,000 evaluations take about ")
    assert "and compiling, about 120 s, pays from " in said
    assert denoiser.batch_sizes == [SIZE] * 4


def test_once_compiled_its_gain_is_remembered_for_the_next_run() -> None:
    first = Slow()
    said = decided(first, 10**9)
    assert first.modes == ["default"]
    assert said[0].startswith("the network is compiled: 1,000,000,000 evaluations pay for it")
    assert said[1].startswith("the compiled network takes ")
    (kept,) = (cache_folder() / FOLDER).glob("*.json")
    known = json.loads(kept.read_text(encoding="utf-8"))
    assert known == pytest.approx({"eager": 0.001, "compiled": 0.000125, "compiling": 0.0165})
    second = Slow()
    decided(second, 5000)  # too few by the rule of thumb
    assert second.modes == ["default"]


def test_a_compiled_network_that_is_no_faster_is_dropped_and_not_tried_again() -> None:
    denoiser = Slow(compiled=0.008)
    assert "is no faster" in decided(denoiser, 10**9)[-1]
    assert denoiser.modes == ["default", "off"]
    again = Slow(compiled=0.008)
    assert decided(again, 10**9) == [
        "the network runs uncompiled: compiled it was no faster in an earlier run (-o compile=default tries again)"
    ]
    assert again.modes == []


def test_a_damaged_memory_is_none() -> None:
    decided(Slow(), 10**9)
    (kept,) = (cache_folder() / FOLDER).glob("*.json")
    for content in ("{}", '{"eager": 0, "compiled": 1, "compiling": 1}', '{"eager": "x"}', "no JSON"):
        kept.write_text(content, encoding="utf-8")
        assert "about 120 s" in decided(Slow(), 5000)[0]


def test_who_measures_in_blocks_compiles_when_what_was_measured_would_have_paid() -> None:
    denoiser = Slow()
    decided(denoiser, 10**9)
    denoiser = Slow()
    said = decided(denoiser, *[60] * 9)  # 80 are looked at, and 19 pay by what is remembered
    assert denoiser.modes == ["default"]
    assert len(said) == 2


def test_a_mode_that_is_asked_for_is_taken_at_once_and_none_where_it_is_off() -> None:
    denoiser = Slow()
    assert decided(denoiser, 1, 1, mode="max-autotune") == []
    assert denoiser.modes == ["max-autotune"]
    denoiser = Slow()
    assert decided(denoiser, 10**9, mode="off") == []
    assert denoiser.modes == []


def test_batches_that_are_timed_are_neither_counted_nor_stored() -> None:
    decided(Slow(), 10**9)
    measured: dict[str, Any] = {}
    for mode in ("off", "auto"):
        done: list[int] = []
        denoiser = Slow()
        measured[mode] = joined(scorer_of(denoiser, mode, [], 60, advance=done.append).score(EXAMPLES, {}))
        assert sum(done) == 60 * sum(example.matches.size for example in EXAMPLES)
        assert denoiser.modes == (["default"] if mode == "auto" else [])
    for plain, compiled in zip(*measured.values(), strict=True):
        assert np.array_equal(plain.errors["l2"], compiled.errors["l2"])


def test_a_cpu_compiles_only_when_asked(tmp_path: Path) -> None:
    _, spec = registry.model(f"sd:{small_sd.save(tmp_path / 'sd')}", {})
    scorer: Any = spec.build(spec.source(), Runtime("cpu", SIZE))
    assert scorer._compiling._mode == "off"


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # the compiler's own warnings are no errors
def test_a_real_network_is_timed_compiled_and_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from compbench.diffusion._protocols import Measuring
    from compbench.schedules.schedule import Full

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "compiled"))
    said: list[str] = []
    parts = sd_unet.load(small_sd.save(tmp_path / "sd"))
    measuring = Measuring(protocol="compbench", seed=0, dtype="float32", draws=4, schedule=Full())
    denoiser: Any = measuring.classifier(sd_unet.UNetFamily(), parts, Runtime("cpu", SIZE)).denoiser
    scorer = DiffusionClassifier(denoiser, seeded_bank(0), 4, Runtime("cpu", SIZE, say=said.append))
    scorer._compiling = Compiling(denoiser, "auto", said.append)
    example = shapes().examples[0]
    scorer._engine(10**9, example, lambda n: None)
    assert said[0].startswith("the network is compiled: 1,000,000,000 evaluations pay for it")
    assert said[1].startswith("the network was compiled in ")
    assert said[2].startswith("the compiled network ")
    (kept,) = (cache_folder() / FOLDER).glob("*.json")
    known = json.loads(kept.read_text(encoding="utf-8"))
    print(known)
    assert known["compiling"] > 1 > known["eager"] > 0
    assert denoiser.engine == ("compiled: default" if known["compiled"] < known["eager"] else "eager")
