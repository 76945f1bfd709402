"""What every corpus, teacher and view step must do, as checks for the tests of whoever adds one.

A test of a package that adds a view ``my-view`` is::

    @pytest.mark.parametrize("check", VIEW_CHECKS)
    def test_my_view(check, tmp_path): check("my-view", tmp_path)

``TEACHER_CHECKS`` take what ``--teacher`` takes, ``CORPUS_CHECKS`` a function that writes a small
corpus below a folder and returns its ``KIND:PATH``, and a folder. What to expect is taken from the
plug-in's own declarations. Our own plug-ins pass the same checks in ``tests/contract``.

Shape suffixes: S samples, C classes.
"""

from __future__ import annotations

import json
import shutil
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cache_schema.clip import Clip
from cache_schema.errors import RunError, UsageError
from cache_schema.plugins import load_plugin, parse_named_options, typed_options
from cache_schema.store.files import canonical_json
from pipeline.audio.decode import resampled_length
from pipeline.audio.members import container_of
from pipeline.corpora import read_corpus
from pipeline.corpora.clip_audio import decode_clip
from pipeline.teachers import Teacher, open_teacher
from pipeline.views import VIEWS, ViewRecipe
from pipeline.views.interface import AudioView, ViewContext, ViewStep

RATE_HZ = 8_000
CLASSES = ("high", "low")
SPLITS = ("train", "validation", "test", "a name of its own")
VIEW_SAMPLES = (1, 2, 7, 640, 961, 4_000)


