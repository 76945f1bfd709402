"""What differs between two recipes, both values side by side."""

from __future__ import annotations

from typing import Any

# Characters of a value that a message shows, and how many of them are before the first that differs.
SHOWN, CONTEXT = 70, 24


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
    found, requested = _short(repr(cached), repr(wanted)), _short(repr(wanted), repr(cached))
    return [f"{where}: cache {found}, this run {requested}"]


def _short(text: str, other: str) -> str:
    """Cut a long text to where it first differs from the other."""
    pairs = enumerate(zip(text, other, strict=False))
    same = next((i for i, (a, b) in pairs if a != b), min(len(text), len(other)))
    first = max(0, same - CONTEXT) if max(len(text), len(other)) > SHOWN else 0
    before, after = "..." if first else "", "..." if len(text) > first + SHOWN else ""
    return f"{before}{text[first : first + SHOWN]}{after}"
