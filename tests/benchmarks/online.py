"""A distilled epoch from the cache against one with Whisper-base in the loop, on real clips.

Both arms train the same student on the same batches of cached features, by the same losses, in the
real training loop. Online, each batch is processed by the teacher before its step, in inference mode, by
this project's own adapter: once on inputs as short as the clips, once padded to the usual 30 s.
"""

from __future__ import annotations

import csv
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import soundfile
import torch
from figures import SHARED, Figure, median
from teacher_models import REAL_WHISPER, model_folder
from watched import Watched, cached_batches, settings_of, train_epoch

from cache_schema.reader import Cache, open_cache
from cache_schema.signal_names import FULL_SCALE
from pipeline.precompute.inputs import Request
from pipeline.precompute.precompute import Precompute
from pipeline.teachers import MODEL_TYPES, Teacher, open_teacher
from pipeline.teachers.checkpoints.checkpoint import open_checkpoint
from pipeline.teachers.whisper import WhisperTeacher
from student.runs.settings import Settings, student_class
from student.stream.batch import Batch, pad_rows
from student.stream.unit_loader import UnitLoader

STUDENTS = ("tc-resnet", "att-rnn")
SIGNALS = ("logits", "temporal_attention")
BOUNDS = {"short": ">= 10", "native": ">= 100"}
INPUTS = {"short": "short inputs", "native": "Whisper's 30-s padding"}
UNITS = 8
SPOKEN_SAMPLES = 16_000


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured: clips of each length, and batches with the teacher in the loop."""

    clips: Mapping[int, int]
    online_batches: Mapping[str, int]
    rounds: int


FULL = Size({1: 512, 4: 128}, {"short": 4, "native": 1}, rounds=3)
QUICK = Size({1: 2, 4: 2}, {"short": 1, "native": 1}, rounds=1)

# What a table calls the arms: epochs, all in the one training loop.
Arms = dict[str, list[Watched]]


def measure(scratch: Path, *, quick: bool) -> Iterator[Figure]:
    """Both lengths, both students, both inputs; and when the cache has paid for itself."""
    size = QUICK if quick else FULL
    if not REAL_WHISPER.is_dir():
        yield Figure("cache against the teacher online", None, "x", note=f"needs {REAL_WHISPER}")
        return
    base = model_folder("whisper", scratch, quick=quick)
    for length_s, count in size.clips.items():
        rows = _spoken(count) if length_s == 1 else _sounds(count, length_s)
        folder = scratch / f"{base.name}-{length_s}s-{count}"
        folder.mkdir(exist_ok=True)
        teacher = _with_head(base, folder / "teacher", sorted({row["label"] for row in rows}))
        clip_s = _cached(_manifest(folder, rows), teacher, folder / "cache.zarr", count)
        teachers = {name: open_teacher(str(teacher), {"input": name}) for name in INPUTS}
        for opened in teachers.values():
            opened.load("cpu")
        cache = open_cache(folder / "cache.zarr")
        for student in STUDENTS[:1] if quick else STUDENTS:
            arms = _epochs(cache, settings_of(student), teachers, size)
            yield from _figures(f"{student}, {length_s} s", arms, clip_s)


def _spoken(count: int) -> list[dict[str, Any]]:
    """Spoken words of exactly one second, so that the teacher can take them in whole batches."""
    root = SHARED / "data/speech_commands_v2_12"
    with (root / "metadata.csv").open(encoding="utf-8") as file:
        listed = [(root / row["file"], row["label"]) for row in csv.DictReader(file)]
    random.Random(0).shuffle(listed)
    whole = (entry for entry in listed if soundfile.info(entry[0]).frames == SPOKEN_SAMPLES)
    return [{"path": path, "label": label} for path, label in islice(whole, count)]


def _sounds(count: int, length_s: int) -> list[dict[str, Any]]:
    """The first seconds of environmental recordings."""
    root = SHARED / "data/esc10"
    with (root / "esc10.csv").open(encoding="utf-8") as file:
        listed = list(csv.DictReader(file))
    random.Random(0).shuffle(listed)
    cut = {"start_s": 0, "end_s": length_s}
    return [
        {"path": root / "audio" / row["filename"], "label": row["category"], **cut}
        for row in listed[:count]
    ]


def _manifest(folder: Path, rows: Sequence[Mapping[str, Any]]) -> str:
    path = folder / "clips.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], "split"])
        writer.writeheader()
        for row in rows:
            writer.writerow(
                {**row, "path": Path(row["path"]).relative_to(SHARED), "split": "train"}
            )
    return f"csv:{path}?root={SHARED}"


def _with_head(base: Path, out: Path, classes: Sequence[str]) -> Path:
    """Give the encoder a head for these classes; what it answers does not matter here."""
    torch.manual_seed(0)
    teacher = WhisperTeacher(
        open_checkpoint(str(base), MODEL_TYPES).changed(
            id2label=dict(enumerate(classes)),
            label2id={name: index for index, name in enumerate(classes)},
        )
    )
    teacher.attach_model(teacher.new_model(attention="sdpa"), "cpu")
    teacher.save(out)
    return out


def _cached(corpus: str, teacher: Path, out: Path, clips: int) -> float | None:
    """Make the cache; CPU seconds for each clip, teacher, front ends and writing together.

    Counted from the first work unit's commit to the last one's: not the loading of the teacher. None
    when the cache was there already.
    """
    features = {student_class(name).front_end for name in STUDENTS}
    request = Request(
        corpora=(corpus,),
        teacher=str(teacher),
        out=out,
        signals=(*SIGNALS, "waveform", *sorted(features)),
        unit_rows=clips // UNITS or 1,
    )
    marks: list[tuple[float, int]] = []

    def mark(_plan: Any, record: Any) -> None:
        marks.append((time.process_time(), record.rows))

    Precompute(request).run(lambda _plan, _missing: None, mark)
    if not marks:
        return None
    return (marks[-1][0] - marks[0][0]) / sum(rows for _, rows in marks[1:])


def _epochs(cache: Cache, settings: Settings, teachers: Mapping[str, Teacher], size: Size) -> Arms:
    """Train from the cache, from memory alone, and with each teacher in the loop, in turn."""
    front_end = student_class(settings.student).front_end
    # Read in every epoch: what the cache costs at most.
    cached = cached_batches(UnitLoader(cache, front_end, SIGNALS, budget_bytes=0), settings)
    waveform_batches = cached_batches(UnitLoader(cache, front_end, ("waveform",)), settings)
    ready = list(cached())
    arms: Arms = {"cached": [], "step": []}
    for number in range(size.rounds + 1):
        found = {
            "cached": train_epoch(cache, settings, cached),
            "step": train_epoch(cache, settings, lambda: iter(ready)),
        }
        if number:
            for name, watched in found.items():
                arms[name].append(watched)
    for name, teacher in teachers.items():
        online = _online(waveform_batches, teacher)
        arms[name] = [train_epoch(cache, settings, online, size.online_batches[name])]
    return arms


def _online(
    waveform_batches: Callable[[], Iterator[Batch]], teacher: Teacher
) -> Callable[[], Iterator[Batch]]:
    def batches() -> Iterator[Batch]:
        for batch in waveform_batches():
            waveforms = [w[:n].numpy() / FULL_SCALE for w, n in zip(
                batch.signals["waveform"], batch.signal_lengths["waveform"].tolist(), strict=True
            )]  # fmt: skip
            with torch.inference_mode():
                answers = teacher.infer(waveforms, SIGNALS)
            padded = {name: pad_rows([answer[name] for answer in answers]) for name in SIGNALS}
            yield replace(
                batch,
                signals={name: values for name, (values, _) in padded.items()},
                signal_lengths={name: lengths for name, (_, lengths) in padded.items()},
            )

    return batches


def _figures(case: str, arms: Arms, caching_clip_s: float | None) -> Iterator[Figure]:
    cpu_s = {name: median([w.clip_cpu_s for w in several]) for name, several in arms.items()}
    wall_s = {name: median([w.clip_s for w in several]) for name, several in arms.items()}
    for name, bound in BOUNDS.items():
        limit = cpu_s[name] / cpu_s["step"]
        yield Figure(
            what=f"{case}: distilled epoch from the cache, {INPUTS[name]}",
            value=cpu_s[name] / cpu_s["cached"],
            unit="x",
            bound=bound,
            against="teacher in the loop, CPU time",
            note=f"{limit:.1f} x if reading took no time",
            details={
                "ms_per_clip_cpu": {key: 1e3 * value for key, value in cpu_s.items()},
                "ms_per_clip_wall": {key: 1e3 * value for key, value in wall_s.items()},
                "clips_online": arms[name][0].clips,
                "clips_cached": arms["cached"][0].clips,
                "scaling": "time for each clip, from these clips to any epoch; features cached",
            },
        )
    yield _paid(case, caching_clip_s, cpu_s["short"] - cpu_s["cached"])


def _paid(case: str, caching_clip_s: float | None, saved_clip_s: float) -> Figure:
    what, against = f"{case}: caching has paid after", "short inputs online"
    if caching_clip_s is None:
        return Figure(what, None, "epochs", against=against, note="the cache was there already")
    return Figure(
        what,
        caching_clip_s / saved_clip_s,
        "epochs",
        against=against,
        note="of any student",
        details={"caching_ms_per_clip_cpu": 1e3 * caching_clip_s},
    )
