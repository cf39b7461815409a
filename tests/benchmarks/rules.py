"""Scoring rules and protocols side by side: `python -m tests.benchmarks.rules --runs DIR [--model NAME]`.

Each small diffusion model is measured on the task whose words it knows, in a run for each protocol, and the CLIP of
that task beside it. Every way of reading these runs becomes a row of docs/rules.csv, of which `python .ci/tables.py`
makes the tables of docs/rules.md. A row also holds the outcomes of a few examples, by which
`tests/house/test_measured_tables.py` notices that they are no longer what is measured. What DIR holds already is not
measured again, and the rows of models that are not named stay as they are.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import compbench
from compbench.store.reading import settings_of

__all__ = ["CLIPS", "MODELS", "N_PROBED", "RULES", "Row", "measured", "read_rows", "write_rows"]

ROWS = Path(__file__).parents[2] / "docs" / "rules.csv"
MODELS = {"tiny-sd": "shapes", "emoji-sd": "emoji", "emoji-flow": "emoji"}  # the task whose words each knows
CLIPS = {"tiny-clip": "shapes", "emoji-clip": "emoji"}
N_EXAMPLES = {
    "shapes": {"rules": 200, "gain": 200, "protocols": 100},
    "emoji": {"rules": 240, "gain": 240, "protocols": 120},
}
N_PROBED = 16  # examples whose outcomes a row holds

RULES = (  # beyond the own rule of a run of protocol compbench
    "target=eps",
    "target=v",
    "target=flow",
    "target=x0",
    "weight=elbo",
    "weight=truncated",
    "weight=min-snr-5",
    "weight=exp(-7t)",
    "weight=sigma-sqrt",
    "weight=cosmap",
    "weight=learned:0.2",
    "loss=norm",
    "loss=l1",
    "loss=huber",
    "guidance=3",
    "guidance=7.5",
    "timesteps=0:333",
    "timesteps=333:666",
    "timesteps=666:999",
    "timesteps=::2",
    "draws=4",
)
_PLAIN, _GAIN = "unconditional=false", "unconditional=true"
_SCORES = ("text", "image", "group")
_ALL = "unconditional=true also=l1+huber guidance=3"  # that rules read


@dataclass(frozen=True, slots=True)
class Row:
    """One way of reading one run; shares in percent."""

    model: str
    task: str
    table: str  # rules, gain, protocols
    measured: str  # options of `compbench run`
    read: str  # options of `compbench show`
    n: int
    text: float
    image: float
    group: float
    outcomes: str  # of N_PROBED examples, each 1 for text and 2 for image; empty where all examples decide them


def runs_of(model: str) -> Mapping[str, Sequence[tuple[str, str]]]:
    """The options of each run of a model, and the ways of reading it, each with its table."""
    if model in CLIPS:
        return {"": [("rules", ""), ("protocols", "")]}
    readings = ["guidance=none", *(rule if "guidance" in rule else f"guidance=none {rule}" for rule in RULES)]
    plain, gains = ([f"{images} {reading}" for reading in readings] for images in (_PLAIN, _GAIN))
    of_rules = [("rules", reading) for reading in (*plain, f"{_PLAIN} guidance=none normalise=captions")]
    own = [("protocols", plain[0]), ("protocols", gains[0])]
    runs = {_ALL: [*of_rules, *(("gain", reading) for reading in gains), *own]}
    if model != "emoji-flow":  # DiffusionITM's is a protocol of Stable Diffusion 1 and 2
        stepped = (_PLAIN, f"{_PLAIN} loss=l2", _GAIN, f"{_GAIN} loss=l2")
        runs["protocol=diffusion-itm unconditional=true"] = [("protocols", reading) for reading in stepped]
    runs["protocol=self-bench"] = [("protocols", reading) for reading in ("", "loss=l2")]
    runs["protocol=paper draws=16 unconditional=true"] = [("protocols", reading) for reading in (_PLAIN, _GAIN)]
    return runs


def measured(model: str, folder: Path, limit: int | None = None) -> Iterator[Row]:
    """The rows of a model, of `limit` of its examples; its runs are stored in a folder."""
    task = (MODELS | CLIPS)[model]
    for options, readings in runs_of(model).items():
        given: dict[str, Any] = dict(option.split("=", 1) for option in options.split())
        n_of = {table: limit or N_EXAMPLES[task][table] for table, _ in readings}
        run = compbench.run(task, model=model, options=given, limit=max(n_of.values()), runs=folder)
        for table, reading in readings:
            read = run.read(limit=n_of[table], **settings_of(reading.split()))
            frame = read.to_frame()
            text, image, group = (round(100 * float(frame[score].to_numpy(bool).mean()), 2) for score in _SCORES)
            outcomes = "" if "learned" in reading else _outcomes(read)
            yield Row(model, task, table, options, reading, len(frame), text, image, group, outcomes)


def _outcomes(run: compbench.Run) -> str:
    frame = run.read(limit=N_PROBED).to_frame()
    return "".join(map(str, frame["text"].to_numpy(int) + 2 * frame["image"].to_numpy(int)))


def read_rows(path: Path = ROWS) -> list[Row]:
    with path.open(encoding="utf-8", newline="") as file:
        return [_typed(row) for row in csv.DictReader(file)]


def _typed(row: dict[str, str]) -> Row:
    values: dict[str, Any] = {**row, "n": int(row["n"]), **{name: float(row[name]) for name in _SCORES}}
    return Row(**values)


def write_rows(rows: Sequence[Row], path: Path = ROWS) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(Row.__annotations__), lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, required=True, help="a folder of runs to read or to measure in")
    names = [*MODELS, *CLIPS]
    parser.add_argument("--model", action="append", dest="models", choices=names, help="repeat it; none: all")
    given = parser.parse_args()
    by_model = {name: [row for row in read_rows() if row.model == name] for name in names} if ROWS.exists() else {}
    for model in given.models or names:
        by_model[model] = list(measured(model, given.runs))
        write_rows([row for name in names for row in by_model.get(name, [])])


if __name__ == "__main__":
    main()
