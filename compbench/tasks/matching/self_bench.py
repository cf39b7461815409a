"""Self-Bench's pictures: what Stable Diffusion made of GenEval's prompts, to be told among all prompts of their kind.

`self-bench-sd2+correct` asks the pictures that show their prompt by the authors' labels. These are spelled in three
ways: a label, a list of labels of which all must be good, and for SD 3 a list of which one must be.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from compbench.core.errors import DataError
from compbench.core.models import Source
from compbench.tasks._reading.texts import read_text
from compbench.tasks.matching._suite import OFFICIAL, Fields, Protocol, Suite
from compbench.tasks.matching._suite_rows import KEY, PLACE, SPLIT, Found, Row

__all__ = ["SELF_BENCH_SD1_5", "SELF_BENCH_SD2", "SELF_BENCH_SD3_M"]

_TAGS = ("single_object", "two_object", "counting", "colors", "position", "color_attr")
_N_SAMPLES = 4
_SIDES = ("", "Self-Bench-Upload", "Self-Bench")
_PROMPTS = "prompts/zero_shot_prompts.json"


@dataclass(frozen=True, slots=True)
class GeneratedPictures:
    """`9.0/MODEL/ID/metadata.jsonl` beside `samples/00000.png` to `00003.png`, prompts and labels."""

    model: str
    labels: str  # the file of labels
    is_any_enough: bool = False  # of a picture's labels
    guidance: str = "9.0"

    @property
    def patterns(self) -> tuple[str, ...]:
        pictures = f"*{self.guidance}/{self.model}/*"
        return (f"{pictures}/metadata.jsonl", f"{pictures}/samples/*.png", f"*{_PROMPTS}", f"*{self._label_file}")

    @property
    def expected(self) -> str:
        return f"{self.guidance}/{self.model}/ID/metadata.jsonl and samples/*.png, {_PROMPTS} and {self._label_file}"

    @property
    def _label_file(self) -> str:
        return f"filter/{self.labels}"

    def read(self, place: Path) -> Found | None:
        root = next((place / side for side in _SIDES if (place / side / self.guidance / self.model).is_dir()), None)
        if root is None:
            return None
        prompts_file, label_file = _beside(root, _PROMPTS), _beside(root, self._label_file)
        if prompts_file is None:
            raise DataError(f"{str(root)!r} lacks {_PROMPTS}; expected {self.expected}")
        prompts = _json(prompts_file).get("photo")
        labels = {} if label_file is None else self._labels(_json(label_file), label_file)
        rows: list[Row] = []
        files = [prompts_file, *([label_file] if label_file else [])]
        for folder in sorted((root / self.guidance / self.model).iterdir(), key=lambda folder: folder.name):
            file = folder / "metadata.jsonl"
            if file.is_file():
                files.append(file)
                rows += self._rows(_json(file), file, prompts, labels, place)
        return Found(rows, tuple(files))

    def _rows(
        self, made: Mapping[str, Any], file: Path, prompts: Any, labels: Mapping[str, bool], place: Path
    ) -> list[Row]:
        """A row for each of the samples."""
        where = f"{str(file)!r}"
        options = _options(made, prompts, where)
        own, prompt = file.parent.name, made.get("prompt")
        if prompt not in options:
            raise DataError(f"{where} has the prompt {prompt!r}, which is none of the {len(options)} of its kind")
        rows: list[Row] = []
        for number in range(_N_SAMPLES):
            sample = f"{own}/samples/{number:05d}.png"
            photo = (file.parent / "samples" / f"{number:05d}.png").relative_to(place).as_posix()
            row = {"photo": photo, "options": options, "right": options.index(prompt), "tag": made["tag"]}
            rows.append(
                {**row, "is_correct": labels.get(sample), KEY: f"{own}/{number}", SPLIT: "", PLACE: where, "own": own}
            )
        return rows

    def _labels(self, content: Any, file: Path) -> dict[str, bool]:
        """Sample, "ID/samples/00000.png" -> whether it shows its prompt."""
        if not isinstance(content, list):
            raise DataError(f"{str(file)!r} holds a {type(content).__name__}; expected a list of labels")
        found: dict[str, bool] = {}
        for entry in content:  # pyright: ignore[reportUnknownVariableType]
            path = entry.get("sample_path") if isinstance(entry, dict) else None
            if not isinstance(path, str):
                raise DataError(f"{str(file)!r} has {str(entry)[:60]!r}; expected a sample_path and its labels")
            found["/".join(PurePosixPath(path.replace("\\", "/")).parts[-3:])] = self._is_good(entry)
        return found

    def _is_good(self, entry: Mapping[str, Any]) -> bool:
        if "labels" not in entry:
            return entry.get("human_label") == "original_good"
        good = [label.get("label") == "original_good" for label in entry["labels"]]
        return any(good) if self.is_any_enough else bool(good) and all(good)


def _beside(root: Path, name: str) -> Path | None:
    """A file of the data set, which the repository keeps beside the folder of pictures or above it."""
    return next((place / name for place in (root, root.parent) if (place / name).is_file()), None)


def _options(made: Mapping[str, Any], prompts: Any, where: str) -> tuple[str, ...]:
    """All prompts that a picture of this kind could be of."""
    tag, things = made.get("tag"), [included.get("class") for included in made.get("include") or [{}]]
    try:
        kind = prompts[tag]
        if tag == "color_attr":
            found = kind[things[0]][things[1]]
        elif tag == "position":  # the second thing is what the sentence begins with
            found = kind[things[1]][things[0]]
        else:
            found = kind if isinstance(kind, list) else kind[things[0]]
    except (KeyError, IndexError, TypeError) as error:
        raise DataError(f"{where} is of {tag!r} with {things}, for which {_PROMPTS} has no list of prompts") from error
    return tuple(found)


def _json(file: Path) -> Any:
    try:
        return json.loads(read_text(file))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{str(file)!r} is not JSON ({error}); copy or fetch it again") from error


def _correct(rows: Sequence[Row]) -> Sequence[Row]:
    if all(row["is_correct"] is None for row in rows):
        raise DataError("no picture of Self-Bench has a label; expected the authors' file filter/SD-...-CFG=9.json")
    return [row for row in rows if row["is_correct"]]


def _of_model(name: str, model: str, folder: str, version: str, sizes: tuple[int, int]) -> Suite:
    whole, correct = sizes
    return Suite(
        name=f"self-bench-{name}",
        about=f"Self-Bench: {whole:,} pictures that {model} made of GenEval's prompts, each among all of its kind.",
        citation="""\
