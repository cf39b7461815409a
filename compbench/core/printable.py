"""Text from data as it may be shown: nothing in it moves a cursor, breaks a line or starts a formula.

Names of classes, captions and tags come from files that anybody may have written. What a terminal, a table or a
spreadsheet would act upon is written out (`\\x1b`) instead.
"""

from __future__ import annotations

import re
import shutil
import sys
import unicodedata
from collections.abc import Iterator

__all__ = [
    "UNSAFE",
    "escaped",
    "from_cell",
    "padded",
    "printable",
    "say",
    "screen_width",
    "to_cell",
    "width",
    "wrapped",
]

# control characters, line and paragraph separators, marks that change the direction of writing, halves of surrogates
UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_FORMULA = re.compile("'*[=+\\-@\t\r＝＋－＠]")  # what a spreadsheet takes for the beginning of a formula
_ESCAPED = re.compile("'+[=+\\-@\t\r＝＋－＠]")
_JOINT = re.compile(r"(?<=[|/,;=+_.-])(?=[^|/,;=+_.-])")  # where a word that is too long is best cut
_WORD = re.compile(r"\[[^\[\]\s]+, [^\[\]\s]+\]\S*|\S+")  # an interval is one word
_NARROWEST = 40  # columns: a screen that claims fewer is written to as if it had so many
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
    """Print one line to stderr, on a terminal as many as it takes; a closed or full stderr must not end a run."""
    try:
        text = printable(message)
        shown = "\n".join(wrapped(text, screen_width())) if sys.stderr.isatty() else text
        print(shown, file=sys.stderr, flush=True)
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


def padded(text: str, n_columns: int, side: str = "l") -> str:
    """The text with spaces up to so many columns, on the right or, for side "r", on the left.

    >>> padded("猫", 4), padded("7.5", 5, "r")
    ('猫  ', '  7.5')
    """
    space = " " * (n_columns - width(text))
    return space + text if side == "r" else text + space


def screen_width() -> int:
    """The number of columns of the terminal; COLUMNS where that is set, 80 where there is no terminal."""
    return max(shutil.get_terminal_size((80, 24)).columns, _NARROWEST)


def wrapped(text: str, n_columns: int, indent: str = "") -> list[str]:
    """The text in lines of at most so many columns, cut between words; all lines but the first start with `indent`.

    A word that is too long is cut behind a sign that joins its parts, and within a part only where that is too long.

    >>> wrapped("pictures are matched with captions", 16)
    ['pictures are', 'matched with', 'captions']
    >>> wrapped("see runs/shapes/tiny-sd/5af22e8e27e1", 18, "  ")
    ['see runs/shapes/', '  tiny-sd/', '  5af22e8e27e1']
    """
    if width(text) <= n_columns:
        return [text]
    lead = text[: len(text) - len(text.lstrip(" "))]
    lines, line = list[str](), lead
    for word in _WORD.findall(text):
        for part, glue in _parts(word, max(1, n_columns - len(lead) - len(indent))):
            if line.strip() and width(line) + len(glue) + width(part) > n_columns:
                lines.append(line)
                line = lead + indent + part
            else:
                line += (glue if line.strip() else "") + part
    return [*lines, line]


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


def _parts(word: str, n_columns: int) -> Iterator[tuple[str, str]]:
    """The word in pieces of at most so many columns, each with what stands before it on the line."""
    glue = " "
    for part in _JOINT.split(word) if width(word) > n_columns else [word]:
        while part:
            n = len(part)
            while n > 1 and width(part[:n]) > n_columns:
                n -= 1
            yield part[:n], glue
            part, glue = part[n:], ""


def _columns(letter: str) -> int:
    if unicodedata.combining(letter) or unicodedata.category(letter) in ("Cf", "Me", "Mn"):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1
