"""A JSON Lines manifest with every field, a segment, and a listed clip that is not there."""

from __future__ import annotations

import json
from pathlib import Path

from small_corpora.folder import NAMES, write_clips


def write(folder: Path) -> str:
    """Write the corpus; returns how it is named."""
    write_clips(folder)
    rows: list[dict[str, object]] = []
    for number, name in enumerate((*NAMES, "train/dog/gone.wav")):
        split, label, _ = name.split("/")
        rows.append({"id": f"clip-{number}", "path": name, "label": label, "split": split})
    segment = {"start_s": 0.05, "end_s": 0.15, "split": "train", "speaker": "anna"}
    rows.append({"path": NAMES[0], "labels": ["dog", "cat"]} | segment)
    (folder / "clips.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"jsonl:{folder / 'clips.jsonl'}"
