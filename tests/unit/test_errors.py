"""Errors keep their kind, their exit code and their message on the way from a worker."""

from __future__ import annotations

import pickle

import pytest

from cache_schema.errors import AftersoundError, CacheError, RunError, UsageError, bullet_list


@pytest.mark.parametrize("error", [RunError, UsageError, CacheError])
def test_an_error_survives_the_way_from_another_process(error: type[AftersoundError]) -> None:
    found = pickle.loads(pickle.dumps(error("a message", kind="stale")))
    assert type(found) is error
    assert (str(found), found.kind, found.exit_code) == ("a message", "stale", error.exit_code)


def test_a_name_with_an_end_of_line_is_one_bullet() -> None:
    found = bullet_list(["a\nwarning: forged\x1b[2J", "b"])
    assert found == "  - a\\nwarning: forged\\x1b[2J\n  - b"
