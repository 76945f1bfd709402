"""The records of work units, which say what became of each row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cache_schema.errors import CacheError
from cache_schema.metadata import CommitRecord, PartPlan
from cache_schema.store.address import CachePath
from cache_schema.store.objects import ahead, objects_of
from cache_schema.store.part_digests import read_record
from cache_schema.text import shell_word
from cache_schema.writer import part_folder


def commit_records(root: CachePath, plan: PartPlan, units: Sequence[int]) -> Iterator[CommitRecord]:
    """Read the records of units of a part, in order.

    Raises
    ------
    CacheError
        Kind ``"damaged"`` if one is not there or is no such record.
    """
    folder = part_folder(root, plan.name)
    found = ahead(lambda unit: read_record(folder, plan, unit), units, objects_of(root).at_once)
    for unit, (record, problems) in zip(units, found, strict=True):
        if record is None:
            raise CacheError(
                f"the record of work unit {unit} of {plan.name} {'; '.join(problems)}. List all "
                f"damage: inspect-cache {shell_word(root)} --verify",
                kind="damaged",
            )
        yield record
