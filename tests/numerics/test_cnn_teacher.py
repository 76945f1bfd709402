"""The CNN teacher computes what the stock class and PSLA's formula give, at the times it declares."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from numpy.typing import NDArray
from tiny_checkpoints import CLASSES, CNN_POOLINGS, LABELS, write_cnn

from cache_schema.errors import RunError, UsageError
from pipeline.teachers import MODEL_TYPES, open_teacher
from pipeline.teachers.attention_pooling import AttentionPooling
from pipeline.teachers.checkpoints.checkpoint import open_checkpoint
from pipeline.teachers.checkpoints.random_init import write_untrained_cnn
from pipeline.teachers.efficientnet import EfficientNetTeacher

torch.set_num_threads(1)

RATE_HZ = 16_000
Array = NDArray[np.floating]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("cnns")
    made = {pooling: root / pooling for pooling in CNN_POOLINGS}
    for pooling, folder in made.items():
        write_cnn(folder, pooling)
    return made


@pytest.fixture(params=CNN_POOLINGS)
def teacher(request: pytest.FixtureRequest, folders: dict[str, Path]) -> EfficientNetTeacher:
    return opened(folders[request.param])


def opened(folder: Path) -> EfficientNetTeacher:
    teacher = open_teacher(str(folder))
    assert isinstance(teacher, EfficientNetTeacher)
    teacher.load("cpu")
    return teacher


def clip(samples: int = RATE_HZ, seed: int = 0) -> NDArray[np.float32]:
    """Noise that grows louder, so that frames differ."""
    noise = np.random.default_rng(seed).standard_normal(samples)
    return (0.3 * noise * np.linspace(0.01, 1, samples)).astype(np.float32)


# The head.


def sigmoid(values: Array) -> Array:
    return 1 / (1 + np.exp(-values))


def pooled_by_hand(head: AttentionPooling, frames_TD: Array) -> Array:
    """PSLA's sum with explicit loops in float64."""
    state = {name: tensor.double().numpy() for name, tensor in head.state_dict().items()}
    heads, (frames, _) = len(state["head_weight"]), frames_TD.shape
    classes = len(state["attention.bias"]) // heads
    logits = np.zeros(classes)
    for h in range(heads):
        for c in range(classes):
            row = h * classes + c
            attention = [
                sigmoid(
                    frames_TD[t] @ state["attention.weight"][row] + state["attention.bias"][row]
                )
                for t in range(frames)
            ]
            activations = [
                frames_TD[t] @ state["classification.weight"][row]
                + state["classification.bias"][row]
                for t in range(frames)
            ]
            share = np.array(attention) / np.sum(attention)
            logits[c] += state["head_weight"][h] * share @ np.array(activations)
    return logits


def test_attention_pooling_is_the_explicit_sum() -> None:
    torch.manual_seed(0)
    head = AttentionPooling(features=6, classes=3, heads=4).double()
    with torch.no_grad():
        head.attention.weight.mul_(8)
        head.head_weight.copy_(torch.tensor([0.5, -0.2, 0.4, 0.3]))
    frames_BTD = torch.randn(2, 5, 6, dtype=torch.float64)
    for ours, frames_TD in zip(head(frames_BTD), frames_BTD, strict=True):
        expected = pooled_by_hand(head, frames_TD.numpy())
        np.testing.assert_allclose(ours.detach().numpy(), expected, rtol=1e-12)


def test_attention_pooling_by_hand() -> None:
    """Attention sigmoid(0) = 1/2 and sigmoid(ln 3) = 3/4 to frames with activations 10 and 20."""
    head = AttentionPooling(features=2, classes=1, heads=1)
    with torch.no_grad():
        head.attention.weight.copy_(torch.tensor([[np.log(3), 0]]))
        head.classification.weight.copy_(torch.tensor([[0, 10.0]]))
        head.attention.bias.zero_()
        head.classification.bias.zero_()
        head.head_weight.fill_(2.0)
        logit = head(torch.tensor([[[0.0, 1.0], [1.0, 2.0]]]))
    assert logit.item() == pytest.approx(2 * (0.5 * 10 + 0.75 * 20) / 1.25)  # 32


