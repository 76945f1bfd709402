"""A CSV manifest with every column, a segment, and a listed clip that is not there."""

from __future__ import annotations

from pathlib import Path

from small_corpora.folder import NAMES, write_clips


def write(folder: Path) -> str:
    """Write the corpus; returns how it is named."""
    write_clips(folder)
    lines = ["id,path,labels,split,start_s,end_s,speaker"]
    for number, name in enumerate((*NAMES, "train/dog/gone.wav")):
        split, label, _ = name.split("/")
        lines.append(f"clip-{number},{name},{label},{split},,,anna")
    lines.append(f"part,{NAMES[0]},dog;cat,train,0.05,0.15,anna")
    (folder / "clips.csv").write_text("\n".join(lines) + "\n")
    return f"csv:{folder / 'clips.csv'}"
