"""Random damage to every kind of object, found and never read: the short version of the loop."""

from __future__ import annotations

from pathlib import Path

from damage_loop import damage_loop


def test_random_damage_is_found_named_and_never_read(tmp_path: Path) -> None:
    counts = damage_loop(tmp_path / "caches", 40, seed=0)
    assert counts.total() == 40
    assert len({kind for kind, _ in counts}) > 5
