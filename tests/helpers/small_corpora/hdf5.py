"""Packs in the layout of PaSST and EfficientAT for FSD50K: MP3 files and packed bits."""

from __future__ import annotations

import io
from pathlib import Path

import h5py
import numpy as np
import soundfile

RATE_HZ = 32_000
CLASSES = tuple(f"sound {number}" for number in range(10))


def write(folder: Path) -> str:
    """Three packs of two clips each, one clip with two labels, and the list of classes."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f'{number},/m/{number},"{name}"' for number, name in enumerate(CLASSES)]
    header = "index,mid,display_name"
    (folder / "class_labels_indices.csv").write_text("\n".join([header, *lines]) + "\n")
    for seed, split in enumerate(("train", "val", "eval")):
        targets = np.zeros((2, len(CLASSES)), dtype=bool)
        targets[0, [seed, 9]] = targets[1, seed] = True
        write_mp3_pack(folder / f"FSD50K.{split}_mp3.hdf", targets, seed)
    return f"hdf5:{folder}"


def write_mp3_pack(file: Path, targets: np.ndarray, seed: int) -> None:
    """A pack as the preparation script of PaSST writes it."""
    generator = np.random.default_rng(seed)
    bits = np.packbits(targets, axis=-1)
    with h5py.File(file, "w") as pack:
        clips = len(targets)
        names = pack.create_dataset("audio_name", shape=(clips,), dtype="S20")
        content = pack.create_dataset("mp3", shape=(clips,), dtype=h5py.vlen_dtype(np.uint8))
        target = pack.create_dataset("target", shape=bits.shape, dtype=bits.dtype)
        for row in range(clips):
            names[row] = f"{seed}{row:04d}.mp3"
            content[row] = np.frombuffer(mp3(0.1 * generator.standard_normal(16_000)), np.uint8)
            target[row] = bits[row]


def write_waveform_pack(file: Path, waveforms: np.ndarray, targets: np.ndarray) -> None:
    """A pack as PANNs writes it; the clips are named after the pack's first letters."""
    with h5py.File(file, "w") as pack:
        names = [f"Y{file.stem[:9]}-{row}.wav".encode() for row in range(len(waveforms))]
        pack.create_dataset("audio_name", data=names, dtype="S20")
        pack.create_dataset("waveform", data=waveforms)
        pack.create_dataset("target", data=targets, dtype=bool)
        pack.attrs.create("sample_rate", data=RATE_HZ, dtype=np.int32)


def mp3(waveform: np.ndarray) -> bytes:
    """An MP3 file."""
    file = io.BytesIO()
    soundfile.write(file, waveform, RATE_HZ, format="MP3")
    return file.getvalue()
