"""Text from data as it may be shown: nothing in it moves a cursor, breaks a line or starts a formula.

Names of classes, captions and tags come from files that anybody may have written. What a terminal, a table or a
spreadsheet would act upon is written out (`\\x1b`) instead.
"""

from __future__ import annotations

import re
import sys
import unicodedata

__all__ = ["UNSAFE", "escaped", "from_cell", "printable", "say", "to_cell", "width"]

# control characters, line and paragraph separators, marks that change the direction of writing, halves of surrogates
UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_FORMULA = re.compile("'*[=+\\-@\t\r＝＋－＠]")  # what a spreadsheet takes for the beginning of a formula
_ESCAPED = re.compile("'+[=+\\-@\t\r＝＋－＠]")
_NUMBER = re.compile(r"[+-]?(\d[\d,]*\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-](inf|nan)")


def printable(text: str) -> str:
    """The text on one line, with what a terminal would act upon written as an escape.

    >>> printable("red\\x1b[31m\\n\\u202etxt")
    'red\\\\x1b[31m\\\\n\\\\u202etxt'
    >>> printable("pâté, 猫")
    'pâté, 猫'
    """
    return UNSAFE.sub(lambda found: escaped(found[0]), text)


def say(message: str) -> None:
    """Print one line to stderr; a closed or full stderr is ignored, since it must not end a run."""
    try:
        print(printable(message), file=sys.stderr, flush=True)
    except (OSError, ValueError, AttributeError):
        return


def width(text: str) -> int:
    """The number of columns that the text takes on a terminal.

    >>> width("cat"), width("猫"), width("e\\u0301")
    (3, 2, 1)
    """
    if text.isascii():
        return len(text)
    return sum(_columns(letter) for letter in text)


def to_cell(text: str) -> str:
    """The text as a cell of a CSV file: never the beginning of a formula. Numbers stay numbers.

    An apostrophe in front marks text in every spreadsheet; `from_cell` takes it away again.

    >>> to_cell("=1+2"), to_cell("-0.25"), to_cell("'=1"), to_cell("cat")
    ("'=1+2", '-0.25', "''=1", 'cat')
    """
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def from_cell(text: str) -> str:
    """Undo `to_cell`.

    >>> [from_cell(to_cell(text)) for text in ("=1+2", "-0.25", "'=1", "'tis", "''")]
    ['=1+2', '-0.25', "'=1", "'tis", "''"]
    """
    return text[1:] if _ESCAPED.match(text) and not _NUMBER.fullmatch(text) else text


def escaped(letter: str) -> str:
    """The letter as Python writes it in plain ASCII: \\x1b, \\u202e."""
    return letter.encode("unicode_escape", "surrogatepass").decode("ascii")


def _columns(letter: str) -> int:
    if unicodedata.combining(letter) or unicodedata.category(letter) in ("Cf", "Me", "Mn"):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1
