"""Each view step does to a clip what its name states, and rejects what it cannot do."""

from __future__ import annotations

import errno
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import prepared_views
import pytest
import soundfile
from prepared_views import RATE_HZ, STEPS, TRAIN

from cache_schema.clip import Clip
from cache_schema.errors import RunError, UsageError
from pipeline.audio import decode
from pipeline.audio.decode import UnusableAudio, resampled_length
from pipeline.views import View, ViewRecipe
from pipeline.views.interface import UNKNOWN, ViewContext

CLIP = prepared_views.clips()[TRAIN[0]]


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> ViewContext:
    return prepared_views.write_corpus(tmp_path_factory.mktemp("corpus"))


def views(
    context: ViewContext, *steps: str, waveform: np.ndarray, count: int = 20, clip: Clip = CLIP
) -> list[tuple[View, dict[str, float]]]:
    """Views of a waveform with their draws by name."""
    recipe = ViewRecipe(steps, context, seed=0)
    made = [recipe.make(waveform.astype(np.float32), clip, view) for view in range(count)]
    named = [dict(zip(recipe.draw_names, v.drawn_P.tolist(), strict=True)) for v in made]
    return list(zip(made, named, strict=True))


def samples(seconds: float) -> int:
    return round(seconds * RATE_HZ)


def test_no_steps_leave_a_clip_as_it_is(context: ViewContext) -> None:
    recipe = ViewRecipe([], context, seed=0)
    waveform_S = np.arange(99, dtype=np.float32)
    made = recipe.make(waveform_S, CLIP, 3)
    assert made.waveform_S is waveform_S
    assert recipe.draw_names == ()
    assert made.drawn_P.shape == (0,)
    assert recipe.texts == []


def test_a_crop_is_a_stretch_of_the_clip_from_anywhere_in_it(context: ViewContext) -> None:
    ramp = np.arange(1_000)
    begins = set()
    for view, drawn in views(context, "crop:length_s=0.1", waveform=ramp, count=200):
        begin = samples(drawn["crop.start_s"])
        assert np.array_equal(view.waveform_S, ramp[begin : begin + 800])
        assert (drawn["clip.start_s"], samples(drawn["clip.end_s"])) == (0, 800)
        begins.add(begin)
    assert min(begins) < 10
    assert max(begins) > 190
    assert max(begins) <= 200


def test_a_clip_no_longer_than_the_crop_stays(context: ViewContext) -> None:
    for length in (1, 799, 800):
        ((view, drawn), *_) = views(context, "crop:length_s=0.1", waveform=np.arange(length))
        assert np.array_equal(view.waveform_S, np.arange(length))
        assert samples(drawn["clip.end_s"]) == length


@pytest.mark.parametrize("further", [[], ["crop:length_s=0.09"], ["shift:max_s=0.08"]])
def test_the_recorded_place_is_where_the_clip_lies(
    context: ViewContext, further: list[str]
) -> None:
    lengths = set()
    for view, drawn in views(
        context, "placement:length_s=0.15", *further, waveform=np.ones(500), count=100
    ):
        start, stop = samples(drawn["clip.start_s"]), samples(drawn["clip.end_s"])
        expected_S = np.zeros(len(view.waveform_S))
        expected_S[start:stop] = 1
        assert np.array_equal(view.waveform_S, expected_S)
        lengths.add(stop - start)
    assert max(lengths) == 500
    assert len(lengths) == 1 or (not further) is False


@pytest.mark.parametrize("hz", [200.0, 700.0])
def test_speed_changes_length_and_pitch_by_the_drawn_factor(
    context: ViewContext, hz: float
) -> None:
    tone = np.sin(2 * np.pi * hz * np.arange(RATE_HZ) / RATE_HZ)
    factors = set()
    for view, drawn in views(context, "speed:low=0.8,high=1.25", waveform=tone):
        factor = drawn["speed.factor"]
        assert len(view.waveform_S) == resampled_length(RATE_HZ, round(1000 * factor), 1000)
        spectrum = np.abs(np.fft.rfft(view.waveform_S * np.hanning(len(view.waveform_S)), 1 << 16))
        assert spectrum.argmax() * RATE_HZ / (1 << 16) == pytest.approx(hz * factor, rel=5e-3)
        assert samples(drawn["clip.end_s"]) == len(view.waveform_S)
        factors.add(round(1000 * factor))
    assert 800 <= min(factors) < 900 < 1_100 < max(factors) <= 1_250


