"""Shards of Hugging Face data sets, Parquet or Arrow: the only module that imports pyarrow.

Audio is read as the bytes that are stored, a struct of ``bytes`` and ``path`` or bare binary; decoding
is done elsewhere. Installed by the extra ``hugging-face``.
"""

from __future__ import annotations

import json
import threading
from bisect import bisect_right
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any

from cache_schema.errors import UsageError

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError:
    raise UsageError(
        "Hugging Face data sets on disk need pyarrow: pip install 'aftersound[hugging-face]'",
        kind="extra",
    ) from None

_FILE_FORMAT = b"ARROW1"  # the other Arrow form, a stream, has no magic number
# Row groups in memory at once; a member's whole group is read, some hundred clips.
_GROUPS_KEPT = 2


class _Shard:
    """What both formats share; subclasses set `schema` and `rows`."""

    schema: Any
    rows: int

    def samples(self, name: str, row: int) -> None:
        """Rows hold audio files, never bare samples."""
        del name, row

    def read(self, name: str, row: int) -> tuple[bytes, bytes]:
        """Nothing, and the bytes of the audio file in a row."""
        if not 0 <= row < self.rows:
            raise ValueError(f"row {row} of {self.rows}")
        if name not in self.audio_columns():
            raise ValueError(f"no column {name} of audio bytes")
        value = self._scalar(name, row).as_py()
        content = value.get("bytes") if isinstance(value, dict) else value
        if not content:
            raise ValueError("the row holds no bytes of audio, a path at most")
        return b"", bytes(content)

    def audio_columns(self) -> list[str]:
        """Columns of the form in which audio is stored, whether it is audio or not."""
        return [field.name for field in self.schema if _holds_bytes(field.type)]

    def features(self) -> dict[str, Any]:
        """Types of the columns as the `datasets` library recorded them; empty if it did not."""
        try:
            recorded = json.loads((self.schema.metadata or {}).get(b"huggingface", b"{}"))
            features = recorded["info"]["features"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return {}
        return features if isinstance(features, dict) else {}

    def column(self, name: str) -> list[Any]:
        """All values of a column as Python objects."""
        values: list[Any] = self._table(name).column(name).to_pylist()
        return values

    def _scalar(self, name: str, row: int) -> Any:
        raise NotImplementedError

    def _table(self, name: str) -> Any:
        raise NotImplementedError


class ParquetShard(_Shard):
    """A Parquet file; it is read a row group at a time, so clips in order of their rows are fast."""

    def __init__(self, file: Path) -> None:
        # pyarrow's reader is not made for several threads.
        self._lock = threading.Lock()
        self._parquet = pq.ParquetFile(file, memory_map=True)
        metadata = self._parquet.metadata
        groups = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
        self._first_rows = [0, *accumulate(groups)]
        self.schema = self._parquet.schema_arrow
        self.rows = self._first_rows[-1]
        self._group = lru_cache(maxsize=_GROUPS_KEPT)(self._read_group)

    def _read_group(self, name: str, group: int) -> Any:
        return self._parquet.read_row_group(group, columns=[name], use_threads=False).column(name)

    def _scalar(self, name: str, row: int) -> Any:
        group = bisect_right(self._first_rows, row) - 1
        with self._lock:
            return self._group(name, group)[row - self._first_rows[group]]

    def _table(self, name: str) -> Any:
        with self._lock:
            return self._parquet.read(columns=[name], use_threads=False)


class ArrowShard(_Shard):
    """An Arrow file or stream, which is mapped into memory and never read as a whole."""

    def __init__(self, file: Path) -> None:
        with file.open("rb") as opened:
            is_file = opened.read(len(_FILE_FORMAT)) == _FILE_FORMAT
        mapped = pa.memory_map(str(file))
        reader = pa.ipc.open_file(mapped) if is_file else pa.ipc.open_stream(mapped)
        self._all = reader.read_all()
        self.schema = self._all.schema
        self.rows = self._all.num_rows

    def _scalar(self, name: str, row: int) -> Any:
        return self._all.column(name)[row]

    def _table(self, name: str) -> Any:
        return self._all


def _holds_bytes(kind: Any) -> bool:
    if pa.types.is_struct(kind):
        index = kind.get_field_index("bytes")
        return index >= 0 and _holds_bytes(kind.field(index).type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))