def test_attention_pooling_of_ignored_frames_is_their_mean() -> None:
    head = AttentionPooling(features=1, classes=1, heads=1)
    with torch.no_grad():
        head.attention.bias.fill_(-1e4)
        head.classification.weight.fill_(1.0)
        head.classification.bias.zero_()
        logit = head(torch.tensor([[[1.0], [3.0]]]))
    assert logit.item() == pytest.approx(2)


# The model.


def test_mean_pooling_is_the_stock_class(folders: dict[str, Path]) -> None:
    waveform = clip()
    stock, info = transformers.EfficientNetForImageClassification.from_pretrained(
        folders["mean"], output_loading_info=True
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    extractor = open_teacher(str(folders["mean"])).checkpoint.extractor  # type: ignore[attr-defined]
    extractor.max_length = 98
    values = extractor(waveform, sampling_rate=RATE_HZ, return_tensors="pt")["input_values"]
    with torch.inference_mode():
        output = stock.eval()(values.transpose(1, 2)[:, None], output_hidden_states=True)
    answer = opened(folders["mean"]).infer([waveform], ["logits", "frame_embedding"])[0]
    np.testing.assert_allclose(answer["logits"], output.logits[0].numpy(), rtol=1e-4, atol=1e-5)
    assert stock.config.id2label == LABELS["id2label"]


def test_attention_pooling_adds_only_the_tensors_of_its_head(folders: dict[str, Path]) -> None:
    _, info = transformers.EfficientNetForImageClassification.from_pretrained(
        folders["attention"], output_loading_info=True
    )
    assert set(info["missing_keys"]) == {"classifier.weight", "classifier.bias"}
    assert {name.split(".")[0] for name in info["unexpected_keys"]} == {"classifier"}


def test_embeddings_are_what_the_head_pools(teacher: EfficientNetTeacher) -> None:
    answer = teacher.infer([clip(3 * RATE_HZ)], list(teacher.signals))[0]
    frames_TD = answer["frame_embedding"].astype(np.float64)
    np.testing.assert_allclose(answer["clip_embedding"], frames_TD.mean(axis=0), rtol=1e-4)
    head = teacher.model.classifier
    if teacher.pooling == "attention":
        expected = pooled_by_hand(head, frames_TD)
    else:
        weight, bias = head.weight.double().detach().numpy(), head.bias.double().detach().numpy()
        expected = weight @ frames_TD.mean(axis=0) + bias
    np.testing.assert_allclose(answer["logits"], expected, rtol=1e-4, atol=1e-5)


def test_clips_and_frames_are_distinguished_so_that_the_tests_mean_something(
    teacher: EfficientNetTeacher,
) -> None:
    loud, quiet = teacher.infer([clip(), 0.01 * clip()], list(teacher.signals))
    for name, value in loud.items():
        assert np.abs(value - quiet[name]).max() > 0.02 * np.abs(value).max(), name
    assert loud["frame_embedding"].std(axis=0).max() > 0.01


def test_neighbours_in_the_batch_change_nothing(teacher: EfficientNetTeacher) -> None:
    batch = [clip(20_000, seed) for seed in range(5)]
    together = teacher.infer(batch, list(teacher.signals))
    for waveform, answer in zip(batch, together, strict=True):
        alone = teacher.infer([waveform], list(teacher.signals))[0]
        for name, value in alone.items():
            scale = np.abs(value).max()
            np.testing.assert_allclose(answer[name], value, atol=1e-5 * scale, rtol=0)


def test_features_are_as_long_as_the_clip(teacher: EfficientNetTeacher) -> None:
    for samples, frames in ((5_360, 32), (RATE_HZ, 98), (12 * RATE_HZ, 1_198)):
        assert teacher.features([clip(samples)]).shape == (1, 1, 128, frames)


@pytest.mark.parametrize("extra", [0, 1, 159, 160, 5_119, 5_120, 40_000])
def test_shapes_are_promised(teacher: EfficientNetTeacher, extra: int) -> None:
    samples = teacher.min_samples + extra
    answer = teacher.infer([clip(samples)], list(teacher.signals))[0]
    for name, value in answer.items():
        assert value.shape == teacher.row_shape(name, samples), name


def test_one_sample_less_than_the_least_is_rejected(teacher: EfficientNetTeacher) -> None:
    with pytest.raises(RunError, match="5360 to any number"):
        teacher.infer([clip(5_359)], ["logits"])


@pytest.mark.parametrize("even_blocks", [(), (3,), (1, 2, 5)])
def test_a_frame_is_centred_on_what_it_sees(tmp_path: Path, even_blocks: tuple[int, ...]) -> None:
    """The inputs with a gradient are a range; its middle is the time on the grid.

    The gates of squeeze-and-excitation see the whole clip and are held fixed.
    """
    write_untrained_cnn(tmp_path, seed=0, width=0.1, depth=0.3)
    checkpoint = open_checkpoint(str(tmp_path), MODEL_TYPES).changed(
        depthwise_padding=list(even_blocks), hidden_act="gelu"
    )
    teacher = EfficientNetTeacher(checkpoint)
    teacher.load("cpu")
    model = teacher.model.double()
    for block in teacher.layers():
        block.squeeze_excite.reduce.weight.data.zero_()  # type: ignore[operator, union-attr]
    grid = teacher.signals["frame_embedding"]
    assert grid is not None
    assert grid.hop_s == pytest.approx(0.32)
    features = torch.randn(1, 1, 128, 1_600, dtype=torch.float64, requires_grad=True)
    network = model.efficientnet
    map_DMT = network.encoder(network.embeddings(features)).last_hidden_state[0]
    for frame in (20, 27):
        (gradient,) = torch.autograd.grad(map_DMT[:, :, frame].sum(), features, retain_graph=True)
        seen = gradient[0, 0].abs().sum(0).nonzero()[:, 0]
        centre_s = 0.0125 + 0.01 * 0.5 * float(seen[0] + seen[-1])
        assert grid.first_frame_s + frame * grid.hop_s == pytest.approx(centre_s)


# What is rejected, and what a base becomes.


def changed_config(folder: Path, **settings: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def copied(source: Path, folder: Path, **settings: Any) -> Path:
    folder.mkdir()
    for path in source.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    changed_config(folder, **settings)
    return folder


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"aftersound_pooling": "first"}, "expected mean or attention"),
        ({"pooling_type": "max"}, "'max'; expected mean"),
    ],
)
def test_other_poolings_are_rejected(
    folders: dict[str, Path], tmp_path: Path, settings: dict[str, str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        open_teacher(str(copied(folders["mean"], tmp_path / "changed", **settings)))


@pytest.mark.parametrize(
    ("source", "settings"),
    [
        ("mean", {"aftersound_pooling": "attention"}),
        ("attention", {"aftersound_pooling_heads": 2}),
    ],
)
def test_a_head_that_the_weights_do_not_hold_is_rejected(
    folders: dict[str, Path], tmp_path: Path, source: str, settings: dict[str, Any]
) -> None:
    teacher = open_teacher(str(copied(folders[source], tmp_path / "changed", **settings)))
    with pytest.raises(RunError, match="the weights hold"):
        teacher.load("cpu")


def test_self_test_notices_another_pooling(folders: dict[str, Path]) -> None:
    teacher = opened(folders["mean"])
    teacher.model.efficientnet.pooler = torch.nn.AdaptiveMaxPool2d(1)
    with pytest.raises(RunError, match="pooled features are"):
        teacher.self_test()


@pytest.fixture
def image_classifier(tmp_path: Path) -> Path:
    """A random EfficientNet of three channels with an image preprocessor, as the hub has them."""
    folder = tmp_path / "image-classifier"
    write_untrained_cnn(folder, seed=1, width=0.25, depth=0.3)
    settings = json.loads((folder / "config.json").read_text()) | {"num_channels": 3}
    config = transformers.EfficientNetConfig(**settings)
    torch.manual_seed(0)
    transformers.EfficientNetForImageClassification(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"image_processor_type": "EfficientNetImageProcessor", "size": {"height": 224}})
    )
    return folder


