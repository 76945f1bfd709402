"""LSTM-P, CRNN, MHAtt-RNN and DS-TC-ResNet against their equations written out in NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from keras_reference import (
    batch_norm,
    bidirectional,
    dense,
    gru,
    numbers,
    relu,
    same_conv_over_time,
    scramble,
    sigmoid,
    softmax,
    valid_conv,
)

from student.models.attribution import incremental_attribution
from student.models.crnn import CRNN
from student.models.ds_tc_resnet import DSTCResNet
from student.models.interface import Student, StudentOutput
from student.models.lstm_p import LSTMP, PeepholeLSTM
from student.models.mhatt_rnn import MHAttRNN
from student.models.pooling_student import PoolingStudent

LONGER = 6


def of_float64(model: Student) -> Student:
    scramble(model)
    return model.double().eval()


def random_clip(frames: int, bands: int) -> np.ndarray:
    return np.random.default_rng(frames).normal(size=(frames, bands))


def answer(model: Student, clip: np.ndarray) -> tuple[np.ndarray, np.ndarray, StudentOutput]:
    """Logits and valid context of the clip as the shorter one of a batch, and the whole output."""
    batch = torch.full((2, len(clip) + LONGER, clip.shape[1]), 9.0, dtype=torch.float64)
    batch[0, : len(clip)] = torch.from_numpy(clip)
    output = model(batch, torch.tensor([len(clip), len(clip) + LONGER]))
    context = output.context_BTD[0, : int(output.context_lengths_B[0])]
    return numbers(output.logits_BC[0]), numbers(context), output


def test_two_steps_of_a_peephole_lstm_with_one_unit_by_pencil() -> None:
    """With ln 3, sigmoid gives 3/4, its half gives tanh 1/2: cells 3/8 and 13/32."""
    ln3, first_cell = math.log(3), 3 / 4 * 1 / 2
    first_output = 2 * 3 / 4 * math.tanh(first_cell)
    cell = PeepholeLSTM(features=1, units=1, projected=1).double()
    with torch.no_grad():
        cell.gates.bias.zero_()
        # Input 1 opens the input gate and requests 1/2; so does, later, the output fed back.
        cell.gates.weight.zero_()
        cell.gates.weight[:2, 0] = torch.tensor([ln3, ln3 / 2])
        cell.gates.weight[1, 1] = ln3 / 2 / first_output
        cell.projection.weight.fill_(2)
        cell.input_peephole_U.fill_(-ln3 / first_cell)
        cell.forget_peephole_U.fill_((ln3 - 1) / first_cell)
        cell.output_peephole_U.fill_(ln3 / first_cell)
        outputs = cell(torch.tensor([[[1.0], [0.0]]], dtype=torch.float64))[0, :, 0]
    # Step 2: input gate 1/4, forget gate sigmoid(1 + ln 3 - 1) = 3/4, candidate 1/2.
    second_cell = 3 / 4 * 3 / 8 + 1 / 4 * 1 / 2
    assert second_cell == 13 / 32
    second_gate = 1 / (1 + 3 ** -(13 / 12))  # the output gate sees the new cell: 13/32 of 3/8
    expected = [first_output, 2 * second_gate * math.tanh(13 / 32)]
    np.testing.assert_allclose(outputs.numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(outputs.numpy(), [0.5375, 0.5908], atol=1e-4)


@pytest.mark.parametrize("frames", [1, 9])
def test_lstm_p_is_tensorflows_cell(frames: int) -> None:
    model = of_float64(LSTMP(5))
    lstm = model.lstm
    clip = random_clip(frames, 20)
    kernel, bias = numbers(lstm.gates.weight), numbers(lstm.gates.bias)
    peephole_i, peephole_f, peephole_o = (
        numbers(p) for p in (lstm.input_peephole_U, lstm.forget_peephole_U, lstm.output_peephole_U)
    )
    c, m, outputs = np.zeros(500), np.zeros(200), []
    for x in clip:
        i, j, f, o = np.split(kernel @ np.concatenate([x, m]) + bias, 4)
        c = sigmoid(f + 1 + peephole_f * c) * c + sigmoid(i + peephole_i * c) * np.tanh(j)
        m = numbers(lstm.projection.weight) @ (sigmoid(o + peephole_o * c) * np.tanh(c))
        outputs.append(m)
    logits, context, output = answer(model, clip)
    np.testing.assert_allclose(context, outputs, atol=1e-12)
    np.testing.assert_allclose(logits, dense(m, model.head), atol=1e-12)
    assert output.first_frame_s_B.tolist() == pytest.approx([0.02, 0.02])


def test_lstm_p_starts_like_tensorflows_cell() -> None:
    lstm = LSTMP(5).lstm
    assert (lstm.gates.bias == 0).all()
    assert lstm.projection.bias is None
    for weight, fans in (
        (lstm.gates.weight, 20 + 200 + 4 * 500),
        (lstm.projection.weight, 500 + 200),
        (lstm.input_peephole_U, 500 + 500),
        (lstm.forget_peephole_U, 500 + 500),
        (lstm.output_peephole_U, 500 + 500),
    ):
        bound = math.sqrt(6 / fans)
        assert 0.95 * bound < weight.abs().max() <= bound


@pytest.mark.parametrize("frames", [1, 6, 7, 12])
def test_crnn_is_kws_streamings(frames: int) -> None:
    model = of_float64(CRNN(5))
    clip = random_clip(frames, 20)
    silence = np.zeros((max(0, 7 - frames), 20))
    image = np.concatenate([clip, silence])[:, :, None]
    image = relu(valid_conv(relu(valid_conv(image, model.first_conv)), model.second_conv))
    expected = gru(image.reshape(len(image), 256), model.gru)
    first, second, _, third = model.head
    logits, context, output = answer(model, clip)
    np.testing.assert_allclose(context, expected, atol=1e-12)
    hidden = relu(dense(dense(expected[-1], first), second))
    np.testing.assert_allclose(logits, dense(hidden, third), atol=1e-12)
    assert output.context_lengths_B.tolist() == [max(frames, 7) - 6, max(frames + LONGER, 7) - 6]


def test_crnns_first_frame_is_centred_where_it_reports() -> None:
    """Context frame 0 sees feature frames 0 to 6, so its centre is that of frame 3: 80 ms."""
    model = of_float64(CRNN(5))
    features = torch.from_numpy(random_clip(12, 20))[None].requires_grad_()
    output = model(features, torch.tensor([12]))
    output.context_BTD[0, 0].abs().sum().backward()
    assert features.grad is not None
    seen = features.grad[0].abs().sum(1).nonzero()[:, 0]
    assert seen.tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert output.first_frame_s_B.tolist() == pytest.approx([0.020 + 3 * 0.020])
    assert output.hop_s == pytest.approx(0.020)


@pytest.mark.parametrize("frames", [1, 6, 7])
def test_mhatt_rnn_is_kws_streamings(frames: int) -> None:
    model = of_float64(MHAttRNN(4))
    clip = random_clip(frames, 20)
    image = clip[:, :, None]
    for conv, norm in (
        (model.first_conv, model.first_norm),
        (model.second_conv, model.second_norm),
    ):
        image = batch_norm(relu(same_conv_over_time(image, conv)), norm)
    x = bidirectional(bidirectional(image[:, :, 0], model.first_gru), model.second_gru)
    kernels = numbers(model.query.weight).reshape(4, 256, 256)
    biases = numbers(model.query.bias).reshape(4, 256)
    queries = [kernel @ x[frames // 2] + bias for kernel, bias in zip(kernels, biases, strict=True)]
    summaries = [softmax(x @ query) @ x for query in queries]
    hidden = relu(dense(np.concatenate(summaries), model.first_dense))
    expected = dense(dense(hidden, model.second_dense), model.classifier)
    logits, context, output = answer(model, clip)
    np.testing.assert_allclose(context, x, atol=1e-10)
    np.testing.assert_allclose(logits, expected, atol=1e-10)
    attribution = numbers(model.frame_attribution(output)[0, :frames])
    np.testing.assert_allclose(
        attribution, np.mean([softmax(x @ query) for query in queries], 0), atol=1e-10
    )


def test_each_query_layer_of_mhatt_rnn_starts_by_its_own_size() -> None:
    bound = math.sqrt(6 / (256 + 256))
    for kernel in MHAttRNN(4).query.weight.chunk(4):
        assert 0.99 * bound < kernel.abs().max() <= bound


def depthwise(x: np.ndarray, layer: torch.nn.Conv1d) -> np.ndarray:
    """Weigh each channel of (T, C) around every frame, with zeros before and after."""
    kernel, dilation = numbers(layer.weight)[:, 0], layer.dilation[0]
    half = kernel.shape[1] // 2
    answer = np.zeros_like(x)
    for t in range(len(x)):
        for tap in range(kernel.shape[1]):
            source = t + (tap - half) * dilation
            if 0 <= source < len(x):
                answer[t] += kernel[:, tap] * x[source]
    return answer


@pytest.mark.parametrize("frames", [1, 2, 40])
def test_ds_tc_resnet_is_kws_streamings(frames: int) -> None:
    model = of_float64(DSTCResNet(5))
    clip = random_clip(frames, 40)
    x = clip
    for block in model.blocks:
        y = depthwise(x, block.depthwise) @ numbers(block.pointwise.weight)[:, :, 0].T
        y = batch_norm(y, block.norm)
        if block.shortcut is not None:
            beside = x @ numbers(block.shortcut.weight)[:, :, 0].T
            y = y + batch_norm(beside, block.shortcut_norm)
        x = relu(y)
    logits, context, _ = answer(model, clip)
    np.testing.assert_allclose(context, x, atol=1e-10)
    np.testing.assert_allclose(logits, dense(x.mean(0), model.classifier), atol=1e-10)


def output_of(logits: list[float], context: list[float], length: int) -> StudentOutput:
    context_BTD = torch.tensor(context)[None, :, None]
    lengths_B = torch.tensor([length])
    return StudentOutput(torch.tensor([logits]), context_BTD, lengths_B, 0.02, torch.zeros(1))


def head_of(*weights: float) -> torch.nn.Linear:
    head = torch.nn.Linear(1, len(weights))
    with torch.no_grad():
        head.weight[:, 0] = torch.tensor(weights)
        head.bias.fill_(0.5)
    return head


def test_evidence_of_a_last_output_is_the_rise_of_the_winning_logit() -> None:
    """Context 1, 3, 2 read by a weight of 2 rises by 2 and 4, then falls; padding is left out."""
    output = output_of([4.5, -1.5], [1.0, 3.0, 2.0, 0.0], 3)
    attribution = incremental_attribution(output, head_of(2.0, -1.0))
    torch.testing.assert_close(attribution, torch.tensor([[1 / 3, 2 / 3, 0.0, 0.0]]))


def pooling(*weights: float) -> PoolingStudent:
    student = PoolingStudent()
    student.classifier = head_of(*weights)
    return student


def test_evidence_of_a_mean_is_each_frames_term_of_the_winning_logit() -> None:
    output = output_of([4.5, -1.5], [1.0, 3.0, -2.0, 0.0], 3)
    student = pooling(2.0, -1.0)
    assert student.frame_evidence(output)[0, :3].tolist() == [2, 6, -4]
    attribution = student.frame_attribution(output)
    torch.testing.assert_close(attribution, torch.tensor([[1 / 4, 3 / 4, 0.0, 0.0]]))


def test_a_clip_without_evidence_looks_everywhere_alike() -> None:
    output = output_of([-1.5, -2.5], [-1.0, -1.0, 0.0], 2)
    attribution = pooling(2.0, 3.0).frame_attribution(output)
    torch.testing.assert_close(attribution, torch.tensor([[0.5, 0.5, 0.0]]))
