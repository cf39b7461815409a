"""The differences between the runs of a model, in a reader's words: "racing, 100 draws", "paper protocol", "seed 1"."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

__all__ = ["flat", "in_words", "told_apart"]

_LETTERS = 12  # of a commit or a digest
_SIGNS = re.compile(r"[_=\[\]{}'\"]+")  # of code
_LOSSES = {"l1": "absolute errors", "l2": "squared errors", "norm": "rooted errors", "huber": "Huber errors"}


def told_apart(settings: Sequence[Mapping[str, object]]) -> list[list[str]]:
    """For each of the nested `settings` the words for those that differ among them; none where nothing does.

    >>> told_apart([{"seed": 0}, {"seed": 0, "schedule": {"kind": "racing", "n_draws": 100}}])
    [['every draw'], ['racing']]
    """
    told = [flat(entry) for entry in settings]
    unlike = [name for name in dict.fromkeys(name for words in told for name in words) if _differs(name, told)]
    return [[words for name in unlike if (words := _said(name, entry))] for entry in told]


def in_words(name: str, value: object) -> str:
    """A setting of a measurement as a reader would say it; one that we do not know by the words of its name.

    >>> in_words("schedule.n_draws", 1000), in_words("dtype", "float16"), in_words("prompt.n_words", [3, 4])
    ('1,000 draws', 'float16', 'n words 3, 4')
    """
    if (say := _WORDS.get(name)) is not None:
        return say(value)
    last = _plain(name.rpartition(".")[2])
    if isinstance(value, bool):
        return last.removeprefix("is ") if value else f"not {last.removeprefix('is ')}"
    return f"{last} {_plain(value)}"


def flat(values: Mapping[str, object]) -> dict[str, object]:
    """Nested names joined by a dot."""
    found: dict[str, object] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= {f"{name}.{inner}": leaf for inner, leaf in flat(value).items()}  # pyright: ignore[reportUnknownArgumentType]
        else:
            found[name] = value
    return found


def _differs(name: str, told: Sequence[Mapping[str, object]]) -> bool:
    """Whether a setting tells some apart; one of a schedule only where it does among schedules of one kind."""
    if not name.startswith("schedule.") or name == _KIND:
        return len({str(entry.get(name)) for entry in told}) > 1
    kinds = {str(entry.get(_KIND)) for entry in told}
    return any(len({str(entry.get(name)) for entry in told if str(entry.get(_KIND)) == kind}) > 1 for kind in kinds)


def _said(name: str, one: Mapping[str, object]) -> str:
    return in_words(name, one[name]) if name in one else _ABSENT.get(name, "")


def _plain(value: object) -> str:
    """Without the marks of code: lists as a sentence lists, no underscores."""
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value))
    return f"{value:,}" if isinstance(value, int) else "none" if value is None else _SIGNS.sub(" ", str(value)).strip()


def _put(pattern: str) -> Callable[[object], str]:
    return lambda value: pattern.format(_plain(value))


def _one_of(words: Mapping[str, str], otherwise: str = "{}") -> Callable[[object], str]:
    return lambda value: words.get(str(value)) or otherwise.format(_plain(value))


def _losses(value: object) -> str:
    names = [str(name) for name in value] if isinstance(value, list) else [str(value)]
    return " and ".join(_LOSSES.get(name, _plain(name)) for name in names)


def _digest(pattern: str) -> Callable[[object], str]:
    def say(value: object) -> str:
        where, _, last = str(value).rpartition("@" if "@" in str(value) else ":")
        return pattern.format(last[:_LETTERS] if where else _plain(value))

    return say


_KIND = "schedule.kind"
_ABSENT = {
    _KIND: "every draw",
    "noise": "independent noise",
    "reductions": "squared errors",
    "kept": "every error",
    "vae_dtype": "autoencoder as it is",
    "lora": "no LoRA",
    "quantized": "unquantized",
}
_WORDS: Mapping[str, Callable[[object], str]] = {
    "seed": lambda value: f"seed {value}",
    "protocol": _put("{} protocol"),
    "family": _put("{}"),
    "dtype": _put("{}"),
    "vae_dtype": _put("autoencoder in {}"),
    "reductions": _losses,
    "noise": _one_of({"antithetic-2": "antithetic noise", "per-image": "noise of each image"}, "{} noise"),
    "size_px": _put("{} px"),
    "rgb": _one_of({"first": "RGB before resizing"}, "RGB {}"),
    "kept": _one_of({"scores": "scores alone"}, "{} kept"),
    "predicts": _put("predicts {}"),
    "without": _put("without {}"),
    "lora": _digest("LoRA {}"),
    "weights": _digest("weights {}"),
    "task": _digest("task {}"),
    "c": _put("C {}"),
    "n_per_class": _put("{} pictures per class"),
    "training": _digest("training pictures {}"),
    "draws": _put("{} draws"),
    "target": _put("{} target"),
    "loss": _losses,
    "unconditional": _one_of({"True": "less the score without a caption", "False": "plain scores"}),
    "train_per_class": _put("learned from {} per class"),
    "epochs": _put("{} epochs"),
    "steps": _put("{} steps"),
    "guidance_scale": _put("guidance {}"),
    _KIND: _one_of({"paper": "the paper's stages"}),
    "schedule.n_draws": _put("{} draws"),
    "schedule.target": _put("{} errors"),
    "schedule.reduction": _losses,
    "schedule.risk": _put("risk {}"),
    "schedule.bound": _put("{} bound"),
    "schedule.limit": _put("differences up to {}"),
    "schedule.outcomes": _put("races for {}"),
    "schedule.seed": lambda value: f"order of seed {value}",
    "schedule.n_strata": _put("{} strata"),
    "schedule.allocation": lambda value: "a pilot's shares",
    "schedule.together": _one_of({"2": "pairs of draws"}, "{} draws together"),
    "schedule.n_wave": _put("first wave of {}"),
    "schedule.tolerance": _put("tolerance {}"),
    "schedule.decisive": _put("{} decisive draws"),
    "schedule.to_keep": _put("keeps {}"),
    "schedule.n_samples": _put("stages of {}"),
}
