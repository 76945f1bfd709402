"""Students against Keras' equations written out in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from keras_reference import batch_norm, bidirectional, dense, relu, scramble

from student.models.att_rnn import AttRNN
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
    expected = dense(x.mean(0), model.classifier)
    batch = torch.zeros(2, 40, 40)
    batch[0, :frames] = torch.from_numpy(features)
    output = model(batch, torch.tensor([frames, 40]))
    np.testing.assert_allclose(output.logits_BC[0].detach().numpy(), expected, atol=1e-4)
    np.testing.assert_allclose(output.context_BTD[0, : len(x)].detach().numpy(), x, atol=1e-4)


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
        x = bidirectional(x, layer)
    query = model.query(torch.from_numpy(x[frames // 2]).float()).detach().double().numpy()
    weights = np.exp(x @ query - (x @ query).max())
    pooled = torch.from_numpy(weights / weights.sum() @ x).float()
    hidden = model.second_dense(torch.relu(model.first_dense(pooled)))
    expected = model.classifier(hidden).detach()
    batch = torch.zeros(2, 11, 20)
    batch[0, :frames] = torch.from_numpy(features)
    output = model(batch, torch.tensor([frames, 11]))
    torch.testing.assert_close(output.logits_BC[0], expected, atol=1e-4, rtol=0)
