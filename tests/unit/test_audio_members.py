"""Audio inside container files is decoded like any file, from threads and from forked processes."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from small_corpora import hdf5, hugging_face

from pipeline.audio.decode import UnusableAudio, decode, scan_header
from pipeline.audio.members import MemberProblem, container_errors, container_of, split_member
from pipeline.corpora.walk import escapes_root

RATE_HZ = hdf5.RATE_HZ


@pytest.fixture
def waveforms() -> np.ndarray:
    return np.random.default_rng(0).integers(-32768, 32768, (5, 1000)).astype(np.int16)


@pytest.fixture
def pack(tmp_path: Path, waveforms: np.ndarray) -> Path:
    hdf5.write_waveform_pack(tmp_path / "train.h5", waveforms, np.eye(5, dtype=bool))
    return tmp_path / "train.h5"


def member(file: Path, row: int, name: str = "waveform") -> Path:
    return Path(f"{file}!/{name}/{row}")


def reason(path: Path) -> str:
    assert scan_header(path)[:2] == (0, 0)
    with pytest.raises(UnusableAudio) as caught:
        decode(path, sample_rate_hz=RATE_HZ)
    assert str(path.parent.parent.parent) not in caught.value.reason
    return caught.value.reason


@pytest.mark.parametrize(
    "path",
    ["a.wav", "x!/a.wav", "x.h5!/a.wav", "x.h5!/a/1.wav", "x.zip!/a/1", "x.h5/a/1", ".h5!/a/1"],
)
def test_ordinary_paths_are_no_members(path: str) -> None:
    assert split_member(path) is None
    assert container_of(Path(path)) == Path(path)


def test_audio_in_folders_that_end_in_an_exclamation_mark_is_read(tmp_path: Path) -> None:
    for name in ("x!/a.wav", "x.h5!/a.wav"):
        (tmp_path / name).parent.mkdir()
        soundfile.write(tmp_path / name, np.full(50, 0.1), 8000)
        assert scan_header(tmp_path / name)[:2] == (50, 8000)


def test_a_waveform_is_what_is_stored(pack: Path, waveforms: np.ndarray) -> None:
    for row, waveform in enumerate(waveforms):
        decoded = decode(member(pack, row), sample_rate_hz=RATE_HZ)
        assert np.array_equal(decoded.waveform * 32768, waveform)
        assert decoded.sha256 == hashlib.sha256(waveform.tobytes()).hexdigest()
        assert scan_header(member(pack, row))[:2] == (1000, RATE_HZ)


def test_old_packs_of_floats_are_read(tmp_path: Path) -> None:
    stored = np.random.default_rng(0).standard_normal((1, 500)).astype(np.float32)
    hdf5.write_waveform_pack(tmp_path / "a.h5", stored, np.ones((1, 1), bool))
    decoded = decode(member(tmp_path / "a.h5", 0), sample_rate_hz=RATE_HZ)
    assert np.array_equal(decoded.waveform, stored[0])


def test_a_stretch_of_a_member_is_cut(pack: Path, waveforms: np.ndarray) -> None:
    path = member(pack, 3)
    decoded = decode(path, start_s=0.01, end_s=0.02, sample_rate_hz=RATE_HZ)
    assert np.array_equal(decoded.waveform * 32768, waveforms[3, 320:640])
    assert scan_header(path, 0.01, 0.02)[:2] == (320, RATE_HZ)


def test_an_mp3_in_a_pack_is_the_mp3(tmp_path: Path) -> None:
    hdf5.write_mp3_pack(tmp_path / "a.hdf", np.eye(2, dtype=bool), 7)
    with h5py.File(tmp_path / "a.hdf") as file:
        (tmp_path / "a.mp3").write_bytes(file["mp3"][1].tobytes())
    inside = decode(member(tmp_path / "a.hdf", 1, "mp3"), sample_rate_hz=16_000)
    outside = decode(tmp_path / "a.mp3", sample_rate_hz=16_000)
    assert np.array_equal(inside.waveform, outside.waveform)
    assert inside.sha256 == outside.sha256


def test_a_pack_replaced_at_its_place_is_read_anew(pack: Path, waveforms: np.ndarray) -> None:
    decode(member(pack, 0), sample_rate_hz=RATE_HZ)
    hdf5.write_waveform_pack(pack.with_name("new.h5"), waveforms[::-1], np.eye(5, dtype=bool))
    pack.with_name("new.h5").replace(pack)
    decoded = decode(member(pack, 0), sample_rate_hz=RATE_HZ)
    assert np.array_equal(decoded.waveform * 32768, waveforms[4])


def test_threads_share_a_container(pack: Path, waveforms: np.ndarray, tmp_path: Path) -> None:
    shard = tmp_path / "a.parquet"
    pq.write_table(hugging_face.table(0, [0] * 9), shard, row_group_size=2)

    def right(turn: int) -> bool:
        decoded_S = decode(member(pack, turn % 5), sample_rate_hz=RATE_HZ).waveform
        other = decode(member(shard, turn % 9, "audio"), sample_rate_hz=16_000).waveform
        return (
            np.array_equal(decoded_S * 32768, waveforms[turn % 5]) and len(other) == 1600 + turn % 9
        )

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(right, range(200)))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_opens_the_container_itself(pack: Path, waveforms: np.ndarray) -> None:
    decode(member(pack, 0), sample_rate_hz=RATE_HZ)
    child = os.fork()
    if child == 0:  # pragma: no cover - another process
        decoded_S = decode(member(pack, 1), sample_rate_hz=RATE_HZ).waveform
        os._exit(0 if np.array_equal(decoded_S * 32768, waveforms[1]) else 1)
    decoded_S = decode(member(pack, 2), sample_rate_hz=RATE_HZ).waveform
    assert os.waitpid(child, 0)[1] == 0
    assert np.array_equal(decoded_S * 32768, waveforms[2])


def test_a_container_by_a_link_that_leads_out_is_outside(pack: Path, tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    root.mkdir()
    (root / "linked.h5").symlink_to(pack)
    assert escapes_root(root, "linked.h5!/waveform/0")
    assert escapes_root(root, "../train.h5!/waveform/0")
    assert not escapes_root(tmp_path, "train.h5!/waveform/0")
    assert not escapes_root(root, "train.h5!/waveform/0")


def test_what_is_not_there_is_reported(pack: Path, tmp_path: Path) -> None:
    assert "its container is not there" in reason(member(tmp_path / "no.h5", 0))
    assert "row 5 of 5" in reason(member(pack, 5))
    assert "no dataset sound" in reason(member(pack, 0, "sound"))
    assert "target has shape (5, 5)" in reason(member(pack, 0, "target"))
    (tmp_path / "folder.h5").mkdir()
    assert "not a file" in reason(member(tmp_path / "folder.h5", 0))


def test_a_dataset_that_lies_in_another_file_is_not_read(pack: Path, tmp_path: Path) -> None:
    for name in ("linked", "external", "virtual"):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            if name == "linked":
                file["waveform"] = h5py.ExternalLink(str(pack), "waveform")
            elif name == "external":
                file.create_dataset("waveform", (1, 9), "i2", external=[(str(pack), 0, 18)])
            else:
                layout = h5py.VirtualLayout((5, 1000), "i2")
                layout[:] = h5py.VirtualSource(str(pack), "waveform", (5, 1000))
                file.create_virtual_dataset("waveform", layout)
        problem = reason(member(tmp_path / f"{name}.h5", 0))
        assert "lies in other files" in problem or "no dataset waveform" in problem


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_truncated_container_is_reported_as_one(pack: Path, tmp_path: Path, share: float) -> None:
    content = pack.read_bytes()
    pack.write_bytes(content[: int(len(content) * share)])
    assert "the container cannot be read" in reason(member(pack, 0))
    shard = tmp_path / "a.parquet"
    pq.write_table(hugging_face.table(0, [0] * 9), shard)
    content = shard.read_bytes()
    shard.write_bytes(content[: int(len(content) * share)])
    assert "the container cannot be read" in reason(member(shard, 0, "audio"))


def test_shapes_that_no_file_holds_are_rejected_before_memory_is_allocated(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("waveform", (1, 2**45), "i2", chunks=(1, 1 << 10))
    assert "declares" in reason(member(tmp_path / "a.h5", 0))


def test_a_reason_is_the_same_in_every_process() -> None:
    library_text = (
        "Can't read data (file read failed: time = Sat Nov 21\n, filename = '/x', buf = 0x7f)"
    )
    with pytest.raises(MemberProblem) as caught, container_errors(Path("c.h5")):
        raise OSError(library_text)
    assert str(caught.value) == ("the container cannot be read: Can't read data (file read failed")


def test_what_is_refused_of_a_container_names_it() -> None:
    with (
        pytest.raises(OSError, match="Permission denied") as caught,
        container_errors(Path("c.h5")),
    ):
        raise OSError("Unable to open file (errno = 13, error message = 'Permission denied')")
    assert (caught.value.errno, caught.value.filename) == (13, "c.h5")
