"""Corpora: adapters from what lies on disk to a list of clips, one file each.

A new kind is one file with a ``read_x(path, *, options) -> Corpus`` and one line below.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from cache_schema.errors import UsageError
from cache_schema.paths import path_problem
from cache_schema.plugins import (
    load_plugin,
    plugin_names,
    plugin_origin,
    typed_options,
    unknown_name,
)
from cache_schema.store.address import Address, CachePath, cache_path, is_address
from cache_schema.store.cloud import check_extra
from pipeline.corpora.hub_cache import check_not_hub_repository, hub_repository
from pipeline.corpora.interface import Corpus
from pipeline.corpora.walk import Bounds, option_text, reading_within
from pipeline.corpora.windows import Windows

CORPORA = {
    "folder": "pipeline.corpora.formats.folder:read_folder",
    "csv": "pipeline.corpora.formats.csv_manifest:read_csv",
    "jsonl": "pipeline.corpora.formats.jsonl_manifest:read_jsonl",
    "ast-json": "pipeline.corpora.formats.ast_json:read_ast_json",
    "noisy-speech-commands": (
        "pipeline.corpora.published.noisy_speech_commands:read_noisy_speech_commands"
    ),
    "speech-commands": "pipeline.corpora.published.speech_commands:read_speech_commands",
    "esc": "pipeline.corpora.published.esc:read_esc",
    "fsdd": "pipeline.corpora.published.fsdd:read_fsdd",
    "urbansound8k": "pipeline.corpora.published.urbansound8k:read_urbansound8k",
    "hdf5": "pipeline.corpora.formats.hdf5_pack:read_hdf5_pack",
    "hugging-face": "pipeline.corpora.formats.hugging_face:read_hugging_face",
    "audio-folder": "pipeline.corpora.formats.audio_folder:read_audio_folder",
    "fsd50k": "pipeline.corpora.published.fsd50k:read_fsd50k",
    "audioset": "pipeline.corpora.published.audioset:read_audioset",
    "sonyc-ust": "pipeline.corpora.published.sonyc_ust:read_sonyc_ust",
}
# Kinds whose recordings and lists may lie at an address too.
STORED = ("folder", "csv", "jsonl")
# Options of every kind; the others are the adapter's own.
WINDOW_OPTIONS = ("window_s", "overlap_s")
LINKS_OPTION = "links"
# The kind that a file is proposed as, by its suffix.
KIND_OF_SUFFIX = {".jsonl": "jsonl", ".h5": "hdf5", ".hdf5": "hdf5", ".parquet": "hugging-face"}


def read_corpus(text: str, *, output: CachePath | None = None) -> Corpus:
    """Read the corpus that ``KIND:PATH[?option=value&...]`` names, and scan its headers.

    PATH may be an address such as ``s3://bucket/sounds`` for the kinds in `STORED`.
    In PATH ``?`` is written ``%3F`` and ``%`` is written ``%25``, in a value ``&`` is ``%26``; any
    character may be written so. Every kind takes ``window_s`` and ``overlap_s``, which cut long
    recordings: see `pipeline.corpora.windows.Windows`; and ``links=FOLDER``: links may then lead to
    anything below FOLDER, which must hold the corpus, and clips' paths begin there.

    Parameters
    ----------
    text : str
        The corpus.
    output : CachePath, optional
        What the running command writes; it may lie in the corpus and is none of its inputs.

    Raises
    ------
    UsageError
        For an unknown kind or option, a path that does not exist, or anything wrong in the corpus.

    Examples
    --------
    >>> read_corpus("folder:recordings?validation=0.2&test=0")  # doctest: +SKIP
    """
    kind, path, options = _parsed(text)
    read = load_plugin(CORPORA, kind, "corpus")
    _check_marks(text, read)
    links, reach = options.pop(LINKS_OPTION, ""), None
    if links and not isinstance(path, Path):
        raise UsageError(
            f"links={links}: there are no links at {path}; leave it out", kind="options"
        )
    if isinstance(path, Path):
        check_not_hub_repository(kind, path)
        reach = _folder_of_links(links) if links else hub_repository(path)
    cutting = {name: options.pop(name) for name in WINDOW_OPTIONS if name in options}
    windows = Windows(**typed_options(Windows, cutting, "windows")) if cutting else None
    bounds = Bounds(reach, output.resolve() if isinstance(output, Path) else None)
    with reading_within(bounds):
        typed = _typed(read, options, kind)
        corpus: Corpus = read(path, **typed)
    _check_windowed(text, corpus, windows)
    corpus = replace(corpus, plugin=plugin_origin(CORPORA, kind, "corpus"))
    if reach is not None:
        corpus = corpus.below(reach)
    return windows.cut(corpus) if windows else corpus


def _typed(read: Callable[..., Corpus], options: Mapping[str, str], kind: str) -> dict[str, Any]:
    """Convert the options of a kind; one that is unknown may be what followed an & in a value."""
    shared = (*WINDOW_OPTIONS, LINKS_OPTION)
    try:
        return typed_options(read, options, f"corpus {kind}", also_known=shared)
    except UsageError as error:
        if len(options) < 2 or options.keys() <= inspect.signature(read).parameters.keys():
            raise
        raise UsageError(
            f"{error}\nIn a value & is written %26, and % is %25", kind=error.kind
        ) from None


def _check_marks(text: str, read: Callable[..., Corpus]) -> None:
    """Reject ? in the place of &, as of an option that was appended to others."""
    known = {*inspect.signature(read).parameters, *WINDOW_OPTIONS, LINKS_OPTION}
    for name in re.findall(r"\?([a-z_]+)=", text.partition("?")[2]):
        if name in known:
            raise UsageError(
                f"corpus {text!r}: an option after the first begins with & and not with ?: &{name}=...; "
                "in a value ? is written %3F",
                kind="options",
            )


def _check_windowed(text: str, corpus: Corpus, windows: Windows | None) -> None:
    """Reject events without windows, whose labels they are."""
    if corpus.events and windows is None:
        raise UsageError(
            f"corpus {text!r}: rows=event needs the length of the windows that have events for labels; "
            "add &window_s=5",
            kind="options",
        )


def _parsed(text: str) -> tuple[str, CachePath, dict[str, str]]:
    """Split a corpus' name into kind, path and options, and find the path."""
    kind, _, rest = text.partition(":")
    known = plugin_names(CORPORA, "corpus")
    if kind not in known and _is_path(text):
        problem = path_problem(text)
        way = f". {problem}" if problem else f", for example {_with_kind(Path(text))}"
        raise UsageError(f"corpus {text!r} lacks its kind: write KIND:PATH{way}", kind="usage")
    if kind not in known:
        raise unknown_name(kind, known, "corpus")
    written, _, query = rest.partition("?")
    if not written:
        raise UsageError(
            f"corpus {text!r} names no path: write {kind}:PATH[?option=value&...]", kind="usage"
        )
    if not is_address(written) and (problem := path_problem(written)):
        raise UsageError(f"corpus {text!r}: {problem}", kind="usage")
    path = cache_path(written) if is_address(written) else _found(written)
    if isinstance(path, Address):
        return kind, _stored(kind, path), _options(text, query)
    if not os.path.exists(path):
        hint = "; in a path ? is written %3F, and % is %25" if {"?", "%"} & set(rest) else ""
        raise UsageError(f"corpus {text!r}: {path} does not exist{hint}", kind="missing")
    return kind, path, _options(text, query)


