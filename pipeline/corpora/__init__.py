"""Corpora: adapters from what lies on disk to a list of clips, one file each.

A new kind is one file with a ``read_x(path, *, options) -> Corpus`` and one line below.
"""

from __future__ import annotations

from pathlib import Path

from cache_schema.errors import UsageError
from cache_schema.plugins import load_plugin, typed_options
from pipeline.corpora.interface import Corpus
from pipeline.corpora.windows import Windows

CORPORA = {
    "folder": "pipeline.corpora.folder:read_folder",
    "csv": "pipeline.corpora.csv_manifest:read_csv",
    "jsonl": "pipeline.corpora.jsonl_manifest:read_jsonl",
    "ast-json": "pipeline.corpora.ast_json:read_ast_json",
    "noisy-speech-commands": "pipeline.corpora.noisy_speech_commands:read_noisy_speech_commands",
    "speech-commands": "pipeline.corpora.speech_commands:read_speech_commands",
    "esc": "pipeline.corpora.esc:read_esc",
    "fsdd": "pipeline.corpora.fsdd:read_fsdd",
    "urbansound8k": "pipeline.corpora.urbansound8k:read_urbansound8k",
    "hdf5": "pipeline.corpora.hdf5_pack:read_hdf5_pack",
    "hugging-face": "pipeline.corpora.hugging_face:read_hugging_face",
    "audio-folder": "pipeline.corpora.audio_folder:read_audio_folder",
    "fsd50k": "pipeline.corpora.fsd50k:read_fsd50k",
    "audioset": "pipeline.corpora.audioset:read_audioset",
    "sonyc-ust": "pipeline.corpora.sonyc_ust:read_sonyc_ust",
}
# Options of every kind; the others are the adapter's own.
WINDOW_OPTIONS = ("window_s", "overlap_s")


def read_corpus(text: str) -> Corpus:
    """Read the corpus that ``KIND:PATH[?option=value&...]`` names, and scan its headers.

    Every kind takes ``window_s`` and ``overlap_s``, which cut long recordings: see
    `pipeline.corpora.windows.Windows`.

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
    options = _options(text, query)
    cutting = {name: options.pop(name) for name in WINDOW_OPTIONS if name in options}
    windows = Windows(**typed_options(Windows, cutting, "windows")) if cutting else None
    corpus: Corpus = read(path, **typed_options(read, options, f"corpus {kind}"))
    return windows.cut(corpus) if windows else corpus


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
