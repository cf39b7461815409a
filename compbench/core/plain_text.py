"""Text as editors and spreadsheets save it: UTF-8 with or without a byte-order mark, UTF-16 with one."""

from __future__ import annotations

import codecs

from compbench.core.errors import DataError

__all__ = ["decoded", "half_character"]

_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def half_character(text: str) -> str | None:
    """The first half of a surrogate pair, as "U+D800", which UTF-8 cannot hold; None where there is none.

    >>> half_character("naïve"), half_character("a\\ud800")
    (None, 'U+D800')
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"U+{ord(text[error.start]):04X}"
    return None


def decoded(content: bytes, where: str) -> str:
    """The text without a byte-order mark; DataError names the line of `where` that cannot be read.

    >>> decoded("naïve".encode("utf-16"), "a.txt"), decoded(b"\\xef\\xbb\\xbfplain", "b.txt")
    ('naïve', 'plain')
    """
    encoding = "utf-16" if content.startswith(_UTF16) else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        name = encoding.upper().removesuffix("-SIG")
        raise DataError(
            f"line {line} of {where!r} cannot be read as {name} ({error.reason}); save the file as UTF-8"
        ) from error
