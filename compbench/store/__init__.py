"""A run on disk: its key, its Parquet parts, its lock, and reading it back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compbench.core.faces import lazily

if TYPE_CHECKING:
    from compbench.store.exported import to_manifest
    from compbench.store.frames import as_cells, predicted
    from compbench.store.key import RunKey
    from compbench.store.lock import WAIT_SECONDS
    from compbench.store.pilots import Pilot, learned
    from compbench.store.provenance import here
    from compbench.store.run import Run
    from compbench.store.run_file import DamagedRun
    from compbench.store.shards import Shard, device_here, shard_here
    from compbench.store.store import Store
    from compbench.store.stored_examples import StoredExamples
    from compbench.store.writer import RunWriter

__all__ = [
    "DamagedRun",
    "Pilot",
    "Run",
    "RunKey",
    "RunWriter",
    "Shard",
    "Store",
    "StoredExamples",
    "WAIT_SECONDS",
    "as_cells",
    "device_here",
    "here",
    "learned",
    "predicted",
    "shard_here",
    "to_manifest",
]

__getattr__ = lazily(
    __name__,
    {
        ".exported": ["to_manifest"],
        ".frames": ["as_cells", "predicted"],
        ".key": ["RunKey"],
        ".lock": ["WAIT_SECONDS"],
        ".pilots": ["Pilot", "learned"],
        ".provenance": ["here"],
        ".run": ["Run"],
        ".run_file": ["DamagedRun"],
        ".shards": ["Shard", "device_here", "shard_here"],
        ".store": ["Store"],
        ".stored_examples": ["StoredExamples"],
        ".writer": ["RunWriter"],
    },
)
