"""Arrays and JSON as types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    pass

__all__ = ["Bools", "Floats", "Ints", "Json"]

Bools = NDArray[np.bool_]


Floats = NDArray[np.floating]


Ints = NDArray[np.integer]


Json = str | int | float | bool | None | Sequence["Json"] | Mapping[str, "Json"]
