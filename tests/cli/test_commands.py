"""Every command that the pages and the help print is run as printed, or stands in a list with the reason why not.

What is shortened stands beside the command: `Run` adds arguments that take fewer examples, draws or steps, or that
name the copies of data and weights which a user fetches from a hub. A command in a page that is in neither table fails
here.
"""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import PIL.Image
import pytest

import compbench
import small_copies
import small_sd
import suites_on_disk
from compbench import registry
from compbench.cli.app import group, main

ROOT = Path(__file__).parents[2]
PAGES = sorted(path for path in ROOT.rglob("*.md") if not {"runs", ".git", "tests"} & set(path.relative_to(ROOT).parts))
SHELL = ("", "sh", "bash", "shell", "console", "text")
PROGRAMS = ("compbench", "python", "pip", "pytest", "torchrun")


@dataclass(frozen=True)
class Run:
    """A command that is run with `more` arguments; `words` of it are replaced, as a reader replaces them."""

    more: str = ""
    words: Mapping[str, str] = field(default_factory=dict[str, str])


SIX = Run("--limit 6")
WINOGROUND = "--data data/winoground -o sd2.folder=sd"
IS_RUN: dict[str, Run] = {
    "compbench run shapes --model tiny-sd --model tiny-clip --model chance": SIX,
    "compbench run shapes -m tiny-sd -m tiny-clip -m chance": SIX,
    "compbench run shapes --model tiny-sd": SIX,
    "compbench run shapes --model tiny-sd -o draws=32": SIX,
    "compbench run shapes -m tiny-sd -o draws=100 --limit 24": Run("--limit 6", {"draws=100": "draws=20"}),
    "compbench run --config grid.toml": Run(),
    "compbench run emoji --model emoji-sd --model emoji-clip": SIX,
    "compbench show emoji/emoji-sd emoji/emoji-clip --by artist --by kind": Run(),
    "compbench run sugarcrepe --images path/to/coco/val2017 --model openclip-vit-h-14": Run(
        "--data sugar-crepe", {"path/to/coco/val2017": "sugar-crepe/val2017", "openclip-vit-h-14": "tiny-clip"}
    ),
    "compbench doctor": Run(),
    "compbench show shapes/tiny-sd shapes/tiny-clip --by axis --by seen": Run(),
    "compbench show shapes/tiny-sd shapes/chance --by axis": Run(),
    "compbench show shapes/tiny-sd shapes/tiny-clip shapes/chance": Run(),
    "compbench show shapes/tiny-sd shapes/tiny-clip shapes/chance --by axis --by seen --by unseen": Run(),
    "compbench show shapes/tiny-sd shapes/tiny-clip shapes/chance --full": Run(),
    "compbench compare shapes/tiny-sd shapes/tiny-clip": Run(),
    "compbench compare shapes/tiny-sd shapes/tiny-clip --format json --ids": Run(),
    "compbench curves shapes/tiny-sd": Run(),
    "compbench curves shapes/tiny-sd --view rules --output rules.png": Run(),
    "compbench report shapes/tiny-sd shapes/tiny-clip --output report.html": Run(),
    "compbench site --output site": Run(),
    "compbench results --output results.parquet": Run(),
    "compbench results --output results.csv": Run(),
    "compbench explain shapes/tiny-sd both-303": Run("--draws 4"),
    "compbench explain shapes/tiny-sd object-001": Run("--draws 4"),
    "compbench show shapes/tiny-sd -o draws=8": Run(),
    "compbench show shapes/tiny-sd -o weight=elbo": Run(),
    "compbench show shapes/tiny-sd -o timesteps=200:800:2 -o target=eps": Run(),
    "compbench show shapes/tiny-sd -o weight=learned:0.2": Run(),
    "compbench curves shapes/tiny-sd --view rules": Run(),
    "compbench list runs": Run(),
    "compbench export shapes/tiny-sd --output scores.parquet": Run(),
    "compbench export shapes/tiny-sd --output scores.jsonl": Run(),
    "compbench show-task shapes --output shapes.png": Run(),
    "compbench show-task emoji --output emoji.png": Run(),
    "compbench show-task shapes --n 12 --output shapes.png": Run(),
    "compbench list models": Run(),
    "compbench list models sd2": Run(),
    "compbench list models greenness": Run(),
    "compbench list models sd2 --task winoground": Run(),
    "compbench completion bash": Run(),
    "compbench list tasks": Run(),
    "compbench list tasks mmvp-vlm": Run(),
    "compbench calibrate RUN": Run(words={"RUN": "shape-classes/tiny-clip"}),
    "compbench calibrate shape-classes/tiny-sd shape-classes/tiny-clip": Run(),
    "compbench calibrate shape-classes/tiny-sd --output reliability.png": Run(),
    "compbench run shape-classes --model tiny-sd --model tiny-clip --model sd-features --model synthetic-sd "
    "--model chance -o tiny-sd.schedule=racing -o sd-features.base=tiny-sd -o synthetic-sd.base=tiny-sd": Run(
        "--limit 6 -o tiny-sd.draws=4 -o sd-features.epochs=1 -o synthetic-sd.epochs=1 -o synthetic-sd.n_per_class=2 "
        "-o synthetic-sd.steps=1"
    ),
    "compbench run digits digits-rotation digits-noise digits-blur --model tiny-dit --model small-resnet "
    "--model logistic-regression -o tiny-dit.schedule=racing": Run(
        "--limit 4 -o tiny-dit.draws=4 -o small-resnet.epochs=1"
    ),
    "compbench check ./my-set": Run(),
    "compbench run ./my-set": Run("-m chance"),
    "compbench run NAME --data ./my-set": Run("-m chance", words={"NAME": "mine"}),
    "compbench run ./my-set -m tiny-sd": Run(),
    "compbench run ./my-set --model tiny-sd --model tiny-clip --model chance": Run(),
    "compbench report my-set/tiny-sd my-set/tiny-clip --data ./my-set --output my-set.html": Run(),
    "compbench run winoground --model sd2 -o schedule=racing -o risk=0.05": Run(f"{WINOGROUND} --limit 2 --runs raced"),
    "compbench run winoground --model sd2 -o schedule=racing -o tolerance=0.01": Run(
        f"{WINOGROUND} --limit 2 --runs raced"
    ),
    "compbench show winoground/sd2 --by tag --by visual --cross": Run(),
    "compbench show winoground/sd2 --by tag --by visual --cross --published": Run(),
    "compbench show winoground/sd2 --published": Run(),
    "compbench show winoground/sd2 --tags mine.csv": Run(words={"mine.csv": "tags.csv"}),
    "compbench show winoground/sd2 --by caption_length --by margin": Run(),
    "compbench curves winoground/sd2": Run(),
    "compbench curves winoground/sd2 --view rules --output rules.png": Run(),
    "compbench compare winoground/sd2 winoground/clip-vit-l-14 --by tag": Run(),
    "compbench cite winoground/sd2": Run(),
    "compbench cite emoji": Run(),
    "compbench import scores.csv --task winoground --as gpt-4o": Run("--data data/winoground"),
    "compbench run pets --model tiny-clip --prompts mine.csv": Run("--data data/pets --limit 4"),
    "compbench run shapes --model greenness": SIX,
    "compbench reproduce table1": Run("-m sd2 -t cifar10,stl10 -o folder=sd --data data --limit 2"),
    "compbench reproduce table2": Run("-m sd2 -o folder=sd --data data --limit 2"),
}
IS_NOT_RUN = {
    "pip install -e .": "it changes the environment of the tests; the tests run in what it makes",
    "pip install -e '.[test]'": "the same",
    "pip install -r compbench/reading.txt": "the same; test_reading_install.py does so in an environment of its own",
    "pip install --no-deps -e .": "the same",
    "pytest": "it is what runs this test",
    'pytest -n 2 --dist loadfile -m "not slow"': "the same",
    "python -m venv .venv": "it makes the environment of the tests",
    "compbench run winoground --model sd2 --model clip-vit-l-14 --model openclip-vit-h-14": "gigabytes of a hub",
    "compbench run winoground --model siglip2-so400m --model blip-itm --model sd2": "the same",
    "compbench run sugarcrepe --model text-prior:Qwen/Qwen3-0.6B": "the same",
    "compbench run winoground --model sdxl -o lora=my-lora/pytorch_lora_weights.safetensors": "the same",
    "compbench run winoground --model janus-pro-1b --dtype bfloat16": "the same",
    "compbench run winoground --model caption-likelihood:Qwen/Qwen2.5-VL-7B-Instruct -o less=text": "the same",
    "compbench run winoground --model vqascore:zhiqiulin/clip-flant5-xxl --dtype bfloat16": "the same",
    "compbench run winoground --model vqascore:Qwen/Qwen2.5-VL-7B-Instruct --dtype bfloat16": "the same",
    "compbench run winoground --model api-vqascore:gpt-4.1 -o endpoint=https://api.openai.com/v1 -o send_gated=true "
    "--dry-run": "a key and gated pictures; test_api_models.py runs it against a service of its own",
    "compbench run shapes --model api-vqascore:Qwen/Qwen3-VL-8B-Instruct -o endpoint=http://localhost:8000/v1": "a "
    "service; the same test does so",
    "torchrun --nproc-per-node 8 -m compbench run winoground --model sd2": "eight GPUs and a hub's weights",
    "pip install 'compbench[ray]'": "it changes the environment of the tests; test_ray.py uses what it installs",
    "compbench run imagenet --model dit-512 --workers ray": "the user's data and a GPU; test_ray.py starts Ray",
    "compbench run imagenet --model dit-512 --workers ray --ray-address 10.0.0.1:6379": "the same, and a cluster",
    "compbench run imagenet --model dit-512 --workers ray --ray-address $head": "the same",
    "compbench run winoground --model sd2 --shard $SLURM_ARRAY_TASK_ID/8": "Slurm and a hub's weights",
    "compbench reproduce table1 --task cifar10 --model clip-rn50 --data ~/data": "a hub's weights, the user's data",
    "compbench doctor --online": "it asks a hub",
    "compbench robustness digits digits-noise --plain digits --fitted small-resnet --fitted logistic-regression": "it "
    "trains a network; test_robustness.py runs the command on models that take seconds",
    "compbench show --full": "the page of the analysis names the option; the command with it is run",
    "compbench show plain-colours/brightest": "a task of the page itself, which test_architecture.py runs",
    "compbench show --published": "the changelog names the option; the command with it is run",
    "python -m compbench.tiny.train": "an hour and a half of training; test_tiny.py trains for a few steps",
    "python -m compbench.tiny.train_dit": "forty minutes of training",
    "python -m compbench.tiny.train_emoji --only sd": "two hours of training; test_tiny.py trains for a few steps",
    "python -m compbench.tiny.train_flow": "an hour of training; test_train_flow.py trains for a few steps",
    "python -m compbench.tiny.train_emoji": "three hours of training; test_tiny.py trains for a few steps",
    "python -m compbench.tasks.drawings.from_packages": "the two npm packages have to be unpacked",
    "python -m tests.benchmarks.racing": "it takes minutes; test_raced_rows.py runs it small",
    "python -m tests.benchmarks.engine": "minutes of timing; test_benchmarks.py runs it small",
    "python -m tests.benchmarks.engine --sd2": "a GPU",
    "python -m tests.benchmarks.engine --family sdxl --examples 1": "a GPU; test_benchmarks.py runs tiny pipelines",
    "python -m pytest -m gpu tests/diffusion": "a GPU",
    "python -m tests.benchmarks.page": "minutes of timing; test_benchmarks.py runs it small",
    "python -m tests.benchmarks.verdicts": "minutes of timing",
    "python -m tests.benchmarks.growth": "minutes of timing; test_benchmarks.py runs it small",
    "python -m tests.benchmarks.turns": "minutes of timing; test_benchmarks.py runs it small",
    "python -m tests.benchmarks.overhead": "minutes of timing; test_benchmarks.py runs it small",
    "python -m tests.benchmarks.clip": "minutes of timing",
    "python -m tests.benchmarks.scorers": "the same; test_benchmarks.py runs it on four examples",
    "python -m tests.benchmarks.loading": "minutes of timing; test_benchmarks.py runs it small",
    "python -m tests.benchmarks.selfbench": "minutes of drawing; test_selfbench.py makes a few pictures",
    "python -m tests.benchmarks.engine --family NAME": "a GPU; test_benchmarks.py runs tiny pipelines",
    "python -m tests.benchmarks.selfbench --task emoji --model emoji-sd --model emoji-flow --judge emoji-clip": "half "
    "an hour of drawing; test_selfbench.py makes a few pictures",
    "python -m tests.benchmarks.rules --runs runs": "it takes minutes; test_measured_tables.py runs it small",
    "python -m tests.benchmarks.steps": "tests/house/test_steps.py traces the same way",
}
# blocks of Python by their first line of code: what is replaced to shorten them
PYTHON: dict[str, Mapping[str, str]] = {
    "import compbench": {
        'model="tiny-sd")': 'model="tiny-sd", limit=2)',
        '"sd2"': '"sd:sd"',
        "model=mine)": "model=mine, limit=2)",
    },
    "from scipy.special import expit": {'model="tiny-clip")': 'model="tiny-clip", limit=2)'},
    "import numpy as np": {
        f'run("shapes", model={model}': f'run("shapes", limit=2, model={model}'
        for model in ("compbench.from_open_clip", "compbench.from_transformers", "pipeline")
    },
    '"""A model that knows one word: how green a picture is, for captions that say so."""': {},
    "from dataclasses import dataclass": {},
    "# measure a task, and score pictures of your own": {},
    "# read what is stored": {},
    "# tables, tests and figures of what is stored": {},
    "# two panels in one figure": {},
    "def resolve(self, task):": {},
    "# a task of one example, and a model that likes long captions": {},
    "import compbench; from compbench_analysis.figures import plots": {},
}


