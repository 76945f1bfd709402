"""Every container and codec that libsndfile lists: good, cut short, with a size that lies or is none.

The command ends well, every good clip is kept whole, and every other one is named with its reason.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from fuzzing import EXAMPLES, run
from sound_files import (
    PLACEHOLDERS,
    SIZE_FIELDS,
    encoded,
    frames_read,
    kinds,
    with_size,
    without_flac_count,
    write_all,
)

from cache_schema.inspection.summary import summary
from cache_schema.iterate import iterate_clips
from cache_schema.reader import open_cache
from pipeline.audio.decode import resampled_length
from pipeline.precompute.cli import main as precompute_teacher

# Containers that do not declare how much they should hold, as libsndfile writes them: a cut may pass.
UNCOUNTED = ("IRCAM", "PAF", "PVF", "XI")
TEACHER_RATE_HZ = 16_000


def altered(dice: random.Random) -> dict[str, tuple[bytes, str]]:
    """Files by name: their bytes, and what is to become of them: kept, rejected or either."""
    files: dict[str, tuple[bytes, str]] = {}
    for container, subtype in kinds():
        made = encoded(container, subtype)
        if made is None:
            continue
        content, name = made[0], f"{container}-{subtype}"
        cut = content[: int(len(content) * dice.uniform(0.3, 0.9))]
        files[f"cut-{name}"] = (cut, "either" if container in UNCOUNTED else "refused")
        if container in SIZE_FIELDS:
            form = SIZE_FIELDS[container][1]
            right = len(content)
            lies = [dice.randrange(right, 20 * right), dice.randrange(9, right // 2)]
            files[f"more-{name}"] = (with_size(content, container, lies[0]), "either")
            files[f"less-{name}"] = (with_size(content, container, lies[1]), "either")
            size = dice.choice(PLACEHOLDERS[form[-1]])
            kept = "kept" if subtype.startswith("PCM") else "either"
            files[f"piped-{name}"] = (with_size(content, container, size), kept)
        if container == "FLAC":
            files[f"piped-{name}"] = (without_flac_count(content), "kept")
    return files


@pytest.mark.parametrize("seed", range(max(1, EXAMPLES // 100)))
def test_every_kind_of_recording_is_kept_or_named_with_its_reason(
    tmp_path: Path, seed: int
) -> None:
    root = tmp_path / "corpus"
    good = write_all(root)
    other = altered(random.Random(seed))
    for name, (content, _) in other.items():
        (root / f"{name}.bin").write_bytes(content)
    names = [*good, *(f"{name}.bin" for name in other)]
    rows = "".join(f"{name},{name},a,train\n" for name in names)
    (root / "clips.csv").write_text("path,id,label,split\n" + rows)
    out = tmp_path / "out.zarr"
    code, output = run(
        precompute_teacher, f"csv:{root}/clips.csv", "--teacher", "toy", "--out", out
    )
    assert code == 0, output
    samples, reasons = what_became(out)
    for name, content in good.items():
        frames = frames_read(content)
        if frames is not None:  # libsndfile writes AIFF with DWVW, and reads none of it
            made = encoded(*name.partition(".")[0].split("-"))
            rate_hz = made[1] if made else 0
            rate_hz = 8_000 if name.startswith("WVE") else rate_hz
            rates = (rate_hz, 44_100, 16_129)  # XI has no rate, VOC rounds it
            assert name in samples, (name, reasons.get(name))
            wanted = {resampled_length(frames, rate, TEACHER_RATE_HZ) for rate in rates}
            assert samples[name] in wanted, name
    for name, (_, outcome) in other.items():
        if outcome != "either":
            assert (f"{name}.bin" in samples) == (outcome == "kept"), (name, reasons)
    assert set(samples) | set(reasons) == set(names)
    assert all(reason and str(root) not in reason for reason in reasons.values())


def what_became(out: Path) -> tuple[dict[str, int], dict[str, str]]:
    """Samples of the kept clips and reasons of the others, by id."""
    cache = open_cache(out)
    samples = {
        clip.id: len(clip.signals["waveform"])
        for split in cache.splits
        for clip in iterate_clips(cache, split, ["waveform"])
    }
    (part,) = summary(out)["parts"]
    return samples, {entry["clip"]: entry["reason"] for entry in part["quarantine"]}
