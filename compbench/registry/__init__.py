"""From a name to a task or a model: entry points, options, hub addresses, downloads and file lists."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compbench.core.faces import lazily

if TYPE_CHECKING:
    from compbench.registry.names import NamedSpec, checked_label, model, models, parse_options
    from compbench.registry.task_names import find_task, task, tasks

__all__ = [
    "NamedSpec",
    "checked_label",
    "find_task",
    "model",
    "models",
    "parse_options",
    "task",
    "tasks",
]

__getattr__ = lazily(
    __name__,
    {
        ".names": ["NamedSpec", "checked_label", "model", "models", "parse_options"],
        ".task_names": ["find_task", "task", "tasks"],
    },
)
