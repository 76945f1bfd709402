"""Names of signals, and how they read where one cache holds several teachers.

The first teacher's signals go by their plain names (``logits``), a further teacher's by qualified
ones (``logits@b``). The waveform and features made from it belong to no teacher and are plain.
"""

from __future__ import annotations

import re

from cache_schema.errors import UsageError

# What a teacher gives; a plug-in may add others.
LOGITS = "logits"
TEMPORAL_ATTENTION = "temporal_attention"
DROPPED_MASS = "attention_dropped_mass"
LAYER_ATTENTION = "layer_attention"
ATTENTION_MAP = "attention_map"
FRAME_EMBEDDING = "frame_embedding"
CLIP_EMBEDDING = "clip_embedding"

# What belongs to a row whoever the teacher is: its samples, what was drawn to make its view, and
# what is true of a view whose labels are mixed. Features have the names of `FRONT_ENDS`.
WAVEFORM = "waveform"
VIEW_DRAWS, VIEW_LABELS = "view_draws", "view_labels"
FULL_SCALE = 32768.0  # of the waveform's 16-bit samples: as floats they go from -1 to almost 1

SEPARATOR = "@"
# What users call the teacher that has no name of its own, so no other may be called that.
FIRST = "first"
_WORD = re.compile(r"[a-z][a-z0-9]*")


def is_teacher_name(name: str) -> bool:
    """Whether a further teacher may be called `name`: one lower-case word, digits after a letter."""
    return _WORD.fullmatch(name) is not None and name != FIRST


def check_teacher_name(name: str) -> None:
    """Reject what cannot be a further teacher's name.

    Raises
    ------
    UsageError
        Showing the name and what is expected.
    """
    if not is_teacher_name(name):
        raise UsageError(
            f"--teacher-name {name!r}: expected one lower-case word of letters, and digits after the "
            f"first, such as 'large', and not {FIRST!r}, which is the teacher without a name.",
            kind="options",
        )


def qualified(signal: str, teacher: str) -> str:
    """Name of a teacher's signal in the cache; the first teacher's name is empty.

    >>> qualified("logits", ""), qualified("logits", "b")
    ('logits', 'logits@b')
    """
    return f"{signal}{SEPARATOR}{teacher}" if teacher else signal


def signal_of(name: str) -> str:
    """Name of a signal without its teacher.

    >>> signal_of("logits@b"), signal_of("waveform")
    ('logits', 'waveform')
    """
    return name.partition(SEPARATOR)[0]


def teacher_of(name: str) -> str:
    """Name of the teacher whose signal this is; empty for the first teacher's.

    >>> teacher_of("logits@b"), teacher_of("logits")
    ('b', '')
    """
    return name.partition(SEPARATOR)[2]


def teacher_label(teacher: str) -> str:
    """How a message calls a teacher: ``the first teacher`` or ``teacher 'b'``."""
    return f"teacher {teacher!r}" if teacher else "the first teacher"


def command_of(teacher: str) -> str:
    """How a message calls the command that computes a teacher's parts."""
    option = f" with --teacher-name {teacher}" if teacher else ""
    return f"the precompute-teacher command of {teacher_label(teacher)}{option}"
