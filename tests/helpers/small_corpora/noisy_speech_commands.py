"""Speech Commands, to be mixed with 1.5 s of the archive's own noise."""

from __future__ import annotations

from pathlib import Path

from small_corpora import speech_commands


def write(folder: Path) -> str:
    """Write the corpus and return its name."""
    return f"noisy-{speech_commands.write(folder)}?length_s=1.5"