def test_speed_moves_the_place_of_the_clip(context: ViewContext) -> None:
    for view, drawn in views(
        context, "placement:length_s=0.25", "speed", waveform=np.ones(800), count=20
    ):
        middle = view.waveform_S[samples(drawn["clip.start_s"]) : samples(drawn["clip.end_s"])]
        assert len(middle) == pytest.approx(800 / drawn["speed.factor"], abs=1)
        assert middle[5:-5].min() > 0.7
        rest = view.waveform_S.sum() - middle.sum()
        assert abs(rest) < 3


def test_mixup_adds_the_recorded_partner_by_its_share_and_mixes_labels_alike(
    context: ViewContext,
) -> None:
    own = prepared_views.samples_of(CLIP)
    found = Counter(
        check_mixture(context, own, view, drawn)
        for view, drawn in views(context, "mixup", waveform=own, count=400)
    )
    assert set(found) == {-1, *TRAIN}
    assert found[-1] == pytest.approx(200, abs=50)
    assert all(found[partner] > 20 for partner in TRAIN)


def check_mixture(
    context: ViewContext, own: np.ndarray, view: View, drawn: dict[str, float]
) -> int:
    partner, share = int(drawn["mixup.partner"]), drawn["mixup.share"]
    if partner == -1:
        assert share == 1
        assert np.array_equal(view.waveform_S, own)
        assert np.array_equal(view.labels_C, context.labels(CLIP))
        return partner
    clip = prepared_views.clips()[partner]
    other = prepared_views.samples_of(clip)[: len(own)]
    mixture = share * (own - own.mean())
    mixture[: len(other)] += (1 - share) * (other - other.mean())
    np.testing.assert_allclose(view.waveform_S, mixture, atol=1e-6)
    labels = share * context.labels(CLIP) + (1 - share) * context.labels(clip)
    expected = labels if clip.labels else np.full_like(labels, UNKNOWN)
    np.testing.assert_allclose(view.labels_C, expected, atol=1e-6)
    return partner


def test_the_share_of_alpha_10_lies_about_a_half(context: ViewContext) -> None:
    made = views(context, "mixup", waveform=np.ones(50), count=400)
    shares = np.array([drawn["mixup.share"] for _, drawn in made if drawn["mixup.partner"] >= 0])
    assert shares.mean() == pytest.approx(0.5, abs=0.03)
    assert shares.std() == pytest.approx(np.sqrt(1 / (4 * 21)), rel=0.2)  # of Beta(10, 10)


def test_an_unlabelled_clip_stays_unlabelled_in_every_mixture(context: ViewContext) -> None:
    unlabelled = prepared_views.clips()[TRAIN[-1]]
    for view, _ in views(context, "mixup", "mixup", waveform=np.ones(50), clip=unlabelled):
        assert (view.labels_C == UNKNOWN).all()


def test_a_clip_with_none_of_the_classes_takes_its_partners_labels_by_their_share(
    context: ViewContext,
) -> None:
    nothing = replace(CLIP, labels=(), none_present=True)
    for view, drawn in views(context, "mixup", waveform=np.ones(50), clip=nothing):
        partner, share = int(drawn["mixup.partner"]), drawn["mixup.share"]
        labels = context.labels(prepared_views.clips()[partner]) if partner >= 0 else np.zeros(2)
        expected = (1 - share) * labels if labels.min() >= 0 else labels
        np.testing.assert_allclose(view.labels_C, expected, atol=1e-6)


@pytest.mark.parametrize("place", [0, 7])
def test_held_out_clips_have_no_partner(context: ViewContext, place: int) -> None:
    clip = prepared_views.clips()[place]
    for view, drawn in views(context, "mixup", waveform=np.arange(9), clip=clip):
        assert (drawn["mixup.partner"], drawn["mixup.share"]) == (-1, 1)
        assert np.array_equal(view.waveform_S, np.arange(9))
        assert np.array_equal(view.labels_C, context.labels(clip))


