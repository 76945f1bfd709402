"""What every view step promises: draws apart from work, lengths as told, and nothing else changed."""

from __future__ import annotations

import numpy as np
import pytest
import view_chains

from cache_schema.errors import UsageError
from cache_schema.plugins import load_plugin, parse_named_options, typed_options
from cache_schema.store.files import canonical_json
from pipeline.views import VIEWS, ViewRecipe
from pipeline.views.interface import Variant, ViewContext, ViewStep

SPLITS = ("train", "validation", "test", "a name of its own")
LENGTHS = (1, 2, 7, 640, 961, 4_000)


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> ViewContext:
    return view_chains.write_corpus(tmp_path_factory.mktemp("corpus"))


def made_ready(name: str, context: ViewContext) -> ViewStep:
    step_class = load_plugin(VIEWS, name, "view")
    _, options = parse_named_options(view_chains.STEPS[name])
    step: ViewStep = step_class(**typed_options(step_class, options, name))
    step.prepare(context)
    return step


def test_every_step_is_walked_here() -> None:
    assert set(view_chains.STEPS) == set(VIEWS)


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("split", SPLITS)
def test_a_step_does_what_it_drew_and_says_how_long_that_is(
    name: str, split: str, context: ViewContext
) -> None:
    step, random = made_ready(name, context), np.random.default_rng(0)
    for samples in LENGTHS * 3:
        drawn = step.draw(samples, split, random)
        assert len(drawn) == len(step.draws) > 0
        assert np.isfinite(np.float32(drawn)).all()
        waveform_S = random.uniform(-0.5, 0.5, samples).astype(np.float32)
        labels_C = np.array([0, 1], np.float32)
        before = waveform_S.copy(), labels_C.copy()
        heard = Variant(waveform_S, samples // 3, samples, labels_C, split)
        first, again = step.apply(heard, drawn), step.apply(heard, drawn)
        assert np.array_equal(waveform_S, before[0])
        assert np.array_equal(labels_C, before[1])
        assert first.waveform_S.tobytes() == again.waveform_S.tobytes()
        assert first.waveform_S.dtype == first.labels_C.dtype == np.float32
        assert np.isfinite(first.waveform_S).all()
        assert len(first.waveform_S) == step.length(samples, drawn) > 0
        assert 0 <= first.start <= first.stop <= len(first.waveform_S)
        assert first.split == split
        assert step.changes_length or len(first.waveform_S) == samples
        assert step.draws_length or step.length(samples, ()) == len(first.waveform_S)
        assert step.mixes_labels or np.array_equal(first.labels_C, labels_C)
        assert split == "train" or np.array_equal(first.labels_C, labels_C)


@pytest.mark.parametrize("name", VIEWS)
def test_a_step_draws_again_what_the_generator_gives_again(name: str, context: ViewContext) -> None:
    step = made_ready(name, context)
    first, again = (step.draw(900, "train", np.random.default_rng(5)) for _ in range(2))
    assert first == again
    drawn = {step.draw(800, "train", np.random.default_rng(seed)) for seed in range(40)}
    assert len(drawn) > 15


@pytest.mark.parametrize("name", VIEWS)
def test_the_facts_of_a_step_name_its_draws_and_no_place_on_this_machine(
    name: str, context: ViewContext
) -> None:
    recipe = ViewRecipe([view_chains.STEPS[name]], context, seed=0)
    step = made_ready(name, context)
    (facts,) = recipe.facts
    assert facts["step"] == name
    assert facts["draws"] == list(step.draws)
    assert str(context.corpus_root) not in canonical_json(facts).decode()
    assert recipe.draw_names == (
        "clip.start_s", "clip.end_s", *(f"{name}.{draw}" for draw in step.draws)
    )  # fmt: skip
    assert recipe.mixes_labels == step.mixes_labels
    assert recipe.draws_length == step.draws_length


@pytest.mark.parametrize("name", VIEWS)
def test_an_unknown_option_is_refused_by_name(name: str, context: ViewContext) -> None:
    with pytest.raises(UsageError, match=f"view {name}") as raised:
        ViewRecipe([f"{name}:lenght=3"], context, seed=0)
    assert "lenght" in str(raised.value)
