"""Images that cannot be read cost their own examples and nothing else."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

import compbench
from compbench.cli.app import main
from compbench.core.errors import UnreadableImages
from compbench.store import unreadable
from compbench.store.store import Store
from noise_pictures import cats_and_dogs

N = 12  # of each class


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return cats_and_dogs(tmp_path / "data", N, np.random.default_rng(0))


def command(data: Path, *more: str) -> list[str]:
    return ["run", "imagefolder", "--data", str(data), "-m", "tiny-clip", "--runs", str(data.parent / "runs"), *more]


def scores(data: Path) -> dict[str, list[float]]:
    run = Store(data.parent / "runs").runs()[-1]
    table = run.table()
    return dict(zip(table.ids, table.scores.tolist(), strict=True))


def n_measured(data: Path) -> int:
    """Examples of all parts of all runs: what was measured, once or again."""
    lines = [line for path in (data.parent / "runs").rglob("parts.jsonl") for line in path.read_text().splitlines()]
    return sum(json.loads(line)["n_examples"] for line in set(lines))


def test_one_bad_image_costs_its_own_example_and_is_named(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "cat" / "003.png").write_bytes(b"")
    (data / "dog" / "007.png").write_bytes((data / "dog" / "007.png").read_bytes()[:200])
    assert main(command(data)) == 1
    shown = capsys.readouterr()
    assert "partial: 22 of 24 examples (2 unreadable)" in shown.out
    assert "2 images could not be read, so 2 examples are not measured; all others are measured" in shown.err
    for name in ("cat/003.png", "dog/007.png"):
        assert len(re.findall(f"image 'test/{name}'", shown.err)) == 1
    assert len(scores(data)) == 22

    assert main(command(data)) == 1  # nothing is measured again
    assert n_measured(data) == 22


@pytest.mark.parametrize("model", ["tiny-clip", pytest.param("tiny-sd", marks=pytest.mark.slow)])
def test_the_same_command_completes_a_run_whose_images_were_repaired(
    data: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(data, data.parent / "whole" / "data")
    options = ["-o", "draws=2"] if model == "tiny-sd" else []

    def asked(place: Path) -> list[str]:
        return [model if word == "tiny-clip" else word for word in command(place, *options)]

    (data / "cat" / "003.png").write_bytes(b"")
    assert main(asked(data)) == 1
    shutil.copyfile(data.parent / "whole" / "data" / "cat" / "003.png", data / "cat" / "003.png")
    capsys.readouterr()
    assert main(asked(data)) == 0
    assert "23 examples are taken over from" in capsys.readouterr().err
    assert n_measured(data) == 24
    assert main(asked(data.parent / "whole" / "data")) == 0
    ours, whole = scores(data), scores(data.parent / "whole" / "data")
    assert ours.keys() == whole.keys()
    np.testing.assert_allclose(list(ours.values()), list(whole.values()), atol=1e-6)


def test_a_run_is_not_taken_over_where_another_image_changed_too(data: Path) -> None:
    broken = data / "cat" / "003.png"
    content = broken.read_bytes()
    broken.write_bytes(b"")
    assert main(command(data)) == 1
    broken.write_bytes(content)
    PIL.Image.new("RGB", (8, 8)).save(data / "dog" / "001.png")
    assert main(command(data)) == 0
    assert n_measured(data) == 23 + 24


def test_skipping_is_a_choice_that_is_signed(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "cat" / "003.png").write_bytes(b"")
    assert main(command(data, "--skip-unreadable")) == 0
    shown = capsys.readouterr()
    assert "1 example is skipped, whose images cannot be read: 'test/cat/003.png'" in shown.err
    assert "partial: 23 of 24 examples (1 unreadable and skipped)" in shown.out
    assert main(command(data, "--skip-unreadable", "--full")) == 0
    assert re.search(r"\|n:23/24\|.*\|skipped:1@[0-9a-f]{8}\|", capsys.readouterr().out)
    assert n_measured(data) == 23
    capsys.readouterr()
    assert main(command(data)) == 1  # without the choice it is an error again
    assert "skipped" not in capsys.readouterr().out


def test_what_was_measured_is_kept_when_the_choice_comes_later(data: Path) -> None:
    (data / "cat" / "003.png").write_bytes(b"")
    assert main(command(data)) == 1
    assert main(command(data, "--skip-unreadable")) == 0
    assert n_measured(data) == 23
    (run,) = Store(data.parent / "runs").runs()
    assert unreadable.read(run.path).is_skipped


def test_a_changed_list_of_skipped_images_is_not_believed(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "cat" / "003.png").write_bytes(b"")
    assert main(command(data, "--skip-unreadable")) == 0
    (run,) = Store(data.parent / "runs").runs()
    path = run.path / "unreadable.json"
    path.write_text(path.read_text().replace("003", "004"))
    assert unreadable.read(run.path).examples == ()
    capsys.readouterr()
    assert main(["show", str(run.path)]) == 0
    assert capsys.readouterr().err.count("the list of unreadable images is lost") == 1
    assert main(command(data, "--skip-unreadable")) == 0
    assert "the list of unreadable images is lost" in capsys.readouterr().err
    assert unreadable.read(run.path).examples == ("test/cat/003.png",)


def test_an_image_that_several_models_cannot_read_is_named_once(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "cat" / "003.png").write_bytes(b"")
    assert main(command(data, "-m", "tiny-sd", "-o", "tiny-sd.draws=1", "-m", "chance")) == 1
    shown = capsys.readouterr()
    assert shown.err.count("image 'test/cat/003.png'") == 1
    assert "error: imagefolder · tiny-clip, imagefolder · tiny-sd: 1 image could not be read" in shown.err
    assert "is empty (0 bytes)" in shown.err
    assert "The models did not see the same examples" in shown.out  # chance looks at none


def test_run_raises_once_the_rest_is_stored(data: Path) -> None:
    (data / "cat" / "003.png").write_bytes(b"")
    where = {"data": data, "runs": data.parent / "runs"}
    with pytest.raises(UnreadableImages, match=r"1 image could not be read, .* image 'test/cat/003\.png'") as caught:
        compbench.run("imagefolder", model="tiny-clip", **where)
    assert [error.name for error in caught.value.errors] == ["test/cat/003.png"]
    run = compbench.run("imagefolder", model="tiny-clip", skip_unreadable=True, **where)
    assert len(run.done()) == 23


def test_a_diffusion_model_goes_on_as_if_the_bad_image_had_never_been(data: Path) -> None:
    options = ["--limit", "6", "-o", "tiny-sd.draws=2"]
    sd = [word if word != "tiny-clip" else "tiny-sd" for word in command(data, *options)]
    assert main(sd) == 0
    (whole,) = Store(data.parent / "runs").runs()
    expected = whole.measurements()
    bad = sorted(expected)[2]
    (data / bad.removeprefix("test/")).write_bytes(b"GIF89a")
    assert main([*sd, "--skip-unreadable"]) == 0
    newest = next(run for run in Store(data.parent / "runs").runs() if run.path != whole.path)
    found = newest.measurements()
    assert found.keys() == expected.keys() - {bad}
    for name, measurement in found.items():
        np.testing.assert_allclose(measurement.errors["l2"], expected[name].errors["l2"], rtol=1e-5)


def test_an_image_that_is_a_pipe_a_loop_or_forbidden_is_named_like_any_other(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loop = data / "cat" / "003.png"
    loop.unlink()
    loop.symlink_to(loop)
    assert main(command(data)) == 1
    error = capsys.readouterr().err
    assert "its links form a loop" in error
    assert "1 image could not be read" in error
    assert len(scores(data)) == 23


def test_a_large_image_is_measured_once_it_is_allowed(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 5_000)
        PIL.Image.new("1", (120, 100)).save(data / "cat" / "big.png")
        assert main(command(data, "--skip-unreadable")) == 0
        assert "partial: 24 of 25" in capsys.readouterr().out
        assert main(command(data, "--skip-unreadable", "--max-pixels", "12000")) == 0
        assert "partial" not in capsys.readouterr().out
        assert PIL.Image.MAX_IMAGE_PIXELS == 5_000


def test_what_a_model_does_not_look_at_is_counted_and_said(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 3
    PIL.Image.open(data / "cat" / "001.png").save(data / "cat" / "turned.jpg", exif=exif)
    PIL.Image.new("RGBA", (8, 8), (255, 0, 0, 0)).save(data / "dog" / "clear.png")
    deep = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    PIL.Image.fromarray(deep).save(data / "dog" / "deep.png")
    frames = [PIL.Image.new("RGB", (8, 8), word) for word in ("red", "blue")]
    frames[0].save(data / "dog" / "a.gif", save_all=True, append_images=frames[1:])
    assert main([*command(data, "-m", "tiny-sd", "-o", "tiny-sd.draws=1")]) == 0
    shown = capsys.readouterr()
    assert "tiny-clip: 1 of 28 images has an EXIF orientation that tiny-clip ignores" in shown.err
    assert "tiny-clip: 1 of 28 images has transparent parts that tiny-clip ignores" in shown.err
    assert "tiny-sd ignores" not in shown.err
    for model in ("tiny-clip", "tiny-sd"):
        assert f"{model}: 1 of 28 images has several frames; the first is measured" in shown.err
        assert f"{model}: 1 of 28 images has 16 bits of grey, scaled to 8 bits" in shown.err
    assert "tiny-clip ignores the EXIF orientation of 1 image and the transparency of 1 image" in " ".join(
        shown.out.split()
    )


@pytest.mark.parametrize("name", ["show-task", "report", "explain"])
def test_what_shows_images_notes_a_bad_one_and_goes_on(
    data: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "cat" / "003.png").write_bytes(b"")
    runs, page = ["--runs", str(data.parent / "runs")], data.parent / "page.html"
    if name == "show-task":
        sheet = data.parent / "sheet.png"
        assert main(["show-task", "imagefolder", "--data", str(data), "--n", "24", "--output", str(sheet)]) == 0
        with PIL.Image.open(sheet) as picture:
            assert picture.size[0] > 100
        return
    if name == "report":
        assert main(["run", "imagefolder", "--data", str(data), "-m", "chance", *runs]) == 0  # it looks at no image
        at = ["--data", str(data), "--output", str(page)]
        assert main(["report", "imagefolder/chance", *runs, *at]) == 0
        assert "1 image cannot be read, the first: image" in html.unescape(page.read_text())
    else:
        at = ["--data", str(data), "-m", "tiny-sd", "-o", "draws=1", "--limit", "4"]
        assert main(["run", "imagefolder", *at, *runs]) in (0, 1)
        capsys.readouterr()
        assert main(["explain", "imagefolder/tiny-sd", "test/cat/003.png", *runs, "--data", str(data)]) == 1
        assert "image 'test/cat/003.png'" in capsys.readouterr().err


def test_links_out_of_the_folder_are_counted_or_refused(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("001.png", "002.png"):
        (data / "cat" / name).rename(data.parent / name)
        (data / "cat" / name).symlink_to(data.parent / name)
    (data / "dog" / "001.png").unlink()
    (data / "dog" / "001.png").symlink_to(data / "dog" / "002.png")  # stays inside
    chance = [word if word != "tiny-clip" else "chance" for word in command(data)]
    assert main([*chance, "-m", "tiny-clip"]) == 0
    said = "imagefolder: 2 of 24 image files are links that lead out of"
    assert capsys.readouterr().err.count(said) == 1
    assert main([*chance, "--no-follow-links"]) == 1
    assert "links are not followed here" in capsys.readouterr().err


def test_a_linked_class_folder_is_refused_where_links_are(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "cat").rename(data.parent / "cats")
    (data / "cat").symlink_to(data.parent / "cats")
    chance = [word if word != "tiny-clip" else "chance" for word in command(data)]
    assert main([*chance, "--no-follow-links"]) == 1
    assert "is reached by a link" in capsys.readouterr().err
    assert main(chance) == 0
    assert "12 of 24 image files are links that lead out of" in capsys.readouterr().err


def test_a_file_name_that_is_not_utf_8_is_one_line(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.rename(data / "cat" / "001.png", os.fsencode(data / "cat") + b"/caf\xe9.png")
    assert main(command(data)) == 1
    assert "has a name that is not UTF-8, b'caf\\xe9.png'; rename it" in capsys.readouterr().err
