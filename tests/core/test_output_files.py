"""--output replaces a regular file whole or not at all, and writes through links, pipes and devices."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pandas as pd
import PIL.Image
import pytest

from compbench.cli.app import main
from compbench.core import disk
from compbench.core.errors import RunError

Captured = pytest.CaptureFixture[str]
# argv: a file; replaces it again and again by ten million letters
REPLACE = """
import sys
from pathlib import Path
from compbench.core.disk import output
print("ready", flush=True)
for letter in "abcdefghijklmnopqrstuvwxyz" * 9:
    output(Path(sys.argv[1]), letter.encode() * 10_000_000)
"""


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store with a run of six examples, which commands find."""
    monkeypatch.setenv("COMPBENCH_RUNS", str(tmp_path / "runs"))
    assert main(["run", "shapes", "-m", "chance", "--limit", "6", "-q"]) == 0
    return tmp_path / "runs"


def test_a_command_that_is_killed_in_the_write_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_bytes(b"z" * 10_000_000)
    for delay in (0.01, 0.03, 0.06, 0.1):
        process = subprocess.Popen([sys.executable, "-c", REPLACE, str(path)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        content = path.read_bytes()
        assert len(content) == 10_000_000
        assert len(set(content)) == 1


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (["export", "shapes/chance"], "scores.csv"),
        (["export", "shapes/chance"], "scores.parquet"),
        (["show", "shapes/chance"], "table.txt"),
        (["show-task", "shapes", "--n", "2"], "examples.png"),
        (["show-task", "shapes", "--n", "2"], "examples.JPG"),
        (["cite", "shapes/chance"], "references.bib"),
        (["report", "shapes/chance", "--no-images"], "report.html"),
    ],
)
def test_every_result_goes_through_a_link_and_leaves_it_a_link(
    command: list[str], name: str, runs: Path, tmp_path: Path
) -> None:
    (tmp_path / "place").mkdir()
    target, link = tmp_path / "place" / name, tmp_path / name
    target.write_bytes(b"old")
    target.chmod(0o640)
    link.symlink_to(target)
    assert main([*command, "--output", str(link)]) == 0
    assert link.is_symlink()
    assert target.read_bytes() != b"old"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert [path.name for path in target.parent.iterdir()] == [name]
    if name.endswith((".png", ".JPG")):
        with PIL.Image.open(target) as picture:
            assert picture.format in ("PNG", "JPEG")


def test_a_pipe_is_written_to_and_stays(runs: Path, tmp_path: Path) -> None:
    pipe, read = tmp_path / "pipe.csv", list[bytes]()
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    assert main(["export", "shapes/chance", "--output", str(pipe)]) == 0
    reader.join()
    assert read[0].startswith(b"id,")
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_device_is_never_replaced(runs: Path) -> None:
    assert main(["show", "shapes/chance", "--output", "/dev/null"]) == 0
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_standard_output_by_name_gets_the_result(name: str, runs: Path, capfd: Captured) -> None:
    capfd.readouterr()
    assert main(["show", "shapes/chance", "--format", "csv", "--output", name]) == 0
    assert capfd.readouterr().out.startswith("task,model,")


@pytest.mark.slow
def test_what_stands_in_the_file_of_standard_output_stays(tmp_path: Path, runs: Path) -> None:
    log = tmp_path / "log"
    log.write_text("before\n", encoding="utf-8")
    with log.open("ab") as file:
        subprocess.run(
            [sys.executable, "-m", "compbench", "show", "shapes/chance", "--format", "csv", "--output", "/dev/stdout"],
            stdout=file,
            stderr=subprocess.DEVNULL,
            check=True,
        )
    assert log.read_text(encoding="utf-8").startswith("before\ntask,model,")


@pytest.mark.slow
def test_a_process_substitution_is_written_to(runs: Path, tmp_path: Path) -> None:
    command = f"{sys.executable} -m compbench export shapes/chance --output >(cat > {tmp_path / 'copy'}) && sleep 0.2"
    done = subprocess.run(["bash", "-c", command], check=False, capture_output=True)
    assert done.returncode == 2  # export knows the form by the suffix
    command = command.replace("export shapes/chance", "show shapes/chance --format csv")
    subprocess.run(["bash", "-c", command], check=True, capture_output=True)
    assert len(pd.read_csv(tmp_path / "copy")) > 0


def test_what_cannot_be_written_is_one_line(runs: Path, tmp_path: Path, capsys: Captured) -> None:
    capsys.readouterr()
    for path in (tmp_path, tmp_path / ("x" * 300), tmp_path / "loop"):
        if path.name == "loop":
            path.symlink_to(path)
        assert main(["show", "shapes/chance", "--output", str(path)]) == 1
        said = capsys.readouterr()
        assert said.err.startswith(f"error: cannot write {str(path)!r}")
        assert said.err.count("\n") == 1
    assert main(["show", "shapes/chance", "--output", str(tmp_path / ("y" * 300) / "table")]) == 2


def test_what_was_there_stays_where_the_disk_refuses(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(RunError), disk.writing(tmp_path):
        disk.output(path / "below", b"new")
    assert path.read_bytes() == b"old"
