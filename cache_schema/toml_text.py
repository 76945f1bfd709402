"""TOML that a user wrote: options of a command, names of classes."""

from __future__ import annotations

import codecs
import re
import tomllib
from pathlib import Path
from typing import Any

from cache_schema.errors import UsageError
from cache_schema.text import not_utf8

# The parser takes minutes and gigabytes for names of thousands of parts.
_LONG_KEY = re.compile(r"""(?<![\w-])(?:(?:"[^"\n]*+"|'[^'\n]*+'|[\w-]++)[ \t]*+\.[ \t]*+){100}""")
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def toml_document(content: bytes, path: Path) -> dict[str, Any]:
    """Read a document, with or without the mark that some editors put before all text; or of UTF-16.

    Raises
    ------
    UsageError
        If it is not UTF-8, or not TOML.
    """
    try:
        text = content.decode("utf-16" if content[:2] in _UTF_16 else "utf-8-sig")
        if _LONG_KEY.search(text):
            raise ValueError("a name of more than 100 parts, divided by dots")
        return tomllib.loads(text)
    except UnicodeDecodeError as error:
        problem = not_utf8(content, error.start, "FILE")
        raise UsageError(f"{path} is not TOML: {problem}", kind="config") from None
    except (ValueError, RecursionError) as error:  # numbers of 5,000 digits, 1,000 brackets
        raise UsageError(
            f"{path} is not TOML: {error}. A name with blanks, or other letters than a to z, stands in "
            'straight quotes: "two words" = "word"',
            kind="config",
        ) from None