def blocks(text: str, *languages: str) -> Iterator[str]:
    """What stands between fences of one of these languages."""
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        if language in languages:
            yield block


def lines(block: str) -> Iterator[str]:
    """The commands of a block, those of a line apart, without comments and where their output goes."""
    for line in block.replace("\\\n", " ").splitlines():
        for part in re.sub(r"\s#\s.*", "", line).split("&&"):
            command = " ".join(re.sub(r">>? \S+|^\s*(\w+=\S+\s+)+", "", part).split())
            if command.split(" ")[0] in PROGRAMS:
                yield command


def inline(text: str) -> Iterator[str]:
    """Commands within a sentence; `compbench show` alone is a name, and N and PATH stand for something."""
    outside = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    for span in re.findall(r"`([^`\n]+)`", outside):
        words = span.split()
        is_placed = any(re.fullmatch(r"N|PATH|FILE|DIR|\w+(\|\w+)+", word) for word in words)
        if words and words[0] in ("compbench", "python", "torchrun") and len(words) > 2 and not is_placed:
            yield " ".join(words)


def helped(command: click.Command) -> Iterator[str]:
    """The commands of a help text."""
    yield from lines("\n".join((command.help or "").split("\b")[1:]))
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from helped(command.get_command(context, name) or command)


def printed() -> dict[str, str]:
    """Command -> the page that has it."""
    found = dict.fromkeys(helped(group), "help")
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        for command in [*(line for block in blocks(text, *SHELL) for line in lines(block)), *inline(text)]:
            found.setdefault(command, str(path.relative_to(ROOT)))
    return found


