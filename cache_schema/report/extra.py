"""Whether what draws a report is installed."""

from __future__ import annotations

import os
from importlib.util import find_spec

from cache_schema.errors import UsageError

LIBRARIES = ("bokeh", "jinja2")


def require_report(what: str) -> None:
    """Reject a report that could not be drawn.

    Parameters
    ----------
    what : str
        The command or option that needs the libraries.

    Raises
    ------
    UsageError
        Naming what is missing and the extra that brings it, or how to name a home folder, which they
        look into.
    """
    missing = [name for name in LIBRARIES if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"{what} needs {' and '.join(missing)}: pip install 'aftersound[report]'", kind="extra"
        )
    if os.path.expanduser("~") == "~":
        raise UsageError(
            f"{what} needs a home folder, and this user has none. Name one (export HOME=/tmp), and "
            "repeat the command",
            kind="home",
        )
