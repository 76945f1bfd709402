"""A cache on a store that somebody else wrote: moto's server, which keeps to conditions."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import small_cache
from store_client import ROOT, forget_connections

pytest.importorskip("obstore", reason="the extra 'cloud' is not installed")
pytest.importorskip("moto", reason="moto[server], with 40 packages, is not installed")

from cache_schema.errors import RunError
from cache_schema.integrity.verify import verify
from cache_schema.store.address import Address
from cache_schema.store.lock import write_lock
from cache_schema.store.objects import ObjectChanged, objects_of


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    """Address of a running server with a bucket."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address, until_s = f"http://127.0.0.1:{port}", time.monotonic() + 120
    try:
        while time.monotonic() < until_s:
            with suppress(OSError):
                request = urllib.request.Request(f"{address}/{ROOT.host}", method="PUT")
                urllib.request.urlopen(request, timeout=20).close()
                break
            time.sleep(0.2)
        yield address
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
def root(store: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Address:
    facts = {
        "ENDPOINT_URL": store,
        "ACCESS_KEY_ID": "a",
        "SECRET_ACCESS_KEY": "b",
        "REGION": "us-east-1",
    }
    for name, value in facts.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    forget_connections()
    return Address(ROOT.scheme, ROOT.host, f"{request.node.name}/small.zarr")


def test_a_cache_has_the_bytes_of_a_local_one(root: Address, tmp_path: Path) -> None:
    with write_lock(root):
        small_cache.write_small_cache(root)
    local = small_cache.tree_bytes(small_cache.copy_small_cache(tmp_path / "small.zarr"))
    objects = objects_of(root)
    assert {key: objects.get(key) for key in objects.list()} == local
    assert verify(root) == []


def test_conditions_are_kept(root: Address) -> None:
    objects = objects_of(root)
    objects.put_once("a@b c", b"old")
    with pytest.raises(RunError, match="another content"):
        objects.put_once("a@b c", b"other")
    objects.replace("a@b c", b"old", b"new")
    with pytest.raises(ObjectChanged):
        objects.replace("a@b c", b"old", b"other")
    assert objects.get("a@b c") == b"new"
    objects.delete("a@b c")
    assert not objects.exists("a@b c")
