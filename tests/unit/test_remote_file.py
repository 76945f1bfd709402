"""A file on a store: the bytes that are there, in as few requests as blocks are touched."""

from __future__ import annotations

import random
from typing import Literal

import pytest
from object_server import ObjectServer
from store_client import faulty_store

from cache_schema.errors import RunError
from cache_schema.store.address import Address, cache_path
from pipeline.audio.source import SourceProblem, open_source

pytest.importorskip("obstore", reason="the extra 'cloud' is not installed")
from cache_schema.store import cloud
from cache_schema.store.cloud import CloudObjects
from cache_schema.store.remote_file import BLOCK_BYTES, RemoteFile

KEY = "sounds/long.wav"
PLACE = Address("s3", "bucket", KEY)
CONTENT = random.Random(0).randbytes(3 * BLOCK_BYTES + 1234)


def stored(server: ObjectServer, content: bytes = CONTENT) -> None:
    server.objects[KEY] = content


@pytest.mark.parametrize(
    ("kind", "parts"),
    [("store", True), ("web", True), ("web", False), ("store", "rejected"), ("web", "rejected")],
)
def test_any_stretch_is_what_is_stored(
    monkeypatch: pytest.MonkeyPatch, kind: str, parts: bool | Literal["rejected"]
) -> None:
    draw = random.Random(1)
    with faulty_store(monkeypatch, parts=parts) as server:
        stored(server)
        place = PLACE if kind == "store" else cache_path(server.web(KEY))
        with open_source(place) as source:
            assert source.size == len(CONTENT)
            for _ in range(40):
                start = draw.randrange(len(CONTENT) + 10)
                size = draw.choice((1, 4096, BLOCK_BYTES + 7))
                source.seek(start)
                found = bytearray()
                while len(found) < size and (more := source.read(size - len(found))):
                    found += more
                assert found == CONTENT[start : start + size]
        assert server.count("GET") <= 4


def test_a_stretch_takes_the_requests_of_its_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    with faulty_store(monkeypatch) as server:
        stored(server)
        with open_source(PLACE) as source:
            source.seek(2 * BLOCK_BYTES + 5)
            assert source.read(100) == CONTENT[2 * BLOCK_BYTES + 5 :][:100]
        assert server.count("GET") == 2


def test_a_replaced_object_is_not_read_on(monkeypatch: pytest.MonkeyPatch) -> None:
    with faulty_store(monkeypatch) as server:
        stored(server)
        with pytest.raises(OSError, match="changed while it was read"):  # noqa: SIM117, PT012
            with open_source(PLACE) as source:
                stored(server, bytes(len(CONTENT)))
                source.seek(BLOCK_BYTES)
                assert source.read(10) == b""  # kept until the decoder is done


def test_what_is_not_there_or_empty_is_no_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    with faulty_store(monkeypatch) as server:
        server.fault = lambda method, key, number: "410" if "withdrawn" in key else None
        withdrawn = cache_path(server.web("withdrawn.wav"))
        with pytest.raises(SourceProblem, match="no such object"), open_source(withdrawn):
            pass
        with pytest.raises(SourceProblem, match="no such object"), open_source(PLACE):
            pass
        stored(server, b"")
        with pytest.raises(SourceProblem, match="empty"), open_source(PLACE):
            pass


def test_a_store_that_fails_is_no_finding_about_the_recording(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with faulty_store(monkeypatch) as server:
        monkeypatch.setattr(cloud, "PATIENCE", cloud.FIRST_CONTACT)
        stored(server)
        with pytest.raises(RunError, match="cannot be reached"):  # noqa: SIM117, PT012
            with open_source(PLACE) as source:
                server.fault = lambda method, key, number: "reset"
                source.seek(BLOCK_BYTES)
                assert source.read(10) == b""  # kept until the decoder is done


def test_a_list_goes_on_behind_its_last_page(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [f"sounds/{number:04}.wav" for number in range(2500)]
    with faulty_store(monkeypatch) as server:
        server.objects |= dict.fromkeys(keys, b"x")
        # The second and the third answer to a list come in half.
        server.fault = lambda method, key, number: "truncated" if number in (2, 3) else None
        found = CloudObjects(Address("s3", "bucket", "sounds")).sizes()
        assert [(f"sounds/{key}", size) for key, size in found] == [(key, 1) for key in keys]


def test_its_version_tells_it_from_another(monkeypatch: pytest.MonkeyPatch) -> None:
    with faulty_store(monkeypatch) as server:
        stored(server)
        first = RemoteFile(PLACE).identity
        assert RemoteFile(PLACE).identity == first
        stored(server, b"x" + CONTENT[1:])
        assert RemoteFile(PLACE).identity != first
