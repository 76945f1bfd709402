"""A Hugging Face data set as the hub stores it, and as ``save_to_disk`` writes it."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile

RATE_HZ = 16_000
CLASSES = ("cat", "dog", "owl")
AUDIO = {"sampling_rate": RATE_HZ, "_type": "Audio"}
CLASS = {"names": list(CLASSES), "_type": "ClassLabel"}
SHARDS = {"train": 2, "validation": 1, "test": 1}
ROWS = 3


def write(folder: Path) -> str:
    """Parquet shards ``data/SPLIT-00000-of-0000N.parquet``."""
    (folder / "data").mkdir(parents=True)
    for split, shards in SHARDS.items():
        for shard in range(shards):
            file = folder / f"data/{split}-{shard:05d}-of-{shards:05d}.parquet"
            pq.write_table(table(shard, range(ROWS)), file, row_group_size=2)
    return f"hugging-face:{folder}"


def write_saved(folder: Path, splits: tuple[str, ...] = tuple(SHARDS)) -> str:
    """The same rows as Arrow streams."""
    for split in splits:
        shards = SHARDS[split]
        files = [f"data-{shard:05d}-of-{shards:05d}.arrow" for shard in range(shards)]
        for shard, name in enumerate(files):
            rows = table(shard, range(ROWS))
            (folder / split).mkdir(parents=True, exist_ok=True)
            with pa.ipc.new_stream(str(folder / split / name), rows.schema) as stream:
                stream.write_table(rows, max_chunksize=2)
        state = {
            "_data_files": [{"filename": name} for name in files],
            "_fingerprint": "0123456789abcdef", "_format_columns": None, "_format_kwargs": {},
            "_format_type": None, "_output_all_columns": False, "_split": split,
        }  # fmt: skip
        (folder / split / "state.json").write_text(json.dumps(state, indent=2))
        info = {"citation": "", "features": {"audio": AUDIO, "label": CLASS}}
        (folder / split / "dataset_info.json").write_text(json.dumps(info, indent=2))
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": list(splits)}))
    return f"hugging-face:{folder}"


def table(
    shard: int, labels: Any, feature: Any = CLASS, *, rows: Any = None, metadata: bool = True
) -> pa.Table:
    """Rows of audio and a label, with the types recorded as the library does."""
    labels = list(labels)
    sounds = rows or [sound(10 * shard + row) for row in range(len(labels))]
    audio = pa.array(sounds, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    made = pa.table({"audio": audio, "label": pa.array(labels), "text": ["x"] * len(labels)})
    if not metadata:
        return made
    text = {"dtype": "string", "_type": "Value"}
    features = {"audio": AUDIO, "label": feature, "text": text}
    recorded = json.dumps({"info": {"features": features}})
    return made.replace_schema_metadata({"huggingface": recorded})


def sound(seed: int) -> dict[str, Any]:
    """A value of an audio column."""
    file = io.BytesIO()
    waveform = 0.1 * np.random.default_rng(seed).standard_normal(1600 + seed)
    soundfile.write(file, waveform, RATE_HZ, format="FLAC" if seed % 2 else "WAV")
    return {"bytes": file.getvalue(), "path": f"{seed}.wav"}
