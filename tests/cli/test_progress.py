"""Progress: a line a minute where stderr is no terminal, one line redrawn where it is, nothing when quiet."""

from __future__ import annotations

import io
import os
import pty
import re
import signal
import sys
import time
from pathlib import Path

import pytest

from compbench.cli import progress
from compbench.cli._tally import Stage, Tally, Whole
from compbench.core import stages
from compbench.core.printable import width


def test_a_line_is_written_at_most_once_a_minute_and_in_words() -> None:
    out, times = io.StringIO(), [0.0]
    reporter = progress.LineReporter(out, lambda: times[0])
    reporter.start("shapes · tiny-sd", 400, 40, 1440, 1440 * 16)
    for _ in range(36):
        times[0] += 10
        reporter.advance(examples=10, pairs=40, evaluations=640)
    reporter.stop()
    assert out.getvalue().splitlines() == [
        "shapes · tiny-sd: 100 of 400 examples, 5 min left",
        "shapes · tiny-sd: 160 of 400 examples, 4 min left",
        "shapes · tiny-sd: 220 of 400 examples, 3 min left",
        "shapes · tiny-sd: 280 of 400 examples, 2 min left",
        "shapes · tiny-sd: 340 of 400 examples, 60 s left",
        "shapes · tiny-sd: 400 of 400 examples, 0 s left",
        "shapes · tiny-sd: 400 of 400 examples in 6 min 0 s",
    ]


def test_of_several_runs_the_line_says_how_far_all_are() -> None:
    out, times = io.StringIO(), [0.0]
    reporter = progress.LineReporter(out, lambda: times[0])
    reporter.begin_grid([20, 10])
    reporter.next_cell()
    reporter.next_cell()
    reporter.start("shapes · tiny-clip", 10, 0, 40, None)
    times[0] = 80.0
    reporter.advance(examples=5, pairs=20)
    assert out.getvalue() == "[2/2] shapes · tiny-clip: 5 of 10 examples, 80 s left, 25 of all 30\n"


def test_each_note_is_said_once_and_a_run_that_never_started_can_be_stopped() -> None:
    out = io.StringIO()
    reporter = progress.LineReporter(out)
    reporter.advance(pairs=1)
    for message in ("400 → 24 examples", "another", "400 → 24 examples"):
        reporter.say(message)
    reporter.stop()
    assert out.getvalue() == "400 → 24 examples\nanother\n"


def test_training_is_told_like_measuring() -> None:
    out, times = io.StringIO(), [0.0]
    reporter = progress.LineReporter(out, lambda: times[0])
    with progress.shown(reporter):
        stages.tell("loading")
        for step in range(0, 400, 40):
            stages.tell("small-resnet: training", step, 400, "steps")
            times[0] += 20
    assert out.getvalue().splitlines() == [
        "small-resnet: training: 120 of 400 steps, 2 min left",
        "small-resnet: training: 240 of 400 steps, 80 s left",
        "small-resnet: training: 360 of 400 steps, 20 s left",
    ]
    assert not stages.tell("nobody listens any more")


@pytest.mark.parametrize("n_columns", [40, 77, 137])
def test_the_bar_fits_and_keeps_per_cent_and_time_left(n_columns: int) -> None:
    label = Whole([5, 5], 1).label("a-task-with-a-name · a-model-with-a-very-long-name")
    tally = Tally(400, 40, 1440, 23040, 0.0)
    assert width(tally.line(label, 9.0, n_columns, "first batch")) <= n_columns
    assert "first batch" in tally.line("shapes · sd2", 9.0, 77, "first batch")
    tally.add(90, 360, 5760)
    line = tally.line(label, 10.0, n_columns)
    assert width(line) <= n_columns
    assert " 25 %" in line
    assert n_columns < 60 or "30 s left" in line
    assert n_columns < 100 or ("576/s" in line and "130/400" in line)
    fetching = Stage("fetching org/name", 2 * 10**9, 5 * 10**9, "B", 0.0)
    assert "2.0 GB of 5.0 GB" in fetching.line(10.0, 77)
    assert width(Stage("loading " + "x" * 200, 0, 0, "", 0.0).line(10.0, n_columns)) <= n_columns


def test_the_line_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = progress.BarReporter()
    reporter.start("shapes · tiny-sd", 2, 0, 8, 80)
    reporter.advance(examples=1, pairs=4, evaluations=40)
    for _ in range(2):
        reporter.say("a note with [brackets]")
    reporter.stop()
    reporter.stop()
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("a note with [brackets]") == 1
    assert said.err.count(" 50 %") == 1


def test_where_stderr_is_no_terminal_there_are_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert isinstance(progress.for_stderr(), progress.LineReporter)
    assert isinstance(progress.for_stderr(is_quiet=True), progress.SilentReporter)


@pytest.mark.slow
def test_on_a_terminal_it_moves_at_once_and_ctrl_c_leaves_the_bar_there_once(tmp_path: Path) -> None:
    seconds, drawn = _on_a_terminal(["run", "shapes", "-m", "tiny-sd", "-o", "draws=900", "--runs", str(tmp_path)])
    assert seconds < 3  # half a second where nothing else runs
    screen = _screen(drawn, 80)
    assert max(map(width, screen)) <= 80
    assert sum("━" in line or "─" in line for line in screen) == 1, screen
    assert "interrupted: rerun the same command to resume" in screen
    assert re.search(r"[-|/\\] (importing|reading the task)", drawn)
    assert re.search(r"[-|/\\] loading tiny-sd", drawn)


def _on_a_terminal(arguments: list[str]) -> tuple[float, str]:
    """Seconds until something is drawn, and all that is, with Ctrl-C as soon as something is measured."""
    began, first, drawn, is_stopped = time.monotonic(), None, b"", False
    pid, terminal = pty.fork()
    if not pid:
        os.environ |= {"COLUMNS": "80", "OMP_NUM_THREADS": "1"}
        os.execv(sys.executable, [sys.executable, "-m", "compbench", *arguments])
    while True:
        try:
            some = os.read(terminal, 65536)
        except OSError:  # Linux: the other end is closed
            break
        if not some:
            break
        first, drawn = first or time.monotonic() - began, drawn + some
        if not is_stopped and b" left  " in drawn:
            os.write(terminal, b"\x03")
            is_stopped = True
        if time.monotonic() - began > 120:
            os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert first is not None
    return first, drawn.decode()


def _screen(drawn: str, n_columns: int) -> list[str]:
    """What a terminal shows in the end."""
    rows, y, x = [[""] * n_columns], 0, 0
    for sign in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|.", drawn, re.DOTALL):
        if sign == "\r":
            x = 0
        elif sign.endswith("K"):
            rows[y] = [""] * n_columns
        elif sign.startswith("\x1b"):
            y -= int(sign[2:-1] or 1) if sign.endswith("A") else 0
        else:
            y, x = (y + 1, 0) if sign == "\n" or x >= n_columns else (y, x)
            rows += [[""] * n_columns] * (y >= len(rows))
            if sign != "\n":
                rows[y][x], x = sign, x + 1
    return ["".join(row or " " for row in row).rstrip() for row in rows]
