"""The rollout with vectors equals explicit matrix products, whatever the teacher pools with."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pipeline.teachers.attention_capture import collect_maps, head_mean_attention
from pipeline.teachers.outputs import ForwardPass, TokenLayout
from pipeline.teachers.rollout import (
    TokenGrid,
    keep_frames,
    received_attention,
    roll_out,
    roll_out_maps,
)
from pipeline.teachers.signals import pool_frames, pool_map

B, L, N = 2, 5, 14
GRID = TokenGrid(special=2, rows=3, frames=4)
POOLINGS = ("first", "mean", "cls+dist", "attention")
Array = NDArray[np.float64]


@pytest.fixture
def maps() -> Array:
    """Peaked random attention (L, B, N, N); rows sum to 1."""
    scores = np.exp(4 * np.random.default_rng(0).standard_normal((L, B, N, N)))
    return scores / scores.sum(-1, keepdims=True)


def explicit_product(maps: Array, residual: bool) -> Array:
    rolled = np.broadcast_to(np.eye(N), (B, N, N))
    for layer in maps:
        mixed = 0.5 * layer + 0.5 * np.eye(N) if residual else layer
        rolled = mixed @ rolled
    return rolled


def poolings() -> dict[str, Array]:
    first = np.tile(np.eye(N)[0], (B, 1))
    tokens = np.zeros((B, N))
    tokens[:, :2] = 0.5
    scores = np.exp(3 * np.random.default_rng(1).standard_normal((B, N)))
    return {
        "first": first,  # also a single CLS token
        "mean": np.full((B, N), 1 / N),
        "cls+dist": tokens,
        "attention": scores / scores.sum(axis=1, keepdims=True),
    }


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_vector_rollout_is_the_pooled_row_of_the_product(
    maps: Array, pooling: str, residual: bool
) -> None:
    p = poolings()[pooling]
    expected = np.einsum("bn,bnk->bk", p, explicit_product(maps, residual))
    rolled = roll_out(list(torch.from_numpy(maps)), torch.from_numpy(p), residual=residual)
    np.testing.assert_allclose(rolled.numpy(), expected, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(rolled.sum(1).numpy(), 1, rtol=1e-12)


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_temporal_attention_is_the_product_folded_to_the_frames_of_each_clip(
    maps: Array, pooling: str, residual: bool
) -> None:
    frames, p = (4, 3), poolings()[pooling]
    nothing = torch.zeros(B, 1)
    forward_pass = ForwardPass(
        layout=TokenLayout(GRID, torch.tensor(frames), torch.from_numpy(p).float()),
        hidden=nothing,
        pooled=nothing,
        logits=nothing,
        maps=list(torch.from_numpy(maps).float()),
        residual=residual,
        map_pooling=1,
    )
    answers = forward_pass.signals(["temporal_attention", "attention_dropped_mass"])
    rolled = np.einsum("bn,bnk->bk", p, explicit_product(maps, residual))
    for clip, answer in enumerate(answers):
        in_time = rolled[clip, 2:].reshape(3, 4).sum(axis=0)[: frames[clip]]
        dropped = answer["attention_dropped_mass"]
        np.testing.assert_allclose(answer["temporal_attention"], in_time / in_time.sum(), rtol=1e-5)
        np.testing.assert_allclose(dropped, 1 - in_time.sum(), rtol=1e-5)


@pytest.mark.parametrize("residual", [True, False])
def test_full_rollout_is_the_product(maps: Array, residual: bool) -> None:
    rolled = roll_out_maps(list(torch.from_numpy(maps)), residual=residual)
    np.testing.assert_allclose(rolled.numpy(), explicit_product(maps, residual), rtol=1e-12)


def test_one_layer_by_hand() -> None:
    attention = torch.tensor([[[0.25, 0.75], [0.5, 0.5]]])
    first = torch.tensor([[1.0, 0.0]])
    assert roll_out([attention], first, residual=True).tolist() == [[0.625, 0.375]]
    assert roll_out([attention], first, residual=False).tolist() == [[0.25, 0.75]]


def test_received_attention_leaves_padded_queries_out(maps: Array) -> None:
    queries = np.zeros((B, N), dtype=bool)
    queries[0, :5], queries[1, :9] = True, True
    received = received_attention(list(torch.from_numpy(maps)), torch.from_numpy(queries)).numpy()
    assert received.shape == (B, N, L)
    np.testing.assert_allclose(received[0], maps[:, 0, :5].mean(axis=1).T, rtol=1e-6)
    np.testing.assert_allclose(received[1], maps[:, 1, :9].mean(axis=1).T, rtol=1e-6)


def test_folding_sums_keys_and_averages_queries_over_rows() -> None:
    values = torch.arange(N, dtype=torch.float64)
    by_row = np.arange(2, N).reshape(3, 4)
    assert GRID.fold_keys(values).tolist() == by_row.sum(axis=0).tolist()
    assert GRID.fold_queries(values).tolist() == by_row.mean(axis=0).tolist()


def test_mask_marks_each_clips_frames_in_every_row_and_no_token() -> None:
    mask = GRID.mask(torch.tensor([4, 1])).tolist()
    assert mask[0] == [False] * 2 + [True] * 12
    assert mask[1] == [False] * 2 + [True, False, False, False] * 3


def test_keeping_frames_renormalises_over_them() -> None:
    kept = keep_frames(torch.tensor([[0.1, 0.3, 0.6], [0.2, 0.2, 0.6]]), torch.tensor([2, 3]))
    np.testing.assert_allclose(kept.numpy(), [[0.25, 0.75, 0], [0.2, 0.2, 0.6]], rtol=1e-6)


@pytest.mark.parametrize("factor", [1, 2, 4, 5, 100])
def test_pooled_map_keeps_rows_at_one(maps: Array, factor: int) -> None:
    pooled = pool_map(maps[0, 0], factor)
    assert pooled.shape == (-(-N // factor),) * 2
    np.testing.assert_allclose(pooled.sum(axis=1), 1, rtol=1e-12)


def test_pooled_frames_average_what_is_left_at_the_end() -> None:
    pooled = pool_frames(np.arange(5.0)[:, None], 2)
    assert pooled[:, 0].tolist() == [0.5, 2.5, 4.0]


@pytest.mark.parametrize("frames", [1, 7, 300])
@pytest.mark.parametrize("masked", [None, "boolean", "additive"])
def test_block_attention_equals_softmax_at_once(frames: int, masked: str | None) -> None:
    """300 frames of 48 heads take several blocks of queries."""
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 48, frames, 8, dtype=torch.float64) for _ in range(3))
    visible = torch.ones(2, 1, 1, frames, dtype=torch.bool)
    visible[1, ..., frames // 2 + 1 :] = False
    additive = torch.zeros(visible.shape, dtype=torch.float64).masked_fill(~visible, -torch.inf)
    mask = {None: None, "boolean": visible, "additive": additive}[masked]
    with collect_maps() as maps:
        output, weights = head_mean_attention(
            torch.nn.Identity(), query, key, value, mask, scaling=0.5
        )
    scores = torch.einsum("bhqd,bhkd->bhqk", query, key) * 0.5
    expected = torch.softmax(scores + additive if masked else scores, dim=-1)
    assert weights is None
    assert len(maps) == 1
    torch.testing.assert_close(maps[0], expected.mean(1))
    torch.testing.assert_close(output, torch.einsum("bhqk,bhkd->bqhd", expected, value))


def test_maps_are_collected_only_inside_the_context() -> None:
    inputs = (torch.randn(1, 2, 3, 4),) * 3
    with collect_maps() as maps:
        pass
    head_mean_attention(torch.nn.Identity(), *inputs, None)
    assert maps == []
