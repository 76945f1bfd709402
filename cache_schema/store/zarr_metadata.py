"""The ``zarr.json`` of an array: what of the Zarr format a cache uses, and nothing else."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from cache_schema.documents import Count, Document, Positive

# A chunk holds a work unit: 20 MB, or one clip of days.
MAX_CHUNK_BYTES = 1 << 36


class _ChunkGrid(Document):
    """How an array is cut."""

    class Shape(Document):
        """Of a chunk."""

        chunk_shape: Annotated[list[Positive], Field(min_length=1, max_length=4)]

    name: Literal["regular"]
    configuration: Shape


class _KeyEncoding(Document):
    """How chunks are called."""

    class Separator(Document):
        """Between the numbers of a key."""

        separator: Literal["/"]

    name: Literal["default"]
    configuration: Separator


class _Codec(Document):
    """A step of storing a chunk: little-endian bytes, zstd, CRC-32C, nothing else."""

    name: Literal["bytes", "zstd", "crc32c"]
    configuration: dict[Literal["endian", "level", "checksum"], Literal["little"] | int | bool] = (
        Field(default_factory=dict)
    )


class ArrayMetadata(Document):
    """The ``zarr.json`` of an array as this format writes it; nothing in it names any other code."""

    zarr_format: Literal[3]
    node_type: Literal["array"]
    shape: Annotated[list[Count], Field(min_length=1, max_length=4)]
    data_type: Literal[
        "float16",
        "float32",
        "float64",
        "int16",
        "int32",
        "int64",
        "uint8",
        "uint16",
        "uint32",
        "uint64",
    ]
    chunk_grid: _ChunkGrid
    chunk_key_encoding: _KeyEncoding
    codecs: list[_Codec]
    fill_value: Literal["NaN", 0] | float
    attributes: dict[str, Any] = Field(default_factory=dict)
    storage_transformers: Annotated[list[Any], Field(max_length=0, default_factory=list)]
    dimension_names: None = None

    @model_validator(mode="after")
    def _of_this_format(self) -> Self:
        codecs = [codec.name for codec in self.codecs]
        if codecs not in (["bytes", "crc32c"], ["bytes", "zstd", "crc32c"]):
            raise ValueError(f"codecs are {', '.join(codecs)}, expected bytes, (zstd,) crc32c")
        chunk = self.chunk_grid.configuration.chunk_shape
        if len(chunk) != len(self.shape) or chunk[1:] != self.shape[1:]:
            raise ValueError(f"chunks of {chunk} in an array of {self.shape}")
        if 8 * math.prod(chunk) > MAX_CHUNK_BYTES:
            raise ValueError(f"chunks of {math.prod(chunk)} numbers")
        return self
