"""Our loops beside the usual ones, each in its own process: `python -m tests.benchmarks.turns [--turns N] [--json]`.

Both processes go over the same pictures with the same weights, in turns, so that a busy machine slows both; CPU
seconds count, one thread each. Ours keeps freed memory, as the process of `compbench run` does; the other's allocator
is as it comes. The other loop is the published one of the Diffusion Classifier, and for CLIP the one of
CLIP_benchmark. A ratio is that of its CPU seconds to ours, the geometric mean over turns with its 95 % interval
(Student's t).
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from statistics import fmean, median, stdev

import rich.console
import rich.table
from scipy import stats

SUBJECTS = ("tiny-sd", "tiny-clip 2x2", "tiny-clip own captions", "tiny-clip shared captions", "tiny-clip each thrice")
_N_DRAWS, _N_CAPTIONS = 32, 10


@dataclass(frozen=True, slots=True)
class Row:
    """One subject: what both loops took."""

    subject: str
    other_seconds: float  # of CPU, the median over turns
    our_seconds: float
    ratio: float
    low: float
    high: float


def loop(subject: str, is_ours: bool, n: int) -> Callable[[], object]:
    """What a turn does: `n` examples of the subject, by our loop or by the other."""
    from compbench.core.models import Runtime

    if subject == "tiny-sd":
        from tests.benchmarks import engine, subjects

        tiny = subjects.tiny(n, _N_DRAWS)
        classifier = subjects.classifier(tiny)
        if is_ours:
            return lambda: subjects.full(classifier, tiny.examples)
        return lambda: engine._literal(tiny, classifier.bank, tiny.examples)
    from compbench.core.examples import Task
    from compbench_baselines.clip._scorer import ClipScorer
    from tests.benchmarks import clip

    sets = {
        "2x2": clip.two_by_two,
        "own captions": clip.one_by_its_own,
        "shared captions": lambda n: clip.one_by_n(n, _N_CAPTIONS),
        "each thrice": lambda n: clip.repeated(n // 3, 3),
    }
    loaded, examples = clip.load("tiny-clip"), sets[subject.removeprefix("tiny-clip ")](n)
    if not is_ours:
        return lambda: clip.plain(loaded, examples, "cpu")
    scorer = ClipScorer.on_device(*loaded, Runtime("cpu"))

    def ours() -> object:
        scorer._captions.clear()  # each turn is a run of its own
        scorer.prepare(Task("benchmark", examples, {}))
        return [matrix.scores for matrix in scorer.score(examples, {})]

    return ours


def work(subject: str, is_ours: bool, n: int, end: Connection) -> None:
    """Take turns when told to, and answer with the CPU seconds of each."""
    import torch

    from compbench.cli import _freed_memory

    torch.set_num_threads(1)
    if is_ours:
        _freed_memory.keep()
    turn = loop(subject, is_ours, n)
    turn()
    end.send(None)
    while end.recv():
        began = time.process_time()
        turn()
        end.send(time.process_time() - began)


@contextmanager
def working(subject: str, n: int, *, is_ours: bool) -> Generator[Callable[[], float]]:
    """A process that takes a turn whenever the function is called, which returns its CPU seconds."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=work, args=(subject, is_ours, n, there), daemon=True)
    process.start()
    here.recv()  # it is warm

    def turn() -> float:
        here.send(True)
        return here.recv()

    try:
        yield turn
    finally:
        here.send(False)
        process.join()


def measured(subject: str, n: int, n_turns: int) -> Row:
    """Both loops in turns, which goes first alternating."""
    with working(subject, n, is_ours=False) as other, working(subject, n, is_ours=True) as ours:
        spent: list[tuple[float, float]] = []
        for number in range(n_turns):
            if number % 2:
                mine = ours()
                spent.append((other(), mine))
            else:
                theirs = other()
                spent.append((theirs, ours()))
    ratio = interval([math.log(theirs / mine) for theirs, mine in spent])
    return Row(subject, median(theirs for theirs, _ in spent), median(mine for _, mine in spent), *ratio)


def interval(logs: Sequence[float]) -> tuple[float, float, float]:
    """The geometric mean of ratios, given their logarithms, and the ends of its 95 % interval; of one, no interval.

    >>> interval([math.log(2), math.log(2)])
    (2.0, 2.0, 2.0)
    """
    half = stats.t.ppf(0.975, len(logs) - 1) * stdev(logs) / math.sqrt(len(logs)) if len(logs) > 1 else math.inf
    ratio, low, high = (math.exp(fmean(logs) + shift) for shift in (0, -half, half))
    return ratio, low, high


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subjects", nargs="+", choices=SUBJECTS, default=list(SUBJECTS))
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--examples", type=int, help="of each subject; default: 4 for tiny-sd, 100 for CLIP")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = [
        measured(subject, arguments.examples or (4 if subject == "tiny-sd" else 100), arguments.turns)
        for subject in arguments.subjects
    ]
    if arguments.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
    else:
        _print(rows, arguments.turns)


def _print(rows: Sequence[Row], n_turns: int) -> None:
    table = rich.table.Table(title=f"CPU seconds of a turn, {n_turns} turns")
    for heading in ("subject", "the usual loop", "ours", "ratio [95 %]"):
        table.add_column(heading, justify="left" if heading == "subject" else "right")
    for row in rows:
        ratio = f"{row.ratio:.2f} [{row.low:.2f}, {row.high:.2f}]"
        table.add_row(row.subject, f"{row.other_seconds:.2f}", f"{row.our_seconds:.2f}", ratio)
    rich.console.Console(width=100).print(table)


if __name__ == "__main__":
    main()
