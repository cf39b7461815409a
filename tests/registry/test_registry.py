"""Names, options, plugins: what a user types, and what strangers' packages do to it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

import compbench
import fakes
from compbench import registry
from compbench.core.errors import UsageError
from compbench.core.examples import Example, Task
from compbench.core.metrics import MATCHING
from compbench.core.models import ModelSpec
from compbench.registry import plugins
from compbench.registry.names import options as options_of

PLUGINS = Path(__file__).parents[1] / "plugin"


@dataclass(frozen=True)
class Model(fakes.Spec):
    """A model with options of every type."""

    draws: int | None = None
    weight: float = 1.0
    is_strict: bool = False
    target: Literal["auto", "eps", "v"] = "auto"
    folder: Path | None = None
    repo: str = field(default="org/name", metadata={"option": False})


def _named(*names: str) -> list[registry.NamedSpec]:
    return [registry.model(name) for name in names]


@pytest.fixture
def two_models(own_registry: None) -> tuple[str, str]:
    """`toy` has draws, `toy1.5` has a weight only."""

    @plugins.model("toy1.5")
    @dataclass(frozen=True)
    class Weighing(ModelSpec):
        weight: float = 1.0

        def identity(self) -> dict[str, float]:
            return {"weight": self.weight}

        def build(self, source: object, runtime: object) -> fakes.PerfectScorer:
            return fakes.PerfectScorer()

    plugins.model("toy")(Model)
    return "toy", "toy1.5"


def test_every_listed_task_and_model_names_its_package() -> None:
    listed = {entry.name: entry for entry in registry.models() + registry.tasks()}
    assert {"shapes", "winoground", "chance", "tiny-sd", "tiny-clip", "sd:ADDRESS", "open-clip:ADDRESS"} <= set(listed)
    assert listed["chance"].package == f"compbench {compbench.__version__}"


def test_every_listed_model_loads() -> None:
    for entry in registry.models(is_checked=True) + registry.tasks(is_checked=True):
        assert entry.error is None, entry.error


def test_listing_imports_neither_torch_nor_the_plugins() -> None:
    code = (
        "import sys; from compbench import registry; registry.models(); registry.tasks(); "
        "print({'torch', 'compbench_baselines', 'compbench.models', 'pandas'} & set(sys.modules))"
    )
    listed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert listed.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: registry.task("shaps"), "no task named 'shaps'; did you mean 'shapes'?"),
        (lambda: registry.model("chanse"), "no model named 'chanse'; did you mean 'chance'?"),
        (lambda: registry.model("zzz"), "no model named 'zzz'; `compbench list models` shows the "),
        (lambda: registry.task("zzz"), "script registers is known in that process alone; an entry point makes it"),
        (lambda: registry.model("sd20"), "did you mean 'sd2'"),
        (lambda: registry.model("Tiny-CLIP"), "did you mean 'tiny-clip'"),
        (lambda: registry.model("openclip:ViT-B-32/openai"), "no scheme named 'openclip'; did you mean 'open-clip'?"),
        (lambda: registry.model("open-clip:"), "lacks its address; expected open-clip:ADDRESS"),
        (lambda: registry.model("text-prior"), "model 'text-prior' lacks its address; expected text-prior:ADDRESS"),
        (lambda: registry.model("chance", {"sed": "1"}), "model 'chance' has no option 'sed'; did you mean 'seed'?"),
        (lambda: registry.model("chance", {"seed": "one"}), "cannot be 'one'; expected a whole number"),
    ],
)
def test_a_wrong_name_or_value_is_told_with_the_nearest_right_one(ask: object, message: str) -> None:
    with pytest.raises(UsageError) as raised:
        ask()  # pyright: ignore
    assert message in str(raised.value)


def test_a_folder_given_as_a_model_is_told_how_to_say_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"say .*'sd:"):
        registry.model(str(tmp_path))


@pytest.mark.usefixtures("own_registry")
class TestOptions:
    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            ({"draws": "100"}, {"draws": 100}),
            ({"draws": "none"}, {"draws": None}),
            ({"draws": 100}, {"draws": 100}),
            ({"draws": np.int64(7)}, {"draws": 7}),
            ({"weight": "0.5"}, {"weight": 0.5}),
            ({"weight": 2}, {"weight": 2.0}),
            ({"is-strict": "yes"}, {"is_strict": True}),
            ({"is_strict": "False"}, {"is_strict": False}),
            ({"target": "eps"}, {"target": "eps"}),
            ({"folder": "a/b"}, {"folder": Path("a/b")}),
            ({}, {}),
        ],
    )
    def test_text_becomes_the_type_of_the_field(self, given: dict[str, object], expected: dict[str, object]) -> None:
        _, spec = registry.model(Model(), given)
        assert spec == Model(**expected)  # pyright: ignore

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"draws": "1.5"}, "option 'draws' of model 'Model' cannot be '1.5'; expected a whole number or none"),
            ({"draws": 1.5}, "cannot be 1.5"),
            ({"draws": True}, "cannot be True"),
            ({"is_strict": "2"}, "expected true or false"),
            ({"target": "V"}, "expected auto or eps or v"),
            ({"weight": "heavy"}, "expected a number"),
        ],
    )
    def test_what_does_not_fit_the_type_is_refused(self, given: dict[str, object], message: str) -> None:
        with pytest.raises(UsageError) as raised:
            registry.model(Model(), given)
        assert message in str(raised.value)

    def test_a_field_that_is_no_option_cannot_be_set(self) -> None:
        assert "repo" not in options_of(Model())
        with pytest.raises(UsageError, match="no option 'repo'"):
            registry.model(Model(), {"repo": "x/y"})

    def test_options_are_listed_with_type_and_default(self) -> None:
        option = options_of(Model(draws=3))["draws"]
        assert (option.type, option.default) == ("a whole number or none", 3)

    def test_an_unscoped_option_goes_to_the_models_that_have_it_and_this_is_said(self, two_models: object) -> None:
        said: list[str] = []
        parsed = registry.parse_options(["draws=100", "weight=2"], _named("toy", "toy1.5"), said.append)
        assert parsed == {"toy": {"draws": "100", "weight": "2"}, "toy1.5": {"weight": "2"}}
        assert said == ["-o draws=100 goes to toy", "-o weight=2 goes to toy, toy1.5"]

    def test_a_scoped_option_goes_to_its_model_whose_name_may_hold_dots(self, two_models: object) -> None:
        given = ["toy1.5.weight=2", "toy.weight=3", "weight=1"]
        parsed = registry.parse_options(given, _named("toy", "toy1.5"))
        assert parsed == {"toy": {"weight": "3"}, "toy1.5": {"weight": "2"}}

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ("drawz=1", "no option 'drawz' of toy, toy1.5; did you mean 'draws'?"),
            ("toy1.5.draws=1", "model 'toy1.5' has no option 'draws'"),
            ("toi.draws=1", "is for model 'toi', which is not in this run; did you mean 'toy'"),
            ("draws", "option 'draws' has no value; expected option=value"),
            ("draws=many", "cannot be 'many'"),
        ],
    )
    def test_an_option_that_fits_no_model_is_refused(self, two_models: object, given: str, message: str) -> None:
        with pytest.raises(UsageError) as raised:
            registry.parse_options([given], _named("toy", "toy1.5"))
        assert message in str(raised.value)


@pytest.mark.usefixtures("own_registry")
class TestDecorators:
    def test_the_public_decorators_offer_a_model_and_a_task(self) -> None:
        compbench.model("mine")(Model)

        @compbench.task("my-task")
        def my_task() -> Task:
            return fakes.task(2, "my-task")

        assert registry.model("mine", {"draws": "3"}) == ("mine", Model(draws=3))
        assert len(registry.task("my-task").examples) == 2
        assert "mine" in [entry.name for entry in registry.models()]

    def test_a_cell_that_is_run_again_replaces_its_model(self) -> None:
        plugins.model("mine")(Model(draws=1))
        plugins.model("mine")(Model(draws=2))
        assert registry.model("mine")[1] == Model(draws=2)

    def test_the_name_of_an_installed_model_cannot_be_taken(self) -> None:
        with pytest.raises(UsageError, match=r"'chance' is claimed by compbench .* and module .*test_registry"):
            plugins.model("chance")(Model)
        assert registry.model("chance")[1] != Model()

    def test_what_is_no_model_is_refused_with_what_is_expected(self) -> None:
        plugins.model("empty")(Example)
        with pytest.raises(UsageError, match="expected a frozen dataclass"):
            registry.model("empty")

    def test_what_gives_no_task_is_refused_with_what_is_expected(self) -> None:
        plugins.task("empty")(lambda: 3)
        with pytest.raises(UsageError, match=r"gave a int; expected a compbench\.Task"):
            registry.task("empty")

    def test_data_for_a_task_that_reads_none_is_refused(self) -> None:
        plugins.task("drawn")(fakes.task)
        with pytest.raises(UsageError, match="leave out --data"):
            registry.task("drawn", data=Path("x"))

    def test_a_task_gets_the_data_and_the_offline_flag(self) -> None:
        def reads(data: Path | None, is_offline: bool) -> Task:
            return Task(f"{data} {is_offline}", (), MATCHING)

        plugins.task("reads")(reads)
        assert registry.task("reads", data=Path("here"), is_offline=True).name == "here True"


@pytest.fixture(scope="module")
def plugin_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _install(tmp_path_factory.mktemp("plugins"), "greenness", "broken")


@pytest.fixture(scope="module")
def clashing_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _install(tmp_path_factory.mktemp("clashing"), "greenness", "clashing")


def _install(target: Path, *names: str) -> Path:
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    quiet = ["--disable-pip-version-check", "--no-compile", "--root-user-action=ignore"]
    sources = [str(PLUGINS / name) for name in names]
    subprocess.run([*install, *quiet, "--target", str(target), *sources], check=True)
    return target


def _python(code: str, plugins: Path, cwd: Path) -> str:
    """What `code` prints in a fresh interpreter that has the plugins."""
    places = [str(plugins), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, places))}
    ran = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, cwd=cwd, env=environment
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


class TestInstalledPlugins:
    def test_a_stranger_s_model_and_task_are_listed_with_their_package(
        self, plugin_folder: Path, tmp_path: Path
    ) -> None:
        code = (
            "from compbench import registry; import json; "
            "print(json.dumps([[entry.name, entry.package] for entry in registry.models() + registry.tasks()]))"
        )
        listed = json.loads(_python(code, plugin_folder, tmp_path))
        assert ["greenness", "compbench-greenness 1.2.0"] in listed
        assert ["colours", "compbench-greenness 1.2.0"] in listed
        assert ["broken", "compbench-broken 0.1"] in listed

    def test_a_stranger_s_model_runs_a_stranger_s_task_by_name(self, plugin_folder: Path, tmp_path: Path) -> None:
        code = (
            "import compbench; run = compbench.run('colours', model='greenness', weight='2'); "
            "print(run.to_frame()[['text', 'image', 'group']].all(axis=None), len(run.to_frame()))"
        )
        assert _python(code, plugin_folder, tmp_path).strip() == "True 3"

    def test_a_broken_plugin_is_named_with_its_package_and_its_error(self, plugin_folder: Path, tmp_path: Path) -> None:
        code = (
            "from compbench import core, registry\n"
            "try: registry.model('broken')\n"
            "except core.UsageError as error: print(error)\n"
            "print([entry.name for entry in registry.models(is_checked=True) if entry.error])\n"
            "print(registry.model('greenness')[0], registry.model('chance')[0])"
        )
        told, failed, others = _python(code, plugin_folder, tmp_path).splitlines()
        assert "compbench-broken 0.1" in told
        assert "ModuleNotFoundError: No module named 'a_library_that_is_not_installed'" in told
        assert failed == "['broken']"
        assert others == "greenness chance"

    def test_two_packages_that_claim_one_name_are_both_named(self, clashing_folder: Path, tmp_path: Path) -> None:
        code = (
            "from compbench import core, registry\n"
            "try: registry.model('greenness')\n"
            "except core.UsageError as error: print(error)\n"
            "print(registry.model('chance')[0], registry.task('colours').name)\n"
            "print([entry.package for entry in registry.models() if entry.error])"
        )
        told, others, clashing = _python(code, clashing_folder, tmp_path).splitlines()
        assert "compbench-clashing 0.1" in told
        assert "compbench-greenness 1.2.0" in told
        assert others == "chance colours"
        assert clashing == "['compbench-clashing 0.1', 'compbench-greenness 1.2.0']"
