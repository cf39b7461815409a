"""Ray for real: actors on this machine and on a cluster of faked nodes, of which some are killed.

COMPBENCH_KILLS=7 kills seven of each kind, at other moments.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from processes import assert_equal, environment, only_run

import fakes
from compbench.core.errors import RunError
from compbench.runs import harness
from compbench.store.run import Run
from crews import Heard
from preloaded import compiled

ray = pytest.importorskip("ray", reason="ray is not installed: pip install 'compbench[ray]'")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]
N = 60
SECONDS = 0.1  # an example
MARK = f"COMPBENCH_TESTED_BY={os.getpid()}"  # in the environment of its cluster
N_KILLS = int(os.environ.get("COMPBENCH_KILLS", "1"))  # of each kind: an actor, the driver, a node
# argv: the store, seconds an example; measures 60 examples by actors, and says when it begins
DRIVER = """
import sys, fakes
from compbench.runs import harness
from compbench.runs.reporter import QuietReporter

class Telling(QuietReporter):
    def start(self, *counts):
        print("scoring", flush=True)

spec = fakes.HashSpec(seconds=float(sys.argv[2]))
run = harness.run(fakes.task(60), model=spec, runs=sys.argv[1], workers="ray", reporter=Telling())
assert "torch" not in sys.modules
print(run.status)
"""


class Noting(Heard):
    """Tells when the first worker has joined, too."""

    def __init__(self, on_start: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self._on_start = on_start

    def start(self, label: str, n_examples: int, n_done: int, n_pairs: int, n_evaluations: int | None) -> None:
        super().start(label, n_examples, n_done, n_pairs, n_evaluations)
        self._on_start()


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run of one process."""
    return harness.run(fakes.task(N), model=fakes.HashSpec(), runs=tmp_path_factory.mktemp("alone"))


