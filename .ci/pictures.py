"""Make the pictures of the README and the manual: `python .ci/pictures.py [--runs DIR]`.

`.ci/pictures.json` holds a digest of each picture and of the code that draws it, docstrings and comments apart;
`tests/house/test_pictures.py` fails once one of them has changed, until this script is run again. It needs Debian's
Chromium, and measures the three models of the README unless DIR has them.
"""

from __future__ import annotations

import argparse
import json
import runpy
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).parents[1]
KEPT = ROOT / ".ci" / "pictures.json"
COMMAND = "python .ci/pictures.py"
_DIGESTS = runpy.run_path(str(Path(__file__).with_name("sources.py")))
_ANALYSIS = "analysis/compbench_analysis"
SOURCES = {
    "docs/emoji.png": (
        "compbench/tasks/emoji.py",
        "compbench/tasks/drawings/canvases.py",
        "compbench/tasks/places.py",
        "compbench/tasks/gallery.py",
    ),
    "docs/made.png": ("compbench/tasks/gallery.py", "tests/benchmarks/selfbench.py"),
    "docs/per_tag.png": (f"{_ANALYSIS}/figures/plots.py", f"{_ANALYSIS}/figures/style.py"),
    "docs/report.png": (
        f"{_ANALYSIS}/report/*.py",
        f"{_ANALYSIS}/report/templates/*",
        f"{_ANALYSIS}/text/verdict.py",
    ),
}
_DRAWN = ("object-047-twemoji", "relation-091-twemoji", "relation-126-noto", "both-216-noto")
_MADE = ("object-006-twemoji", "relation-091-twemoji", "both-216-twemoji")
_MAKERS = ("emoji-sd", "emoji-flow")
_MODELS = ("tiny-sd", "tiny-clip", "chance")
_SIZE = {"width": 1160, "height": 1070}


def state() -> dict[str, dict[str, str]]:
    """For each picture its digest and that of its sources, as they are now."""
    return {
        picture: {
            "picture": _DIGESTS["digest"]([(ROOT / picture).read_bytes()]),
            "sources": _DIGESTS["digest_of"](globs),
        }
        for picture, globs in SOURCES.items()
    }


def stale() -> list[str]:
    """The pictures that were changed by hand, or whose sources have changed since they were made."""
    kept, now = json.loads(KEPT.read_text(encoding="utf-8")), state()
    return [picture for picture in now if kept.get(picture) != now[picture]]


def make(runs: Path) -> None:
    import compbench
    from compbench_analysis.figures import plots

    measured = [compbench.run("shapes", model=model, runs=runs) for model in _MODELS]
    figure = plots.per_tag_bars(compbench.tidy(measured), footer=True)
    figure.savefig(ROOT / "docs" / "per_tag.png", dpi=110, bbox_inches="tight")
    _draw_examples()
    _draw_made(runs / "made")
    page = compbench.report(measured, runs / "report.html")
    _photograph(page, ROOT / "docs" / "report.png")
    KEPT.write_text(json.dumps(state(), indent=2) + "\n", encoding="utf-8")


def _draw_examples() -> None:
    from compbench.tasks.emoji import emoji
    from compbench.tasks.gallery import contact_sheet

    examples = [example for example in emoji().examples if example.id in _DRAWN]
    sheet = contact_sheet(examples, len(_DRAWN)).resize((834, 498))
    sheet.quantize(128).save(ROOT / "docs" / "emoji.png", optimize=True)


def _draw_made(folder: Path) -> None:
    """Pictures that the small diffusion models make of captions of `emoji`, one model beside the other."""
    sys.path.append(str(ROOT))
    from compbench.core.examples import Image
    from compbench.tasks.emoji import emoji
    from compbench.tasks.gallery import contact_sheet
    from tests.benchmarks.selfbench import Making, made_set

    chosen = [example for example in emoji().examples if example.id in _MADE]
    cards = []
    for example in chosen:
        for maker in _MAKERS:
            place = made_set([[example]], maker, folder / example.id / maker, Making(steps=25, guidance=3.0, seed=0))
            images = tuple(Image(f"{k}", place / f"{example.id}-{k}.png") for k in range(2))
            cards.append(replace(example, id=f"by {maker}", images=images, tags={}))
    sheet = contact_sheet(cards, len(cards))
    width = 834
    sheet.resize((width, sheet.height * width // sheet.width)).quantize(128).save(ROOT / "docs/made.png", optimize=True)


def _photograph(page: Path, picture: Path) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        shown = browser.new_page(viewport=_SIZE, color_scheme="light")
        shown.goto(page.absolute().as_uri())
        shown.screenshot(path=picture)
        browser.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, help="a folder of runs to read or to measure in")
    given = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        make(given or Path(folder))
