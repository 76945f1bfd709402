"""Text from outside, as each kind of output can take it: a line, a page, JSON, Markdown, CSV, a plot.

Ids, classes, file names and reasons come from corpora, caches and runs of strangers. What would move
a terminal's cursor, turn the reading direction, open a table's cell or begin a formula is escaped.
"""

from __future__ import annotations

import codecs
import json
import re
import shlex
import unicodedata
from collections.abc import Iterable
from typing import Any

# Controls (C0, DEL, C1), line separators, marks of direction, what has neither ink nor width (not the
# joiners, which letters need), and surrogates, which no encoding takes.
_UNSAFE = (
    "\x00-\x1f\x7f-\x9f\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f"
)
_IN_A_LINE = re.compile(f"[{_UNSAFE}]")
_IN_A_PAGE = re.compile(f"(?![\n\t])[{_UNSAFE}]")
# An underline between letters or digits emphasises nothing.
_IN_MARKDOWN = re.compile(r"[\\`|*$\[\]]|(?<![^\W_])_|_(?![^\W_])")
# Of a line above a panel of a plot.
PLOT_CHARACTERS = 60
ESCAPED = "aftersound-escaped"
"""How an output writes what its encoding lacks: as JSON does."""
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # the wide ones too


def one_line(text: object) -> str:
    r"""Escape what is no printable character of a line, the end of a line too.

    >>> one_line("dog\x1b]0;x\x07\n")
    'dog\\x1b]0;x\\x07\\n'
    """
    return _IN_A_LINE.sub(_escaped, str(text))


def shell_word(path: object) -> str:
    r"""Write a path as a shell takes it, in a command that a message gives.

    >>> shell_word("my sounds.zarr"), shell_word("-run"), shell_word("it's\nnew")
    ("'my sounds.zarr'", './-run', "$'it\\'s\\x0anew'")
    """
    text = f"./{path}" if str(path).startswith("-") else str(path)  # else an option
    if not _IN_A_LINE.search(text):
        return shlex.quote(text)
    return f"$'{''.join(map(_in_a_shell, text))}'"


def _in_a_shell(character: str) -> str:
    """Write a character between the quotes of ``$'...'``, as its bytes where it is none of a line."""
    if character in "\\'":
        return f"\\{character}"
    if not _IN_A_LINE.match(character):
        return character
    errors = "surrogateescape" if "\udc80" <= character <= "\udcff" else "surrogatepass"
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", errors))


def page(text: object) -> str:
    """Escape as :func:`one_line` does, but keep ends of lines and tabs."""
    return _IN_A_PAGE.sub(_escaped, str(text))


_JOINERS = "\u200c\u200d"  # which tell words apart
_VARIANTS = re.compile("[\ufe00-\ufe0f]")  # a symbol as text or as a picture
# Apostrophes and hyphens that word processors and phones write in place of those of a keyboard.
_PLAIN_SIGNS = str.maketrans(
    "\u2018\u2019\u02bc\u00b4`\u2010\u2011\u2012\u2013\u2212", "'''''-----"
)


def visible(name: str) -> str:
    """A name in one Unicode form, without what shows nothing, such as marks of direction.

    >>> visible("\u200fש") == visible("ש")
    True
    """
    form = unicodedata.normalize("NFC", name)
    return "".join(c for c in form if c in _JOINERS or unicodedata.category(c) != "Cf").strip()


ALIKE = "differ in case, Unicode form, blanks, apostrophes, hyphens or unseen marks alone"
"""What is said of names that :func:`letters_alone` makes one."""


def letters_alone(name: str) -> str:
    """What is left of a name where case, Unicode form, blanks, typography and unseen marks do not count.

    >>> letters_alone("Ku\u0308ndigung ") == letters_alone("k\u00fcndigung")
    True
    """
    plain = _VARIANTS.sub("", visible(name)).translate(_PLAIN_SIGNS)
    return " ".join(plain.casefold().split())


