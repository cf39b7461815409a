"""A package that is missing or broken is told by its name, with what to install; other errors pass as they are."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from importlib.machinery import ModuleSpec

import pytest

from compbench.core import packages
from compbench.core.errors import DataError, MissingPackage

Hide = Callable[..., None]


@pytest.fixture
def hide(monkeypatch: pytest.MonkeyPatch) -> Hide:
    """Lets modules look as if they were not installed."""

    def hiding(*modules: str) -> None:
        find = importlib.util.find_spec

        def found(name: str, package: str | None = None) -> ModuleSpec | None:
            return None if name in modules else find(name, package)

        monkeypatch.setattr(packages, "find_spec", found)

    return hiding


def missing(module: str) -> ModuleNotFoundError:
    return ModuleNotFoundError(f"No module named {module!r}", name=module)


def test_a_missing_package_is_named_with_its_range(hide: Hide) -> None:
    hide("sklearn")
    with pytest.raises(MissingPackage) as told, packages.named():
        raise missing("sklearn.datasets")
    assert str(told.value) == "scikit-learn is not installed: pip install 'scikit-learn>=1.5'"


def test_where_several_lack_that_reading_needs_all_are_named(hide: Hide) -> None:
    hide("pandas", "scipy", "timm")
    told = packages.why(missing("pandas"))
    assert told == "pandas is not installed: pip install 'pandas>=2.2' 'scipy>=1.13'"


def test_without_networks_the_installation_is_for_reading(hide: Hide) -> None:
    assert not packages.is_for_reading()
    hide("torch")
    assert packages.why(missing("torch")) == "torch is not installed: pip install 'torch>=2.5'"
    hide("torch", "torchvision", "diffusers", "transformers", "open_clip", "timm")
    assert packages.is_for_reading()
    told = packages.why(missing("torch"))
    assert told is not None
    assert told.startswith("torch is not installed; this installation only reads runs, and to measure it needs: pip ")
    assert "'torch>=2.5'" in told
    assert "'diffusers>=0.35'" in told


def test_the_import_behind_another_error_is_told(hide: Hide) -> None:
    hide("jinja2")
    wrapped = RuntimeError("failed to import diffusers.loaders, look up to see its traceback")
    wrapped.__cause__ = missing("jinja2")
    with pytest.raises(MissingPackage, match="jinja2 is not installed"), packages.named():
        raise wrapped


def test_a_package_that_is_there_and_cannot_be_imported_is_named() -> None:
    wrong = ImportError("cannot import name 'Encoder' from 'transformers'", name="transformers")
    told = packages.why(wrong)
    assert told is not None
    assert told.startswith("transformers ")
    assert "cannot be imported (cannot import name 'Encoder' from 'transformers'); expected >=" in told
    assert told.count("\n") == 0


@pytest.mark.parametrize("error", [missing("my_plugin"), ImportError("of no name"), ValueError("torch"), KeyError(3)])
def test_errors_of_others_pass_as_they_are(error: Exception) -> None:
    with pytest.raises(type(error)) as raised, packages.named():
        raise error
    assert raised.value is error


def test_what_is_told_to_the_user_already_passes(hide: Hide) -> None:
    hide("torch")
    damaged = DataError("the weights are damaged")
    damaged.__cause__ = missing("torch")
    with pytest.raises(DataError, match="damaged"), packages.named():
        raise damaged
