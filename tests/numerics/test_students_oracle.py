"""Students against Keras' equations written out in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from student.models.att_rnn import AttRNN
from student.models.layers import MaskedBatchNorm
from student.models.tc_resnet import TCResNet


def same_conv(x: np.ndarray, layer: torch.nn.Conv1d) -> np.ndarray:
    """TensorFlow's 'same' convolution of (T, C), by its definition of padding."""
    kernel, stride = layer.kernel_size[0], layer.stride[0]
    weight, bias = layer.weight.double().detach().numpy(), layer.bias.double().detach().numpy()  # type: ignore[union-attr]
    outputs = -(-len(x) // stride)
    total = max((outputs - 1) * stride + kernel - len(x), 0)
    padded = np.pad(x, ((total // 2, total - total // 2), (0, 0)))
    windows = [padded[t * stride : t * stride + kernel] for t in range(outputs)]
    return np.array([np.einsum("kc,ock->o", window, weight) for window in windows]) + bias


def batch_norm(x: np.ndarray, layer: MaskedBatchNorm) -> np.ndarray:
    mean, variance = layer.running_mean.double().numpy(), layer.running_variance.double().numpy()
    scale, shift = layer.scale.double().detach().numpy(), layer.shift.double().detach().numpy()
    return (x - mean) / np.sqrt(variance + 1e-3) * scale + shift


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def scramble(model: torch.nn.Module) -> None:
    """Give BatchNorm and biases values that would show if they were forgotten."""
    torch.manual_seed(1)
    for module in model.modules():
        if isinstance(module, MaskedBatchNorm):
            module.running_mean.uniform_(-1, 1)
            module.running_variance.uniform_(0.5, 2)
    for parameter in model.parameters():
        if parameter.dim() == 1:
            torch.nn.init.uniform_(parameter, -0.5, 0.5)


@pytest.mark.parametrize("frames", [1, 2, 24, 25])
def test_tc_resnet_is_kws_streamings(frames: int) -> None:
    model = TCResNet(5).eval()
    scramble(model)
    features = np.random.default_rng(frames).normal(size=(frames, 40))
    x = relu(batch_norm(same_conv(features, model.stem), model.stem_norm))
    for block in model.blocks:
        shortcut = x
        if block.shortcut is not None:
            shortcut = relu(batch_norm(same_conv(x, block.shortcut), block.shortcut_norm))  # type: ignore[arg-type]
        y = relu(batch_norm(same_conv(x, block.first), block.first_norm))  # type: ignore[arg-type]
        y = batch_norm(same_conv(y, block.second), block.second_norm)  # type: ignore[arg-type]
        x = relu(y + shortcut)
    head = model.classifier
    expected = (
        head.weight.double().detach().numpy() @ x.mean(0) + head.bias.double().detach().numpy()
    )
    batch = torch.zeros(2, 40, 40)
    batch[0, :frames] = torch.from_numpy(features)
    output = model(batch, torch.tensor([frames, 40]))
    np.testing.assert_allclose(output.logits_BC[0].detach().numpy(), expected, atol=1e-4)
    np.testing.assert_allclose(output.context_BTD[0, : len(x)].detach().numpy(), x, atol=1e-4)


def gru(x: np.ndarray, layer: torch.nn.GRU, suffix: str) -> np.ndarray:
    """Keras' GRU with reset_after=True; its gates in torch's order."""
    weights = dict(layer.named_parameters())

    def of(name: str) -> list[np.ndarray]:
        return np.split(weights[f"{name}_l0{suffix}"].double().detach().numpy(), 3)

    (wr, wz, wn), (ur, uz, un) = of("weight_ih"), of("weight_hh")
    (br, bz, bn), (cr, cz, cn) = of("bias_ih"), of("bias_hh")

    def sigmoid(v: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-v))

    state, outputs = np.zeros(len(bn)), []
    for frame in x[::-1] if suffix else x:
        update = sigmoid(wz @ frame + bz + uz @ state + cz)
        reset = sigmoid(wr @ frame + br + ur @ state + cr)
        candidate = np.tanh(wn @ frame + bn + reset * (un @ state + cn))
        state = update * state + (1 - update) * candidate
        outputs.append(state)
    return np.array(outputs[::-1] if suffix else outputs)


@pytest.mark.parametrize("frames", [1, 6, 7])
def test_att_rnn_is_kws_streamings(frames: int) -> None:
    model = AttRNN(4).eval()
    scramble(model)
    features = np.random.default_rng(frames).normal(size=(frames, 20))
    image = torch.from_numpy(features).float()[None, None]
    for conv, norm in (
        (model.first_conv, model.first_norm),
        (model.second_conv, model.second_norm),
    ):
        image = norm(torch.relu(conv(image)), torch.ones(1, 1, frames, 1))
    x = image[0, 0].detach().double().numpy()
    for layer in (model.first_gru, model.second_gru):
        x = np.concatenate([gru(x, layer, ""), gru(x, layer, "_reverse")], axis=1)
    query = model.query(torch.from_numpy(x[frames // 2]).float()).detach().double().numpy()
    weights = np.exp(x @ query - (x @ query).max())
    pooled = torch.from_numpy(weights / weights.sum() @ x).float()
    hidden = model.second_dense(torch.relu(model.first_dense(pooled)))
    expected = model.classifier(hidden).detach()
    batch = torch.zeros(2, 11, 20)
    batch[0, :frames] = torch.from_numpy(features)
    output = model(batch, torch.tensor([frames, 11]))
    torch.testing.assert_close(output.logits_BC[0], expected, atol=1e-4, rtol=0)
