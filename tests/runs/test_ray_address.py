"""The address of a Ray cluster is tried before Ray is asked, and given to Ray as a number."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from compbench.core.errors import RunError
from compbench.runs._ray import _reached


@pytest.fixture
def port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


@pytest.mark.parametrize(
    ("given", "reached"),
    [
        ("127.1:{}", "127.0.0.1:{}"),  # as a name that only this machine's own files know
        ("127.0.0.1:{}", "127.0.0.1:{}"),
        ("ray://127.1:{}", "ray://127.0.0.1:{}"),
        ("localhost:{}", "localhost:{}"),
        ("auto", "auto"),
    ],
)
def test_a_host_s_name_is_looked_up_here_and_not_by_ray(given: str, reached: str, port: int) -> None:
    assert _reached(given.format(port)) == reached.format(port)


def test_an_address_at_which_nobody_listens_is_refused() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(RunError, match=f"no Ray cluster answers at '{address}'"):
            _reached(address)
