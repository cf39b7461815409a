"""What can be asked for, told with what is known of it; mistakes that are answered with what was meant."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
from click.shell_completion import BashComplete

from compbench.cli.app import group, main

Captured = pytest.CaptureFixture[str]


def said(capsys: Captured, *arguments: str) -> str:
    assert main(arguments) == 0
    return capsys.readouterr().out


def test_the_card_that_a_list_names_holds_the_weights_and_a_quarter_more() -> None:
    from compbench.registry import facts, plugins

    known = facts.of_models([entry for entry in plugins.entries("model") if entry.kind == "model"])
    fetched = [model for model in known.values() if model.memory and model.parameters]
    assert len(fetched) > 40
    for model in fetched:
        number, unit = model.parameters.split()
        n = float(number) * {"B": 1e9, "M": 1e6}[unit]
        is_diffusion = model.family in (
            "DiT",
            "FLUX",
            "PixArt",
            "SDXL",
            "Sana",
            "Stable Diffusion",
            "Stable Diffusion 3",
        )
        encoders = {"FLUX": 4.76e9, "PixArt": 4.76e9, "Sana": 2.61e9, "Stable Diffusion 3": 4.76e9}.get(model.family, 0)
        least = max(8, 2.5e-9 * max(n, encoders)) if is_diffusion else 5e-9 * n
        assert model.memory == f"{next(size for size in (4, 8, 12, 16, 24, 40, 80) if size >= least)} GB", model.name


def test_a_model_lists_only_the_protocols_that_it_takes(capsys: Captured) -> None:
    told = {name: said(capsys, "list", "models", name, "--format", "csv") for name in ("flux-dev", "sd3-medium", "sd2")}
    assert "auto or compbench or paper," in told["flux-dev"]
    assert "auto or compbench or paper or self-bench," in told["sd3-medium"]
    assert "published-fp16 or diffusion-itm or self-bench" in told["sd2"]


def test_tasks_are_told_with_a_sentence_and_what_is_known(capsys: Captured) -> None:
    lines = said(capsys, "list", "tasks").splitlines()
    assert next(line for line in lines if line.startswith("winoground ")).split()[1:6] == [
        "400",
        "research",
        "only,",
        "gated",
        "367",
    ]
    at = next(n for n, line in enumerate(lines) if line.startswith("shapes "))
    assert lines[at].endswith("yes")
    assert lines[at + 1].strip() == "Drawn scenes whose two captions are made of the same words; nothing is fetched."


def test_the_splits_of_a_suite_stand_below_it(capsys: Captured) -> None:
    names = [line.split()[0] for line in said(capsys, "list", "tasks").splitlines() if "sugarcrepe" in line]
    assert names[0] == "sugarcrepe"
    assert all(name.startswith("sugarcrepe-") for name in names[1:])
    assert names.index("sugarcrepe-swap-obj") < names.index("sugarcrepe-pp") < names.index("sugarcrepe-pp-swap-obj")


def test_models_are_told_with_what_is_known(capsys: Captured) -> None:
    lines = said(capsys, "list", "models").splitlines()
    assert next(line for line in lines if line.startswith("sdxl ")).split()[:3] == ["sdxl", "2.57", "B"]
    assert next(line for line in lines if line.startswith("tiny-sd ")).split()[-2:] == ["included", "yes"]
    assert "sd:ADDRESS" in "\n".join(lines)


@pytest.mark.parametrize("kind", ["tasks", "models"])
def test_csv_and_json_hold_everything(kind: str, capsys: Captured) -> None:
    from_csv = list(csv.DictReader(io.StringIO(said(capsys, "list", kind, "--format", "csv"))))
    from_json = json.loads(said(capsys, "list", kind, "--format", "json"))
    assert from_csv == from_json
    assert {kind[:-1], "licence", "gated", "at_hand", "package", "from", "error"} <= set(from_json[0])


def test_a_list_is_answered_without_heavy_imports() -> None:
    code = (
        "import sys; from compbench.cli.app import main; main(['list', 'tasks']); main(['list', 'models']);"
        "heavy = ('torch', 'numpy', 'pandas', 'rich', 'PIL', 'huggingface_hub');"
        "print([each for each in heavy if each in sys.modules])"
    )
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert time.monotonic() - began < 5  # 0.2 s where nothing else runs


def test_defaults_are_those_that_a_task_gets(capsys: Captured) -> None:
    everywhere = " ".join(said(capsys, "list", "models", "sd2").split())
    assert "-o draws= 1000 on winoground, cifar10, fgvc-aircraft and 8 more; 100 elsewhere" in everywhere
    assert "Seed for the noise" in everywhere
    assert "-o draws= 1000 Draws that" in " ".join(
        said(capsys, "list", "models", "sd2", "--task", "winoground").split()
    )
    assert "-o draws= 100 Draws that" in " ".join(said(capsys, "list", "models", "sd2", "--task", "bivlc").split())


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        ("run shapes -m tiny-sd --draws 8", "no such option: --draws; an option of the model is given as -o draws=8"),
        ("run shapes -m tiny-sd --draws=8", "-o draws=8"),
        ("run shapes -m tiny-sd --max_difference 2", "-o max_difference=2"),
        ("show shapes/tiny-sd --draws 8", "-o draws=8"),
        ("run shapes -m tiny-sd --drows 8", "No such option"),
        ("run shapes -m runwayml/stable-diffusion-v1-5", "sd:runwayml/stable-diffusion-v1-5"),
    ],
)
def test_a_mistake_is_answered_with_what_was_meant(arguments: str, meant: str, capsys: Captured) -> None:
    assert main(arguments.split()) == 2
    error = capsys.readouterr().err
    assert meant in error
    assert len(error.splitlines()) == 1


def test_one_of_a_kind_and_the_word_help_are_understood(capsys: Captured) -> None:
    assert said(capsys, "list", "model") == said(capsys, "list", "models")
    assert said(capsys, "help", "cite") == said(capsys, "cite", "--help")
    assert "Commands:" in said(capsys, "help")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_gets_its_lines(shell: str, capsys: Captured) -> None:
    assert f"_COMPBENCH_COMPLETE={shell}_complete" in said(capsys, "completion", shell)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("run sha", {"shape-classes", "shapes"}),
        ("run shapes -m tiny-s", {"tiny-sd"}),
        ("run shapes -m chance,tiny-s", {"chance,tiny-sd"}),
        ("run shapes -m tiny-sd -o dr", {"draws="}),
        ("show shapes/", {"shapes/chance"}),
        ("show shapes/chance --by a", {"axis"}),
        ("show shapes/chance -o dr", {"draws="}),
        ("list models tiny-d", {"tiny-dit"}),
    ],
)
def test_a_shell_completes_names(
    words: str, expected: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setenv("COMPBENCH_RUNS", str(tmp_path))
    assert main(["run", "shapes", "-m", "chance", "--limit", "2", "-q"]) == 0
    *before, last = words.split()
    made = BashComplete(group, {}, "compbench", "_COMPBENCH_COMPLETE")
    assert {completion.value for completion in made.get_completions(before, last)} == expected
    assert isinstance(group, click.Group)
