"""Pack a corpus of any kind into HDF5 files, one for each split, as PANNs or PaSST read them.

A pack is written under a temporary name and put in place when it is whole, so a repeated command goes
on with the splits that are missing. Beside the packs lie the list of the classes and, for each split
that has any, the clips that could not be packed, with the reason.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache_schema.clip import Clip
from cache_schema.command_line.interrupts import deferred_interrupts
from cache_schema.errors import MAX_LISTED, RunError, UsageError, bullet_list
from cache_schema.own_folder import check_own_folder
from cache_schema.store.files import sha256, write_atomic
from cache_schema.store.lock import write_lock
from cache_schema.store.safe_open import check_no_links
from cache_schema.system_files import is_of_the_system
from cache_schema.text import csv_text
from pipeline.audio.decode import (
    MP3_RATES_HZ,
    UnusableAudio,
    encode_mp3,
    to_int16,
)
from pipeline.audio.hdf5 import MP3, WAVEFORM, Pack, PackWriter
from pipeline.audio.members import MemberProblem, container_errors
from pipeline.corpora.clip_audio import decode_clip
from pipeline.corpora.formats.hdf5_pack import CLASSES_FILE, PACK_SUFFIXES
from pipeline.corpora.interface import Corpus
from pipeline.precompute.plan import corpus_facts, decoded_samples, order_clips

# What --to takes: the dataset of the audio and the suffix that the clips' names get.
FORMATS = {"hdf5-waveform": (WAVEFORM, ".wav"), "hdf5-mp3": (MP3, ".mp3")}
_THREADS = 8
_CLIPS_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Packed:
    """One pack that is in place.

    Attributes
    ----------
    file : Path
        The pack.
    clips : int
        Recordings in it.
    unusable : tuple of (str, str)
        Id and reason of the clips that could not be packed.
    clipped : int
        Clips with samples beyond full scale, which were clipped.
    """

    file: Path
    clips: int
    unusable: tuple[tuple[str, str], ...] = ()
    clipped: int = 0


@dataclass(frozen=True, slots=True)
class Packing:
    """A corpus, and how and where it is to be packed.

    Attributes
    ----------
    corpus : Corpus
        What to pack.
    to : str
        Key of `FORMATS`.
    out : Path
        Folder of the packs.
    rate_hz : int
        Rate of the packs.
    digest : str
        Identifies the packs' content: the corpus and the options.
    """

    corpus: Corpus
    to: str
    out: Path
    rate_hz: int
    digest: str

    def file(self, split: str) -> Path:
        """Path of a split's pack."""
        return self.out / f"{split}.h5"


def plan_packing(corpus: Corpus, to: str, out: Path, sample_rate_hz: int | None) -> Packing:
    """Look whether a corpus can be packed; the rate is by default the one of all its clips.

    Raises
    ------
    UsageError
        Listing everything in the way: rates that differ or that the format does not have, splits
        that cannot be file names, other files in the place of the packs.
    """
    check_no_links(out, "folder of packs", error=UsageError)
    check_own_folder(out, "folder of packs", "pack-corpus", (CLASSES_FILE, ".h5"))
    rates = sorted({clip.source_rate_hz for clip in corpus.clips if clip.frames})
    problems = []
    if sample_rate_hz is None and len(rates) > 1:
        problems.append(
            f"the clips have rates of {', '.join(map(str, rates))} Hz, a pack has one: --sample-rate"
        )
    rate_hz = sample_rate_hz or rates[0]
    packing = Packing(corpus, to, out, rate_hz, _digest(corpus, to, rate_hz))
    if corpus.view_steps:
        problems.append(
            f"the corpus is read through views ({', '.join(corpus.view_steps)}), which a pack cannot "
            "hold: pack the recordings it is made of"
        )
    if to == "hdf5-mp3" and packing.rate_hz not in MP3_RATES_HZ:
        problems.append(
            f"MP3 has no rate of {packing.rate_hz} Hz, but {', '.join(map(str, MP3_RATES_HZ))}: "
            "--sample-rate"
        )
    for split in sorted({clip.split for clip in corpus.clips}):
        if split != Path(split).name or split.startswith(".") or "\0" in split or len(split) > 99:
            problems.append(f"split {split!r} cannot be the name of a file")
    _reject([*problems, *_in_the_way(packing)])
    return packing


def _in_the_way(packing: Packing) -> Iterator[str]:
    """Name the files in the packs' folder that are of another corpus, or of other options."""
    for file in sorted(packing.out.glob("*")):
        if is_of_the_system(file.name):
            continue
        if file.suffix in PACK_SUFFIXES and not _is_packed(packing, file):
            yield f"{file} is there, with other content: another --out"
    classes = packing.out / CLASSES_FILE
    if classes.exists() and classes.read_bytes() != _classes_csv(packing.corpus.classes):
        yield f"{classes} is there, with other classes: another --out"


def _reject(problems: Sequence[str]) -> None:
    if problems:
        raise UsageError(
            f"{len(problems)} problem(s)\n{bullet_list(problems)}\nNothing was written.",
            kind="pack",
        )


