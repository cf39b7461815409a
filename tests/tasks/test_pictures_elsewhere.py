"""Pictures in a folder of their own (--images), beside annotations from a folder or fetched at a commit."""

from __future__ import annotations

from pathlib import Path

import pytest

import compbench
import suites_on_disk as disk
from compbench import registry
from compbench.cli.app import main
from compbench.core.errors import DataError, MissingPictures, UsageError
from compbench.registry.git_files import GitFiles
from compbench.runs.plan import plan
from compbench.tasks.matching.sugarcrepe import SPLITS, SUGARCREPE
from loopback_git import LoopbackGit, loopback_git

Captured = pytest.CaptureFixture[str]
COMMIT = "0047054b243992f0fad63d6f64f7544862daf846"
ANNOTATIONS = {name: content for name, content in disk.sugarcrepe().items() if name.startswith("data/")}

pytestmark = pytest.mark.usefixtures("own_cache")


def _pictures(folder: Path, n: int = 3) -> str:
    return str(disk.write(folder / "coco", disk.photos("val2017", [f"{k:012d}.jpg" for k in range(n)])) / "val2017")


def _annotations(folder: Path) -> str:
    return str(disk.write(folder / "sugar-crepe", ANNOTATIONS))


def _run(task: str, folder: Path, *more: str) -> int:
    return main(["run", task, *more, "-m", "chance", "--runs", str(folder / "runs")])


# annotations that are fetched


def test_with_pictures_alone_the_annotations_are_fetched_once_at_their_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    with loopback_git(monkeypatch) as git:
        git.add("RAIVNLab/sugar-crepe", COMMIT, ANNOTATIONS)
        assert _run("sugarcrepe", tmp_path, "--images", _pictures(tmp_path)) == 0
        assert sorted(git.requests) == sorted(f"/RAIVNLab/sugar-crepe/{COMMIT}/{name}" for name in ANNOTATIONS)
        git.requests.clear()
        assert _run("sugarcrepe-swap-obj", tmp_path, "--images", _pictures(tmp_path), "--offline") == 0
        assert not git.requests
    stored = compbench.load_run("sugarcrepe/chance", runs=tmp_path / "runs")
    assert stored.info.task.origin == f"github:RAIVNLab/sugar-crepe@{COMMIT}"
    assert "sugarcrepe-swap-obj" in capsys.readouterr().out


def test_a_split_fetches_its_own_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with loopback_git(monkeypatch) as git:
        git.add("RAIVNLab/sugar-crepe", COMMIT, ANNOTATIONS)
        fetched = registry.task("sugarcrepe-add-att", images=Path(_pictures(tmp_path)))
        assert [name.rpartition("/")[2] for name in git.requests] == ["add_att.json"]
    local = disk.write(tmp_path / "clone", disk.sugarcrepe())
    assert fetched.revision == registry.task("sugarcrepe-add-att", data=local).revision


