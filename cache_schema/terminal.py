"""What commands print: every text from outside is escaped on its way, here and nowhere else."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console
from rich.text import Text

from cache_schema.text import page

# A log has no width of its own: wide enough for every column of a table.
_LOG_WIDTH = 120


def echo(text: object = "", *, err: bool = False) -> None:
    """Print lines, escaped as :func:`cache_schema.text.page` does."""
    stream = sys.stderr if err else sys.stdout
    stream.write(f"{page(text)}\n")
    stream.flush()


def emit(line: str) -> None:
    """Print a line of a data format: in UTF-8 wherever it goes but to a terminal."""
    if sys.stdout.isatty() or not hasattr(sys.stdout, "buffer"):
        echo(line)
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(f"{page(line)}\n".encode())
    sys.stdout.buffer.flush()


class Terminal(Console):
    """A console of rich that takes text as it is: escaped, no markup, no highlighting, no emoji."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, highlight=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Escape what is printed, and what is in the cells of a table."""
        return super().render_str(page(text), **options)


def wide_terminal(**options: Any) -> Terminal:
    """Make a console for tables."""
    return Terminal(width=None if sys.stdout.isatty() else _LOG_WIDTH, **options)
