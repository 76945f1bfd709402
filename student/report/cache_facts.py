"""What a report says of the clips that were learned from and scored."""

from __future__ import annotations

from collections.abc import Mapping

from cache_schema.reader import Cache
from student.stream.epoch_rows import usable_clips
from student.training.loop import TRAIN


def cache_facts(cache: Cache, split: str) -> str:
    """Count a cache's classes, its usable clips to learn from and to score, and its groups."""
    found = {name: tuple(map(len, usable_clips(cache, name))) for name in cache.splits}
    facts = [f"{len(cache.classes)} classes ({cache.task}-label), {cache.views} view(s)"]
    if TRAIN in found:
        labelled, unlabelled = found[TRAIN]
        facts.append(f"{labelled} labelled and {unlabelled} unlabelled clips in {TRAIN}")
    facts.append(f"{sum(found.get(split, ()))} clips in {split}")
    aside = cache.manifest.corpus.clips - sum(map(sum, found.values()))
    facts += [f"{aside} unusable clips put aside"] if aside else []
    groups = _groups(cache)
    if any(groups.values()):
        facts.append("groups: " + ", ".join(f"{count} in {name}" for name, count in groups.items()))
    return f"{cache.root.name}: {'; '.join(facts)}"


def _groups(cache: Cache) -> Mapping[str, int]:
    """Speakers, sessions or places that each split has, where the corpus names them."""
    spans = {s.name: (s.first_clip, s.first_clip + s.clips) for s in cache.manifest.corpus.splits}
    return {name: len(set(cache.clip_table.groups(*span)) - {""}) for name, span in spans.items()}