@pytest.mark.parametrize("name", ["cola", "valse", "imagecode", "imagecode-simple", "clevr-binding"])
def test_other_repositories_are_fetched_too(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = disk.SUITES[name][0]()
    place = disk.write(tmp_path / name, files)
    remote = registry.plugins.load(registry.plugins.find("task", name)).remote
    assert isinstance(remote, GitFiles)
    with loopback_git(monkeypatch) as git:
        git.add(remote.repository, remote.commit, files)
        fetched = registry.task(name, images=place / ("image-sets" if "imagecode" in name else "images"))
    assert fetched.revision == registry.task(name, data=place).revision
    assert fetched.origin == f"github:{remote.repository}@{remote.commit}"


def test_every_fetched_file_is_one_that_the_reader_reads() -> None:
    assert isinstance(SUGARCREPE.remote, GitFiles)
    assert set(SUGARCREPE.remote.files) == set(ANNOTATIONS)
    assert all(len(suite.remote.files) == 1 for suite in SPLITS.values() if isinstance(suite.remote, GitFiles))


def _page(git: LoopbackGit) -> None:
    git.kind = "text/html"


def _cut(git: LoopbackGit) -> None:
    git.is_cut = True


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (lambda git: git.files.clear(), r"could not be fetched \(the server answered 404 Not Found\): try again, or"),
        (_page, "a web page came instead, perhaps this network's login page"),
        (_cut, r"could not be fetched \(.*IncompleteRead"),
    ],
    ids=["absent", "login page", "cut off"],
)
def test_what_cannot_be_fetched_is_told_and_leaves_nothing(
    fault: object, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with loopback_git(monkeypatch) as git:
        git.add("RAIVNLab/sugar-crepe", COMMIT, ANNOTATIONS)
        fault(git)  # pyright: ignore[reportCallIssue]
        with pytest.raises(DataError, match=said):
            registry.task("sugarcrepe-swap-obj", images=Path(_pictures(tmp_path)))
    with pytest.raises(DataError, match="is not in the local cache and --offline"):
        registry.task("sugarcrepe-swap-obj", images=Path(_pictures(tmp_path)), is_offline=True)


def test_a_server_that_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with loopback_git(monkeypatch):
        pass
    monkeypatch.setattr("compbench.registry.git_files.ADDRESS", "http://127.0.0.1:9")
    with pytest.raises(DataError, match=r"swap_obj.json of github.com/RAIVNLab/sugar-crepe at 0047054 could not be"):
        registry.task("sugarcrepe-swap-obj", images=Path(_pictures(tmp_path)))


# pictures beside annotations of one's own


def test_pictures_may_lie_apart_from_the_annotations(tmp_path: Path) -> None:
    data, images = _annotations(tmp_path), _pictures(tmp_path)
    apart = registry.task("sugarcrepe", data=Path(data), images=Path(images))
    together = registry.task("sugarcrepe", data=disk.write(tmp_path / "all", disk.sugarcrepe()))
    above = registry.task("sugarcrepe", data=Path(data), images=Path(images).parent)
    assert apart.revision == together.revision == above.revision


def test_where_pictures_are_named_those_beside_the_annotations_are_not_taken(tmp_path: Path) -> None:
    place = disk.write(tmp_path / "all", disk.sugarcrepe())
    images = disk.write(tmp_path / "own", {f"{n:012d}.jpg": disk.encoded(70 + n, kind="JPEG") for n in range(3)})
    assert (
        registry.task("sugarcrepe", data=place, images=images).revision
        != registry.task("sugarcrepe", data=place).revision
    )


def test_the_same_from_python(tmp_path: Path) -> None:
    data, images = _annotations(tmp_path), _pictures(tmp_path)
    run = compbench.run("sugarcrepe", model="chance", data=data, images=images, runs=tmp_path / "runs")
    assert len(run.done()) == 20
    priced = plan("sugarcrepe", model="chance", data=data, images=images, runs=tmp_path / "runs")
    assert priced.is_done
    with pytest.raises(UsageError, match="images cannot be given for a task in memory"):
        compbench.run(registry.task("shapes"), model="chance", images=images)


def test_a_grid_file_names_pictures_that_several_tasks_share(tmp_path: Path, capsys: Captured) -> None:
    grid = tmp_path / "grid.toml"
    grid.write_text(f'tasks = ["sugarcrepe-swap-obj", "sugarcrepe-add-obj"]\nimages = "{_pictures(tmp_path)}"\n')
    with pytest.MonkeyPatch.context() as patch, loopback_git(patch) as git:
        git.add("RAIVNLab/sugar-crepe", COMMIT, ANNOTATIONS)
        assert main(["run", "--config", str(grid), "-m", "chance", "--runs", str(tmp_path / "runs")]) == 0
    out = capsys.readouterr().out
    assert "sugarcrepe-swap-obj, 2 examples" in out
    assert "sugarcrepe-add-obj, 3 examples" in out


# what is missing, and what has no use for it


def test_missing_pictures_are_counted_and_named_before_anything_is_measured(tmp_path: Path, capsys: Captured) -> None:
    more = ["--data", _annotations(tmp_path), "--images", _pictures(tmp_path, 2)]
    assert _run("sugarcrepe", tmp_path, *more) == 1
    told = capsys.readouterr().err
    assert "1 of 3 pictures are not in" in told
    assert "000000000002.jpg" in told
    assert "--skip-unreadable leaves out their examples, and the signature says so" in told
    assert not (tmp_path / "runs").exists()


def test_a_dry_run_tells_missing_pictures_too(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    with loopback_git(monkeypatch) as git:
        git.add("RAIVNLab/sugar-crepe", COMMIT, ANNOTATIONS)
        assert _run("sugarcrepe", tmp_path, "--images", _pictures(tmp_path)) == 0
    assert _run("sugarcrepe", tmp_path, "--images", _pictures(tmp_path / "few", 2), "--dry-run") == 1
    assert "1 of 3 pictures are not in" in capsys.readouterr().err


def test_a_folder_without_any_of_them_is_refused_whatever_is_chosen(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingPictures, match=r"none of the 3 pictures is in .*expected COCO val2017.*--images names"):
        registry.task("sugarcrepe", data=Path(_annotations(tmp_path)), images=tmp_path / "empty", skip_unreadable=True)


def test_a_folder_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "val2017.zip").touch()
    for name, what in (("val2017", "is not there"), ("val2017.zip", "is a file")):
        with pytest.raises(DataError, match=rf"--images '.*{name}' {what}; expected the folder with COCO val2017"):
            registry.task("sugarcrepe", images=tmp_path / name)


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("bivlc", "task 'bivlc' has its pictures with its data; leave out --images"),
        ("mmvp-vlm", "task 'mmvp-vlm' has its pictures with its data; leave out --images"),
        ("shapes", "task 'shapes' takes no pictures from elsewhere; leave out --images"),
        ("winoground", "task 'winoground' takes no pictures from elsewhere; leave out --images"),
        ("imagefolder", "task 'imagefolder' takes no pictures from elsewhere; leave out --images"),
    ],
)
def test_a_task_that_has_no_use_for_it_says_so(task: str, said: str, tmp_path: Path, capsys: Captured) -> None:
    assert _run(task, tmp_path, "--images", str(tmp_path)) == 2
    assert said in capsys.readouterr().err


