"""Spectrogram students against stock torch layers without masks, and published sizes."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from cache_schema.errors import UsageError
from cache_schema.front_ends import FRONT_ENDS
from student.models.ast_tiny import ASTTiny
from student.models.efficientnet import EfficientNetB0, EfficientNetB2
from student.models.interface import Student
from student.models.inverted_residual import StochasticDepth
from student.models.layers import MaskedBatchNorm
from student.models.mobilenet import MobileNet

INPUT_NORM = 2 * 128  # scale and shift of 128 bands, which the published networks do not have
EXTRA_STEM_INPUTS = 2 * 32 * 3 * 3  # theirs has three input channels

SMALL = {
    "mobilenet": lambda: MobileNet(5, width=0.2),
    "efficientnet-b0": lambda: EfficientNetB0(5),
    "ast-tiny": lambda: ASTTiny(5, layers=2, stride=16),
}
every_student = pytest.mark.parametrize("name", SMALL)


def scrambled(student: Student) -> Student:
    """In evaluation mode, with statistics, scales and biases that would show if forgotten."""
    torch.manual_seed(1)
    for module in student.modules():
        if isinstance(module, MaskedBatchNorm):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_variance.uniform_(0.5, 2)
    for parameter in student.parameters():
        if parameter.dim() == 1:
            nn.init.uniform_(parameter, 0.5, 1.5)
    return student.double().eval()


def calm(module: nn.Module) -> None:
    if isinstance(module, nn.Dropout):
        module.p = 0.0


def features(clips: int, frames: int) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(clips, frames, 128, generator=generator, dtype=torch.float64)


def full(batch: Tensor) -> Tensor:
    return torch.full((len(batch),), batch.shape[1])


# --- the convolutional ones ----------------------------------------------------------------------


class Excite(nn.Module):
    def __init__(self, channels: int, squeezed: int, squeeze: nn.Module, gate: nn.Module) -> None:
        super().__init__()
        self.gates = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, squeezed, 1), squeeze,
            nn.Conv2d(squeezed, channels, 1), gate,
        )  # fmt: skip

    def forward(self, image: Tensor) -> Tensor:
        return image * self.gates(image)


class Block(nn.Module):
    def __init__(self, *layers: nn.Module, shortcut: bool) -> None:
        super().__init__()
        self.branch, self.shortcut = nn.Sequential(*layers), shortcut

    def forward(self, image: Tensor) -> Tensor:
        return self.branch(image) + image if self.shortcut else self.branch(image)


def conv(before: int, after: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    pad = (kernel - 1) // 2
    return nn.Conv2d(before, after, kernel, stride, pad, groups=groups, bias=False)


def block(
    before: int, kernel: int, expanded: int, after: int, stride: int, *, act: nn.Module,
    eps: float, excite: Excite | None,
) -> Block:  # fmt: skip
    norm = lambda channels: nn.BatchNorm2d(channels, eps=eps)  # noqa: E731
    layers: list[nn.Module] = []
    if expanded != before:
        layers += [conv(before, expanded, 1), norm(expanded), act]
    layers += [conv(expanded, expanded, kernel, stride, expanded), norm(expanded), act]
    layers += [excite] if excite else []
    layers += [conv(expanded, after, 1), norm(after)]
    return Block(*layers, shortcut=stride == 1 and before == after)


def plain_efficientnet_b0() -> nn.Sequential:
    """Table 1 of Tan and Le 2019, block by block: kernel, expansion, channels, stride."""
    rows = [(3, 1, 16, 1), (3, 6, 24, 2), (3, 6, 24, 1), (5, 6, 40, 2), (5, 6, 40, 1)]
    rows += [(3, 6, 80, 2), (3, 6, 80, 1), (3, 6, 80, 1), (5, 6, 112, 1), (5, 6, 112, 1)]
    rows += [(5, 6, 112, 1), (5, 6, 192, 2), (5, 6, 192, 1), (5, 6, 192, 1), (5, 6, 192, 1)]
    rows += [(3, 6, 320, 1)]
    layers: list[nn.Module] = [conv(1, 32, 3, 2), nn.BatchNorm2d(32), nn.SiLU()]
    before = 32
    for kernel, factor, after, stride in rows:
        excite = Excite(before * factor, before // 4, nn.SiLU(), nn.Sigmoid())
        sizes = (before, kernel, before * factor, after, stride)
        layers.append(block(*sizes, act=nn.SiLU(), eps=1e-5, excite=excite))
        before = after
    layers += [conv(320, 1280, 1), nn.BatchNorm2d(1280), nn.SiLU()]
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, 5)]
    return nn.Sequential(*layers)


def plain_mobilenet_02() -> nn.Sequential:
    """Table 1 of Howard et al. 2019 at a fifth of the width, rounded by hand to multiples of 8."""
    rows = [(3, 8, 8, 0, 0, 1), (3, 16, 8, 0, 0, 2), (3, 16, 8, 0, 0, 1), (5, 16, 8, 8, 0, 2)]
    rows += [(5, 24, 8, 8, 0, 1), (5, 24, 8, 8, 0, 1), (3, 48, 16, 0, 1, 2), (3, 40, 16, 0, 1, 1)]
    rows += [(3, 40, 16, 0, 1, 1), (3, 40, 16, 0, 1, 1), (3, 96, 24, 24, 1, 1)]
    rows += [(3, 136, 24, 32, 1, 1), (5, 136, 32, 32, 1, 2), (5, 192, 32, 48, 1, 1)]
    rows += [(5, 192, 32, 48, 1, 1)]
    norm = lambda channels: nn.BatchNorm2d(channels, eps=1e-3)  # noqa: E731
    layers: list[nn.Module] = [conv(1, 8, 3, 2), norm(8), nn.Hardswish()]
    before = 8
    for kernel, expanded, after, squeezed, swish, stride in rows:
        excite = Excite(expanded, squeezed, nn.ReLU(), nn.Hardsigmoid()) if squeezed else None
        act = nn.Hardswish() if swish else nn.ReLU()
        layers.append(
            block(before, kernel, expanded, after, stride, act=act, eps=1e-3, excite=excite)
        )
        before = after
    layers += [conv(32, 192, 1), norm(192), nn.Hardswish(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    layers += [nn.Linear(192, 256), nn.Hardswish(), nn.Linear(256, 5)]
    return nn.Sequential(*layers)


PLAIN = {"efficientnet-b0": plain_efficientnet_b0, "mobilenet": plain_mobilenet_02}
every_cnn = pytest.mark.parametrize("name", PLAIN)


def leaves(module: nn.Module) -> Iterator[nn.Module]:
    kinds = (nn.Conv2d, nn.Linear, nn.BatchNorm2d, MaskedBatchNorm)
    return (m for m in module.modules() if isinstance(m, kinds))


@torch.no_grad()
def copy_weights(student: Student, plain: nn.Module) -> None:
    """Layer by layer in order; the input normalisation is left out."""
    ours = [m for m in leaves(student) if m is not student.input_norm]
    for mine, theirs in zip(ours, leaves(plain), strict=True):
        state = mine.state_dict()
        if isinstance(mine, MaskedBatchNorm):
            state = {
                "weight": state["scale"], "bias": state["shift"],
                "running_mean": state["running_mean"], "running_var": state["running_variance"],
                "num_batches_tracked": state["batches_seen"],
            }  # fmt: skip
        theirs.load_state_dict(state)


def after_input_norm(student: Student, batch: Tensor) -> Tensor:
    norm = student.input_norm
    if student.training:
        deviation = (batch.var((0, 1), correction=0) + 1e-3).sqrt()
        normal = (batch - batch.mean((0, 1))) / deviation
    else:
        normal = (batch - norm.running_mean) / (norm.running_variance + 1e-3).sqrt()
    return normal * norm.scale + norm.shift


@every_cnn
@pytest.mark.parametrize("training", [False, True])
def test_without_padding_it_is_the_stock_network(name: str, training: bool) -> None:
    student, plain = scrambled(SMALL[name]()).apply(calm), PLAIN[name]().double()
    copy_weights(student, plain)
    student.train(training)
    plain.train(training)
    batch = features(3, 97)
    expected = plain(after_input_norm(student, batch)[:, None])
    output = student(batch, full(batch))
    torch.testing.assert_close(output.logits_BC, expected, atol=1e-8, rtol=1e-6)
    gradients = [
        torch.autograd.grad(logits.square().sum(), next(layers).weight)[0]
        for logits, layers in (
            (output.logits_BC, (m for m in leaves(student) if isinstance(m, nn.Conv2d))),
            (expected, leaves(plain)),
        )
    ]
    torch.testing.assert_close(*gradients, atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_efficientnet_b0_is_timms() -> None:
    timm = pytest.importorskip("timm", reason="its torchvision has no CPU build on PyPI")
    student = scrambled(EfficientNetB0(5))
    plain = timm.create_model("efficientnet_b0", in_chans=1, num_classes=5).double().eval()
    copy_weights(student, plain)
    batch = features(2, 96)
    expected = plain(after_input_norm(student, batch)[:, None])
    torch.testing.assert_close(student(batch, full(batch)).logits_BC, expected)


def parameters(student: Student) -> int:
    return sum(p.numel() for p in student.parameters())


@pytest.mark.parametrize(
    ("build", "published"), [(EfficientNetB0, 5_288_548), (EfficientNetB2, 9_109_994)]
)
def test_efficientnet_has_the_published_size(build: type[Student], published: int) -> None:
    assert parameters(build(1000)) == published - EXTRA_STEM_INPUTS + INPUT_NORM


@pytest.mark.parametrize(
    ("width", "published"), [(0.4, 0.983), (0.5, 1.43), (1.0, 4.88), (2.0, 17.91)]
)
def test_mobilenet_has_efficientats_size(width: float, published: float) -> None:
    """Its README rounds to three or four figures and cuts mn04's 0.9836 to 0.983."""
    millions = (parameters(MobileNet(527, width=width)) - INPUT_NORM) / 1e6
    assert millions == pytest.approx(published, abs=0.005)


