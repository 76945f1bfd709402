"""Keras' layers written out in NumPy from their definitions, with the weights of torch modules.

All take and give float64. Time comes first: a clip is (T, C) or, as an image, (T, F, C).
"""

from __future__ import annotations

import numpy as np
import torch

from student.models.layers import MaskedBatchNorm


def numbers(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().double().numpy()


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def softmax(x: np.ndarray) -> np.ndarray:
    weights = np.exp(x - x.max())
    return weights / weights.sum()


def dense(x: np.ndarray, layer: torch.nn.Linear) -> np.ndarray:
    return x @ numbers(layer.weight).T + (0 if layer.bias is None else numbers(layer.bias))


def batch_norm(x: np.ndarray, layer: MaskedBatchNorm) -> np.ndarray:
    centred = x - numbers(layer.running_mean)
    return centred / np.sqrt(numbers(layer.running_variance) + 1e-3) * numbers(
        layer.scale
    ) + numbers(layer.shift)


def valid_conv(image: np.ndarray, layer: torch.nn.Conv2d) -> np.ndarray:
    """Slide a kernel over an image (T, F, C), wherever it fits whole."""
    kernel = numbers(layer.weight)
    height, width = kernel.shape[2:]
    rows, columns = image.shape[0] - height + 1, image.shape[1] - width + 1
    answer = np.zeros((rows, columns, len(kernel))) + numbers(layer.bias)  # type: ignore[arg-type]
    for t in range(rows):
        for f in range(columns):
            window = image[t : t + height, f : f + width]
            answer[t, f] += np.einsum("ijc,ocij->o", window, kernel)
    return answer


def same_conv_over_time(image: np.ndarray, layer: torch.nn.Conv2d) -> np.ndarray:
    """Slide a kernel of shape (odd, 1) over an image (T, F, C), with zeros before and after."""
    half = layer.kernel_size[0] // 2
    return valid_conv(np.pad(image, ((half, half), (0, 0), (0, 0))), layer)


def gru(x: np.ndarray, layer: torch.nn.GRU, suffix: str = "") -> np.ndarray:
    """GRU with ``reset_after=True``; its gates in torch's order; backwards for ``"_reverse"``."""
    weights = {name: numbers(weight) for name, weight in layer.named_parameters()}
    wr, wz, wn = np.split(weights[f"weight_ih_l0{suffix}"], 3)
    ur, uz, un = np.split(weights[f"weight_hh_l0{suffix}"], 3)
    br, bz, bn = np.split(weights[f"bias_ih_l0{suffix}"], 3)
    cr, cz, cn = np.split(weights[f"bias_hh_l0{suffix}"], 3)
    state, outputs = np.zeros(len(bn)), []
    for frame in x[::-1] if suffix else x:
        update = sigmoid(wz @ frame + bz + uz @ state + cz)
        reset = sigmoid(wr @ frame + br + ur @ state + cr)
        candidate = np.tanh(wn @ frame + bn + reset * (un @ state + cn))
        state = update * state + (1 - update) * candidate
        outputs.append(state)
    return np.array(outputs[::-1] if suffix else outputs)


def bidirectional(x: np.ndarray, layer: torch.nn.GRU) -> np.ndarray:
    return np.concatenate([gru(x, layer), gru(x, layer, "_reverse")], axis=1)


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
