"""What a network can do to a cache on a store: no row is lost or falsified by it.

The bars are those of scale: requests, faults, an outage, ambiguous commits, late lists.
"""

from __future__ import annotations

import hashlib
import pickle
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import small_cache
from object_server import SECRET, ObjectServer, etag
from store_client import FASTER, ROOT, faulty_store, forget_connections, stored

pytest.importorskip("obstore", reason="the extra 'cloud' is not installed")

from cache_schema.errors import CacheError, RunError, UsageError
from cache_schema.integrity.cleanup import remove_leftovers
from cache_schema.integrity.verify import verify
from cache_schema.reader import Cache, open_cache
from cache_schema.store import cloud
from cache_schema.store.address import cache_path
from cache_schema.store.lock import write_lock
from cache_schema.store.objects import ObjectChanged, objects_of
from cache_schema.writer import MANIFEST, add_part, missing_units, seal, write_unit

OUTAGE_S = 60 / FASTER


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectServer]:
    with faulty_store(monkeypatch) as found:
        yield found


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_cache.copy_small_cache(tmp_path_factory.mktemp("cache") / "small.zarr")


def upload(server: ObjectServer, local: Path) -> None:
    for key, data in small_cache.tree_bytes(local).items():
        server.objects[f"{ROOT.key}/{key}"] = data


def digest(cache: Cache) -> str:
    """Of everything that an epoch reads."""
    found = hashlib.sha256()
    for split in cache.splits:
        for unit in cache.units(split):
            rows = cache.read_unit(unit, list(cache.signals))
            found.update(rows.clip.tobytes() + rows.labels.tobytes())
            for values in rows.signals.values():
                found.update(getattr(values, "values", values).tobytes())
    return found.hexdigest()


def test_a_cache_on_a_store_has_the_bytes_of_a_local_one(server: ObjectServer, local: Path) -> None:
    with write_lock(ROOT):
        small_cache.write_small_cache(ROOT)
    assert stored(server) == small_cache.tree_bytes(local)
    assert verify(ROOT) == []


def test_opening_and_an_epoch_take_few_requests(server: ObjectServer, local: Path) -> None:
    upload(server, local)
    cache = open_cache(str(ROOT))
    assert len(server.requests) <= 20
    server.requests.clear()
    found = digest(cache)
    units = sum(len(cache.units(split)) for split in cache.splits)
    assert len(server.requests) <= units * len(cache.signals) + 15
    assert server.count("GET") == len(server.requests)
    assert found == digest(open_cache(local))


def test_a_web_server_is_read_and_never_listed(server: ObjectServer, local: Path) -> None:
    upload(server, local)
    address = cache_path(server.web(ROOT.key))
    assert digest(open_cache(address)) == digest(open_cache(local))
    assert verify(address) == []
    assert server.count(part="") > 0
    assert not [key for _, key in server.requests if key in ("", ROOT.key)]
    for act in (
        lambda o: o.put("a", b""),
        lambda o: o.put_once("a", b""),
        lambda o: list(o.list()),
    ):
        with pytest.raises(RunError, match="web server"):
            act(objects_of(address))
    assert server.count("PUT") == 0
    with pytest.raises(CacheError, match=r"has no manifest.json, so it is not a cache"):
        open_cache(server.web("nothing"))


@pytest.mark.parametrize("seed", range(3))
def test_an_epoch_among_faults_gives_equal_rows(
    server: ObjectServer, local: Path, seed: int
) -> None:
    upload(server, local)
    drawn = random.Random(seed)
    faults = ["503"] * 10 + ["reset"] * 10 + ["truncated"] * 10 + [None] * 70
    server.fault = lambda method, key, number: drawn.choice(faults)
    assert digest(open_cache(ROOT)) == digest(open_cache(local))


@pytest.mark.parametrize("fault", ["500", "503", "429"])
def test_an_outage_of_a_minute_is_survived(server: ObjectServer, local: Path, fault: str) -> None:
    """In a fraction of the time; the attempts are as many as in a minute."""
    upload(server, local)
    cache = open_cache(ROOT)
    server.requests.clear()
    until_s = time.monotonic() + OUTAGE_S
    server.fault = lambda method, key, number: fault if time.monotonic() < until_s else None
    rows = cache.read_unit(cache.units("test")[0], ["logits"])
    assert time.monotonic() > until_s
    assert len(rows.clip) == 1
    assert max(server.count(part=key) for _, key in server.requests) <= 30


def test_what_never_answers_is_no_wait_of_minutes(server: ObjectServer) -> None:
    server.fault = lambda method, key, number: "503"
    with pytest.raises(RunError, match="cannot be reached"):
        open_cache(ROOT)
    assert len(server.requests) <= 5


