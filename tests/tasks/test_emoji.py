from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from scipy import ndimage

from compbench import registry
from compbench.core.errors import UsageError
from compbench.core.examples import Example, Task
from compbench.tasks import places
from compbench.tasks.drawings import canvases, sheets
from compbench.tasks.drawings.canvases import Thing
from compbench.tasks.drawings.from_packages import sheet_of
from compbench.tasks.emoji import TAG_ORDER, Canvas, emoji, swapped

NOUN_OF = {**{noun: noun for noun in sheets.PLURALS}, **{plural: noun for noun, plural in sheets.PLURALS.items()}}

_HALVES = (slice(0, 64), slice(64, 128))


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        emoji.cache_clear()  # so that its pictures are composed here
        return emoji()


def _thing(words: list[str]) -> Thing:
    adjective, noun = " ".join(words[:-1]), NOUN_OF[words[-1]]
    return Thing(noun, adjective if adjective in canvases.COUNTS else adjective.partition(" ")[2])


def _says(caption: str) -> Canvas:
    """The canvas that a caption describes, read word by word."""
    relation = next(name for name in places.RELATIONS if f" {name} " in caption)
    first, second = caption.split(f" {relation} ")
    return Canvas(_thing(first.split()), relation, _thing(second.split()))


def _tag(example: Example, column: str) -> str:
    (value,) = example.tags[column]
    return value


def test_the_480_examples_are_spread_over_tags_kinds_axes_novelties_and_artists(task: Task) -> None:
    def count(column: str) -> dict[str, int]:
        return Counter(_tag(example, column) for example in task.examples)

    assert len({example.id for example in task.examples}) == 480
    assert count("tag") == {"Object": 160, "Relation": 160, "Both": 160}
    assert count("kind") == {"left/right": 80, "above/below": 80, "colour": 112, "size": 104, "count": 104}
    assert count("novelty") == {"seen": 296, "unseen pair": 96, "unseen noun": 88}
    assert count("artist") == {"Twemoji": 240, "Noto": 240}
    assert abs(count("axis")["horizontal"] - 240) <= 10
    assert {column: set(count(column)) for column in TAG_ORDER} == {key: set(row) for key, row in TAG_ORDER.items()}


def test_the_captions_hold_the_same_words_and_no_two_of_an_artist_the_same_captions(task: Task) -> None:
    def bare(caption: str) -> list[str]:
        return sorted("a" if word == "an" else word for word in caption.split())

    for example in task.examples:
        first, second = example.captions
        assert first != second
        # two cats and three dogs: which of them are plural does not change
        assert bare(first) == bare(second)
    assert len({(_tag(example, "artist"), frozenset(example.captions)) for example in task.examples}) == 480


def test_a_tag_says_what_changes_places(task: Task) -> None:
    for example in task.examples:
        one, other = map(_says, example.captions)
        assert one.relation == other.relation
        assert places.RELATIONS[one.relation][0] == _tag(example, "axis")
        adjectives_stay = (one.first.adjective, one.second.adjective) == (other.first.adjective, other.second.adjective)
        same_things = {one.first, one.second} == {other.first, other.second}
        if _tag(example, "tag") == "Object":
            assert same_things
            assert one.nouns == other.nouns[::-1]
        else:
            assert (one.nouns == other.nouns, adjectives_stay, same_things) == {
                "Relation": (True, False, False),
                "Both": (False, True, False),
            }[_tag(example, "tag")]
        assert swapped(other, _tag(example, "tag")) == one


def test_a_kind_says_which_adjectives_there_are(task: Task) -> None:
    sizes, counts = set(canvases.SIZES), set(canvases.COUNTS)
    for example in task.examples:
        canvas, kind = _says(example.captions[0]), _tag(example, "kind")
        adjectives = {canvas.first.adjective, canvas.second.adjective}
        assert len(set(canvas.nouns)) == 2
        if kind in ("size", "count"):
            assert adjectives == (sizes if kind == "size" else counts)
        elif kind == "colour":
            assert len(adjectives) == 2
            for phrase in (canvas.first, canvas.second):
                assert adjectives <= set(canvases.COLOURS_OF[phrase.noun])
        else:
            assert not adjectives & (sizes | counts)
            assert (kind == "left/right") == (_tag(example, "axis") == "horizontal")


