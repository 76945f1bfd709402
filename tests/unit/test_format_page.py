"""The reader that FORMAT.md shows reads every signal of a cache as ours does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_cache
from pages import PAGES

from cache_schema.inspection.summary import clip_facts
from cache_schema.reader import open_cache

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "format_1.zarr"
SIGNALS = ("logits", "temporal_attention", "waveform", "layer_attention", "attention_map")


@pytest.fixture(scope="module")
def page_reader() -> dict[str, Any]:
    (code,) = re.findall(r"```python\n(.*?)```", PAGES["cache_schema/FORMAT.md"], re.DOTALL)
    imported = set(re.findall(r"^(?:import|from) (\w+)", code, re.MULTILINE))
    assert imported == {"hashlib", "json", "pathlib", "google_crc32c", "numpy"}
    names: dict[str, Any] = {}
    exec(compile(code, "FORMAT.md", "exec"), names)
    return names


@pytest.mark.parametrize("signal", SIGNALS)
def test_the_pages_reader_equals_ours(page_reader: dict[str, Any], signal: str) -> None:
    cache, found = open_cache(GOLDEN), {}
    for clip_id, view, values in page_reader["read"](GOLDEN, signal):
        found[clip_id, view] = values
    expected = {}
    for split in cache.splits:
        for unit in cache.units(split):
            rows = cache.read_unit(unit, [signal])
            for row, clip in enumerate(rows.clip.tolist()):
                (clip_id,) = cache.clip_ids(clip, clip + 1)
                expected[clip_id, unit.view] = rows.signals[signal][row]
    assert found.keys() == expected.keys()
    assert len(found) == 6 + 4 - 1  # all clips, training clips again, one in quarantine
    for key, values in expected.items():
        np.testing.assert_array_equal(found[key], values)
        assert found[key].shape == values.shape


def test_the_pages_reader_finds_damage(page_reader: dict[str, Any], tmp_path: Path) -> None:
    root = small_cache.copy_small_cache(tmp_path / "small.zarr")
    chunk = root / "parts/part-000/logits/c/0/0"
    data = bytearray(chunk.read_bytes())
    data[3] ^= 1
    chunk.write_bytes(data)
    with pytest.raises(ValueError, match="damaged"):
        list(page_reader["read"](root, "logits"))
    assert clip_facts(open_cache(root), 5)["signals"]["waveform"].size