def test_width_04_is_what_mobilenet_is_without_options() -> None:
    assert parameters(MobileNet(527)) == 983_599 + INPUT_NORM


@every_cnn
@torch.no_grad()
def test_a_context_frame_is_centred_on_every_32nd_feature_frame(name: str) -> None:
    """With kernels symmetric in time and 32 k + 1 frames, a clip played backwards shows it."""
    student = scrambled(SMALL[name]())
    for module in leaves(student):
        if isinstance(module, nn.Conv2d):
            module.weight.copy_((module.weight + module.weight.flip(2)) / 2)
    batch = features(1, 97)
    forwards, backwards = (student(clip, full(batch)) for clip in (batch, batch.flip(1)))
    torch.testing.assert_close(forwards.context_BTD.flip(1), backwards.context_BTD)
    assert forwards.context_BTD.shape[1] == 4
    assert forwards.first_frame_s_B.item() == FRONT_ENDS["log_mel128"].first_frame_s == 0.0125
    assert forwards.hop_s == pytest.approx(0.32)


@torch.no_grad()
def test_mobilenets_evidence_adds_up_to_its_answer() -> None:
    student = scrambled(SMALL["mobilenet"]())
    batch = features(2, 200)
    output = student(batch, full(batch))
    winner = output.logits_BC.argmax(1)
    hidden_BTK = output.context_BTD @ student.hidden.weight.T
    before_BK = hidden_BTK.mean(1) + student.hidden.bias
    gates_BK = ((before_BK + 3) / 6).clamp(0, 1)
    readout_BK = student.classifier.weight[winner] * gates_BK
    terms_BT = (hidden_BTK * readout_BK[:, None]).sum(2) / hidden_BTK.shape[1]
    constant_B = readout_BK @ student.hidden.bias + student.classifier.bias[winner]
    torch.testing.assert_close(terms_BT.sum(1) + constant_B, output.logits_BC.amax(1))
    expected = terms_BT.clamp_min(0) / terms_BT.clamp_min(0).sum(1, keepdim=True)
    torch.testing.assert_close(student.frame_attribution(output), expected)