@article{jeong2025diffusion,
  title = {Diffusion Classifiers Understand Compositionality, but Conditions Apply},
  author = {Jeong, Yujin and Uselis, Arnas and Oh, Seong Joon and Rohrbach, Anna},
  journal = {arXiv preprint arXiv:2505.17955},
  year = {2025},
}
""",
        origin="the hub's eugene6923/Self-Bench (layout read in the authors' code at 47ac783)",
        licence="not established; pictures inside",
        n_published=whole,
        reader=GeneratedPictures(folder, f"SD-{version}-CFG=9.json", is_any_enough=version == "3-m"),
        fields=Fields(("photo",), ("options",), right="right", group="own", tags={"tag": "tag"}),
        protocols={
            OFFICIAL: Protocol("text is the accuracy over all prompts of a kind, of all pictures.", ("text",)),
            "correct": Protocol(
                "The same of the pictures that show their prompt by the authors' labels; some kinds have few.",
                ("text",),
                _correct,
                n_published=correct,
            ),
        },
        remote=Source("eugene6923/Self-Bench"),
        tag_order={"tag": _TAGS},
    )


_WHOLE = 320 + 396 + 320 + 376 + 400 + 400
SELF_BENCH_SD1_5 = _of_model("sd1.5", "SD 1.5", "stable-diffusion-v1-5", "1.5", (_WHOLE, 271 + 105 + 98 + 219 + 6 + 18))
SELF_BENCH_SD2 = _of_model("sd2", "SD 2.0", "stable-diffusion-2-base", "2.0", (_WHOLE, 271 + 129 + 111 + 263 + 19 + 36))
SELF_BENCH_SD3_M = _of_model(
    "sd3-m", "SD 3 medium", "stable-diffusion-3-medium-diffusers", "3-m", (_WHOLE, 314 + 306 + 230 + 314 + 113 + 252)
)