@pytest.fixture(scope="module")
def started() -> Iterator[Any]:
    """A head that offers nothing; whoever has to find the tests' modules does."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PYTHONPATH", environment(Path("runs"))["PYTHONPATH"])
        patched.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patched.setenv(*MARK.split("="))
        patched.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", "5")
        patched.setenv("RAY_health_check_period_ms", "500")
        patched.setenv("RAY_health_check_failure_threshold", "4")
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        yield made
        made.shutdown()


@pytest.fixture
def cluster(started: Any) -> Iterator[Any]:
    """The head and two nodes, each with a GPU by its own words."""
    while len(started.worker_nodes) < 2:
        started.add_node(num_cpus=2, num_gpus=1)
    started.wait_for_nodes()
    yield started
    ray.shutdown()


def workers_alive() -> list[int]:
    """The processes of this test's actors."""
    found: list[int] = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            is_worker = (folder / "cmdline").read_bytes().startswith(b"ray::_RayWorker")
            if is_worker and MARK.encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def eventually(is_true: Callable[[], object], seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < until
        time.sleep(0.02)


def parts_in(runs: Path) -> int:
    return len(list(runs.rglob("errors/*.parquet")))


def driver(runs: Path, address: str, seconds: float) -> subprocess.Popen[str]:
    """A process of its own that leads, once it has begun."""
    command, pipe = [sys.executable, "-c", DRIVER, str(runs), str(seconds)], subprocess.PIPE
    process = subprocess.Popen(
        command, env=environment(runs) | {"RAY_ADDRESS": address}, stdout=pipe, stderr=pipe, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "scoring\n"
    return process


def measured(runs: Path, address: str, reporter: Heard | None = None, workers: str = "ray") -> Run:
    return harness.run(
        fakes.task(N),
        model=fakes.HashSpec(seconds=SECONDS),
        runs=runs,
        workers=workers,
        ray_address=address,
        reporter=reporter or Heard(),
    )


@pytest.mark.parametrize("n", [2, 3])
def test_actors_on_one_machine_measure_bit_for_bit_what_one_process_does(n: int, alone: Run, tmp_path: Path) -> None:
    code = DRIVER.replace('"ray"', f'"ray:{n}"')
    command = [sys.executable, "-c", code, str(tmp_path), str(SECONDS)]
    done = subprocess.run(command, env=environment(tmp_path), capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout == "scoring\ndone\n", done.stderr
    run = only_run(tmp_path)
    assert_equal(run, alone)
    assert run.key.digest == alone.key.digest
    assert len({part["pid"] for part in run.parts()}) == n


@pytest.mark.parametrize("seed", range(N_KILLS))
def test_an_actor_killed_at_a_random_moment_costs_no_result(
    seed: int, cluster: Any, alone: Run, tmp_path: Path
) -> None:
    chance = random.Random(seed)

    def kill() -> None:
        eventually(workers_alive)
        time.sleep(chance.uniform(0, 2.5))
        if alive := workers_alive():
            os.kill(chance.choice(alive), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    reporter = Noting(killer.start)
    assert_equal(measured(tmp_path, cluster.address, reporter), alone)
    killer.join()
    print(f"seed {seed}: {reporter.said}")


@pytest.mark.parametrize("seed", range(N_KILLS))
def test_a_driver_killed_at_a_random_moment_is_followed_by_the_same_command(
    seed: int, cluster: Any, alone: Run, tmp_path: Path
) -> None:
    process = driver(tmp_path, cluster.address, SECONDS)
    time.sleep(random.Random(seed).uniform(0, 4))
    process.kill()
    process.communicate()
    n_before = len(only_run(tmp_path).done())
    reporter = Heard()
    assert_equal(measured(tmp_path, cluster.address, reporter), alone)
    assert all(n_done >= n_before for _, n_done in reporter.started)


@pytest.mark.parametrize("seed", range(N_KILLS))
def test_a_node_killed_at_a_random_moment_costs_no_result(seed: int, cluster: Any, alone: Run, tmp_path: Path) -> None:
    chance = random.Random(seed)

    def kill() -> None:
        eventually(workers_alive)
        time.sleep(chance.uniform(0, 2.5))
        cluster.remove_node(chance.choice(sorted(cluster.worker_nodes, key=str)), allow_graceful=False)

    killer = threading.Thread(target=kill)
    reporter = Noting(killer.start)
    assert_equal(measured(tmp_path, cluster.address, reporter), alone)
    killer.join()
    print(f"seed {seed}: {reporter.said}")


def test_on_a_slow_shared_file_system_nothing_is_lost(alone: Run, tmp_path: Path) -> None:
    code = DRIVER.replace('"ray"', '"ray:3"')
    slow = {"LD_PRELOAD": str(compiled(tmp_path)), "REFUSED": "slow"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "runs"), "0.02"],
        env=environment(tmp_path) | slow,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.stdout == "scoring\ndone\n", done.stderr
    assert_equal(only_run(tmp_path / "runs"), alone)


def test_an_address_at_which_nobody_listens_is_told_at_once(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(RunError, match=f"no Ray cluster answers at '{address}'.*check the address"):
            measured(tmp_path, address)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_driver_that_is_told_to_stop_has_its_workers_store_what_they_measured(
    how: signal.Signals, cluster: Any, tmp_path: Path
) -> None:
    process = driver(tmp_path, cluster.address, 0.4)
    eventually(workers_alive)
    time.sleep(5)  # in the middle of the first blocks
    process.send_signal(how)
    _, said = process.communicate(timeout=60)
    assert "KeyboardInterrupt" in said
    run = only_run(tmp_path)
    assert run.status == "interrupted"
    assert 0 < len(run.done()) < N
    eventually(lambda: not workers_alive())


def test_a_node_that_joins_gets_a_worker(cluster: Any, alone: Run, tmp_path: Path) -> None:
    cluster.remove_node(next(iter(cluster.worker_nodes)))
    reporter = Noting(lambda: cluster.add_node(num_cpus=2, num_gpus=1))
    run = harness.run(
        fakes.task(N),
        model=fakes.HashSpec(seconds=0.3),
        runs=tmp_path,
        workers="ray",
        ray_address=cluster.address,
        reporter=reporter,
    )
    assert_equal(run, alone)
    assert len({part["pid"] for part in run.parts()}) == 2


# the two that start Ray in this process stand last: it turns authentication on, for good, and the cluster has none
def test_with_the_head_killed_the_same_command_goes_on_on_another_cluster(
    cluster: Any, alone: Run, tmp_path: Path
) -> None:
    process = driver(tmp_path, cluster.address, 1.0)
    eventually(lambda: parts_in(tmp_path))
    cluster.head_node.kill_gcs_server(check_alive=False)
    cluster.head_node.kill_raylet(check_alive=False)
    process.communicate(timeout=120)
    assert process.returncode != 0
    n_before = len(only_run(tmp_path).done())
    assert 0 < n_before < N
    ray.shutdown()
    assert_equal(measured(tmp_path, "local", workers="ray:2"), alone)


def test_a_network_measures_in_the_dtype_of_a_worker_s_device_bit_for_bit(
    tiny_pipeline_folder: Path, tmp_path: Path
) -> None:
    model, task, said = f"sd:{tiny_pipeline_folder}", fakes.task(6, "winoground"), Heard()
    settings: dict[str, Any] = {"model": model, "draws": 4, "batch_size": 4}
    run = harness.run(task, runs=tmp_path / "ray", workers="ray:2", reporter=said, **settings)
    whole = harness.run(task, runs=tmp_path / "whole", **settings)
    assert run.key.digest == whole.key.digest
    assert sum("instead of float16" in message for message in said.said) == (run.key.measurement["dtype"] == "float32")
    assert_equal(run, whole)
