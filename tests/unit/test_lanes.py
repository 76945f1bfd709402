"""Lanes divide an epoch's rows, and their exchange is the mean by clips."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from cache_schema.errors import UsageError
from cache_schema.reader import Unit
from student.stream.lane import Lane
from student.training.exchange import Exchange
from student.training.processes import ALONE, Processes

ROWS = st.lists(st.integers(1, 9), min_size=1, max_size=6)


@given(rows=ROWS, count=st.integers(1, 8), lost=st.data())
def test_every_usable_row_is_in_one_lane(rows: list[int], count: int, lost: st.DataObject) -> None:
    units = [Unit(n, 0, "train", 10 * n, size) for n, size in enumerate(rows)]
    usable = [lost.draw(st.integers(0, size)) for size in rows]
    found = [
        (piece.unit.number, row)
        for lane in range(count)
        for piece in Lane(lane, count).pieces(units)
        for row in piece.rows(usable[piece.unit.number])
    ]
    assert found == [(unit, row) for unit, size in enumerate(usable) for row in range(size)]


@given(rows=ROWS, count=st.integers(1, 8))
def test_lanes_differ_by_at_most_one_row(rows: list[int], count: int) -> None:
    units = [Unit(n, 0, "train", 10 * n, size) for n, size in enumerate(rows)]
    sizes = [sum(p.last - p.first for p in Lane(n, count).pieces(units)) for n in range(count)]
    assert max(sizes) - min(sizes) <= 1


def objective() -> Any:
    """A network with a mean to remember, a count and a constant, and the parts of a loss."""
    torch.manual_seed(1)
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, momentum=0.5), nn.Linear(4, 1))
    network.register_buffer("constant", torch.tensor([0.1, 0.7]))
    network.losses = {}  # type: ignore[assignment]
    return network


def test_a_step_is_the_mean_of_its_lanes_by_clips() -> None:
    """Against torch's own gradients and running statistics of each batch by itself."""
    batches = [torch.randn(6, 3), torch.randn(2, 3)]
    network, single = objective(), []
    exchange = Exchange(network, ALONE, lanes=3)
    exchange.begin()
    for place, batch in enumerate(batches):  # the third lane has ended
        alone = copy.deepcopy(objective())
        alone(batch).square().mean().backward()
        single.append(alone)
        network.zero_grad()
        loss = network(batch).square().mean()
        loss.backward()
        exchange.add(place, {"total": loss, "labels": loss * 2}, len(batch))
    learned = exchange.finish(stop=True)
    assert (learned.clips, learned.stop) == (8, True)
    mean = sum(
        share * alone(batch).square().mean()
        for share, alone, batch in zip((0.75, 0.25), copy.deepcopy(single), batches, strict=True)
    )
    torch.testing.assert_close(learned.losses, {"total": mean, "labels": 2 * mean})  # type: ignore[dict-item]
    first, second = [dict(alone.named_parameters()) for alone in single]
    for name, parameter in network.named_parameters():
        expected = 0.75 * first[name].grad + 0.25 * second[name].grad
        torch.testing.assert_close(parameter.grad, expected)
    first, second = [dict(alone.named_buffers()) for alone in single]
    for name, buffer in network.named_buffers():
        if buffer.is_floating_point():
            torch.testing.assert_close(buffer, 0.75 * first[name] + 0.25 * second[name])
    assert network[1].num_batches_tracked == 1
    assert torch.equal(network.constant, objective().constant), "what nobody changed keeps its bits"


def test_without_clips_nothing_was_learned() -> None:
    exchange = Exchange(objective(), ALONE, lanes=2)
    exchange.begin()
    assert exchange.finish(stop=False).clips == 0


@pytest.mark.parametrize(("count", "owns"), [(1, [[0, 1, 2, 3]]), (2, [[0, 2], [1, 3]])])
def test_processes_share_the_lanes(count: int, owns: list[list[int]]) -> None:
    processes = [SimpleNamespace(rank=rank, count=count) for rank in range(count)]
    found = [list(Exchange(objective(), p, lanes=4).own) for p in processes]  # type: ignore[arg-type]
    assert found == owns


def test_a_process_without_a_gpu_of_its_own_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it connects to the others."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with (
        pytest.raises(UsageError, match=r"'cuda:2' is not on this machine; .* cuda:0, cuda:1$"),
        Processes(rank=2, count=4, local_rank=2).joined("auto"),
    ):
        raise AssertionError
