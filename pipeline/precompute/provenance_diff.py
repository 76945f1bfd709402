"""What differs between two recipes, both values side by side."""

from __future__ import annotations

from typing import Any

# Characters of a value that a message shows, and how many of them are before the first that differs.
SHOWN, CONTEXT = 70, 24


def without_name(teacher: dict[str, Any] | None) -> dict[str, Any]:
    """What identifies a teacher: its weights and configuration, not what its folder is called."""
    return {key: value for key, value in (teacher or {}).items() if key != "id"}


def differences(cached: Any, wanted: Any, where: str = "") -> list[str]:
    """List the leaves in which two JSON documents differ, both values side by side.

    What only one of them has is listed by its leaves, too.

    >>> differences({"members": [{"id": "a", "rate": 8}]}, {"members": [{"id": "a"}, {"id": "b"}]})
    ['members.1.rate: cache 8, this run nothing', "members.2.id: cache nothing, this run 'b'"]
    """
    before, now = _branches(cached), _branches(wanted)
    if before is not None and now is not None and (before or now):
        return [
            line
            for key in sorted(before.keys() | now.keys())
            for line in differences(before.get(key), now.get(key), f"{where}.{key}".lstrip("."))
        ]
    if cached == wanted or not (before is None or now is None):
        return []
    found, requested = _shown(cached), _shown(wanted)
    return [f"{where}: cache {_short(found, requested)}, this run {_short(requested, found)}"]


def _branches(value: Any) -> dict[str, Any] | None:
    """What a document holds: a list's by number and name; nothing holds nothing, a leaf has none."""
    if value is None:
        return {}
    if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
        return {
            f"{number} {one.get('name', '')}".strip(): one for number, one in enumerate(value, 1)
        }
    return value if isinstance(value, dict) else None


def _shown(value: Any) -> str:
    return "nothing" if value is None else repr(value)


def _short(text: str, other: str) -> str:
    """Cut a long text to where it first differs from the other."""
    pairs = enumerate(zip(text, other, strict=False))
    same = next((i for i, (a, b) in pairs if a != b), min(len(text), len(other)))
    first = max(0, same - CONTEXT) if max(len(text), len(other)) > SHOWN else 0
    before, after = "..." if first else "", "..." if len(text) > first + SHOWN else ""
    return f"{before}{text[first : first + SHOWN]}{after}"