def write_wav(path: Path, waveform_S: NDArray[np.floating], rate_hz: int = RATE_HZ) -> None:
    """Write a mono waveform within [-1, 1] as 16-bit WAV, with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes((waveform_S * 32_767).astype("<i2").tobytes())


def _noise(samples: int, seed: int) -> NDArray[np.float32]:
    """Noise whose loudness varies, so that frames differ."""
    random = np.random.default_rng(seed)
    loudness_S = np.abs(np.sin(np.arange(samples) / 1500 + seed))
    return (0.2 * random.standard_normal(samples) * loudness_S).clip(-1, 1).astype(np.float32)


# --- corpora -------------------------------------------------------------------------------------

WriteCorpus = Callable[[Path], str]


def corpus_is_well_formed(write: WriteCorpus, folder: Path) -> None:
    """Unique ids, known labels, paths below the root, headers scanned; twice the same."""
    text = write(folder)
    corpus = read_corpus(text)
    ids = [clip.id for clip in corpus.clips]
    assert len(set(ids)) == len(ids) > 0
    root = corpus.root
    assert isinstance(root, Path)
    assert root.is_absolute()
    assert len(set(corpus.classes)) == len(corpus.classes)
    for clip in corpus.clips:
        assert set(clip.labels) <= set(corpus.classes)
        assert corpus.task == "multi" or len(clip.labels) <= 1
        assert clip.split in {"train", "validation", "test"}
        assert clip.path == Path(clip.path).as_posix()
        assert (root / clip.path).resolve().is_relative_to(root)
        assert clip.id.lstrip("/") == clip.id != ""
        assert str(root) not in clip.id
        # A list may name what is missing: such a clip stays, to end in quarantine with its reason.
        there = container_of(root / clip.path).is_file()
        assert (clip.frames > 0) == (clip.source_rate_hz > 0) == there
    assert read_corpus(text) == corpus


def corpus_can_be_moved(write: WriteCorpus, folder: Path) -> None:
    """Clips do not depend on where the corpus lies."""
    here, there = folder / "here", folder / "there" / "deep"
    text = write(here)
    shutil.copytree(here, there)
    assert read_corpus(text.replace(str(here), str(there))).clips == read_corpus(text).clips


def corpus_lengths_hold(write: WriteCorpus, folder: Path) -> None:
    """A clip decodes to the length that its header gave."""
    corpus = read_corpus(write(folder))
    for clip in [clip for clip in corpus.clips if clip.frames][::3]:
        decoded = decode_clip(corpus.root, clip, RATE_HZ)
        assert decoded.source_frames == clip.frames
        assert len(decoded.waveform) == resampled_length(clip.frames, clip.source_rate_hz, RATE_HZ)


CORPUS_CHECKS: tuple[Callable[[WriteCorpus, Path], None], ...] = (
    corpus_is_well_formed, corpus_can_be_moved, corpus_lengths_hold,
)  # fmt: skip


# --- teachers ------------------------------------------------------------------------------------


def open_loaded(text: str) -> Teacher:
    """Open a teacher for two classes and load it on the CPU."""
    teacher = open_teacher(text, classes=CLASSES)
    teacher.load("cpu")
    return teacher


def _inputs(teacher: Teacher, *extra: int) -> list[NDArray[np.float32]]:
    longest = teacher.max_samples or 10**9
    lengths = [min(teacher.min_samples + more, longest) for more in extra]
    return [_noise(samples, seed) for seed, samples in enumerate(lengths)]


def _equal_inputs(teacher: Teacher) -> list[NDArray[np.float32]]:
    extra = (7_000, 4_345, 1_001) if teacher.batching == "near" else (4_345,) * 3
    return _inputs(teacher, *extra)


def teacher_provenance(text: str) -> None:
    """It is a teacher, and JSON without a path of this machine identifies it."""
    teacher = open_teacher(text, classes=CLASSES)
    assert isinstance(teacher, Teacher)
    written = json.dumps(teacher.provenance)
    needed = {"id", "family", "classes", "task", "sample_rate_hz", "options", "dtype"}
    assert needed <= json.loads(written).keys()
    assert '"/' not in written
    assert teacher.provenance["classes"] == list(teacher.classes)


def teacher_shapes(text: str) -> None:
    """Signals have the shapes that are planned, for the shortest input and longer ones."""
    teacher = open_loaded(text)
    for extra in (0, 1, 159, 160, 161, 2_399, 7_777):
        (waveform_S,) = _inputs(teacher, extra)
        for name, value in teacher.infer([waveform_S], list(teacher.signals))[0].items():
            assert value.shape == teacher.row_shape(name, len(waveform_S)), name
            assert value.dtype == np.float32
            assert np.isfinite(value).all(), name


def teacher_attention(text: str) -> None:
    """Attention, where it has some, is a distribution over time."""
    teacher = open_loaded(text)
    output = teacher.infer(_inputs(teacher, 7_777), list(teacher.signals))[0]
    for name, axis in (("temporal_attention", 0), ("layer_attention", 0), ("attention_map", 1)):
        if name in output:
            np.testing.assert_allclose(output[name].sum(axis=axis), 1, atol=1e-5)
    if "attention_dropped_mass" in output:
        assert 0 <= output["attention_dropped_mass"] < 1


def teacher_repeats(text: str) -> None:
    """The same batch gives the same bits, whichever signals are requested."""
    teacher = open_loaded(text)
    batch, names = _equal_inputs(teacher), list(teacher.signals)
    first, again = teacher.infer(batch, names), teacher.infer(batch, names)
    for one, other in zip(first, again, strict=True):
        assert all(np.array_equal(one[name], other[name]) for name in names)
    for name in names:
        alone = teacher.infer(batch, [name])
        pairs = zip(first, alone, strict=True)
        assert all(np.array_equal(one[name], other[name]) for one, other in pairs), name


def teacher_ignores_neighbours(text: str) -> None:
    """A clip's signals do not depend on the other clips of its batch, but for rounding."""
    teacher = open_loaded(text)
    batch, names = _equal_inputs(teacher), list(teacher.signals)
    for waveform_S, together in zip(batch, teacher.infer(batch, names), strict=True):
        for name, value in teacher.infer([waveform_S], names)[0].items():
            scale = max(float(np.abs(value).max()), 1e-3)
            assert np.abs(together[name] - value).max() <= 1e-4 * scale, name


def teacher_checks_requests(text: str) -> None:
    """An unknown signal, a clip that is too short and lengths that it cannot mix are errors."""
    teacher = open_loaded(text)
    good = _inputs(teacher, 4_000)
    _expect(UsageError, lambda: teacher.infer(good, ["no such signal"]))
    _expect(RunError, lambda: teacher.infer([good[0][: teacher.min_samples - 1]], ["logits"]))
    if teacher.batching == "exact" and teacher.max_samples != teacher.min_samples:
        _expect(RunError, lambda: teacher.infer(_inputs(teacher, 0, 1), ["logits"]))


def _expect(error: type[Exception], act: Callable[[], object]) -> None:
    try:
        act()
    except error:
        return
    raise AssertionError(f"no {error.__name__}")


TEACHER_CHECKS: tuple[Callable[[str], None], ...] = (
    teacher_provenance, teacher_shapes, teacher_attention, teacher_repeats,
    teacher_ignores_neighbours, teacher_checks_requests,
)  # fmt: skip


# --- views ---------------------------------------------------------------------------------------


def view_text(name: str) -> str:
    """A step with the options that its class gives as an example, else without any."""
    text: str = getattr(load_plugin(VIEWS, name, "view"), "example", name)
    return text