def test_training_never_shows_what_an_example_calls_unseen_and_shows_the_rest(task: Task) -> None:
    shown: set[Thing] = set()
    together: set[frozenset[str]] = set()
    for number in range(3_000):
        _, caption = canvases.training_canvas(np.random.default_rng([0, 1, number]))
        if any(f" {relation} " in caption for relation in places.RELATIONS):
            canvas = _says(caption)
            shown |= {canvas.first, canvas.second}
            together.add(frozenset(canvas.nouns))
    nouns = {phrase.noun for phrase in shown}
    assert nouns == set(sheets.PLURALS) - canvases.HELD_OUT_NOUNS
    for example in task.examples:
        pair = [_says(caption) for caption in example.captions]
        named = set(pair[0].nouns)
        things = {phrase for canvas in pair for phrase in (canvas.first, canvas.second)}
        assert (_tag(example, "novelty") == "unseen noun") == (len(named - nouns) == 1)
        assert len(named & nouns) >= 1  # of two nouns, one at least is known
        if _tag(example, "novelty") == "unseen pair":
            held_out = [phrase for phrase in things if canvases.is_held_out(phrase)]
            assert not shown & set(held_out)
            assert held_out or (frozenset(named) not in together and canvases.are_held_apart(*named))
        elif _tag(example, "novelty") == "seen":
            assert not any(map(canvases.is_held_out, things))
            assert not canvases.are_held_apart(*named)


def test_both_artists_draw_the_same_captions_at_the_same_places(task: Task) -> None:
    by_artist = {
        artist: [example for example in task.examples if _tag(example, "artist") == artist] for artist in sheets.ARTISTS
    }
    for drawn, redrawn in zip(*by_artist.values(), strict=True):
        assert drawn.captions == redrawn.captions
        assert {**drawn.tags, "artist": ()} == {**redrawn.tags, "artist": ()}
    circle = Canvas(Thing("circle", "red"), "above", Thing("square", "green"))
    pictures = [np.asarray(circle.draw(artist, 3)).astype(int) for artist in sheets.ARTISTS]
    centres = [np.argwhere(np.ptp(pixels, axis=-1) > 40).mean(0) for pixels in pictures]
    assert np.abs(centres[0] - centres[1]).max() < 2
    assert (pictures[0][0, 0] == pictures[1][0, 0]).all()  # the grey


@pytest.mark.parametrize("artist", sheets.ARTISTS)
@pytest.mark.parametrize(("adjective", "n"), [("", 1), ("big", 1), ("small", 1), ("two", 2), ("three", 3)])
def test_a_canvas_shows_as_many_drawings_as_its_caption_says_where_it_says(artist: str, adjective: str, n: int) -> None:
    for relation, (axis, is_first) in places.RELATIONS.items():
        for seed in range(6):
            rng = np.random.default_rng(seed)
            picture = canvases.draw(Thing("football", adjective), relation, Thing("square", "red"), rng, artist)
            pixels = np.asarray(picture).astype(int)  # [128, 128, 3], grey but for the square
            is_red = pixels[..., 0] - pixels[..., 1] > 60
            is_grey = (pixels == pixels[~is_red][0]).all(-1) | (pixels == np.median(pixels[~is_red], axis=0)).all(-1)
            is_ball = ~is_grey & ~ndimage.binary_dilation(is_red, iterations=4)
            _, n_balls = ndimage.label(ndimage.binary_opening(is_ball))
            assert n_balls == n
            middles = [np.argwhere(mask)[:, int(axis == "horizontal")].mean() for mask in (is_ball, is_red)]
            assert (middles[0] < middles[1]) == is_first


def test_a_big_thing_is_larger_than_any_other_and_a_small_one_smaller() -> None:
    def area(adjective: str, seed: int) -> int:
        rng = np.random.default_rng(seed)
        picture = canvases.draw(Thing("heart", "red"), "above", Thing("bus", adjective), rng, "Twemoji")
        lower = np.asarray(picture)[64:].astype(int)
        return int((np.ptp(lower, axis=-1) > 20).sum())

    areas = {adjective: [area(adjective, seed) for seed in range(12)] for adjective in ("small", "", "big")}
    assert max(areas["small"]) < min(areas[""])
    assert max(areas[""]) < min(areas["big"])


def test_no_drawing_is_cut_off_or_covers_another() -> None:
    for relation in places.RELATIONS:
        for adjective in ("", *canvases.SIZES, *canvases.COUNTS):
            for seed in range(20):
                rng = np.random.default_rng(seed)
                canvas = canvases.draw(Thing("square", "red"), relation, Thing("owl", adjective), rng, "Twemoji")
                is_red = (np.asarray(canvas) == (221, 46, 68)).all(-1)  # Twemoji's red, inside its rounded corners
                rows, columns = (np.ptp(axis) + 1 for axis in np.nonzero(is_red))
                assert rows == columns
                assert is_red.sum() > 0.95 * rows * columns


