"""Views are as long as planned, the same wherever they are made, and true to what they record."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import prepared_views
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from prepared_views import RATE_HZ, STEPS

from cache_schema.clip import Clip
from pipeline.views import ViewRecipe
from pipeline.views.interface import ViewContext

CHAINS = st.lists(st.sampled_from(sorted(STEPS.values())), min_size=1, max_size=5)
LOW_HZ = 1_000


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    prepared_views.write_corpus(folder)
    return folder


@given(
    chain=CHAINS,
    samples=st.lists(st.integers(1, 3_000), min_size=8, max_size=8),
    seed=st.integers(),
)
@settings(deadline=None, max_examples=40)
def test_views_are_as_long_as_planned(
    root: Path, chain: list[str], samples: list[int], seed: int
) -> None:
    recipe = ViewRecipe(chain, prepared_views.context(root), seed=seed)
    clips, view = prepared_views.clips(), seed % 5
    lengths = recipe.lengths(clips, np.array(samples, np.int64), view)
    for clip, own, length in zip(clips, samples, lengths, strict=True):
        made = recipe.make(np.full(own, 0.1, np.float32), clip, view)
        assert made.waveform_S.shape == (length,)
        assert made.drawn_P.shape == (len(recipe.draw_names),)
        assert made.drawn_P.dtype == np.float32
        start_s, end_s = made.drawn_P[:2].tolist()
        assert 0 <= start_s <= end_s <= np.float32(length / RATE_HZ)
    nothing = recipe.lengths(clips, np.zeros(8, np.int64), view)
    assert not nothing.any()
    if not recipe.draws_length:
        other = recipe.lengths(clips, np.array(samples, np.int64), view + 1)
        assert np.array_equal(lengths, other)


@given(chain=CHAINS, order=st.permutations([(p, v) for p in range(8) for v in range(2)]))
@settings(deadline=None, max_examples=10)
def test_a_view_depends_on_no_other_view_and_no_order(
    root: Path, chain: list[str], order: list[tuple[int, int]]
) -> None:
    whole = prepared_views.view_bytes(root, chain, 7, sorted(order))
    assert prepared_views.view_bytes(root, chain, 7, order) == whole
    some = prepared_views.view_bytes(root, chain, 7, order[:2])
    assert some.items() <= whole.items()
    # Only the place of the clip in view 0 may repeat in a chain that draws little.
    train = [json.dumps([place, view]) for place in prepared_views.TRAIN for view in range(2)]
    other = prepared_views.view_bytes(root, chain, 8, sorted(order))
    assert any(other[key] != whole[key] for key in train)


def test_a_view_is_the_same_in_another_process(root: Path) -> None:
    chain, places = list(STEPS.values()), [(p, v) for p in (0, 3, 7) for v in (0, 4)]
    program = (
        "import json, sys; from pathlib import Path; import prepared_views; "
        "print(json.dumps(prepared_views.view_bytes(Path(sys.argv[1]), *json.loads(sys.argv[2]))))"
    )
    arguments = [str(root), json.dumps([chain, 3, places])]
    run = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=Path(prepared_views.__file__).parent, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(run.stdout) == prepared_views.view_bytes(root, chain, 3, places)


@given(
    samples=st.integers(1, 1_500),
    low_db=st.floats(-20, 30),
    width_db=st.floats(0, 10),
    view=st.integers(0, 99),
)
@settings(deadline=None, max_examples=40)
def test_the_noise_is_as_loud_as_recorded_against_the_clip_in_its_recorded_place(
    root: Path, samples: int, low_db: float, width_db: float, view: int
) -> None:
    noise = f"noise:folder=noise,low_db={low_db},high_db={low_db + width_db}"
    recipe = ViewRecipe(["placement:length_s=0.1", noise], prepared_views.context(root), seed=1)
    own = np.random.default_rng(samples).uniform(-0.5, 0.5, samples).astype(np.float32)
    made = recipe.make(own, prepared_views.clips()[3], view)
    drawn = dict(zip(recipe.draw_names, made.drawn_P.tolist(), strict=True))
    start = round(drawn["clip.start_s"] * RATE_HZ)
    assert drawn["placement.start_s"] == drawn["clip.start_s"]
    assert round(drawn["clip.end_s"] * RATE_HZ) == start + samples
    drawn_S = made.waveform_S.astype(np.float64)
    drawn_S[start : start + samples] -= own
    ratio = np.mean(own.astype(np.float64) ** 2) / np.mean(drawn_S**2)
    assert 10 * np.log10(ratio) == pytest.approx(drawn["noise.snr_db"], abs=0.01)
    slack = 1e-5 * (1 + abs(low_db) + width_db)
    assert low_db - slack <= drawn["noise.snr_db"] <= low_db + width_db + slack


@given(
    lengths_s=st.lists(st.integers(1, 25), min_size=3, max_size=14).filter(
        lambda s: max(s) >= 10 or len(s) >= 3
    ),
    folders=st.booleans(),
)
@settings(deadline=None, max_examples=6)
def test_no_split_gets_the_noise_of_another(
    tmp_path_factory: pytest.TempPathFactory, lengths_s: list[int], folders: bool
) -> None:
    root = tmp_path_factory.mktemp("noise")
    write_told_apart(root, lengths_s, folders=folders)
    labels = np.zeros(1, np.float32)
    clip = Clip(id="a", path="a.wav", labels=(), split="train")
    context = ViewContext(root, LOW_HZ, range(1), lambda _: clip, lambda _: labels)
    recipe = ViewRecipe(["noise:folder=noise"], context, seed=0)
    drawn_S = {split: set_of_samples(recipe, split) for split in ("train", "validation", "test")}
    assert all(drawn_S.values())
    assert not drawn_S["train"] & drawn_S["validation"]
    assert not drawn_S["train"] & drawn_S["test"]
    assert not drawn_S["validation"] & drawn_S["test"]
    assert not set_of_samples(recipe, "a split of its own") & (
        drawn_S["train"] | drawn_S["validation"]
    )


def write_told_apart(root: Path, lengths_s: list[int], *, folders: bool) -> None:
    """Noise of which no two samples are equal."""
    for i, length_s in enumerate(lengths_s):
        folder = root / "noise" / (("training", "val", "TEST")[i % 3] if folders else "x" * (i % 2))
        folder.mkdir(parents=True, exist_ok=True)
        values = (np.arange(length_s * LOW_HZ) + 1 + 100_000 * i) / 2.0**22
        soundfile.write(folder / f"{i}.wav", values, LOW_HZ, subtype="FLOAT")


def set_of_samples(recipe: ViewRecipe, split: str) -> set[float]:
    """What views of silence, which get noise at its own level, hold of it: all there is."""
    silence = np.zeros(30 * LOW_HZ, np.float32)
    drawn_S: set[float] = set()
    for view in range(25):
        clip = Clip(id=f"{split} {view}", path="a.wav", labels=(), split=split)
        drawn_S |= set(recipe.make(silence, clip, 0).waveform_S.tolist())
    return drawn_S
