"""HDF5 packs of audio: the only module that imports h5py.

Two layouts, each with ``audio_name`` (N,) bytes beside the audio:

* PANNs (qiuqiangkong/audioset_tagging_cnn): ``waveform`` (N, S) int16 (once float32), ``target`` (N, C)
  bool, attribute ``sample_rate``. Shorter clips end in zeros. Rows of recordings that were not there
  when it was written are empty: no name, no label, silence.
* PaSST and EfficientAT: ``mp3`` (N,) of variable-length uint8, each a whole MP3 file, and ``target``
  (N, ⌈C / 8⌉) uint8, the bits of C classes as `numpy.packbits` packs them.

Packs written here also hold ``labelled`` (N,), which distinguishes a clip with none of the classes
from one that nobody labelled; with waveforms ``samples`` (N,), the length of each clip; and where clips
have groups ``group`` (N,) bytes. Readers of the original layouts do not look for them.

Shape suffixes: N = clips of the pack, C = classes, S = samples.
"""

from __future__ import annotations

import io
import os
import struct
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
from numpy.typing import NDArray

WAVEFORM, MP3, NAMES, TARGET = "waveform", "mp3", "audio_name", "target"
SAMPLES, LABELLED, GROUP = "samples", "labelled", "group"
DEFAULT_RATE_HZ = 32_000
# Above it a damaged shape is likelier than audio: no rate, and more samples than the file can hold.
_MAX_RATE_HZ = 1_000_000
_MAX_SAMPLES_PER_BYTE = 4096  # deflate at its best, on silence
_CHUNK_SAMPLES = 1 << 15


def _checked_rate_hz(value: Any) -> int:
    """Read the attribute of the rate, which a stranger may have written."""
    try:
        rate_hz = int(value)
    except (TypeError, ValueError, OverflowError):  # a word, several numbers, NaN, infinity
        rate_hz = 0
    if not 0 < rate_hz <= _MAX_RATE_HZ:
        raise ValueError(
            f"the attribute sample_rate is {value!r:.60}, expected a number of Hz up to {_MAX_RATE_HZ}"
        )
    return rate_hz


