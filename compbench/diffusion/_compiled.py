"""A network through torch.compile: fused where eager execution is bound by pointwise work and by Python."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch._dynamo.exc import TorchDynamoException

__all__ = ["Compiled"]


class Compiled:
    """Calls `network` compiled for each shape it sees; as it is, and said once, where the compiler fails.

    What it computes differs from the network as it is by rounding: on a CPU in float32 by less than 5e-6 of an error.
    The compiler's own cache (TORCHINDUCTOR_CACHE_DIR) makes a later process start sooner.
    """

    def __init__(self, network: nn.Module, mode: str, say: Callable[[str], None]) -> None:
        self._plain, self._say = network, say
        self._network: Callable[..., Any] = torch.compile(network, mode=mode, dynamic=False)
        self._is_told = False
        self.engine = f"compiled: {mode}"  # or eager, once the compiler has failed

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        began = time.perf_counter()
        try:
            output = self._network(*inputs, **named)
        except TorchDynamoException as error:
            reason = str(error).strip().partition("\n")[0]
            self._say(f"the network cannot be compiled here ({reason}): it runs uncompiled, which is slower")
            self._network, self._is_told, self.engine = self._plain, True, "eager"
            return self._plain(*inputs, **named)
        if not self._is_told:
            self._say(f"the network was compiled in {time.perf_counter() - began:.0f} s; the cache saves the next run")
            self._is_told = True
        return output
