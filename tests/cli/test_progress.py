"""Progress: plain lines now and then where stderr is no terminal, a bar where it is, nothing when quiet."""

from __future__ import annotations

import io

import pytest

from compbench.cli import progress


def test_a_line_is_written_at_most_every_five_seconds() -> None:
    out, times = io.StringIO(), [0.0]
    reporter = progress.LineReporter(out, lambda: times[0])
    reporter.start("shapes · tiny-sd", 10, 2, 32, 1024)
    for _ in range(8):
        times[0] += 2
        reporter.advance(examples=1, pairs=4, evaluations=128)
    reporter.stop()
    assert out.getvalue().splitlines() == [
        "shapes · tiny-sd: 5/10 examples, 12/32 pairs, 384/1,024 evaluations, 64/s, 10 s left",
        "shapes · tiny-sd: 8/10 examples, 24/32 pairs, 768/1,024 evaluations, 64/s, 4.0 s left",
        "shapes · tiny-sd: 10/10 examples, 32/32 pairs, 1,024/1,024 evaluations in 16 s",
    ]


def test_pairs_are_the_pace_where_no_evaluations_are_counted() -> None:
    out, times = io.StringIO(), [0.0]
    reporter = progress.LineReporter(out, lambda: times[0])
    reporter.start("shapes · tiny-clip", 4, 0, 16, None)
    times[0] = 8.0
    reporter.advance(examples=1, pairs=4)
    assert out.getvalue() == "shapes · tiny-clip: 1/4 examples, 4/16 pairs, 0.5/s, 24 s left\n"


def test_notes_are_always_said_and_a_run_that_never_started_can_be_stopped() -> None:
    out = io.StringIO()
    reporter = progress.LineReporter(out)
    reporter.advance(pairs=1)
    reporter.say("400 → 24 examples")
    reporter.stop()
    assert out.getvalue() == "400 → 24 examples\n"


def test_the_bar_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = progress.BarReporter()
    reporter.start("shapes · tiny-sd", 2, 0, 8, 80)
    reporter.advance(examples=1, pairs=4, evaluations=40)
    reporter.say("a note with [brackets]")
    reporter.stop()
    reporter.stop()
    said = capsys.readouterr()
    assert said.out == ""
    assert "a note with [brackets]" in said.err


def test_where_stderr_is_no_terminal_there_are_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert isinstance(progress.for_stderr(), progress.LineReporter)
    assert isinstance(progress.for_stderr(is_quiet=True), progress.SilentReporter)
