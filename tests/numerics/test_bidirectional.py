"""The bidirectional GRU against torch's own over packed sequences, and its gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from student.models.bidirectional import run_bidirectional

FRAMES, WIDTH = 11, 8


def of_torch(gru: nn.GRU, values_BTD: Tensor, lengths_B: Tensor) -> Tensor:
    packed = pack_padded_sequence(values_BTD, lengths_B, batch_first=True, enforce_sorted=False)
    found_BTD: Tensor
    found_BTD, _ = pad_packed_sequence(gru(packed)[0], batch_first=True, total_length=FRAMES)
    return found_BTD


@pytest.fixture
def gru() -> nn.GRU:
    torch.manual_seed(0)
    return nn.GRU(6, WIDTH, batch_first=True, bidirectional=True)


@pytest.mark.parametrize("lengths", [[11, 3, 1, 7], [11, 11, 11, 11]], ids=["ragged", "equal"])
def test_values_and_gradients_equal_those_of_packed_sequences(
    gru: nn.GRU, lengths: list[int]
) -> None:
    gru = gru.double()
    lengths_B = torch.tensor(lengths)
    values_BTD = torch.randn(4, FRAMES, 6, dtype=torch.float64, requires_grad=True)
    wanted_BTD = torch.randn(4, FRAMES, 2 * WIDTH, dtype=torch.float64)
    found = {}
    for name, run in {"ours": run_bidirectional, "torch": of_torch}.items():
        context_BTD = run(gru, values_BTD, lengths_B)
        total = (context_BTD * wanted_BTD).sum()
        found[name] = [context_BTD, *torch.autograd.grad(total, [values_BTD, *gru.parameters()])]
    for ours, theirs in zip(found["ours"], found["torch"], strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("learns", [True, False])
def test_cudnn_is_set_to_keep_what_a_gradient_needs(
    gru: nn.GRU, learns: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """cuDNN rejects the backward pass of a GRU that was not run for training."""
    plain, flags = torch.gru, []

    def recorded(*args: object, train: bool, **options: object) -> object:
        flags.append(train)
        return plain(*args, train=train, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(torch, "gru", recorded)
    with torch.set_grad_enabled(learns):
        run_bidirectional(gru.eval(), torch.randn(2, FRAMES, 6), torch.tensor([5, 11]))
    assert flags == [learns, learns]


def test_what_lies_in_the_padding_changes_nothing(gru: nn.GRU) -> None:
    lengths_B = torch.tensor([5, 11])
    values_BTD = torch.randn(2, FRAMES, 6)
    other_BTD = values_BTD.clone()
    other_BTD[0, 5:] = 100.0
    context_BTD = run_bidirectional(gru, values_BTD, lengths_B)
    assert torch.equal(context_BTD, run_bidirectional(gru, other_BTD, lengths_B))
    assert not context_BTD[0, 5:].any()


def test_mixed_precision_gives_nearly_the_same_and_finite_gradients(gru: nn.GRU) -> None:
    lengths_B = torch.tensor([5, 11])
    values_BTD = torch.randn(2, FRAMES, 6).bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        context_BTD = run_bidirectional(gru, values_BTD, lengths_B)
    context_BTD.sum().backward()
    exact_BTD = run_bidirectional(gru, values_BTD.detach().float(), lengths_B)
    assert torch.allclose(context_BTD.float(), exact_BTD, atol=0.02)
    assert values_BTD.grad is not None
    assert values_BTD.grad.isfinite().all()
