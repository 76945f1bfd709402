"""What a cache is: its format, and how it is written, read, verified and inspected.

Needs NumPy and zarr, never torch, transformers or dask. For notebooks:

>>> import cache_schema
>>> cache = cache_schema.open_cache("sounds.zarr")
>>> cache.splits, cache.classes, cache.views
(('train', 'test'), ('no', 'yes'), 2)
>>> cache.signals["temporal_attention"].hop_s
0.02
>>> for clip in cache_schema.iterate_clips(cache, "test", ["logits", "temporal_attention"]):
...     print(clip.id, clip.labels, clip.signals["temporal_attention"].shape)
clip-5 ('yes',) (8,)

A name of ``__all__`` is imported when it is used, so that ``import cache_schema`` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cache_schema.iterate import CachedClip, iterate_clips
    from cache_schema.reader import Cache, open_cache

__all__ = ["Cache", "CachedClip", "iterate_clips", "open_cache"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from cache_schema import iterate, reader

    return getattr(iterate if name in ("CachedClip", "iterate_clips") else reader, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
