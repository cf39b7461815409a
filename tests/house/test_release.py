"""What a release says of itself agrees with itself."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

import compbench

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def citation() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))


def test_the_citation_names_the_version_the_licence_and_the_day_of_the_newest_release() -> None:
    cited = citation()
    assert cited["version"] == PROJECT["version"]
    assert " AND ".join(cited["license"]) == PROJECT["license"]
    assert {"cff-version", "message", "title", "authors"} <= cited.keys()
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## (\d+\.\d+\.\d+), (\d{4}-\d\d-\d\d)$", changelog, re.MULTILINE)
    assert newest is not None
    assert newest[1] == PROJECT["version"]
    assert cited["date-released"] == datetime.date.fromisoformat(newest[2])


def test_the_dockerfile_copies_what_exists_and_has_a_python_that_the_tests_ran_on() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    copied = [place for line in re.findall(r"^COPY (.+) \S+$", dockerfile, re.MULTILINE) for place in line.split()]
    assert copied
    assert [place for place in copied if not (ROOT / place).exists()] == []
    (version,) = re.findall(r"^FROM python:(\d+\.\d+)-slim$", dockerfile, re.MULTILINE)
    assert f"Programming Language :: Python :: {version}" in PROJECT["classifiers"]


def test_the_container_gets_every_file_that_the_wheel_is_built_of() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    copied = {place for line in re.findall(r"^COPY (.+) \S+$", dockerfile, re.MULTILINE) for place in line.split()}
    assert {line.removeprefix("!") for line in ignored if line.startswith("!")} == copied
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]
    assert {package.split("/")[0] for package in packages["targets"]["wheel"]["packages"]} <= copied
    assert {PROJECT["readme"], *PROJECT["license-files"]} <= copied


def test_the_version_is_recorded_with_a_run_and_is_not_part_of_its_identity(tmp_path: Path) -> None:
    run = compbench.run("shapes", model="chance", limit=2, runs=tmp_path)
    golden = compbench.load_run(ROOT / "tests" / "golden" / "errors")
    for stored, version in ((run, importlib.metadata.version("compbench")), (golden, "0.1.0")):
        assert stored.info.compbench == version
        assert version not in json.dumps(stored.key.to_json())
