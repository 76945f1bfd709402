"""Names and options of plug-ins."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

import pytest
from click.testing import CliRunner

from cache_schema import plugins
from cache_schema.command_line import aftersound
from cache_schema.errors import UsageError
from cache_schema.plugins import (
    load_plugin,
    options_of_type,
    parse_named_options,
    plugin_names,
    plugin_origin,
    typed_options,
)
from student.runs.settings import student_class


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


def test_a_comma_in_a_value_separates_nothing() -> None:
    text = "noise:folder=/a/rain, wind,low_db=0,note=x,y z"
    found = {"folder": "/a/rain, wind", "low_db": "0", "note": "x,y z"}
    assert parse_named_options(text) == ("noise", found)


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
    with pytest.raises(UsageError, match="folder of step: it is empty; name a path"):
        typed_options(needs, {"folder": ""}, "step")
    with pytest.raises(
        UsageError, match="folder of step: 's3://b/n' is an address, and only caches"
    ):
        typed_options(needs, {"folder": "s3://b/n"}, "step")


def test_a_path_with_a_nul_is_named() -> None:
    def step(*, folder: Path) -> None: ...

    with pytest.raises(UsageError, match=r"option folder of noise: expected a path, got 'a\\x00b'"):
        typed_options(step, {"folder": "a\0b"}, "noise")


def test_an_option_without_a_type_is_named() -> None:
    # The missing annotation is what is tested.
    def step(*, width=3) -> None:  # type: ignore[no-untyped-def]
        """As of somebody's first plug-in."""

    with pytest.raises(
        UsageError, match="option width of mine has no type: annotate it, as in width"
    ):
        typed_options(step, {"width": "3"}, "mine")


@pytest.mark.parametrize("kind", [list[int], dict, object, tuple[str, ...], list[str] | None])
def test_an_option_of_a_type_that_no_text_has_is_named(kind: object) -> None:
    def step(*, layers: str = "") -> None: ...

    step.__annotations__["layers"] = kind
    with pytest.raises(UsageError, match=r"option layers of mine: its type .* is not one that"):
        typed_options(step, {"layers": "3"}, "mine")


def test_annotations_that_cannot_be_read_are_a_message() -> None:
    def step(*, width: int = 3) -> None: ...

    step.__annotations__["width"] = "Widht"
    with pytest.raises(
        UsageError, match="annotations that cannot be read: name 'Widht' is not def"
    ):
        typed_options(step, {"width": "3"}, "mine")


BROKEN = {
    "wrong:Syntax": ("def (", r"mine 1\.0 cannot be imported from wrong:Syntax \(SyntaxError"),
    "wrong:Raises": ("raise SystemError('cuda')", r"\(SystemError: cuda\)\nRepair or uninstall"),
    "wrong:Typo": ("Tipo = 3", r"\(AttributeError: module 'wrong' has no attribute 'Typo'\)"),
    "wrong:function": (
        "def function(): ...",
        "is <function function at .* not derived from student",
    ),
}


@pytest.mark.parametrize("target", BROKEN)
def test_a_broken_plugin_is_named_with_its_distribution(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    content, message = BROKEN[target]
    (tmp_path / "wrong.py").write_text(content)
    info = tmp_path / "mine-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[aftersound.students]\nmy-net = {target}\n")
    monkeypatch.syspath_prepend(tmp_path)
    plugins._installed.cache_clear()
    try:
        with pytest.raises(UsageError, match=message):
            student_class("my-net")
        listed = CliRunner().invoke(aftersound.main, ["list", "students"])
        assert listed.exit_code == 0, listed.output
        assert "tc-resnet" in listed.output
        assert ("unusable: " in listed.output) == (target != "wrong:function")
    finally:
        sys.modules.pop("wrong", None)
        plugins._installed.cache_clear()
