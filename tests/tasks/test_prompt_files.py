"""Prompts as data: what a user's file must hold, and what the shipped ones do."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

import layouts_on_disk as layouts
from compbench import registry
from compbench.cli import app
from compbench.core.errors import DataError, UsageError
from compbench.tasks.classification import _prompt_files, catalogue
from compbench.tasks.classification._prompt_files import read_prompts, shipped

KNOWN = [("cat", "n001"), ("guinea_pig", "n002"), ("dog", "n003")]
SIZES = {
    "food101": 101,
    "cifar10": 10,
    "fgvc-aircraft": 100,
    "pets": 37,
    "flowers102": 102,
    "stl10": 10,
    "imagenet": 1000,
    "imagenet-v2": 1000,
    "imagenet-a": 200,
    "objectnet": 113,
}


def write(path: Path, *lines: str, header: str = "prompt,classname,classidx") -> Path:
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


@pytest.mark.parametrize("task", SIZES)
def test_a_shipped_file_has_one_prompt_for_each_class(task: str) -> None:
    prompts = shipped(task)
    assert len(prompts.names) == len(prompts.captions) == SIZES[task]
    assert prompts.of_caption == tuple(range(SIZES[task]))


def test_a_shipped_prompt_is_the_template_with_the_name_in_it() -> None:
    for task, template in {
        "food101": "a photo of {}, a type of food.",
        "cifar10": "a blurry photo of a {}.",
        "flowers102": "a photo of a {}, a type of flower.",
        "stl10": "a photo of a {}.",
        "imagenet": "a photo of a {}.",
        "imagenet-a": "a photo of a {}.",
    }.items():
        prompts = shipped(task)
        assert prompts.captions == tuple(template.format(name.replace("_", " ")) for name in prompts.names)


def test_several_prompts_of_a_class_stand_together_in_the_order_of_the_file(tmp_path: Path) -> None:
    lines = ["a dog,dog,2", "a cat,cat,0", '"my cat, asleep",cat,0', "a guinea pig,guinea pig,1", "my dog,Dog,2"]
    prompts = read_prompts([write(tmp_path / "own.csv", *lines)], KNOWN)
    assert prompts.names == ("cat", "guinea pig", "dog")
    assert prompts.captions == ("a cat", "my cat, asleep", "a guinea pig", "a dog", "my dog")
    assert prompts.of_caption == (0, 0, 1, 2, 2)


def test_a_class_goes_by_any_name_that_the_task_knows(tmp_path: Path) -> None:
    lines = ["a cat,n001,0", "a guinea pig,Guinea-Pig,1", "a dog,dog,2"]
    assert read_prompts([write(tmp_path / "own.csv", *lines)], KNOWN).of_caption == (0, 1, 2)


def test_two_files_are_read_as_one(tmp_path: Path) -> None:
    one = write(tmp_path / "one.csv", "a cat,cat,0", "a dog,dog,2")
    other = write(tmp_path / "other.csv", "a guinea pig,guinea_pig,1", "the dog,dog,2")
    assert read_prompts([one, other], KNOWN).captions == ("a cat", "a guinea pig", "a dog", "the dog")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["a cat,cat,0", "a cow,cow,3"], r"line 3 of .*: class 3 is outside the task's 3, numbered from 0"),
        (["a cat,cat,0", "a dog,dog,1"], r"calls class 1 'dog'; class 1 of this task is 'guinea_pig'"),
        (["a cat,cat,0", "a dog,dog,2"], r"1 of 3 classes have no prompt in .*, class 1 \('guinea_pig'\) the first"),
        (["a cat,cat,zero"], r"line 2 of .* has classidx 'zero'; expected a whole number"),
        (["a cat,cat,-1"], r"line 2 of .* has classidx '-1'"),
        ([",cat,0"], r"line 2 of .* has an empty prompt or classname"),
        (["a cat,cat"], r"line 2 of .* has classidx ''"),
    ],
)
def test_a_file_that_does_not_fit_the_task_is_refused(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_prompts([write(tmp_path / "own.csv", *lines)], KNOWN)


def test_two_files_that_disagree_are_refused_and_both_named(tmp_path: Path) -> None:
    one = write(tmp_path / "one.csv", "a cat,cat,0", "a dog,dog,1")
    other = write(tmp_path / "other.csv", "a dog,dog,0", "a cat,cat,1")
    with pytest.raises(
        DataError, match=r"line 2 of .*other\.csv' calls class 0 'dog', and line 2 of .*one\.csv' 'cat'"
    ):
        read_prompts([one, other])


def test_a_file_without_the_columns_or_that_is_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has columns text, label and lacks prompt, classname, classidx"):
        read_prompts([write(tmp_path / "own.csv", "a cat,0", header="text,label")])
    (tmp_path / "own.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="cannot be read"):
        read_prompts([tmp_path / "own.csv"])
    with pytest.raises(DataError, match="cannot be opened"):
        read_prompts([tmp_path / "nowhere.csv"])


def test_a_task_asks_with_the_users_prompts(tmp_path: Path) -> None:
    data = layouts.class_folders(tmp_path / "data", layouts.CIFAR10)
    lines = [f"{text} {name},{name},{n}" for n, name in enumerate(layouts.CIFAR10) for text in ("a", "the")]
    own = write(tmp_path / "own.csv", *lines)
    task = catalogue.cifar10(data, prompts=own)
    assert task.examples[0].captions[:3] == ("a airplane", "the airplane", "a automobile")
    assert [int(example.matches.sum()) for example in task.examples] == [2] * 10
    assert task.revision != catalogue.cifar10(data).revision


def test_labels_go_with_their_prompts_when_a_class_has_several(tmp_path: Path) -> None:
    wnids = _prompt_files.wnids()
    names = _prompt_files.shipped("imagenet-a").names
    labels = [label for (label,) in _prompt_files.labels("imagenet-a")]
    data = layouts.class_folders(tmp_path / "data", [wnids[label] for label in labels])
    lines = [f'"{text} {name}","{name}",{n}' for n, name in enumerate(names) for text in ("a", "the")]
    task = catalogue.imagenet_a(data, prompts=write(tmp_path / "own.csv", *lines))
    assert task.classes is not None
    assert task.classes.labels == tuple(label for label in labels for _ in range(2))


def test_the_command_takes_prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    data = layouts.class_folders(tmp_path / "data", ["cat", "dog"])
    own = write(tmp_path / "own.csv", "my cat,cat,0", "my dog,dog,1")
    asked = ["show-task", "prompted", "--data", str(data), "--prompts", str(own), "--format", "csv"]
    with monkeypatch.context() as patch:
        patch.setattr("compbench.registry.plugins._registered", {})
        registry.plugins.task("prompted")(catalogue.imagefolder)
        result = CliRunner().invoke(app.group, asked)
    assert result.exit_code == 0, result.output
    assert "my cat" in result.output
    assert "a photo of a cat" not in result.output


def test_a_task_that_takes_no_prompts_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"task 'shapes' has prompts of its own; leave out --prompts"):
        registry.task("shapes", prompts=[tmp_path / "own.csv"])
