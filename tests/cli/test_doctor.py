"""The doctor says what works and what to do, and survives whatever is missing."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from compbench.cli.app import main
from compbench.cli.doctor import Check, examine

Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def checks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Check]:
    return {finding.name: finding for finding in examine(tmp_path_factory.mktemp("runs"))}


def test_versions_are_held_against_the_declared_ranges(
    checks: dict[str, Check], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert checks["torch"] == Check("torch", "ok", f"{metadata.version('torch')} (>=2.5)")
    assert checks["other packages"].state == "ok"
    wanted = ["torch>=999", "there-is-none>=1", "numpy>=1; extra == 'test'"]

    def requires(name: str) -> list[str]:
        return wanted

    monkeypatch.setattr(metadata, "requires", requires)
    found = {finding.name: finding for finding in examine(Path())}
    assert "numpy" not in found
    assert found["torch"] == Check(
        "torch", "problem", f"{metadata.version('torch')}; expected >=999", "pip install 'torch>=999'"
    )
    lacking = "not everything works without there-is-none"
    assert found["measuring"] == Check("measuring", "problem", lacking, "pip install 'there-is-none>=1'")


def test_it_says_what_is_fast_where_and_what_is_kept_where(checks: dict[str, Check]) -> None:
    assert any(name.startswith("fast on ") and "float32" in check.found for name, check in checks.items())
    for name in ("hub cache", "cache", "runs"):
        assert "GB free" in checks[name].found
    assert "not asked" in checks["gated repositories"].found
    assert checks["plugins"].state == "ok"


def test_json_is_an_option_of_its_own(capsys: Captured) -> None:
    assert main(["doctor", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert set(rows[0]) == {"name", "state", "found", "advice"}


@pytest.mark.parametrize("missing", [["torch"], ["huggingface_hub"], ["numpy", "pandas", "pyarrow", "scipy"]])
def test_it_survives_what_is_missing(missing: list[str], tmp_path: Path) -> None:
    code = (
        "import sys\n"
        f"for name in {missing}: sys.modules[name] = None\n"
        "from compbench.cli.app import main\n"
        "sys.exit(main(['doctor', '--json']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    assert {"python", "hub cache", "runs"} <= {row["name"] for row in rows}
    problems = {row["name"]: row["found"] for row in rows if row["state"] == "problem"}
    assert all(name.replace("_", "-") in problems["measuring"] for name in missing)
    assert ("reading runs" in problems) == ("numpy" in missing)


def test_a_check_that_breaks_does_not_hide_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", "~there-is-no-such-user/hub")
    found = {finding.name: finding for finding in examine(tmp_path)}
    assert found["hub cache"].state == "problem"
    assert found["runs"].state == "ok"