def _with_kind(path: Path) -> str:
    """Name a path with the kind that it probably is of."""
    if not path.is_file():
        return f"folder:{option_text(path)}"
    kind = KIND_OF_SUFFIX.get(path.suffix.lower(), "csv")
    return f"{kind}:{option_text(path.parent if kind == 'hugging-face' else path)}"


def _stored(kind: str, address: Address) -> Address:
    """Reject the address of a kind that is read from a disk alone, or that nothing here reads."""
    if kind not in STORED:
        raise UsageError(
            f"corpus {kind}:{address}: only {', '.join(STORED)} are read at an address; copy it to a "
            "disk, or list its clips: csv:LIST.csv?root=ADDRESS",
            kind="address",
        )
    check_extra()
    return address


def _is_path(text: str) -> bool:
    """Return whether a corpus without a kind is a path that exists, or begins with a drive's letter."""
    return bool(re.match(r"[A-Za-z]:[\\/]", text)) or os.path.exists(text)


def _found(written: str) -> Path:
    """The path that is meant: as written where that exists, else with its %XX decoded."""
    as_written = Path(os.path.expanduser(written))
    if "\0" in unquote(written):
        raise UsageError(f"corpus path {written!r} holds a NUL character", kind="usage")
    return as_written if os.path.exists(as_written) else Path(os.path.expanduser(unquote(written)))


def _options(text: str, query: str) -> dict[str, str]:
    """Split ``option=value&...``."""
    options: dict[str, str] = {}
    for item in filter(None, query.split("&")):
        name, equals, value = item.partition("=")
        if not equals or not name or name in options:
            raise UsageError(
                f"corpus {text!r}: expected ?option=value&... with each option once, got {item!r}; "
                "in a path ? is written %3F, in a value & is %26, and % is %25 in both",
                kind="options",
            )
        options[name] = unquote(value)
    return options


def _folder_of_links(text: str) -> Path:
    folder = Path(os.path.expanduser(text))
    if not folder.is_dir():
        raise UsageError(
            f"links={text} is not a folder that exists; it names the one that links may lead to "
            "anything below, and that holds the corpus too",
            kind="options",
        )
    return folder.resolve()
