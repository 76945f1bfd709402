"""Recordings on a store or a web server: the rows of a local corpus, whatever the network does."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from commands import command, succeeded, write_tones
from object_server import ObjectServer, object_server
from small_cache import tree_bytes

pytest.importorskip("obstore", reason="the extra 'cloud' is not installed")

TEACHER = ("--teacher", "toy", "--unit-rows", 4)
PLACE = "data/some tones"
BROKEN = "train/high/broken.wav"
# The command, with shorter waits between the same attempts.
EAGER = """
from datetime import timedelta
from cache_schema.store import cloud

cloud.PATIENCE["backoff"]["init_backoff"] = timedelta(milliseconds=10)
from pipeline.precompute.cli import main
main()
"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_tones(tmp_path_factory.mktemp("corpus") / "tones", per_class=4)
    (folder / BROKEN).write_bytes(b"RIFF" + bytes(100))
    (folder / "train/high/empty.wav").write_bytes(b"")
    return folder


@pytest.fixture(scope="module")
def local(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return rows(f"folder:{corpus}", tmp_path_factory.mktemp("local") / "c.zarr")


@pytest.fixture
def server(corpus: Path) -> Iterator[ObjectServer]:
    with object_server() as found:
        found.objects |= {f"{PLACE}/{key}": data for key, data in tree_bytes(corpus).items()}
        yield found


def precompute(corpus: str, out: Path, *more: object, **env: str) -> CompletedProcess[str]:
    return command("precompute-teacher", corpus, *TEACHER, "--out", out, *more, **env)


def rows(corpus: str, out: Path, *more: object, **env: str) -> dict[str, bytes]:
    succeeded(precompute(corpus, out, *more, **env))
    return tree_bytes(out)


def listed(corpus: Path) -> str:
    """A list of the tones with class and split."""
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(["path", "label", "split"])
    for path in sorted(corpus.rglob("*.*")):
        name = path.relative_to(corpus)
        writer.writerow([name, name.parts[1], name.parts[0]])
    return file.getvalue()


def test_a_folder_and_a_list_on_a_store_give_the_cache_of_local_files(
    server: ObjectServer, corpus: Path, local: dict[str, bytes], tmp_path: Path
) -> None:
    server.objects |= {f"{PLACE}/.hidden/train/high/9.flac": b"", f"{PLACE}/notes.txt": b"loud"}
    server.objects |= {f"{PLACE}/old.zarr/zarr.json": b"{}", f"{PLACE}/old.zarr/high/1.wav": b""}
    place = f"s3://bucket/{PLACE}"
    out = tmp_path / "folder.zarr"
    shown = succeeded(precompute(f"folder:{place}", out, **server.environment))
    assert "not read: old.zarr/ (a cache)" in shown
    assert "1 file(s) without an audio suffix left out: .txt 1" in shown
    assert tree_bytes(out) == local
    # A recording is read for its header, and to be decoded.
    assert server.count("GET") <= 2 * len(tree_bytes(corpus)) + 8
    server.objects[f"{PLACE}/list.csv"] = listed(corpus).encode()
    assert rows(f"csv:{place}/list.csv", tmp_path / "list.zarr", **server.environment) == local
    list_here = tmp_path / "here.csv"
    list_here.write_text(listed(corpus))
    here = f"csv:{list_here}?root={place}"
    assert rows(here, tmp_path / "here.zarr", "--workers", 2, **server.environment) == local


def test_a_web_server_is_read_by_a_list_whether_or_not_it_gives_parts(
    server: ObjectServer, corpus: Path, local: dict[str, bytes], tmp_path: Path
) -> None:
    server.objects[f"{PLACE}/list.csv"] = listed(corpus).encode()
    text = f"csv:{server.web(PLACE).replace(' ', '%20')}/list.csv"
    assert rows(text, tmp_path / "parts.zarr") == local
    server.parts = False
    assert rows(text, tmp_path / "whole.zarr") == local
    refused = precompute(text.replace("csv:", "folder:").removesuffix("/list.csv"), tmp_path / "f")
    assert refused.returncode == 2
    assert "is on a web server, which is not listed" in refused.stderr


def test_failing_requests_change_no_row(
    server: ObjectServer, local: dict[str, bytes], tmp_path: Path
) -> None:
    faults = {0: "503", 3: "reset", 6: "truncated"}
    # Half of an answer that has none is the answer of a store that refuses.
    server.fault = lambda method, key, number: None if "empty" in key else faults.get(number % 10)
    place = f"folder:s3://bucket/{PLACE}"
    assert rows(place, tmp_path / "c.zarr", program=EAGER, **server.environment) == local


def test_what_vanishes_after_planning_ends_its_unit_and_is_no_finding(
    server: ObjectServer, local: dict[str, bytes], tmp_path: Path
) -> None:
    gone = f"{PLACE}/train/high/0.flac"
    kept = server.objects[gone]

    def drop_after_its_header(method: str, key: str, number: int) -> None:
        if key == gone and method == "GET" and server.count("GET", gone) == 2:
            server.objects.pop(gone, None)

    server.fault = drop_after_its_header  # type: ignore[assignment]
    out = tmp_path / "c.zarr"
    failed = precompute(f"folder:s3://bucket/{PLACE}", out, **server.environment)
    assert failed.returncode == 1
    assert f"s3://bucket/{gone} cannot be read" in failed.stderr
    assert "It could be read when this was planned" in failed.stderr
    server.fault = lambda method, key, number: None
    server.objects[gone] = kept
    assert rows(f"folder:s3://bucket/{PLACE}", out, **server.environment) == local


def test_a_local_address_is_a_path(corpus: Path, local: dict[str, bytes], tmp_path: Path) -> None:
    assert rows(f"folder:file://{corpus}", tmp_path / "c.zarr") == local


def test_what_a_web_server_lacks_is_not_there(server: ObjectServer, tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("path,label\nno.wav,low\n")
    place = server.web(PLACE).replace(" ", "%20")
    refused = precompute(f"csv:{tmp_path}/l.csv?root={place}", tmp_path / "c")
    assert refused.returncode == 2
    assert "1 are not there, first no.wav" in refused.stderr


def test_web_addresses_are_decoded_below_their_prefix_alone(
    server: ObjectServer, corpus: Path, tmp_path: Path
) -> None:
    tone = (corpus / "train/low/0.flac").read_bytes()
    server.objects |= {
        f"eps/{name}.flac": tone for name in ("Ep 0 \u2013 caf\u00e9", "100%25", "plain")
    }
    names = ("Ep%200%20%E2%80%93%20caf%C3%A9", "100%2525", "plain")
    place = server.web("eps").rstrip("/")
    whole = [f"{place}/{name}.flac,low,train" for name in names]
    (tmp_path / "l.csv").write_text("\n".join(["path,label,split", *whole]))
    text = f"csv:{tmp_path}/l.csv?root={place}"
    shown = succeeded(precompute(f"{text}&prefix={place}", tmp_path / "c", "--plan"))
    assert "3 of low\n" in shown
    assert ", 0 unusable by their header" in shown
    (tmp_path / "l.csv").write_text(f"path,label\n{names[0]}.flac,low\n")
    refused = precompute(text, tmp_path / "c")
    assert refused.returncode == 2
    assert "write names as the server has them, decoded (Python's urllib" in refused.stderr


def test_addresses_of_files_that_are_here_are_explained(corpus: Path, tmp_path: Path) -> None:
    place = "https://cdn.example.com/own"
    (tmp_path / "l.csv").write_text(f"path,label\n{place}/train/low/0.flac,low\n")
    text = f"csv:{tmp_path}/l.csv?root={corpus}"
    refused = precompute(text, tmp_path / "c")
    assert f"If {place} stands for {corpus}: ?prefix={place}" in refused.stderr
    shown = succeeded(precompute(f"{text}&prefix={place}", tmp_path / "c", "--plan"))
    assert ", 0 unusable by their header" in shown


def test_what_is_listed_and_not_there_is_explained(server: ObjectServer, tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("path,label\ntrain/HIGH/0.flac,high\nno.wav,low\n")
    text = f"csv:{tmp_path}/l.csv?root=s3://bucket/{PLACE}"
    refused = precompute(text, tmp_path / "c", **server.environment)
    assert refused.returncode == 2
    assert "(there is train/high/0.flac): names differ in upper and lower case" in refused.stderr
    assert "1 are not there, first no.wav" in refused.stderr


@pytest.mark.parametrize("path", ["../secret.wav", "/etc/passwd", "a/../../b.wav"])
def test_a_list_does_not_lead_out_of_its_place(
    server: ObjectServer, tmp_path: Path, path: str
) -> None:
    server.objects["data/secret.wav"] = b"RIFF"
    (tmp_path / "l.csv").write_text(f"path,label\n{path},high\n")
    text = f"csv:{tmp_path}/l.csv?root=s3://bucket/{PLACE}"
    refused = precompute(text, tmp_path / "c", **server.environment)
    assert refused.returncode == 2
    assert "leaves the corpus folder" in refused.stderr
    assert server.requests == []


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("esc:s3://bucket/x", "only folder, csv, jsonl are read at an address"),
        ("folder:ftp://host/x", "ftp:// is no kind of address"),
        ("folder:s3://bucket/x?links=/tmp", "there are no links at s3://bucket/x"),
        ("folder:s3://me:pw@bucket/x", "credentials in it"),
    ],
)
def test_what_cannot_be_read_at_an_address_is_refused(
    server: ObjectServer, tmp_path: Path, text: str, wanted: str
) -> None:
    refused = precompute(text, tmp_path / "c", **server.environment)
    assert refused.returncode == 2
    assert wanted in refused.stderr
    assert "pw" not in refused.stderr
    assert not (tmp_path / "c").exists()


def test_corpora_on_a_store_are_joined_there_and_not_with_local_ones(
    server: ObjectServer, corpus: Path, tmp_path: Path
) -> None:
    server.objects |= {
        f"data/more/{name}.flac": server.objects[f"{PLACE}/train/{name}/1.flac"]
        for name in ("high", "low")
    }
    one, more = f"folder:s3://bucket/{PLACE}", "folder:s3://bucket/data/more"
    env, out = server.environment, tmp_path / "c.zarr"
    shown = succeeded(precompute(one, out, "--unlabelled", more, "--plan", **env))
    assert "train: 16 (14 labelled)" in shown
    refused = precompute(one, out, "--unlabelled", f"folder:{corpus}", **env)
    assert refused.returncode == 2
    assert "the corpora lie in different places" in refused.stderr
