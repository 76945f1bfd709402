"""Whole commands on a cache at an address: the same bytes and the same results as in a folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from commands import Started, command, succeeded, write_tones
from object_server import SECRET, ObjectServer, object_server
from small_cache import tree_bytes

pytest.importorskip("obstore", reason="the extra 'cloud' is not installed")

URL = "s3://bucket/some where/c.zarr"
TEACHER = ("--teacher", "toy", "--unit-rows", 4, "--signal", "mfcc40")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tones(tmp_path_factory.mktemp("corpus") / "tones", per_class=4)


@pytest.fixture(scope="module")
def whole(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "c.zarr"
    succeeded(command("precompute-teacher", f"folder:{corpus}", *TEACHER, "--out", out))
    return out


@pytest.fixture
def server() -> Iterator[ObjectServer]:
    with object_server() as found:
        yield found


def precompute(
    server: ObjectServer, corpus: Path, *options: object, out: str = URL
) -> CompletedProcess[str]:
    words = (f"folder:{corpus}", *TEACHER, "--out", out, *options)
    return command("precompute-teacher", *words, **server.environment)


def upload(server: ObjectServer, cache: Path) -> None:
    for key, data in tree_bytes(cache).items():
        server.objects[f"some where/c.zarr/{key}"] = data


def stored(server: ObjectServer) -> dict[str, bytes]:
    return {k.removeprefix("some where/c.zarr/"): v for k, v in server.objects.copy().items()}


def test_a_cache_is_written_continued_and_extended(
    server: ObjectServer, corpus: Path, whole: Path, tmp_path: Path
) -> None:
    assert "Nothing was written" in succeeded(precompute(server, corpus, "--plan"))
    assert server.objects == {}
    assert f"{URL} is complete: 9 work units" in succeeded(precompute(server, corpus))
    assert stored(server) == tree_bytes(whole)
    assert "nothing to do" in succeeded(precompute(server, corpus))
    succeeded(precompute(server, corpus, "--signal", "clip_embedding"))
    assert f"{URL}/parts/part-001/" not in stored(server)
    assert "parts/part-001/clip_embedding/c/0/0" in stored(server)
    for value in server.objects.values():
        assert SECRET.encode() not in value


def test_a_killed_command_and_slices_at_once_give_the_same_bytes(
    server: ObjectServer, corpus: Path, whole: Path
) -> None:
    server.delay_s = 0.02
    words = (f"folder:{corpus}", *TEACHER, "--out", URL)
    with Started("precompute-teacher", *words, **server.environment) as killed:
        while not any("/logits/c/" in key for key in stored(server)):
            assert killed.poll() is None
        killed.kill()
    server.delay_s = 0
    texts = ("1/2", "2/2")
    with ThreadPoolExecutor(len(texts)) as pool:
        runs = list(pool.map(lambda text: precompute(server, corpus, "--slice", text), texts))
    assert [run.returncode for run in runs] == [0] * len(texts), runs
    assert stored(server) == tree_bytes(whole)


def test_workers_get_the_address_and_a_repair_gives_the_same_bytes(
    server: ObjectServer, corpus: Path, whole: Path
) -> None:
    upload(server, whole)
    prefix = "some where/c.zarr/parts/part-000"
    server.objects[f"{prefix}/waveform/c/2"] = b"broken"
    del server.objects[f"{prefix}/commits/000001.json"]
    damaged = command("inspect-cache", URL, "--verify", **server.environment)
    assert damaged.returncode == 3
    assert damaged.stdout.count("damaged parts/part-000/") == 2
    copied = command("inspect-cache", server.web("some%20where/c.zarr"), "--verify")
    assert "A web server is only read: repair the cache that it was copied from" in copied.stderr
    succeeded(precompute(server, corpus, "--repair", "--workers", 1))
    assert stored(server) == tree_bytes(whole)


def test_a_student_learns_from_an_address_what_it_learns_from_a_folder(
    server: ObjectServer, whole: Path, tmp_path: Path
) -> None:
    upload(server, whole)
    web = server.web("some%20where/c.zarr")
    train = ("--student", "tc-resnet", "--epochs", 1, "--batch-size", 8, "--distill", "logits=0.5")
    environment = server.environment | {"AFTERSOUND_LOCAL_COPY": f"{tmp_path}/chunks:1GB"}
    for name, place in {"local": whole, "afar": URL, "again": URL}.items():
        requested = server.count("GET", "/logits/c/")
        assert (requested > 0) == (name == "again")
        out = tmp_path / name
        succeeded(command("train-student", place, "--out", out, *train, **environment))
    assert server.count("GET", "/logits/c/") == requested, "its chunks are on this machine by now"
    local, afar, again = (
        (tmp_path / name / "model.safetensors").read_bytes() for name in ("local", "afar", "again")
    )
    assert local == afar == again
    score = ("evaluate-student", tmp_path / "afar")
    texts = [succeeded(command(*score, place, "--json")) for place in (whole, web)]
    assert json.loads(texts[0]) == json.loads(texts[1])
    shown = succeeded(command("inspect-cache", web, "--verify"))
    assert shown.startswith(f"{web}  finished")
    assert "every stored object has its recorded digest" in shown
    assert {method for method, _ in server.requests} <= {"GET", "HEAD"}


def test_comparisons_read_from_an_address(
    server: ObjectServer, whole: Path, tmp_path: Path
) -> None:
    upload(server, whole)
    shown = succeeded(
        command(
            "compare-students", URL, "--student", "tc-resnet", "--out", tmp_path / "all", "--plan",
            **server.environment,
        )
    )  # fmt: skip
    assert "tc-resnet" in shown
    assert not (tmp_path / "all").exists()


@pytest.mark.parametrize(
    ("out", "problem"),
    [
        ("ftp://host/c.zarr", "known: s3://, gs://, az://, file://, http://, https://"),
        ("https://host/c.zarr", "web server, which is only read"),
        ("s3://me:word@bucket/c.zarr", "credentials in it"),
    ],
)
def test_an_address_that_cannot_be_written_is_a_usage_error(
    server: ObjectServer, tmp_path: Path, out: str, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = precompute(server, tmp_path, out=out)
    assert run.returncode == 2
    assert problem in run.stderr
    assert not list(tmp_path.iterdir())
    assert server.requests == []


def test_another_things_place_and_another_recipe_are_rejected(
    server: ObjectServer, corpus: Path, whole: Path
) -> None:
    server.objects["some where/c.zarr/notes.txt"] = b"mine"
    run = precompute(server, corpus)
    assert run.returncode == 2
    assert "holds notes.txt" in run.stderr
    server.objects.clear()
    upload(server, whole)
    run = precompute(server, corpus, "--seed", 5)
    assert run.returncode == 3
    assert "seed: cache 0, this run 5" in run.stderr
    assert stored(server) == tree_bytes(whole)


def test_a_store_that_ignores_conditions_is_rejected(corpus: Path) -> None:
    with object_server(conditional=False) as server:
        run = precompute(server, corpus)
        assert run.returncode == 1
        assert "Nothing else was written" in run.stderr
        assert server.objects == {}
