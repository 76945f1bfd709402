"""AudioSet as published and downloaded: lists with three comment lines, file names of many habits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

RATE_HZ = 16_000
CLASSES = '0,/m/09x0r,"Speech"\n1,/m/068hy,"Domestic animals, pets"\n2,/m/0k4j,"Car"\n'
BALANCED = (
    '--abcdefgh1, 30.000, 40.000, "/m/09x0r,/m/0k4j"',
    '-_abcdefgh2, 0.000, 10.000, "/m/068hy"',
    'Yabcdefgh_3, 22.500, 32.500, "/m/0k4j"',
    '0abcdefgh-4, 130.000, 140.000, "/m/09x0r"',
    'gone_for_ev, 5.000, 15.000, "/m/09x0r"',
)
UNBALANCED = (
    'uuabcdefgh1, 0.000, 10.000, "/m/09x0r"',
    'uuabcdefgh2, 50.000, 57.000, "/m/068hy,/m/0k4j"',
)
EVALUATION = (
    '-0RWZT-miFs, 420.000, 430.000, "/m/068hy,/m/0k4j"',
    'eeabcdefgh2, 10.000, 20.000, "/m/09x0r"',
)
FILES = (
    "balanced_train_segments/--abcdefgh1.wav",
    "balanced_train_segments/Y-_abcdefgh2.flac",
    "balanced_train_segments/Yabcdefgh_3_22500_32500.wav",
    "balanced_train_segments/0abcdefgh-4_130.wav",
    "unbalanced_train_segments/unbalanced_train_segments_part00/Yuuabcdefgh1.wav",
    "unbalanced_train_segments/unbalanced_train_segments_part01/uuabcdefgh2_50-57.wav",
    "eval_segments/Y-0RWZT-miFs_420.000_430.000.wav",
    "eval_segments/eeabcdefgh2.wav",
)
MISSING = "gone_for_ev"


def segments(rows: tuple[str, ...]) -> str:
    """Text of a list with the comment lines that begin each."""
    return (
        "# Segments csv created Sun Mar  5 10:54:31 2017\n"
        f"# num_ytids={len(rows)}, num_segs={len(rows)}, num_unique_labels=3, num_positive_labels=9\n"
        "# YTID, start_seconds, end_seconds, positive_labels\n" + "\n".join(rows) + "\n"
    )


def write(folder: Path) -> str:
    """Write the corpus and return its name."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "class_labels_indices.csv").write_text("index,mid,display_name\n" + CLASSES)
    (folder / "balanced_train_segments.csv").write_text(segments(BALANCED))
    (folder / "unbalanced_train_segments.csv").write_text(segments(UNBALANCED))
    (folder / "eval_segments.csv").write_text(segments(EVALUATION))
    for name in FILES:
        path = folder / "audio" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.full(RATE_HZ // 20, 0.1), RATE_HZ)
    return f"audioset:{folder}?validation=0.4"
