"""Damage to stored objects, as disks, networks and people do it."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path


def flip(path: Path, bit: int = 800) -> None:
    """Flip one bit (counted around the end)."""
    data = bytearray(path.read_bytes())
    data[bit // 8 % len(data)] ^= 1 << bit % 8
    path.write_bytes(data)


def flip_anywhere(path: Path, generator: random.Random) -> None:
    flip(path, generator.randrange(8 * path.stat().st_size))


def truncate(path: Path, generator: random.Random) -> None:
    path.write_bytes(path.read_bytes()[: generator.randrange(path.stat().st_size)])


def lengthen(path: Path, generator: random.Random) -> None:
    path.write_bytes(path.read_bytes() + generator.randbytes(generator.randint(1, 9)))


def empty(path: Path, _: random.Random) -> None:
    path.write_bytes(b"")


def zero(path: Path, _: random.Random) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def delete(path: Path, _: random.Random) -> None:
    path.unlink()


DAMAGES: dict[str, Callable[[Path, random.Random], None]] = {
    "flip": flip_anywhere,
    "truncate": truncate,
    "lengthen": lengthen,
    "empty": empty,
    "zero": zero,
    "delete": delete,
}
