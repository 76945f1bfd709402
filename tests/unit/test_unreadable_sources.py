"""What disk, network or memory refuse is tried again, then an error, never a finding about a clip."""

from __future__ import annotations

import errno
import io
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import soundfile
from small_corpora import hdf5
from sound_files import without_flac_count, without_mp3_count

from cache_schema.clip import Clip
from cache_schema.errors import RunError
from pipeline.audio import decode as audio
from pipeline.audio import members, source
from pipeline.audio.decode import UnusableAudio, decode, scan_header
from pipeline.audio.members import MemberProblem, container_errors
from pipeline.audio.source import Source
from pipeline.corpora import read_corpus
from pipeline.corpora.clip_audio import decode_clip

RATE_HZ = 16_000
REFUSALS = (
    errno.EIO, errno.ESTALE, errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM,
    errno.ENOSPC, errno.ETIMEDOUT, errno.ENODEV, errno.ECONNRESET,
)  # fmt: skip
TRIES = len(audio.RETRY_PAUSES_S) + 1


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio, "RETRY_PAUSES_S", (0.0,) * (TRIES - 1))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "a.wav"
    soundfile.write(file, 0.3 * np.sin(np.arange(9000) / 9), RATE_HZ)
    return file


@pytest.fixture(params=["decoded", "scanned"])
def read(request: pytest.FixtureRequest) -> Callable[[Path], Any]:
    if request.param == "scanned":
        return scan_header
    return lambda file: decode(file, sample_rate_hz=RATE_HZ).waveform