def test_an_image_classifier_gives_no_answers_yet(image_classifier: Path) -> None:
    base = f"finetune-teacher CORPUS --base {image_classifier} --out"
    with pytest.raises(UsageError, match="3 channels; sound has 1") as caught:
        open_teacher(str(image_classifier))
    assert base in str(caught.value)


@pytest.mark.parametrize("pooling", CNN_POOLINGS)
def test_an_image_classifier_becomes_a_teacher(
    image_classifier: Path, tmp_path: Path, pooling: str
) -> None:
    base = open_checkpoint(str(image_classifier), MODEL_TYPES)
    teacher = EfficientNetTeacher(base.changed(**LABELS, aftersound_pooling=pooling))
    teacher.attach_model(teacher.new_model(attention="eager"), "cpu")
    teacher.save(tmp_path / "teacher")
    reopened = opened(tmp_path / "teacher")
    assert (reopened.classes, reopened.pooling) == (CLASSES, pooling)
    before, after = (
        checkpoint.tensors("embeddings.convolution.")["weight"]
        for checkpoint in (base, reopened.checkpoint)
    )
    torch.testing.assert_close(after, before.mean(dim=1, keepdim=True))
    momenta = {m.momentum for m in reopened.model.modules() if isinstance(m, torch.nn.BatchNorm2d)}
    assert momenta == {0.1}


