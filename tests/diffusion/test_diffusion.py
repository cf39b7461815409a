import dataclasses

import numpy as np
import PIL.Image
import pytest
import torch

from compbench.core.errors import DataError, RunError
from compbench.core.examples import Example, Image, Task
from compbench.core.measurements import Measurement, joined
from compbench.core.models import Runtime
from compbench.diffusion.classifier import DiffusionClassifier
from compbench.diffusion.draws import seeded_bank
from fakes import RecordingDenoiser


def grey(value):
    return Image(f"{value}.png", lambda: PIL.Image.new("L", (2, 2), value))


def example(number, captions=None):
    """Two grey pictures that no other example has, two captions that end in a number."""
    captions = captions or (f"caption {2 * number}", f"caption {2 * number + 1}")
    return Example(f"{number:02d}", (grey(2 * number), grey(2 * number + 1)), tuple(captions), np.eye(2, dtype=bool))


EXAMPLES = [example(n) for n in range(5)]


def scorer(denoiser=None, n_draws=10, **runtime):
    return DiffusionClassifier(denoiser or RecordingDenoiser(), seeded_bank(0), n_draws, Runtime("cpu", **runtime))


def expected(each, timesteps):
    """By hand: (grey + caption / 10 + t / 1000) squared, [I, C, D]."""
    greys = np.array([2 * int(each.id), 2 * int(each.id) + 1])
    numbers = np.array([int(caption.split()[-1]) for caption in each.captions])
    return (greys[:, None, None] + numbers[None, :, None] / 10 + timesteps / 1000) ** 2


@pytest.mark.parametrize("batch_size", [None, 1, 3, 7, 64])
def test_each_error_lands_where_it_belongs(batch_size):
    classifier = scorer(batch_size=batch_size)
    results = joined(classifier.score(EXAMPLES, {}))
    assert [result.example_id for result in results] == [example.id for example in EXAMPLES]
    for scored, result in zip(EXAMPLES, results, strict=True):
        assert result.draw_ids.tolist() == list(range(10))
        assert result.measured.all()
        assert result.errors["l2"].dtype == np.float32
        np.testing.assert_allclose(result.errors["l2"], expected(scored, classifier.bank.timesteps[:10]), rtol=1e-5)


