"""Trains a network on labelled inputs. An interrupted training goes on from its checkpoint, to the same weights."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from compbench.core import disk, stages
from compbench.core.aliases import Bools, Ints
from compbench.core.errors import DataError
from compbench.diffusion.devices import full_float32
from compbench_baselines.training.cache import writing

__all__ = ["Inputs", "Job", "Recipe", "fit", "one_thread"]

_FINISHED, _CHECKPOINT = "model.safetensors", "checkpoint.pt"


class Inputs(Protocol):
    """The inputs of a network, by index."""

    def batches(self, chunks: Iterable[Ints], epoch: int | None) -> Iterator[Tensor]:
        """[b, ...] float32 for each chunk of indices; augmented as `epoch` says, or not at all where it is None."""
        ...


@dataclass(frozen=True, slots=True)
class Recipe:
    """AdamW, one cycle of the learning rate, cross entropy."""

    n_epochs: int
    batch_size: int = 32
    learning_rate: float = 1e-2
    weight_decay: float = 0.05
    seed: int = 0  # of the order of the inputs


@dataclass(frozen=True)
class Job:
    """A training: what is learned from what, and where its checkpoints go."""

    name: str
    inputs: Inputs
    labels: Ints  # [n]
    recipe: Recipe
    folder: Path
    device: torch.device
    say: Callable[[str], None] = lambda message: None
    is_held_out: Bools | None = None  # [n], those that choose among the epochs; None: the last epoch is taken
    seconds_between_checkpoints: float = 15.0

    @cached_property
    def learned(self) -> Ints:
        """Indices of the inputs that are learned from."""
        return np.arange(len(self.labels)) if self.is_held_out is None else np.flatnonzero(~self.is_held_out)

    @cached_property
    def validated(self) -> Ints:
        """Indices of the inputs that choose among the epochs."""
        return np.arange(0) if self.is_held_out is None else np.flatnonzero(self.is_held_out)


@dataclass
class _State:
    """All that a continued training needs besides the job."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    step: int = 0
    best: dict[str, Tensor] | None = None
    best_accuracy: float = -1.0
    began: float = field(default_factory=time.monotonic)
    saved: float = field(default_factory=time.monotonic)


def fit(network: nn.Module, job: Job) -> nn.Module:
    """The network, trained as the job says, in evaluation mode; one that was trained before is only loaded."""
    network = network.to(job.device)
    finished = job.folder / _FINISHED
    if not finished.is_file():
        weights = _train(network, job)
        plain = {key: tensor.detach().cpu().contiguous() for key, tensor in weights.items()}
        with writing(job.folder):
            disk.write(finished, save(plain))
            (job.folder / _CHECKPOINT).unlink(missing_ok=True)
    try:  # what is used is always what is on the disk
        network.load_state_dict(load_file(finished))
    except (OSError, RuntimeError, SafetensorError) as error:
        raise DataError(f"{str(finished)!r} is damaged ({error}); delete it to train again") from error
    return network.eval().requires_grad_(False)


def _train(network: nn.Module, job: Job) -> dict[str, Tensor]:
    recipe = job.recipe
    chunks = _chunks(job, 0)
    optimizer = torch.optim.AdamW(network.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
    n_steps = recipe.n_epochs * len(chunks)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, total_steps=n_steps)
    state = _State(network, optimizer, schedule)
    _restore(state, job)
    with _repeatable():
        while state.step < n_steps:
            epoch, done = divmod(state.step, len(chunks))
            _epoch(state, job, epoch, done)
            if len(job.validated):
                _keep_the_best(state, job)
            _save(state, job)
    job.say(f"{job.name}: trained on {len(job.learned):,} pictures{_so_well(state)}")
    return state.best or network.state_dict()


def _epoch(state: _State, job: Job, epoch: int, n_done: int) -> None:
    chunks = _chunks(job, epoch)
    labels = torch.from_numpy(job.labels)
    state.network.train()
    batches = job.inputs.batches(chunks[n_done:], epoch)
    for chunk, inputs in zip(chunks[n_done:], batches, strict=True):
        loss = F.cross_entropy(state.network(inputs.to(job.device)), labels[chunk].to(job.device))
        state.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        state.optimizer.step()
        state.schedule.step()
        state.step += 1
        _tell(state, job, len(chunks) * job.recipe.n_epochs)
        is_last = state.step % len(chunks) == 0  # then validation comes first
        if not is_last and time.monotonic() - state.saved >= job.seconds_between_checkpoints:
            _save(state, job)


def _chunks(job: Job, epoch: int) -> list[Ints]:
    """The epoch's order, from (seed, epoch) alone, in batches of nearly equal size: none has a single input."""
    order = np.random.default_rng([job.recipe.seed, epoch]).permutation(job.learned)
    return np.array_split(order, max(1, len(order) // max(2, job.recipe.batch_size)))


@torch.inference_mode()
def _keep_the_best(state: _State, job: Job) -> None:
    """The weights with the highest accuracy on what is not learned from; the later ones of equals."""
    state.network.eval()
    chunks = np.array_split(job.validated, -(-len(job.validated) // 256))
    right = 0
    for chunk, inputs in zip(chunks, job.inputs.batches(chunks, None), strict=True):
        predicted = state.network(inputs.to(job.device)).argmax(-1).cpu().numpy()
        right += int((predicted == job.labels[chunk]).sum())
    accuracy = right / len(job.validated)
    if accuracy >= state.best_accuracy:
        state.best_accuracy = accuracy
        state.best = {key: tensor.detach().clone() for key, tensor in state.network.state_dict().items()}


def _save(state: _State, job: Job) -> None:
    out = io.BytesIO()
    torch.save(
        {
            "step": state.step,
            "network": state.network.state_dict(),
            "optimizer": state.optimizer.state_dict(),
            "schedule": state.schedule.state_dict(),
            "best": state.best,
            "best_accuracy": state.best_accuracy,
        },
        out,
    )
    with writing(job.folder):
        disk.write(job.folder / _CHECKPOINT, out.getbuffer())
    state.saved = time.monotonic()


def _restore(state: _State, job: Job) -> None:
    """The state of the checkpoint, where there is one."""
    file = job.folder / _CHECKPOINT
    if not file.is_file():
        return
    try:
        kept: dict[str, Any] = torch.load(file, map_location=job.device, weights_only=True)
        state.network.load_state_dict(kept["network"])
        state.optimizer.load_state_dict(kept["optimizer"])
        state.schedule.load_state_dict(kept["schedule"])
    except Exception as error:
        raise DataError(f"checkpoint {str(file)!r} is damaged ({error}); delete it to train from the start") from error
    state.step, state.best, state.best_accuracy = kept["step"], kept["best"], kept["best_accuracy"]
    job.say(f"{job.name}: resuming training at step {state.step}")


def _tell(state: _State, job: Job, n_steps: int) -> None:
    stages.tell(f"{job.name}: training{_so_well(state)}", state.step, n_steps, "steps")


def _so_well(state: _State) -> str:
    return "" if state.best is None else f", {100 * state.best_accuracy:.1f} % right on the held-out ones"


@contextmanager
def one_thread() -> Generator[None]:
    """The CPU's arithmetic on one thread: a sum is rounded otherwise when threads share it.

    Without it a trained network would depend on how many cores a machine has.
    """
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(n_threads)


@contextmanager
def _repeatable() -> Generator[None]:
    """The same weights on any number of threads; cuDNN chooses its algorithms by rule, not by a race."""
    with one_thread(), full_float32(is_deterministic=True):
        yield