def test_every_picture_is_another_and_the_remembered_digests_are_theirs(task: Task) -> None:
    assert emoji() is emoji()
    assert len({image.digest() for example in task.examples for image in example.images}) == 960
    for example in task.examples[::97]:
        for image in example.images:
            picture = image.decode()
            pixels = picture.mode.encode() + repr(picture.size).encode() + picture.tobytes()
            assert image.sha256 == hashlib.sha256(pixels).hexdigest()


def test_the_captions_and_the_drawings_are_those_of_every_other_machine(task: Task) -> None:
    captions = "\n".join(caption for example in task.examples for caption in example.captions)
    changed = "the task changed: results do not compare"
    assert hashlib.sha256(captions.encode()).hexdigest()[:12] == "f704253bbda8", changed
    assert task.revision == "3ef75565b2b5", changed


def test_the_training_canvases_are_those_that_the_recipe_drew() -> None:
    digest = hashlib.sha256()
    for number in range(50):
        picture, caption = canvases.training_canvas(np.random.default_rng([7, number]))
        digest.update(picture.tobytes() + caption.encode())
    assert digest.hexdigest()[:12] == "c70dbdac2cef"


def test_training_pairs_are_made_of_the_same_words_and_hold_nothing_that_is_held_out() -> None:
    for number in range(300):
        scenes = canvases.training_pair(np.random.default_rng([0, 2, number]))
        captions = [caption for _, caption in scenes]
        assert captions[0] != captions[1]
        if not any(f" {relation} " in captions[0] for relation in places.RELATIONS):
            assert captions[0].split()[:2] == captions[1].split()[:2]  # one thing at two places
            continue
        one, other = map(_says, captions)
        assert other in [swapped(one, tag) for tag in TAG_ORDER["tag"]]
        assert not canvases.are_held_apart(*one.nouns)
        assert not any(map(canvases.is_held_out, (one.first, one.second, other.first, other.second)))


def test_a_crowded_canvas_is_full_and_the_same_every_time() -> None:
    for seed in range(8):
        picture, again = (canvases.crowded_canvas(np.random.default_rng(seed)) for _ in range(2))
        pixels = np.asarray(picture).astype(int)  # [128, 128, 3]
        assert picture.tobytes() == again.tobytes()
        grey = np.median(pixels[np.ptp(pixels, axis=-1) == 0], axis=0)
        is_drawn = (pixels != grey).any(-1)
        assert is_drawn.mean() > 0.2
        assert all(is_drawn[rows, columns].any() for rows in _HALVES for columns in _HALVES)


def test_each_sheet_holds_every_drawing_of_the_table_and_every_noun_one_plural() -> None:
    for artist in sheets.ARTISTS:
        with PIL.Image.open(sheets.path_of(artist)) as sheet:
            drawings = [sheet.convert("RGBA").crop(sheets.box_of(number)) for number in range(len(sheets.DRAWINGS))]
        assert all(np.asarray(drawing)[..., 3].mean() > 25 for drawing in drawings)
        assert len({drawing.tobytes() for drawing in drawings}) == len(sheets.DRAWINGS)
        assert sheets.path_of(artist).stat().st_size < 500_000
    assert len({(drawing.noun, drawing.colour) for drawing in sheets.DRAWINGS}) == len(sheets.DRAWINGS) == 141
    assert len(sheets.PLURALS) == len(set(sheets.PLURALS.values())) == 111
    assert not {noun for noun in sheets.PLURALS if " " in noun}
    assert set(sheets.PLURALS) > canvases.HELD_OUT_NOUNS


def test_a_sheet_is_made_of_the_drawings_that_it_holds(tmp_path: Path) -> None:
    with PIL.Image.open(sheets.path_of("Noto")) as file:
        sheet = file.convert("RGBA")
    for number, drawing in enumerate(sheets.DRAWINGS):
        sheet.crop(sheets.box_of(number)).save(tmp_path / f"{drawing.code}.png")
    assert sheet_of(tmp_path).tobytes() == sheet.tobytes()


def test_the_drawings_come_with_their_artists_and_licences(task: Task) -> None:
    readme = (sheets.TABLE.parent / "README.md").read_text(encoding="utf-8")
    for words in ("Twitter, Inc. and other contributors", "Google LLC", "CC-BY 4.0", "Apache-2.0"):
        assert words in task.description.replace("\n", " ")
        assert words in task.citation.replace("{", "").replace("}", "")
        assert words in readme


def test_the_description_explains_every_column_and_kind(task: Task) -> None:
    words = task.description.replace("\n", " ")
    for column, values in TAG_ORDER.items():
        assert column == "tag" or f"`{column}`" in words
        assert column == "axis" or all(value in words for value in values)


def test_emoji_takes_no_data() -> None:
    with pytest.raises(UsageError, match="leave out --data"):
        registry.task("emoji", data=Path("somewhere"))
