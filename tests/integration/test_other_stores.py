"""A cache on stores that somebody else wrote, which keep to conditions: moto's S3, Microsoft's Azurite.

By hand: ``pip install 'moto[server]'`` brings 40 packages, ``npm install azurite`` in the folder above
the repository 370 (or AFTERSOUND_AZURITE names its ``azurite-blob``).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import importlib.util
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from email.utils import formatdate
from pathlib import Path

import pytest
import small_cache
from pages import REPOSITORY
from store_client import ROOT, forget_connections

pytest.importorskip("obstore", reason="the extra 'cloud' is not installed")

from cache_schema.errors import RunError
from cache_schema.integrity.verify import verify
from cache_schema.store.address import Address
from cache_schema.store.lock import write_lock
from cache_schema.store.objects import ObjectChanged, objects_of

AZURITE = Path(
    os.environ.get("AFTERSOUND_AZURITE", REPOSITORY.parent / "node_modules/.bin/azurite-blob")
)
# The account of every such emulator.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@contextmanager
def moto(port: int, _: Path) -> Iterator[dict[str, str]]:
    """A running server with a bucket; gives what the environment needs."""
    if importlib.util.find_spec("moto") is None:
        pytest.skip("moto[server], with 40 packages, is not installed")
    address = f"http://127.0.0.1:{port}"
    words = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with _serving(words, lambda: _put(f"{address}/{ROOT.host}", {})):
        yield {
            "AWS_ENDPOINT_URL": address,
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
            "AWS_REGION": "us-east-1",
        }


@contextmanager
def azurite(port: int, folder: Path) -> Iterator[dict[str, str]]:
    """A running server with a container; gives what the environment needs."""
    if not AZURITE.is_file():
        pytest.skip(f"needs {AZURITE} (npm install azurite, or AFTERSOUND_AZURITE)")
    address = f"http://127.0.0.1:{port}/{ACCOUNT}"
    words = [AZURITE, "--blobPort", port, "--location", folder, "--silent", "--disableTelemetry"]
    with _serving([*map(str, words), "--skipApiVersionCheck"], lambda: _create_container(address)):
        yield {
            "AZURE_STORAGE_ENDPOINT": address,
            "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
            "AZURE_STORAGE_ACCOUNT_KEY": KEY,
        }


def _create_container(address: str) -> None:
    headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
    signed = ["PUT", *[""] * 11, *(f"{name}:{text}" for name, text in headers.items())]
    signed += [f"/{ACCOUNT}/{ACCOUNT}/{ROOT.host}", "restype:container"]
    mac = hmac.digest(base64.b64decode(KEY), "\n".join(signed).encode(), hashlib.sha256)
    headers["Authorization"] = f"SharedKey {ACCOUNT}:{base64.b64encode(mac).decode()}"
    _put(f"{address}/{ROOT.host}?restype=container", headers)


def _put(address: str, headers: Mapping[str, str]) -> None:
    nothing = {"Content-Length": "0", **headers}
    request = urllib.request.Request(address, method="PUT", headers=nothing)
    urllib.request.urlopen(request, timeout=20).close()


@contextmanager
def _serving(words: list[str], ready: Callable[[], None]) -> Iterator[None]:
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until_s = time.monotonic() + 120
    try:
        while time.monotonic() < until_s:
            with suppress(OSError):
                ready()
                break
            time.sleep(0.2)
        yield
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="module", params=[("s3", moto), ("az", azurite)], ids=["moto", "azurite"])
def store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, dict[str, str]]]:
    """Scheme and environment of a running server."""
    scheme, server = request.param
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with server(port, tmp_path_factory.mktemp("store")) as environment:
        yield scheme, environment


@pytest.fixture
def root(
    store: tuple[str, dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> Address:
    scheme, environment = store
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    forget_connections()
    return Address(scheme, ROOT.host, f"{request.node.originalname}/small.zarr")


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
