"""Which clips an epoch has, in which batches, and what stays in memory."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from small_finetuning import CLASSES, RATE_HZ, views_of, write_clip, write_corpus

from cache_schema.clip import Clip
from pipeline.corpora.interface import Corpus
from pipeline.finetune.data import LabelledAudio


def audio_of(corpus: Corpus, **settings: Any) -> LabelledAudio:
    usual: dict[str, Any] = {"min_samples": 400, "max_samples": None, "recipe": views_of(corpus)}
    return LabelledAudio(
        corpus=corpus, sample_rate_hz=RATE_HZ, **(usual | settings), report=lambda line: None
    )


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return write_corpus(tmp_path / "corpus")


def test_an_epoch_uses_every_usable_clip_once(corpus: Corpus) -> None:
    audio = audio_of(corpus)
    training = [batch for step in audio.steps("train", 3, seed=(0, 1)) for batch in step]
    validation = list(audio.batches_by_length("train", 3))
    for batches in (training, validation):
        assert sum(len(batch.waveforms) for batch in batches) == 20
        assert sum(batch.labels.sum() for batch in batches) == 20
    assert all(len({len(w) for w in batch.waveforms}) == 1 for batch in validation)
    assert list(audio.unusable) == ["broken"]


def test_the_order_depends_on_the_seed_alone(corpus: Corpus) -> None:
    audio = audio_of(corpus)
    first, again, other = (
        [w.tobytes() for (batch,) in audio.steps("train", 3, seed=seed) for w in batch.waveforms]
        for seed in ((0, 1), (0, 1), (0, 2))
    )
    assert first == again
    assert first != other
    assert sorted(first) == sorted(other)


@pytest.mark.parametrize(("batch_size", "accumulate"), [(4, 2), (2, 4), (1, 8)])
def test_a_step_of_several_batches_is_a_step_of_one_large_batch(
    corpus: Corpus, batch_size: int, accumulate: int
) -> None:
    audio = audio_of(corpus)
    small = list(audio.steps("train", batch_size, accumulate=accumulate, seed=(0, 1)))
    large = list(audio.steps("train", 8, seed=(0, 1)))
    assert len(small) == len(large) == audio.step_count("train", 8)
    for batches, (whole,) in zip(small, large, strict=True):
        assert all(len(batch.waveforms) <= batch_size for batch in batches)
        waveforms = [waveform for batch in batches for waveform in batch.waveforms]
        assert [w.tobytes() for w in waveforms] == [w.tobytes() for w in whole.waveforms]


def drawn(clips: list[Clip], root: Path, epochs: int, *, balanced: bool) -> Counter[int]:
    """How often each length was drawn; the tests give each clip its own."""
    multi = any(len(clip.labels) > 1 for clip in clips)
    corpus = Corpus(
        root=root, clips=tuple(clips), classes=CLASSES, task="multi" if multi else "single"
    )
    audio = audio_of(corpus)
    return Counter(
        len(waveform)
        for epoch in range(epochs)
        for step in audio.steps("train", 4, balanced=balanced, seed=(0, epoch))
        for batch in step
        for waveform in batch.waveforms
    )


def test_balanced_sampling_draws_each_class_as_often(tmp_path: Path) -> None:
    clips = [
        write_clip(tmp_path, f"{i}.wav", "train", ("high",) if i else ("low",), 400 + i)
        for i in range(20)
    ]
    times = drawn(clips, tmp_path, 100, balanced=True)
    assert times.total() == 2_000
    assert times[400] == pytest.approx(1_000, rel=0.1)
    assert times[401] == pytest.approx(1_000 / 19, rel=0.5)
    assert drawn(clips, tmp_path, 2, balanced=False)[400] == 2


def test_a_clip_of_several_classes_is_drawn_by_the_sum_of_their_weights(tmp_path: Path) -> None:
    """Three clips are high and two low: weights 1/3, 1/3, 1/3 + 1/2 and 1/2 of 2."""
    labels = (("high",), ("high",), ("high", "low"), ("low",))
    clips = [
        write_clip(tmp_path, f"{i}.wav", "train", names, 400 + i) for i, names in enumerate(labels)
    ]
    times = drawn(clips, tmp_path, 1_000, balanced=True)
    for i, weight in enumerate((1 / 3, 1 / 3, 5 / 6, 1 / 2)):
        assert times[400 + i] == pytest.approx(4_000 * weight / 2, rel=0.1)


def test_clips_with_none_of_the_classes_are_balanced_as_one_more(tmp_path: Path) -> None:
    """Of 20 clips 10 have none of two classes, 8 are high, one is low, one has both."""
    labels = [("high", "low"), ("low",), *[("high",)] * 8, *[()] * 10]
    clips = [
        replace(write_clip(tmp_path, f"{i}.wav", "train", names, 400 + i), none_present=not names)
        for i, names in enumerate(labels)
    ]
    times = drawn(clips, tmp_path, 100, balanced=True)
    assert times.total() == 2_000
    assert sum(times[400 + i] for i in range(10, 20)) == pytest.approx(2_000 / 3, rel=0.1)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
@pytest.mark.parametrize("rate_hz", [RATE_HZ, 44_100])
def test_a_clip_comes_from_memory_as_it_was_decoded(
    tmp_path: Path, subtype: str, rate_hz: int
) -> None:
    waveform = np.random.default_rng(0).uniform(-1, 1, 2_000)
    waveform[:2] = 1, -1
    soundfile.write(tmp_path / "a.wav", waveform, rate_hz, subtype=subtype)
    clip = Clip(id="a", path="a.wav", labels=("low",), split="train", frames=2_000)
    corpus = Corpus(root=tmp_path, clips=(clip,), classes=CLASSES, task="single")
    audio = audio_of(corpus)
    ((decoded,),) = list(audio.steps("train", 1, seed=(0, 1)))
    (tmp_path / "a.wav").unlink()
    ((kept,),) = list(audio.steps("train", 1, seed=(0, 2)))
    assert kept.waveforms[0].dtype == np.float32
    assert np.array_equal(kept.waveforms[0], decoded.waveforms[0])


def test_memory_holds_no_more_than_it_may(tmp_path: Path) -> None:
    """Each of four clips takes 2 x 1000 bytes."""
    clips = []
    for name in "abcd":
        waveform = np.random.default_rng(ord(name)).integers(-32768, 32767, 1_000, dtype=np.int16)
        soundfile.write(tmp_path / name, waveform, RATE_HZ, format="WAV")
        clips.append(Clip(id=name, path=name, labels=("low",), split="train", frames=1_000))
    corpus = Corpus(root=tmp_path, clips=tuple(clips), classes=CLASSES, task="single")
    audio = audio_of(corpus, memory_bytes=5_000)
    assert len(list(audio.steps("train", 1, seed=(0, 1)))) == 4
    for name in "abcd":
        soundfile.write(
            tmp_path / name, np.full(1_000, np.nan), RATE_HZ, format="WAV", subtype="FLOAT"
        )
    assert len(list(audio.steps("train", 1, seed=(0, 1)))) == 2


def test_training_uses_another_view_each_epoch_and_validation_the_cached_one(
    corpus: Corpus,
) -> None:
    recipe = views_of(corpus, "gain", "shift:max_s=0.05")
    audio = audio_of(corpus, recipe=recipe)
    (clip,) = (clip for clip in corpus.clips if clip.id == "train-low-9.wav")
    (other,) = (clip for clip in corpus.clips if clip.id == "validation-low-3.wav")
    source = {c.id: soundfile.read(corpus.root / c.path, dtype="float32")[0] for c in (clip, other)}
    cached = [recipe.make(source[clip.id], clip, view).waveform_S for view in range(50)]
    trained = [
        next(
            waveform
            for (batch,) in audio.steps("train", 1, seed=(0, epoch))
            for waveform in batch.waveforms
            if len(waveform) == clip.frames and batch.labels[0, CLASSES.index("low")]
        )
        for epoch in range(1, 4)
    ]
    assert len({waveform.tobytes() for waveform in [*cached, *trained]}) == 53
    wanted = recipe.make(source[other.id], other, 0).waveform_S
    for _ in range(2):
        batches = audio.batches_by_length("validation", 1)
        assert any(np.array_equal(batch.waveforms[0], wanted) for batch in batches)


def test_a_view_that_cannot_be_made_costs_no_other_view_of_the_clip(tmp_path: Path) -> None:
    """The partner of half of the views is broken; a resumed run must find the clip usable too."""
    clips = [write_clip(tmp_path, "a.wav", "train", ("low",), 400)]
    clips += [Clip(id=f"broken-{i}", path="b.wav", labels=("low",), split="train") for i in "123"]
    corpus = Corpus(root=tmp_path, clips=tuple(clips), classes=CLASSES, task="single")
    reported: list[str] = []
    audio = audio_of(corpus, recipe=views_of(corpus, "mixup"))
    audio.report = reported.append
    step_counts = [len(list(audio.steps("train", 1, seed=(0, epoch)))) for epoch in range(40)]
    assert set(step_counts) == {0, 1}
    again = audio_of(corpus, recipe=views_of(corpus, "mixup"))
    assert [len(list(again.steps("train", 1, seed=(0, e)))) for e in range(20, 40)] == step_counts[
        20:
    ]
    assert len(reported) == len(set(reported)) == 4
    assert any(line.startswith("left out a.wav: its partner broken-") for line in reported)


def test_a_view_is_held_to_the_limits_of_the_model(tmp_path: Path) -> None:
    clip = write_clip(tmp_path, "a.wav", "train", ("low",), 1_000)
    corpus = Corpus(root=tmp_path, clips=(clip,), classes=CLASSES, task="single")
    cropped = audio_of(corpus, max_samples=800, recipe=views_of(corpus, "crop:length_s=0.05"))
    assert [len(b.waveforms[0]) for (b,) in cropped.steps("train", 1, seed=(0, 1))] == [800]
    placed = audio_of(corpus, max_samples=1_500, recipe=views_of(corpus, "placement:length_s=0.1"))
    assert list(placed.steps("train", 1, seed=(0, 1))) == []
    assert placed.unusable == {"a.wav": "1600 samples, the model takes 400 to 1500 samples"}
