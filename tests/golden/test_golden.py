"""Today's code reads yesterday's caches: one committed cache for each format version."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import small_cache

from cache_schema.inspection.summary import clip_facts, summary
from cache_schema.integrity.verify import verify
from cache_schema.metadata import FORMAT_VERSION
from cache_schema.reader import open_cache

GOLDEN = Path(__file__).parent / "format_1.zarr"


def test_every_format_version_has_a_golden_cache() -> None:
    versions = {path.name for path in Path(__file__).parent.glob("format_*.zarr")}
    assert versions == {f"format_{n}.zarr" for n in range(1, FORMAT_VERSION + 1)}


def test_the_golden_cache_is_whole() -> None:
    assert verify(GOLDEN) == []
    assert summary(GOLDEN)["finished"]


def test_the_golden_values_are_read() -> None:
    cache = open_cache(GOLDEN)
    assert cache.classes == ("no", "yes")
    facts = clip_facts(cache, 5)
    np.testing.assert_array_equal(facts["signals"]["logits"], np.array([0.7485, 1.635], np.float16))
    assert facts["signals"]["attention_map"].shape == (3, 3)
    assert facts["signals"]["waveform"].dtype == np.int16
    assert clip_facts(cache, small_cache.QUARANTINED)["quarantined"]


def test_todays_writer_gives_the_golden_bytes(tmp_path: Path) -> None:
    """A changed byte is a changed format: raise FORMAT_VERSION and keep reading this one."""
    fresh = small_cache.tree_bytes(small_cache.write_small_cache(tmp_path / "fresh.zarr"))
    golden = small_cache.tree_bytes(GOLDEN)
    assert fresh.keys() == golden.keys()
    # Array metadata is zarr's text, and the digests over it follow; everything else is ours.
    ours = [k for k in golden if not k.endswith(("zarr.json", "index.json", "manifest.json"))]
    assert [key for key in ours if fresh[key] != golden[key]] == []
