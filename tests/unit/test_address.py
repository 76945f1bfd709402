"""Addresses: which are taken, what is shown of them, and that none holds a secret."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_schema.errors import UsageError
from cache_schema.paths import CacheArgument, CacheOutput, LocalPath
from cache_schema.store.address import Address, cache_path
from cache_schema.store.cloud import check_extra

names = st.text(
    st.characters(blacklist_categories=("Cc", "Cs"), blacklist_characters="/?#\\%"), min_size=1
).filter(lambda name: name not in (".", ".."))


@given(st.sampled_from(["s3", "gs", "az", "https"]), st.lists(names, max_size=4))
def test_what_is_shown_is_the_same_place(scheme: str, parts: list[str]) -> None:
    address = Address(scheme, "host")
    for part in parts:
        address = address / part
    assert cache_path(str(address)) == address
    assert address.name == (parts[-1] if parts else "host")


@pytest.mark.parametrize(
    ("text", "path"),
    [("a/b.zarr", "a/b.zarr"), ("file:///a/b%20c", "/a/b c"), ("file://localhost/a", "/a")],
)
def test_local_paths_stay_paths(text: str, path: str) -> None:
    assert cache_path(text) == Path(path)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("ftp://host/a", "known: s3://, gs://, az://, file://, http://, https://"),
        ("s3:///a", "names no place"),
        ("s3://b//a", "names no place"),
        ("s3://b/a/../c", "names no place"),
        ("https://b/a/%2e%2e/c", "names no place"),
        ("https://host/a?sig=hidden", "a query"),
        ("s3://me:hidden@b/a", "credentials in it"),
        ("s3://b/a\n", "control character"),
        ("file://elsewhere/a", "names no local path"),
    ],
)
def test_an_address_that_nothing_is_read_at_is_rejected(text: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem) as caught:
        cache_path(text)
    assert caught.value.exit_code == 2
    assert "hidden" not in str(caught.value)


def test_only_a_cache_lies_at_an_address() -> None:
    with pytest.raises(click.BadParameter, match="only caches and corpora lie at one"):
        LocalPath().convert("s3://b/run", None, None)
    with pytest.raises(click.BadParameter, match="web server, which is only read"):
        CacheOutput().convert("https://host/a.zarr", None, None)
    found = CacheArgument().convert("https://host/a.zarr", None, None)
    assert found == Address("https", "host", "a.zarr")


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "obstore", None)
    with pytest.raises(UsageError, match=r"pip install 'aftersound\[cloud\]'"):
        check_extra()
    with pytest.raises(UsageError, match="extra 'cloud'"):
        CacheOutput().convert("s3://bucket/a.zarr", None, None)
