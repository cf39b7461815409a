import numpy as np
import PIL.Image
import pytest
import torch

from compbench.core.errors import RunError
from compbench.diffusion.engine import ErrorEngine, first_batch_size
from counting import HostSyncs
from fakes import RecordingDenoiser

JOBS = np.array([(i, c, d) for i in range(2) for c in range(3) for d in range(4)])


def engine_of(denoiser, batch_size, **notes):
    return ErrorEngine(denoiser, torch.zeros(4, 1, 2, 2), torch.tensor([100, 600, 300, 900]), batch_size, **notes)


def inputs(denoiser):
    greys = [PIL.Image.new("L", (2, 2), grey) for grey in (1, 3)]
    pixels = torch.stack([denoiser.pixels(grey) for grey in greys])
    return denoiser.encode_pixels(pixels), denoiser.encode_captions(["caption 0", "caption 1", "caption 2"])


def expected():
    """By hand: (grey + caption / 10 + t / 1000) squared."""
    return [((1, 3)[i] + c / 10 + (100, 600, 300, 900)[d] / 1000) ** 2 for i, c, d in JOBS]


@pytest.mark.parametrize("batch_size", [1, 5, 7, 24, 100])
def test_errors_are_those_worked_by_hand_at_any_batch_size(batch_size):
    denoiser = RecordingDenoiser()
    errors = engine_of(denoiser, batch_size).errors(*inputs(denoiser), JOBS)[0]
    assert errors.dtype == np.float32
    assert errors.tolist() == pytest.approx(expected())


@pytest.mark.parametrize("batch_size", [5, 7, 24])
def test_batches_have_one_shape_and_only_the_last_is_filled_up(batch_size):
    denoiser = RecordingDenoiser()
    engine_of(denoiser, batch_size).errors(*inputs(denoiser), JOBS)[0]
    assert set(denoiser.batch_sizes) == {batch_size}
    assert len(denoiser.batch_sizes) == -(-len(JOBS) // batch_size)
    padding = denoiser.jobs[len(JOBS) :]
    assert len(set(denoiser.jobs[: len(JOBS)])) == len(JOBS)
    assert set(padding) <= {denoiser.jobs[len(JOBS) - 1]}


def test_only_real_evaluations_are_reported():
    denoiser, advanced = RecordingDenoiser(), []
    engine_of(denoiser, 7, advance=advanced.append).errors(*inputs(denoiser), JOBS)[0]
    assert advanced == [7, 7, 7, 3]


def test_the_batch_is_halved_when_memory_runs_out_and_said_once_each_time():
    denoiser, said = RecordingDenoiser(fits=3), []
    engine = engine_of(denoiser, 12, say=said.append)
    assert engine.errors(*inputs(denoiser), JOBS)[0].tolist() == pytest.approx(expected())
    assert said == ["out of memory: batch size 12 → 6", "out of memory: batch size 6 → 3"]
    assert engine.batch_size == 3


def test_the_cpu_allocator_s_error_counts_as_out_of_memory_and_others_do_not():
    class Full(RecordingDenoiser):
        message = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"

        def residual(self, latents, *rest):
            if len(latents) > 2:
                raise RuntimeError(self.message)
            return super().residual(latents, *rest)

    denoiser = Full()
    assert engine_of(denoiser, 4).errors(*inputs(denoiser), JOBS)[0].tolist() == pytest.approx(expected())
    denoiser.message = "shapes do not match"
    with pytest.raises(RuntimeError, match="shapes do not match"):
        engine_of(denoiser, 4).errors(*inputs(denoiser), JOBS)[0]


def test_out_of_memory_at_batch_size_one_says_what_to_do():
    denoiser = RecordingDenoiser(fits=0)
    with pytest.raises(RunError, match=r"out of memory on cpu at batch size 1.*--dtype bfloat16"):
        engine_of(denoiser, 2).errors(*inputs(denoiser), JOBS)[0]


def test_a_cpu_s_first_batch_fills_its_cache():
    denoiser = RecordingDenoiser()
    assert first_batch_size(denoiser, lambda size: pytest.fail("no probe is needed")) == 64
    denoiser.latent_shape = (8, 8, 8)
    assert first_batch_size(denoiser, print) == 32
    denoiser.latent_shape = (4, 64, 64)
    assert first_batch_size(denoiser, print) == 2


@pytest.mark.parametrize(
    "wait",
    [lambda x: x.cpu(), lambda x: x.sum().item(), lambda x: x.tolist(), lambda x: 1 if x.sum() > 0 else 0, float],
)
def test_the_counter_of_host_synchronisations_sees_each_kind(wait):
    with torch.inference_mode(), HostSyncs() as syncs:
        wait(torch.tensor([1.0]))
    assert syncs.n == 1


def test_a_device_that_is_lost_is_said_with_how_to_go_on():
    class Lost(RecordingDenoiser):
        def residual(self, *inputs):
            raise RuntimeError("CUDA error: an illegal memory access was encountered\nand much more")

    denoiser = Lost()
    with pytest.raises(RunError, match=r"the device cpu failed \(CUDA error: an illegal.*rerun the command"):
        engine_of(denoiser, 2).errors(*inputs(denoiser), JOBS)
