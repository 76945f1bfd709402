"""What a reader of a cache sees: the digests of all its rows, to be compared with those wanted."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from cache_schema.errors import CacheError
from cache_schema.reader import Ragged, open_cache


def digests_of_rows(out: Path) -> Iterator[tuple[str, str]]:
    """The clip table and each unit's signals of an opened cache, with the digest of their content."""
    cache = open_cache(out)
    for split in cache.splits:
        for unit in cache.units(split):
            read = cache.read_unit(unit, list(cache.signals))
            found = read.signals | {"labels": read.labels, "position": read.clip}
            for name, rows in found.items():
                pieces = [rows.values, rows.starts] if isinstance(rows, Ragged) else [rows]
                content = b"".join(piece.tobytes() for piece in pieces)
                digest = hashlib.sha256(content).hexdigest()
                yield f"{name} of clip {unit.first_clip}, view {unit.view}", digest
    clips = cache.clip_table.clips(0, cache.manifest.corpus.clips)
    yield "clips", hashlib.sha256(repr(clips).encode()).hexdigest()


def refusal(out: Path, wanted: Mapping[str, str]) -> CacheError | None:
    """Read everything as it is wanted, up to a refusal."""
    try:
        for what, digest in digests_of_rows(out):
            assert digest == wanted[what], f"a wrong row was read: {what}"
    except CacheError as error:
        return error
    return None