def test_a_partner_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    context = prepared_views.write_corpus(tmp_path)
    for place in TRAIN:
        soundfile.write(tmp_path / f"{place}.wav", np.full(50, np.nan), RATE_HZ, subtype="FLOAT")
    with pytest.raises(
        UnusableAudio, match=r"its partner train-\d: sample 0 is no finite"
    ) as raised:
        views(context, "mixup", waveform=np.ones(50))
    assert str(tmp_path) not in raised.value.reason


def test_a_step_that_comes_twice_is_numbered(context: ViewContext) -> None:
    recipe = ViewRecipe(["gain", "mixup", "gain"], context, seed=0)
    assert recipe.draw_names[2:] == (
        "gain.gain_db", "mixup.partner", "mixup.share", "gain-2.gain_db"
    )  # fmt: skip


@pytest.mark.parametrize("silence", [0, 1e-44])
def test_no_cut_of_noise_is_silent(tmp_path: Path, silence: float) -> None:
    """Silence has no ratio to the clip, and what is next to nothing none in float32."""
    context = prepared_views.write_corpus(tmp_path)
    faint = np.zeros(10 * RATE_HZ, np.float32)
    faint[::7] = silence
    faint[[0, 8 * RATE_HZ, 9 * RATE_HZ]] = 0.5  # where a split's stretch begins
    faint[3 * RATE_HZ : 3 * RATE_HZ + 50] = 0.1
    for name in ("fan", "rain", "sea"):
        soundfile.write(tmp_path / f"noise/{name}.wav", faint, RATE_HZ, subtype="FLOAT")
    made = views(context, STEPS["noise"], waveform=np.ones(90))
    for view, drawn in made:
        noise_power = np.mean((view.waveform_S.astype(np.float64) - 1) ** 2)
        assert -10 * np.log10(noise_power) == pytest.approx(drawn["noise.snr_db"], abs=0.01)
    assert {0.0, 3.0} <= {drawn["noise.offset_s"] for _, drawn in made}  # the next sound


@pytest.mark.parametrize(("silent_from_s", "lacking"), [(8, "validation, test"), (9, "test")])
def test_a_split_gets_no_silence_for_noise(
    tmp_path: Path, silent_from_s: int, lacking: str
) -> None:
    """A ratio that no scale of silence has would be kept with the view."""
    context = prepared_views.write_corpus(tmp_path)
    padded = np.full(10 * RATE_HZ, 0.1)
    padded[silent_from_s * RATE_HZ :] = 0
    soundfile.write(tmp_path / "noise/fan.wav", padded, RATE_HZ)
    recipe = ViewRecipe(["noise:folder=noise"], context, seed=0)
    named = recipe.facts[0]["recordings"]
    for split, names in named.items():
        assert ("fan.wav" in names) == (split not in lacking), split
    for name in ("rain", "sea"):
        (tmp_path / f"noise/{name}.wav").unlink()
    with pytest.raises(UsageError, match=f"holds no audio for {lacking} "):
        ViewRecipe(["noise:folder=noise"], context, seed=0)


def test_a_folder_of_noise_is_known_by_its_content(tmp_path: Path) -> None:
    context = prepared_views.write_corpus(tmp_path)
    here = ViewRecipe(["noise:folder=noise"], context, seed=0)
    (tmp_path / "noise").rename(tmp_path / "elsewhere")
    there = ViewRecipe([f"noise:folder={tmp_path / 'elsewhere'}"], context, seed=0)
    assert here.texts == there.texts
    (tmp_path / "elsewhere/sea.wav").write_bytes((tmp_path / "elsewhere/fan.wav").read_bytes())
    other = ViewRecipe(["noise:folder=elsewhere"], context, seed=0)
    assert other.texts != here.texts


