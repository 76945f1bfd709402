"""Files that an operating system puts into any folder that somebody looks at."""

from __future__ import annotations

_NAMES = frozenset((".DS_Store", ".localized", "Icon\r", "Thumbs.db", "desktop.ini"))
# Beside each file on a disk that cannot hold what macOS keeps of it.
_APPLE_DOUBLE = "._"


def is_of_the_system(name: str) -> bool:
    """Whether a file of this name is macOS' or Windows' own, and nobody's content.

    >>> is_of_the_system("._train.h5"), is_of_the_system("train.h5")
    (True, False)
    """
    return name in _NAMES or name.startswith(_APPLE_DOUBLE)