def test_a_copy_with_its_pictures_inside_says_so(tmp_path: Path) -> None:
    place = disk.write(tmp_path / "hub", disk.aro_on_the_hub())
    with pytest.raises(UsageError, match=r"test-.*parquet of task 'aro-relation' has its pictures inside; leave out"):
        registry.task("aro-relation", data=place, images=tmp_path)


def test_a_set_of_ones_own_has_its_pictures_beside_its_manifest(tmp_path: Path) -> None:
    disk.write(tmp_path / "set", {"metadata.csv": b"image,caption,foil\na.png,a,b\n", "a.png": disk.encoded(0)})
    with pytest.raises(UsageError, match="task 'set' has its pictures beside its manifest; leave out --images"):
        registry.task(tmp_path / "set", images=tmp_path)


def test_links_out_of_the_folder_are_told(tmp_path: Path, capsys: Captured) -> None:
    store, images = disk.write(tmp_path / "store", disk.photos("a", ["0.jpg"])), Path(_pictures(tmp_path))
    (images / "000000000001.jpg").unlink()
    (images / "000000000001.jpg").symlink_to(store / "a" / "0.jpg")
    more = ["--data", _annotations(tmp_path), "--images", str(images)]
    assert _run("sugarcrepe-swap-att", tmp_path, *more) == 0
    assert "1 of 3 image files are links that lead out of" in capsys.readouterr().err
    assert _run("sugarcrepe-swap-att", tmp_path, *more, "--no-follow-links") == 1


# the commands that look at a task again


def test_what_looks_at_a_task_finds_its_pictures_there(tmp_path: Path, capsys: Captured) -> None:
    more = ["--data", _annotations(tmp_path), "--images", _pictures(tmp_path)]
    assert _run("sugarcrepe-swap-att", tmp_path, *more) == 0
    assert main(["show-task", "sugarcrepe-swap-att", *more, "--output", str(tmp_path / "some.png")]) == 0
    page = ["report", "sugarcrepe-swap-att/chance", "--runs", str(tmp_path / "runs"), "--output"]
    assert main([*page, str(tmp_path / "with.html"), *more]) == 0
    assert main([*page, str(tmp_path / "without.html")]) == 0
    told = capsys.readouterr().err
    assert told.count("are not available") == 1
    assert "data:image" in (tmp_path / "with.html").read_text()
    assert main(["export", "sugarcrepe-swap-att/chance", "--runs", str(tmp_path / "runs"), "--output",
                 str(tmp_path / "scores.jsonl")]) == 0  # fmt: skip
    assert main(["import", str(tmp_path / "scores.jsonl"), "--task", "sugarcrepe-swap-att", "--as", "other", *more,
                 "--runs", str(tmp_path / "runs")]) == 0  # fmt: skip