def failing(monkeypatch: pytest.MonkeyPatch, error: Exception, times: int) -> list[str]:
    """Let the first tries to open a file fail; returns the paths that were tried."""
    tried: list[str] = []
    usual = Path.open

    def opened(self: Path, *args: Any, **kwargs: Any) -> Any:
        tried.append(str(self))
        if len(tried) <= times:
            raise error
        return usual(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", opened)
    return tried


@pytest.mark.parametrize("number", REFUSALS)
def test_a_refusal_that_stays_is_an_error_with_the_path(
    path: Path, read: Callable[[Path], Any], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    tried = failing(monkeypatch, OSError(number, os.strerror(number)), times=99)
    with pytest.raises(RunError, match="repeat the command") as raised:
        read(path)
    assert raised.value.exit_code == 1
    assert str(path) in str(raised.value)
    assert os.strerror(number) in str(raised.value)
    assert tried == [str(path)] * TRIES


def test_a_refusal_that_passes_leaves_no_trace(
    path: Path, read: Callable[[Path], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = read(path)
    tried = failing(monkeypatch, OSError(errno.ESTALE, "stale"), times=TRIES - 1)
    assert np.array_equal(read(path), expected)
    assert len(tried) == TRIES


def test_want_of_memory_is_an_error(
    path: Path, read: Callable[[Path], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, MemoryError(), times=99)
    with pytest.raises(RunError, match="out of memory"):
        read(path)


class _Disk(io.FileIO):
    """A file whose disk fails behind some bytes, as often as it is set to."""

    failures_left = 99

    def readinto(self, buffer: Any) -> int:
        if self.tell() > 4096 and type(self).failures_left > 0:
            type(self).failures_left -= 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().readinto(buffer) or 0


@pytest.mark.parametrize("container", ["WAV", "FLAC", "OGG", "MP3"])
@pytest.mark.parametrize("failures", [2, 99])
def test_a_disk_that_fails_while_a_decoder_reads_does_not_make_a_truncated_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, container: str, failures: int
) -> None:
    path = tmp_path / f"a.{container.lower()}"
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 30_000)
    soundfile.write(path, noise, RATE_HZ, format=container)
    expected = decode(path, sample_rate_hz=RATE_HZ).waveform
    _Disk.failures_left = failures
    monkeypatch.setattr(source, "_file", lambda file: io.BufferedReader(_Disk(file)))
    if failures > TRIES:
        with pytest.raises(RunError, match="Input/output error"):
            decode(path, sample_rate_hz=RATE_HZ)
        return
    assert np.array_equal(decode(path, sample_rate_hz=RATE_HZ).waveform, expected)


@pytest.mark.parametrize("container", ["FLAC", "MP3"])
def test_a_disk_that_fails_while_frames_are_counted_leaves_no_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, container: str
) -> None:
    path = tmp_path / f"a.{container.lower()}"
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 30_000)
    soundfile.write(path, noise, RATE_HZ, format=container)
    strip = without_flac_count if container == "FLAC" else without_mp3_count
    path.write_bytes(strip(path.read_bytes()))
    expected = scan_header(path)
    monkeypatch.setattr(audio, "_counts", {})
    usual, tries = Source.readinto, []

    def refused_once(self: Source, buffer: Any) -> int:
        if self.tell() > 4096 and not tries:
            tries.append(self.tell())
            self._failure = OSError(errno.EIO, os.strerror(errno.EIO))
        return usual(self, buffer)

    monkeypatch.setattr(Source, "readinto", refused_once)
    assert scan_header(path) == expected
    assert tries


def test_no_file_can_be_opened_any_more(path: Path, read: Callable[[Path], Any]) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    open_now = [int(name) for name in os.listdir("/proc/self/fd")]
    spare = os.open(os.devnull, os.O_RDONLY)  # the lowest free number is above all others below
    try:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (min(set(range(4096)) - {*open_now, spare}), hard)
        )
        with pytest.raises(RunError, match="Too many open files"):
            read(path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        os.close(spare)
    read(path)


def test_a_file_written_to_while_it_is_read_is_read_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual, changed = audio._resampled, []

    def meanwhile(*args: Any) -> Any:
        if not changed:
            changed.append(path.write_bytes(path.read_bytes() + bytes(1)))
        return usual(*args)

    monkeypatch.setattr(audio, "_resampled", meanwhile)
    clip = decode(path, sample_rate_hz=RATE_HZ)
    monkeypatch.undo()
    assert clip.sha256 == decode(path, sample_rate_hz=RATE_HZ).sha256


# --- what was there when the corpus was read ------------------------------------------------------


@pytest.fixture
def planned(path: Path) -> tuple[Path, Clip]:
    clip = Clip(id="a", path="a.wav", labels=(), split="train", frames=9000, source_rate_hz=RATE_HZ)
    return path, clip


def gone(path: Path) -> None:
    path.unlink()


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def replaced(path: Path) -> None:
    path.write_bytes(b"no audio" * 99)


@pytest.mark.parametrize("change", [gone, emptied, replaced])
def test_a_clip_that_could_be_read_and_no_longer_can_is_an_error(
    planned: tuple[Path, Clip], change: Callable[[Path], None]
) -> None:
    path, clip = planned
    change(path)
    with pytest.raises(RunError, match="It could be read when this was planned") as raised:
        decode_clip(path.parent, clip, RATE_HZ)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize("change", [gone, emptied, replaced])
def test_a_clip_that_never_could_be_read_is_a_finding(
    path: Path, change: Callable[[Path], None]
) -> None:
    change(path)
    clip = Clip(id="a", path="a.wav", labels=(), split="train")
    with pytest.raises(UnusableAudio):
        decode_clip(path.parent, clip, RATE_HZ)


def test_a_listed_file_that_is_not_there_is_no_error_of_the_plan(path: Path) -> None:
    rows = "path,label,split\na.wav,x,train\nnever-there.wav,x,train\n"
    (path.parent / "clips.csv").write_text(rows)
    clips = read_corpus(f"csv:{path.parent}/clips.csv").clips
    assert {clip.path: clip.frames for clip in clips} == {"a.wav": 9000, "never-there.wav": 0}


def test_a_plan_stops_where_a_corpus_cannot_be_read(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path.parent / "clips.csv").write_text("path,label,split\na.wav,x,train\n")
    monkeypatch.setattr(source, "_file", lambda file: _raise(OSError(errno.EIO, "I/O error")))
    with pytest.raises(RunError, match=r"a\.wav cannot be read"):
        read_corpus(f"csv:{path.parent}/clips.csv")


def _raise(error: Exception) -> Any:
    raise error


# --- containers ----------------------------------------------------------------------------------


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    hdf5.write_waveform_pack(
        tmp_path / "train.h5", np.ones((3, 400), np.int16), np.eye(3, dtype=bool)
    )
    return tmp_path / "train.h5!/waveform/1"


def test_what_hdf5_reports_of_the_system_is_no_damage(
    pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library_text = (
        "Can't read data (file read failed: time = x, errno = 5, error message = 'I/O error')"
    )
    monkeypatch.setattr(h5py.Dataset, "__getitem__", lambda *_: _raise(OSError(library_text)))
    with pytest.raises(RunError, match=r"train\.h5 cannot be read .*Input/output error"):
        decode(pack, sample_rate_hz=RATE_HZ)


@pytest.mark.parametrize(
    "library_text", ["truncated file", "errno = 22, error message = 'x'", "errno = 0"]
)
def test_what_hdf5_reports_of_a_damaged_file_is_damage(library_text: str) -> None:
    with pytest.raises(MemberProblem), container_errors(Path("c.h5")):
        raise OSError(library_text)


def test_a_container_that_is_gone_is_an_error_of_a_clip_that_was_planned(pack: Path) -> None:
    clip = Clip(
        id="a", path="train.h5!/waveform/1", labels=(), split="train", frames=400,
        source_rate_hz=32_000,
    )  # fmt: skip
    root = pack.parents[2]
    decode_clip(root, clip, RATE_HZ)
    (root / "train.h5").unlink()
    with pytest.raises(RunError, match="its container is not there"):
        decode_clip(root, clip, RATE_HZ)


@pytest.mark.parametrize("left", [True, False])
def test_memory_that_a_container_needs_is_its_fault_while_there_is_some(
    monkeypatch: pytest.MonkeyPatch, left: bool
) -> None:
    monkeypatch.setattr(members, "_memory_is_left", lambda: left)
    with pytest.raises(MemberProblem if left else MemoryError), container_errors(Path("c.h5")):
        raise MemoryError


def test_a_folder_that_may_not_be_read_is_named_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "train" / "loud"
    folder.mkdir(parents=True)
    listed, state = os.scandir, os.stat
    denied = PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    def scandir(path: Any) -> Any:
        if isinstance(path, str | Path) and Path(path) == folder:
            raise denied
        return listed(path)

    def stat(path: Any, *words: Any, **more: Any) -> Any:
        if isinstance(path, str | Path) and Path(path).parent == folder:
            raise denied
        return state(path, *words, **more)

    monkeypatch.setattr(os, "scandir", scandir)
    monkeypatch.setattr(os, "stat", stat)
    with pytest.raises(
        RunError, match=f"{folder} cannot be read: Permission denied. Make it readable"
    ):
        read_corpus(f"folder:{tmp_path}")