def test_noise_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    context = prepared_views.write_corpus(tmp_path)
    clean = ViewRecipe(["noise:folder=noise"], context, seed=0)
    assert clean.notes == []
    noise = tmp_path / "noise"
    (noise / "text.wav").write_text("no audio " * 9)
    (noise / "empty.flac").touch()
    (noise / "outside.wav").symlink_to("/etc/hostname")
    (noise / "dangling.wav").symlink_to(tmp_path / "nothing.wav")
    (noise / "folder").symlink_to(tmp_path.parent)
    (noise / "LICENSE").write_text("no recording")
    soundfile.write(noise / "silent.wav", np.zeros(9), RATE_HZ)
    recipe = ViewRecipe(["noise:folder=noise"], context, seed=0)
    assert recipe.facts == clean.facts
    lines = recipe.notes[0].splitlines()
    assert lines[0] == f"noise: 6 of what {noise} holds cannot be used and is left out:"
    leads_out = "a link that leads out of the folder, not followed"
    assert lines[2:] == [
        f"  - dangling.wav: {leads_out}",
        "  - empty.flac: the file is empty (0 bytes)",
        f"  - outside.wav: {leads_out}",
        "  - silent.wav: silent, no scale makes noise of it",
        "  - text.wav: not audio that can be decoded (Format not recognised)",
    ]
    assert lines[1].startswith("  - folder: a link to a folder that")


def test_a_folder_of_nothing_but_damaged_noise_is_rejected_with_the_reasons(tmp_path: Path) -> None:
    context = prepared_views.write_corpus(tmp_path)
    (tmp_path / "damaged").mkdir()
    for number in range(30):
        (tmp_path / f"damaged/{number:02d}.wav").write_bytes(b"RIFF")
    with pytest.raises(UsageError, match="holds no audio for train") as caught:
        ViewRecipe(["noise:folder=damaged"], context, seed=0)
    assert "30 of what" in str(caught.value)
    assert "  - 19.wav: " in str(caught.value)
    assert str(caught.value).endswith("  - and 10 more")


@pytest.mark.parametrize("error", [errno.EIO, errno.ESTALE, errno.EACCES])
def test_noise_that_a_disk_does_not_give_is_not_left_out(
    context: ViewContext, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    def refused(path: Path) -> None:
        raise OSError(error, os.strerror(error), str(path))

    monkeypatch.setattr(decode, "RETRY_PAUSES_S", ())
    monkeypatch.setattr(decode, "open_source", refused)
    with pytest.raises(RunError, match=f"cannot be read on .*{os.strerror(error)}"):
        ViewRecipe(["noise:folder=noise"], context, seed=0)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("crop:length_s=0", "length_s must be seconds above 0, at most 86400, got 0"),
        ("crop:length_s=nan", "got nan"),
        ("placement:length_s=1e308", r"got 1e\+308"),
        ("shift:max_s=-1", "max_s must be seconds from 0 to 86400, got -1"),
        ("speed:low=1.1,high=0.9", "low=1.1 and high=0.9 must be a range within 0.5 to 2"),
        ("speed:high=2.5", "low=0.9 and high=2.5"),
        ("mixup:alpha=0", "alpha must be a number above 0, at most 1000, got 0"),
        ("mixup:alpha=inf", "got inf"),
        ("gain:low_db=7", "low_db=7.0 and high_db=6.0"),
        ("noise:folder=none", "noise folder 'none' is no folder"),
    ],
)
def test_options_that_nothing_can_be_made_with_are_rejected(
    context: ViewContext, step: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        ViewRecipe([step], context, seed=0)


def test_a_crop_shorter_than_a_sample_keeps_one(context: ViewContext) -> None:
    for view, _ in views(context, "crop:length_s=1e-6", "shift", waveform=np.arange(1, 9)):
        assert len(view.waveform_S) == 1


def test_a_step_that_changes_no_clip_is_noted(context: ViewContext) -> None:
    samples_N = np.array([RATE_HZ, 0, RATE_HZ // 2])
    for steps, noted in {
        ("crop:length_s=2",): ["crop"],
        ("crop:length_s=0.7",): [],
        ("placement:length_s=0.1",): ["placement"],
        ("placement:length_s=2", "crop:length_s=2"): ["crop"],
        ("speed", "crop:length_s=9"): [],
        ("gain",): [],
    }.items():
        notes = ViewRecipe(list(steps), context, seed=0).idle_notes(samples_N)
        assert [note.split()[1] for note in notes] == noted
