"""Several teachers: each is used by itself, several by the mean over what they share."""

from __future__ import annotations

import numpy as np
import torch

from cache_schema.frame_grid import FrameGrid
from student.stream.batch import Batch
from student.stream.teacher_selection import select_teacher_signals, shared_classes


def batch() -> Batch:
    signals = {
        "logits": torch.tensor([[1.0, 2.0, 3.0]]),
        "logits@b": torch.tensor([[10.0, 20.0]]),
        "temporal_attention@b": torch.tensor([[0.25, 0.75]]),
    }
    return Batch(
        features_BTM=torch.zeros(1, 4, 2),
        lengths_B=torch.tensor([4]),
        labels_BC=torch.zeros(1, 4),
        labelled_B=torch.tensor([False]),
        signals=signals,
        signal_lengths={name: torch.tensor([len(s[0])]) for name, s in signals.items()},
        clips=np.zeros(1, np.int64),
        feature_grid=FrameGrid(0.02, 0.02),
    )


def test_one_teachers_signals_go_by_their_plain_names() -> None:
    taught = select_teacher_signals(batch(), ("temporal_attention",), {"b": []})
    assert taught.signals["temporal_attention"].tolist() == [[0.25, 0.75]]
    assert taught.signal_lengths["temporal_attention"].tolist() == [2]


def test_several_teachers_give_the_mean_over_the_classes_they_share() -> None:
    # The first covers classes 0, 1 and 3, the other 1 and 3.
    teachers = shared_classes({"": (0, 1, 3), "b": (1, 3)})
    taught = select_teacher_signals(batch(), ("logits",), teachers)
    assert taught.signals["logits"].tolist() == [[(2 + 10) / 2, (3 + 20) / 2]]
