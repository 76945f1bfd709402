"""A cache on the test store as this process sees it, with retries that take a fraction of the time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from object_server import ObjectServer, object_server

from cache_schema.store import cloud
from cache_schema.store.address import Address

FASTER = 50
ROOT = Address("s3", "bucket", "a folder/small.zarr")


@contextmanager
def faulty_store(monkeypatch: pytest.MonkeyPatch, **facts: Any) -> Iterator[ObjectServer]:
    """A server, and this process set up to find it."""
    with object_server(**facts) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        for name in ("PATIENCE", "FIRST_CONTACT"):
            monkeypatch.setattr(cloud, name, faster(getattr(cloud, name)))
        forget_connections()
        yield server
    forget_connections()


def forget_connections() -> None:
    """Connect anew: each server has a port of its own."""
    cloud._connection.cache_clear()
    cloud.check_conditional_writes.cache_clear()


def faster(patience: dict[str, Any]) -> dict[str, Any]:
    """The same attempts in a fraction of the time."""
    return {
        name: faster(value)
        if isinstance(value, dict)
        else value / FASTER
        if isinstance(value, timedelta)
        else value
        for name, value in patience.items()
    }


def stored(server: ObjectServer) -> dict[str, bytes]:
    """Objects of the cache by their keys below it."""
    prefix = f"{ROOT.key}/"
    return {
        k.removeprefix(prefix): v for k, v in server.objects.copy().items() if k.startswith(prefix)
    }