def _digest(corpus: Corpus, to: str, rate_hz: int) -> str:
    clips = order_clips(corpus)
    facts = corpus_facts(corpus, clips)
    described: tuple[Any, ...] = (facts.fingerprint, facts.classes, facts.task, to, rate_hz)
    if any(groups := [clip.group for clip in clips]):
        described = (*described, groups)
    return sha256(repr(described).encode())


def _is_packed(packing: Packing, file: Path) -> bool:
    """Return whether a pack is in place and of this very corpus and options."""
    try:
        with container_errors(file):
            return Pack(file).packed_from == packing.digest
    except MemberProblem:
        return False


def pack_corpus(packing: Packing, report: Callable[[str, int], None]) -> Iterator[Packed]:
    """Write the packs that are missing; yield each that is in place.

    Parameters
    ----------
    packing : Packing
        From `plan_packing`.
    report : function
        Called with a split and a number of clips that have been processed.

    Raises
    ------
    UsageError
        If packs of something else have come since `plan_packing`.
    RunError
        If no clip of a split can be packed; kind ``"locked"`` while another process packs there.
    """
    with write_lock(packing.out):
        _reject([*_in_the_way(packing)])  # another process may have ended since
        packing.out.mkdir(parents=True, exist_ok=True)
        if packing.corpus.classes:
            write_atomic(packing.out / CLASSES_FILE, _classes_csv(packing.corpus.classes))
        for split in dict.fromkeys(clip.split for clip in packing.corpus.clips):
            clips = [clip for clip in packing.corpus.clips if clip.split == split]
            if _is_packed(packing, packing.file(split)):
                report(split, len(clips))
                yield Packed(packing.file(split), Pack(packing.file(split)).clips)
            else:
                yield _write_pack(packing, split, clips, partial(report, split, 1))


def _write_pack(
    packing: Packing, split: str, clips: Sequence[Clip], report: Callable[[], None]
) -> Packed:
    audio, suffix = FORMATS[packing.to]
    rate_hz, classes = packing.rate_hz, packing.corpus.classes
    lengths = [decoded_samples(clip, rate_hz) for clip in clips]
    unusable: list[tuple[str, str]] = []
    clipped = 0
    with (
        deferred_interrupts() as stopped,
        PackWriter(
            packing.file(split),
            audio,
            rows=len(clips),
            classes=len(classes),
            longest=max(lengths, default=0),
            rate_hz=rate_hz,
            task=packing.corpus.task,
            packed_from=packing.digest,
        ) as writer,
    ):
        for clip, made in _encode_all(packing, clips):
            if stopped():
                raise KeyboardInterrupt
            if isinstance(made, str):
                unusable.append((clip.id, made))
            else:
                labels_C = np.isin(classes, clip.labels)
                writer.add(
                    clip.id + suffix,
                    labels_C,
                    made.content,
                    labelled=clip.labelled,
                    group=clip.group,
                )
                clipped += made.clipped
            report()
        if not writer.rows:
            raise RunError(
                f"none of the {len(clips)} clips of {split} can be packed\n"
                f"{bullet_list([f'{name}: {why}' for name, why in unusable], MAX_LISTED)}\n"
                "Correct the corpus, then repeat the command.",
                kind="unusable",
            )
        _list_unusable(packing.out / f"{split}.unusable.csv", unusable)
        writer.finish()
    return Packed(packing.file(split), writer.rows, tuple(unusable), clipped)


@dataclass(frozen=True, slots=True)
class _EncodedClip:
    content: NDArray[Any]
    clipped: bool


def _encode_all(
    packing: Packing, clips: Sequence[Clip]
) -> Iterator[tuple[Clip, _EncodedClip | str]]:
    """Decode and encode in threads, a few clips at once so that memory stays bounded."""
    with ThreadPoolExecutor(_THREADS) as pool:
        for first in range(0, len(clips), _CLIPS_AT_ONCE):
            some = clips[first : first + _CLIPS_AT_ONCE]
            yield from zip(some, pool.map(lambda clip: _encode(packing, clip), some), strict=True)


def _encode(packing: Packing, clip: Clip) -> _EncodedClip | str:
    """What a pack holds of a clip, or why it cannot."""
    try:
        decoded = decode_clip(packing.corpus.root, clip, packing.rate_hz)
    except UnusableAudio as problem:
        return problem.reason
    if decoded.source_frames != clip.frames:
        return f"decoded {decoded.source_frames} samples, its header declares {clip.frames}"
    waveform_S = decoded.waveform
    clipped = bool((np.abs(waveform_S) > 1).any())
    if packing.to == "hdf5-mp3":
        return _EncodedClip(
            np.frombuffer(encode_mp3(waveform_S, packing.rate_hz), np.uint8), clipped
        )
    return _EncodedClip(to_int16(waveform_S), clipped)


def _list_unusable(file: Path, unusable: Sequence[tuple[str, str]]) -> None:
    if unusable:
        write_atomic(
            file, _csv_bytes([("id", "reason"), *(tuple(map(csv_text, row)) for row in unusable)])
        )
    else:
        file.unlink(missing_ok=True)


def _classes_csv(classes: Sequence[str]) -> bytes:
    """The list of the classes in the form of AudioSet's, whose second column is an identifier."""
    rows = [(str(number), name, name) for number, name in enumerate(classes)]
    return _csv_bytes([("index", "mid", "display_name"), *rows])


def _csv_bytes(rows: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