def test_drop_connect_takes_or_leaves_a_whole_clip_and_only_in_training() -> None:
    torch.manual_seed(0)
    drop, image = StochasticDepth(0.25), torch.ones(400, 2, 3, 4)
    scale = drop.train()(image).flatten(1)
    assert torch.equal(scale.amin(1), scale.amax(1))
    assert sorted(set(scale[:, 0].tolist())) == [0, pytest.approx(4 / 3)]
    assert scale[:, 0].mean() == pytest.approx(1, abs=0.1)
    assert drop.eval()(image) is image


# --- the transformer -----------------------------------------------------------------------------


def plain_ast(student: ASTTiny, clip: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, context and the class token's attention of one clip, from stock layers and loops."""
    normal = after_input_norm(student, clip[None])[0]
    stride = student.stride
    columns, rows = ((size - 16) // stride + 1 for size in normal.shape)
    tokens = [student.class_token]
    for t in range(columns):
        angles = [t / 10_000 ** (2 * i / 192) for i in range(96)]
        time = torch.tensor([*map(math.sin, angles), *map(math.cos, angles)], dtype=clip.dtype)
        for f in range(rows):
            patch = normal[t * stride : t * stride + 16, f * stride : f * stride + 16]
            embedded = (student.patches.weight[:, 0] * patch).sum((1, 2)) + student.patches.bias
            tokens.append(embedded + time + student.row_positions_FD[f])
    x = torch.stack(tokens)[None]
    for layer in student.layers:
        attention = nn.MultiheadAttention(192, 3, batch_first=True, dtype=clip.dtype)
        attention.load_state_dict({
            "in_proj_weight": layer.qkv.weight, "in_proj_bias": layer.qkv.bias,
            "out_proj.weight": layer.proj.weight, "out_proj.bias": layer.proj.bias,
        })  # fmt: skip
        y = layer.norm1(x)
        y, weights = attention(y, y, y, average_attn_weights=False)
        x = x + y
        y = nn.functional.linear(layer.norm2(x), layer.mlp[0].weight, layer.mlp[0].bias)
        y = y * 0.5 * (1 + torch.erf(y / math.sqrt(2)))
        x = x + nn.functional.linear(y, layer.mlp[2].weight, layer.mlp[2].bias)
    x = nn.functional.layer_norm(x, (192,), student.norm.weight, student.norm.bias)
    context = x[0, 1:].view(columns, rows, 192).mean(1)
    on_columns = weights[0, :, 0, 1:].reshape(3, columns, rows).sum(2)
    return student.classifier(x[0, 0]), context, on_columns


@torch.no_grad()
@pytest.mark.parametrize("stride", [10, 16])
def test_ast_is_the_stock_transformer_clip_by_clip(stride: int) -> None:
    student = scrambled(ASTTiny(5, layers=2, stride=stride))
    batch, lengths = features(3, 77), torch.tensor([77, 16, 45])
    output = student(batch, lengths)
    attribution = student.frame_attribution(output)
    for row, length in enumerate(lengths.tolist()):
        logits, context, on_columns = plain_ast(student, batch[row, :length])
        columns = len(context)
        assert output.context_lengths_B[row] == columns
        torch.testing.assert_close(output.logits_BC[row], logits)
        torch.testing.assert_close(output.context_BTD[row, :columns], context)
        shares = on_columns / on_columns.sum(1, keepdim=True)
        torch.testing.assert_close(output.attention_BHT[row, :, :columns].softmax(1), shares)
        torch.testing.assert_close(attribution[row, :columns], shares.mean(0))


@pytest.mark.parametrize("stride", [10, 16])
def test_a_column_of_patches_lies_where_it_reports(stride: int) -> None:
    student = ASTTiny(5, layers=1, stride=stride).eval()
    images: list[Tensor] = []
    student.patches.register_forward_hook(lambda _module, _inputs, image: images.append(image))
    batch = features(1, 100).float().requires_grad_()
    output = student(batch, full(batch))
    for column in range(int(output.context_lengths_B)):
        of_column = images[0][:, :, column].square().sum()
        gradient = torch.autograd.grad(of_column, batch, retain_graph=True)[0]
        frames = gradient.abs().sum((0, 2)).nonzero()[:, 0].double()
        centre_s = 0.0125 + 0.010 * frames.mean().item()
        said_s = output.first_frame_s_B.item() + column * output.hop_s
        assert centre_s == pytest.approx(said_s, abs=1e-6)


def test_attention_of_a_padded_batch_has_finite_gradients() -> None:
    student = ASTTiny(5, layers=2, stride=16)
    batch, lengths = features(3, 100).float(), torch.tensor([100, 3, 40])
    scores = student(batch, lengths).attention_BHT
    scores[scores.isfinite()].square().sum().backward()
    gradients = [p.grad for p in student.parameters() if p.grad is not None]
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_ast_tiny_has_the_parameters_of_the_tiny_vision_transformer() -> None:
    """Its layers, patches of one channel and one token; positions by row only."""
    layer = 4 * 192 + (192 + 1) * 3 * 192 + (192 + 1) * 192 + (192 + 1) * 768 + (768 + 1) * 192
    rest = INPUT_NORM + (256 + 1) * 192 + 192 + 12 * 192 + 2 * 192 + (192 + 1) * 527
    assert parameters(ASTTiny(527)) == 12 * layer + rest == 5_492_559


# --- all of them ---------------------------------------------------------------------------------


@every_student
@torch.no_grad()
def test_clips_of_all_remainders_are_answered_alike_alone_and_padded(name: str) -> None:
    student = scrambled(SMALL[name]())
    lengths = torch.tensor([*range(64, 97, 3), 200])
    batch = features(len(lengths), 200)
    together = student(batch, lengths)
    for row, length in enumerate(lengths.tolist()):
        alone = student(batch[row : row + 1, :length], lengths[row : row + 1])
        torch.testing.assert_close(together.logits_BC[row], alone.logits_BC[0])
        frames = int(alone.context_lengths_B)
        assert together.context_lengths_B[row] == frames == alone.context_BTD.shape[1]
        torch.testing.assert_close(together.context_BTD[row, :frames], alone.context_BTD[0])


@every_student
def test_level_and_spread_of_each_band_are_learned_from_the_batch(name: str) -> None:
    """What stands in for the constants of a corpus."""
    student = SMALL[name]().double().apply(calm).train()
    batch, lengths = features(4, 80) * 3, torch.tensor([80, 40, 60, 20])
    louder = batch * torch.linspace(1, 9, 128) - torch.linspace(0, 30, 128)
    answers = [student(clips, lengths).logits_BC for clips in (batch, louder)]
    torch.testing.assert_close(*answers, atol=1e-3, rtol=1e-2)


def test_statistics_of_a_padded_batch_are_those_of_its_valid_frames() -> None:
    torch.manual_seed(0)
    ours = MaskedBatchNorm(3, momentum=0.1, epsilon=1e-5).double()
    stock = nn.BatchNorm1d(3, eps=1e-5, momentum=0.9).double()
    image = torch.randn(4, 3, 7, 5, dtype=torch.float64, requires_grad=True)
    lengths = torch.tensor([7, 1, 4, 2])
    mask = torch.arange(7) < lengths[:, None]
    normal = ours(image, mask[:, None, :, None])
    valid = image.movedim(1, 3)[mask].reshape(-1, 3)
    expected = stock(valid)
    torch.testing.assert_close(normal.movedim(1, 3)[mask].reshape(-1, 3), expected)
    assert (normal.movedim(1, 3)[~mask] == 0).all()
    weight = torch.randn_like(expected)
    mine = torch.autograd.grad((normal.movedim(1, 3)[mask].reshape(-1, 3) * weight).sum(), image)
    theirs = torch.autograd.grad((expected * weight).sum(), image)
    torch.testing.assert_close(mine, theirs)
    torch.testing.assert_close(ours.running_mean, stock.running_mean)
    torch.testing.assert_close(ours.running_variance, stock.running_var)


def test_one_value_alone_leaves_the_statistics_as_they_were() -> None:
    norm = MaskedBatchNorm(2, momentum=0.9)
    normal = norm(torch.full((1, 2, 1), 7.0), torch.ones(1, 1, 1, dtype=torch.bool))
    torch.testing.assert_close(normal, torch.zeros(1, 2, 1), atol=1e-3, rtol=0)
    assert norm.running_variance.tolist() == [1, 1]
    assert norm.batches_seen == 0


@pytest.mark.parametrize(
    ("build", "options", "named"),
    [
        (MobileNet, {"width": 0.0}, "width"),
        (MobileNet, {"width": float("nan")}, "width"),
        (ASTTiny, {"layers": 0}, "layers=0"),
        (ASTTiny, {"stride": 17}, "stride=17"),
        (ASTTiny, {"stride": 0}, "stride=0"),
    ],
)
def test_options_without_a_meaning_are_rejected(
    build: type[Student], options: dict[str, float], named: str
) -> None:
    with pytest.raises(UsageError, match=named):
        build(5, **options)
