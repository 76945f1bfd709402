"""Stratified splits: whatever the groups, each is in one split, and classes are shared out."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from pipeline.corpora.stratify import stratified_splits

SPLITS = ("train", "validation", "test")
SHARES = st.floats(0.05, 0.3)
CLASSES = ("a", "b", "c", "d", "e", "")


def splits_of(groups: dict[str, Counter[str]], chosen: dict[str, str]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for group, own in groups.items():
        for name in own:
            found.setdefault(name, set()).add(chosen[group])
    return found


def groups_of(groups: dict[str, Counter[str]], name: str) -> int:
    return sum(name in own for own in groups.values())


@given(
    st.lists(st.tuples(st.sampled_from(CLASSES), st.integers(1, 9)), min_size=1, max_size=40),
    SHARES,
    SHARES,
)
def test_of_groups_of_one_class_each_with_three_is_everywhere(
    own: list[tuple[str, int]], validation: float, test: float
) -> None:
    groups = {f"g{number}": Counter({name: clips}) for number, (name, clips) in enumerate(own)}
    chosen = stratified_splits(groups, validation=validation, test=test)
    assert chosen.keys() == groups.keys()
    assert set(chosen.values()) <= set(SPLITS)
    for name, splits in splits_of(groups, chosen).items():
        assert len(splits) == min(3, groups_of(groups, name)), name
        assert "train" in splits


@given(st.integers(3, 30), SHARES, SHARES)
def test_of_speakers_with_every_class_each_split_has_one(
    speakers: int, validation: float, test: float
) -> None:
    groups = {f"s{number}": Counter(dict.fromkeys("abc", 2)) for number in range(speakers)}
    chosen = stratified_splits(groups, validation=validation, test=test)
    assert set(chosen.values()) == set(SPLITS)
    counts = Counter(chosen.values())
    for split, share in (("validation", validation), ("test", test)):
        assert abs(counts[split] - share * speakers) <= 1.5


@given(
    st.dictionaries(
        st.text(max_size=3),
        st.dictionaries(st.sampled_from(CLASSES), st.integers(1, 5), min_size=1).map(Counter),
        min_size=1,
        max_size=25,
    ),
    st.sampled_from([(0.0, 0.0), (0.2, 0.0), (0.0, 0.2), (0.1, 0.1)]),
    st.randoms(),
)
def test_the_order_of_a_list_changes_nothing(groups, shares, random) -> None:  # type: ignore[no-untyped-def]
    validation, test = shares
    chosen = stratified_splits(groups, validation=validation, test=test)
    shuffled = list(groups.items())
    random.shuffle(shuffled)
    assert stratified_splits(dict(shuffled), validation=validation, test=test) == chosen
    assert chosen.keys() == groups.keys()
    asked_for = {"train", *(s for s, n in (("validation", validation), ("test", test)) if n)}
    assert set(chosen.values()) <= asked_for