@pytest.mark.parametrize("batch_size", [3, 7, 16])
def test_batches_are_full_across_pairs_and_examples(batch_size):
    denoiser = RecordingDenoiser()
    list(scorer(denoiser, batch_size=batch_size).score(EXAMPLES, {}))
    n_jobs = 5 * 4 * 10
    assert set(denoiser.batch_sizes) == {batch_size}
    assert len(denoiser.batch_sizes) == -(-n_jobs // batch_size)  # only the very last one may be filled up
    assert len(set(denoiser.jobs[:n_jobs])) == n_jobs  # each (image, caption, draw) once


def test_a_picture_and_a_distinct_caption_are_encoded_once():
    shared = [example(n, ("the same 1", f"its own {n + 5}")) for n in range(4)]
    denoiser = RecordingDenoiser()
    list(scorer(denoiser, batch_size=2).score(shared, {}))
    assert sorted(denoiser.images_encoded) == list(range(8))
    filled_up = [f"its own {n + 5}" for n in (1, 2, 3) for _ in range(2)]  # every batch has a row for two captions
    assert denoiser.captions_encoded == ["the same 1", "its own 5", *filled_up]


def test_pictures_of_one_known_content_are_encoded_once_and_score_as_before():
    denoiser = RecordingDenoiser()
    apart = [example(0), dataclasses.replace(example(0), id="90")]
    named = [
        dataclasses.replace(
            twin,
            images=tuple(
                dataclasses.replace(image, name=f"{twin.id}/{n}", sha256=f"{n:064d}")
                for n, image in enumerate(twin.images)
            ),
        )
        for twin in apart
    ]
    results = joined(scorer(denoiser, batch_size=2).score(named, {}))
    assert sorted(denoiser.images_encoded) == [0, 1]
    for result, before in zip(results, joined(scorer(batch_size=2).score(apart, {})), strict=True):
        assert np.array_equal(result.errors["l2"], before.errors["l2"])


def test_a_caption_that_an_example_has_twice_is_fine():
    twin = example(1, ("same 3", "same 3"))
    (result,) = scorer().score([twin], {})
    assert np.array_equal(result.errors["l2"][:, 0], result.errors["l2"][:, 1])


def test_only_the_draws_that_are_lacking_are_measured():
    first = {example.example_id: example for example in joined(scorer(n_draws=4).score(EXAMPLES, {}))}
    denoiser = RecordingDenoiser()
    rest = joined(scorer(denoiser, n_draws=10, batch_size=10).score(EXAMPLES, first))
    assert len(denoiser.jobs) == 5 * 4 * 6
    whole = joined(scorer(n_draws=10).score(EXAMPLES, {}))
    for some, more, all_at_once in zip(first.values(), rest, whole, strict=True):
        assert more.draw_ids.tolist() == list(range(4, 10))
        assert np.array_equal(np.concatenate([some.errors["l2"], more.errors["l2"]], axis=-1), all_at_once.errors["l2"])


def test_a_draw_that_was_measured_for_some_pairs_only_is_measured_again():
    measured = np.ones((2, 2, 3), bool)
    measured[0, 1, 1] = False
    known = {"00": Measurement("00", np.arange(3), {"l2": np.zeros((2, 2, 3), np.float32)}, measured)}
    (result,) = scorer(n_draws=4).score([EXAMPLES[0]], known)
    assert result.draw_ids.tolist() == [1, 3]


def test_an_example_that_outlasts_a_chunk_is_handed_on_in_pieces():
    pieces = list(scorer(n_draws=10, batch_size=1).score(EXAMPLES[:1], {}))  # a chunk is 16 batches, here 4 draws
    assert [piece.draw_ids.tolist() for piece in pieces] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    (at_once,) = scorer(n_draws=10, batch_size=64).score(EXAMPLES[:1], {})
    assert np.array_equal(joined(pieces)[0].errors["l2"], at_once.errors["l2"])


def test_lowering_the_number_of_draws_measures_nothing():
    known = {example.example_id: example for example in joined(scorer(n_draws=10).score(EXAMPLES, {}))}
    denoiser = RecordingDenoiser()
    assert list(scorer(denoiser, n_draws=4).score(EXAMPLES, known)) == []
    assert denoiser.batch_sizes == denoiser.images_encoded == []


def test_what_a_network_gives_for_one_example_does_not_depend_on_the_others():
    (alone,) = scorer(batch_size=8).score([EXAMPLES[3]], {})
    among = joined(scorer(batch_size=8).score(EXAMPLES, {}))[3]
    assert np.array_equal(alone.errors["l2"], among.errors["l2"])


def test_a_nan_names_example_caption_and_draw_and_what_came_before_stands():
    denoiser = RecordingDenoiser()
    classifier = scorer(denoiser)
    denoiser.broken = (5, int(classifier.bank.timesteps[6]))
    stream = classifier.score(EXAMPLES, {})
    assert [next(stream).example_id, next(stream).example_id] == ["00", "01"]
    assert next(stream).draw_ids.tolist() == [0, 1, 2, 3, 4, 5]  # of the third example, before the draw that broke
    with pytest.raises(RunError, match=r"nan for example '02', image 0, caption 1 \('caption 5'\), draw 6") as error:
        next(stream)
    assert f"timestep {denoiser.broken[1]}" in str(error.value)


def test_running_out_of_memory_changes_no_error_and_is_remembered():
    said, denoiser = [], RecordingDenoiser(fits=8)
    classifier = scorer(denoiser, batch_size=16, say=said.append)
    results = joined(classifier.score(EXAMPLES, {}))
    np.testing.assert_allclose(
        results[4].errors["l2"], expected(EXAMPLES[4], classifier.bank.timesteps[:10]), rtol=1e-5
    )
    list(classifier.score(EXAMPLES, {}))
    assert said == ["out of memory: batch size 16 → 8"]


def test_an_empty_caption_is_refused_by_name_before_anything_is_measured():
    denoiser = RecordingDenoiser()
    bad = example(3, ("caption 1", "  "))
    with pytest.raises(DataError, match="caption 1 of example '03' is empty"):
        list(scorer(denoiser).score([EXAMPLES[0], bad], {}))
    assert denoiser.batch_sizes == []


def test_captions_beyond_the_text_encoder_s_context_are_counted_and_said_once():
    said = []
    classifier = scorer(say=said.append)
    examples = [EXAMPLES[0], example(1, (f"{'very ' * 10}long 3", "caption 4"))]
    classifier.prepare(Task("fake", tuple(examples), {}))
    list(classifier.score(examples, {}))
    assert len(said) == 1
    assert said[0].startswith("1 of 4 distinct captions are longer than the text encoder's context")


def test_a_truncated_picture_is_named():
    import io

    stream = io.BytesIO()
    PIL.Image.effect_noise((32, 32), 50).save(stream, "PNG")
    broken = Image("half.png", stream.getvalue()[:200])
    each = Example("07", (grey(0), broken), ("caption 0", "caption 1"), np.eye(2, dtype=bool))
    with pytest.raises(DataError, match=r"image 'half\.png' cannot be decoded"):
        list(scorer().score([each], {}))


def test_progress_counts_each_evaluation_once():
    advanced = []
    list(scorer(batch_size=7, advance=advanced.append).score(EXAMPLES, {}))
    assert sum(advanced) == 5 * 4 * 10


def without_caption(each, timesteps):
    """By hand, [I, D]."""
    greys = np.array([2 * int(each.id), 2 * int(each.id) + 1])
    return (greys[:, None] - 0.1 + timesteps / 1000) ** 2


def unconditional(denoiser=None, n_draws=10):
    return DiffusionClassifier(
        denoiser or RecordingDenoiser(), seeded_bank(0), n_draws, Runtime("cpu", batch_size=7), unconditional=True
    )


def test_the_error_without_a_caption_is_measured_under_the_same_draws_and_changes_no_other():
    classifier = unconditional()
    with_it, plain = joined(classifier.score(EXAMPLES, {})), joined(scorer(batch_size=7).score(EXAMPLES, {}))
    for scored, result, other in zip(EXAMPLES, with_it, plain, strict=True):
        assert result.has_null_caption
        assert np.array_equal(result.errors["l2"][:, :-1], other.errors["l2"])
        by_hand = without_caption(scored, classifier.bank.timesteps[:10])
        np.testing.assert_allclose(result.errors["l2"][:, -1], by_hand, rtol=1e-5)
        assert result.measured[:, -1].all()


def test_the_error_without_a_caption_can_be_added_and_costs_one_evaluation_an_image_and_draw():
    known = {example.example_id: example for example in joined(scorer().score(EXAMPLES, {}))}
    denoiser = RecordingDenoiser()
    added = joined(unconditional(denoiser).score(EXAMPLES, known))
    assert {number for _, number, _ in denoiser.jobs} == {-1}
    assert len(set(denoiser.jobs)) == 5 * 2 * 10
    assert not any(result.measured[:, :-1].any() for result in added)
    assert all(result.measured[:, -1].all() for result in added)


def test_the_absolute_error_comes_from_the_same_evaluation():
    denoiser = RecordingDenoiser()
    classifier = DiffusionClassifier(denoiser, seeded_bank(0), 10, Runtime("cpu"), losses=("l2", "l1"))
    for result in joined(classifier.score(EXAMPLES, {})):
        np.testing.assert_allclose(result.errors["l1"] ** 2, result.errors["l2"], rtol=1e-5)
    assert len(denoiser.jobs) == -(-5 * 4 * 10 // 64) * 64


class Halving:
    """Wants draw 0 of all pairs, then of those with a lower error than the mean the draws 1 and 2."""

    def wanted(self, errors, measured):
        wanted = np.zeros_like(measured)
        if not measured[..., 0].all():
            wanted[..., 0] = True
        else:
            wanted[..., 1:3] = (errors[..., :1] < errors[..., 0].mean()) & ~measured[..., 1:3]
        return wanted & ~measured


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_a_policy_s_rounds_are_measured_and_nothing_else_however_the_batches_fall(batch_size):
    runtime = Runtime("cpu", batch_size=batch_size)
    classifier = DiffusionClassifier(
        RecordingDenoiser(), seeded_bank(0), 10, runtime, policy_of=lambda example: Halving()
    )
    for scored, result in zip(EXAMPLES, joined(classifier.score(EXAMPLES, {})), strict=True):
        by_hand = expected(scored, classifier.bank.timesteps[:10])
        is_low = by_hand[..., 0] < by_hand[..., 0].mean()
        n_measured = np.zeros((2, 2, 3), int)
        np.add.at(n_measured, np.s_[:, :, result.draw_ids], result.measured)
        assert (n_measured[..., 0] == 1).all()
        assert np.array_equal(n_measured[..., 1:3], np.stack([is_low, is_low], -1))


def test_an_interrupted_round_is_taken_up_where_it_stopped():
    runtime = Runtime("cpu", batch_size=1)
    classifier = DiffusionClassifier(RecordingDenoiser(), seeded_bank(0), 10, runtime, policy_of=lambda each: Halving())
    whole = joined(classifier.score(EXAMPLES[:1], {}))[0]
    for n in range(len(whole.draw_ids)):
        part = np.arange(len(whole.draw_ids)) < n
        known = Measurement(
            "00", whole.draw_ids[part], {"l2": whole.errors["l2"][..., part]}, whole.measured[..., part]
        )
        rest = joined(classifier.score(EXAMPLES[:1], {"00": known}))[0]
        assert np.array_equal(np.concatenate([known.draw_ids, rest.draw_ids]), whole.draw_ids)
        assert np.array_equal(np.concatenate([known.errors["l2"], rest.errors["l2"]], -1), whole.errors["l2"])


def test_the_whole_bank_is_stored_whatever_the_number_of_draws():
    classifier = scorer(n_draws=3)
    table = classifier.draw_table()
    assert len(table.timesteps) == 1000
    assert table.target == "v"
    assert np.allclose(table.alpha**2 + table.sigma**2, 1, atol=1e-6)
    assert np.array_equal(table.alpha, classifier.denoiser.noising.alpha[torch.tensor(table.timesteps).long()])


def test_more_draws_than_the_bank_has_are_refused():
    with pytest.raises(DataError, match="1001 draws were asked for; the bank of this model has 1000"):
        scorer(n_draws=1001)
