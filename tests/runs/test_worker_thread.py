"""A worker measures all its blocks in one thread: what cuDNN found to be fastest is known to its thread alone."""

from __future__ import annotations

import threading

from compbench.runs._messages import Finished, Stopped
from compbench.runs._worker import Worker


def test_all_that_a_worker_is_told_happens_in_one_thread_whatever_comes_in_between() -> None:
    worker, threads = Worker(), list[int]()

    def work() -> Finished:
        threads.append(threading.get_ident())
        if len(threads) == 2:
            raise KeyboardInterrupt
        return Finished()

    heard = []
    for _ in range(3):
        worker._start(work)
        heard += worker.heard(10)
    assert [type(message) for message in heard] == [Finished, Stopped, Finished]
    assert len(threads) == 3
    assert len(set(threads)) == 1
    assert threads[0] != threading.get_ident()