class Once:
    """A fault of the first request of a method."""

    def __init__(self, what: str, method: str = "PUT") -> None:
        self.what, self.method, self.left = what, method, 1

    def __call__(self, method: str, key: str, number: int) -> str | None:
        if method != self.method or not self.left:
            return None
        self.left -= 1
        return self.what


COMMIT_FAULTS = ["lost 503", "lost reset", "409", "503", "reset"]


@pytest.mark.parametrize("fault", COMMIT_FAULTS)
def test_a_creation_whose_answer_is_lost_is_done_once(server: ObjectServer, fault: str) -> None:
    objects = objects_of(ROOT)
    server.fault = Once(fault)
    objects.put_once("a", b"mine")
    assert objects.get("a") == b"mine"
    objects.put_once("a", b"mine")
    with pytest.raises(RunError, match="another content"):
        objects.put_once("a", b"another")
    assert objects.get("a") == b"mine"


@pytest.mark.parametrize("fault", COMMIT_FAULTS)
def test_a_replacement_whose_answer_is_lost_is_done_once(server: ObjectServer, fault: str) -> None:
    objects = objects_of(ROOT)
    objects.put_once("a", b"old")
    server.fault = Once(fault)
    objects.replace("a", b"old", b"new")
    assert objects.get("a") == b"new"
    with pytest.raises(ObjectChanged):
        objects.replace("a", b"old", b"another")
    with pytest.raises(ObjectChanged):
        objects.replace("b", b"old", b"new")
    assert objects.get("a") == b"new"


def test_a_writer_between_reading_and_replacing_is_not_overwritten(server: ObjectServer) -> None:
    objects = objects_of(ROOT)
    objects.put_once("a", b"old")
    key = f"{ROOT.key}/a"

    def other(method: str, _: str, number: int) -> None:
        if method == "PUT":
            server.objects[key] = b"another's"

    server.fault = other
    with pytest.raises(ObjectChanged):
        objects.replace("a", b"old", b"new")
    assert server.objects[key] == b"another's"


def test_an_object_whose_name_is_no_path_is_named(server: ObjectServer, local: Path) -> None:
    upload(server, local)
    server.objects[f"{ROOT.key}/../evil"] = b""
    with pytest.raises(RunError, match=r"an object whose name is no path.*evil.*delete it with"):
        list(objects_of(ROOT).list())


def test_the_empty_folders_of_a_console_are_no_strays(server: ObjectServer, local: Path) -> None:
    server.objects[f"{ROOT.key}/"] = b""
    assert list(objects_of(ROOT).list()) == []
    upload(server, local)
    for folder in ("parts/", "parts/part-000/", "parts/part-000/logits/c/"):
        server.objects[f"{ROOT.key}/{folder}"] = b""
    assert verify(ROOT) == []
    server.objects[f"{ROOT.key}/parts/part-000/logits/c/99"] = b"x"
    server.objects[f"{ROOT.key}/parts/part-000/logits"] = b""
    strays = ["parts/part-000/logits", "parts/part-000/logits/c/99"]
    assert [damage.object for damage in verify(ROOT)] == strays


def test_a_whole_cache_is_written_among_lost_answers(server: ObjectServer, local: Path) -> None:
    drawn = random.Random(5)
    faults = [*COMMIT_FAULTS, *[None] * 10]
    server.fault = lambda method, key, number: drawn.choice(faults) if method == "PUT" else None
    small_cache.write_small_cache(ROOT)
    assert stored(server) == small_cache.tree_bytes(local)


def test_lists_that_come_late_seal_right(
    monkeypatch: pytest.MonkeyPatch, server: ObjectServer, local: Path
) -> None:
    server.lists_after_s = 3600
    plan = small_cache.lay_out(ROOT)
    for unit in range(len(plan.units.rows)):
        assert unit in missing_units(ROOT, plan)
        write_unit(ROOT, plan, unit, small_cache.rows(plan, unit))
    assert missing_units(ROOT, plan) == []
    seal(ROOT, plan)
    add_part(ROOT, small_cache.second_plan())
    small_cache.compute(ROOT, small_cache.second_plan())
    assert stored(server) == small_cache.tree_bytes(local)


def test_a_store_that_ignores_conditions_is_not_written_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with (
        faulty_store(monkeypatch, conditional=False) as server,
        pytest.raises(
            RunError, match=r"creation .* and of a replacement .*Nothing else was written"
        ),
        write_lock(ROOT),
    ):
        raise AssertionError("unreachable")
    assert server.objects == {}


def test_a_store_is_tried_once_and_nothing_is_left(server: ObjectServer) -> None:
    for _ in range(2):
        with write_lock(ROOT):
            pass
    assert server.count("PUT") == 3
    assert server.objects == {}


