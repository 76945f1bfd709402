"""Getting a published corpus: from a real server that fails in real ways, or from a folder."""

from __future__ import annotations

import hashlib
import io
import shutil
import stat
import subprocess
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from fuzzing import run
from limited_disk import fail_on_a_full_disk, skip_without_mounts
from small_corpora.esc import write as write_esc
from small_corpora.fsd50k import write as write_fsd50k
from small_corpora.sonyc_ust import write as write_sonyc_ust

from cache_schema.errors import RunError, UsageError
from pipeline.corpora import CORPORA, read_corpus
from pipeline.prepare.archives import OFFICIAL_CORPORA, Archive, OfficialCorpus
from pipeline.prepare.cli import main as prepare_corpus
from pipeline.prepare.download import check_free_space
from pipeline.prepare.prepare import prepare

BODY = bytes(range(256)) * 1000


@dataclass
class Server:
    """What a server has, how it fails, and what was requested of it."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    cut_after: list[int] = field(default_factory=list)  # bytes that each of the first answers has
    status: int = 200
    ranges: list[str | None] = field(default_factory=list)
    knows_ranges: bool = True


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.ranges.append(self.headers["Range"])
            content = state.files.get(self.path.strip("/"))
            if state.status != 200 or content is None:
                self.send_error(state.status if content is not None else 404)
                return
            start = 0
            if self.headers["Range"] and state.knows_ranges:
                start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
                self.send_response(206 if start < len(content) else 416)
                of = f"{start}-{len(content) - 1}" if start < len(content) else "*"
                self.send_header("Content-Range", f"bytes {of}/{len(content)}")
            else:
                self.send_response(200)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            body = content[start:]
            self.wfile.write(body[: state.cut_after.pop(0)] if state.cut_after else body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        state.url = f"http://127.0.0.1:{http.server_address[1]}"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield state
        http.shutdown()
        thread.join()


def published(server: Server, name: str, content: bytes, digest: str | None = "") -> Archive:
    """Put a file on the server; its checksum is the right one unless another, or None, is given."""
    server.files[name] = content
    right = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return Archive(name, f"{server.url}/{name}", right if digest == "" else digest)


def plain(*archives: Archive) -> dict[str, OfficialCorpus]:
    """A table with one corpus, of files that are no archives."""
    holds = tuple(archive.name for archive in archives)
    return {"tiny": OfficialCorpus(kind="csv", archives=archives, holds=holds)}


def got(corpora: dict[str, OfficialCorpus], out: Path, source: Path | None = None) -> list[str]:
    lines: list[str] = []
    prepare("tiny", out, source, report=lines.append, corpora=corpora)
    return lines


def failure(corpora: dict[str, OfficialCorpus], out: Path, source: Path | None = None) -> str:
    with pytest.raises(RunError) as caught:
        got(corpora, out, source)
    assert not (out / "tiny").exists()
    assert not (out / "tiny.unpacking").exists()
    return str(caught.value)


def tar_of(members: dict[str, bytes | tarfile.TarInfo]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, content in members.items():
            if isinstance(content, bytes):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
            else:
                tar.addfile(content)
    return stream.getvalue()


def zip_of(folder: Path) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as whole:
        for path in sorted(folder.rglob("*")):
            whole.write(path, path.relative_to(folder.parent))
    return stream.getvalue()


# --- downloads -----------------------------------------------------------------------------------


@pytest.mark.parametrize("digest", [None, ""])
def test_a_web_page_in_the_place_of_a_file_is_named(
    server: Server, tmp_path: Path, digest: str | None
) -> None:
    archive = published(server, "list.csv", BODY, digest)
    server.files["list.csv"] = b"\n<!DOCTYPE html><title>Sign in</title>"
    assert "list.csv is a web page, as of a proxy" in failure(plain(archive), tmp_path)
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved/list.csv").write_bytes(server.files["list.csv"])
    assert "list.csv is a web page" in failure(plain(archive), tmp_path, tmp_path / "saved")
    server.files["list.csv"] = BODY
    got(plain(archive), tmp_path)
    assert (tmp_path / "tiny/list.csv").read_bytes() == BODY


def test_a_file_is_fetched_verified_and_put_in_place(server: Server, tmp_path: Path) -> None:
    md5 = f"md5:{hashlib.md5(BODY).hexdigest()}"
    lines = got(plain(published(server, "list.csv", BODY, md5)), tmp_path)
    assert (tmp_path / "tiny/list.csv").read_bytes() == BODY
    assert f"list.csv: {md5}, as published" in lines
    assert lines[-1].startswith(f"Next: precompute-teacher csv:{tmp_path / 'tiny'} ")
    assert [p.name for p in (tmp_path / "archives/tiny").iterdir()] == ["list.csv"]


def test_a_lost_connection_is_taken_up_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.cut_after = [100_000, 50_000]
    got(plain(published(server, "list.csv", BODY)), tmp_path)
    assert (tmp_path / "tiny/list.csv").read_bytes() == BODY
    assert server.ranges == [None, "bytes=100000-", "bytes=150000-"]


def test_a_repeated_command_goes_on_with_its_part(server: Server, tmp_path: Path) -> None:
    corpora = plain(published(server, "list.csv", BODY))
    server.cut_after = [100_000, 0]
    message = failure(corpora, tmp_path)
    assert "ended after 100000 of 256000 bytes" in message
    assert "Repeat the command to go on" in message
    got(corpora, tmp_path)
    assert server.ranges[-1] == "bytes=100000-"
    assert (tmp_path / "tiny/list.csv").read_bytes() == BODY


def test_a_part_that_is_whole_already_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "archives/tiny").mkdir(parents=True)
    (tmp_path / "archives/tiny/list.csv.part").write_bytes(BODY)
    got(plain(published(server, "list.csv", BODY)), tmp_path)
    assert server.ranges == [f"bytes={len(BODY)}-"]
    assert (tmp_path / "tiny/list.csv").read_bytes() == BODY


def test_a_part_longer_than_the_file_is_put_away(server: Server, tmp_path: Path) -> None:
    (tmp_path / "archives/tiny").mkdir(parents=True)
    (tmp_path / "archives/tiny/list.csv.part").write_bytes(BODY + b"more")
    corpora = plain(published(server, "list.csv", BODY))
    assert "another file than the part" in failure(corpora, tmp_path)
    got(corpora, tmp_path)


def test_a_server_without_ranges_begins_anew(server: Server, tmp_path: Path) -> None:
    server.cut_after, server.knows_ranges = [100_000], False
    got(plain(published(server, "list.csv", BODY)), tmp_path)
    assert (tmp_path / "tiny/list.csv").read_bytes() == BODY


def test_another_digest_keeps_nothing_and_shows_both(server: Server, tmp_path: Path) -> None:
    wrong = f"sha256:{'0' * 64}"
    message = failure(plain(published(server, "list.csv", BODY, wrong)), tmp_path)
    assert f"expected {wrong}" in message
    assert f"found    sha256:{hashlib.sha256(BODY).hexdigest()}" in message
    assert list((tmp_path / "archives/tiny").iterdir()) == []


def test_an_archive_damaged_since_is_found(server: Server, tmp_path: Path) -> None:
    corpora = plain(published(server, "list.csv", BODY))
    got(corpora, tmp_path)
    (tmp_path / "archives/tiny/list.csv").write_bytes(b"x")
    shutil.rmtree(tmp_path / "tiny")
    assert "Delete" in failure(corpora, tmp_path)


def test_a_file_without_a_published_digest_is_fetched_whole(server: Server, tmp_path: Path) -> None:
    corpora = plain(published(server, "list.csv", BODY, None))
    server.cut_after = [100_000]
    failure(corpora, tmp_path)
    lines = got(corpora, tmp_path)
    assert server.ranges == [None, None]
    found = hashlib.sha256(BODY).hexdigest()
    assert f"list.csv: no checksum is published; found sha256:{found}" in lines


@pytest.mark.parametrize(("status", "wanted"), [(500, "500"), (403, "403"), (404, "404")])
def test_an_error_of_the_server_is_reported(
    server: Server, tmp_path: Path, status: int, wanted: str
) -> None:
    corpora = plain(published(server, "list.csv", BODY))
    server.status = status
    message = failure(corpora, tmp_path)
    assert f"the server responded with {wanted}" in message
    assert f"{server.url}/list.csv" in message


def test_a_server_that_is_not_there_is_reported(tmp_path: Path) -> None:
    archive = Archive("list.csv", "http://127.0.0.1:9/list.csv", f"sha256:{'0' * 64}")
    assert "no connection" in failure(plain(archive), tmp_path)


def test_what_is_there_is_not_made_again(server: Server, tmp_path: Path) -> None:
    corpora = plain(published(server, "list.csv", BODY))
    got(corpora, tmp_path)
    got(corpora, tmp_path)
    assert len(server.ranges) == 1
    (tmp_path / "tiny/list.csv").unlink()
    with pytest.raises(RunError, match=r"is not the whole corpus: list\.csv not found"):
        got(corpora, tmp_path)


@pytest.mark.parametrize("name", ["tiny", "tiny.unpacking", "archives", "archives/tiny"])
def test_a_link_to_nothing_in_the_place_of_a_folder_is_reported(
    server: Server, tmp_path: Path, name: str
) -> None:
    corpora = plain(published(server, "list.csv", BODY))
    link = tmp_path / name
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(tmp_path / "nowhere")
    with pytest.raises(RunError, match=r"is a link to .*nowhere, .* Move it away and repeat"):
        got(corpora, tmp_path)
    link.unlink()
    if name != "tiny":  # a corpus may lie on another disk; nothing is written into it
        (tmp_path / "elsewhere").mkdir()
        link.symlink_to(tmp_path / "elsewhere")
        with pytest.raises(RunError, match=r"is a link to .*elsewhere"):
            got(corpora, tmp_path)
        assert list((tmp_path / "elsewhere").iterdir()) == []
        link.unlink()
    link.touch()
    with pytest.raises(RunError, match=f"{name} is no folder, and the corpus needs"):
        got(corpora, tmp_path)
    assert not server.ranges


# --- archives ------------------------------------------------------------------------------------


def table(archive: Archive, holds: str = "a.txt", inside: str = ".") -> dict[str, OfficialCorpus]:
    return {"tiny": OfficialCorpus(kind="esc", archives=(archive,), holds=(holds,), inside=inside)}


def test_the_corpus_is_the_folder_inside_the_archive(server: Server, tmp_path: Path) -> None:
    write_esc(tmp_path / "ESC-50-1")
    archive = published(server, "esc.zip", zip_of(tmp_path / "ESC-50-1"))
    corpora = table(archive, "meta/esc50.csv", "ESC-50-1")
    got(corpora, tmp_path / "out")
    made = read_corpus(f"esc:{tmp_path / 'out/tiny'}")
    assert made.clips == read_corpus(f"esc:{tmp_path / 'ESC-50-1'}").clips


def linking() -> tarfile.TarInfo:
    link = tarfile.TarInfo("a.txt")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return link


@pytest.mark.parametrize("name", ["../a.txt", "/a.txt", "b/../../a.txt"])
def test_members_that_lead_out_are_rejected(server: Server, tmp_path: Path, name: str) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as whole:
        whole.writestr("good.txt", b"x")
        whole.writestr(name, b"x")
    tar = tar_of({"good.txt": b"x", name: b"x"})
    for file, content in {"a.zip": stream.getvalue(), "a.tar.gz": tar}.items():
        message = failure(table(published(server, file, content)), tmp_path / "out")
        assert f"its member {name!r} leads out of the folder" in message
    assert not (tmp_path / "a.txt").exists()


def test_links_in_an_archive_are_rejected(server: Server, tmp_path: Path) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as whole:
        info = zipfile.ZipInfo("a.txt")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        whole.writestr(info, "/etc/passwd")
    archives = {"a.zip": stream.getvalue(), "a.tar.gz": tar_of({"a.txt": linking()})}
    for file, content in archives.items():
        message = failure(table(published(server, file, content)), tmp_path)
        assert "its member 'a.txt' is a link or no plain file" in message


def test_more_than_the_disk_has_room_for_is_rejected(server: Server, tmp_path: Path) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as whole:
        for number in range(20_000):
            whole.writestr(str(number), b"")
    content, at = bytearray(stream.getvalue()), 0
    while (at := content.find(b"PK\1\2", at)) >= 0:  # claim of each that it is 4 GB large
        at += 24
        content[at : at + 4] = b"\xfe\xff\xff\xff"
    message = failure(table(published(server, "a.zip", bytes(content))), tmp_path)
    assert "unpacking a.zip needs " in message
    assert "TB in " in message


def test_a_disk_that_lacks_a_little_is_reported_to_the_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=58_712_345_678)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(RunError) as caught:
        check_free_space(tmp_path, 58_712_345_679, "a.zip")
    assert f"needs 58,712,345,679 B in {tmp_path}, 58,712,345,678 B are free" in str(caught.value)


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
@pytest.mark.parametrize("kept", [0, 20, 0.5, 0.9])
def test_a_damaged_archive_is_reported(
    server: Server, tmp_path: Path, name: str, kept: float
) -> None:
    write_esc(tmp_path / "c")
    whole = zip_of(tmp_path / "c") if name == "a.zip" else tar_of({"a.txt": BODY, "b": BODY})
    content = whole[: int(kept * len(whole)) if kept < 1 else int(kept)]
    message = failure(table(published(server, name, content)), tmp_path / "out")
    assert "cannot be unpacked" in message or "lack a.txt" in message


def zip_packed_by(method: int, damage: int) -> bytes:
    """An archive with a flipped byte in what it has packed."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as whole:
        whole.writestr("a.txt", BODY)
    content = bytearray(stream.getvalue())
    content[damage] ^= 255
    return bytes(content)


