"""A ledger's lines: read whatever names are in them, added whole, rejected where they are none."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from cache_schema.errors import RunError, UsageError
from student.compare.cli import _check_ledger
from student.compare.ledger import Ledger


def line(key: str = "k", **of_test: object) -> dict[str, Any]:
    test = {"clips": 3, "right": "a0", "score": 0.5, "scores": {"accuracy": 0.5}, **of_test}
    return {
        "key": key,
        "cache_name": key,
        "result": {"metric": "accuracy", "splits": {"test": test}},
    }


@pytest.mark.parametrize("name", ["a\u2028b", "a\x85b", "a\x0cb", "a\x1eb", "a\u2029b"])
def test_a_name_with_a_separator_of_lines_is_read_back(tmp_path: Path, name: str) -> None:
    path = tmp_path / "ledger.jsonl"
    for key in (name, "other"):
        Ledger(path).add(line(key))
    assert Ledger(path).lines == {name: line(name), "other": line("other")}
    assert Ledger(tmp_path / "none.jsonl").lines == {}


@pytest.mark.parametrize(
    "of_test",
    [{"scores": {"accuracy": "high"}}, {"scores": [1]}, {"right": "zz"}, {"right": "a0", "clips": 9},
     {"clips": None}, {"score": "x"}, {"teacher_scores": {"accuracy": []}}],
)  # fmt: skip
def test_a_result_that_no_table_can_hold_is_named(tmp_path: Path, of_test: dict[str, Any]) -> None:
    path = tmp_path / "ledger.jsonl"
    path.write_text(f"{json.dumps(line())}\n{json.dumps(line(**of_test))}\n")
    with pytest.raises(RunError, match=r"1 line\(s\) that are no finished run\n  - line 2"):
        _ = Ledger(path).lines


@pytest.mark.parametrize("steps", [-1, 10**400, "many", [3], float("nan")])
def test_steps_that_are_no_number_of_steps_are_named(tmp_path: Path, steps: object) -> None:
    path, wrong = tmp_path / "ledger.jsonl", line()
    wrong["result"]["steps"] = steps
    path.write_text(f"{json.dumps(line())}\n{json.dumps(wrong)}\n")
    with pytest.raises(RunError, match=r"1 line\(s\) that are no finished run\n  - line 2"):
        _ = Ledger(path).lines


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "clip.flac"
    path.write_bytes(b"fLaC\xe8\x00\n\xff")
    with pytest.raises(RunError, match=r"clip.flac holds 2 line\(s\)(?s:.*)\nName another"):
        _ = Ledger(path).lines


@pytest.mark.parametrize("written", [0, 7])
def test_a_full_disk_leaves_no_half_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    path, real, calls = tmp_path / "ledger.jsonl", os.write, []

    def full(descriptor: int, content: bytes) -> int:
        calls.append(content)
        if written and len(calls) == 1:
            return real(descriptor, content[:written])
        raise OSError(errno.ENOSPC, "No space left on device")

    Ledger(path).add(line("first"))
    before = path.read_bytes()
    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left") as caught:
        Ledger(path).add(line("second"))
    assert caught.value.filename == str(path)
    assert path.read_bytes() == before
    monkeypatch.undo()
    Ledger(path).add(line("second"))
    assert list(Ledger(path).lines) == ["first", "second"]


@pytest.mark.parametrize("name", ["", "comparison.json", "table.md", "table.csv", "runs", "runs/x"])
def test_a_ledger_in_the_place_of_a_table_is_rejected(tmp_path: Path, name: str) -> None:
    out = tmp_path / "out"
    with pytest.raises(UsageError, match="name another file, for example"):
        _check_ledger(out / name, out)
    for other in (None, out / "ledger.jsonl", tmp_path / "out.jsonl"):
        _check_ledger(other, out)


def test_a_ledger_in_the_place_of_a_page_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "here")
    out, page = tmp_path / "out", tmp_path / "here/all.html"
    for pages in [(page, None), (None, page), (tmp_path / "link/all.html", None)]:
        with pytest.raises(UsageError, match="is also where --report and --png write"):
            _check_ledger(page, out, *pages)
    _check_ledger(tmp_path / "here/all.jsonl", out, page, None)
