"""Corpora: adapters from what lies on disk to a list of clips, one file each.

A new kind is one file with a ``read_x(path, *, options) -> Corpus`` and one line below.
"""

from __future__ import annotations

from pathlib import Path

from cache_schema.errors import UsageError
from cache_schema.plugins import load_plugin, typed_options
from pipeline.corpora.interface import Corpus

CORPORA = {
    "folder": "pipeline.corpora.folder:read_folder",
    "csv": "pipeline.corpora.csv_manifest:read_csv",
    "speech-commands": "pipeline.corpora.speech_commands:read_speech_commands",
}


def read_corpus(text: str) -> Corpus:
    """Read the corpus that ``KIND:PATH[?option=value&...]`` names, and scan its headers.

    Raises
    ------
    UsageError
        For an unknown kind or option, a path that does not exist, or anything wrong in the corpus.

    Examples
    --------
    >>> read_corpus("folder:recordings?validation=0.2&test=0")  # doctest: +SKIP
    """
    kind, colon, rest = text.partition(":")
    if not colon and Path(text).exists():
        raise UsageError(
            f"corpus {text!r} lacks its kind: write KIND:PATH, for example "
            f"{'csv' if Path(text).is_file() else 'folder'}:{text}",
            kind="usage",
        )
    read = load_plugin(CORPORA, kind, "corpus")
    place, _, query = rest.partition("?")
    if not place:
        raise UsageError(
            f"corpus {text!r} names no path: write {kind}:PATH[?option=value&...]", kind="usage"
        )
    path = Path(place).expanduser()
    if not path.exists():
        raise UsageError(f"corpus {text!r}: {place} does not exist", kind="missing")
    corpus: Corpus = read(path, **typed_options(read, _options(text, query), f"corpus {kind}"))
    return corpus


def _options(text: str, query: str) -> dict[str, str]:
    """Split ``option=value&...``."""
    options: dict[str, str] = {}
    for item in filter(None, query.split("&")):
        name, equals, value = item.partition("=")
        if not equals or not name or name in options:
            raise UsageError(
                f"corpus {text!r}: expected ?option=value&... with each option once, got {item!r}",
                kind="options",
            )
        options[name] = value
    return options