def tar_with_time(text: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as whole:
        member = tarfile.TarInfo("a.txt")
        member.pax_headers = {"mtime": text}
        whole.addfile(member)
    return stream.getvalue()


ODD_ARCHIVES = {
    "lzma.zip": zip_packed_by(zipfile.ZIP_LZMA, 60),
    "bzip2.zip": zip_packed_by(zipfile.ZIP_BZIP2, 60),
    "crc.tar.gz": tar_of({"a.txt": BODY})[:-8] + bytes(8),
    "both.tar.gz": tar_of({"a.txt": b"x", "a.txt/b": b"x"}),
    "long.tar.gz": tar_of({"a" * 300: b"x"}),
    "nul.tar.gz": tar_of({"a\0b" + "c" * 120: b"x"}),
    "inf.tar": tar_with_time("inf"),
    "past.tar": tar_with_time("-1e19"),
    "nan.tar": tar_with_time("nan"),
}


@pytest.mark.parametrize("name", ODD_ARCHIVES)
def test_what_no_library_can_unpack_is_reported_with_its_name(
    server: Server, tmp_path: Path, name: str
) -> None:
    message = failure(table(published(server, name, ODD_ARCHIVES[name])), tmp_path / "out")
    assert f"{name} cannot be unpacked: " in message
    assert "Delete it and repeat the command." in message


def test_an_archive_of_something_else_is_reported(server: Server, tmp_path: Path) -> None:
    archive = published(server, "a.tar.gz", tar_of({"b.txt": b"x"}))
    assert "the archives lack a.txt" in failure(table(archive), tmp_path)


# --- split archives ------------------------------------------------------------------------------


def split_zip(tmp_path: Path) -> tuple[dict[str, OfficialCorpus], Path, Path]:
    """FSD50K's layout in archives of which one is split, made as its authors made theirs."""
    if shutil.which("zip") is None:
        pytest.skip("needs zip (Info-ZIP)")
    corpus, source = tmp_path / "corpus", tmp_path / "source"
    write_fsd50k(corpus)
    for number in range(8):  # small ones: zip 3.0 loses what spans three parts
        noise = b"".join(
            hashlib.sha256(bytes([n % 256, n // 256, number])).digest() for n in range(1000)
        )
        (corpus / f"FSD50K.dev_audio/noise{number}.bin").write_bytes(noise)
    source.mkdir()
    zipped = in_folder(
        corpus, "zip", "-q", "-r", "-s", "64k", source / "dev.zip", "FSD50K.dev_audio"
    )
    assert zipped == 0
    rest = ("FSD50K.eval_audio", "FSD50K.ground_truth")
    assert in_folder(corpus, "zip", "-q", "-r", source / "rest.zip", *rest) == 0
    files = sorted(source.iterdir())
    assert len(files) > 4
    archives = tuple(
        Archive(f.name, "http://nowhere", f"md5:{hashlib.md5(f.read_bytes()).hexdigest()}")
        for f in files
    )
    fsd50k = OFFICIAL_CORPORA["fsd50k"]
    return {"tiny": replace(fsd50k, archives=archives)}, source, corpus


def in_folder(folder: Path, *words: object) -> int:
    return subprocess.run([*map(str, words)], cwd=folder, check=False).returncode


def test_a_split_archive_is_joined_and_unpacked(tmp_path: Path) -> None:
    corpora, source, corpus = split_zip(tmp_path)
    got(corpora, tmp_path / "out", source)
    made = tmp_path / "out/tiny"
    assert {p.relative_to(made): p.read_bytes() for p in made.rglob("*") if p.is_file()} == {
        p.relative_to(corpus): p.read_bytes() for p in corpus.rglob("*") if p.is_file()
    }
    assert read_corpus(f"fsd50k:{made}").clips == read_corpus(f"fsd50k:{corpus}").clips
    assert list((tmp_path / "out/archives/tiny").iterdir()) == []


def test_without_zip_the_command_is_reported_and_what_it_made_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpora, source, _ = split_zip(tmp_path)
    path = shutil.which("zip")
    monkeypatch.setenv("PATH", "")
    message = failure(corpora, tmp_path / "out", source)
    assert "the program zip joins" in message
    by_hand = message.splitlines()[-1].split()
    assert by_hand[:4] == ["zip", "-q", "-s", "0"]
    assert in_folder(tmp_path, str(path), *by_hand[1:]) == 0
    got(corpora, tmp_path / "out", source)


def test_parts_that_zip_cannot_join_are_reported(tmp_path: Path) -> None:
    corpora, source, _ = split_zip(tmp_path)
    (source / "dev.zip").write_bytes(b"no archive")
    digest = f"md5:{hashlib.md5(b'no archive').hexdigest()}"
    tiny = corpora["tiny"]
    swapped = tuple(replace(a, digest=digest) if a.name == "dev.zip" else a for a in tiny.archives)
    corpora = {"tiny": replace(tiny, archives=swapped)}
    assert "zip could not join" in failure(corpora, tmp_path / "out", source)


# --- from a folder -------------------------------------------------------------------------------


def test_archives_of_a_folder_are_verified_and_unpacked(server: Server, tmp_path: Path) -> None:
    corpora = table(published(server, "a.tar.gz", tar_of({"a.txt": b"x"})))
    source = tmp_path / "source"
    source.mkdir()
    with pytest.raises(UsageError, match=r"1 missing\n  - a.tar.gz \(http://"):
        got(corpora, tmp_path / "out", source)
    (source / "a.tar.gz").write_bytes(b"other")
    assert "a.tar.gz is not the published file" in failure(corpora, tmp_path / "out", source)
    assert (source / "a.tar.gz").exists()
    (source / "a.tar.gz").write_bytes(server.files["a.tar.gz"])
    got(corpora, tmp_path / "out", source)
    assert (tmp_path / "out/tiny/a.txt").read_bytes() == b"x"
    assert server.ranges == []


def test_the_command_uses_an_unpacked_corpus_where_it_lies(tmp_path: Path) -> None:
    write_esc(tmp_path / "mine")
    code, output = run(
        prepare_corpus, "esc50", "--out", tmp_path / "out", "--from", tmp_path / "mine"
    )
    assert code == 0
    assert f"Next: precompute-teacher esc:{tmp_path / 'mine'} --teacher" in output
    assert not (tmp_path / "out").exists()


def test_a_list_beside_packed_audio_does_not_make_a_corpus(tmp_path: Path) -> None:
    (tmp_path / "annotations.csv").write_text("split\n")
    (tmp_path / "audio-0.tar.gz").write_bytes(b"no archive")
    code, output = run(prepare_corpus, "sonyc-ust", "--out", tmp_path / "o", "--from", tmp_path)
    assert code == 2
    assert "missing" in output
    assert "is ready" not in output


def test_a_list_without_audio_does_not_make_a_corpus(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    write_sonyc_ust(mine)
    words = ("sonyc-ust", "--out", tmp_path / "out", "--from", mine)
    code, output = run(prepare_corpus, *words)
    assert code == 0
    assert "is ready" in output
    for recording in mine.rglob("*.wav"):
        recording.unlink()
    code, output = run(prepare_corpus, *words)
    assert code == 2
    assert "holds neither the corpus unpacked (annotations.csv, **/*.wav) nor all" in output


def test_the_command_names_the_known_and_what_is_missing(tmp_path: Path) -> None:
    code, output = run(prepare_corpus, "esc-50", "--out", tmp_path)
    assert code == 2
    assert "Did you mean 'esc50'?" in output
    code, output = run(prepare_corpus, "fsd50k", "--out", tmp_path / "out", "--from", tmp_path)
    assert code == 2
    assert "11 missing" in output
    assert "https://zenodo.org/records/4060432/files/FSD50K.dev_audio.z01?download=1" in output


def test_a_full_disk_is_reported_and_the_command_goes_on_with_room(tmp_path: Path) -> None:
    skip_without_mounts(tmp_path)
    name = OFFICIAL_CORPORA["fsdd"].inside
    write = {f"{name}/recordings/0_a_{n}.wav": BODY for n in range(4)}
    source = tmp_path / "source"
    source.mkdir()
    (source / f"{name}.tar.gz").write_bytes(tar_of(dict(write)))
    words = ("-m", "pipeline.prepare.cli", "fsdd", "--out", "DISK/out", "--from", source)
    disk_error = fail_on_a_full_disk(tmp_path / "disk", 500_000, "python", *words)
    assert "needs 1" in disk_error
    assert "Free some space there" in disk_error
    assert not (tmp_path / "disk/left/out/fsdd").exists()
    made = tmp_path / "disk/end/out/fsdd/recordings"
    assert sorted(p.name for p in made.iterdir()) == [f"0_a_{n}.wav" for n in range(4)]


# --- the table -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OFFICIAL_CORPORA)
def test_the_table_is_well_formed(name: str) -> None:
    corpus = OFFICIAL_CORPORA[name]
    assert corpus.kind in CORPORA
    names = [archive.name for archive in corpus.archives]
    assert len(set(names)) == len(names) > 0
    assert corpus.holds
    for archive in corpus.archives:
        assert archive.url.startswith(("https://", "http://download.tensorflow.org/"))
        assert archive.name in archive.url or "github.com" in archive.url
        algorithm, _, digest = (archive.digest or "").partition(":")
        assert len(digest) == {"": 0, "md5": 32, "sha256": 64}[algorithm]
    digests = [archive.digest for archive in corpus.archives if archive.digest]
    assert len(set(digests)) == len(digests)
