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

__all__ = ["main"]


def main(twitter: str, google: str) -> None:
    """Write one sheet per artist."""
    for artist, folder in (("Twemoji", twitter), ("Noto", google)):
        pictures = [PIL.Image.open(Path(folder) / f"{drawing.code}.png") for drawing in sheets.DRAWINGS]
        n_rows = -(-len(pictures) // sheets.PER_ROW)
        sheet = PIL.Image.new("RGBA", (sheets.PER_ROW * sheets.SIDE_PX, n_rows * sheets.SIDE_PX))
        for number, picture in enumerate(pictures):
            sheet.paste(picture.convert("RGBA"), sheets.box_of(number)[:2])
        sheet.save(sheets.path_of(artist), optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
