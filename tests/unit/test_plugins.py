"""Names and options of plug-ins."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from cache_schema.errors import UsageError
from cache_schema.plugins import (
    load_plugin,
    options_of_type,
    parse_named_options,
    plugin_names,
    plugin_origin,
    typed_options,
)


def step(
    *, gain_db: float = 1.0, count: int = 2, on: bool = False, mode: Literal["a", "b"] = "a"
) -> None:
    """Has every kind of option."""


def needy(*, folder: str) -> None:
    """Has an option without a default."""


def test_an_unknown_name_lists_the_known_and_the_nearest() -> None:
    with pytest.raises(
        UsageError,
        match=r"unknown loss 'temporl'; known: temporal, logits\. Did you mean 'temporal'\?",
    ):
        load_plugin({"temporal": "a:b", "logits": "a:c"}, "temporl", "loss")


def test_a_plugin_is_imported_by_name() -> None:
    assert load_plugin({"join": "os.path:join"}, "join", "function")("a", "b") == "a/b"


def test_options_are_split_and_converted() -> None:
    name, options = parse_named_options("step:gain_db=-3,count=4,on=yes,mode=b")
    assert name == "step"
    assert typed_options(step, options, "step") == {
        "gain_db": -3.0,
        "count": 4,
        "on": True,
        "mode": "b",
    }


@pytest.mark.parametrize("text", ["step:gain_db", "step:=3", "step:a=1,a=2"])
def test_malformed_options_are_rejected(text: str) -> None:
    with pytest.raises(UsageError, match="NAME:option=value"):
        parse_named_options(text)


def test_all_wrong_options_are_listed_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        typed_options(step, {"gian_db": "1", "count": "x", "on": "maybe", "mode": "c"}, "step")
    message = str(caught.value)
    for part in (
        "4 wrong",
        "Did you mean 'gain_db'",
        "expected int, got 'x'",
        "got 'maybe'",
        "one of a, b",
    ):
        assert part in message


def test_a_missing_option_is_named() -> None:
    with pytest.raises(UsageError, match="needy needs the option folder"):
        typed_options(needy, {}, "needy")


def test_our_plugins_come_first_and_from_no_other_distribution() -> None:
    own = {"join": "os.path:join", "exists": "os.path:exists"}
    assert plugin_names(own, "student") == ["join", "exists"]
    assert plugin_origin(own, "join", "student") == ""


def test_options_are_found_by_their_type() -> None:
    assert options_of_type(step, float) == {"gain_db"}
    assert options_of_type(step, Path) == set()


def test_a_path_is_converted() -> None:
    def needs(*, folder: Path) -> None:
        """Has a path."""

    assert typed_options(needs, {"folder": "a/b"}, "step") == {"folder": Path("a/b")}
    with pytest.raises(UsageError, match="folder of step: expected a path, got ''"):
        typed_options(needs, {"folder": ""}, "step")


def test_a_path_with_a_nul_is_named() -> None:
    def step(*, folder: Path) -> None: ...

    with pytest.raises(UsageError, match=r"option folder of noise: expected a path, got 'a\\x00b'"):
        typed_options(step, {"folder": "a\0b"}, "noise")