def write_view_corpus(folder: Path) -> ViewContext:
    """Write eight short clips, four of them to train, and a folder ``noise`` of recordings."""
    splits = ["validation"] * 2 + ["train"] * 4 + ["test"] * 2
    clips = [
        Clip(
            id=f"clip-{i}", path=f"{i}.wav", labels=(CLASSES[i % 2],), split=split,
            frames=500 + 150 * i, source_rate_hz=RATE_HZ,
        )
        for i, split in enumerate(splits)
    ]  # fmt: skip
    for seed, clip in enumerate(clips):
        write_wav(folder / clip.path, _noise(clip.frames, seed))
    for seed, name in enumerate(("fan", "rain", "sea")):
        write_wav(folder / f"noise/{name}.wav", _noise(10 * RATE_HZ, 20 + seed))

    def labels(clip: Clip) -> NDArray[np.float32]:
        return np.array([name in clip.labels for name in CLASSES], np.float32)

    return ViewContext(folder, RATE_HZ, range(2, 6), lambda place: clips[place], labels)


def _prepared(name: str, context: ViewContext) -> ViewStep:
    step_class = load_plugin(VIEWS, name, "view")
    _, options = parse_named_options(view_text(name))
    step: ViewStep = step_class(**typed_options(step_class, options, f"view {name}"))
    step.prepare(context)
    return step


def view_does_what_it_drew(name: str, folder: Path) -> None:
    """Length, labels and place are as declared; input is not changed; twice the same."""
    step, random = _prepared(name, write_view_corpus(folder)), np.random.default_rng(0)
    for split, samples in [(split, n) for split in SPLITS for n in VIEW_SAMPLES * 3]:
        drawn = step.draw(samples, split, random)
        assert len(drawn) == len(step.draws) > 0
        assert np.isfinite(np.array(drawn, np.float32)).all()
        waveform_S = random.uniform(-0.5, 0.5, samples).astype(np.float32)
        labels_C = np.array([0, 1], np.float32)
        before = waveform_S.tobytes() + labels_C.tobytes()
        variant = AudioView(waveform_S, samples // 3, samples, labels_C, split)
        first, again = step.apply(variant, drawn), step.apply(variant, drawn)
        assert waveform_S.tobytes() + labels_C.tobytes() == before
        assert first.waveform_S.tobytes() == again.waveform_S.tobytes()
        assert first.waveform_S.dtype == first.labels_C.dtype == np.float32
        assert np.isfinite(first.waveform_S).all()
        assert len(first.waveform_S) == step.length(samples, drawn) > 0
        assert 0 <= first.start <= first.stop <= len(first.waveform_S)
        assert first.split == split
        assert step.changes_length or len(first.waveform_S) == samples
        assert step.draws_length or step.length(samples, ()) == len(first.waveform_S)
        mixes = step.mixes_labels and split == "train"
        assert mixes or np.array_equal(first.labels_C, labels_C)


def view_draws_from_the_generator(name: str, folder: Path) -> None:
    """Draws repeat with the generator's seed and differ with another."""
    step = _prepared(name, write_view_corpus(folder))
    first, again = (step.draw(900, "train", np.random.default_rng(5)) for _ in range(2))
    assert first == again
    drawn = {step.draw(800, "train", np.random.default_rng(seed)) for seed in range(40)}
    assert len(drawn) > 15


def view_facts(name: str, folder: Path) -> None:
    """Its facts name its draws and no place on this machine."""
    context = write_view_corpus(folder)
    step, recipe = _prepared(name, context), ViewRecipe([view_text(name)], context, seed=0)
    (facts,) = recipe.facts
    assert facts["step"] == name
    assert facts["draws"] == list(step.draws)
    assert str(folder) not in canonical_json(facts).decode()
    draws = [f"{name}.{draw}" for draw in step.draws]
    assert recipe.draw_names == ("clip.start_s", "clip.end_s", *draws)
    assert recipe.mixes_labels == step.mixes_labels
    assert recipe.draws_length == step.draws_length


def view_lists_its_options(name: str, folder: Path) -> None:
    """An unknown option is an error."""
    context = write_view_corpus(folder)
    _expect(UsageError, lambda: ViewRecipe([f"{name}:no_such_option=3"], context, seed=0))


VIEW_CHECKS: tuple[Callable[[str, Path], None], ...] = (
    view_does_what_it_drew, view_draws_from_the_generator, view_facts, view_lists_its_options,
)  # fmt: skip
