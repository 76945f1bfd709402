"""Most memory that one forward pass takes beyond the loaded model; a process for each case.

``python teacher_memory.py FOLDER SAMPLES CLIPS sdpa|ours ...`` prints it in bytes, a line a case, on
Linux. Each runs in a fork of the process that has imported the models and done nothing with them.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

import torch
import transformers

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "helpers"))

from teacher_models import ANSWERS, loaded, noise, with_features_at_hand

# transformers imports a model when its class is first looked up; a fork would do it again.
MODELS = (
    transformers.ASTForAudioClassification,
    transformers.Wav2Vec2ForSequenceClassification,
    transformers.WhisperForAudioClassification,
)
RESET_PEAK = "5"
WORDS = 4
"""Of a case."""


def main(*words: str) -> None:
    """Print each case's bytes."""
    for first in range(0, len(words), WORDS):
        child = os.fork()
        if child == 0:
            print(extra_bytes(*words[first : first + WORDS]), flush=True)
            os._exit(0)
        if os.waitpid(child, 0)[1] != 0:
            sys.exit(1)


def extra_bytes(folder: str, samples: str, clips: str, attention: str) -> int:
    """Run once to warm up and extract features, give back what is free, run again and watch."""
    torch.set_num_threads(1)
    teacher = with_features_at_hand(loaded(Path(folder), {}))
    if attention == "sdpa":
        teacher.model.set_attn_implementation("sdpa")
    waveforms = noise([int(samples)] * int(clips))
    teacher.infer(waveforms, ANSWERS[attention])
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text(RESET_PEAK)
    before = status_bytes("VmRSS")
    teacher.infer(waveforms, ANSWERS[attention])
    return status_bytes("VmHWM") - before


def status_bytes(name: str) -> int:
    """A line of the kernel's account of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(f"{name}:"))) * 1024


if __name__ == "__main__":
    main(*sys.argv[1:])