@pytest.mark.parametrize("part", ["waveform/c/1", "index/row_lengths/c/0/0", "plan.json", MANIFEST])
def test_what_is_flipped_in_transit_is_read_again(
    server: ObjectServer, local: Path, part: str
) -> None:
    upload(server, local)
    left = [1]

    def flipped(method: str, key: str, number: int) -> str | None:
        if key.endswith(part) and left:
            left.clear()
            return "flipped"
        return None

    server.fault = flipped
    assert digest(open_cache(ROOT)) == digest(open_cache(local))
    assert not left
    server.fault = lambda method, key, number: "flipped" if key.endswith(part) else None
    with pytest.raises(CacheError) as caught:
        digest(open_cache(ROOT))
    assert caught.value.kind == "damaged"


def test_verify_names_what_is_damaged_missing_and_planted(
    server: ObjectServer, local: Path
) -> None:
    upload(server, local)
    chunk = "parts/part-000/waveform/c/1"
    data = server.objects[f"{ROOT.key}/{chunk}"]
    server.objects[f"{ROOT.key}/{chunk}"] = data[:-9] + b"x" + data[-8:]
    del server.objects[f"{ROOT.key}/parts/part-001/commits/000002.json"]
    server.objects[f"{ROOT.key}/parts/part-000/planted"] = b""
    found = {damage.object: damage for damage in verify(ROOT)}
    assert found.keys() == {
        chunk, "parts/part-001/commits/000002.json", "parts/part-000/planted",
    }  # fmt: skip
    assert found[chunk].unit == 1
    assert found["parts/part-000/planted"].stray


def test_leftovers_of_a_kill_after_the_seal_go(server: ObjectServer, local: Path) -> None:
    upload(server, local)
    server.objects[f"{ROOT.key}/parts/part-000/unsealed/000001.sha256"] = b"x"
    remove_leftovers(ROOT)
    assert stored(server) == small_cache.tree_bytes(local)


def test_an_older_manifest_is_noticed(server: ObjectServer, local: Path) -> None:
    plan = small_cache.lay_out(ROOT)
    older = server.objects[f"{ROOT.key}/{MANIFEST}"]
    small_cache.compute(ROOT, plan)
    add_part(ROOT, small_cache.second_plan())
    write_unit(ROOT, small_cache.second_plan(), 0, small_cache.rows(small_cache.second_plan(), 0))
    server.objects[f"{ROOT.key}/{MANIFEST}"] = older
    with pytest.raises(CacheError, match="it is an older one"):
        remove_leftovers(ROOT)


def test_credentials_are_in_no_pickle_and_no_message(server: ObjectServer) -> None:
    objects = objects_of(ROOT)
    assert not objects.exists("a")
    assert SECRET.encode() not in pickle.dumps(objects)
    assert pickle.loads(pickle.dumps(objects)) == objects
    server.fault = lambda method, key, number: "403"
    with pytest.raises(RunError) as caught:
        objects.get("a")
    assert "credentials" in str(caught.value)
    assert SECRET not in str(caught.value)
    text = f"denied {SECRET} at https://host/a?sig=abc%2Fd now"
    assert cloud._without_secrets(text) == "denied *** at https://host/a now"


def test_a_fork_of_a_process_that_has_a_connection_is_rejected(server: ObjectServer) -> None:
    objects = objects_of(ROOT)
    assert not objects.exists("a")
    cloud._connection("s3", "bucket").process += 1  # as in a fork, which would wait for ever
    with pytest.raises(RunError, match="before this process was forked"):
        objects.exists("a")


def test_the_server_of_these_tests_keeps_to_conditions(server: ObjectServer) -> None:
    assert server.put("a", b"1", {"If-None-Match": "*"}) == 200
    assert server.put("a", b"2", {"If-None-Match": "*"}) == 412
    assert server.put("a", b"2", {"If-Match": etag(b"2")}) == 412
    assert server.put("a", b"2", {"If-Match": etag(b"1")}) == 200
    assert server.objects["a"] == b"2"


@pytest.mark.parametrize("value", ["127.0.0.1:9200", "", "http://127.0.0.1:99999", "http://"])
def test_what_is_no_server_is_named_with_its_variable(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", value)
    forget_connections()
    with pytest.raises(UsageError, match="AWS_ENDPOINT_URL is"):
        open_cache(str(ROOT))


def test_a_page_in_place_of_a_manifest_on_the_web_leads_to_no_command(server: ObjectServer) -> None:
    server.objects["captive/manifest.json"] = b"<html>Log in</html>"
    with pytest.raises(CacheError, match="A web server is only read") as raised:
        open_cache(server.web("captive"))
    assert "precompute-teacher" not in str(raised.value)
