"""FSD50K as its archives unpack: three classes, a clip for each split and one that is missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

RATE_HZ = 44_100
VOCABULARY = ("0,Accordion,/m/0mkg", "1,Bark,/m/05tny_", "2,Dog,/m/0bt9lr")
DEV = (
    '64760,"Bark,Dog","/m/05tny_,/m/0bt9lr",train',
    "16399,Accordion,/m/0mkg,train",
    '16401,"Bark,Dog","/m/05tny_,/m/0bt9lr",val',
    "16402,Accordion,/m/0mkg,val",
)
EVAL = ('37199,"Bark,Dog","/m/05tny_,/m/0bt9lr"', "37200,Accordion,/m/0mkg")
MISSING = "16402"


def write(folder: Path) -> str:
    """Write the corpus and return its name."""
    truth = folder / "FSD50K.ground_truth"
    truth.mkdir(parents=True)
    (truth / "vocabulary.csv").write_text("\n".join(VOCABULARY) + "\n")
    (truth / "dev.csv").write_text("\n".join(("fname,labels,mids,split", *DEV)) + "\n")
    (truth / "eval.csv").write_text("\n".join(("fname,labels,mids", *EVAL)) + "\n")
    for place, rows in (("FSD50K.dev_audio", DEV), ("FSD50K.eval_audio", EVAL)):
        (folder / place).mkdir()
        for name in (row.partition(",")[0] for row in rows):
            if name != MISSING:
                samples = np.full(RATE_HZ // 20, 0.1)
                soundfile.write(folder / place / f"{name}.wav", samples, RATE_HZ)
    return f"fsd50k:{folder}"