PRINTED = printed()


def test_every_printed_command_is_run_or_stands_in_the_list_with_a_reason() -> None:
    known = {*IS_RUN, *IS_NOT_RUN}
    assert {command: page for command, page in PRINTED.items() if command not in known} == {}
    assert known <= set(PRINTED), "no page has these any more"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in which the commands find what earlier ones, a hub and the user's own files would have left there."""
    folder = tmp_path_factory.mktemp("house")
    small_sd.save(folder / "sd")
    small_copies.write(folder / "data", ("winoground", "cifar10", "stl10", "pets"))
    with pytest.MonkeyPatch.context() as patch, contextlib.chdir(folder):
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.delenv("COMPBENCH_RUNS", raising=False)
        (folder / "grid.toml").write_text('tasks = ["shapes"]\nmodels = ["chance"]\nlimit = 6\n')
        _write_tables(folder)
        suites_on_disk.write(folder / "sugar-crepe", suites_on_disk.sugarcrepe())
        _write_my_set(folder / "my-set")
        for words in (
            "run shapes -m tiny-sd,tiny-clip,chance --limit 6",
            "run ./my-set -m tiny-sd,tiny-clip",
            "run shape-classes -m tiny-clip --limit 40",
            "run shape-classes -m tiny-sd -o draws=2 --limit 16",
            f"run winoground -m sd2 {WINOGROUND} -o draws=8",
            "import clip.csv --task winoground --as clip-vit-l-14 --data data/winoground",
        ):
            assert main([*shlex.split(words), *(["-q"] if words.startswith("run") else [])]) == 0
        _register_greenness()
        yield folder


