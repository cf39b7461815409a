"""At one batch size an error depends on its picture, caption and draw alone, bit for bit, on real networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from compbench.core.examples import Example, Task
from compbench.core.measurements import Measurement, joined
from compbench.core.models import Runtime
from compbench.diffusion._encoding import FixedBatches
from compbench.diffusion.families import stable_diffusion
from compbench.diffusion.families.dit import TINY_DIT
from compbench.runs import harness
from compbench.store.run import Run
from compbench.tasks.shapes import shapes

TASK = shapes()
N_DRAWS = 5


def scorer(dtype: str = "float32", draws: int = N_DRAWS, task: Task = TASK, batch_size: int = 16) -> Any:
    spec = replace(stable_diffusion.TINY_SD, dtype=dtype, draws=draws)
    made = spec.build(spec.source(), Runtime("cpu", batch_size))
    made.prepare(task)
    return made


def errors(examples: Sequence[Example], known: Mapping[str, Measurement] | None = None, **made: Any) -> dict[str, Any]:
    return {example.example_id: example.errors["l2"] for example in joined(scorer(**made).score(examples, known or {}))}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_errors_do_not_depend_on_neighbours_order_or_how_many_there_are(dtype: str) -> None:
    examples = list(TASK.examples[:2])
    whole = errors(examples, dtype=dtype)
    backwards = errors(examples[::-1], dtype=dtype)
    for example in examples:
        assert np.array_equal(whole[example.id], backwards[example.id])
        assert np.array_equal(whole[example.id], errors([example], dtype=dtype)[example.id])


def test_errors_do_not_depend_on_where_a_run_was_resumed() -> None:
    (example,) = TASK.examples[:1]
    whole = errors([example])[example.id]
    for n in (1, 4):
        first = joined(scorer(draws=n).score([example], {}))[0]
        rest = errors([example], {example.id: first})[example.id]
        assert np.array_equal(np.concatenate([first.errors["l2"], rest], -1), whole)


def test_a_picture_that_another_example_has_too_gives_the_same_errors_alone() -> None:
    first, second = TASK.examples[:2]
    sharing = replace(
        second, images=(first.images[0], second.images[1]), captions=(first.captions[0], second.captions[1])
    )
    assert np.array_equal(errors([first, sharing])[sharing.id], errors([sharing])[sharing.id])


def test_measuring_without_a_caption_too_moves_no_error_of_a_caption(tmp_path: Path) -> None:
    runs = [
        harness.run(TASK, model="tiny-sd", limit=2, draws=2, unconditional=choice, runs=tmp_path / str(choice))
        for choice in (False, True)
    ]
    assert _same(*runs)


def test_shards_limits_and_whole_runs_store_the_same_errors(tmp_path: Path) -> None:
    common = {"model": "tiny-sd", "draws": 2, "batch_size": 16}
    whole = harness.run(TASK, limit=5, runs=tmp_path / "whole", **common)  # type: ignore[arg-type]
    for shard in ("2/2", "1/2"):
        sharded = harness.run(TASK, limit=5, shard=shard, runs=tmp_path / "sharded", **common)  # type: ignore[arg-type]
    assert _same(whole, sharded)
    for limit in (2, 5):
        grown = harness.run(TASK, limit=limit, runs=tmp_path / "grown", **common)  # type: ignore[arg-type]
    assert _same(whole, grown)


def test_a_transformer_s_errors_do_not_depend_on_neighbours(tmp_path: Path) -> None:
    runs = [
        harness.run("digits", model=replace(TINY_DIT, draws=2), limit=limit, runs=tmp_path / str(limit), batch_size=8)
        for limit in (1, 3)
    ]
    alone, among = (run.measurements() for run in runs)
    for name, measured in alone.items():
        for loss in ("l1", "vlb"):
            assert np.array_equal(measured.errors[loss], among[name].errors[loss])
        assert np.array_equal(measured.errors["l2"], among[name].errors["l2"])


def test_every_batch_of_pictures_or_captions_has_one_shape() -> None:
    shapes_seen: list[int] = []

    def encode(items: Sequence[int]) -> dict[str, torch.Tensor]:
        shapes_seen.append(len(items))
        return {"value": torch.tensor(items)}

    batches = FixedBatches(encode, 4, torch.device("cpu"), print)
    assert batches([7])["value"].tolist() == [7]
    assert batches(list(range(9)))["value"].tolist() == list(range(9))
    assert set(shapes_seen) == {4}


def test_each_network_of_a_run_sees_one_shape_the_batches_that_are_tried_out_among_them() -> None:
    """What compiles or tunes for a shape does so once, however uneven the examples are."""
    first, second, *_ = TASK.examples
    small = replace(second, images=second.images[:1], captions=second.captions[:1], matches=second.matches[:1, :1])
    spec = replace(stable_diffusion.TINY_SD, draws=3, unconditional=True)
    made: Any = spec.build(spec.source(), Runtime("cpu", 8))
    parts, seen = made.denoiser.parts, dict[str, set[tuple[int, ...]]]()
    networks = {"U-Net": parts.network, "autoencoder": parts.vae.encoder, "text encoder": parts.texts[0].encoder}
    for name, network in networks.items():
        network.register_forward_pre_hook(
            lambda _, inputs, name=name: seen.setdefault(name, set()).add(tuple(inputs[0].shape))
        )
    made.prepare(replace(TASK, examples=(first, small)))
    made.price([first, small], probe_seconds=0)
    seen.clear()  # what it costs is counted on one row
    made._compiling._mode = "auto"
    joined(made.score([small, first], {}))
    joined(made.score([small], {}))
    assert {name: len(shapes) for name, shapes in seen.items()} == dict.fromkeys(networks, 1)


def _of_captions(measurement: Measurement) -> np.ndarray:
    """[I, C, D]: without the column of no caption."""
    return measurement.errors["l2"][:, : measurement.shape[1]]


def _same(one: Run, other: Run) -> bool:
    ones, others = one.measurements(), other.measurements()
    return ones.keys() == others.keys() and all(
        np.array_equal(_of_captions(ones[k]), _of_captions(others[k])) for k in ones
    )