class Pack:
    """A pack open for reading; threads may share it, since h5py lets one at a time in.

    Raises
    ------
    OSError
        If the file is no HDF5 file, or truncated.
    """

    def __init__(self, file: Path) -> None:
        self._file_bytes = file.stat().st_size
        self._h5 = h5py.File(file, "r")
        self._datasets: dict[str, Any] = {}

    @cached_property
    def audio(self) -> str:
        """``"waveform"`` or ``"mp3"``: the dataset that holds the audio."""
        found = [name for name in (WAVEFORM, MP3) if name in self._h5]
        if len(found) != 1:
            there = ", ".join(sorted(self._h5)) or "nothing"
            raise ValueError(f"expected one dataset {WAVEFORM} or {MP3}, found: {there}")
        return found[0]

    @property
    def clips(self) -> int:
        """How many recordings it holds."""
        return len(self._audio_row(self.audio, 0))

    @cached_property
    def rate_hz(self) -> int:
        """Rate of the waveforms."""
        return _checked_rate_hz(self._h5.attrs.get("sample_rate", DEFAULT_RATE_HZ))

    @property
    def task(self) -> Literal["single", "multi"] | None:
        """How many labels a clip may have, if the pack records it; only those written here do."""
        match self._h5.attrs.get("task"):
            case "single":
                return "single"
            case "multi":
                return "multi"
        return None

    @property
    def packed_from(self) -> str | None:
        """What identifies the corpus and the options it was packed with, if written here."""
        digest = self._h5.attrs.get("packed_from")
        return digest if isinstance(digest, str) else None

    def names(self) -> list[str]:
        """Names of the clips, in order; bytes that are no UTF-8 are kept as surrogates."""
        return self._texts(NAMES)

    def groups(self) -> list[str]:
        """Groups of the clips, in order; empty where the pack records none."""
        return self._texts(GROUP) if GROUP in self._h5 else [""] * self.clips

    def targets(self) -> tuple[NDArray[np.bool_], bool]:
        """Labels, shape (N, C), and whether they were packed into bits (then C is a multiple of 8)."""
        targets = self._array(TARGET, 2)
        if targets.dtype.kind not in "buif":
            raise ValueError(f"{TARGET} is {targets.dtype}, expected bool or packed uint8")
        values = _all_of(targets, self._file_bytes)
        plain = bool(np.isin(values, (0, 1)).all())
        # Beside waveforms bytes are bits only if they must be: people write 0 and 1 as uint8 too.
        if targets.dtype == np.uint8 and (self.audio == MP3 or not plain):
            return np.unpackbits(values, axis=1).astype(bool), True
        if not plain:
            raise ValueError(f"{TARGET} holds other values than 0 and 1")
        return values.astype(bool), False

    def labelled(self, labels_NC: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which clips are labelled, shape (N,): those with a label, unless the pack records more."""
        if LABELLED not in self._h5:
            return np.asarray(labels_NC.any(axis=1))
        labelled = _all_of(self._array(LABELLED, 1), self._file_bytes)
        return np.asarray(labelled, np.bool_)

    def samples(self, name: str, row: int) -> tuple[int, int] | None:
        """Frames and rate of a waveform; None for an MP3."""
        self._audio_row(name, row)
        return None if name == MP3 else (int(self._lengths[row]), self.rate_hz)

    def read(self, name: str, row: int) -> tuple[bytes, bytes]:
        """A WAV header and the samples as stored, or nothing and an MP3 file."""
        audio = self._audio_row(name, row)
        if name == MP3:
            return b"", audio[row].tobytes()
        samples_S = audio[row, : int(self._lengths[row])]
        return _wav_header(samples_S, self.rate_hz), samples_S.tobytes()

    @cached_property
    def _lengths(self) -> NDArray[np.int64]:
        """Samples of each waveform, shape (N,)."""
        rows, longest = self._array(WAVEFORM, 2).shape
        if longest > _MAX_SAMPLES_PER_BYTE * self._file_bytes:
            raise ValueError(
                f"{WAVEFORM} declares {longest} samples a clip, the file has {self._file_bytes} bytes"
            )
        if SAMPLES not in self._h5:
            return np.full(rows, longest, np.int64)
        lengths = self._array(SAMPLES, 1)
        if lengths.shape != (rows,) or lengths.dtype.kind not in "iu":
            raise ValueError(f"{SAMPLES} is {lengths.dtype} {lengths.shape}, expected ({rows},)")
        result = np.asarray(lengths[:], np.int64)
        if not ((result >= 0) & (result <= longest)).all():
            raise ValueError(f"{SAMPLES} holds lengths that are not between 0 and {longest}")
        return result

    def _audio_row(self, name: str, row: int) -> Any:
        audio = self._array(name, 2 if name == WAVEFORM else 1)
        right = (
            audio.dtype in (np.dtype("<i2"), np.dtype("<f4"))
            if name == WAVEFORM
            else h5py.check_vlen_dtype(audio.dtype) == np.uint8
        )
        if name != self.audio or not right:
            raise ValueError(f"{name} is {audio.dtype}, expected {WAVEFORM} int16 or {MP3} bytes")
        if row >= len(audio):
            raise ValueError(f"row {row} of {len(audio)}")
        return audio

    def _texts(self, name: str) -> list[str]:
        texts = self._array(name, 1)
        if h5py.check_string_dtype(texts.dtype) is None:
            raise ValueError(f"{name} is {texts.dtype}, expected bytes")
        return list(map(_text, _all_of(texts, self._file_bytes)))

    def _array(self, name: str, dimensions: int) -> Any:
        """A dataset of the file itself: nothing that lies in another file is read."""
        if name in self._datasets:
            return self._datasets[name]
        link = self._h5.get(name, getlink=True)
        dataset = self._h5[name] if isinstance(link, h5py.HardLink) else None
        if not isinstance(dataset, h5py.Dataset):
            raise ValueError(f"no dataset {name} in it")
        if dataset.external is not None or dataset.is_virtual:
            raise ValueError(f"{name} lies in other files")
        if dataset.ndim != dimensions:
            raise ValueError(
                f"{name} has shape {dataset.shape}, expected {dimensions} dimension(s)"
            )
        return self._datasets.setdefault(name, dataset)


class _Output(io.FileIO):
    """A file that never fails HDF5, which crashes over a full disk, but keeps the first failure."""

    failure: OSError | None = None

    def write(self, data: Any) -> int:
        """Write all of it, unless something failed before."""
        rest = memoryview(data)
        try:
            while rest and self.failure is None:
                rest = rest[super().write(rest) :]
        except OSError as error:
            self.failure = error
        return len(data)

    def truncate(self, size: int | None = None) -> int:
        """Cut or lengthen the file."""
        try:
            return super().truncate(size)
        except OSError as error:
            self.failure = self.failure or error
            return 0

    def check(self) -> None:
        """Raise the first failure."""
        if self.failure is not None:
            self.failure.filename = str(self.name)
            raise self.failure


class PackWriter:
    """Writes one pack under a temporary name; `finish` puts it in place.

    Nothing may be raised into it while HDF5 writes: hold interrupts.

    Parameters
    ----------
    file : Path
        The pack to write.
    audio : str
        ``"waveform"`` or ``"mp3"``.
    rows, classes, longest : int
        At most so many clips, classes, and samples of the longest clip.
    rate_hz, task, packed_from : int, str, str
        Attributes of the file: see `Pack`.
    """

    def __init__(
        self,
        file: Path,
        audio: str,
        *,
        rows: int,
        classes: int,
        longest: int,
        rate_hz: int,
        task: str,
        packed_from: str,
    ) -> None:
        self._file, self._partial = file, file.with_name(f"{file.name}.partial")
        self.rows, self._audio = 0, audio
        self._names: list[bytes] = []
        self._labelled: list[bool] = []
        self._groups: list[bytes] = []
        self._output = _Output(self._partial, "w+")
        self._h5 = h5py.File(self._output, "w")
        self._h5.attrs.create("sample_rate", rate_hz, dtype=np.int32)
        self._h5.attrs.update({"task": task, "packed_from": packed_from})
        self._lengths: list[int] = []
        columns, bits = (-(-classes // 8), np.uint8) if audio == MP3 else (classes, np.bool_)
        self._targets = self._create(TARGET, (rows, columns), bits, (1024, max(1, columns)))
        if audio == MP3:
            self._content = self._create(MP3, (rows,), h5py.vlen_dtype(np.dtype(np.uint8)), (64,))
        else:
            # Chunks that nothing is written to take no room: most zeros of a short clip are free.
            chunk = (1, max(1024, min(-(-longest // 8), _CHUNK_SAMPLES)))
            self._content = self._create(WAVEFORM, (rows, longest), np.int16, chunk)

    def _create(self, name: str, shape: tuple[int, ...], dtype: Any, chunk: tuple[int, ...]) -> Any:
        growing = (None,) * len(shape)
        return self._h5.create_dataset(name, shape, dtype, chunks=chunk, maxshape=growing)

    def add(
        self,
        name: str,
        labels_C: NDArray[np.bool_],
        content: NDArray[Any],
        *,
        labelled: bool,
        group: str,
    ) -> None:
        """Append a clip: its name, labels of shape (C,), int16 samples or the bytes of an MP3."""
        row = self.rows
        self._names.append(name.encode())
        self._labelled.append(labelled)
        self._groups.append(group.encode())
        self._targets[row] = np.packbits(labels_C) if self._audio == MP3 else labels_C
        if self._audio == MP3:
            self._content[row] = content
        else:
            self._content[row, : len(content)] = content
        self._lengths.append(len(content))
        self.rows += 1
        self._output.check()

    def finish(self) -> None:
        """Cut the datasets to the clips that came, and put the pack in place."""
        h5, rows = self._h5, self.rows
        self._content.resize(rows, axis=0)
        self._targets.resize(rows, axis=0)
        h5[NAMES] = np.array(self._names, dtype="S")
        h5[LABELLED] = np.array(self._labelled, np.bool_)
        if any(self._groups):
            h5[GROUP] = np.array(self._groups, dtype="S")
        if self._audio == WAVEFORM:
            h5[SAMPLES] = np.array(self._lengths, np.int64)
        h5.close()
        self._output.check()
        os.fsync(self._output.fileno())
        self._partial.replace(self._file)

    def __enter__(self) -> PackWriter:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._h5.close()
        finally:
            self._output.close()
            self._partial.unlink(missing_ok=True)


def _all_of(dataset: Any, file_bytes: int) -> Any:
    """All rows, after a look at whether the file can hold so many."""
    for count, unit in ((len(dataset), "rows"), (dataset.nbytes, "bytes")):
        if count > _MAX_SAMPLES_PER_BYTE * file_bytes:
            raise ValueError(f"{dataset.name[1:]} declares {count} {unit}, the file is small")
    return dataset[:]


def _text(name: bytes | str) -> str:
    return name if isinstance(name, str) else name.decode("utf-8", "surrogateescape")


def _wav_header(samples_S: NDArray[Any], rate_hz: int) -> bytes:
    """The 44 bytes that make a mono WAV file of samples in little-endian int16 or float32."""
    width = samples_S.dtype.itemsize
    kind = 1 if samples_S.dtype.kind == "i" else 3
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF", 36 + samples_S.nbytes, b"WAVE", b"fmt ", 16,
        kind, 1, rate_hz, rate_hz * width, width, 8 * width, b"data", samples_S.nbytes,
    )  # fmt: skip