def alike_names(names: Iterable[str]) -> list[list[str]]:
    """Group the names that :func:`letters_alone` makes one, in their order; others are left out."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(letters_alone(name), []).append(name)
    return [alike for alike in groups.values() if len(alike) > 1]


def not_utf8_at(data: bytes, byte: int) -> str:
    """Name the line and the byte where a text stops being UTF-8."""
    line = len((data[:byte] + b"?").splitlines())
    return f"not UTF-8 text (line {line}, byte {byte})"


def not_utf8(data: bytes, byte: int, file: str) -> str:
    """Name where a text stops being UTF-8, and how the file, as `file` in the command, becomes it."""
    return (
        f"{not_utf8_at(data, byte)}; convert it from the encoding that it was saved in, "
        f"for example with iconv -f WINDOWS-1252 -t UTF-8 {file} > {file}.utf8 (1252 is Western Europe; "
        "1250 Central Europe, 1251 Cyrillic, 1253 Greek, 1254 Turkish)"
    )


def lines(document: Any) -> Any:
    """Escape every text in a JSON-ready document as :func:`one_line` does, keys too."""
    if isinstance(document, dict):
        return {lines(key): lines(value) for key, value in document.items()}
    if isinstance(document, list | tuple):
        return [lines(value) for value in document]
    return one_line(document) if isinstance(document, str) else document


def json_text(document: Any, indent: int | None = None, *, allow_nan: bool = True) -> str:
    r"""Encode JSON that reads back as it was, whatever a terminal makes of its text.

    Only a byte of a path that is no UTF-8 becomes text, as it does in CSV: no JSON holds it.

    >>> json_text("M\udcfcller")
    '"M\\\\xfcller"'
    """
    text = json.dumps(document, ensure_ascii=False, indent=indent, allow_nan=allow_nan)
    return _IN_A_PAGE.sub(_escaped_in_json, text)


def markdown(text: object) -> str:
    r"""Escape for a cell or a paragraph of Markdown: no cell, code, formula, link or tag begins.

    >>> markdown("a|b <b>"), markdown("_silence_ of_all")
    ('a\\|b &lt;b&gt;', '\\_silence\\_ of_all')
    """
    plain = _IN_MARKDOWN.sub(r"\\\g<0>", one_line(text))
    return plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def markdown_code(text: object) -> str:
    r"""Quote as code in a cell of a table of Markdown, whatever quotes and bars are in it.

    >>> markdown_code("sp=30"), markdown_code("a`b|c")
    ('`sp=30`', '``a`b\\|c``')
    """
    plain = one_line(text)
    fence = "`" * (1 + max(map(len, re.findall("`+", plain)), default=0))
    blank = " " if "`" in plain[:1] + plain[-1:] else ""
    return f"{fence}{blank}{plain}{blank}{fence}".replace("|", "\\|")


def csv_text(text: object) -> str:
    """Escape for a text cell of CSV: a spreadsheet takes it for no formula.

    >>> csv_text("=1+1")
    "'=1+1"
    """
    plain = one_line(text)
    return f"'{plain}" if plain.startswith(_FORMULA) else plain


def plot_text(text: object) -> str:
    r"""Escape for a title or label of a plot: a dollar sign begins no formula, and room is short.

    >>> plot_text("$x$")
    '\\$x\\$'
    """
    shown = one_line(text)
    if len(shown) > PLOT_CHARACTERS:
        shown = f"{shown[:PLOT_CHARACTERS]}…"
    return shown.replace("$", r"\$")


def _escaped_in_json(found: re.Match[str]) -> str:
    if "\ud800" <= found[0] <= "\udfff":
        return _escaped(found).replace("\\", r"\\")
    return _units(found[0])


def _units(text: str) -> str:
    units = text.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def _unencodable(error: UnicodeError) -> tuple[str, int]:
    """Write what an output's encoding lacks as JSON does, so that a document stays one."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return _units(error.object[error.start : error.end]), error.end


codecs.register_error(ESCAPED, _unencodable)


def _escaped(found: re.Match[str]) -> str:
    point = ord(found[0])
    if 0xDC80 <= point <= 0xDCFF:  # a byte of a path that is not UTF-8
        return f"\\x{point - 0xDC00:02x}"
    return found[0].encode("unicode_escape").decode()