def test_an_untrained_cnn_learns(tmp_path: Path) -> None:
    """Tones of two pitches, by the hooks that fine-tuning calls; scored as a teacher would be."""
    write_untrained_cnn(tmp_path / "base", seed=0, width=0.25, depth=0.3)
    base = open_checkpoint(str(tmp_path / "base"), MODEL_TYPES)
    labels = {"id2label": {0: "low", 1: "high"}, "label2id": {"low": 0, "high": 1}}
    teacher = EfficientNetTeacher(base.changed(**labels, aftersound_pooling="attention"))
    torch.manual_seed(0)
    teacher.attach_model(teacher.new_model(attention="eager").train(), "cpu")
    optimizer = torch.optim.AdamW(teacher.model.parameters(), lr=3e-3)
    random = np.random.default_rng(0)

    def tones(count: int) -> tuple[list[NDArray[np.float32]], torch.Tensor]:
        high = random.integers(0, 2, count)
        pitch_hz = np.where(high, 3_000, 300) * random.uniform(0.9, 1.1, count)
        time_s = np.arange(6_000) / RATE_HZ
        waves = np.sin(2 * np.pi * pitch_hz[:, None] * time_s) * random.uniform(
            0.01, 0.5, (count, 1)
        )
        waves += 0.01 * random.standard_normal(waves.shape)
        return list(waves.astype(np.float32)), torch.from_numpy(high)

    for _ in range(60):  # batch norm needs as many to settle
        waveforms, high = tones(8)
        loss = torch.nn.functional.cross_entropy(teacher.logits(waveforms), high)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    teacher.save(tmp_path / "taught")
    waveforms, high = tones(32)
    answers = opened(tmp_path / "taught").infer(waveforms, ["logits"])
    guesses = [int(answer["logits"].argmax()) for answer in answers]
    assert np.mean(np.array(guesses) == high.numpy()) > 0.9
