"""The images that a run could not read, kept beside its parts, so that skipping is signed and repairs are noticed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from compbench.core import disk
from compbench.core.digests import digest_of
from compbench.store import _damage, _sealed
from compbench.store._damage import Damaged

__all__ = ["Unreadable", "read", "write"]

_NAME = "unreadable.json"


@dataclass(frozen=True, slots=True)
class Unreadable:
    """The unreadable images of a run and the examples that are not measured for it."""

    images: Mapping[str, str] = field(default_factory=dict[str, str])  # name -> its identity while it was unreadable
    examples: tuple[str, ...] = ()
    is_skipped: bool = False  # by choice: --skip-unreadable
    max_pixels: int | None = None  # what was allowed then

    @property
    def digest(self) -> str:
        """Eight hex digits of the names and contents."""
        return digest_of({"images": dict(self.images)}, 8)


def read(folder: Path, say: Callable[[str], None] = lambda message: None) -> Unreadable:
    """The images that the run in `folder` could not read; none where the file is missing, or damaged, which is said."""
    try:
        written = (folder / _NAME).read_bytes()
        if not _sealed.is_sealed(written):
            raise Damaged("it has no checksum")
        found = _sealed.opened(written)
        return Unreadable(found["images"], tuple(found["examples"]), found["is_skipped"], found["max_pixels"])
    except FileNotFoundError:
        return Unreadable()
    except (OSError, ValueError, KeyError, TypeError) as error:
        then = "the list of unreadable images is lost; rerun the command to rewrite it"
        say(_damage.said(folder / _NAME, error, then))
        return Unreadable()


def write(folder: Path, found: Unreadable) -> None:
    """Keep it, or remove the file where nothing is unreadable any more."""
    with disk.writing(folder):
        if found.examples:
            disk.write_json(folder / _NAME, _sealed.sealed({**asdict(found), "examples": list(found.examples)}))
        else:
            (folder / _NAME).unlink(missing_ok=True)
