"""What the teachers answer to training clips: how often right, and how sure.

    python tests/experiments/answers.py ../shared WORK_FOLDER

Prints a line for the labelled and for the other training clips of each cache in the folder. An
answer's entropy is 0 where the teacher is sure, and ln(classes) where it knows nothing: a sure and
right answer to a labelled clip adds nothing to its label.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import spoken_digits

from cache_schema.reader import Cache, open_cache
from student.predict.exported import probabilities

CACHES = ("2s", "labels-25", "words", *(f"digits-{name}" for name in spoken_digits.SPEAKERS))


def true_labels(shared: Path) -> dict[str, str]:
    """Name the class of each clip of both corpora, whether or not a cache has it."""
    with (shared / "data/speech_commands_v2_12/metadata.csv").open(encoding="utf-8") as file:
        words = {
            str(Path(row["file"]).with_suffix("")): row["label"] for row in csv.DictReader(file)
        }
    digits = (path.stem for path in (shared / "data/fsdd").glob("*.flac"))
    return words | {name: name.partition("_")[0] for name in digits}


def answers(cache: Cache, labels: dict[str, str]) -> Iterator[tuple[bool, bool, float]]:
    """Give for each training clip and view: whether it is labelled, whether right, the entropy."""
    ids = cache.clip_ids()
    for unit in cache.units("train"):
        rows = cache.read_unit(unit, ["logits"])
        logits_NC = np.asarray(rows.signals["logits"], np.float32)
        for row, clip in enumerate(ids[unit.first_clip : unit.first_clip + unit.rows]):
            probability_C = probabilities(logits_NC[row], cache.task)
            answer = cache.classes[int(probability_C.argmax())]
            entropy = -float((probability_C * np.log(probability_C + 1e-12)).sum())
            yield bool(rows.labelled[row]), answer == labels[clip], entropy


if __name__ == "__main__":
    shared, work = Path(sys.argv[1]), Path(sys.argv[2])
    labels = true_labels(shared)
    print(
        "| cache | training clips | answers | right | entropy, nats |\n| --- | --- | --- | --- | --- |"
    )
    for name in CACHES:
        if (work / f"{name}.zarr").is_dir():
            found = list(answers(open_cache(work / f"{name}.zarr"), labels))
            for labelled, what in ((True, "labelled"), (False, "others")):
                of = [(right, entropy) for known, right, entropy in found if known == labelled]
                if of:
                    right, entropy = np.mean(of, axis=0)
                    print(
                        f"| {name} | {what} | {len(of):,} | {100 * right:.1f} % | {entropy:.2f} |"
                    )