@pytest.mark.slow
@pytest.mark.parametrize("command", IS_RUN)
def test_the_command_does_what_the_page_says(command: str, house: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = IS_RUN[command]
    words = [asked.words.get(word, word) for word in shlex.split(command)]
    assert words[0] == "compbench"
    code = main([*words[1:], *shlex.split(asked.more)])
    said = capsys.readouterr()
    assert code == 0, said.err
    assert "error: " not in said.err
    if "--output" in words:
        assert (house / words[words.index("--output") + 1]).stat().st_size > 0
    else:
        assert said.out.strip()


def python_blocks() -> list[tuple[str, str]]:
    """The page and the code of each block."""
    return [
        (str(path.relative_to(ROOT)), block)
        for path in PAGES
        if path.name != "ARCHITECTURE.md"  # tests/house/test_architecture.py runs its files
        for block in blocks(path.read_text(encoding="utf-8"), "python")
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("page", "code"), python_blocks(), ids=[page for page, _ in python_blocks()])
def test_the_python_of_the_pages_runs(page: str, code: str, house: Path) -> None:
    from diffusers import StableDiffusionPipeline

    (first, *_), named = code.splitlines(), dict[str, Any]()
    key = f"{first}; {code.splitlines()[1]}" if code.splitlines()[1:2] and "analysis" in code else first
    for text, other in PYTHON[key].items():
        assert text in code
        code = code.replace(text, other)
    if "pipeline" in code:
        example = registry.task("shapes").examples[0]
        named = {
            "images": [image.decode() for image in example.images],
            "captions": list(example.captions),
            "pipeline": StableDiffusionPipeline.from_pretrained(
                house / "sd", safety_checker=None, requires_safety_checker=False
            ),
        }
    if "from_open_clip" in code:
        named |= _models_in_memory()
    exec(compile(code, page, "exec"), named)


def _models_in_memory() -> dict[str, Any]:
    """The networks that a reader has at hand."""
    import open_clip
    from test_transformers_in_memory import made

    folder = f"local-dir:{ROOT / 'compbench' / 'tiny' / 'tiny-clip'}"
    clip, _, preprocess = open_clip.create_model_and_transforms(folder)
    siglip, processor = made("siglip")
    tokenizer = open_clip.get_tokenizer(folder)
    return {"clip": clip, "preprocess": preprocess, "tokenizer": tokenizer, "siglip": siglip, "processor": processor}


def _write_tables(folder: Path) -> None:
    """Scores, choices of tags and prompts of the user's own."""
    rows = [f"{n},{i},{c},{n + i - c}" for n in range(7) for i in (0, 1) for c in (0, 1)]
    for name in ("scores.csv", "clip.csv"):
        (folder / name).write_text("\n".join(["example_id,image,caption,score", *rows]) + "\n")
    (folder / "tags.csv").write_text(
        "\n".join(["id,mood", *(f"{n},{('sad', 'glad')[n % 2]}" for n in range(7))]) + "\n"
    )
    shipped = (ROOT / "compbench" / "tasks" / "classification" / "prompts" / "pets.csv").read_text(encoding="utf-8")
    (folder / "mine.csv").write_text(shipped.replace("a photo of", "a picture of"), encoding="utf-8")


def _write_my_set(folder: Path) -> None:
    """The README's own table of examples, and pictures for it."""
    folder.mkdir()
    (table,) = [block for block in blocks((ROOT / "README.md").read_text(encoding="utf-8"), "") if "foil" in block]
    (folder / "metadata.csv").write_text(table, encoding="utf-8")
    for number, line in enumerate(table.splitlines()[1:]):
        PIL.Image.new("RGB", (32, 32), (40 * number, 100, 200)).save(folder / line.split(",")[0])


def _register_greenness() -> None:
    """The model of the README's example, as a notebook registers it."""
    (code,) = [block for page, block in python_blocks() if page == "README.md" and "class Greenness" in block]
    named: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec"), named)
    compbench.model("greenness")(named["Greenness"])
