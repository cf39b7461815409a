"""Threads that wait for each other on a busy machine are said, once."""

from __future__ import annotations

import time

from compbench.core.crowding import Crowding, advice


def test_a_process_that_gets_little_of_a_busy_machine_is_told_once() -> None:
    crowding = Crowding(least_seconds=0.05, load=lambda: 1e3, n_threads=lambda: 10**6)
    assert crowding.told() is None
    time.sleep(0.2)
    assert "OMP_NUM_THREADS=1" in (crowding.told() or "")
    assert crowding.told() is None


def test_nothing_is_said_where_one_thread_computes_or_nobody_else_does_or_the_threads_get_on() -> None:
    assert advice(n_threads=4, n_cores=4, load=9.0, n_used=0.5) is not None
    assert advice(n_threads=1, n_cores=4, load=9.0, n_used=0.5) is None
    assert advice(n_threads=4, n_cores=4, load=4.2, n_used=0.5) is None
    assert advice(n_threads=4, n_cores=4, load=9.0, n_used=3.0) is None
