"""Costs on the device card against counts by hand."""

from __future__ import annotations

import pytest
import torch
from exported_students import student_of
from torch import nn

from cache_schema.front_ends import FRONT_ENDS
from student.export.cost import count_macs, count_parameters, measure_latency, peak_activation_bytes
from student.export.forms import FormSpec, FrontEndForm, build_graph
from student.stream.front_end import TorchFrontEnd

SECOND = 16_000
CLASSES = 12


def tc_resnet_macs(frames: int = 49) -> int:
    """Kernels of 3, 9 and 1 over 49 frames, 25 from the block on that halves them."""
    half = (frames + 1) // 2
    wide = 8 * frames * 50 * 50 * 9
    narrowing = half * 72 * (50 * 9 + 72 * 9 + 50)
    return frames * 40 * 50 * 3 + wide + narrowing + 2 * half * 72 * 72 * 9 + 72 * CLASSES


def crnn_macs(frames: int = 49) -> int:
    """Unpadded kernels of 3 x 3 and 5 x 3 over 20 coefficients, a GRU, three dense layers."""
    first, second = frames - 2, frames - 6
    images = first * 18 * 16 * 9 + second * 16 * 16 * 16 * 15
    gru = second * 3 * (256 * 256 + 256 * 256)
    return images + gru + 256 * 128 + 128 * 256 + 256 * CLASSES


def crnn_step_macs() -> int:
    """The convolutions see 7 frames, the GRU one."""
    return crnn_macs(7)


def ast_tiny_macs(frames: int = 98) -> int:
    """12 layers over the class token and 9 x 12 patches, and the last query's scores again."""
    tokens = 1 + ((frames - 16) // 10 + 1) * 12
    products = tokens * 192 * (3 * 192 + 192 + 4 * 192 + 4 * 192)
    attention = 2 * tokens * tokens * 192
    patches = (tokens - 1) * 16 * 16 * 192
    return patches + 12 * (products + attention) + tokens * 192 + 192 * CLASSES


@pytest.mark.parametrize(
    ("name", "kind", "by_hand"),
    [
        ("tc-resnet", "static", tc_resnet_macs()),
        ("crnn", "static", crnn_macs()),
        ("crnn", "step", crnn_step_macs()),
        ("ast-tiny", "static", ast_tiny_macs()),
    ],
)
def test_macs_are_those_counted_by_hand(name: str, kind: str, by_hand: int) -> None:
    spec = FormSpec(kind=kind, takes="features", samples=SECOND if kind == "static" else None)  # type: ignore[arg-type]
    graph = build_graph(student_of(name, CLASSES), spec)
    assert count_macs(graph.module, list(graph.inputs.values())) == by_hand


def test_parameters_are_the_students_without_its_norms() -> None:
    student = student_of("tc-resnet", CLASSES)
    form = build_graph(student, FormSpec(kind="static", takes="features", samples=SECOND)).module
    kernels = 40 * 50 * 3 + 8 * 50 * 50 * 9 + (50 * 9 + 72 * 9 + 50) * 72 + 2 * 72 * 72 * 9
    biases = 50 + 8 * 50 + 3 * 72 + 2 * 72
    assert count_parameters(form) == kernels + biases + 72 * CLASSES + CLASSES


def test_the_peak_is_what_is_alive_at_one_time() -> None:
    narrow, wide = 10, 1000
    module = nn.Sequential(nn.Linear(narrow, wide), nn.Linear(wide, narrow), nn.Linear(narrow, 1))
    peak = peak_activation_bytes(module, [torch.zeros(1, narrow)])
    assert peak == 4 * (narrow + wide + narrow)  # the input is held by whoever called


def test_a_view_of_a_value_takes_nothing() -> None:
    class Turned(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.t().reshape(-1).view(5, 2).t()

    assert peak_activation_bytes(Turned(), [torch.zeros(2, 5)]) == 2 * 4 * 10


def test_latency_has_its_percentiles_in_order() -> None:
    found = measure_latency(lambda: torch.zeros(10).sum())
    assert 0 < found.p50_ms <= found.p95_ms
    assert found.runs > 1


@pytest.mark.parametrize("name", FRONT_ENDS)
def test_the_exported_front_end_is_the_trainers_bit_by_bit(name: str) -> None:
    spec = FRONT_ENDS[name]
    window, hop = spec.window_samples, spec.hop_samples
    for samples in (window, window + 1, window + hop - 1, window + hop, 12_345):
        wave = 0.1 * torch.randn(2, samples, generator=torch.Generator().manual_seed(samples))
        expected, _ = TorchFrontEnd(spec)(wave, torch.tensor([samples, samples]))
        assert torch.equal(FrontEndForm(spec)(wave), expected)
