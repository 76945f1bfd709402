"""What differs between two recipes, both values side by side."""

from __future__ import annotations

from typing import Any


def without_name(teacher: dict[str, Any] | None) -> dict[str, Any]:
    """What identifies a teacher: its weights and configuration, not what its folder is called."""
    return {key: value for key, value in (teacher or {}).items() if key != "id"}


def differences(cached: Any, wanted: Any, where: str = "") -> list[str]:
    """List the leaves in which two JSON documents differ, both values side by side."""
    if isinstance(cached, dict) and isinstance(wanted, dict):
        return [
            line
            for key in sorted(cached.keys() | wanted.keys())
            for line in differences(cached.get(key), wanted.get(key), f"{where}.{key}".lstrip("."))
        ]
    if cached == wanted:
        return []
    return [f"{where}: cache {_short(cached)}, this run {_short(wanted)}"]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 70 else f"{text[:67]}..."
