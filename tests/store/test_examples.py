"""examples.parquet gives back what was stored, whatever the shapes, and only what is asked for is decoded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from compbench.core.examples import Example, Image
from compbench.store._damage import Damaged
from compbench.store.stored_examples import StoredExamples, examples_table, read_examples


def _example(name: str, n_images: int, n_captions: int, **tags: tuple[str, ...]) -> Example:
    images = tuple(Image(f"{name}-{n}", PIL.Image.Image) for n in range(n_images))
    matches = np.arange(n_images * n_captions).reshape(n_images, n_captions) % 3 == 0
    return Example(name, images, tuple(f"caption {n} of {name}" for n in range(n_captions)), matches, tags=tags)


MIXED = [_example("a", 2, 2), _example("b", 1, 5, tag=("x", "y")), _example("c", 3, 2), _example("d", 2, 2, tag=("x",))]


@pytest.mark.parametrize("examples", [MIXED, MIXED[:1], [MIXED[0], MIXED[3]]], ids=["mixed", "one", "alike"])
def test_examples_of_any_shape_come_back_as_they_were(examples: list[Example]) -> None:
    found = StoredExamples(examples_table(examples))
    assert found.ids == [example.id for example in examples]
    assert found.captions == [example.captions for example in examples]
    assert found.image_names == [tuple(image.name for image in example.images) for example in examples]
    assert found.tags == [{name: list(values) for name, values in example.tags.items()} for example in examples]
    assert found.groups == found.ids
    for matches, example in zip(found.matches, examples, strict=True):
        np.testing.assert_array_equal(matches, example.matches)


def test_captions_that_all_share_are_one_tuple_and_equal_matches_one_array() -> None:
    captions, eye = ("a cat", "a dog", "a cow"), np.eye(3, dtype=bool)
    examples = [Example(str(n), (Image(str(n), PIL.Image.Image),), captions, eye[n % 3][None]) for n in range(6)]
    found = StoredExamples(examples_table(examples))
    assert len({id(own) for own in found.captions}) == 1
    assert found.captions[0] == captions
    assert len({id(matches) for matches in found.matches}) == 3
    assert [int(matches.argmax()) for matches in found.matches] == [0, 1, 2, 0, 1, 2]


def test_nothing_is_decoded_that_is_not_asked_for() -> None:
    found = StoredExamples(examples_table(MIXED))
    _ = found.ids, found.matches
    assert not {"captions", "image_names", "tags"} & vars(found).keys()


def test_matches_cannot_be_written_to() -> None:
    for matches in StoredExamples(examples_table(MIXED)).matches:
        with pytest.raises(ValueError, match="read-only"):
            matches[:] = True


@pytest.mark.parametrize(
    ("column", "values"),
    [("tags", ["{", "{}", "{}", "{}"]), ("captions", [None] * 4), ("matches", [[[True], [True, False]]] * 4)],
)
def test_a_file_whose_digest_is_not_known_is_checked_column_by_column(
    tmp_path: Path, column: str, values: list[object]
) -> None:
    table = examples_table(MIXED)
    place = table.schema.get_field_index(column)
    bad = table.set_column(place, column, pa.array(values, table.schema.field(column).type))
    pq.write_table(bad, tmp_path / "examples.parquet")
    with pytest.raises(Damaged, match="does not hold examples"):
        read_examples(tmp_path / "examples.parquet", is_known=False)


def test_a_file_of_something_else_does_not_hold_examples(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "examples.parquet")
    with pytest.raises(Damaged, match="does not hold examples"):
        read_examples(tmp_path / "examples.parquet", is_known=False)
