"""Make the sheets of the task `emoji` from the two unpacked npm packages that hold the drawings.

    npm pack emoji-datasource-twitter@16.0.0 && tar xzf emoji-datasource-twitter-16.0.0.tgz
    npm pack emoji-datasource-google@16.0.0 && tar xzf emoji-datasource-google-16.0.0.tgz
    python -m compbench.tasks.drawings.from_packages package/img/twitter/64 package/img/google/64

A sheet holds the drawings of `compbench/tasks/drawings/drawings.csv` in its order, 64x64 px each, twelve in a row.
"""

from __future__ import annotations

import sys
from pathlib import Path

import PIL.Image

from compbench.tasks.drawings import sheets

__all__ = ["main", "sheet_of"]


def sheet_of(folder: Path) -> PIL.Image.Image:
    """The drawings of one artist, files named by their code points, side by side; RGBA."""
    n_rows = -(-len(sheets.DRAWINGS) // sheets.PER_ROW)
    sheet = PIL.Image.new("RGBA", (sheets.PER_ROW * sheets.SIDE_PX, n_rows * sheets.SIDE_PX))
    for number, drawing in enumerate(sheets.DRAWINGS):
        with PIL.Image.open(folder / f"{drawing.code}.png") as picture:
            sheet.paste(picture.convert("RGBA"), sheets.box_of(number)[:2])
    return sheet


def main(twitter: str, google: str) -> None:
    """Write one sheet per artist."""
    for artist, folder in zip(sheets.ARTISTS, (twitter, google), strict=True):
        sheet_of(Path(folder)).save(sheets.path_of(artist), optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
