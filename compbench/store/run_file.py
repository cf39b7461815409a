"""run.json: what a run says of itself, with a checksum, every field of its type and range.

Files of older versions have no checksum; their key has to fit the name of their folder all the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from compbench.core import disk
from compbench.core.aliases import Json
from compbench.core.errors import RunError, UsageError
from compbench.core.rules import VIEW_KEYS, Rule
from compbench.schedules.schedule import Full, schedule_in
from compbench.schedules.wave import Wave
from compbench.store import _damage, _sealed
from compbench.store._damage import Damaged
from compbench.store.key import RunKey
from compbench.store.run_info import RunInfo

__all__ = ["COMPACTED", "FORMAT", "NAME", "DamagedRun", "read", "words", "write"]

FORMAT = 2  # of the files in a run's folder
COMPACTED = 3  # of a run whose small parts were put together; a reader refuses a newer one
NAME = "run.json"
STATUSES = ("running", "done", "partial", "interrupted", "failed")
_DIGEST = re.compile(r"[0-9a-f]{12}")


class DamagedRun(RunError):
    """A run.json that cannot be believed; the command that made the run rewrites it, the parts stay."""


def read(folder: Path) -> RunInfo:
    """The contents of run.json in `folder`; RunError when it is damaged, of a newer format or of another folder."""
    return _checked(folder, _content(folder))


def words(folder: Path) -> dict[str, Any]:
    """The raw contents of run.json, for a caller that rewrites it; checked as `read` checks it."""
    content = _content(folder)
    _checked(folder, content)
    return _sealed.unchecked(content)


def _content(folder: Path) -> bytes:
    path = folder / NAME
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise DamagedRun(f"{str(path)!r} is missing: {_CURE}") from error
    except OSError as error:
        raise RunError(f"{str(path)!r} cannot be read ({error.strerror or error}): make it readable") from error


@lru_cache(32)  # a run is asked for its rule and its status again and again
def _checked(folder: Path, content: bytes) -> RunInfo:
    """RunError where the bytes are not a run.json that can be believed."""
    try:
        info = _sealed.opened(content)
    except Damaged as error:
        raise DamagedRun(_of_damage(folder, content, str(error))) from error
    number = info.get("format")
    if isinstance(number, int) and number > COMPACTED:
        raise RunError(f"run {str(folder)!r} was {_newer(number)}: upgrade compbench")
    if unknown := _first_unknown(info):
        if _sealed.is_sealed(content):
            raise RunError(f"run {str(folder)!r} has {unknown}: it was written by a newer compbench; upgrade compbench")
        raise DamagedRun(_of_damage(folder, content, f"it has {unknown}"))
    if wrong := _first_wrong(info, _FIELDS):
        raise DamagedRun(_of_damage(folder, content, wrong))
    _check_place(folder, info, is_sealed=_sealed.is_sealed(content))
    return RunInfo.of(info)


def write(folder: Path, info: Mapping[str, Json]) -> None:
    """Replace run.json."""
    disk.write_json(folder / NAME, _sealed.sealed(info))


_CURE = "rerun the command that made the run, which rewrites it; the measurements are kept"


def _of_damage(folder: Path, content: bytes, why: str) -> str:
    """A newer version that seals its files in another way is told from damage by its number alone."""
    found = re.search(rb'"format":\s*(\d{1,9})\b', content)
    number = int(found[1]) if found else 0
    if number > COMPACTED:
        what = f"run {str(folder)!r} was {_newer(number)}, or its run.json is damaged ({why})"
        return f"{what}: upgrade compbench, or {_CURE}"
    return _damage.said(folder / NAME, why, _CURE)


def _newer(number: int) -> str:
    return f"written by a newer compbench (format {number}, this one reads up to {COMPACTED})"


def _check_place(folder: Path, info: Mapping[str, Any], *, is_sealed: bool) -> None:
    """A folder that is named by a digest holds the run of that digest; one that was renamed cannot be checked."""
    digest, name = RunKey(**info["key"]).digest, folder.absolute().name
    if not _DIGEST.fullmatch(name) or digest == name:
        return
    what = f"{str(folder / NAME)!r} has the key of run {digest}, and its folder is that of run {name}"
    if is_sealed:
        raise RunError(f"{what}: it was copied from the other run; restore the right one, or rename the folder")
    raise RunError(
        f"{what}: it was changed, or copied from the other run. Restore the right one; if only this file was "
        f"changed, remove it and rerun the command that made the run, which keeps the measurements"
    )


Check = Callable[[Any], bool]


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_index(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_time(value: Any) -> bool:
    try:
        return isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


def _is_mapping(value: Any) -> bool:
    return isinstance(value, dict)


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _maybe(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _list_of(check: Check) -> Check:
    return lambda value: isinstance(value, list) and all(map(check, value))


def _mapping_of(check: Check) -> Check:
    return lambda value: isinstance(value, dict) and all(map(check, value.values()))


def _is_view(value: Any) -> bool:
    if not isinstance(value, dict) or not _maybe(_is_count)(value.get("n_draws")):
        return False
    if not _is_bool(value.get("unconditional", False)):
        return False
    try:
        Rule.of_view(value)
    except UsageError:
        return False
    return True


def _is_measurement(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    try:
        schedule = schedule_in(value)
        return isinstance(schedule, Full) or _is_count(schedule.draws)
    except (TypeError, ValueError, AttributeError):
        return False


def _is_wave(value: Any) -> bool:
    try:
        return bool(Wave.of_json(value).ids)
    except (TypeError, ValueError, KeyError):
        return False


def _all_of(fields: Mapping[str, tuple[bool, Check, str]]) -> Check:
    return lambda value: isinstance(value, dict) and not _first_wrong(value, fields)


def _first_wrong(values: Mapping[str, Any], fields: Mapping[str, tuple[bool, Check, str]]) -> str:
    """The fault of the first wrong field in words, "" where all is well."""
    for name, (is_needed, check, expected) in fields.items():
        if name not in values:
            if is_needed:
                return f"it lacks {name!r}"
        elif not check(values[name]):
            return f"{name} cannot be {str(values[name])[:60]!r}; expected {expected}"
    return ""


# name -> whether it is in every run.json, what it has to be, in words
_KEY = {
    "task": (True, _is_text, "a name"),
    "task_revision": (True, _is_text, "a digest"),
    "model": (True, _is_text, "a label"),
    "weights": (True, _maybe(_is_text), "a commit or digest, or null"),
    "measurement": (True, _is_measurement, "a model's identity"),
}


def _is_key(value: Any) -> bool:
    return _all_of(_KEY)(value) and value.keys() == _KEY.keys()


def _is_status(value: Any) -> bool:
    return isinstance(value, str) and value in STATUSES


_CLASSES = {
    "names": (True, _list_of(_is_text), "names"),
    "of_caption": (True, _list_of(_is_index), "whole numbers"),
    "label_space": (True, _is_text, "a name"),
    "labels": (True, _maybe(_list_of(_is_index)), "whole numbers, or null"),
}
_TASK = {
    "description": (False, _is_text, "a text"),
    "citation": (False, _is_text, "a text"),
    "origin": (False, _is_text, "a text"),
    "is_gated": (True, _is_bool, "true or false"),
    "tag_order": (False, _mapping_of(_list_of(_is_text)), "lists of tags"),
    "metrics": (True, _list_of(_is_text), "names of metrics"),
    "classes": (False, _maybe(_all_of(_CLASSES)), "classes, or null"),
}
_PILOT = {
    "run": (True, _is_text, "a run"),
    "n_examples": (True, _is_index, "a whole number"),
    "n_evaluations": (True, _is_index, "a whole number"),
    "n_raced": (True, _is_index, "a whole number"),
}
_MODEL = {
    "label": (False, _is_text, "a name"),
    "imported": (False, _is_text, "the name of a file"),
    "options": (False, _is_mapping, "options"),
    "citation": (False, _is_text, "a text"),
    "source": (False, _maybe(_is_mapping), "where its weights are from, or null"),
    "pilot": (False, _maybe(_all_of(_PILOT)), "a pilot, or null"),
    "form": (False, _list_of(_is_text), "names of columns"),
}
_FIELDS = {
    "format": (True, _is_count, "a whole number, at least 1"),
    "key": (True, _is_key, "a run's key"),
    "status": (True, _is_status, f"one of {', '.join(STATUSES)}"),
    "view": (True, _is_view, "how the run is read"),
    "n_task_examples": (True, _is_count, "a whole number, at least 1"),
    "limit": (False, _maybe(_is_count), "a whole number, at least 1, or null"),
    "created": (False, _is_time, "a time with its zone"),
    "updated": (True, _is_time, "a time with its zone"),
    "compbench": (True, _is_text, "a version"),
    "task": (True, _all_of(_TASK), "a task"),
    "model": (True, _all_of(_MODEL), "a model"),
    "files": (False, _mapping_of(_is_text), "digests by file"),
    "wave": (False, _is_wave, "the first wave of a race"),
    "sharded": (False, _maybe(_is_mapping), "what shards were asked for, or null"),
}


def _first_unknown(info: Mapping[str, Any]) -> str:
    """The first entry that this version does not know, with those it knows; "" where there is none."""
    known = {"": _FIELDS, "view": VIEW_KEYS, "task": _TASK, "model": _MODEL}
    for part, names in known.items():
        entries = info.get(part) if part else info
        if isinstance(entries, dict) and (unknown := sorted(entries.keys() - set(names))):
            where = f" in its {part}" if part else ""
            return f"the unknown entry {unknown[0]!r}{where}; expected some of {', '.join(names)}"
    return ""
