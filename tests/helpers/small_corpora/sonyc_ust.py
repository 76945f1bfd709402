"""SONYC-UST as released: three volunteers to a training clip, verified annotations elsewhere."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import soundfile

RATE_HZ = 44_100
# The groups of fine classes in the order of the release's columns.
FINE = {
    "1_engine": ("1_small-sounding-engine", "2_medium-sounding-engine", "3_large-sounding-engine",
                 "X_engine-of-uncertain-size"),
    "2_machinery-impact": ("1_rock-drill", "2_jackhammer", "3_hoe-ram", "4_pile-driver",
                           "X_other-unknown-impact-machinery"),
    "3_non-machinery-impact": ("1_non-machinery-impact",),
    "4_powered-saw": ("1_chainsaw", "2_small-medium-rotating-saw", "3_large-rotating-saw",
                      "X_other-unknown-powered-saw"),
    "5_alert-signal": ("1_car-horn", "2_car-alarm", "3_siren", "4_reverse-beeper",
                       "X_other-unknown-alert-signal"),
    "6_music": ("1_stationary-music", "2_mobile-music", "3_ice-cream-truck",
                "X_music-from-uncertain-source"),
    "7_human-voice": ("1_person-or-small-group-talking", "2_person-or-small-group-shouting",
                      "3_large-crowd", "4_amplified-speech", "X_other-unknown-human-voice"),
    "8_dog": ("1_dog-barking-whining",),
}  # fmt: skip
FINE_TAGS = tuple(f"{coarse[0]}-{fine}" for coarse, group in FINE.items() for fine in group)
# split, recording, annotator and the fine tags that the annotator marked, None for those not judged
ANNOTATIONS = (
    ("train", "01_000006.wav", 11, ("1-1_small-sounding-engine",)),
    ("train", "01_000006.wav", 12, ("1-2_medium-sounding-engine", "8-1_dog-barking-whining")),
    ("train", "01_000006.wav", 13, ("1-1_small-sounding-engine",)),
    ("train", "02_000007.wav", 11, ("7-X_other-unknown-human-voice",)),
    ("train", "02_000007.wav", 12, ("7-1_person-or-small-group-talking",)),
    ("train", "02_000007.wav", 14, ("7-X_other-unknown-human-voice",)),
    ("train", "02_000008.wav", 14, ("5-3_siren",)),
    ("validate", "00_000066.wav", 11, ("4-1_chainsaw",)),
    ("validate", "00_000066.wav", -1, None),
    ("validate", "00_000066.wav", 0, ("2-2_jackhammer", "5-3_siren")),
    ("test", "03_000100.wav", 12, ("1-1_small-sounding-engine",)),
    ("test", "03_000100.wav", 0, ("6-3_ice-cream-truck",)),
)
MISSING = "02_000008.wav"


def row(split: str, name: str, annotator: int, present: tuple[str, ...] | None) -> list[str]:
    """Cells of one annotation."""
    fine = ["-1" if present is None else str(int(tag in present)) for tag in FINE_TAGS]
    proximity = [
        "near" if present and tag in present and annotator > 0 else "-1" for tag in FINE_TAGS
    ]
    groups = {tag[0] for tag in present or ()}
    coarse = ["-1" if present is None else str(int(tag[0] in groups)) for tag in FINE]
    return [split, name[:2].lstrip("0") or "0", name, str(annotator), *fine, *proximity, *coarse]


def write_annotations(path: Path, annotations: tuple[tuple, ...] = ANNOTATIONS) -> None:
    """Write the list of annotations."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(
            ["split", "sensor_id", "audio_filename", "annotator_id"]
            + [f"{tag}_presence" for tag in FINE_TAGS]
            + [f"{tag}_proximity" for tag in FINE_TAGS]
            + [f"{tag}_presence" for tag in FINE]
        )
        writer.writerows(row(*annotation) for annotation in annotations)


def write(folder: Path) -> str:
    """Write the corpus and return its name."""
    folder.mkdir(parents=True, exist_ok=True)
    write_annotations(folder / "annotations.csv")
    (folder / "dcase-ust-taxonomy.yaml").write_text("coarse:\n  1: engine\n")
    for split, name, *_ in ANNOTATIONS:
        (folder / split).mkdir(exist_ok=True)
        if name != MISSING:
            soundfile.write(folder / split / name, np.full(RATE_HZ // 20, 0.1), RATE_HZ)
    return f"sonyc-ust:{folder}"
