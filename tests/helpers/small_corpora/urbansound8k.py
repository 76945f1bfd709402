"""UrbanSound8K as its archive lays it out: a clip of each of three classes in each of ten folds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

CLASSES = {0: "air_conditioner", 3: "dog_bark", 9: "street_music"}
MISSING = "100900-9-0-0.wav"


def write(folder: Path) -> str:
    """Write the corpus and return its name; rates and channels differ, as in the original."""
    lines = ["slice_file_name,fsID,start,end,salience,fold,classID,class"]
    for fold in range(1, 11):
        (folder / f"audio/fold{fold}").mkdir(parents=True)
        rate_hz, channels = (44_100, 2) if fold % 2 else (22_050, 1)
        for number, name in CLASSES.items():
            source = 100_000 + 100 * number + fold - 1
            file = f"{source}-{number}-0-0.wav"
            lines.append(f"{file},{source},0.0,0.05,1,{fold},{number},{name}")
            if file != MISSING:
                samples = np.full((rate_hz // 20, channels), 0.1)
                soundfile.write(folder / f"audio/fold{fold}" / file, samples, rate_hz)
    (folder / "metadata").mkdir()
    (folder / "metadata/UrbanSound8K.csv").write_text("\n".join(lines) + "\n")
    return f"urbansound8k:{folder}"
