"""Gates started for the length of memory that a task needs (Tallec & Ollivier 2018)."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from student.models.att_rnn import AttRNN
from student.models.crnn import CRNN
from student.models.gate_start import chrono_bias, start_gru
from student.models.interface import Student
from student.models.lstm_p import FORGET_BIAS, LSTMP
from student.models.mhatt_rnn import MHAttRNN
from student.models.tc_resnet import TCResNet

FRAMES = 101


def test_a_bias_is_the_logarithm_of_a_uniform_length() -> None:
    torch.manual_seed(0)
    lengths = chrono_bias(20_000, FRAMES).exp()
    assert 1 <= lengths.min() < 1.1
    assert 99.5 < lengths.max() <= 100
    # Uniform in [1, 100]: mean 50.5, deviation 99 / sqrt(12).
    assert lengths.mean().item() == pytest.approx(50.5, abs=0.7)
    assert lengths.std().item() == pytest.approx(99 / math.sqrt(12), abs=0.5)


@pytest.mark.parametrize("frames", [0, 1, 2])
def test_a_clip_of_a_frame_or_two_needs_no_memory(frames: int) -> None:
    assert (chrono_bias(8, frames) == 0).all()


def test_a_started_gru_remembers_for_as_long_as_its_gates_allow() -> None:
    """Without input a unit's state decays by sigmoid(b) a frame: by about 1/e in e^b frames."""
    torch.manual_seed(0)
    gru = nn.GRU(1, 50, batch_first=True)
    with torch.no_grad():
        for parameter in gru.parameters():
            parameter.zero_()
    start_gru(gru, FRAMES)
    lengths = gru.bias_ih_l0[50:100].exp().detach()
    state = gru(torch.zeros(1, 60, 1), torch.ones(1, 1, 50))[0][0, -1]
    torch.testing.assert_close(state, (lengths / (1 + lengths)) ** 60)
    untouched = [gru.bias_ih_l0[:50], gru.bias_ih_l0[100:], gru.bias_hh_l0]
    assert not any(bias.any() for bias in untouched)


def gate_biases(student: Student) -> list[torch.Tensor]:
    """Bias of each gate that keeps memory, with the constants that the cell adds."""
    if isinstance(student, LSTMP):
        return [student.lstm.gates.bias.chunk(4)[2] + FORGET_BIAS]
    return [
        bias.chunk(3)[1]
        for name, bias in student.named_parameters()
        if name.rpartition(".")[2].startswith("bias_ih_l0")
    ]


@pytest.mark.parametrize(
    ("student", "count", "memory"),
    [(CRNN, 1, FRAMES - 6), (LSTMP, 1, FRAMES), (AttRNN, 4, FRAMES), (MHAttRNN, 4, FRAMES)],
)
def test_each_recurrence_starts_for_its_own_frames(
    student: type[AttRNN], count: int, memory: int
) -> None:
    torch.manual_seed(0)
    started = student(5, gates="chrono")
    started.start_memory(FRAMES)
    biases = gate_biases(started)
    assert len(biases) == count
    for bias in biases:
        assert bias.min() >= -1e-6
        assert math.log(memory * 0.9) < bias.max() <= math.log(memory - 1) + 1e-6


@pytest.mark.parametrize("student", [CRNN, LSTMP, AttRNN, MHAttRNN])
def test_keras_start_is_still_there(student: type[AttRNN]) -> None:
    plain = student(5, gates="keras")
    before = {name: value.clone() for name, value in plain.state_dict().items()}
    plain.start_memory(FRAMES)
    assert all(torch.equal(before[name], value) for name, value in plain.state_dict().items())
    assert not any(
        (bias - (FORGET_BIAS if student is LSTMP else 0)).any() for bias in gate_biases(plain)
    )


def test_an_lstms_cell_writes_as_rarely_as_it_forgets() -> None:
    student = LSTMP(5)
    student.start_memory(FRAMES)
    write, candidate, forget, output = student.lstm.gates.bias.chunk(4)
    torch.testing.assert_close(write, -(forget + FORGET_BIAS))
    assert not candidate.any()
    assert not output.any()


def test_a_student_without_a_recurrence_has_nothing_to_prepare() -> None:
    student = TCResNet(5)
    before = {name: value.clone() for name, value in student.state_dict().items()}
    student.start_memory(FRAMES)
    assert all(torch.equal(before[name], value) for name, value in student.state_dict().items())
